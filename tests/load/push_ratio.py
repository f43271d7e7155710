"""How much of the CPU of two access points is the cryptography that nobody can do without: R, per durable AS4 push.

    python tests/load/push_ratio.py [--messages N] [--key 2048|3072] [--quick] [--row push|exchange|stages]

Two processes each run the access point station alone, stores on disk with fsync, one pool of mutual TLS
connections kept alive. A push begins with the envelope's bytes at the sender (written durably, then
committed) and ends with the verified receipt committed there and the durable hand-over to the station
above committed at the receiver; carrying that hand-over is no part of the push. The CPU time of both processes, user and system, is
divided by the messages; the floor is timed in this process between the batches, so that a busy machine
weighs on both. The second row is the whole exchange of the demo: four pushes, envelopes,
acknowledgements and delivery events, against four floors; the network it talks to is not counted.

Everything is CPU time and a ratio; messages per second and latency are for information only.
"""

# ruff: noqa: E402 (the project need not be installed: its root is put on the path first)

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Any, Final

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

import load_exchange
import load_stages
from load_floor import Floor, measure
from load_scene import Side, make_sides, new_envelope, new_key, write_config
from rich.console import Console
from rich.table import Table

from accesspoint import log as program_log

WARM_UP: Final = 16
IN_FLIGHT: Final = 4
BATCHES: Final = 10
LINE_BYTES: Final = 16 * 1024 * 1024
Json = dict[str, Any]
_progress = Console(stderr=True)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; CPU in milliseconds per message, memory in MiB."""

    name: str
    messages: int
    sender_cpu: float
    receiver_cpu: float
    floor: float
    rate: float
    p50: float
    p95: float
    peak_mib: float

    @property
    def ratio(self) -> float:
        """R: the floor's share of the CPU time of both sides."""
        return self.floor / (self.sender_cpu + self.receiver_cpu)


class Child:
    """One node process and its line of questions."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ask(self, **asked: Any) -> Json:
        """Send one line, wait for its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("a node ended; its log is beside its configuration")
        answer: Json = json.loads(line)
        return answer


@asynccontextmanager
async def running(side: Side) -> AsyncIterator[Child]:
    """A node process for the length of the context; its end of input ends it."""
    with (side.directory / "log.jsonl").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(HERE / "load_node.py"),
            str(side.config),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            limit=LINE_BYTES,
        )
    try:
        yield Child(process)
    finally:
        if process.stdin is not None:
            process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            process.kill()
            await process.wait()


