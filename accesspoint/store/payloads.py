"""The payload store: octets that stream in, are digested and encrypted on their way, and are seen only whole.

A payload is published by `finish`; only then may a row refer to it, so a row never points at half a payload.
Where it stands is the business of a `Place`: a directory (the default) or an object store. With keys, what
reaches the place is encrypted (see `encryption.py`), and so is what has to be put aside on the way; the digest
in a row is always that of the octets themselves.

Names are random and made here; a name that has another shape is refused before it gets near a path.

The methods are synchronous and touch at most one chunk. Those of a local store may be called on the event
loop; `aside` runs what uses a remote one, or goes through many chunks, in a thread.

Spec: reliability sections 2.3 (order on disk), 2.4 points R1 to R7 and R16, and 6.10.
"""

import hashlib
import hmac
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self, TypeVar

from accesspoint.aside import afar, aside
from accesspoint.store.database import StorageFailure, StorageFull
from accesspoint.store.encryption import (
    KEY_BYTES,
    ChunkOpener,
    ChunkSealer,
    PayloadKeyMissing,
    PayloadKeys,
)
from accesspoint.store.payload_directory import DirectoryPlace
from accesspoint.store.places import (
    SEALED_SUFFIX,
    Closing,
    Draft,
    PayloadDamaged,
    PayloadEntry,
    PayloadMissing,
    PayloadUnreadable,
    Place,
    Source,
    checked_name,
)
from accesspoint.store.spool import Spool

CHUNK_BYTES: Final = 64 * 1024
MEMORY_BYTES: Final = 64 * 1024
"""How much of a temporary payload stays in memory before it goes to a file."""

T = TypeVar("T")

__all__ = [
    "PayloadDamaged",
    "PayloadEntry",
    "PayloadMissing",
    "PayloadReader",
    "PayloadRef",
    "PayloadStore",
    "PayloadUnreadable",
    "PayloadWriter",
    "SpoolQuota",
    "TemporaryPayload",
]


@dataclass(frozen=True, slots=True)
class PayloadRef:
    """A published payload: its opaque name, its size in bytes, and its SHA-256 in hex."""

    id: str
    size: int
    sha256: str


class PayloadWriter:
    """A payload that nobody can see yet; leaving the `with` block without `finish` drops it."""

    def __init__(self, name: str, draft: Draft, keys: PayloadKeys | None) -> None:
        self._name = name
        self._draft: Draft | None = draft
        self._digest = hashlib.sha256()
        self._size = 0
        # The header goes out with the first chunk: a payload of one chunk is one write.
        self._header = b""
        self._sealer: ChunkSealer | None = None
        if keys is not None:
            self._header, self._sealer = keys.seal(name)

    @property
    def size(self) -> int:
        """The bytes written so far."""
        return self._size

    @property
    def sha256(self) -> str:
        """The SHA-256 of the bytes written so far, in hex."""
        return self._digest.hexdigest()

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Append octets.

        Raises: StorageFailure when the disk refuses them; ValueError after `finish` or `abort`.
        """
        draft = self._open_draft()
        view = memoryview(chunk).cast("B")
        self._digest.update(view)
        self._size += len(view)
        if self._sealer is None:
            draft.write(view)
        elif sealed := self._sealer.update(view):
            draft.write(self._header + sealed)
            self._header = b""

    def finish(self) -> PayloadRef:
        """Make the octets durable and publish them under their new name.

        Raises: StorageFailure when any step fails; nothing is published then.
        """
        draft = self._open_draft()
        try:
            if self._sealer is not None:
                draft.write(self._header + self._sealer.finish())
            self._draft = None
            draft.publish()
        except BaseException:
            draft.abort()
            raise
        return PayloadRef(self._name, self._size, self._digest.hexdigest())

    def abort(self) -> None:
        """Drop what was written; harmless after `finish`."""
        if self._draft is not None:
            self._draft.abort()
            self._draft = None

    def __enter__(self) -> Self:
        """Return the writer itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Drop the payload unless it was finished."""
        self.abort()

    def _open_draft(self) -> Draft:
        if self._draft is None:
            raise ValueError("the payload is finished or was dropped")
        return self._draft


class PayloadReader(Closing):
    """The octets of one published payload, from its start; `size` is how many there are."""

    def __init__(self, name: str, source: Source | ChunkOpener, sha256: str | None) -> None:
        self._name = name
        self._source = source
        self._sha256 = sha256
        self._digest = hashlib.sha256()
        self._left = source.size
        self.size = source.size

    def read(self, count: int = CHUNK_BYTES) -> bytes:
        """Return up to `count` octets, fewer only at the end; `b""` when there are none left.

        Raises: PayloadDamaged in place of the first octets that are not what was written, or of the last ones
        where only the digest of the whole tells; StorageFailure when the place cannot give them.
        """
        octets = self._source.read(count)
        if self._sha256 is not None:
            self._digest.update(octets)
            self._left -= len(octets)
            if self._left <= 0 or not octets:
                self._check_digest(self._sha256)
        return octets

    def close(self) -> None:
        """Let go of the octets."""
        self._source.close()

    def _check_digest(self, expected: str) -> None:
        if not hmac.compare_digest(self._digest.hexdigest(), expected):
            raise PayloadDamaged(f"the digest of payload {self._name} is not that of its row")


class SpoolQuota:
    """How many octets that are not trusted yet may stand on disk at once, of all temporary payloads that share it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.used = 0

    def take(self, count: int) -> None:
        """Count octets that are about to be written.

        Raises: StorageFull when they are too many: others have to be verified or dropped first.
        """
        if self.used + count > self._limit:
            raise StorageFull("more waits to be verified than may be put aside for it")
        self.used += count

    def give_back(self, count: int) -> None:
        """What was counted is gone."""
        self.used -= count


