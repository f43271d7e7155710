"""What pages for people are made from: the messages of a period, the journey of one, and how many there were.

Every query takes a transaction that only reads (`store.database.read(lambda tx: ...)`) and what may be seen
(`access.Seen`, or None for everything), and returns plain values. Times are aware and in UTC; a period is
from its start up to its end.

A message counts where its first event lies. Its state is one of

| State | Meaning |
|---|---|
| `refused` | a station could not take it (outcome 8 on receiving) |
| `undelivered` | a station gave up passing it on (outcome 8 on sending) |
| `finalized` | its last station has it |
| `underway` | neither yet |

and the first that applies holds. A message that answers another (an acknowledgement) is a message of its own
with `answers` set.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

import orjson

from accesspoint.clock import from_microseconds, to_microseconds
from accesspoint.status_component.access import Seen
from accesspoint.status_component.finding import Number, Text
from accesspoint.status_component.resource import (
    FHIR_ACKNOWLEDGEMENT,
    SBDH_ACKNOWLEDGEMENT,
    Verdict,
)
from accesspoint.store.database import Row, Transaction, Value

MAXIMUM_LISTED: Final = 500


class State(StrEnum):
    """How far a message came."""

    REFUSED = "refused"
    UNDELIVERED = "undelivered"
    FINALIZED = "finalized"
    UNDERWAY = "underway"


class Whereabouts(StrEnum):
    """Where a message is for those who wait for it, what answers it counted in; the first that applies holds.

    `refused`: a negative acknowledgement and no positive one of its kind; `answered`: the answer of the receiver's
    system has reached the sender's; `delivered`: the receiver's system has it; `stopped`: given up, or silent since
    `Filters.silent_since`; else `underway`.
    """

    REFUSED = "refused"
    ANSWERED = "answered"
    DELIVERED = "delivered"
    STOPPED = "stopped"
    UNDERWAY = "underway"


class Step(StrEnum):
    """The length of the bars of an overview; a week begins on Monday."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class Organisation:
    """A party of a message; `name` is empty where no report gave one."""

    sor: str
    glns: tuple[str, ...]
    name: str


@dataclass(frozen=True, slots=True)
class Message:
    """One message as the reports about it tell; `repr` leaves the patient out."""

    identifier: str
    standard: str
    version: str
    sender: Organisation
    receiver: Organisation
    patient: str | None
    answers: str | None
    """The identifier of the message that this one acknowledges."""
    state: State
    first_at: datetime
    last_at: datetime
    finalized_at: datetime | None
    events: int
    position: int
    """For `Filters.after`, with `first_at`."""

    def __repr__(self) -> str:
        return f"Message({self.identifier!r}, {self.standard!r}, {self.state!r})"


@dataclass(frozen=True, slots=True)
class JourneyEvent:
    """One report of a journey, in the words of the profile."""

    id: str
    message: str
    device: str
    station: str
    """`source.type`: EUA, EUA-MSH, MSH, AP-MSH or AP."""
    subtype: str
    failed: bool
    recorded_at: datetime
    received_at: datetime
    message_envelope: str | None
    transport_envelope: str | None


@dataclass(frozen=True, slots=True)
class Journey:
    """A message with its events, and each message that answers it (and so on) with its own.

    Events are in the order in which the stations recorded them; `messages` begins with the one asked for,
    the others by their first event.
    """

    messages: tuple[Message, ...]
    events: tuple[JourneyEvent, ...]

    def of(self, message: Message) -> tuple[JourneyEvent, ...]:
        """The events of one of the messages."""
        return tuple(
            e for e in self.events if e.message.casefold() == message.identifier.casefold()
        )


@dataclass(frozen=True, slots=True)
class Filters:
    """Which messages are listed; what is None does not matter.

    `sender`, `receiver` and `party` (either) are a SOR id, a GLN or a name's beginning. `patient` is the whole
    number. `whereabouts` needs `silent_since`: what reported nothing since then has stopped. `after` is (`first_at`,
    `position`) of the last message of the page before.
    """

    start: datetime | None = None
    end: datetime | None = None
    standard: str | None = None
    state: State | None = None
    sender: str | None = None
    receiver: str | None = None
    party: str | None = None
    patient: str | None = None
    whereabouts: Whereabouts | None = None
    silent_since: datetime | None = None
    with_answers: bool = False
    after: tuple[datetime, int] | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class Count:
    """How many messages of a type and state have their first event in the step that begins at `start`."""

    start: datetime
    standard: str
    state: State
    messages: int


