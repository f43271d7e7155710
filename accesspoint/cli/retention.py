"""`accesspoint retention`: what is kept longer than it has to be, and letting go of it."""

import asyncio
import sys
from pathlib import Path

from accesspoint import log
from accesspoint.cli.current import load_given
from accesspoint.clock import SystemClock
from accesspoint.config import Configuration
from accesspoint.problems import ExitStatus
from accesspoint.retry import format_duration
from accesspoint.store.columns import require_readable
from accesspoint.store.configured import build_columns, build_payload_store, database_url
from accesspoint.store.database import Database
from accesspoint.store.housekeeping import Housekeeper


def run(config: Path, *, dry_run: bool) -> int:
    """Show what would go, or let it go; the exit status."""
    log.configure(level="error")
    return asyncio.run(_run(load_given(config), dry_run=dry_run))


async def _run(configuration: Configuration, *, dry_run: bool) -> int:
    # A key that is missing is not made anew here: it would open nothing of what stands.
    columns = build_columns(configuration, to_read=True)
    database = await Database.open(database_url(configuration), read_only=dry_run, columns=columns)
    try:
        await database.read(require_readable)
        payloads = build_payload_store(configuration, to_read=dry_run, make_key=False)
    except BaseException:
        await database.close()
        raise
    try:
        keeper = Housekeeper(
            database, payloads, clock=SystemClock(), periods=configuration.retention
        )
        counts = await (keeper.retention.preview() if dry_run else keeper.retention.apply())
        orphans = await keeper.orphans.find()
    finally:
        payloads.close()
        await database.close()
    lines = [(c.rule.name, format_duration(c.rule.after), c.rows, c.octets) for c in counts]
    lines.append(
        ("payloads that no row refers to", format_duration(configuration.retention.orphans),
         len(orphans), sum(entry.size for entry in orphans))
    )  # fmt: skip
    width = max(len(name) for name, *_ in lines)
    sys.stdout.write(f"{'':{width}}  {'kept for':>8}  {'over':>8}  {'payload':>10}\n")
    for name, after, rows, octets in lines:
        size = f"{octets / 2**20:.1f} MiB" if octets else ""
        sys.stdout.write(f"{name:{width}}  {after:>8}  {rows:>8}  {size:>10}".rstrip() + "\n")
    closing = (
        "nothing was changed; a node lets go of all this by itself, once an hour"
        if dry_run
        else "let go; payloads without a row are left to the node, which looks at them twice"
    )
    sys.stdout.write(f"\n{closing}\n")
    return ExitStatus.OK
