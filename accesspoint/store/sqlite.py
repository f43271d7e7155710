"""SQLite for one process: statements on the event loop, and one commit for all works of two loop ticks.

A commit with `synchronous=FULL` is one fsync of the write-ahead log. Waiting for it in a thread costs
more than it saves, because a CPU-bound Python process starves that thread of the interpreter; so works
are queued, and a flusher runs every queued work in its own SAVEPOINT inside one
`BEGIN IMMEDIATE … COMMIT`, then wakes the callers. A work that raises takes only itself back.

A second process on the same file is refused by a lock file beside it, since its commits would stall
ours. What only reads goes between two commits over the connection that writes, whose pages are in memory
already: each commit makes another connection read its pages anew. After a failure, and inside a work, it goes
over a read-only connection, which sees what is committed.

Spec: reliability sections 2.3 and 6.11; performance section H trap 2.
"""

import asyncio
import fcntl
import os
import re
from collections.abc import Coroutine
from contextlib import suppress
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final, NoReturn

import apsw
import apsw.ext

from accesspoint.failpoints import failpoint
from accesspoint.store.columns import SEALED_COLUMNS, Columns
from accesspoint.store.database import (
    Database,
    Dialect,
    IntegrityKind,
    IntegrityViolation,
    Row,
    StorageBusy,
    StorageFailure,
    StorageRefused,
    T,
    Transaction,
    Value,
    Work,
)
from accesspoint.store.filesystem import file_system_type, private_file, refuse_network
from accesspoint.store.migration import (
    CREATE_SCHEMA_VERSION,
    INSERT_SCHEMA_VERSION,
    SELECT_SCHEMA_VERSION,
    load_migrations,
    pending_migrations,
)

MINIMUM_VERSION: Final = (3, 51, 3)
"""The first SQLite release without the WAL-reset corruption."""
BUSY_TIMEOUT_MILLISECONDS: Final = 1_000
INTEGRITY_CHECK_BYTES: Final = 1 << 30
"""After an unclean stop a database up to this size is checked before it is used."""
_STATEMENT_CACHE: Final = 256

_SHARED_PRAGMAS: Final[tuple[tuple[str, str, object], ...]] = (
    # First of all: after a kill whoever reads the file may be taking up its log at this moment.
    ("busy_timeout", str(BUSY_TIMEOUT_MILLISECONDS), BUSY_TIMEOUT_MILLISECONDS),
    ("trusted_schema", "OFF", 0),
    ("cell_size_check", "ON", 1),
    ("temp_store", "MEMORY", 2),
)
_WRITER_PRAGMAS: Final = (
    *_SHARED_PRAGMAS,
    ("journal_mode", "WAL", "wal"),
    ("synchronous", "FULL", 2),
    ("foreign_keys", "ON", 1),
)
READER_PRAGMAS: Final = (*_SHARED_PRAGMAS, ("query_only", "ON", 1))

_PARAMETER = re.compile(r"('(?:[^']|'')*')|\$(\d+)")

_BROKEN: Final = (
    apsw.IOError,
    apsw.FullError,
    apsw.CorruptError,
    apsw.NotADBError,
    apsw.CantOpenError,
    apsw.ReadOnlyError,
    apsw.NoMemError,
    apsw.ProtocolError,
    apsw.InternalError,
    apsw.PermissionsError,
)
_INTEGRITY: Final = {
    apsw.SQLITE_CONSTRAINT_UNIQUE: IntegrityKind.UNIQUE,
    apsw.SQLITE_CONSTRAINT_PRIMARYKEY: IntegrityKind.UNIQUE,
    apsw.SQLITE_CONSTRAINT_ROWID: IntegrityKind.UNIQUE,
    apsw.SQLITE_CONSTRAINT_FOREIGNKEY: IntegrityKind.FOREIGN_KEY,
    apsw.SQLITE_CONSTRAINT_CHECK: IntegrityKind.CHECK,
    apsw.SQLITE_CONSTRAINT_TRIGGER: IntegrityKind.CHECK,
    apsw.SQLITE_CONSTRAINT_NOTNULL: IntegrityKind.NOT_NULL,
}


