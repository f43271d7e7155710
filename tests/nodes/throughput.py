"""How many exchanges a second one node and three nodes on one PostgreSQL bring to their end: `python -m tests.nodes.throughput`.

A report, not a test: all processes, the partner's and the database's included, share the processors of one machine,
so three nodes there show what sharing costs, not what more machines would bring.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path

import postgresql_server

from tests.nodes.cluster import GROUP, NODES, PARTNER, Cluster
from tests.soak.scene import SMALL_ONLY, Messages

AT_ONCE = 8


async def measure(
    server: postgresql_server.PostgresqlServer, base: Path, *, nodes: int, count: int
) -> float:
    """Exchanges a second, from the first submission until nobody owes anything: four AS4 messages and sixteen events each."""
    async with Cluster.open(base, server, seed=1, nodes=NODES[:nodes]) as cluster:
        drawn = Messages(1, SMALL_ONLY)
        messages = [drawn.draw() for _ in range(count)]
        running, slots = list(cluster.nodes.values()), asyncio.Semaphore(AT_ONCE)

        async def submit(number: int) -> None:
            identifier, data = messages[number]
            async with slots:
                cluster.ledger.submit(identifier, data)
                await running[number % len(running)].submit(data, cluster.glns[PARTNER])
                cluster.ledger.answer(identifier)

        began = time.monotonic()
        await asyncio.gather(*(submit(number) for number in range(count)))
        while cluster.ledger.delivered < 2 * count or await cluster.owed():
            await asyncio.sleep(0.05)
        took = time.monotonic() - began
        await cluster.stop()
        assert (
            len(
                await cluster.rows(
                    GROUP,
                    "SELECT 1 FROM messages WHERE state NOT IN ('NOTIFIED', 'PURGED') AND direction = 'out'",
                )
            )
            == 0
        )
        return count / took


def main() -> int:
    """Run with the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=150, help="exchanges in each measurement")
    arguments = parser.parse_args()
    with postgresql_server.running() as server:
        for nodes in (1, 3):
            with tempfile.TemporaryDirectory(prefix="nodes-") as name:
                rate = asyncio.run(measure(server, Path(name), nodes=nodes, count=arguments.count))
            sys.stdout.write(
                f"{nodes} node{'s' if nodes > 1 else ''}: {rate:.1f} exchanges/s, {4 * rate:.0f} AS4 messages/s"
                f" ({os.cpu_count()} processors, load {os.getloadavg()[0]:.1f})\n"
            )
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
