"""What surrounds the nodes: virtual time, the story of the run, and chance in streams that do not disturb each other."""

import asyncio
import hashlib
from contextvars import Context
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Final

from tests.simulation.loop import SimulatedLoop
from tests.simulation.plan import Plan

EPOCH: Final = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)


class World:
    """One run: its plan, its loop, and what was told of it."""

    def __init__(self, plan: Plan, directory: Path, *, tells: bool = False) -> None:
        self.plan = plan
        self.directory = directory
        self.tells = tells
        self.loop = SimulatedLoop(self.random("scheduler"), shuffles=plan.shuffles)
        self.context = Context()
        """The context of whoever is no node."""
        self.violations: list[str] = []
        self.counts: dict[str, int] = {}
        self.story: list[str] = []
        self._digest = hashlib.sha256()

    def random(self, stream: str) -> Random:
        """Chance for one purpose: drawing more of it here changes nothing there."""
        return Random(f"{stream} {self.plan.seed}")

    @property
    def now(self) -> float:
        """Virtual seconds since the start."""
        return self.loop.time()

    @property
    def is_calm(self) -> bool:
        """Whether the troubles of the plan are over."""
        return self.now >= self.plan.calm_at

    def tell(self, who: str, what: str) -> None:
        """Add a line to the story; it counts for the digest that two runs of a seed share."""
        line = f"{self.now:10.3f}  {who:<13} {what}"
        self._digest.update(line.encode() + b"\n")
        if self.tells:
            self.story.append(line)

    def whisper(self, who: str, what: str) -> None:
        """Add a line for the reader only."""
        if self.tells:
            self.story.append(f"{self.now:10.3f}  {who:<13}   {what}")

    def count(self, what: str, by: int = 1) -> None:
        """Count something for the summary."""
        self.counts[what] = self.counts.get(what, 0) + by

    def violate(self, rule: str) -> None:
        """A promise was broken."""
        self.tell("CHECK", rule)
        self.violations.append(rule)

    def out(self, what: str) -> "str | None":
        """Whether `what` is in an outage now: None, "refuses" or "hangs"."""
        for outage in self.plan.outages:
            if outage.what == what and outage.start <= self.now < outage.end:
                return "hangs" if outage.hangs else "refuses"
        return None

    @property
    def digest(self) -> str:
        """The SHA-256 of the story."""
        return self._digest.hexdigest()


class MachineClock:
    """The clocks of one machine; its wall clock may be set, its monotonic one goes on."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.offset = timedelta()

    def now(self) -> datetime:
        """The wall time."""
        return EPOCH + timedelta(seconds=self._loop.time()) + self.offset

    def monotonic(self) -> float:
        """Virtual seconds."""
        return self._loop.time()