class SqliteTransaction(Transaction):
    """Statements on one connection; usable only while the database runs a work on it."""

    dialect = Dialect.SQLITE
    skip_locked = ""
    for_update = ""

    def __init__(
        self, connection: apsw.Connection, columns: Columns, *, only_reads: bool = False
    ) -> None:
        self.columns = columns
        self._connection = connection
        self._cursor = connection.cursor()
        self._only_reads = only_reads
        self._texts: dict[str, str] = {}
        self.active = False
        self.failure: StorageFailure | None = None

    async def execute(self, sql: str, *values: Value) -> int:
        """Run one statement; see `Transaction.execute`."""
        self._step(sql, values)
        return self._connection.changes()

    async def fetch(self, sql: str, *values: Value) -> list[Row]:
        """Run one statement and return its rows; see `Transaction.fetch`."""
        return self.rows(sql, values)

    async def fetch_one(self, sql: str, *values: Value) -> Row | None:
        """Return the first row; see `Transaction.fetch_one`."""
        rows = self.rows(sql, values)
        return rows[0] if rows else None

    def rows(self, sql: str, values: tuple[Value, ...]) -> list[Row]:
        """Return all rows of one statement, without a coroutine."""
        self._step(sql, values)
        cursor = self._cursor
        try:
            first = next(cursor, None)
            if first is None:
                return []
            names = [column[0] for column in cursor.getdescription()]
            rows: list[Row] = [dict(zip(names, first, strict=True))]
            rows.extend(dict(zip(names, row, strict=True)) for row in cursor)
        except apsw.Error as error:
            self._refuse(error)
        if not SEALED_COLUMNS.keys().isdisjoint(names):
            rows = [self.columns.opened(row) for row in rows]
        return rows

    def _step(self, sql: str, values: tuple[Value, ...]) -> None:
        if not self.active:
            raise RuntimeError("a statement outside its unit of work")
        text = self._texts.get(sql)
        if text is None:
            text = self._translate(sql)
        try:
            self._cursor.execute(text, values)
        except apsw.Error as error:
            self._refuse(error)

    def _translate(self, sql: str) -> str:
        """Return the statement with `?n` for `$n`; texts are constants, so the memory is small."""
        if len(self._texts) >= _STATEMENT_CACHE:
            self._texts.clear()
        text = _PARAMETER.sub(lambda match: match[1] or f"?{match[2]}", sql)
        if self._only_reads:
            try:
                about = apsw.ext.query_info(self._connection, text)
            except apsw.Error as error:
                self._refuse(error)
            if not (about.is_readonly or about.is_explain):
                raise StorageRefused("a work that only reads tried to write")
        self._texts[sql] = text
        return text

    def _refuse(self, error: apsw.Error) -> NoReturn:
        """Raise the store's own error for SQLite's; a broken disk is remembered even if the work hides it."""
        if isinstance(error, apsw.ConstraintError):
            kind = _INTEGRITY.get(getattr(error, "extendedresult", 0), IntegrityKind.OTHER)
            raise IntegrityViolation(kind, str(error).rpartition(": ")[2]) from None
        if isinstance(error, (apsw.BusyError, apsw.LockedError)):
            raise StorageBusy(f"the database is locked: {error}") from error
        if isinstance(error, _BROKEN):
            self.failure = StorageFailure(f"SQLite: {error}")
            raise self.failure from error
        raise error