@dataclass(frozen=True, slots=True)
class Negative:
    """One month of one standard, as the sector reports it: messages, and how many of them were turned down.

    `refused` could not be taken by a station of the receiver, `undelivered` never got there.
    """

    month: datetime
    standard: str
    messages: int
    refused: int
    undelivered: int


@dataclass(frozen=True, slots=True)
class HourCount:
    """How many messages of a type have their first event in this hour and are there now."""

    hour: datetime
    standard: str
    whereabouts: Whereabouts
    messages: int


@dataclass(frozen=True, slots=True)
class AnswerCount:
    """How many acknowledgements of one standard (`by`) first seen in this hour say this about messages of a type."""

    hour: datetime
    standard: str
    by: str
    verdict: Verdict | None
    messages: int


async def find_journey(
    tx: Transaction, message_identifier: str, *, seen: Seen | None = None
) -> Journey | None:
    """Return the journey of a message, of those reports that may be seen; None where there is nothing to see."""
    rows = await _exchange(tx, message_identifier, seen)
    if not rows:
        return None
    identifiers = list(dict.fromkeys(row["message"] for row in rows))
    found = await tx.fetch(
        _LISTED + "m.message IN (SELECT value FROM json_each($1)) ORDER BY m.first_at, m.id",
        orjson.dumps(identifiers).decode(),
    )
    messages = [_message(row) for row in found]
    asked = message_identifier.casefold()
    messages.sort(key=lambda message: message.identifier.casefold() != asked)
    return Journey(tuple(messages), tuple(_event(row) for row in rows))


async def is_seen(tx: Transaction, message_identifier: str, seen: Seen) -> bool:
    """Whether a message is one of those that may be seen, by its parties or its patient."""
    values: list[Value] = [message_identifier]
    within = _written(await seen.condition(tx), "m", values)
    row = await tx.fetch_one(f"SELECT 1 FROM messages m WHERE m.message = $1 AND {within}", *values)
    return row is not None


async def find_messages_by_envelope(
    tx: Transaction, identifier: str, *, seen: Seen | None = None
) -> list[str]:
    """Return the identifiers of the messages with this message, message envelope or transport envelope identifier."""
    values: list[Value] = [identifier]
    within = await _seen_events(tx, seen, values)
    rows = await tx.fetch(
        " UNION ".join(
            f"SELECT message FROM events e WHERE {column} = $1{within}"
            for column in ("message", "message_envelope", "transport_envelope")
        ),
        *values,
    )
    return [row["message"] for row in rows]


async def list_messages(
    tx: Transaction, filters: Filters, *, seen: Seen | None = None
) -> list[Message]:
    """Return a page of messages, newest first; at most `filters.limit` of them (500)."""
    values: list[Value] = []
    tests = await _tests(tx, filters, seen, values)
    if filters.after is not None:
        values += [to_microseconds(filters.after[0]), filters.after[1]]
        tests.append(f"(m.first_at, m.id) < (${len(values) - 1}, ${len(values)})")
    limit = min(filters.limit, MAXIMUM_LISTED)
    rows = await tx.fetch(
        _LISTED + " AND ".join(tests) + f" ORDER BY m.first_at DESC, m.id DESC LIMIT {limit}",
        *values,
    )
    return [_message(row) for row in rows]


async def count_messages(
    tx: Transaction, filters: Filters, step: Step, *, seen: Seen | None = None
) -> list[Count]:
    """Count the messages of a period by day, week or month (UTC), type and state."""
    values: list[Value] = []
    tests = await _tests(tx, filters, seen, values)
    rows = await tx.fetch(
        f"SELECT {_STEPS[step]} AS step, c.code AS standard, {_STATE} AS state, count(*) AS n"
        f" FROM messages m JOIN codes c ON c.id = m.standard WHERE {' AND '.join(tests)}"
        " GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
        *values,
    )
    return [
        Count(datetime.fromisoformat(row["step"] + "T00:00:00+00:00"), row["standard"],
              State(row["state"]), row["n"])
        for row in rows
    ]  # fmt: skip


