"""The search parameters of the delivery status component, parsed. Pure.

Strings match from the start without regard to case, unless `:exact` or, for names, `:contains` says
otherwise; tokens match exactly; dates match by prefix and precision. A comma means or, a repeated parameter
means and. What is not known is an error: a filter that is silently dropped would show more than was asked
for. The middle of an identifier or of a patient number is not searched for: it would read every report.

Spec: EHMI delivery status 1.0.2, search parameters; FHIR R4 search.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from accesspoint.clock import to_microseconds

MAXIMUM_COUNT: Final = 1000
MAXIMUM_ALTERNATIVES: Final = 64
"""As many values as one search may have, separated by commas or in parameters of their own: each is compared with rows."""
_DATE: Final = re.compile(
    r"(eq|ne|ge|le|gt|lt|sa|eb)?"
    r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2})(?:T([0-9]{2}):([0-9]{2})(?::([0-9]{2})(\.[0-9]{1,6})?)?"
    r"(Z|[+-][0-9]{2}:[0-9]{2})?)?)?)?",
    re.ASCII,
)

IDENTIFIERS: Final[dict[str, tuple[str, ...]]] = {
    "message-id": ("message",),
    "orig-message-id": ("orig_message",),
    "entityIdentifier": (
        "message",
        "message_envelope",
        "transport_envelope",
        "orig_message",
        "orig_envelope",
    ),
    "cpr": ("patient",),
}
"""String parameters on identifiers, with the columns of each."""
PARTIES: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "participant-sor": (("sender", "receiver"), ("sor",)),
    "sender-sor": (("sender",), ("sor",)),
    "receiver-sor": (("receiver",), ("sor",)),
    "sender-gln": (("sender",), ("gln",)),
    "receiver-gln": (("receiver",), ("gln",)),
    "sender-name": (("sender",), ("name",)),
    "receiver-name": (("receiver",), ("name",)),
    "senderOrg": (("sender",), ("sor", "gln", "name")),
    "receiverOrg": (("receiver",), ("sor", "gln", "name")),
}
"""String parameters on organisations: which columns of an event, and by what the organisation is found."""
CODES: Final[dict[str, tuple[str, ...]]] = {
    "ehmiMessageType": ("standard", "orig_standard"),
    "subtype": ("subtype",),
    "type": ("type",),
    "outcome": ("outcome",),
    "_id": ("id",),
}
"""Token parameters with the columns of each."""
SEARCH_PARAMETERS: Final = {
    "date": "date",
    **dict.fromkeys([*IDENTIFIERS, *PARTIES], "string"),
    **dict.fromkeys(CODES, "token"),
}
"""Every search parameter with its FHIR type, for the CapabilityStatement."""


class SearchRefused(Exception):
    """The search is not understood; the message names the parameter and never its value."""


@dataclass(frozen=True, slots=True)
class Strings:
    """A string parameter: one of the values has to match in the way of `modifier` (empty, `exact`, `contains`)."""

    name: str
    values: tuple[str, ...]
    modifier: str = ""


@dataclass(frozen=True, slots=True)
class Tokens:
    """A token parameter: one of the (system, code) has to be there; any system where it is None."""

    name: str
    values: tuple[tuple[str | None, str], ...]


@dataclass(frozen=True, slots=True)
class Period:
    """Microseconds from `start` up to `end`; what lies outside when `outside`. None is no limit."""

    start: int | None
    end: int | None
    outside: bool = False


@dataclass(frozen=True, slots=True)
class Dates:
    """The parameter `date`: recorded in one of the periods."""

    values: tuple[Period, ...]


Criterion = Strings | Tokens | Dates


@dataclass(frozen=True, slots=True)
class Search:
    """A parsed search: every criterion must hold; at most `count` matches to a page.

    `total` is `none`, `accurate`, or None for what is cheap; `after` is the (recorded, position) of the last
    match of the page before.
    """

    criteria: tuple[Criterion, ...] = ()
    count: int = 100
    newest_first: bool = False
    total: str | None = None
    after: tuple[int, int] | None = None


def parse_search(
    parameters: Sequence[tuple[str, str]], *, after: tuple[int, int] | None = None
) -> Search:
    """Parse (name, value) pairs of a query string or a form; `after` continues behind a page.

    Raises: SearchRefused.
    """
    criteria: list[Criterion] = []
    count, newest_first, total = 100, False, None
    for name, value in parameters:
        if name == "_count":
            if not re.fullmatch(r"[0-9]{1,4}", value, re.ASCII) or int(value) > MAXIMUM_COUNT:
                raise SearchRefused("_count is a number up to 1000")
            count = int(value)
        elif name == "_sort":
            if value not in ("date", "-date"):
                raise SearchRefused("_sort is date or -date")
            newest_first = value == "-date"
        elif name == "_total":
            if value not in ("none", "estimate", "accurate"):
                raise SearchRefused("_total is none, estimate or accurate")
            total = None if value == "estimate" else value
        elif name not in ("_format", "_pretty"):
            criteria.append(_criterion(name, value))
    if sum(len(criterion.values) for criterion in criteria) > MAXIMUM_ALTERNATIVES:
        raise SearchRefused(f"the search has more than {MAXIMUM_ALTERNATIVES} values")
    return Search(tuple(criteria), count, newest_first, total, after)


def _criterion(parameter: str, value: str) -> Criterion:
    name, _, modifier = parameter.partition(":")
    alternatives = tuple(_unescape(part) for part in re.split(r"(?<!\\),", value))
    if name in SEARCH_PARAMETERS and not all(alternatives):
        raise SearchRefused(f"{name} has an empty value")
    if name == "date" and not modifier:
        return Dates(tuple(_parse_date(alternative) for alternative in alternatives))
    if name in CODES and not modifier:
        return Tokens(name, tuple(_parse_token(alternative) for alternative in alternatives))
    if (name in IDENTIFIERS and modifier in ("", "exact")) or (
        name in PARTIES and modifier in ("", "exact", "contains")
    ):
        return Strings(name, alternatives, modifier)
    if name in IDENTIFIERS and modifier == "contains":
        raise SearchRefused(f"{name} is searched from its start or exactly, not by its middle")
    raise SearchRefused(f"the parameter {_printable(parameter)} is not supported")


def _parse_token(text: str) -> tuple[str | None, str]:
    system, bar, code = text.rpartition("|")
    return (system if bar else None), code


def _parse_date(text: str) -> Period:
    """Read one date value: a date names a period as long as its precision."""
    match = _DATE.fullmatch(text)
    if match is None:
        raise SearchRefused("date is not a FHIR date with an optional prefix")
    prefix, year, month, day, hour, minute, second, fraction, zone = match.groups()
    try:
        begin = datetime(
            int(year),
            int(month or 1),
            int(day or 1),
            int(hour or 0),
            int(minute or 0),
            int(second or 0),
            round(float(fraction or 0) * 1_000_000),
            tzinfo=UTC if zone in (None, "Z") else datetime.strptime(zone, "%z").tzinfo,
        )
        start = to_microseconds(begin)
        end = to_microseconds(_end_of_period(begin, month, day, hour, second, fraction))
    except (ValueError, OverflowError):
        raise SearchRefused("date is not a day of the calendar") from None
    periods = {
        "eq": Period(start, end),
        "ne": Period(start, end, outside=True),
        "ge": Period(start, None),
        "gt": Period(end, None),
        "sa": Period(end, None),
        "le": Period(None, end),
        "lt": Period(None, start),
        "eb": Period(None, start),
    }
    return periods[prefix or "eq"]


def _end_of_period(
    start: datetime,
    month: str | None,
    day: str | None,
    hour: str | None,
    second: str | None,
    fraction: str | None,
) -> datetime:
    if month is None:
        return start.replace(year=start.year + 1)
    if day is None:
        return (start + timedelta(days=31)).replace(day=1)
    if hour is None:
        return start + timedelta(days=1)
    if second is None:
        return start + timedelta(minutes=1)
    if fraction is None:
        return start + timedelta(seconds=1)
    return start + timedelta(seconds=10.0 ** (1 - len(fraction)))


def _unescape(value: str) -> str:
    return re.sub(r"\\([,|$\\])", r"\1", value)


def _printable(parameter: str) -> str:
    """The parameter's name if it looks like one: anything else could be a value that slipped."""
    return parameter if re.fullmatch(r"[A-Za-z_:-]{1,40}", parameter) else "given"