class SqliteDatabase(Database):
    """The one process that has this SQLite file."""

    dialect = Dialect.SQLITE

    def __init__(
        self,
        path: Path,
        lock: int,
        writer: apsw.Connection,
        reader: apsw.Connection,
        columns: Columns,
    ) -> None:
        self._path = path
        self._lock = lock
        self._writer = writer
        self._reader = reader
        self._begin = writer.cursor()
        self._transaction = SqliteTransaction(writer, columns)
        self._between = SqliteTransaction(writer, columns, only_reads=True)
        self._beside = SqliteTransaction(reader, columns, only_reads=True)
        self._queue: list[tuple[Work[Any], asyncio.Future[Any]]] = []
        self._loop = asyncio.get_running_loop()
        self._failed: asyncio.Future[StorageFailure] = self._loop.create_future()
        self._closed = False
        self.schema_version = 0

    @classmethod
    async def start(
        cls,
        path: Path,
        *,
        migrations: Traversable,
        vfs: str | None = None,
        columns: Columns | None = None,
    ) -> "SqliteDatabase":
        """Open, check and migrate one file; `vfs` names a registered SQLite file layer.

        Raises: StorageRefused when the place, the mode, another process or the schema is in the way,
        StorageFailure when the file breaks.
        """
        _check_version()
        lock = _lock_file(path)
        try:
            private_file(path)
            unclean = _size(path.with_name(path.name + "-wal")) > 0
            flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_NOFOLLOW
            writer = connect(path, flags, vfs, _WRITER_PRAGMAS)
            try:
                version = _migrate(writer, migrations)
                flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_NOFOLLOW
                reader = connect(path, flags, vfs, READER_PRAGMAS)
                database = cls(path, lock, writer, reader, columns or Columns())
            except BaseException:
                writer.close(True)
                raise
        except apsw.Error as error:
            os.close(lock)
            raise StorageFailure(f"SQLite cannot open {path}: {error}") from error
        except BaseException:
            os.close(lock)
            raise
        database.schema_version = version
        if unclean and _size(path) <= INTEGRITY_CHECK_BYTES:
            try:
                await database.check_integrity()
            except StorageFailure:
                await database.close()
                raise
        return database

    @property
    def failure(self) -> StorageFailure | None:
        """Why this database has stopped for good, or None while it works."""
        return self._failed.result() if self._failed.done() else None

    async def wait_failed(self) -> StorageFailure:
        """Return when this database has stopped for good."""
        return await asyncio.shield(self._failed)

    async def run(self, work: Work[T]) -> T:
        """Queue the work for the commit of the next loop tick and wait for it; see `Database.run`."""
        self._refuse_when_stopped()
        if not self._queue:
            # Not this turn of the loop but the next: what is ready now joins, and one commit serves it all.
            self._loop.call_soon(self._loop.call_soon, self._flush)
        done: asyncio.Future[T] = self._loop.create_future()
        self._queue.append((work, done))
        return await done

    async def read(self, work: Work[T]) -> T:
        """Do one work on one snapshot of what is committed; see `Database.read`."""
        view = self._view()
        if view is self._between:
            # Nobody else writes, and nothing of ours does before this returns: that is one snapshot.
            try:
                return drive(work(view))
            finally:
                self._leave(view)
        try:
            self._reader.execute("BEGIN")
            try:
                return drive(work(view))
            finally:
                self._reader.execute("COMMIT")
        except apsw.BusyError as error:
            raise StorageBusy(f"the database is locked: {error}") from error
        finally:
            self._leave(view)

    async def fetch(self, sql: str, *values: Value) -> list[Row]:
        """Read all rows of one SELECT, which is one snapshot by itself."""
        view = self._view()
        try:
            return view.rows(sql, values)
        finally:
            self._leave(view)

    async def fetch_one(self, sql: str, *values: Value) -> Row | None:
        """Read the first row of one SELECT, or None."""
        rows = await self.fetch(sql, *values)
        return rows[0] if rows else None

    async def check_integrity(self) -> None:
        """Run SQLite's own check over the whole file; see `Database.check_integrity`."""
        try:
            finding = self._reader.execute("PRAGMA integrity_check(1)").fetchall()[0][0]
        except apsw.Error as error:
            finding = str(error)
        if finding != "ok":
            self._stop(StorageFailure(f"SQLite integrity check: {finding}"))
            raise StorageFailure(f"{self._path} is damaged: {finding}")

    async def close(self) -> None:
        """Commit what is queued, fold the log into the file, and release the lock."""
        if self._closed:
            return
        while self._queue:
            self._flush()
        self._closed = True
        self._reader.close(True)
        try:
            if self.failure is None:
                failpoint("M2")
                # On a full disk, and while somebody reads, the log stays: it holds every commit as well as the file.
                with suppress(apsw.FullError, apsw.BusyError):
                    self._writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            self._writer.close(True)
        except apsw.Error as error:
            raise StorageFailure(f"SQLite cannot close {self._path}: {error}") from error
        finally:
            os.close(self._lock)

    # -- the grouped commit ---------------------------------------------------------------

    def _flush(self) -> None:
        """Run all queued works inside one commit, then wake their callers."""
        # A caller that was cancelled before its work began has asked for nothing.
        group = [entry for entry in self._queue if not entry[1].done()]
        self._queue = []
        if not group:
            return None
        stopped = self.failure
        if stopped is not None:
            return _wake_all(group, stopped)
        try:
            self._begin.execute("BEGIN IMMEDIATE")
        except apsw.BusyError as error:
            return _wake_all(group, StorageBusy(f"the database is locked: {error}"))
        except apsw.Error as error:
            return self._abandon(group, error)
        try:
            outcomes = self._run_group(group)
            if self._transaction.failure is not None:
                return self._abandon(group, self._transaction.failure)
            failpoint("R12")
            self._begin.execute("COMMIT")
        except apsw.Error as error:
            return self._abandon(group, error)
        except BaseException as error:  # the process is being ended; nobody was told that it worked
            self._abandon(group, error)
            raise
        for (_, done), (value, failure) in zip(group, outcomes, strict=True):
            if done.done():
                continue  # cancelled by another work of the group: its own was done all the same
            if failure is None:
                done.set_result(value)
            else:
                done.set_exception(failure)
        return None

    def _run_group(
        self, group: list[tuple[Work[Any], asyncio.Future[Any]]]
    ) -> list[tuple[Any, BaseException | None]]:
        """Run each work in its own SAVEPOINT and return what it returned or raised."""
        outcomes: list[tuple[Any, BaseException | None]] = []
        transaction = self._transaction
        statement = self._begin.execute
        transaction.active = True
        try:
            for work, _ in group:
                statement("SAVEPOINT work")
                try:
                    outcomes.append((drive(work(transaction)), None))
                except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 (handed to its caller)
                    if transaction.failure is not None:
                        break
                    outcomes.append((None, error))
                    statement("ROLLBACK TO work")
                statement("RELEASE work")
        finally:
            transaction.active = False
        return outcomes

    def _abandon(
        self, group: list[tuple[Work[Any], asyncio.Future[Any]]], cause: BaseException
    ) -> None:
        """Stop for good: whether the commit reached the disk can only be told after a restart.

        A full disk is the exception: SQLite took everything back, and with more room the group is tried again.
        """
        taken_back = True
        if self._writer.in_transaction:
            try:
                self._begin.execute("ROLLBACK")
            except apsw.Error as error:
                taken_back = False
                cause.add_note(f"and the rollback failed: {error}")
        full = isinstance(cause, apsw.FullError) or isinstance(cause.__cause__, apsw.FullError)
        if full and taken_back and self.make_room():
            self._transaction.failure = None
            self._queue = [*group, *self._queue]
            self._loop.call_soon(self._flush)
            return
        failure = (
            cause
            if isinstance(cause, StorageFailure)
            else StorageFailure(f"SQLite commit: {cause}")
        )
        self._stop(failure)
        _wake_all(group, failure)

    def _stop(self, failure: StorageFailure) -> None:
        if not self._failed.done():
            self._failed.set_result(failure)

    def _view(self) -> SqliteTransaction:
        """What a read goes over now."""
        self._refuse_when_closed()
        busy = self._failed.done() or self._between.active or self._writer.in_transaction
        view = self._beside if busy else self._between
        view.active = True
        return view

    def _leave(self, view: SqliteTransaction) -> None:
        view.active = False
        if view.failure is not None:
            self._stop(view.failure)

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise StorageFailure("the database is closed")

    def _refuse_when_stopped(self) -> None:
        self._refuse_when_closed()
        if self._failed.done():
            raise StorageFailure("the database has stopped") from self._failed.result()