async def count_negative(
    tx: Transaction, filters: Filters, *, seen: Seen | None = None
) -> list[Negative]:
    """Count the messages turned down, by standard and month: the table that the sector reports."""
    counts = await count_messages(tx, filters, Step.MONTH, seen=seen)
    table: dict[tuple[datetime, str], list[int]] = {}
    for count in counts:
        line = table.setdefault((count.start, count.standard), [0, 0, 0])
        line[0] += count.messages
        line[1] += count.messages if count.state is State.REFUSED else 0
        line[2] += count.messages if count.state is State.UNDELIVERED else 0
    return [Negative(month, standard, *line) for (month, standard), line in sorted(table.items())]


async def find_root(tx: Transaction, message_identifier: str) -> str | None:
    """Return the message that this one answers, and so on up to one that answers nothing that was reported."""
    row = await tx.fetch_one(
        "WITH RECURSIVE up (message, orig, depth) AS ("
        " SELECT message, orig_message, 0 FROM messages WHERE message = $1"
        " UNION SELECT m.message, m.orig_message, depth + 1 FROM up JOIN messages m ON m.message = up.orig"
        " WHERE depth < 8) SELECT message FROM up ORDER BY depth DESC LIMIT 1",
        message_identifier,
    )
    return None if row is None else str(row["message"])


async def count_whereabouts(
    tx: Transaction, filters: Filters, *, seen: Seen | None = None
) -> list[HourCount]:
    """Count the messages of a period by hour, type and where they are; hours, since days differ by time zone.

    Raises: ValueError without `filters.silent_since`.
    """
    values: list[Value] = []
    tests = await _tests(tx, filters, seen, values)
    rows = await tx.fetch(
        f"SELECT m.first_at / {_HOUR} AS hour, c.code AS standard, {_whereabouts(filters, values)} AS place,"
        f" count(*) AS n FROM messages m JOIN codes c ON c.id = m.standard WHERE {' AND '.join(tests)}"
        " GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
        *values,
    )
    return [
        HourCount(from_microseconds(row["hour"] * _HOUR), row["standard"],
                  Whereabouts(row["place"]), row["n"])
        for row in rows
    ]  # fmt: skip


async def count_answers(
    tx: Transaction, filters: Filters, *, seen: Seen | None = None
) -> list[AnswerCount]:
    """Count the acknowledgements of a period by hour, standard answered, standard of the answer, and verdict.

    The standard answered is that of the message as its own reports name it: a FHIR Acknowledgement knows only its
    identifier, and its reports say `unknown` for the standard. Where the message itself was not reported, what the
    acknowledgement says holds. `filters.standard` is that of the acknowledgement. Acknowledgements of
    acknowledgements are left out.
    """
    values: list[Value] = []
    tests = await _tests(tx, replace(filters, with_answers=True), seen, values)
    rows = await tx.fetch(
        f"SELECT m.first_at / {_HOUR} AS hour, o.code AS standard, c.code AS by, m.verdict AS verdict, count(*) AS n"
        " FROM messages m LEFT JOIN messages answered ON answered.message = m.orig_message"
        " JOIN codes o ON o.id = coalesce(answered.standard, m.orig_standard) JOIN codes c ON c.id = m.standard"
        f" WHERE m.orig_standard IS NOT NULL AND o.code NOT IN ('{FHIR_ACKNOWLEDGEMENT}', '{SBDH_ACKNOWLEDGEMENT}') AND {' AND '.join(tests)}"
        " GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4",
        *values,
    )
    return [
        AnswerCount(
            from_microseconds(row["hour"] * _HOUR),
            row["standard"],
            row["by"],
            None if row["verdict"] is None else Verdict(row["verdict"]),
            row["n"],
        )
        for row in rows
    ]


