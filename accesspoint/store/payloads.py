"""Payload files: written aside, made durable, then published under a name of our own.

A payload is published by `finish`: fsync of the file, rename out of the temporary directory, fsync of
the directory that received it. Only then may a row refer to it, so a row never points at half a file;
a file whose row was never committed is an orphan that the sweeper finds by `entries`.

Names are random and made here; a name that has another shape is refused before it gets near a path.
Each process has its own temporary directory and holds a lock on it, so that a starting process can tell
the leftovers of a dead one from the open files of a living one.

The methods are synchronous and touch at most one chunk, so they may be called on the event loop.

Spec: reliability sections 2.3 (order on disk), 2.4 points R1 to R7 and R16, and 6.10.
"""

import fcntl
import hashlib
import os
import re
import secrets
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import SpooledTemporaryFile
from types import TracebackType
from typing import Final, Self

from accesspoint.failpoints import failpoint
from accesspoint.store.database import StorageError, StorageFailure
from accesspoint.store.filesystem import fsync_directory, private_directory

CHUNK_BYTES: Final = 64 * 1024
MEMORY_BYTES: Final = 64 * 1024
"""How much of a temporary payload stays in memory before it goes to a file."""

_ID: Final = re.compile(r"[0-9a-f]{32}")
_SHARD: Final = re.compile(r"[0-9a-f]{2}")
_NEW_FILE: Final = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC


class PayloadMissing(StorageError):
    """There is no payload of this name; it was purged, or the name is not one of ours."""


@dataclass(frozen=True, slots=True)
class PayloadRef:
    """A published payload: its opaque name, its size in bytes, and its SHA-256 in hex."""

    id: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class PayloadEntry:
    """A file as the sweeper sees it."""

    id: str
    size: int
    modified_at: datetime


class PayloadWriter:
    """A payload that nobody can see yet; leaving the `with` block without `finish` drops it."""

    def __init__(self, store: "PayloadStore", path: str) -> None:
        self._store = store
        self._path = path
        self._digest = hashlib.sha256()
        self._size = 0
        try:
            self._descriptor: int | None = os.open(path, _NEW_FILE, 0o600)
        except OSError as error:
            raise _failure("cannot be made", error) from error

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
        descriptor = self._open_descriptor()
        view = memoryview(chunk).cast("B")
        self._digest.update(view)
        self._size += len(view)
        try:
            while view:
                view = view[os.write(descriptor, view) :]
        except OSError as error:
            raise _failure("cannot be written", error) from error

    def finish(self) -> PayloadRef:
        """Make the octets durable and publish them under a new name.

        Raises: StorageFailure when any step fails; nothing is published then, and fsync is not tried twice.
        """
        descriptor = self._open_descriptor()
        payload_id = secrets.token_hex(16)
        try:
            failpoint("R5")
            os.fsync(descriptor)
            os.close(descriptor)
            self._descriptor = None
            shard = self._store._shard(payload_id)  # noqa: SLF001 (the writer is the store's hand)
            failpoint("R6")
            os.rename(self._path, f"{shard}/{payload_id}")
            failpoint("R7")
            fsync_directory(shard)
        except OSError as error:
            self.abort()
            raise _failure("cannot be made durable", error) from error
        return PayloadRef(payload_id, self._size, self._digest.hexdigest())

    def abort(self) -> None:
        """Drop what was written; harmless after `finish`."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        with suppress(FileNotFoundError):
            os.unlink(self._path)

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
        if self._descriptor is not None:
            self.abort()

    def _open_descriptor(self) -> int:
        if self._descriptor is None:
            raise ValueError("the payload is finished or was dropped")
        return self._descriptor


class _Closing(ABC):
    """What is closed at the end of its `with` block."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the octets."""

    def __enter__(self) -> Self:
        """Return the object itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()


class PayloadReader(_Closing):
    """The octets of one published payload, from its start."""

    def __init__(self, descriptor: int) -> None:
        self._file = os.fdopen(descriptor, "rb", buffering=0)
        self.size = os.fstat(descriptor).st_size

    def read(self, count: int = CHUNK_BYTES) -> bytes:
        """Return up to `count` octets, fewer only at the end; `b""` when there are none left.

        Raises: StorageFailure when the disk cannot give them.
        """
        pieces: list[bytes] = []
        try:
            while count > 0 and (piece := self._file.read(count)):
                pieces.append(piece)
                count -= len(piece)
        except OSError as error:
            raise _failure("cannot be read", error) from error
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


class TemporaryPayload(_Closing):
    """Octets that are not trusted yet: at most 64 KiB in memory, then in a file without a name."""

    def __init__(self, directory: Path) -> None:
        self._file = SpooledTemporaryFile(max_size=MEMORY_BYTES, dir=str(directory))  # noqa: SIM115 (closed by close)
        self.size = 0

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Append octets.

        Raises: StorageFailure when the disk refuses them.
        """
        self.size += len(chunk)
        try:
            self._file.write(chunk)
        except OSError as error:
            raise _failure("cannot be written", error) from error

    def rewind(self) -> None:
        """Go to the start, to read what was written."""
        try:
            self._file.seek(0)
        except OSError as error:
            raise _failure("cannot be written", error) from error

    def read(self, count: int = CHUNK_BYTES) -> bytes:
        """Return up to `count` octets from where the last read ended.

        Raises: StorageFailure when the disk cannot give them.
        """
        try:
            return self._file.read(count)
        except OSError as error:
            raise _failure("cannot be read", error) from error

    def close(self) -> None:
        """Let the octets go; the file has no name, so nothing is left even after a crash."""
        self._file.close()


