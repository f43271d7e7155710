"""Valid messages beside dripping connections: what a thousand of them cost those who mean well.

    python -m tests.hostile.dripping [--connections 1000] [--seconds 10]

A clinic's node receives messages one after the other from four connections, first undisturbed, then while another
process holds as many dripping connections as it can: a quarter say nothing, not even TLS; a quarter drip a header;
a quarter drip a body; a quarter have finished their handshake and rest. They come from ten addresses and come back as
soon as they are closed, each time with a new handshake. The table shows what the valid messages had of it; "CPU %" is
what node and sender got of one processor, which on a busy machine explains the rest. The limits of the door are the
usual ones, unless `--deadline` shortens them.
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import ssl
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from arena_opening import open_alone
from as4_arena import Arena
from as4_wire import Wire
from rich.console import Console
from rich.table import Table

ADDRESSES: Final = 10
SENDERS: Final = 4
PER_SECOND: Final = 60
"""How many messages are written beforehand for each second, so that writing them is not measured."""
HEAD: Final = b"POST /as4 HTTP/1.1\r\nHost: localhost\r\n"
BODY: Final = HEAD + b"Content-Type: application/soap+xml\r\nContent-Length: 900000\r\n\r\n"


@dataclass
class Figures:
    """One line of the table; latencies in seconds, one for each message that was answered with its receipt."""

    name: str
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    failed: int = 0
    connections: int = 0
    rss_mib: float = 0.0
    files: int = 0
    cpu_seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Messages a second."""
        return len(self.latencies) / self.seconds if self.seconds else 0.0

    def quantile(self, share: float) -> float:
        """Milliseconds within which this share of the messages was answered."""
        ordered = sorted(self.latencies)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


async def measure(arena: Arena, name: str, seconds: float, wires: list[Wire]) -> Figures:
    """Send messages from some connections for so long, each as soon as the last was answered."""
    figures = Figures(name)
    begun, busy = time.monotonic(), time.process_time()

    async def send() -> None:
        while wires and time.monotonic() - begun < seconds:
            wire, at = wires.pop(), time.monotonic()
            answer = await arena.client.post(wire)
            if answer.status == 200 and b":Receipt" in answer.body:
                figures.latencies.append(time.monotonic() - at)
            else:
                figures.failed += 1

    watching = asyncio.create_task(_watch(figures))
    await asyncio.gather(*(send() for _ in range(SENDERS)))
    watching.cancel()
    figures.seconds = time.monotonic() - begun
    figures.cpu_seconds = time.process_time() - busy
    return figures


async def _watch(figures: Figures) -> None:
    page = os.sysconf("SC_PAGE_SIZE")
    while True:
        resident = int(Path("/proc/self/statm").read_text().split()[1])
        figures.rss_mib = max(figures.rss_mib, resident * page / (1 << 20))
        figures.files = max(figures.files, len(os.listdir("/proc/self/fd")))
        await asyncio.sleep(0.2)


@asynccontextmanager
async def dripping(arena: Arena, connections: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """Hold so many dripping connections from a process of their own; begins when all have been opened once."""
    arena.pki.tls_contexts("municipality")  # which writes the files
    process = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-m",
            "tests.hostile.dripping",
            "--drip",
            arena.node.point.addresses["as4"],
        ),
        *(
            "--connections",
            str(connections),
            "--keys",
            str(arena.pki.directory / "tls-municipality"),
        ),
        cwd=Path(__file__).parents[2],
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(120):
            await process.stdout.readline()
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def drip(address: str, connections: int, keys: Path) -> None:
    """Be the process that holds them: until its end, one opened for each that was closed."""
    host, _, port = address.rpartition(":")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    tls.load_cert_chain(keys / "tls.cert.pem", keys / "tls.key.pem")
    opened = asyncio.Semaphore(0)

    async def hold(number: int) -> None:
        kind = number % 4
        source = f"127.0.1.{1 + number % ADDRESSES}"
        for turn in itertools.count():
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
                reader, writer = await asyncio.open_connection(
                    host, int(port), ssl=tls if kind else None, local_addr=(source, 0)
                )
                if turn == 0:
                    opened.release()
                try:
                    await _hold_one(reader, writer, kind)
                finally:
                    writer.transport.abort()
            await asyncio.sleep(0.5)

    async with asyncio.TaskGroup() as group:
        for number in range(connections):
            group.create_task(hold(number))
            # Handshakes cost both sides: a storm of them would be another attack.
            await asyncio.sleep(0.002)
        for _ in range(connections):
            await opened.acquire()
        sys.stdout.write("all open\n")
        sys.stdout.flush()


async def _hold_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kind: int) -> None:
    begin, piece = {1: (HEAD + b"X: ", b"x"), 2: (BODY, b"<")}.get(kind, (b"", b""))
    writer.write(begin)
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                if not await reader.read(1024):
                    return
        if piece:
            writer.write(piece)


async def report(connections: int, seconds: float, environment: dict[str, str]) -> list[Figures]:
    """Measure both, and how many connections were open in the middle of the second."""
    async with open_alone("warning", environment) as arena:
        wires = [arena.author.compose() for _ in range(int(2 * seconds * PER_SECOND) + 20)]
        for wire in wires[:20]:
            await arena.client.post(wire)
        del wires[:20]
        half = len(wires) // 2
        alone = await measure(arena, "undisturbed", seconds, wires[:half])
        await arena.node.idle()
        async with dripping(arena, connections):
            beside = await measure(
                arena, f"beside {connections} dripping connections", seconds, wires[half:]
            )
            beside.connections = _open_connections(arena)
        await arena.node.idle()
    return [alone, beside]


def _open_connections(arena: Arena) -> int:
    """How many connections to the door of the node are open, as the kernel counts them."""
    port = f":{int(arena.node.point.addresses['as4'].rpartition(':')[2]):04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(1 for row in rows if row[1].endswith(port) and row[3] == "01")


def main() -> int:
    """Measure and print; or be the process that drips."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--connections", type=int, default=1_000)
    options.add_argument("--seconds", type=float, default=10.0)
    options.add_argument(
        "--deadline", help="of headers and bodies, such as 2 s, instead of 10 s and 30 s"
    )
    options.add_argument("--drip", help=argparse.SUPPRESS)
    options.add_argument("--keys", type=Path, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.drip:
        asyncio.run(drip(given.drip, given.connections, given.keys))
        return 0
    limits = ("HEADER", "BODY") if given.deadline else ()
    environment = {f"ACCESSPOINT__LISTEN__LIMITS__{name}": given.deadline for name in limits}
    figures = asyncio.run(report(given.connections, given.seconds, environment))
    table = Table(title="Valid messages, four at a time")
    for column in (
        "",
        "messages/s",
        "p50 ms",
        "p99 ms",
        "CPU %",
        "failed",
        "connections",
        "RSS MiB",
        "files",
    ):
        table.add_column(column, justify="left" if not column else "right")
    for one in figures:
        table.add_row(
            one.name, f"{one.rate:.1f}", f"{one.quantile(0.5):.0f}", f"{one.quantile(0.99):.0f}",
            f"{100 * one.cpu_seconds / one.seconds:.0f}", str(one.failed),
            str(one.connections or SENDERS), f"{one.rss_mib:.0f}", str(one.files),
        )  # fmt: skip
    Console(width=120).print(table)
    return 1 if any(one.failed or not one.latencies for one in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
