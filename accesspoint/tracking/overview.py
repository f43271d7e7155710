"""Counts by hour, gathered to the days, weeks and months of the reader, and the sector's table of negative answers.

Spec: user stories S3 to S5, R3 to R5, P3; experience section 5.7.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta

from accesspoint.status_component.queries import AnswerCount, HourCount, Step, Whereabouts
from accesspoint.status_component.resource import SBDH_ACKNOWLEDGEMENT, Verdict
from accesspoint.tracking.texts import ZONE, Texts

ARRIVED = (Whereabouts.ANSWERED, Whereabouts.DELIVERED, Whereabouts.REFUSED)
"""What the receiver has, also where it could not use it."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of an overview: a period or a type, and how many messages are where."""

    name: str
    counts: Counter[Whereabouts] = field(default_factory=Counter)
    start: date | None = None
    end: date | None = None

    @property
    def total(self) -> int:
        """All of them."""
        return self.counts.total()

    @property
    def arrived(self) -> int:
        """Those that the receiver has."""
        return sum(self.counts[place] for place in ARRIVED)


@dataclass(frozen=True, slots=True)
class NegativeLine:
    """One month of one standard: how many were acknowledged by the receiver, and what was turned down."""

    month: date
    standard: str
    answered: int
    envelope: int
    fatal: int
    transient: int
    is_first: bool

    @property
    def negative(self) -> int:
        """All that was turned down."""
        return self.envelope + self.fatal + self.transient


def begin(day: date, step: Step) -> date:
    """The first day of the day, week or month that a day lies in; a week begins on Monday."""
    if step is Step.DAY:
        return day
    return day.replace(day=1) if step is Step.MONTH else day - timedelta(days=day.weekday())


def following(day: date, step: Step) -> date:
    """The first day of the next one."""
    spans = {Step.DAY: 1, Step.WEEK: 7, Step.MONTH: 31}
    return begin(begin(day, step) + timedelta(days=spans[step]), step)


def midnight(day: date) -> datetime:
    """When a day begins where the reader is."""
    return datetime.combine(day, time(), ZONE)


def name_of(day: date, step: Step, texts: Texts) -> str:
    """What a period is called in a table."""
    if step is Step.MONTH:
        return texts.month(day)
    if step is Step.WEEK:
        year, week, _ = day.isocalendar()
        return texts("overview.week_of", week=week, year=year)
    return texts.day(day)


def short_name_of(day: date, step: Step, texts: Texts) -> str:
    """What a period is called below a column."""
    if step is Step.DAY:
        return f"{day.day}.{day.month}."
    if step is Step.WEEK:
        return str(day.isocalendar().week)
    return f"{texts(f'month.{day.month}')[:3]} {day.year}"


def by_period(
    counts: Iterable[HourCount], start: date, end: date, step: Step, texts: Texts
) -> list[Line]:
    """One line for each period from the one of `start` to that of `end`, the empty ones too."""
    lines: dict[date, Line] = {}
    first = begin(start, step)
    while first <= end:
        after = following(first, step)
        lines[first] = Line(
            name_of(first, step, texts), Counter(), first, after - timedelta(days=1)
        )
        first = after
    for count in counts:
        key = begin(count.hour.astimezone(ZONE).date(), step)
        if key in lines:
            lines[key].counts[count.whereabouts] += count.messages
    return list(lines.values())


def by_type(counts: Iterable[HourCount]) -> list[Line]:
    """One line for each type, the most frequent first."""
    lines: dict[str, Line] = {}
    for count in counts:
        line = lines.setdefault(count.standard, Line(count.standard, Counter()))
        line.counts[count.whereabouts] += count.messages
    return sorted(lines.values(), key=lambda line: (-line.total, line.name))


def totals(lines: Iterable[Line]) -> Mapping[Whereabouts, int]:
    """All lines together."""
    return sum((line.counts for line in lines), Counter())


def negative_lines(counts: Iterable[AnswerCount]) -> Iterator[NegativeLine]:
    """Yield the newest month first.

    Acknowledged is what the receiver's system answered, and envelopes that never came to it since they were refused;
    positive receipts of envelopes are no acknowledgement of a message.
    """
    table: dict[tuple[date, str], Counter[str]] = {}
    for count in counts:
        month = begin(count.hour.astimezone(ZONE).date(), Step.MONTH)
        is_envelope = count.by == SBDH_ACKNOWLEDGEMENT
        if is_envelope and count.verdict is not Verdict.FATAL:
            continue
        line = table.setdefault((month, count.standard), Counter())
        line["answered"] += count.messages
        if is_envelope:
            line["envelope"] += count.messages
        elif count.verdict in (Verdict.FATAL, Verdict.TRANSIENT):
            line[count.verdict] += count.messages
    shown: set[date] = set()
    for month, standard in sorted(table, key=lambda key: (-key[0].toordinal(), key[1])):
        line = table[month, standard]
        yield NegativeLine(
            month,
            standard,
            line["answered"],
            line["envelope"],
            line[Verdict.FATAL],
            line[Verdict.TRANSIENT],
            month not in shown,
        )
        shown.add(month)
