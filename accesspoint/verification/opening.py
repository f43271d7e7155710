"""Verifying the store of a node: as its configuration says, or a directory of which nothing else is known."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

from accesspoint.clock import Clock, SystemClock, to_microseconds
from accesspoint.config import Configuration
from accesspoint.store.columns import Columns
from accesspoint.store.configured import build_columns, build_payload_store, database_url
from accesspoint.store.database import Database, StorageRefused, sqlite_url
from accesspoint.store.payloads import PayloadStore
from accesspoint.store.reading import SqliteToRead, directory_to_read
from accesspoint.verification.evidence import Progress, Setting
from accesspoint.verification.invariants import verify
from accesspoint.verification.report import Report

DATABASE: Final = "accesspoint.db"
_TRIES: Final = 3


Opened = tuple[Database, PayloadStore]


@asynccontextmanager
async def open_node(configuration: Configuration) -> AsyncIterator[Opened]:
    """Open the store of a node only to read it, whether it runs or not.

    Raises: StorageRefused when it is not there or has another schema, StorageFailure when it breaks.
    """
    columns = build_columns(configuration, to_read=True)
    database = await Database.open(database_url(configuration), read_only=True, columns=columns)
    try:
        payloads = build_payload_store(configuration, to_read=True)
        try:
            yield database, payloads
        finally:
            payloads.close()
    finally:
        await database.close()


@asynccontextmanager
async def _open_directory(directory: Path) -> AsyncIterator[Opened]:
    url, columns = sqlite_url(directory / DATABASE), Columns(skip_unknown=True)
    database = await Database.open(url, read_only=True, columns=columns)
    try:
        yield database, PayloadStore(directory_to_read(directory / "payloads"))
    finally:
        await database.close()


async def verify_node(
    configuration: Configuration,
    *,
    clock: Clock | None = None,
    progress: Progress | None = None,
    logs: Sequence[Path] = (),
) -> Report:
    """Verify the store of a node, running or stopped, and change nothing in it.

    Raises: what `open_node` raises, KeysError when a certificate that the configuration names cannot be read.
    """
    return await _verify(
        partial(open_node, configuration),
        Setting.of(configuration, logs=logs),
        configuration.label,
        clock=clock or SystemClock(),
        progress=progress,
    )


async def verify_directory(
    directory: Path,
    *,
    clock: Clock | None = None,
    progress: Progress | None = None,
    logs: Sequence[Path] = (),
) -> Report:
    """Verify a store directory (an absolute path) without its configuration: what is encrypted is then only looked for, not read.

    Raises: StorageRefused when it holds no database of this schema, StorageFailure when it breaks.
    """
    return await _verify(
        partial(_open_directory, directory),
        Setting(logs=logs),
        str(directory),
        clock=clock or SystemClock(),
        progress=progress,
    )


async def _verify(
    opened: Callable[[], AbstractAsyncContextManager[Opened]],
    setting: Setting,
    subject: str,
    *,
    clock: Clock,
    progress: Progress | None,
) -> Report:
    for _ in range(_TRIES):
        async with opened() as (database, payloads):
            now = replace(setting, running=await _is_running(database, setting.lease, clock))
            report = await verify(
                database, payloads, setting=now, clock=clock, subject=subject, progress=progress
            )
            if not (isinstance(database, SqliteToRead) and database.was_disturbed):
                return report
    raise StorageRefused(f"{subject} was started and stopped again and again while it was verified")


async def _is_running(database: Database, lease: timedelta, clock: Clock) -> bool:
    """Whether a node works on the store: on SQLite it has a lock, on PostgreSQL it says so with every heartbeat."""
    if isinstance(database, SqliteToRead):
        return database.in_use
    row = await database.fetch_one("SELECT MAX(seen_at) AS seen_at FROM nodes")
    seen = None if row is None else row["seen_at"]
    return seen is not None and int(seen) > to_microseconds(clock.now() - lease)
