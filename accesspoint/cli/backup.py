"""`accesspoint db backup`: a copy of one node's store that a node can be started from, made while it runs."""

import asyncio
import sys
from pathlib import Path

from accesspoint import log
from accesspoint.cli.current import load_given
from accesspoint.clock import SystemClock
from accesspoint.problems import ExitStatus, ProblemRaised
from accesspoint.store.backup import PlaceUsed, back_up
from accesspoint.store.configured import build_payload_place, database_url
from accesspoint.store.database import sqlite_path


def run(config: Path, directory: Path) -> int:
    """Write the backup; the exit status."""
    log.configure(level="error")
    configuration = load_given(config)
    url = database_url(configuration)
    if not url.startswith("sqlite:"):
        raise ProblemRaised("backup-elsewhere")
    place = build_payload_place(configuration)
    try:
        made = asyncio.run(back_up(sqlite_path(url), place, directory, at=SystemClock().now()))
    except PlaceUsed as used:
        raise ProblemRaised("backup-place-used", file=directory) from used
    finally:
        place.close()
    sys.stdout.write(
        f"{directory}: the database and {made['payloads']} payloads, {made['octets'] / 2**20:.1f} MiB\n"
        f"restore: use it as [store] directory, with the same keys\n"
    )
    if made["missing"]:
        sys.stderr.write(f"{made['missing']} payloads that rows refer to were not there\n")
        return ExitStatus.FAILED
    return ExitStatus.OK
