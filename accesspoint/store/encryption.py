"""Encryption at rest: each payload under a data key of its own, which is wrapped by a key from outside the database.

The construction is STREAM (Hoang, Reyhanitabar, Rogaway, Vizár 2015) over AES-256-GCM: octets are sealed in
chunks of 64 KiB, the nonce of a chunk is its number and whether it is the last one. A chunk that was changed,
moved, doubled or left out therefore does not open, nor does a file that was cut off after some chunk. A data
key is used for one payload only, so numbers may serve as nonces. The name of the payload is authenticated with
each chunk: a file does not open under the name of another.

    header:  "EHMI-AP1" (8)  key id (8)  data key wrapped by AES key wrap, RFC 3394 (40)
    chunk:   up to 65536 octets sealed, tag (16); every chunk but the last is full, the last may be empty

The key id is a truncated hash of the wrapping key and tells which one opens a payload. A new key becomes the
current one, the old ones stay readable as `previous`; nothing is written anew.

Spec: reliability section 6.10; decision "a data key per message, wrapped by a key from a file or credential".
"""

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from accesspoint.store.database import StorageRefused
from accesspoint.store.filesystem import read_private, write_once
from accesspoint.store.places import Closing, PayloadDamaged, PayloadUnreadable, Source

CHUNK_BYTES: Final = 64 * 1024
TAG_BYTES: Final = 16
KEY_BYTES: Final = 32
_PERSONS: Final = "EHMI access point persons in the audit log"
_MAGIC: Final = b"EHMI-AP1"
KEY_ID_BYTES: Final = 8
_WRAPPED_BYTES: Final = KEY_BYTES + 8
HEADER_BYTES: Final = len(_MAGIC) + KEY_ID_BYTES + _WRAPPED_BYTES
_SEALED_CHUNK: Final = CHUNK_BYTES + TAG_BYTES


class PayloadKeyMissing(PayloadUnreadable):
    """A payload was sealed under a key that is not configured; with that key it can be read again."""


class ChunkSealer:
    """Seals the octets of one payload in chunks."""

    def __init__(self, data_key: bytes, name: str) -> None:
        self._cipher = AESGCM(data_key)
        self._name = name.encode()
        self._pending = bytearray()
        self._chunks = 0

    def update(self, octets: bytes | bytearray | memoryview) -> bytes:
        """Take octets; return the chunks that they completed, which may be none.

        A full chunk is sealed once more octets follow: only then it is known not to be the last.
        """
        pending = self._pending
        pending += octets
        whole = (len(pending) - 1) // CHUNK_BYTES
        if whole <= 0:
            return b""
        with memoryview(pending) as view:
            sealed = [
                self._seal(view[start : start + CHUNK_BYTES], last=False)
                for start in range(0, whole * CHUNK_BYTES, CHUNK_BYTES)
            ]
        del pending[: whole * CHUNK_BYTES]
        return sealed[0] if whole == 1 else b"".join(sealed)

    def finish(self) -> bytes:
        """Return the last chunk."""
        return self._seal(self._pending, last=True)

    def _seal(self, chunk: bytearray | memoryview, *, last: bool) -> bytes:
        sealed = self._cipher.encrypt(_nonce(self._chunks, last=last), chunk, self._name)
        self._chunks += 1
        return sealed


