"""`accesspoint dev`: the demo's network with its data kept, until it is interrupted."""

import asyncio
import sys
import time
from pathlib import Path

from accesspoint import __version__, log
from accesspoint.cli.current import data_home
from accesspoint.cli.demo import ARRANGEMENTS, kept, show_network, stop_on_signals
from accesspoint.clock import SystemClock
from accesspoint.demo.stage import Stage
from accesspoint.demo.timeline import Timeline
from accesspoint.ids import SystemIds
from accesspoint.problems import ExitStatus


def run(*, directory: Path | None, stations: str) -> int:
    """Run until interrupted; the exit status."""
    if stations not in ARRANGEMENTS:
        sys.stderr.write("--stations is `together` or `apart`\n")
        return ExitStatus.USAGE
    log.configure(level="error")
    # One directory per arrangement: a node's data belongs to the stations it runs.
    base = directory or data_home() / ("dev" if stations == "together" else "dev-apart")
    return asyncio.run(_run(base, apart=stations == "apart"))


async def _run(base: Path, *, apart: bool) -> int:
    out = Timeline(sys.stdout)
    clock = SystemClock()
    stop = stop_on_signals()
    started = time.monotonic()
    out.say(f"  EHMI access point {__version__}   TEST network on loopback, data in {base}")
    async with Stage(
        base, apart=apart, clock=clock, ids=SystemIds(clock), keep_data=True, share=True
    ) as stage:
        show_network(stage, out)
        out.say(f"  ready in {time.monotonic() - started:.1f} s")
        async with kept(stage, out):
            await stop.wait()
    out.say("\n  stopped; the data is kept")
    return ExitStatus.OK
