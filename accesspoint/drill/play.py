"""Lives through a plan: submits, watches the queues, and holds the end against what was promised.

Nothing is assumed about the nodes: what waits is counted in their tables, what arrived at the backend and at
the status component.
"""

import asyncio
import hashlib
import os
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from accesspoint.clock import Clock
from accesspoint.demo.play import sample_message
from accesspoint.drill.nodes import Machine, build_machines
from accesspoint.drill.plan import Outage, Part, Plan
from accesspoint.drill.surroundings import FailingDisk, StatusComponent, Wire
from accesspoint.drill.virtual_time import VirtualClock, VirtualLoop
from accesspoint.store.database import StorageError

SENDER: Final = "municipality"
RECEIVER: Final = "clinic"
EVENTS_PER_EXCHANGE: Final = 16
SAMPLES: Final = 400
ASK_AGAIN: Final = timedelta(minutes=5)
SETTLING: Final = timedelta(days=2)
_COUNTS: Final = """
SELECT (SELECT count(*) FROM messages WHERE direction = 'out'
        AND state IN ('ACCEPTED', 'RESOLVED', 'READY', 'SENDING', 'RETRY_WAIT')) AS sending,
       (SELECT count(*) FROM outbox WHERE state = 'waiting') AS events,
       (SELECT count(*) FROM handovers WHERE state = 'waiting') AS deliveries
"""
_GOOD_ENDS: Final = frozenset({"ACKNOWLEDGED", "NOTIFIED", "PURGED"})
_OWED: Final = """
SELECT 'delivery events' AS what, max(problem) AS problem, max(attempts) AS attempts, count(*) AS n
FROM outbox WHERE state = 'waiting'
UNION ALL
SELECT 'hand-overs', max(problem), max(attempts), count(*) FROM handovers WHERE state = 'waiting'
"""
_ENDS: Final = "SELECT state, count(*) AS n FROM messages WHERE direction = 'out' GROUP BY state"


@dataclass(frozen=True, slots=True)
class Sample:
    """What waited in both nodes together at one moment; a node that was down counts as it was seen last."""

    at: timedelta
    sending: int
    events: int
    deliveries: int

    @property
    def waiting(self) -> int:
        """Everything that waited."""
        return self.sending + self.events + self.deliveries


@dataclass(slots=True)
class Ledger:
    """What was submitted, and what became of it."""

    submitted: dict[str, tuple[timedelta, str]] = field(default_factory=dict)
    """By message identifier: when the node took it, and the SHA-256 (hex) of its octets."""
    refused: int = 0
    """Submissions that found no node and were made again."""
    delivered: dict[str, timedelta] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Result:
    """Everything a report needs; `findings` is what was promised and did not hold."""

    plan: Plan
    ledger: Ledger
    findings: tuple[str, ...]
    events: int
    events_repeated: int
    starts: dict[str, int]
    ended_after: timedelta

    def overtaken(self, outage: Outage) -> tuple[int, int]:
        """Of the messages accepted during an outage: how many, and how many a later one overtook."""
        inside = [
            self.ledger.delivered[identifier]
            for identifier, (at, _) in sorted(
                self.ledger.submitted.items(), key=lambda item: item[1]
            )
            if outage.covers(at) and identifier in self.ledger.delivered
        ]
        first_after = timedelta.max
        late = 0
        for delivered in reversed(inside):
            late += delivered > first_after
            first_after = min(first_after, delivered)
        return len(inside), late

    def queued_at_most(self, outage: Outage) -> Sample:
        """The fullest moment of an outage and of the hour after it."""
        near = [
            sample
            for sample in self.ledger.samples
            if outage.start <= sample.at <= outage.end + timedelta(hours=1)
        ]
        return max(near, key=lambda sample: sample.waiting)

    def drained_after(self, outage: Outage) -> timedelta | None:
        """How long after the end of an outage nothing waited any more; None when that was not seen."""
        calm = min((s.at for s in self.ledger.samples if s.at < outage.start), default=None)
        if calm is None:
            return None
        for sample in self.ledger.samples:
            if sample.at >= outage.end and sample.waiting == 0:
                return sample.at - outage.end
        return None


