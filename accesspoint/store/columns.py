"""Columns that may name a patient: sealed before they are bound to a statement, opened when a row is read.

Payloads are not all that tells of people: the facts of a message, the header of its envelope and its delivery events
carry the patient number. Those columns are sealed with AES-256-GCM, under keys that HKDF makes from the keys of the
payload store, one for each column. The name of the column and the id of its row are authenticated with each value, so
a value that is moved to another row does not open. Whoever writes such a column calls `Transaction.sealed`; whoever
reads it finds it opened, and must select the id beside it. A value that does not open raises where somebody asks for
it, and not where its row is read among others: so one of them stops neither the queue that it stands in nor the node.

    sealed value:  mark  key id (8)  nonce (12)  octets sealed, tag (16); in a text column base64 behind the mark

As with payloads the id says which key opens a value, a new key is for what is written from now on, and without keys, or
with encryption turned off, values stand as they are. What was written so before stays readable. A nonce is random: one
key is good for 2^32 values of a column, which are years of a busy node; then give the node a new one.

Spec: reliability section 6.10; hostile SEC-05 and SEC-06; RFC 5869.
"""

import binascii
import os
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Final, NoReturn, TypeGuard

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from accesspoint.store.database import (
    Octets,
    Row,
    StorageFailure,
    StorageInterrupted,
    StorageRefused,
    Transaction,
)
from accesspoint.store.encryption import KEY_ID_BYTES, TAG_BYTES, PayloadKeys

SEALED_COLUMNS: Final[Mapping[str, str]] = MappingProxyType(
    {"facts": "id", "item": "id", "header": "envelope_id", "body": "event_id"}
)
"""The columns that may be sealed, each with the column that holds the id of its row."""
MARK: Final = "sealed:1:"
"""What a sealed value begins with; JSON and XML do not."""
_MARK: Final = MARK.encode()
_NONCE_BYTES: Final = 12
_START: Final = KEY_ID_BYTES + _NONCE_BYTES
_NEWEST: Final = (
    "SELECT id, facts FROM messages ORDER BY id DESC LIMIT 1",
    # An outcome tells of no patient and is not sealed.
    "SELECT id, item, facts FROM handovers WHERE kind <> 'outcome' ORDER BY created_at DESC LIMIT 1",
    "SELECT envelope_id, header FROM envelopes ORDER BY created_at DESC LIMIT 1",
    "SELECT event_id, body FROM outbox ORDER BY seq DESC LIMIT 1",
)


class ColumnDamaged(StorageFailure):
    """A sealed value is not what was written into this row; the text names the place and never the value."""

    problem: ClassVar[str] = "payload-damaged"


class ColumnKeyMissing(StorageInterrupted):
    """A value was sealed under a key that is not configured; with that key it can be read again.

    Another node may have been given a new key already: who meets this in a running node waits.
    """

    problem: ClassVar[str] = "storage-refused"


class PartlyOpened(Mapping[str, Any]):
    """A row with values that did not open: whoever asks for one of those is told why; the others are as in any row."""

    def __init__(self, row: Row, faults: Mapping[str, ColumnDamaged | ColumnKeyMissing]) -> None:
        self._row = row
        self.faults = faults

    def __getitem__(self, column: str) -> Any:
        if (fault := self.faults.get(column)) is not None:
            raise type(fault)(str(fault))
        return self._row[column]

    def __iter__(self) -> Iterator[str]:
        return iter(self._row)

    def __len__(self) -> int:
        return len(self._row)


def fault_of(row: Row) -> ColumnDamaged | ColumnKeyMissing | None:
    """Why a value of this row does not open, the worst where there are several; None for a row that is read."""
    if not isinstance(row, PartlyOpened):
        return None
    faults = list(row.faults.values())
    return next((fault for fault in faults if isinstance(fault, ColumnDamaged)), faults[0])