async def list_organisations(tx: Transaction, limit: int = 500) -> list[Organisation]:
    """Return organisations that were a party of a message, by name."""
    rows = await tx.fetch(
        f"SELECT sor, glns, max(name) AS name FROM parties GROUP BY sor, glns ORDER BY max(folded), sor LIMIT {int(limit)}"
    )
    return [Organisation(row["sor"], tuple(row["glns"].split()), row["name"]) for row in rows]


async def list_standards(tx: Transaction) -> list[str]:
    """Return every type of which a message was ever reported; one only named as answered is none of them."""
    rows = await tx.fetch(
        "SELECT code FROM codes WHERE system = '' AND EXISTS (SELECT 1 FROM events e WHERE e.standard = codes.id)"
        " ORDER BY code"
    )
    return [row["code"] for row in rows]


# -- the statements -------------------------------------------------------------------------------

_STATE: Final = (
    "CASE WHEN m.refused_at IS NOT NULL THEN 'refused' WHEN m.undelivered_at IS NOT NULL THEN 'undelivered'"
    " WHEN m.finalized_at IS NOT NULL THEN 'finalized' ELSE 'underway' END"
)
_HOUR: Final = 3_600_000_000
"""In microseconds."""
_ANSWER: Final = "EXISTS (SELECT 1 FROM messages a WHERE a.orig_message = m.message AND "
_IS_FHIR: Final = f"a.standard <> coalesce((SELECT id FROM codes WHERE code = '{SBDH_ACKNOWLEDGEMENT}' AND system = ''), 0)"
_WHEREABOUTS: Final = (
    f"CASE WHEN {_ANSWER}a.verdict IN ('{Verdict.FATAL}', '{Verdict.TRANSIENT}') AND NOT EXISTS (SELECT 1 FROM messages b"
    f" WHERE b.orig_message = m.message AND b.standard = a.standard"
    f" AND coalesce(b.verdict, '{Verdict.POSITIVE}') = '{Verdict.POSITIVE}')) THEN '{Whereabouts.REFUSED}'"
    f" WHEN {_ANSWER}{_IS_FHIR} AND a.finalized_at IS NOT NULL) THEN '{Whereabouts.ANSWERED}'"
    f" WHEN m.finalized_at IS NOT NULL OR {_ANSWER}{_IS_FHIR}) THEN '{Whereabouts.DELIVERED}'"
    " WHEN coalesce(m.undelivered_at, m.refused_at, -1) = m.last_at OR m.last_at < {silent}"
    f" THEN '{Whereabouts.STOPPED}' ELSE '{Whereabouts.UNDERWAY}' END"
)
_DATE: Final = "date(m.first_at / 1000000, 'unixepoch'"
_STEPS: Final = {
    Step.DAY: f"{_DATE})",
    Step.WEEK: f"{_DATE}, '-6 days', 'weekday 1')",
    Step.MONTH: f"{_DATE}, 'start of month')",
}
_LISTED: Final = f"""
SELECT m.*, c.code AS standard_code, {_STATE} AS state,
  s.sor AS sender_sor, s.glns AS sender_glns, s.name AS sender_name,
  r.sor AS receiver_sor, r.glns AS receiver_glns, r.name AS receiver_name
FROM messages m JOIN codes c ON c.id = m.standard
  JOIN parties s ON s.id = m.sender JOIN parties r ON r.id = m.receiver
WHERE """


async def _exchange(tx: Transaction, identifier: str, seen: Seen | None) -> Sequence[Row]:
    values: list[Value] = [identifier]
    within = await _seen_events(tx, seen, values)
    return await tx.fetch(
        "WITH RECURSIVE exchange (message) AS (SELECT $1"
        " UNION SELECT e.message FROM exchange x JOIN events e ON e.orig_message = x.message)"
        " SELECT e.*, d.code AS device_code, p.code AS station_code, t.code AS subtype_code FROM events e"
        " JOIN codes d ON d.id = e.device JOIN codes p ON p.id = e.station JOIN codes t ON t.id = e.subtype"
        f" WHERE e.message IN (SELECT message FROM exchange){within} ORDER BY e.recorded_at, e.seq",
        *values,
    )