class TemporaryPayload(Closing):
    """Octets that are not trusted yet: at most 64 KiB in memory, then in a file without a name.

    Where payloads are encrypted that file is too, under a key that only this object has.
    """

    def __init__(self, spool: Spool, *, encrypted: bool, quota: SpoolQuota | None = None) -> None:
        self._spool = spool
        self._quota = quota
        self._counted = 0
        self._key = secrets.token_bytes(KEY_BYTES) if encrypted else None
        self._memory = bytearray()
        self._file: IO[bytes] | None = None
        self._sealer: ChunkSealer | None = None
        self._source: Source | ChunkOpener | None = None
        self._position = 0
        self.size = 0

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Append octets, before the first `rewind`.

        Raises: StorageFailure when the disk refuses them, or there are too many in all.
        """
        self.size += len(chunk)
        if self._file is None:
            self._memory += chunk
            if len(self._memory) <= MEMORY_BYTES:
                return
            chunk, self._memory = self._memory, bytearray()
            self._file = self._spool.unnamed_file()
            self._sealer = None if self._key is None else ChunkSealer(self._key, "")
        if self._quota is not None:
            self._quota.take(len(chunk))
            self._counted += len(chunk)
        self._put(self._file, chunk if self._sealer is None else self._sealer.update(chunk))

    def rewind(self) -> None:
        """Go to the start, to read what was written.

        Raises: StorageFailure when the disk refuses the octets that it was still to get.
        """
        self._position = 0
        if self._file is None:
            return
        if self._sealer is not None:
            self._put(self._file, self._sealer.finish())
            self._sealer = None
        source = _UnnamedSource(self._spool, self._file)
        self._source = (
            source if self._key is None else ChunkOpener(self._key, "", source, source.size)
        )

    def read(self, count: int = CHUNK_BYTES) -> bytes:
        """Return up to `count` octets from where the last read ended, after `rewind`.

        Raises: StorageFailure when the disk cannot give them, PayloadDamaged when it gives others.
        """
        if self._source is not None:
            return self._source.read(count)
        octets = bytes(self._memory[self._position : self._position + count])
        self._position += len(octets)
        return octets

    def close(self) -> None:
        """Let the octets go; the file has no name, so nothing is left even after a crash."""
        self._memory = bytearray()
        if self._quota is not None:
            self._quota.give_back(self._counted)
            self._counted = 0
        if self._file is not None:
            # What was buffered and finds no room now is not wanted any more.
            with suppress(OSError):
                self._file.close()

    def _put(self, file: IO[bytes], octets: bytes | bytearray | memoryview) -> None:
        try:
            file.write(octets)
        except OSError as error:
            raise self._spool.fail("cannot be written", error) from error


class _UnnamedSource(Source):
    """What was written to a file that is still open."""

    def __init__(self, spool: Spool, file: IO[bytes]) -> None:
        self._spool = spool
        self._file = file
        try:
            self.size = file.seek(0, os.SEEK_END)
            file.seek(0)
        except OSError as error:
            raise spool.fail("cannot be written", error) from error

    def read(self, count: int) -> bytes:
        try:
            return self._file.read(count)
        except OSError as error:
            raise self._spool.fail("cannot be read", error) from error

    def close(self) -> None:
        """The file is its owner's to close."""


