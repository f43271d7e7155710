"""`accesspoint dev`: the demo's network with its data kept, until it is interrupted."""

import asyncio
import sys
import time
from pathlib import Path

from accesspoint import __version__, log
from accesspoint.cli.current import data_home
from accesspoint.cli.demo import ARRANGEMENTS, kept, show_network, stop_on_signals, until_stopped
from accesspoint.clock import SystemClock
from accesspoint.config import Acknowledge
from accesspoint.demo.stage import Stage
from accesspoint.demo.timeline import Timeline
from accesspoint.ids import SystemIds
from accesspoint.problems import ExitStatus
from accesspoint.process import protect


def run(*, directory: Path | None, stations: str, acknowledge: str) -> int:
    """Run until interrupted; the exit status."""
    protect()
    if stations not in ARRANGEMENTS:
        sys.stderr.write("--stations is `together` or `apart`\n")
        return ExitStatus.USAGE
    answering: Acknowledge
    match acknowledge:
        case "automatic" | "on-demand":
            answering = acknowledge
        case _:
            sys.stderr.write("--acknowledge is `automatic` or `on-demand`\n")
            return ExitStatus.USAGE
    log.configure(level="error")
    # One directory per arrangement: a node's data belongs to the stations it runs.
    base = directory or data_home() / ("dev" if stations == "together" else "dev-apart")
    return asyncio.run(_run(base, apart=stations == "apart", acknowledge=answering))


async def _run(base: Path, *, apart: bool, acknowledge: Acknowledge) -> int:
    out = Timeline(sys.stdout)
    clock = SystemClock()
    stop = stop_on_signals()
    started = time.monotonic()
    out.say(f"  EHMI access point {__version__}   TEST network on loopback, data in {base}")
    async with Stage(
        base, apart=apart, clock=clock, ids=SystemIds(clock), keep_data=True, share=True,
        acknowledge=acknowledge,
    ) as stage:  # fmt: skip
        show_network(stage, out)
        out.say(f"  ready in {time.monotonic() - started:.1f} s")
        async with kept(stage, out):
            status = await until_stopped(stage, stop)
    out.say("\n  stopped; the data is kept")
    return status