class Columns:
    """What seals and opens the columns of one database."""

    def __init__(
        self, keys: PayloadKeys | None = None, *, seal: bool = True, skip_unknown: bool = False
    ) -> None:
        """Without `seal` the keys only open what was sealed before; with `skip_unknown` what has no key here reads as None."""
        self._keys = keys
        self._seals = keys is not None and seal
        self._skips = skip_unknown
        self.skipped = 0
        """How many values were read as None for want of their key."""
        self._ciphers: dict[tuple[bytes, str], AESGCM] = {}

    def seal(self, column: str, id_: str, value: Octets) -> Octets:
        """Return what is written to a column of the row with this id."""
        if column not in SEALED_COLUMNS:
            raise ValueError(f"{column} is no column that is sealed")
        if self._keys is None or not self._seals:
            return value
        key_id, nonce = self._keys.current_key_id, os.urandom(_NONCE_BYTES)
        cipher = self._cipher(self._keys, key_id, column)
        if isinstance(value, str):
            octets = cipher.encrypt(nonce, value.encode(), _bound_to(column, id_))
            return MARK + binascii.b2a_base64(key_id + nonce + octets, newline=False).decode()
        return b"".join(
            (_MARK, key_id, nonce, cipher.encrypt(nonce, value, _bound_to(column, id_)))
        )

    def opened(self, row: Row) -> Row:
        """Return a row with what was sealed in it in the clear.

        What is not what was written there, or has no key here, raises ColumnDamaged or ColumnKeyMissing when it is
        asked for, and `fault_of` tells before.
        """
        found: dict[str, str | bytes | None] = {}
        faults: dict[str, ColumnDamaged | ColumnKeyMissing] = {}
        for column, key in SEALED_COLUMNS.items():
            value = row.get(column)
            if not _is_sealed(value):
                continue
            try:
                found[column] = self._opened(column, row[key], value)
            except (ColumnDamaged, ColumnKeyMissing) as fault:
                faults[column] = fault
        if faults:
            return PartlyOpened({**row, **found}, faults)
        return {**row, **found} if found else row

    def _opened(self, column: str, id_: object, value: str | bytes) -> str | bytes | None:
        if isinstance(value, bytes):
            return self._open(column, id_, value[len(_MARK) :])
        octets = self._open(column, id_, _decoded(value, column, id_))
        return None if octets is None else octets.decode()

    def _open(self, column: str, id_: object, octets: bytes) -> bytes | None:
        if len(octets) < _START + TAG_BYTES:
            _refuse(column, id_)
        key_id = octets[:KEY_ID_BYTES]
        if self._keys is None or key_id not in self._keys.key_ids:
            if self._skips:
                self.skipped += 1
                return None
            raise ColumnKeyMissing(
                f"{column} of {id_} needs the key {key_id.hex()}, which is not configured"
            )
        try:
            return self._cipher(self._keys, key_id, column).decrypt(
                octets[KEY_ID_BYTES:_START], octets[_START:], _bound_to(column, id_)
            )
        except (InvalidTag, ValueError):
            _refuse(column, id_)

    def _cipher(self, keys: PayloadKeys, key_id: bytes, column: str) -> AESGCM:
        cipher = self._ciphers.get((key_id, column))
        if cipher is None:
            cipher = AESGCM(keys.derive(key_id, f"EHMI access point column {column}"))
            self._ciphers[key_id, column] = cipher
        return cipher


async def require_readable(tx: Transaction) -> None:
    """Read the newest rows, so that a node does not start without the key that they need.

    A damaged one keeps no node from starting: that is the matter of its message.

    Raises: StorageRefused.
    """
    for select in _NEWEST:
        row = await tx.fetch_one(select)
        fault = None if row is None else fault_of(row)
        if isinstance(fault, ColumnKeyMissing):
            raise StorageRefused(str(fault))


def _is_sealed(value: object) -> TypeGuard[str | bytes]:
    if isinstance(value, str):
        return value.startswith(MARK)
    return isinstance(value, bytes) and value.startswith(_MARK)


def _bound_to(column: str, id_: object) -> bytes:
    return f"{column}\0{id_}".encode()


def _decoded(value: str, column: str, id_: object) -> bytes:
    try:
        return binascii.a2b_base64(value[len(MARK) :], strict_mode=True)
    except ValueError:
        _refuse(column, id_)


def _refuse(column: str, id_: object) -> NoReturn:
    raise ColumnDamaged(f"{column} of {id_} is not what was written there") from None