def drive(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends and return its result.

    Raises: RuntimeError when it suspends, because the commit of everybody else would wait for it.
    """
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    work.close()
    raise RuntimeError("a unit of work awaited something other than its transaction")


def _wake_all(group: list[tuple[Work[Any], asyncio.Future[Any]]], failure: StorageFailure) -> None:
    """Tell every caller the same; each gets an exception of its own, so that tracebacks do not mix."""
    for _, done in group:
        if not done.done():
            own = type(failure)(*failure.args)
            own.__cause__ = failure
            done.set_exception(own)


def _check_version() -> None:
    version = tuple(int(part) for part in apsw.sqlite_lib_version().split("."))
    if version < MINIMUM_VERSION:
        raise StorageRefused(
            f"SQLite {apsw.sqlite_lib_version()} is too old; {MINIMUM_VERSION} is needed"
        )


def _lock_file(path: Path) -> int:
    """Take the lock beside the database; the kernel lets go of it when the process ends, however it ends."""
    if not path.parent.is_dir():
        raise StorageRefused(f"the directory {path.parent} does not exist")
    refuse_network(file_system_type(path.parent), path.parent)
    beside = path.with_name(path.name + ".lock")
    private_file(beside)
    descriptor = os.open(beside, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise StorageRefused(f"another process has {path} open; several need PostgreSQL") from error
    return descriptor


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def connect(
    path: Path | str, flags: int, vfs: str | None, pragmas: tuple[tuple[str, str, object], ...]
) -> apsw.Connection:
    """Open one connection to a file or a `file:` URL, set its pragmas, and read each of them back."""
    connection = apsw.Connection(
        str(path), flags=flags, vfs=vfs, statementcachesize=_STATEMENT_CACHE
    )
    try:
        # One plan for each text: else SQLite plans anew whenever a bound value might make another plan better,
        # which costs several times the look that finds what is due.
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        for name, value, expected in pragmas:
            connection.execute(f"PRAGMA {name} = {value}").fetchall()
            actual = connection.pragma(name)
            if actual != expected:
                raise StorageRefused(f"SQLite keeps {name} at {actual!r}; {expected!r} is needed")
    except BaseException:
        connection.close(True)
        raise
    return connection


def applied_steps(connection: apsw.Connection) -> list[Row]:
    """Read which steps of the schema the tables have."""
    columns = ("version", "compatible", "name", "sha256")
    return [
        dict(zip(columns, row, strict=True)) for row in connection.execute(SELECT_SCHEMA_VERSION)
    ]


def _migrate(writer: apsw.Connection, directory: Traversable) -> int:
    """Apply what is missing, one transaction a step; return the version reached."""
    known = load_migrations(directory)
    writer.execute(CREATE_SCHEMA_VERSION)
    applied = applied_steps(writer)
    steps = pending_migrations(known, applied)
    insert = _PARAMETER.sub(lambda match: match[1] or f"?{match[2]}", INSERT_SCHEMA_VERSION)
    for step in steps:
        writer.execute("BEGIN IMMEDIATE")
        try:
            for statement in step.statements(Dialect.SQLITE):
                writer.execute(statement)
                failpoint("M1")
            writer.execute(insert, (step.version, step.compatible, step.name, step.sha256))
            writer.execute("COMMIT")
        except BaseException:
            if writer.in_transaction:
                writer.execute("ROLLBACK")
            raise
    return max(len(known), len(applied))
