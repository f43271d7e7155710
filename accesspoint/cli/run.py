"""`accesspoint run`: one node from one file, until it is asked to stop."""

import asyncio
import json
import signal
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import structlog

from accesspoint import failpoints, log
from accesspoint.app import AccessPoint, start
from accesspoint.cli.current import load_given
from accesspoint.config import Profile
from accesspoint.problems import ExitStatus, ProblemRaised
from accesspoint.process import protect


def run(path: Path) -> int:
    """Run the node; the exit status. What keeps it from starting is raised and told by the command tree."""
    protect()
    configuration = load_given(path, certificates=True)
    if failpoints.is_armed() and configuration.profile is not Profile.DEV:
        raise ProblemRaised("failpoints-armed")
    by_hand = configuration.profile is Profile.DEV and sys.stderr.isatty()
    log.configure(format=log.Format.CONSOLE if by_hand else log.Format.JSON)
    log.catch_crashes()
    if configuration.node.name is not None:
        # Of several nodes each line of the log says which.
        structlog.contextvars.bind_contextvars(node=configuration.node.name)
    return asyncio.run(serve(start(configuration), configuration.label))


async def serve(starting: AbstractAsyncContextManager[AccessPoint], label: str) -> int:
    """Run a node until it is asked to stop; the exit status."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with starting as node:
        loop.add_signal_handler(signal.SIGHUP, node.key_watch.look_now)
        # The one line of standard output: whoever started us reads where we listen.
        sys.stdout.write(json.dumps({"ready": node.addresses, "label": label}) + "\n")
        sys.stdout.flush()
        waiting = asyncio.create_task(stop.wait())
        working = asyncio.create_task(node.wait())
        done, pending = await asyncio.wait([waiting, working], return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        if working in done:
            working.result()
    return ExitStatus.OK