async def _seen_events(tx: Transaction, seen: Seen | None, values: list[Value]) -> str:
    if seen is None:
        return ""
    return " AND " + _written(await seen.condition(tx), "e", values)


def _written(condition: Number | Text, table: str, values: list[Value]) -> str:
    tests = []
    for column in condition.columns:
        given = condition.numbers if isinstance(condition, Number) else condition.values
        values.append(orjson.dumps(given).decode())
        tests.append(f"{table}.{column} IN (SELECT value FROM json_each(${len(values)}))")
    return f"({' OR '.join(tests)})"


def _whereabouts(filters: Filters, values: list[Value]) -> str:
    if filters.silent_since is None:
        raise ValueError("where a message is depends on `silent_since`")
    values.append(to_microseconds(filters.silent_since))
    return _WHEREABOUTS.format(silent=f"${len(values)}")


async def _tests(
    tx: Transaction, filters: Filters, seen: Seen | None, values: list[Value]
) -> list[str]:
    def bind(value: Value) -> str:
        values.append(value)
        return f"${len(values)}"

    tests = ["true"]
    if filters.start is not None:
        tests.append(f"m.first_at >= {bind(to_microseconds(filters.start))}")
    if filters.end is not None:
        tests.append(f"m.first_at < {bind(to_microseconds(filters.end))}")
    if filters.standard is not None:
        tests.append(f"m.standard IN (SELECT id FROM codes WHERE code = {bind(filters.standard)})")
    if filters.state is not None:
        tests.append(f"{_STATE} = {bind(filters.state)}")
    if filters.whereabouts is not None:
        tests.append(f"{_whereabouts(filters, values)} = {bind(filters.whereabouts)}")
    if not filters.with_answers:
        tests.append("m.orig_standard IS NULL")
    if filters.patient is not None:
        tests.append(f"m.patient = {bind(filters.patient)}")
    for columns, wanted in (
        (("sender",), filters.sender),
        (("receiver",), filters.receiver),
        (("sender", "receiver"), filters.party),
    ):
        if wanted is not None:
            written, folded = bind(wanted), bind(wanted.casefold())
            chosen = (
                f"(SELECT id FROM parties WHERE sor = {written} OR substr(folded, 1, length({folded})) = {folded}"
                f" OR id IN (SELECT party FROM party_glns WHERE gln = {written}))"
            )
            tests.append(f"({' OR '.join(f'm.{column} IN {chosen}' for column in columns)})")
    if seen is not None and seen.device is not None:
        # A station sees what its own device reported, so it sees messages it has reported on.
        number = bind(seen.device)
        tests.append(
            "EXISTS (SELECT 1 FROM events e WHERE e.message = m.message AND e.device IN"
            f" (SELECT id FROM codes WHERE code = {number} AND system = 'device'))"
        )
    elif seen is not None:
        tests.append(_written(await seen.condition(tx), "m", values))
    return tests


def _message(row: Row) -> Message:
    return Message(
        identifier=row["message"],
        standard=row["standard_code"],
        version=row["version"],
        sender=_organisation(row, "sender"),
        receiver=_organisation(row, "receiver"),
        patient=row["patient"],
        answers=row["orig_message"],
        state=State(row["state"]),
        first_at=from_microseconds(row["first_at"]),
        last_at=from_microseconds(row["last_at"]),
        finalized_at=None
        if row["finalized_at"] is None
        else from_microseconds(row["finalized_at"]),
        events=row["events"],
        position=row["id"],
    )


def _organisation(row: Row, role: str) -> Organisation:
    return Organisation(row[f"{role}_sor"], tuple(row[f"{role}_glns"].split()), row[f"{role}_name"])


def _event(row: Row) -> JourneyEvent:
    return JourneyEvent(
        id=row["id"],
        message=row["message"],
        device=row["device_code"],
        station=row["station_code"],
        subtype=row["subtype_code"],
        failed=row["outcome"] != 0,
        recorded_at=from_microseconds(row["recorded_at"]),
        received_at=from_microseconds(row["received_at"]),
        message_envelope=row["message_envelope"],
        transport_envelope=row["transport_envelope"],
    )
