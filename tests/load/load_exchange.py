"""The whole exchange of the demo under load: message and MedCom acknowledgement, each with its envelope acknowledgement.

Two `accesspoint run` processes with all their stations, locator, publisher, authorization and status
component in this process: what the nodes do for discovery, tokens and delivery events counts, what the
network does to answer them does not. An exchange is over when the status component has all its events.
"""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Final

from rich.console import Console

from accesspoint.api.client import NodeAddress, NodeClient
from accesspoint.clock import SystemClock
from accesspoint.demo.play import sample_message
from accesspoint.demo.scenery import CLINIC, MUNICIPALITY
from accesspoint.demo.stage import Node, Stage
from accesspoint.demo.verification import EVENTS_TOGETHER
from accesspoint.ids import SystemIds

PUSHES: Final = 4
KEY_BITS: Final = 3072
_IN_FLIGHT: Final = 2
_SECONDS: Final = 60.0
_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Exchanges:
    """What `messages` whole exchanges cost: CPU milliseconds each, by side; latency in milliseconds."""

    messages: int
    sender_cpu: float
    receiver_cpu: float
    rate: float
    p50: float
    p95: float
    peak_mib: float


async def measure_exchanges(base: Path, *, exchanges: int, progress: Console) -> Exchanges:
    """Play that many exchanges, two at a time, after a few unmeasured ones."""
    clock = SystemClock()
    async with Stage(base, apart=False, clock=clock, ids=SystemIds(clock)) as stage:
        sender, receiver = stage.of(MUNICIPALITY.key, "EUA"), stage.of(CLINIC.key, "EUA")
        async with NodeClient(NodeAddress.load(sender.plan.store)) as client:

            async def play(slots: asyncio.Semaphore) -> float:
                async with slots:
                    began = perf_counter()
                    accepted = await client.submit(sample_message(clock), to=CLINIC.address.gln)
                    identifiers = [accepted["message_identifier"]]
                    await stage.network.status.wait_for(
                        identifiers, EVENTS_TOGETHER, seconds=_SECONDS
                    )
                    return (perf_counter() - began) * 1000

            slots = asyncio.Semaphore(_IN_FLIGHT)
            await asyncio.gather(*(play(slots) for _ in range(_IN_FLIGHT)))
            before = [_cpu_seconds(node) for node in (sender, receiver)]
            began = perf_counter()
            latencies = await asyncio.gather(*(play(slots) for _ in range(exchanges)))
            took = perf_counter() - began
            after = [_cpu_seconds(node) for node in (sender, receiver)]
            progress.print(f"whole exchange: {exchanges} of {exchanges}", style="dim")
            cpu = [(b - a) / exchanges * 1000 for a, b in zip(before, after, strict=True)]
            return Exchanges(
                exchanges,
                cpu[0],
                cpu[1],
                exchanges / took,
                median(latencies),
                quantiles(latencies, n=20)[-1] if exchanges > 1 else latencies[0],
                max(_peak_mib(node) for node in (sender, receiver)),
            )


def _cpu_seconds(node: Node) -> float:
    """User and system time of a node's process; the kernel counts it in hundredths of a second."""
    fields = Path(f"/proc/{node.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _peak_mib(node: Node) -> float:
    """The most memory that a node's process ever had in use."""
    lines = Path(f"/proc/{node.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