class ChunkOpener(Closing):
    """Opens the chunks of one payload in their order; `size` is what they hold together, in octets.

    Octets are given out once their chunk has opened. That nothing was cut off is certain when the last one has.
    """

    def __init__(self, data_key: bytes, name: str, source: Source, sealed_bytes: int) -> None:
        self._cipher = AESGCM(data_key)
        self._name = name
        self._source = source
        self._left = sealed_bytes
        self._chunks = 0
        self._opened = bytearray()
        chunks = max(1, -(-sealed_bytes // _SEALED_CHUNK))
        self.size = sealed_bytes - chunks * TAG_BYTES
        if self.size < (chunks - 1) * CHUNK_BYTES:
            raise PayloadDamaged(f"payload {name} ends inside the tag of its chunk {chunks}")

    def read(self, count: int) -> bytes:
        """Return `count` octets, fewer only at the end.

        Raises: PayloadDamaged when a chunk does not open.
        """
        if not self._opened:
            chunk = self._next_chunk()
            if len(chunk) == count or (self._left == 0 and len(chunk) < count):
                return chunk
            self._opened += chunk
        while len(self._opened) < count and self._left > 0:
            self._opened += self._next_chunk()
        octets = bytes(self._opened[:count])
        del self._opened[:count]
        return octets

    def close(self) -> None:
        """Let go of the octets."""
        self._source.close()

    def _next_chunk(self) -> bytes:
        if self._left <= 0:
            return b""
        sealed = self._source.read(min(self._left, _SEALED_CHUNK))
        self._left -= _SEALED_CHUNK
        try:
            chunk = self._cipher.decrypt(
                _nonce(self._chunks, last=self._left <= 0), sealed, self._name.encode()
            )
        except InvalidTag as error:
            raise PayloadDamaged(
                f"chunk {self._chunks + 1} of payload {self._name} is not what was written"
            ) from error
        self._left = max(self._left, 0)
        self._chunks += 1
        return chunk


@dataclass(frozen=True, slots=True, repr=False)
class PayloadKey:
    """One wrapping key and the id that payloads name it by."""

    octets: bytes

    @property
    def id(self) -> bytes:
        """The first octets of a hash of the key, which tell it from others and nothing about it."""
        return hashlib.sha256(b"EHMI access point payload key\0" + self.octets).digest()[
            :KEY_ID_BYTES
        ]


class PayloadKeys:
    """The wrapping keys of a node: new payloads are sealed under `current`, all others stay readable."""

    def __init__(self, current: PayloadKey, previous: Iterable[PayloadKey] = ()) -> None:
        previous = tuple(previous)
        self._current = current.octets
        self._all = (current, *previous)
        self._prefix = _MAGIC + current.id
        self._by_id = {key.id: key.octets for key in (*previous, current)}
        self.current_key_id = current.id
        self.key_ids = frozenset(self._by_id)

    def persons(self) -> tuple[bytes, ...]:
        """The keys that the audit log's digests of persons are made with, one from each key; the current one first."""
        return tuple(self.derive(key.id, _PERSONS) for key in self._all)

    def derive(self, key_id: bytes, purpose: str) -> bytes:
        """Make the key for another purpose from the key with this id, by HKDF-SHA-256 (RFC 5869); KeyError for none."""
        key = self._by_id[key_id]
        return HKDF(hashes.SHA256(), KEY_BYTES, None, purpose.encode()).derive(key)

    def seal(self, name: str) -> tuple[bytes, ChunkSealer]:
        """Return the header of a new payload and what seals its octets."""
        data_key = secrets.token_bytes(KEY_BYTES)
        return self._prefix + aes_key_wrap(self._current, data_key), ChunkSealer(data_key, name)

    def open(self, name: str, source: Source) -> ChunkOpener:
        """Read the header of a payload and return what opens its octets.

        Raises: PayloadDamaged when the header is not ours, PayloadKeyMissing when its key is not here.
        """
        header = source.read(HEADER_BYTES)
        if len(header) < HEADER_BYTES or not header.startswith(_MAGIC):
            raise PayloadDamaged(f"payload {name} does not begin as an encrypted one does")
        key_id = header[len(_MAGIC) : len(_MAGIC) + KEY_ID_BYTES]
        key = self._by_id.get(key_id)
        if key is None:
            raise PayloadKeyMissing(
                f"payload {name} needs the key {key_id.hex()}, which is not configured"
            )
        try:
            data_key = aes_key_unwrap(key, header[len(_MAGIC) + KEY_ID_BYTES :])
        except InvalidUnwrap as error:
            raise PayloadDamaged(
                f"the data key of payload {name} is not what was written"
            ) from error
        return ChunkOpener(data_key, name, source, source.size - HEADER_BYTES)


def load_payload_keys(current: Path, previous: Iterable[Path] = ()) -> PayloadKeys:
    """Read wrapping keys from their files: 64 hex digits each, readable by nobody but us.

    Raises: StorageRefused when a file is missing, open to others, or holds something else.
    """
    return PayloadKeys(_load_key(current), [_load_key(path) for path in previous])


def create_payload_key(path: Path) -> None:
    """Make a new random key file that only we can read, unless there is one.

    It is durable before this returns, as it must be before any payload that it opens.

    Raises: StorageRefused when it cannot be made.
    """
    write_once(path, secrets.token_hex(KEY_BYTES) + "\n")


def _load_key(path: Path) -> PayloadKey:
    text = read_private(path, remedy="use 0400", is_handed=True)
    try:
        octets = bytes.fromhex(text.decode("ascii"))
    except ValueError:
        octets = b""
    if len(octets) != KEY_BYTES:
        raise StorageRefused(f"{path} is no payload key; write 64 hex digits: openssl rand -hex 32")
    return PayloadKey(octets)


def _nonce(chunk: int, *, last: bool) -> bytes:
    return chunk.to_bytes(11, "big") + (b"\1" if last else b"\0")
