"""Opening a store only to read it, beside a running node or where none runs: nothing is written, by no side effect.

A SQLite file that nobody has open, and whose log was folded into it, is read as `immutable`: an ordinary
read-only connection would leave the two files of a write-ahead log behind. SQLite then sees no changes, so
`was_disturbed` tells whether a node has started meanwhile, and what was read must be read again. No lock is held
while reading: whoever looks must not keep a node from starting. Where there is a log, of a running node or of
one that was killed, the connection is an ordinary one, which uses the log's index and changes neither.
"""

import asyncio
import fcntl
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Self
from urllib.parse import quote

import apsw

from accesspoint.store.columns import Columns
from accesspoint.store.database import (
    Database,
    Dialect,
    StorageBusy,
    StorageFailure,
    StorageRefused,
    T,
    Work,
)
from accesspoint.store.filesystem import file_system_type, refuse_network
from accesspoint.store.migration import load_migrations, require_current
from accesspoint.store.payload_directory import DirectoryPlace
from accesspoint.store.places import Draft, PayloadEntry, Place, Source
from accesspoint.store.spool import SpoolOfOthers
from accesspoint.store.sqlite import (
    READER_PRAGMAS,
    SqliteTransaction,
    applied_steps,
    connect,
    drive,
)

_REFUSAL = "the store was opened only to read"


class PlaceToRead(Place):
    """A place of payloads that is left as it is; give it a `SpoolOfOthers`."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.remote = place.remote
        self.spool = place.spool

    def create(self, name: str) -> Draft:
        """Refuse."""
        raise StorageRefused(_REFUSAL)

    def open(self, name: str) -> Source:
        """Open what stands under `name`; see `Place.open`."""
        return self._place.open(name)

    def delete(self, name: str) -> bool:
        """Refuse."""
        raise StorageRefused(_REFUSAL)

    def entries(self) -> Iterator[PayloadEntry]:
        """Go through everything that is published; see `Place.entries`."""
        return self._place.entries()

    def close(self) -> None:
        """Let go of the place."""
        self._place.close()


def directory_to_read(directory: Path) -> PlaceToRead:
    """A directory of payloads that is left as it is; one that is missing has no payloads."""
    return PlaceToRead(DirectoryPlace(directory, spool=SpoolOfOthers(directory / "tmp")))


class SqliteToRead(Database):
    """A SQLite file as it was when it was opened, or as a running node has committed it."""

    dialect = Dialect.SQLITE

    def __init__(
        self,
        path: Path,
        connection: apsw.Connection,
        version: int,
        before: "_Situation",
        columns: Columns,
    ) -> None:
        self._path = path
        self._connection = connection
        self._view = SqliteTransaction(connection, columns, only_reads=True)
        self._before = before
        self.schema_version = version

    @classmethod
    def start(cls, path: Path, *, migrations: Traversable, columns: Columns) -> "SqliteToRead":
        """Open one file; see `Database.open`."""
        if not path.is_file():
            raise StorageRefused(f"there is no database {path}")
        refuse_network(file_system_type(path.parent), path.parent)
        known = load_migrations(migrations)
        before = _Situation.of(path)
        try:
            connection = _connect(path, before)
        except apsw.Error as error:
            raise StorageFailure(f"SQLite cannot open {path}: {error}") from error
        try:
            version = require_current(known, applied_steps(connection))
        except apsw.SQLError as error:
            connection.close(True)
            raise StorageRefused(f"{path} has no tables of an access point") from error
        except apsw.Error as error:
            connection.close(True)
            raise StorageFailure(f"SQLite cannot read {path}: {error}") from error
        except BaseException:
            connection.close(True)
            raise
        return cls(path, connection, version, before, columns)

    @property
    def in_use(self) -> bool:
        """Whether a node had the file when it was opened."""
        return self._before.locked

    @property
    def was_disturbed(self) -> bool:
        """Whether a node has started, or written, since the file was opened as one that nobody has."""
        return not self.in_use and _Situation.of(self._path) != self._before

    @property
    def failure(self) -> StorageFailure | None:
        """What broke while reading, or None."""
        return self._view.failure

    async def wait_failed(self) -> StorageFailure:
        """Wait for ever: who only reads learns of a failure by reading."""
        never: asyncio.Future[StorageFailure] = asyncio.get_running_loop().create_future()
        return await never

    async def run(self, work: Work[T]) -> T:
        """Refuse."""
        raise StorageRefused(_REFUSAL)

    async def read(self, work: Work[T]) -> T:
        """Do one work on one snapshot of what is committed; see `Database.read`."""
        view = self._view
        view.active = True
        try:
            if not self._connection.in_transaction:
                self._connection.execute("BEGIN")
            try:
                return drive(work(view))
            finally:
                # In a damaged file a statement that met the damage may keep even this from working; nothing is lost.
                with suppress(apsw.Error):
                    self._connection.execute("COMMIT")
        except apsw.BusyError as error:
            raise StorageBusy(f"the database is locked: {error}") from error
        except apsw.Error as error:
            raise StorageFailure(f"SQLite: {error}") from error
        finally:
            view.active = False

    async def check_integrity(self) -> None:
        """Run SQLite's own check over the whole file; see `Database.check_integrity`."""
        (row,) = (await self.fetch("PRAGMA integrity_check(1)"))[:1]
        if (said := next(iter(row.values()))) != "ok":
            raise StorageFailure(f"{self._path} is damaged: {said}")

    async def close(self) -> None:
        """Let go of the file."""
        self._connection.close(True)


@dataclass(frozen=True, slots=True)
class _Situation:
    """Who has a file, and what changes when it or its log is written."""

    locked: bool
    file: tuple[int, int, int]
    log_bytes: int

    @classmethod
    def of(cls, path: Path) -> Self:
        """What is so now."""
        facts = path.stat()
        try:
            log_bytes = path.with_name(path.name + "-wal").stat().st_size
        except FileNotFoundError:
            log_bytes = 0
        return cls(_is_locked(path), (facts.st_ino, facts.st_size, facts.st_mtime_ns), log_bytes)


def _connect(path: Path, now: _Situation) -> apsw.Connection:
    """Open the file; as immutable where nobody has it and there is no log."""
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_NOFOLLOW
    if now.locked or now.log_bytes:
        connection = connect(path, flags, None, READER_PRAGMAS)
        # The last one to close a file folds its log into it; that is not for a reader to do.
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        return connection
    url = f"file:{quote(str(path))}?immutable=1"
    return connect(url, flags | apsw.SQLITE_OPEN_URI, None, READER_PRAGMAS)


def _is_locked(path: Path) -> bool:
    """Whether a process has the database; the lock beside it is held no longer than it takes to ask."""
    try:
        descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