class PayloadStore:
    """The payloads of a node: one place, and the keys that what stands there is encrypted under."""

    def __init__(
        self, place: Path | Place, *, keys: PayloadKeys | None = None, encrypt: bool = True
    ) -> None:
        """Open the store; a path is a directory, which is made when it is missing.

        New payloads are encrypted where there are `keys`, unless `encrypt` is off: then keys only open what was
        encrypted before.

        Raises: StorageRefused when the directory is open to others or on a network file system.
        """
        self._place = DirectoryPlace(place) if isinstance(place, Path) else place
        self._keys = keys
        self._seals = keys if encrypt else None

    @property
    def person_keys(self) -> tuple[bytes, ...]:
        """What the audit log's digests of persons are made with, the current one first; none without any key."""
        return self._keys.persons() if self._keys is not None else ()

    @property
    def swept(self) -> int:
        """How many files dead processes had left half written."""
        return self._place.spool.swept

    @property
    def remote(self) -> bool:
        """Whether each call waits for a network; see `Place.remote`."""
        return self._place.remote

    @property
    def temporary_directory(self) -> Path:
        """Where processes put aside what nobody is to see, each in a directory of its own."""
        return self._place.spool.parent

    @property
    def failure(self) -> StorageFailure | None:
        """Why what is written can no longer be vouched for, or None while it can."""
        return self._place.spool.failure

    async def wait_failed(self) -> StorageFailure:
        """Return when what is written can no longer be vouched for; the process should then end."""
        return await self._place.spool.wait_failed()

    def create(self) -> PayloadWriter:
        """Begin a payload.

        Raises: StorageFailure when there is no room for it.
        """
        name = secrets.token_hex(16) + ("" if self._seals is None else SEALED_SUFFIX)
        return PayloadWriter(name, self._place.create(name), self._seals)

    def temporary(self, quota: SpoolQuota | None = None) -> TemporaryPayload:
        """Begin a payload that is never published."""
        return TemporaryPayload(self._place.spool, encrypted=self._seals is not None, quota=quota)

    def open(self, payload_id: str, *, sha256: str | None = None) -> PayloadReader:
        """Open a published payload; `sha256`, in hex, is what its row says of it.

        Each chunk of an encrypted payload proves itself; of another one the digest tells at its end.

        Raises: PayloadMissing when there is none of this name, PayloadDamaged when it does not begin as it was
        written, PayloadKeyMissing when its key is not configured.
        """
        source = self._place.open(checked_name(payload_id))
        if not payload_id.endswith(SEALED_SUFFIX):
            return PayloadReader(payload_id, source, sha256)
        try:
            if self._keys is None:
                raise PayloadKeyMissing(
                    f"payload {payload_id} is encrypted and no key is configured"
                )
            return PayloadReader(payload_id, self._keys.open(payload_id, source), None)
        except BaseException:
            source.close()
            raise

    def delete(self, payload_id: str) -> bool:
        """Remove a payload durably; return whether it was there, since a purge may be repeated.

        Raises: PayloadMissing for a name that cannot be one of ours.
        """
        return self._place.delete(checked_name(payload_id))

    def entries(self) -> Iterator[PayloadEntry]:
        """Go through all published payloads, for the sweeper and for the offline check."""
        return self._place.entries()

    async def aside(self, work: Callable[[], T], octets: int = 0) -> T:
        """Do what uses this store, and goes through so many octets; in a thread when each call waits for a network,
        or when they are many.
        """
        return await (afar(work) if self._place.remote else aside(work, octets))

    def close(self) -> None:
        """Let go of the place; unfinished payloads are gone."""
        self._place.close()