class Drill:
    """One run of a plan, in virtual time."""

    def __init__(
        self, plan: Plan, base: Path, *, progress: Callable[[timedelta, Ledger], None]
    ) -> None:
        self._plan = plan
        self._base = base
        self._progress = progress
        self._ledger = Ledger()
        self._last: dict[str, tuple[int, int, int]] = {}

    async def run(self, clock: Clock) -> Result:
        """Live through the plan and check its end."""
        self._clock = clock
        self._started = clock.monotonic()
        wire = Wire(self._is_away, RECEIVER)
        self._status = StatusComponent(self._is_away)
        self._machines = build_machines(
            self._base, clock=clock, wire=wire, status=self._status, is_away=self._is_away
        )
        disk = FailingDisk(str(self._base / SENDER), self._is_away)
        try:
            async with asyncio.TaskGroup() as group:
                lives = [group.create_task(machine.run()) for machine in self._machines.values()]
                sampling = group.create_task(self._sample())
                await self._submit_all()
                ended = await self._settle()
                sampling.cancel()
                result = await self._judge(ended)
                for life in lives:
                    life.cancel()
        finally:
            disk.unregister()
        return result

    @property
    def _now(self) -> timedelta:
        return timedelta(seconds=self._clock.monotonic() - self._started)

    def _is_away(self, part: Part) -> bool:
        now = self._now
        return any(outage.part is part and outage.covers(now) for outage in self._plan.outages)

    async def _submit_all(self) -> None:
        for number in range(self._plan.submissions):
            due = self._plan.every * number
            await asyncio.sleep(max(0.0, (due - self._now).total_seconds()))
            await self._submit(sample_message(self._clock))

    async def _submit(self, data: bytes) -> None:
        """As a submitter does: again until the node has taken it, always the same message."""
        while True:
            node = self._machines[SENDER].node
            if node is not None and node.application is not None:
                with suppress(StorageError):
                    submission, commit = await node.application.submit(data)
                    await node.bells.run(node.database, commit)
                    digest = hashlib.sha256(data).hexdigest()
                    self._ledger.submitted[submission.document.message_identifier] = (
                        self._now,
                        digest,
                    )
                    return
            self._ledger.refused += 1
            await asyncio.sleep(min(ASK_AGAIN, self._plan.every).total_seconds())

    async def _sample(self) -> None:
        step = (self._plan.length / SAMPLES).total_seconds()
        seen = 0
        while True:
            for name, machine in self._machines.items():
                self._last[name] = await self._count(machine) or self._last.get(name, (0, 0, 0))
            totals = (sum(column) for column in zip(*self._last.values(), strict=True))
            self._ledger.samples.append(Sample(self._now, *totals))
            taken = self._machines[RECEIVER].backend.taken
            for identifier, _ in taken[seen:]:
                self._ledger.delivered.setdefault(identifier, self._now)
            seen = len(taken)
            self._progress(self._now, self._ledger)
            await asyncio.sleep(step)

    async def _count(self, machine: Machine) -> tuple[int, int, int] | None:
        if machine.node is None:
            return None
        try:
            row = await machine.node.database.fetch_one(_COUNTS)
        except StorageError:
            return None
        return None if row is None else (row["sending"], row["events"], row["deliveries"])

    async def _settle(self) -> timedelta:
        """Wait until nothing waits, or nothing can be hoped for; when the work was done."""
        limit = self._now + SETTLING
        step = (self._plan.length / SAMPLES).total_seconds()
        await asyncio.sleep(step)
        while self._ledger.samples[-1].waiting and self._now < limit:  # noqa: ASYNC110 - the next sample tells
            await asyncio.sleep(step)
        await asyncio.sleep(step)
        return self._now

    async def _judge(self, ended: timedelta) -> Result:
        ledger = self._ledger
        findings: list[str] = []
        taken = self._machines[RECEIVER].backend.taken
        times = Counter(identifier for identifier, _ in taken)
        for identifier, (_, digest) in ledger.submitted.items():
            if times[identifier] == 0:
                findings.append(f"{identifier} was accepted and never delivered")
            elif times[identifier] > 1:
                findings.append(f"{identifier} was delivered {times[identifier]} times")
            elif (identifier, digest) not in taken:
                findings.append(f"{identifier} was delivered with other octets")
        for name, machine in self._machines.items():
            if machine.node is None:
                findings.append(f"the node of the {name} does not run at the end")
                continue
            for row in await machine.node.database.fetch(_ENDS):
                if row["state"] not in _GOOD_ENDS:
                    findings += [f"{row['n']} messages of the {name} ended {row['state']}"]
        due = EVENTS_PER_EXCHANGE * len(ledger.submitted)
        arrived = len(self._status.reports)
        if arrived != due:
            findings.append(f"{arrived} of {due} delivery events arrived")
        if ledger.samples[-1].waiting:
            findings.append(f"{ledger.samples[-1].waiting} things still wait at the end")
            findings += [
                line for machine in self._machines.values() async for line in _owed(machine)
            ]
        return Result(
            plan=self._plan,
            ledger=ledger,
            findings=tuple(findings),
            events=arrived,
            events_repeated=self._status.repeated,
            starts={name: machine.starts for name, machine in self._machines.items()},
            ended_after=ended,
        )


async def _owed(machine: Machine) -> AsyncIterator[str]:
    """Tell what a node still owes, and what it met when it last tried."""
    if machine.node is None:
        return
    for row in await machine.node.database.fetch(_OWED):
        if row["n"]:
            yield (
                f"the {machine.name} owes {row['n']} {row['what']}, tried {row['attempts']} times at most:"
                f" {row['problem'] or 'no problem'}"
            )


def play(plan: Plan, *, progress: Callable[[timedelta, Ledger], None]) -> Result:
    """Run a drill in a directory of its own, which is gone afterwards."""
    loop = VirtualLoop()
    clock = VirtualClock(loop, datetime.now(UTC))
    # In memory where the system has such a place: a drill outlives nothing, and need not wait for a disk.
    memory = Path("/dev/shm")  # noqa: S108 - a directory of our own in it
    place_in = memory if os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="ehmi-drill-", dir=place_in) as place:
        drill = Drill(plan, Path(place), progress=progress)
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            return runner.run(drill.run(clock))
