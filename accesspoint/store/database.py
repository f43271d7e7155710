"""One durable unit of work: `await database.run(work)` returns after a commit that survives power loss.

The line of responsibility runs through `run`: before it returns nothing has been promised, after it
nothing may be forgotten. Work is an async function that is given a `Transaction` and awaits nothing
else. On SQLite it then completes without suspending, so many works share one commit (and one fsync);
on PostgreSQL each work has its own transaction. SQL is written once with `$1`, `$2` and so on; the
few fragments that differ are attributes of the transaction.

Rules for works:

* A work has no effects outside its transaction, since it may be rolled back after it returned.
* State changes are `UPDATE ... WHERE state = expected`; a row count of 0 means somebody else was first.
* A row that may exist already is inserted with `ON CONFLICT DO NOTHING`; after an `IntegrityViolation`
  the work is over (PostgreSQL would refuse every further statement), so catch it around `run`.
* Being cancelled while waiting for `run` leaves the outcome unknown, as a crash would: read it back.

Errors: `StorageFailure` means that durability can no longer be vouched for. The database then refuses
everything (fail stop) and only a restart decides what is true.

Spec: reliability sections 2.1 to 2.3 and 6.11; performance section H traps 1 and 2.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping
from enum import StrEnum
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar
from urllib.parse import quote, unquote, urlsplit

if TYPE_CHECKING:
    from accesspoint.store.columns import Columns

T = TypeVar("T")
Octets = TypeVar("Octets", str, bytes)

Row: TypeAlias = Mapping[str, Any]
"""One row by column name: a plain dict in both dialects, or `columns.PartlyOpened`."""

Value: TypeAlias = str | bytes | int | float | None
"""What may be bound to `$n`; times are microseconds since the epoch as int."""


class Dialect(StrEnum):
    """The two database products there is SQL for."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"


class StorageError(Exception):
    """Everything the store raises on purpose."""


class StorageRefused(StorageError):
    """The store cannot be opened as it is: wrong place, wrong mode, wrong schema, already in use."""


class SchemaRefused(StorageRefused):
    """The tables were made by a newer or a changed program; nothing was touched."""


class StorageFailure(StorageError):
    """The commit is not known to be durable; answer nothing that promises anything."""


class StorageBusy(StorageFailure):
    """Somebody else held the write lock too long; nothing was written and the database goes on."""


class StorageFull(StorageBusy):
    """There is no room left; nothing was written, what is stored stays readable, and with room all goes on."""


class StorageInterrupted(StorageFailure):
    """The database went away under a work: it may have become durable or not, and later works find out.

    Whoever promised nothing yet answers nothing; a worker starts over from what the tables say. The database
    connects again by itself.
    """


class IntegrityKind(StrEnum):
    """Which rule of the tables a statement broke."""

    UNIQUE = "unique"
    FOREIGN_KEY = "foreign-key"
    CHECK = "check"
    NOT_NULL = "not-null"
    OTHER = "other"


class IntegrityViolation(StorageError):
    """The tables refuse a statement; `rule` names columns or the constraint, never a value."""

    def __init__(self, kind: IntegrityKind, rule: str) -> None:
        super().__init__(f"{kind}: {rule}")
        self.kind = kind
        self.rule = rule


class Transaction(ABC):
    """Statements inside one durable unit of work (or one consistent read)."""

    dialect: ClassVar[Dialect]
    skip_locked: ClassVar[str]
    """Ends a SELECT that claims rows: others skip what is claimed. Empty where there is one writer."""
    for_update: ClassVar[str]
    """Ends a SELECT whose rows the same work will change."""
    columns: "Columns"

    def sealed(self, column: str, id_: str, value: Octets) -> Octets:
        """Return a value that may name a patient as it is to be bound; `fetch` gives it back in the clear.

        `id_` is the id of the row, by the name that `columns.SEALED_COLUMNS` has for it.
        """
        return self.columns.seal(column, id_, value)

    @abstractmethod
    async def execute(self, sql: str, *values: Value) -> int:
        """Run one INSERT, UPDATE or DELETE; return the number of rows it changed."""

    @abstractmethod
    async def fetch(self, sql: str, *values: Value) -> list[Row]:
        """Run one SELECT or a statement with RETURNING; return all its rows, with what was sealed in the clear.

        A value that does not open raises ColumnDamaged or ColumnKeyMissing when it is asked for.
        """

    async def fetch_one(self, sql: str, *values: Value) -> Row | None:
        """Return the first row, or None."""
        rows = await self.fetch(sql, *values)
        return rows[0] if rows else None


