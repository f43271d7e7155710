"""PostgreSQL for several processes on a node: one transaction a work, on a pool of connections.

A server that is told not to wait for its disk (`fsync`, `full_page_writes` or `synchronous_commit` off), or that
is a standby, is refused by every new connection: what it confirms, it may forget, and after a restart or a
fail-over it may be another one than before. A lost connection leaves the outcome of its commit unknown, which
the caller learns as `StorageInterrupted`; the unique keys and the fences tell later. The next work gets a new
connection. A broken disk or damaged data at the server stops this process for good.

A work that the server ended before its commit, because works of several nodes locked each other out, is done
again: it had no effect. A node that is paused inside a transaction holds locks that others wait for, so the
server ends its transaction after a few seconds, and notices soon when its machine is gone.

Spec: reliability sections 2.3 and 6.8.
"""

import asyncio
from importlib.resources.abc import Traversable
from typing import Any, Final, NoReturn

import asyncpg

from accesspoint.failpoints import failpoint
from accesspoint.store.columns import SEALED_COLUMNS, Columns
from accesspoint.store.database import (
    Database,
    Dialect,
    IntegrityKind,
    IntegrityViolation,
    Row,
    StorageError,
    StorageFailure,
    StorageInterrupted,
    StorageRefused,
    T,
    Transaction,
    Value,
    Work,
)
from accesspoint.store.migration import (
    CREATE_SCHEMA_VERSION,
    INSERT_SCHEMA_VERSION,
    SELECT_SCHEMA_VERSION,
    load_migrations,
    pending_migrations,
    require_current,
)

MINIMUM_VERSION: Final = 150_000
CONNECTIONS: Final = 8
"""Of one node; another one listens. A server of 100 connections has room for ten nodes."""
COMMAND_TIMEOUT_SECONDS: Final = 30.0
CONNECT_TIMEOUT_SECONDS: Final = 10.0
ATTEMPTS: Final = 5
"""How often a work is done that others lock out before its caller is told."""
_SESSION: Final = {
    "application_name": "accesspoint",
    "idle_in_transaction_session_timeout": "10s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
_MIGRATION_LOCK: Final = 0x45484D49
"""The key of the advisory lock that lets one of several starting processes migrate."""
_DURABLE: Final = ("fsync", "full_page_writes", "synchronous_commit")

_BROKEN: Final = (
    asyncpg.DataCorruptedError,
    asyncpg.IndexCorruptedError,
    asyncpg.PostgresIOError,
    asyncpg.DiskFullError,
)
_INTEGRITY: Final[tuple[tuple[type[Exception], IntegrityKind], ...]] = (
    (asyncpg.UniqueViolationError, IntegrityKind.UNIQUE),
    (asyncpg.ForeignKeyViolationError, IntegrityKind.FOREIGN_KEY),
    (asyncpg.CheckViolationError, IntegrityKind.CHECK),
    (asyncpg.NotNullViolationError, IntegrityKind.NOT_NULL),
)
_LOCKED_OUT: Final = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
ERRORS: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what a connection says that was ended while nobody was using it
    OSError,
    TimeoutError,
)


class PostgresqlTransaction(Transaction):
    """Statements on one connection of the pool, inside its transaction."""

    dialect = Dialect.POSTGRESQL
    skip_locked = "FOR UPDATE SKIP LOCKED"
    for_update = "FOR UPDATE"

    def __init__(self, connection: Any, columns: Columns) -> None:
        self._connection = connection
        self.columns = columns

    async def execute(self, sql: str, *values: Value) -> int:
        """Run one statement; see `Transaction.execute`."""
        status: str = await self._connection.execute(sql, *values)
        count = status.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    async def fetch(self, sql: str, *values: Value) -> list[Row]:
        """Run one statement and return its rows; see `Transaction.fetch`."""
        rows: list[Row] = [dict(record) for record in await self._connection.fetch(sql, *values)]
        if rows and not SEALED_COLUMNS.keys().isdisjoint(rows[0]):
            rows = [self.columns.opened(row) for row in rows]
        return rows


