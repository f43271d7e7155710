"""The soak: `python -m tests.soak.run --messages N --seed S`, N counted in AS4 messages with verified receipts.

Messages of all sizes travel between two whole nodes through a network that breaks connections, while nodes are
killed now and then, old requests are replayed, and the status component fails. Each message submitted is an
exchange of four AS4 messages: itself, its MedCom acknowledgement, and an envelope acknowledgement of each. The
mixture is one of submitted messages: 95 % 7 to 20 KiB, 4 % 1 MiB, 1 % 10 MiB.

Kills end when six tenths are through, so that memory can be watched over the rest, in one life of each node.
"""

import argparse
import asyncio
import sys
import time
from pathlib import Path

from fault_proxy import seeded

from tests.soak.checker import check
from tests.soak.command import run_program
from tests.soak.kills import Killer, hash_of
from tests.soak.load import PUSHES, Load
from tests.soak.pair import Pair
from tests.soak.replay import Replayer
from tests.soak.reporting import Progress, cpu_seconds, disk_gib, show
from tests.soak.scene import Messages, Mixture

MESSAGES_A_KILL = 1000
KILLED_SHARE = 0.6
WARM_SECONDS = 10.0
"""After its last start a node fills its caches first; the slope is that of the time after."""


async def run(arguments: argparse.Namespace, base: Path) -> int:
    """One run; the exit status."""
    seed = arguments.seed
    exchanges = -(-arguments.messages // PUSHES)
    async with Pair.open(
        base, script=lambda name: seeded(hash_of(seed, name), turns=20), seed=seed,
        failing_reports=0.005, workers=8, planted=arguments.planted,
    ) as pair:  # fmt: skip
        load = Load(pair, Messages(seed, Mixture()), exchanges=exchanges)
        progress = Progress(pair, load, exchanges=exchanges)
        replays = [
            Replayer(pair.sender, pair.receiver, seed=seed),
            Replayer(pair.receiver, pair.sender, seed=seed + 1),
        ]
        async with progress.shown():
            tasks = [asyncio.create_task(one.run()) for one in replays]
            submitting = asyncio.create_task(load.run())
            kills = await _kill_now_and_then(pair, load, exchanges, arguments)
            quiet_from = time.monotonic() - load.began + WARM_SECONDS
            await submitting
            drained = await load.drained(patience=arguments.patience)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        seconds = time.monotonic() - load.began
        slope, peak = progress.slope(quiet_from), progress.peak()
        await pair.stop()
        report = check(pair)
        report.findings["replayed request got another answer"] = sum(
            one.different for one in replays
        )
        numbers = {
            "seconds": seconds,
            "AS4 messages a second": load.done * PUSHES / seconds,
            "CPU milliseconds an AS4 message, everything": cpu_seconds()
            / load.done
            / PUSHES
            * 1000,
            "SIGKILLs": kills,
            "network faults": sum(node.proxy.fired.total() for node in pair.nodes.values()),
            **{f"network faults: {kind}": number for kind, number in _fired(pair).items()},
            "status component failed": pair.stub.failed,
            "requests replayed and answered with the stored receipt": sum(
                one.answered for one in replays
            ),
            "submissions that were repeated": load.repeated,
            **{f"peak memory of {name}, MiB": value for name, value in peak.items()},
            **{f"memory slope of {name}, MiB/h": value for name, value in slope.items()},
            "seconds of the slope": max(0.0, seconds - quiet_from),
            "on disk at the end, GiB": disk_gib(base),
            "drained": "yes" if drained else "NO",
        }
    return show(f"soak of {arguments.messages} AS4 messages, seed {seed}", report, numbers)


async def _kill_now_and_then(
    pair: Pair, load: Load, exchanges: int, arguments: argparse.Namespace
) -> int:
    """Kill evenly over the first part of the run; returns how many."""
    planned = arguments.messages * KILLED_SHARE // MESSAGES_A_KILL
    killer = Killer(pair, seed=arguments.seed)
    made = 0
    while made < planned and load.done < exchanges * KILLED_SHARE:
        if load.done * PUSHES < made * MESSAGES_A_KILL:
            await asyncio.sleep(0.1)
            continue
        made += await killer.once()
    return made


def _fired(pair: Pair) -> dict[str, int]:
    """How often each kind of network fault happened."""
    one, two = (node.proxy.fired for node in pair.nodes.values())
    return dict(sorted((one + two).items()))


def main() -> int:
    """Run with the arguments of the command line."""
    return run_program(run, __doc__, amount="messages", default=20_000)


if __name__ == "__main__":
    sys.exit(main())
