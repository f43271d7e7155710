"""Random SIGKILLs under load: `python -m tests.soak.kills --kills N --seed S`.

Either node is killed at random moments, sometimes both at once, while messages are submitted and travel through
a network that breaks connections; what was killed is started again, and the load goes on. At the end
everything must drain.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from random import Random

from fault_proxy import seeded

from tests.soak.checker import check
from tests.soak.load import Load
from tests.soak.pair import Node, Pair
from tests.soak.reporting import Progress, show
from tests.soak.scene import SMALL_ONLY, Messages

LONGEST_LIFE_SECONDS = 0.8
BOTH = 0.1
PATIENCE_SECONDS = 30.0


class Killer:
    """Kills a node, or now and then both at once, after a random time in which both ran; until there were enough."""

    def __init__(self, pair: Pair, *, kills: int, seed: int, longest_life: float) -> None:
        self._pair = pair
        self._left = kills
        self._random = Random(seed)
        self._longest_life = longest_life
        self.starts: list[float] = []

    async def run(self) -> None:
        """Returns when the kills are made and both nodes run again."""
        while self._left > 0:
            self._left -= await self.once()

    async def once(self) -> int:
        """One moment of killing; returns how many nodes were killed, which run again."""
        await asyncio.sleep(self._random.uniform(0, self._longest_life))
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
        killer = Killer(pair, kills=arguments.kills, seed=seed, longest_life=LONGEST_LIFE_SECONDS)
        progress = Progress(pair, load, exchanges=None)
        async with progress.shown():
            async with asyncio.TaskGroup() as group:
                group.create_task(load.run())
                await killer.run()
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--directory", type=Path, help="where the stores stand; a real disk")
    parser.add_argument("--planted", help="a fault to plant in both nodes, see tests/soak/planted")
    parser.add_argument("--patience", type=float, default=PATIENCE_SECONDS,
                        help="seconds without any movement after which nothing more is expected")  # fmt: skip
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kills-", dir=arguments.directory) as name:
        return asyncio.run(run(arguments, Path(name)))


if __name__ == "__main__":
    sys.exit(main())
