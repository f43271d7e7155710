"""Random SIGKILLs under load: `python -m tests.soak.kills --kills N --seed S`.

Either node is killed at random moments, sometimes both at once, while messages are submitted and travel through
a network that breaks connections; what was killed is started again, and the load goes on. At the end
everything must drain.
"""

import argparse
import asyncio
import sys
import time
from pathlib import Path
from random import Random

from fault_proxy import seeded

from tests.soak.checker import check
from tests.soak.command import run_program
from tests.soak.load import Load
from tests.soak.pair import Node, Pair
from tests.soak.reporting import Progress, show
from tests.soak.scene import SMALL_ONLY, Messages

EVENTS_A_LIFE = 60
LONGEST_LIFE_SECONDS = 3.0
BOTH = 0.1


class Killer:
    """Kills a node, or now and then both at once, at a random moment.

    A life of both lasts for a random number of events and deliveries, 0 to `EVENTS_A_LIFE`, so that a slow machine
    is not killed before it has done anything; and it has an end.
    """

    def __init__(self, pair: Pair, *, seed: int) -> None:
        self._pair = pair
        self._random = Random(seed)
        self.starts: list[float] = []

    async def run(self, kills: int) -> None:
        """Returns when so many kills are made and both nodes run again."""
        while kills > 0:
            kills -= await self.once()

    async def once(self) -> int:
        """One moment of killing; returns how many nodes were killed, which run again."""
        ledger = self._pair.ledger
        enough = ledger.moved + self._random.randint(0, EVENTS_A_LIFE)
        end = time.monotonic() + LONGEST_LIFE_SECONDS
        while ledger.moved < enough and time.monotonic() < end:
            await asyncio.sleep(self._random.uniform(0, 0.02))
        nodes = list(self._pair.nodes.values())
        chosen = nodes if self._random.random() < BOTH else [self._random.choice(nodes)]
        await asyncio.gather(*(node.kill() for node in chosen))
        await asyncio.gather(*(self._start(node) for node in chosen))
        return len(chosen)

    async def _start(self, node: Node) -> None:
        began = time.monotonic()
        await node.start()
        self.starts.append(time.monotonic() - began)


async def run(arguments: argparse.Namespace, base: Path) -> int:
    """One run; the exit status."""
    seed = arguments.seed
    async with Pair.open(
        base, script=lambda name: seeded(hash_of(seed, name), turns=10), seed=seed, failing_reports=0.01,
        planted=arguments.planted,
    ) as pair:  # fmt: skip
        load = Load(pair, Messages(seed, SMALL_ONLY))
        killer = Killer(pair, seed=seed)
        progress = Progress(pair, load, exchanges=None)
        async with progress.shown():
            async with asyncio.TaskGroup() as group:
                group.create_task(load.run())
                await killer.run(arguments.kills)
                load.finish()
            killed = time.monotonic() - load.began
            drained = await load.drained(patience=arguments.patience)
        await pair.stop()
        numbers = {
            "SIGKILLs": sum(node.kills for node in pair.nodes.values()),
            "seconds of kills": killed,
            "seconds until everything had drained": time.monotonic() - load.began - killed,
            "restart to ready, p50 seconds": sorted(killer.starts)[len(killer.starts) // 2],
            "restart to ready, longest seconds": max(killer.starts),
            "submissions that were repeated": load.repeated,
            "network faults": sum(node.proxy.fired.total() for node in pair.nodes.values()),
            "status component failed": pair.stub.failed,
            "drained": "yes" if drained else "NO",
        }
    return show(f"random SIGKILLs under load, seed {seed}", check(pair), numbers)


def hash_of(seed: int, name: str) -> int:
    """A seed of its own for each name, the same in every process."""
    return seed * 1000 + sum(name.encode())


def main() -> int:
    """Run with the arguments of the command line."""
    return run_program(run, __doc__, amount="kills", default=200)


if __name__ == "__main__":
    sys.exit(main())