Work: TypeAlias = Callable[[Transaction], Coroutine[Any, Any, T]]
"""An async function of a transaction; it awaits nothing but that transaction."""


class Database(ABC):
    """An open database of either dialect, migrated to the schema of this program."""

    dialect: ClassVar[Dialect]
    schema_version: int
    make_room: Callable[[], bool] = staticmethod(lambda: False)
    """Called when a commit finds the disk full; returns whether there is more room now, so that it is tried again."""

    @staticmethod
    async def open(
        url: str,
        *,
        migrations: Traversable | None = None,
        read_only: bool = False,
        columns: "Columns | None" = None,
    ) -> "Database":
        """Open, check and migrate the database at `sqlite:///absolute/path` or `postgresql://…`.

        `migrations` is the directory with the numbered SQL files; by default the packaged ones. With `read_only`
        a database is looked at beside the process that has it: it is not migrated, and `run` is refused. Without
        `columns` nothing is sealed, and nothing sealed is read.

        Raises: StorageRefused when it cannot be trusted or used as it is, StorageFailure when it breaks.
        """
        from accesspoint.store.columns import Columns  # which imports what is here

        columns = columns or Columns()
        directory = files("accesspoint.store") / "migrations" if migrations is None else migrations
        scheme = urlsplit(url).scheme
        if scheme == Dialect.SQLITE and read_only:
            from accesspoint.store.reading import SqliteToRead

            return SqliteToRead.start(sqlite_path(url), migrations=directory, columns=columns)
        if scheme == Dialect.SQLITE:
            from accesspoint.store.sqlite import SqliteDatabase

            return await SqliteDatabase.start(
                sqlite_path(url), migrations=directory, columns=columns
            )
        if scheme == Dialect.POSTGRESQL:
            from accesspoint.store.postgresql import PostgresqlDatabase  # asyncpg is an extra

            return await PostgresqlDatabase.start(
                url, migrations=directory, read_only=read_only, columns=columns
            )
        raise StorageRefused(f"there is no database driver for {scheme or 'a missing scheme'}:")

    @property
    @abstractmethod
    def failure(self) -> StorageFailure | None:
        """Why this database has stopped for good, or None while it works."""

    @abstractmethod
    async def wait_failed(self) -> StorageFailure:
        """Return when this database has stopped for good; the process should then end."""

    @abstractmethod
    async def run(self, work: Work[T]) -> T:
        """Do one durable unit of work; returns what it returned, after the commit is on disk.

        Raises: whatever the work raised (it alone is rolled back), IntegrityViolation, StorageFailure.
        """

    @abstractmethod
    async def read(self, work: Work[T]) -> T:
        """Do one work that only reads, on one consistent view, outside the queue of writers.

        Raises: whatever the work raised, StorageFailure.
        """

    async def fetch(self, sql: str, *values: Value) -> list[Row]:
        """Read all rows of one SELECT."""
        return await self.read(lambda transaction: transaction.fetch(sql, *values))

    async def fetch_one(self, sql: str, *values: Value) -> Row | None:
        """Read the first row of one SELECT, or None."""
        return await self.read(lambda transaction: transaction.fetch_one(sql, *values))

    @abstractmethod
    async def check_integrity(self) -> None:
        """Have the product check its own files.

        Raises: StorageFailure with the first finding.
        """

    @abstractmethod
    async def close(self) -> None:
        """Finish the queued works and let go of the database; further calls are refused."""


def sqlite_url(path: Path) -> str:
    """Return the database URL of a SQLite file; `path` must be absolute."""
    if not path.is_absolute():
        raise StorageRefused(f"the database path {path} is not absolute")
    return f"sqlite://{quote(str(path))}"


def sqlite_path(url: str) -> Path:
    """Return the file of a `sqlite:///absolute/path` URL.

    Raises: StorageRefused when the URL has a host, a query, or a relative path.
    """
    parts = urlsplit(url)
    path = Path(unquote(parts.path))
    if parts.netloc or parts.query or parts.fragment or not path.is_absolute() or path.name == "":
        raise StorageRefused(f"write the database as sqlite:///absolute/path, not {url}")
    return path
