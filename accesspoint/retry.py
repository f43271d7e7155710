"""When to try again: growing waits with full jitter, and a last time after which we give up.

`ceiling` and `next_at` are pure: the time and the random fraction are arguments; `delay` draws the
fraction from the schedule's own source, which a simulation replaces. Full jitter (a wait anywhere between nothing and
the ceiling) keeps the senders that a peer's outage has lined up from coming back all at once. The last
attempt is made at the deadline itself, so that a long wait never eats the end of the promised time.

Durations are written as people say them: `10 s`, `4 min`, `1 h`, `60 days`, `1 year`, `1 h 30 min`.

Spec: reliability section 2.2 (RETRY_WAIT), practice 8; decision table "Sending".
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import SystemRandom
from types import MappingProxyType
from typing import Final

_UNITS: Final[Mapping[str, timedelta]] = MappingProxyType(
    {
        **dict.fromkeys(("ms",), timedelta(milliseconds=1)),
        **dict.fromkeys(("s", "sec", "second", "seconds"), timedelta(seconds=1)),
        **dict.fromkeys(("min", "minute", "minutes"), timedelta(minutes=1)),
        **dict.fromkeys(("h", "hour", "hours"), timedelta(hours=1)),
        **dict.fromkeys(("d", "day", "days"), timedelta(days=1)),
        **dict.fromkeys(("year", "years"), timedelta(days=365)),
    }
)
_PART: Final = re.compile(r"([0-9]{1,9}) ?([a-z]+)")
_SHOWN: Final = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
_LONGEST: Final = timedelta(days=3650)


def parse_duration(text: str) -> timedelta:
    """Read a duration such as `10 s` or `1 h 30 min`.

    Raises: ValueError when the text has another shape, is nothing, or is longer than ten years.
    """
    total = timedelta()
    words = text.strip()
    position = 0
    while position < len(words):
        match = _PART.match(words, position)
        if match is None or match[2] not in _UNITS:
            raise ValueError(
                'write a duration as a number and a unit, such as "10 s", "5 min", "1 h" or "60 days"'
            )
        total += int(match[1]) * _UNITS[match[2]]
        position = match.end()
        while position < len(words) and words[position] == " ":
            position += 1
    if not timedelta() < total <= _LONGEST:
        raise ValueError("a duration is longer than nothing and at most ten years")
    return total


def format_duration(duration: timedelta) -> str:
    """Write a duration with its two largest units, rounded down: `4 min 10 s`, `1 d 3 h`, `0 s`."""
    left = max(0, int(duration.total_seconds()))
    parts: list[str] = []
    for unit, seconds in _SHOWN:
        count, rest = divmod(left, seconds)
        if count:
            parts.append(f"{count} {unit}")
        elif parts:
            break
        left = rest
        if len(parts) == 2:
            break
    return " ".join(parts) or "0 s"


@dataclass(frozen=True, slots=True)
class RetrySchedule:
    """The waits between the attempts at one message; `factor` multiplies the ceiling each time."""

    first: timedelta = timedelta(seconds=10)
    factor: float = 2.0
    longest: timedelta = timedelta(hours=1)
    give_up_after: timedelta = timedelta(hours=24)
    draw: Callable[[], float] = field(default=SystemRandom().random, repr=False, compare=False)
    """Where `delay` gets its random number in [0, 1)."""

    def __post_init__(self) -> None:
        """Refuse a schedule that would not wait or would not grow.

        Raises: ValueError.
        """
        if not timedelta() < self.first <= self.longest:
            raise ValueError("the first wait must be longer than nothing and at most the longest")
        if not 1.0 <= self.factor <= 100.0:
            raise ValueError("the factor must be 1 to 100")
        if self.give_up_after <= timedelta():
            raise ValueError("the time to give up after must be longer than nothing")

    def ceiling(self, attempt: int) -> timedelta:
        """Return the longest wait after the failed attempt number `attempt`, counted from 1.

        Raises: ValueError for an attempt before the first.
        """
        if attempt < 1:
            raise ValueError("attempts are counted from 1")
        wait = self.first
        if self.factor > 1.0:
            for _ in range(attempt - 1):
                if wait >= self.longest:
                    break
                wait *= self.factor
        return min(wait, self.longest)

    def delay(self, attempt: int) -> timedelta:
        """Return the wait after the failed attempt number `attempt`: anything from nothing to the ceiling."""
        return self.ceiling(attempt) * self.draw()

    def deadline(self, accepted_at: datetime) -> datetime:
        """Return when the last attempt is made."""
        return accepted_at + self.give_up_after

    def next_at(
        self, *, attempt: int, accepted_at: datetime, now: datetime, fraction: float
    ) -> datetime | None:
        """Return the time of the next attempt, or None when the retries are spent.

        `attempt` is the number of the attempt that failed, `fraction` a random number in [0, 1). The
        answer is never before `now` and never after the deadline.

        Raises: ValueError when `fraction` is outside its range.
        """
        if not 0.0 <= fraction < 1.0:
            raise ValueError("the random fraction must be in [0, 1)")
        deadline = self.deadline(accepted_at)
        if now >= deadline:
            return None
        return min(now + self.ceiling(attempt) * fraction, deadline)