async def measure_pushes(base: Path, *, messages: int, key_bits: int) -> Row:
    """Push `messages` in batches with the floor timed in between; medians over the batches."""
    sender_side, receiver_side = make_sides(base, key_bits=key_bits)
    write_config(receiver_side, sender_side, url="https://127.0.0.1:1/as4", in_flight=IN_FLIGHT)
    key, (_, payload) = new_key(key_bits), new_envelope(0)
    async with running(receiver_side) as receiver:
        address = (await receiver.ask(do="usage"))["as4"]
        write_config(sender_side, receiver_side, url=f"https://{address}/as4", in_flight=IN_FLIGHT)
        async with running(sender_side) as sender:
            batch = max(1, messages // BATCHES)
            arrived = 0
            sides: list[tuple[float, float]] = []
            floors: list[Floor] = []
            latencies: list[float] = []
            seconds = 0.0
            for number in range(-1, messages // batch):
                count = WARM_UP if number < 0 else batch
                await sender.ask(do="prepare", messages=count)
                before = [await child.ask(do="usage") for child in (sender, receiver)]
                began = perf_counter()
                answer = await sender.ask(do="send", messages=count, in_flight=IN_FLIGHT)
                arrived += count
                await receiver.ask(do="arrived", messages=arrived)
                took = perf_counter() - began
                after = [await child.ask(do="usage") for child in (sender, receiver)]
                floor = measure(key, payload, repeat=max(4, batch // 2))
                if number < 0:
                    continue
                cpu = [
                    (b["cpu"] - a["cpu"]) / count * 1000 for a, b in zip(before, after, strict=True)
                ]
                sides.append((cpu[0], cpu[1]))
                floors.append(floor)
                latencies += answer["latency"]
                seconds += took
                _progress.print(
                    f"push, RSA-{key_bits}: {(number + 1) * batch} of {messages}", style="dim"
                )
            peak = max(one["peak_kib"] for one in after) / 1024
    return Row(
        f"AS4 push, RSA-{key_bits}",
        len(latencies),
        median(side[0] for side in sides),
        median(side[1] for side in sides),
        median(floor.push for floor in floors),
        len(latencies) / seconds,
        median(latencies),
        quantiles(latencies, n=20)[-1] if len(latencies) > 1 else latencies[0],
        peak,
    )


async def measure_exchanges(base: Path, *, messages: int) -> Row:
    """Whole exchanges, a tenth as many as messages, against the floor of the pushes they hold."""
    found = await load_exchange.measure_exchanges(
        base, exchanges=max(2, messages // 10), progress=_progress
    )
    floor = measure(
        new_key(load_exchange.KEY_BITS), new_envelope(0)[1], repeat=max(4, messages // 10)
    )
    return Row(
        f"whole EHMI exchange, RSA-{load_exchange.KEY_BITS}",
        found.messages,
        found.sender_cpu,
        found.receiver_cpu,
        load_exchange.PUSHES * floor.push,
        found.rate,
        found.p50,
        found.p95,
        found.peak_mib,
    )


def show(rows: list[Row]) -> Table:
    """The table of R."""
    table = Table(title="CPU of both access points per message, against the cryptography alone")
    for name in ("row", "messages", "sender ms", "receiver ms", "both ms", "floor ms", "R", "msg/s",
                 "p50 ms", "p95 ms", "peak MiB"):  # fmt: skip
        table.add_column(name, justify="left" if name == "row" else "right")
    for row in rows:
        table.add_row(
            row.name, str(row.messages), f"{row.sender_cpu:.2f}", f"{row.receiver_cpu:.2f}",
            f"{row.sender_cpu + row.receiver_cpu:.2f}", f"{row.floor:.2f}", f"{row.ratio:.3f}", f"{row.rate:.0f}",
            f"{row.p50:.0f}", f"{row.p95:.0f}", f"{row.peak_mib:.0f}",
        )  # fmt: skip
    return table


async def main() -> None:
    """Measure what was asked for, and print one table and the stages."""
    arguments = _arguments()
    program_log.configure(level="warning")
    out = Console(width=160)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="load-", dir=arguments.directory) as name:
        base = Path(name)
        if "push" in arguments.row:
            (base / "push").mkdir(mode=0o700)
            rows.append(
                await measure_pushes(
                    base / "push", messages=arguments.messages, key_bits=arguments.key
                )
            )
        if "exchange" in arguments.row:
            rows.append(await measure_exchanges(base / "exchange", messages=arguments.messages))
        if rows:
            out.print(show(rows))
        if "stages" in arguments.row:
            (base / "stages").mkdir(mode=0o700)
            stages = await load_stages.measure_stages(
                base / "stages", key_bits=arguments.key, repeat=max(4, arguments.messages // 5)
            )
            out.print(load_stages.show(stages, key_bits=arguments.key))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--messages", type=int, default=300)
    parser.add_argument("--key", type=int, choices=(2048, 3072), default=3072)
    parser.add_argument(
        "--quick", action="store_true", help="a handful of messages: says whether it runs"
    )
    parser.add_argument("--row", nargs="*", choices=("push", "exchange", "stages"),
                        default=["push", "exchange", "stages"])  # fmt: skip
    parser.add_argument("--directory", help="where the stores stand; a real disk, not memory")
    arguments = parser.parse_args()
    arguments.messages = 10 if arguments.quick else max(1, min(arguments.messages, 5000))
    return arguments


if __name__ == "__main__":
    asyncio.run(main())
