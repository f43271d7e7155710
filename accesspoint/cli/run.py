"""`accesspoint run`: one node from one file, until it is asked to stop."""

import asyncio
import json
import signal
import sys
from pathlib import Path

from accesspoint import log
from accesspoint.app import start
from accesspoint.config import Configuration, ConfigurationProblem, Profile, load
from accesspoint.store.database import StorageError
from keys.errors import KeysError

STOPPED, FAILED, CONFIGURATION, TRUST, STORAGE = 0, 1, 3, 7, 70


def run(path: Path) -> int:
    """Run the node; the exit status."""
    try:
        configuration = load(path)
    except ConfigurationProblem as problem:
        sys.stderr.write(f"{problem}\n")
        return CONFIGURATION
    by_hand = configuration.profile is Profile.DEV and sys.stderr.isatty()
    log.configure(format=log.Format.CONSOLE if by_hand else log.Format.JSON)
    try:
        return asyncio.run(_serve(configuration))
    except KeysError as error:
        sys.stderr.write(f"{error}\n")
        return TRUST
    except StorageError as error:
        sys.stderr.write(f"storage: {error}\n")
        return STORAGE
    except OSError as error:
        sys.stderr.write(f"{error.strerror or type(error).__name__}\n")
        return FAILED


async def _serve(configuration: Configuration) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with start(configuration) as node:
        # The one line of standard output: whoever started us reads where we listen.
        sys.stdout.write(json.dumps({"ready": node.addresses, "label": configuration.label}) + "\n")
        sys.stdout.flush()
        waiting = asyncio.create_task(stop.wait())
        working = asyncio.create_task(node.wait())
        done, pending = await asyncio.wait([waiting, working], return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        if working in done:
            working.result()
    return STOPPED
