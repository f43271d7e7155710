"""What a run shows: a line now and then while it goes on, and tables at its end."""

import asyncio
import os
import resource
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from background import background
from rich.console import Console
from rich.table import Table

from tests.soak.checker import Report
from tests.soak.load import PUSHES, Load
from tests.soak.pair import Pair

EVERY_SECONDS = 5.0
SAMPLE_SECONDS = 1.0
_OUT = Console(width=140, highlight=False)


class Progress:
    """Samples memory, and says every few seconds how far the run is; `samples` are (second, node, life, MiB)."""

    def __init__(self, pair: Pair, load: Load, *, exchanges: int | None) -> None:
        self._pair = pair
        self._load = load
        self._exchanges = exchanges
        self.samples: list[tuple[float, str, int, float]] = []

    @asynccontextmanager
    async def shown(self) -> AsyncIterator[None]:
        """Show progress for the length of the context."""
        async with background(self._show()):
            yield

    async def _show(self) -> None:
        said = 0.0
        while True:
            now = time.monotonic() - self._load.began
            for name, node in self._pair.nodes.items():
                if rss := node.rss_mib():
                    self.samples.append((now, name, node.kills, rss))
            if now - said >= EVERY_SECONDS:
                said = now
                self._say(now)
            await asyncio.sleep(SAMPLE_SECONDS)

    def _say(self, now: float) -> None:
        ledger, done = self._pair.ledger, self._load.done
        rate = done * PUSHES / now
        kills = sum(node.kills for node in self._pair.nodes.values())
        faults = sum(node.proxy.fired.total() for node in self._pair.nodes.values())
        eta = ""
        if self._exchanges and rate:
            eta = f"  eta {(self._exchanges - done) * PUSHES / rate:4.0f} s"
        rss = " ".join(f"{node.rss_mib():.0f}" for node in self._pair.nodes.values())
        _OUT.print(
            f"{now:6.0f} s  {done * PUSHES:7} AS4 messages  {rate:4.0f}/s{eta}  open {ledger.submitted - done:3}"
            f"  kills {kills:4}  network faults {faults:5}  delivered again {ledger.again}  rss {rss} MiB",
            style="dim",
        )

    def slope(self, since: float) -> dict[str, float]:
        """MiB an hour by which each node grew in its last life, from this second on; least squares."""
        found = {}
        for name, node in self._pair.nodes.items():
            points = [
                (second / 3600, rss)
                for second, who, life, rss in self.samples
                if who == name and life == node.kills and second >= since
            ]
            found[name] = _least_squares(points)
        return found

    def peak(self) -> dict[str, float]:
        """The most resident memory of each node in any life, MiB."""
        return {
            name: max((rss for _, who, _, rss in self.samples if who == name), default=0.0)
            for name in self._pair.nodes
        }


def _least_squares(points: list[tuple[float, float]]) -> float:
    if len(points) < 3:
        return 0.0
    x_mean = sum(x for x, _ in points) / len(points)
    y_mean = sum(y for _, y in points) / len(points)
    spread = sum((x - x_mean) ** 2 for x, _ in points)
    return sum((x - x_mean) * (y - y_mean) for x, y in points) / spread if spread else 0.0


def show(title: str, report: Report, numbers: Mapping[str, object]) -> int:
    """Print the tables; the exit status of the program."""
    table = Table(title=title, show_header=False)
    table.add_column(min_width=46)
    table.add_column(justify="right", min_width=12)
    for name, number in {**numbers, **report.facts}.items():
        table.add_row(name, f"{number:.1f}" if isinstance(number, float) else str(number))
    table.add_section()
    for name, count in report.findings.items():
        table.add_row(name, str(count), style="bold red" if count else "")
    _OUT.print(table)
    for name, examples in report.examples.items():
        for example in examples:
            _OUT.print(f"{name}: {example}", style="red", markup=False)
    _OUT.print("every promise kept" if report.is_clean else "NOT every promise kept")
    return 0 if report.is_clean else 1


def cpu_seconds() -> float:
    """User and system time of this process and of every node that has ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def disk_gib(base: Path) -> float:
    """How much a run has on disk."""
    sizes = (
        os.lstat(os.path.join(directory, name)).st_size
        for directory, _, names in os.walk(base)
        for name in names
    )
    return sum(sizes) / 2**30
