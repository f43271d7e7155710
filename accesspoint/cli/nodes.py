"""`accesspoint nodes`: which processes work on a node's database, read from the database itself, whoever of them runs."""

import asyncio
import sys
from datetime import datetime, timedelta
from pathlib import Path

from accesspoint.cli.current import load_given
from accesspoint.clock import SystemClock, from_microseconds
from accesspoint.config import Configuration
from accesspoint.problems import ExitStatus
from accesspoint.store.configured import database_url
from accesspoint.store.database import Database, Row, Transaction
from accesspoint.store.nodes import list_nodes, read_clock

_COLUMNS = "{name:<20} {started:<20} {seen:<16} {version:<10} {schema:>6} {leases:>6}\n"


def run(config: Path) -> int:
    """List them; the exit status."""
    sys.stdout.write(asyncio.run(_list(load_given(config))))
    return ExitStatus.OK


async def _list(configuration: Configuration) -> str:
    async def look(tx: Transaction) -> tuple[list[Row], int | None]:
        return await list_nodes(tx), await read_clock(tx)

    database = await Database.open(database_url(configuration), read_only=True)
    try:
        rows, server = await database.read(look)
    finally:
        await database.close()
    # Whoever is there was written down by the server's clock, not by ours.
    now = SystemClock().now() if server is None else from_microseconds(server)
    return render(rows, now=now, lease=configuration.node.lease)


def render(rows: list[Row], *, now: datetime, lease: timedelta) -> str:
    """The nodes as lines of text; one that was not seen for the length of a lease is called silent."""
    head = _COLUMNS.format(
        name="node", started="started (UTC)", seen="last seen", version="version", schema="schema", leases="leases"
    )  # fmt: skip
    lines = [head]
    for row in rows:
        ago = now - from_microseconds(int(row["seen_at"]))
        seen = f"{max(0, round(ago.total_seconds()))} s ago"
        lines.append(
            _COLUMNS.format(
                name=row["name"],
                started=f"{from_microseconds(int(row['started_at'])):%Y-%m-%d %H:%M:%S}",
                seen=f"{seen}, silent" if ago > lease else seen,
                version=row["version"], schema=row["schema_version"], leases=row["leases"],
            )
        )  # fmt: skip
    names = [row["name"] for row in rows if now - from_microseconds(int(row["seen_at"])) <= lease]
    lines += [
        f"{names.count(name)} living nodes are called {name}: give each its own [node] name\n"
        for name in sorted(set(names))
        if names.count(name) > 1
    ]
    return "".join(lines) if rows else "no node runs, and none was killed\n"
