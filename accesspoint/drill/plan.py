"""What a drill goes through: who is away from when to when, and how often a message is submitted."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

HOUR: Final = timedelta(hours=1)


class Part(StrEnum):
    """Who can be away."""

    PEER = "peer"
    PUBLISHER = "SMP"
    STATUS = "EDS"
    DATABASE = "database"
    BACKEND = "backend"


DESCRIPTIONS: Final = {
    Part.PEER: "the receiving access point refuses connections",
    Part.PUBLISHER: "nobody can be looked up",
    Part.STATUS: "the status component does not answer",
    Part.DATABASE: "the sender's database disk fails; the node ends, and cannot start",
    Part.BACKEND: "the receiver's backend takes nothing",
}


@dataclass(frozen=True, slots=True)
class Outage:
    """One part is away from `start` until `end`, both counted from the start of the drill."""

    part: Part
    start: timedelta
    end: timedelta

    def covers(self, moment: timedelta) -> bool:
        """Whether it lasts at this moment."""
        return self.start <= moment < self.end


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole drill; `every` is the time between two submissions."""

    outages: tuple[Outage, ...]
    every: timedelta
    length: timedelta

    @property
    def submissions(self) -> int:
        """How many messages will be submitted."""
        return int(self.length / self.every)


_LENGTHS: Final = (
    (Part.PEER, 12 * HOUR),
    (Part.PUBLISHER, 36 * HOUR),
    (Part.STATUS, 72 * HOUR),
    (Part.DATABASE, 4 * HOUR),
    (Part.BACKEND, 12 * HOUR),
)
_CALM: Final = 12 * HOUR


def standard_plan(every: timedelta = HOUR) -> Plan:
    """Each part away in turn, with half a day of calm before, between and after: eight and a half days."""
    outages, now = [], _CALM
    for part, length in _LENGTHS:
        outages.append(Outage(part, now, now + length))
        now += length + _CALM
    return Plan(tuple(outages), every, now)
