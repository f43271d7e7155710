"""Payloads in a directory: written aside, made durable, then renamed to their name.

`publish` is fsync of the file, rename out of the temporary directory, fsync of the directory that received
it. A file whose row was never committed is an orphan that the sweeper finds by `entries`.

Spec: reliability sections 2.3 (order on disk), 2.4 points R1 to R7, and 6.10.
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from accesspoint.failpoints import failpoint
from accesspoint.store.filesystem import fsync_directory, private_directory
from accesspoint.store.places import (
    NAME,
    Draft,
    PayloadEntry,
    PayloadMissing,
    Place,
    Source,
    checked_name,
)
from accesspoint.store.spool import Spool

_SHARD: Final = re.compile(r"[0-9a-f]{2}")
_NEW_FILE: Final = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


class FileDraft(Draft):
    """A file in the temporary directory."""

    def __init__(self, place: "DirectoryPlace", path: str, name: str) -> None:
        self._place = place
        self._path = path
        self._name = name
        try:
            self._descriptor: int | None = os.open(path, _NEW_FILE, 0o600)
        except OSError as error:
            raise place.spool.fail("cannot be made", error) from error

    def write(self, octets: bytes | bytearray | memoryview) -> None:
        """Append octets; see `Draft.write`."""
        view = memoryview(octets).cast("B")
        try:
            while view:
                view = view[os.write(self._open_descriptor(), view) :]
        except OSError as error:
            raise self._place.spool.fail("cannot be written", error) from error

    def publish(self) -> None:
        """Synchronise the file, rename it, synchronise its directory; fsync is not tried twice."""
        descriptor = self._open_descriptor()
        try:
            failpoint("R5")
            os.fsync(descriptor)
            os.close(descriptor)
            self._descriptor = None
            shard = self._place.shard(self._name)
            failpoint("R6")
            os.rename(self._path, f"{shard}/{self._name}")
            failpoint("R7")
            fsync_directory(shard)
        except OSError as error:
            self.abort()
            raise self._place.spool.fail("cannot be made durable", error) from error

    def abort(self) -> None:
        """Remove the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        with suppress(FileNotFoundError):
            os.unlink(self._path)

    def _open_descriptor(self) -> int:
        if self._descriptor is None:
            raise ValueError("the file is published or was dropped")
        return self._descriptor


class FileSource(Source):
    """An open payload file."""

    def __init__(self, place: "DirectoryPlace", descriptor: int) -> None:
        self._place = place
        self._file = os.fdopen(descriptor, "rb", buffering=0)
        self.size = os.fstat(descriptor).st_size

    def read(self, count: int) -> bytes:
        """Return `count` octets, fewer only at the end; see `Source.read`."""
        pieces: list[bytes] = []
        try:
            while count > 0 and (piece := self._file.read(count)):
                pieces.append(piece)
                count -= len(piece)
        except OSError as error:
            raise self._place.spool.fail("cannot be read", error) from error
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


class DirectoryPlace(Place):
    """One private directory of payload files, shared by the processes of a node."""

    remote = False

    def __init__(self, directory: Path, *, spool: Spool | None = None) -> None:
        """Open the directory, making it when it is missing, and remove what dead processes left half written.

        With a `spool` from elsewhere the directory is left as it is.

        Raises: StorageRefused when the directory is open to others or on a network file system.
        """
        self._directory = directory
        self._shards: set[str] = set()
        if spool is None:
            private_directory(directory)
            spool = Spool(directory / "tmp")
        self.spool = spool

    def create(self, name: str) -> FileDraft:
        """Begin a file; see `Place.create`."""
        return FileDraft(self, f"{self.spool.path}/{name}", name)

    def open(self, name: str) -> FileSource:
        """Open a published file; see `Place.open`."""
        try:
            # A text, since joining Path objects costs more than opening the file.
            path = f"{self._directory}/{checked_name(name)[:2]}/{name}"
            return FileSource(self, os.open(path, _READ_FILE))
        except FileNotFoundError as error:
            raise PayloadMissing(f"there is no payload {name}") from error
        except OSError as error:
            raise self.spool.fail("cannot be opened", error) from error

    def delete(self, name: str) -> bool:
        """Remove a published file; see `Place.delete`."""
        path = self._path(name)
        try:
            path.unlink()
            fsync_directory(path.parent)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise self.spool.fail("cannot be deleted", error) from error
        return True

    def entries(self) -> Iterator[PayloadEntry]:
        """Go through all published files, in the order of their names."""
        for shard in sorted(self._directory.iterdir()) if self._directory.is_dir() else ():
            if _SHARD.fullmatch(shard.name) is None:
                continue
            for path in sorted(shard.iterdir()):
                if NAME.fullmatch(path.name) is None:
                    continue
                try:
                    facts = path.lstat()
                except FileNotFoundError:
                    continue
                yield PayloadEntry(
                    path.name, facts.st_size, datetime.fromtimestamp(facts.st_mtime, UTC)
                )

    def close(self) -> None:
        """Let go of the spool; unfinished files in it are gone."""
        self.spool.close()

    def shard(self, name: str) -> str:
        """Return the directory that a name belongs into, durable before anything is renamed into it."""
        shard = f"{self._directory}/{name[:2]}"
        if name[:2] not in self._shards:
            Path(shard).mkdir(mode=0o700, exist_ok=True)
            fsync_directory(self._directory)
            self._shards.add(name[:2])
        return shard

    def _path(self, name: str) -> Path:
        return self._directory / checked_name(name)[:2] / name