class PostgresqlDatabase(Database):
    """A pool of connections to one PostgreSQL database."""

    dialect = Dialect.POSTGRESQL

    def __init__(
        self, pool: Any, version: int, *, read_only: bool = False, columns: Columns
    ) -> None:
        self._pool = pool
        self._columns = columns
        self._read_only = read_only
        self._failed: asyncio.Future[StorageFailure] = asyncio.get_running_loop().create_future()
        self._closed = False
        self.schema_version = version

    @classmethod
    async def start(
        cls,
        url: str,
        *,
        migrations: Traversable,
        read_only: bool = False,
        columns: Columns | None = None,
    ) -> "PostgresqlDatabase":
        """Connect, check the server's durability, and migrate; what is only read is not migrated.

        Raises: StorageRefused for a server that may forget or a schema that does not fit,
        StorageFailure when it cannot be reached.
        """
        known = load_migrations(migrations)
        try:
            pool = await asyncpg.create_pool(
                url, min_size=1, max_size=CONNECTIONS,
                # Who only reads may read whole tables.
                command_timeout=None if read_only else COMMAND_TIMEOUT_SECONDS,
                timeout=CONNECT_TIMEOUT_SECONDS, server_settings=_SESSION,
                init=None if read_only else check_server,
            )  # fmt: skip
        except (*ERRORS, ValueError) as error:
            raise StorageFailure(f"PostgreSQL cannot be reached: {type(error).__name__}") from error
        try:
            async with pool.acquire() as connection:
                version = (
                    require_current(known, await _applied(connection))
                    if read_only
                    else await _migrate(connection, known)
                )
        except BaseException:
            pool.terminate()
            raise
        return cls(pool, version, read_only=read_only, columns=columns or Columns())

    @property
    def failure(self) -> StorageFailure | None:
        """Why this process has stopped using the database, or None."""
        return self._failed.result() if self._failed.done() else None

    async def wait_failed(self) -> StorageFailure:
        """Return when the server's disk or data is broken."""
        return await asyncio.shield(self._failed)

    async def run(self, work: Work[T]) -> T:
        """Do the work in a transaction of its own; see `Database.run`."""
        if self._failed.done():
            raise StorageFailure("the database has stopped") from self._failed.result()
        if self._read_only:
            raise StorageRefused("the database was opened only to read")
        return await self._inside(work)

    async def read(self, work: Work[T]) -> T:
        """Do the work on one snapshot, read only; see `Database.read`."""
        return await self._inside(work, isolation="repeatable_read", readonly=True)

    async def check_integrity(self) -> None:
        """See that the server answers; its files are checked by its own `amcheck`."""
        await self.fetch("SELECT 1 AS one")

    async def close(self) -> None:
        """Wait for running works and close the pool."""
        if not self._closed:
            self._closed = True
            await self._pool.close()

    async def _inside(self, work: Work[T], **options: Any) -> T:
        if self._closed:
            raise StorageFailure("the database is closed")
        for left in reversed(range(ATTEMPTS)):
            try:
                async with (
                    self._pool.acquire(timeout=COMMAND_TIMEOUT_SECONDS) as connection,
                    connection.transaction(**options),
                ):
                    result = await work(PostgresqlTransaction(connection, self._columns))
                    failpoint("R12")
                    return result
            except ERRORS as error:
                if left == 0 or not isinstance(error, _LOCKED_OUT):
                    self._refuse(error)
        raise AssertionError("unreachable")

    def _refuse(self, error: Exception) -> NoReturn:
        """Raise the store's own error for the server's, without the values its text may repeat."""
        for kind_of_error, kind in _INTEGRITY:
            if isinstance(error, kind_of_error):
                rule = getattr(error, "constraint_name", None) or getattr(
                    error, "column_name", None
                )
                raise IntegrityViolation(kind, str(rule)) from None
        if isinstance(error, asyncpg.IntegrityConstraintViolationError):
            raise IntegrityViolation(IntegrityKind.OTHER, type(error).__name__) from None
        if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
            raise StorageRefused("a work that only reads tried to write") from None
        if isinstance(error, asyncpg.DataError):
            # The text repeats the value; a mistake in a statement must not carry a patient into a log.
            raise StorageError(
                f"a value does not fit its statement: {type(error).__name__}"
            ) from None
        if isinstance(error, asyncpg.SyntaxOrAccessError):
            raise error
        if isinstance(error, _BROKEN):
            failure = StorageFailure(f"PostgreSQL: {type(error).__name__}")
            if not self._failed.done():
                self._failed.set_result(failure)
            raise failure from error
        raise StorageInterrupted(f"PostgreSQL: {type(error).__name__}") from error


async def check_server(connection: Any) -> None:
    """Read back the settings that decide whether a commit survives.

    Raises: StorageRefused naming the setting, or for a server that only follows another one.
    """
    number = int(await connection.fetchval("SHOW server_version_num"))
    if number < MINIMUM_VERSION:
        raise StorageRefused(
            f"PostgreSQL {number // 10_000} is too old; {MINIMUM_VERSION // 10_000} is needed"
        )
    if await connection.fetchval("SELECT pg_is_in_recovery()"):
        raise StorageRefused("PostgreSQL is a standby; what is written goes to its primary")
    for setting in _DURABLE:
        value = await connection.fetchval(f"SHOW {setting}")
        if value in {"off", "local"}:
            raise StorageRefused(
                f"PostgreSQL runs with {setting} {value}; what it confirms may be lost"
            )


async def _applied(connection: Any) -> list[Row]:
    try:
        return [dict(record) for record in await connection.fetch(SELECT_SCHEMA_VERSION)]
    except asyncpg.UndefinedTableError:
        return []


async def _migrate(connection: Any, known: Any) -> int:
    """Apply what is missing, one transaction a step; others that start now wait."""
    await connection.execute("SELECT pg_advisory_lock($1)", _MIGRATION_LOCK)
    try:
        await connection.execute(CREATE_SCHEMA_VERSION)
        applied = await _applied(connection)
        for step in pending_migrations(known, applied):
            async with connection.transaction():
                for statement in step.statements(Dialect.POSTGRESQL):
                    await connection.execute(statement)
                    failpoint("M1")
                await connection.execute(
                    INSERT_SCHEMA_VERSION, step.version, step.compatible, step.name, step.sha256
                )
        return max(len(known), len(applied))
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", _MIGRATION_LOCK)