class PayloadStore:
    """One private directory of payload files, shared by the processes of a node."""

    def __init__(self, directory: Path) -> None:
        """Open the directory, making it when it is missing, and remove what dead processes left half written.

        Raises: StorageRefused when the directory is open to others or on a network file system.
        """
        self._directory = directory
        self._shards: set[str] = set()
        private_directory(directory)
        private_directory(directory / "tmp")
        self._own, self._lock = _own_directory(directory / "tmp")
        self.swept = _sweep(directory / "tmp", keep=self._own.name)

    def create(self) -> PayloadWriter:
        """Begin a payload.

        Raises: StorageFailure when there is no room for it.
        """
        return PayloadWriter(self, f"{self._own}/{secrets.token_hex(16)}")

    def temporary(self) -> TemporaryPayload:
        """Begin a payload that is never published."""
        return TemporaryPayload(self._own)

    def open(self, payload_id: str) -> PayloadReader:
        """Open a published payload.

        Raises: PayloadMissing when there is none of this name.
        """
        path = self._path(payload_id)
        try:
            return PayloadReader(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC))
        except FileNotFoundError as error:
            raise PayloadMissing(f"there is no payload {payload_id}") from error
        except OSError as error:
            raise _failure("cannot be opened", error) from error

    def delete(self, payload_id: str) -> bool:
        """Remove a payload durably; return whether it was there, since a purge may be repeated.

        Raises: PayloadMissing for a name that cannot be one of ours.
        """
        path = self._path(payload_id)
        try:
            path.unlink()
            fsync_directory(path.parent)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise _failure("cannot be deleted", error) from error
        return True

    def entries(self) -> Iterator[PayloadEntry]:
        """Go through all published payloads, for the sweeper and for the offline check."""
        for shard in sorted(self._directory.iterdir()):
            if _SHARD.fullmatch(shard.name) is None:
                continue
            for path in sorted(shard.iterdir()):
                if _ID.fullmatch(path.name) is None:
                    continue
                try:
                    facts = path.lstat()
                except FileNotFoundError:
                    continue
                yield PayloadEntry(
                    path.name, facts.st_size, datetime.fromtimestamp(facts.st_mtime, UTC)
                )

    def close(self) -> None:
        """Let go of the temporary directory; unfinished payloads in it are gone."""
        shutil.rmtree(self._own, ignore_errors=True)
        os.close(self._lock)

    def _path(self, payload_id: str) -> Path:
        if _ID.fullmatch(payload_id) is None:
            raise PayloadMissing("the name of a payload has another shape")
        return self._directory / payload_id[:2] / payload_id

    def _shard(self, payload_id: str) -> str:
        """Return the directory a payload goes to, durable before anything is renamed into it."""
        name = payload_id[:2]
        shard = f"{self._directory}/{name}"
        if name not in self._shards:
            Path(shard).mkdir(mode=0o700, exist_ok=True)
            fsync_directory(self._directory)
            self._shards.add(name)
        return shard


def _own_directory(parent: Path) -> tuple[Path, int]:
    """Make and lock a temporary directory of this process; the lock ends with the process."""
    while True:
        own = parent / secrets.token_hex(8)
        own.mkdir(mode=0o700)
        try:
            lock = os.open(own, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # a process that started at the same time took it for a leftover
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.fstat(lock).st_nlink > 0 and own.exists():
            return own, lock
        os.close(lock)


def _sweep(parent: Path, *, keep: str) -> int:
    """Remove the temporary directories whose process has ended; return how many files were in them."""
    files = 0
    for leftover in list(parent.iterdir()):
        if leftover.name == keep:
            continue
        try:
            lock = os.open(leftover, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            files += sum(1 for _ in leftover.iterdir())
            shutil.rmtree(leftover, ignore_errors=True)
        finally:
            os.close(lock)
    return files


def _failure(what: str, error: OSError) -> StorageFailure:
    """Name the error of the operating system without any path."""
    return StorageFailure(f"a payload {what}: {os.strerror(error.errno or 0)}")
