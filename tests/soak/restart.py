"""How long a killed node takes until it accepts again: `python -m tests.soak.restart --open N --restarts N`.

The store holds that many messages which are owed to a partner that is not there, and as many delivery events
for a status component that is not there either, all of them due: the worst that a restart finds. The node is
killed and started again and again; each time is measured until it says that it is ready, and until it has
accepted a message, which is what counts. The same with an empty store stands beside it.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random

from command_line import SOURCE
from fault_proxy import FaultProxy
from rich.console import Console
from rich.table import Table

from accesspoint.app import AccessPoint
from accesspoint.clock import SystemClock
from accesspoint.config import load
from accesspoint.ids import SystemIds
from accesspoint.outbound.submit import Submit
from accesspoint.stations.document import Envelope
from accesspoint.stations.sbd_file import stored
from tests.load.load_scene import new_envelope
from tests.soak.pair import Node
from tests.soak.reporting import disk_gib
from tests.soak.scene import KIB, SENDER, SMALL_ONLY, Messages, Scene

GOAL_SECONDS = 2.0
NOBODY = "https://127.0.0.1:1"
PAYLOAD_BYTES = 8 * KIB
BATCH = 100
LONGEST_LIFE_SECONDS = 1.0
_TICKS = os.sysconf("SC_CLK_TCK")
_OUT = Console(width=140, highlight=False)


@dataclass(frozen=True, slots=True)
class Restart:
    """Seconds from the start of the process until it was ready, until it had accepted, and its CPU time until then."""

    ready: float
    accepting: float
    cpu: float


async def fill(scene: Scene, count: int) -> None:
    """Have that many accepted messages in the sender's store, by the code that accepts them."""
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        point = AccessPoint(load(scene.plans[SENDER].config, {}), clock=clock, ids=SystemIds(clock))
        await point.open_stores(stack)
        point.load_keys()
        point.build_reporting(_no_session)
        submit = Submit(
            payloads=point.payloads, reporter=point.reporter, clock=clock, ids=point.ids, domain=point.domain
        )  # fmt: skip

        async def accept(number: int) -> None:
            header, data = new_envelope(number, size=PAYLOAD_BYTES)
            with point.payloads.create() as writer:
                writer.write(data)
                document = stored(writer.finish())
            envelope = Envelope(header.scope("MESSAGEIDENTIFIER") or "", document, header)
            await point.bells.run(point.database, await submit.take_envelope(envelope))

        for first in range(0, count, BATCH):
            await asyncio.gather(*map(accept, range(first, min(first + BATCH, count))))


def _no_session() -> None:  # the relay of events is built and never run
    raise AssertionError


async def restart(node: Node, data: bytes) -> Restart:
    """Start the node, which does not run, and submit as soon as it is ready."""
    began = time.monotonic()
    await node.start()
    ready = time.monotonic() - began
    await node.submit(data)
    return Restart(ready, time.monotonic() - began, _cpu_seconds(node))


def _cpu_seconds(node: Node) -> float:
    fields = Path(f"/proc/{node.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


async def measure(base: Path, *, count: int, restarts: int, seed: int) -> list[Restart]:
    """Restart a node that many times over a store with that many open messages."""
    scene = Scene.make(base)
    scene.write_config(SENDER, partner_url=f"{NOBODY}/as4", status_url=NOBODY, workers=8)
    began = time.monotonic()
    await fill(scene, count)
    _OUT.print(f"{count} open messages stored in {time.monotonic() - began:.0f} s", style="dim")
    node = Node(scene.plans[SENDER], FaultProxy(), {"PYTHONPATH": str(SOURCE)})
    messages, random = Messages(seed, SMALL_ONLY), Random(seed)
    found = []
    try:
        await node.start()
        for number in range(restarts):
            await asyncio.sleep(random.uniform(0, LONGEST_LIFE_SECONDS))
            await node.kill()
            found.append(await restart(node, messages.draw()[1]))
            if number % 10 == 9:
                _OUT.print(f"{number + 1} of {restarts} restarts", style="dim")
    finally:
        await node.stop()
    _OUT.print(f"store: {disk_gib(base):.2f} GiB, {_states(node)}", style="dim")
    return found


def _states(node: Node) -> str:
    sql = "SELECT state, count(*) FROM messages GROUP BY state ORDER BY state"
    return ", ".join(f"{count} {state}" for state, count in node.rows().execute(sql))


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that this share of all does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def show(rows: dict[str, list[Restart]]) -> None:
    """Print the table."""
    table = Table(title="seconds from the start of the process")
    for name in ("open messages", "restarts", "ready p50", "ready p99", "accepting p50", "accepting p99",
                 "CPU p50", "CPU p99"):  # fmt: skip
        table.add_column(name, justify="right")
    for name, restarts in rows.items():
        columns = (
            [getattr(one, what) for one in restarts] for what in ("ready", "accepting", "cpu")
        )
        figures = (f"{quantile(column, share):.2f}" for column in columns for share in (0.5, 0.99))
        table.add_row(name, str(len(restarts)), *figures)
    _OUT.print(table)


async def run(arguments: argparse.Namespace, base: Path) -> int:
    """Measure both stores; the exit status."""
    rows = {}
    for count in (0, arguments.open):
        place = base / str(count)
        place.mkdir(mode=0o700)
        rows[str(count)] = await measure(
            place, count=count, restarts=arguments.restarts, seed=arguments.seed
        )
    show(rows)
    full = rows[str(arguments.open)]
    accepting = quantile([one.accepting for one in full], 0.99)
    _OUT.print(f"restart to accepting, p99: {accepting:.2f} s, goal {GOAL_SECONDS} s")
    cpu = quantile([one.cpu for one in full], 0.99)
    return 0 if cpu <= arguments.cpu_seconds else 1


def main() -> int:
    """Run with the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--open", type=int, default=10_000)
    parser.add_argument("--restarts", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cpu-seconds", type=float, default=2 * GOAL_SECONDS,
                        help="the exit status is 1 when the CPU time until a node accepts is above this, p99")  # fmt: skip
    parser.add_argument("--directory", type=Path, help="where the stores stand; a real disk")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="restart-", dir=arguments.directory) as name:
        return asyncio.run(run(arguments, Path(name)))


if __name__ == "__main__":
    sys.exit(main())
