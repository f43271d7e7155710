"""Searching AuditEvents with the parameters of the delivery status component. Pure.

Strings match from the start without regard to case, unless `:exact` or `:contains` says otherwise;
tokens match exactly; dates match by prefix and precision. A comma means or, a repeated parameter means
and. A parameter that is not known is an error: a filter that is silently dropped would show more than
was asked for.

Spec: EHMI delivery status 1.0.2, search parameters; FHIR R4 search.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from accesspoint.delivery import terminology as eds

MAXIMUM_COUNT: Final = 1000
_DATE: Final = re.compile(
    r"(eq|ne|ge|le|gt|lt|sa|eb)?"
    r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2})(?:T([0-9]{2}):([0-9]{2})(?::([0-9]{2})(\.[0-9]{1,6})?)?"
    r"(Z|[+-][0-9]{2}:[0-9]{2})?)?)?)?",
    re.ASCII,
)
_IDENTIFYING: Final = (
    "ehmiMessage",
    "ehmiMessageEnvelope",
    "ehmiTransportEnvelope",
    "ehmiOrigMessage",
    "ehmiOrigTransportEnvelope",
)

Resource = dict[str, Any]


class SearchRefused(Exception):
    """The search is not understood; the message names the parameter and never its value."""


@dataclass(frozen=True, slots=True)
class Search:
    """A parsed search: every criterion must hold; at most `count` matches are shown."""

    criteria: tuple[Callable[[Resource], bool], ...]
    count: int = 100
    newest_first: bool = False

    def matches(self, resource: Resource) -> bool:
        """Tell whether every criterion holds for this AuditEvent."""
        return all(criterion(resource) for criterion in self.criteria)

    def select(self, resources: Iterable[Resource]) -> list[Resource]:
        """Return all matches in the order asked for, not cut to `count`: the total is wanted too."""
        found = [resource for resource in resources if self.matches(resource)]
        return sorted(found, key=recorded, reverse=self.newest_first)


def parse_search(parameters: Sequence[tuple[str, str]]) -> Search:
    """Parse (name, value) pairs of a query string or a form.

    Raises: SearchRefused.
    """
    criteria: list[Callable[[Resource], bool]] = []
    count, newest_first = 100, False
    for name, value in parameters:
        if name == "_count":
            if not re.fullmatch(r"[0-9]{1,4}", value, re.ASCII) or int(value) > MAXIMUM_COUNT:
                raise SearchRefused("_count is a number up to 1000")
            count = int(value)
        elif name == "_sort":
            if value not in ("date", "-date"):
                raise SearchRefused("_sort is date or -date")
            newest_first = value == "-date"
        elif name not in ("_format", "_pretty"):
            criteria.append(_criterion(name, value))
    return Search(tuple(criteria), count, newest_first)


def _criterion(parameter: str, value: str) -> Callable[[Resource], bool]:
    name, _, modifier = parameter.partition(":")
    alternatives = [_unescape(part) for part in re.split(r"(?<!\\),", value)]
    if not all(alternatives):
        raise SearchRefused(f"{name} has an empty value")
    if name == "date" and not modifier:
        periods = [_parse_date(alternative) for alternative in alternatives]
        return lambda resource: any(test(recorded(resource)) for test in periods)
    if name in _TOKENS and not modifier:
        find_tokens = _TOKENS[name]
        wanted = [_parse_token(alternative) for alternative in alternatives]
        return lambda resource: any(
            code == wanted_code and wanted_system in (None, system)
            for system, code in find_tokens(resource)
            for wanted_system, wanted_code in wanted
        )
    if name in _STRINGS and modifier in _STRING_TESTS:
        find_strings, test = _STRINGS[name], _STRING_TESTS[modifier]
        return lambda resource: any(
            test(found, alternative)
            for found in find_strings(resource)
            for alternative in alternatives
        )
    raise SearchRefused(f"the parameter {_printable(parameter)} is not supported")


def recorded(resource: Resource) -> datetime:
    """When the reporting station recorded the event."""
    return datetime.fromisoformat(resource["recorded"])


def identifiers(resource: Resource, *kinds: str) -> Iterator[str]:
    """Yield the identifier values of the entities of these EHMI kinds."""
    for entity in resource["entity"]:
        kind = entity["type"]
        if kind["system"] == eds.ENTITY_TYPES.uri and kind["code"] in kinds:
            yield entity["what"]["identifier"]["value"]


def device_id(resource: Resource) -> str | None:
    """The reporting station's device id: the observer's identifier, else the tail of its reference."""
    observer = resource["source"]["observer"]
    if "identifier" in observer:
        return str(observer["identifier"]["value"])
    reference = observer.get("reference", "")
    return reference.rpartition("/")[2] if reference.startswith("Device/") else None


def parties(resource: Resource, *roles: str) -> Iterator[tuple[str, list[str], str | None]]:
    """Yield (SOR, GLNs, name) of the sender and receiver agents asked for."""
    for agent in resource["agent"]:
        codings = agent.get("type", {}).get("coding", [])
        if not any(c.get("system") == eds.ROLES.uri and c.get("code") in roles for c in codings):
            continue
        glns = [
            extension["valueIdentifier"]["value"]
            for extension in agent.get("extension", [])
            if extension.get("url") == eds.OTHER_ID
        ]
        yield agent["who"]["identifier"]["value"], glns, agent.get("name")


def _sors(*roles: str) -> Callable[[Resource], Iterator[str]]:
    return lambda resource: (sor for sor, _, _ in parties(resource, *roles))


def _glns(*roles: str) -> Callable[[Resource], Iterator[str]]:
    return lambda resource: (gln for _, glns, _ in parties(resource, *roles) for gln in glns)


def _names(*roles: str) -> Callable[[Resource], Iterator[str]]:
    return lambda resource: (name for _, _, name in parties(resource, *roles) if name)


def _organisations(role: str) -> Callable[[Resource], Iterator[str]]:
    def find(resource: Resource) -> Iterator[str]:
        for sor, glns, name in parties(resource, role):
            yield sor
            yield from glns
            if name:
                yield name

    return find


def _message_types(resource: Resource) -> Iterator[tuple[str | None, str]]:
    for entity in resource["entity"]:
        for detail in entity.get("detail", []):
            if detail["type"] == "ehmiMessageType":
                yield None, detail["valueString"]


_STRINGS: Final[dict[str, Callable[[Resource], Iterator[str]]]] = {
    "message-id": lambda resource: identifiers(resource, "ehmiMessage"),
    "orig-message-id": lambda resource: identifiers(resource, "ehmiOrigMessage"),
    "entityIdentifier": lambda resource: identifiers(resource, *_IDENTIFYING),
    "cpr": lambda resource: identifiers(resource, "ehmiPatient"),
    "participant-sor": _sors("ehmiSender", "ehmiReceiver"),
    "sender-sor": _sors("ehmiSender"),
    "receiver-sor": _sors("ehmiReceiver"),
    "sender-gln": _glns("ehmiSender"),
    "receiver-gln": _glns("ehmiReceiver"),
    "sender-name": _names("ehmiSender"),
    "receiver-name": _names("ehmiReceiver"),
    "senderOrg": _organisations("ehmiSender"),
    "receiverOrg": _organisations("ehmiReceiver"),
}
_TOKENS: Final[dict[str, Callable[[Resource], Iterable[tuple[str | None, str]]]]] = {
    "_id": lambda resource: [(None, resource["id"])],
    "ehmiMessageType": _message_types,
    "outcome": lambda resource: [("http://hl7.org/fhir/audit-event-outcome", resource["outcome"])],
    "subtype": lambda resource: [(c.get("system"), c["code"]) for c in resource["subtype"]],
    "type": lambda resource: [(resource["type"].get("system"), resource["type"]["code"])],
}
_STRING_TESTS: Final[dict[str, Callable[[str, str], bool]]] = {
    "": lambda found, wanted: found.casefold().startswith(wanted.casefold()),
    "exact": lambda found, wanted: found == wanted,
    "contains": lambda found, wanted: wanted.casefold() in found.casefold(),
}
SEARCH_PARAMETERS: Final = {
    "date": "date",
    **dict.fromkeys(_STRINGS, "string"),
    **dict.fromkeys(_TOKENS, "token"),
}
"""Every search parameter with its FHIR type, for the CapabilityStatement."""


def _parse_token(text: str) -> tuple[str | None, str]:
    system, bar, code = text.rpartition("|")
    return (system if bar else None), code


def _parse_date(text: str) -> Callable[[datetime], bool]:
    """Return the test of one date value: a date names a period as long as its precision."""
    match = _DATE.fullmatch(text)
    if match is None:
        raise SearchRefused("date is not a FHIR date with an optional prefix")
    prefix, year, month, day, hour, minute, second, fraction, zone = match.groups()
    try:
        start = datetime(
            int(year),
            int(month or 1),
            int(day or 1),
            int(hour or 0),
            int(minute or 0),
            int(second or 0),
            int(float(fraction or 0) * 1_000_000),
            tzinfo=UTC if zone in (None, "Z") else datetime.strptime(zone, "%z").tzinfo,
        )
        end = _end_of_period(start, month, day, hour, second, fraction)
    except (ValueError, OverflowError):
        raise SearchRefused("date is not a day of the calendar") from None
    tests: dict[str, Callable[[datetime], bool]] = {
        "eq": lambda at: start <= at < end,
        "ne": lambda at: not start <= at < end,
        "ge": lambda at: at >= start,
        "gt": lambda at: at >= end,
        "sa": lambda at: at >= end,
        "le": lambda at: at < end,
        "lt": lambda at: at < start,
        "eb": lambda at: at < start,
    }
    return tests[prefix or "eq"]


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
