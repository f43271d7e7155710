"""Delivery events: every step that owes one has it, each once, in the order in which they happened. I7.

What is owed is told by the same table that the stations report from (`stations.reporting`). Where the facts of an
event are stored beside its step, as for messages and hand-overs, the very event id is looked for; for documents and
envelopes it is the event of that station and sub type about that message.

Spec: reliability section 2.2, transactional outbox; decision D13.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from accesspoint.delivery.events import DeliveryEvent, DeliveryFacts, Station, event_id
from accesspoint.stations.reporting import (
    ACKNOWLEDGEMENT_STANDARD,
    CREATED_APART,
    Act,
    Report,
    facts_from_json,
    find_report,
    without_envelope,
)
from accesspoint.store.database import Row
from accesspoint.verification.evidence import Evidence, Tally

_ANY_TIME: Final = datetime(2000, 1, 1, tzinfo=UTC)
_OUTBOUND: Final = (Act.EUA_SENT, Act.MSH_TAKEN, Act.MSH_PASSED_DOWN, Act.AP_TAKEN, Act.AP_SENT)
_INBOUND: Final = (
    Act.AP_RECEIVED,
    Act.AP_PASSED_UP,
    Act.MSH_OPENED,
    Act.MSH_PASSED_UP,
    Act.EUA_FINALIZED,
)


@dataclass(frozen=True, slots=True)
class _Owed:
    """An event that a step owes: by id where its facts are stored, else by what it is about."""

    act: Act
    report: Report
    message_identifier: str
    ids: Mapping[str, str]
    event_ids: tuple[str, ...] = ()
    instead: tuple["_Owed", ...] = ()
    """What stands for it where creating and sending were told apart; the configuration may have changed since."""

    def every(self) -> "Iterator[_Owed]":
        """This one and all that may stand for it."""
        yield self
        yield from self.instead


class _Devices:
    """Which devices report for which station here: what makes the ids of events."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._by_station: dict[str, list[str]] = defaultdict(list)
        for row in rows:
            self._by_station[row["station"]].append(row["device_id"])

    def reports_as(self, station: Station) -> bool:
        """Whether anything was ever reported as this station."""
        return str(station) in self._by_station

    def event_ids(self, report: Report, facts: DeliveryFacts) -> tuple[str, ...]:
        """The ids that the event may have."""
        about = facts if report.with_envelope else without_envelope(facts)
        return tuple(
            str(event_id(DeliveryEvent(report.station, device, report.subtype, "0", _ANY_TIME, about)))
            for device in self._by_station[report.station]
        )  # fmt: skip


async def check_events(evidence: Evidence, tally: Tally) -> None:
    """I7: no step without its event, no event twice, no event before the one it follows."""
    reports = evidence.setting.reports
    if reports is None:
        reports = await evidence.number("SELECT COUNT(*) FROM outbox") > 0
    if not reports:
        tally.not_applicable("no delivery status component is configured, so no events are owed")
        return
    devices = _Devices(
        await evidence.tx.fetch("SELECT DISTINCT station, device_id FROM outbox ORDER BY device_id")
    )
    together = evidence.setting.together
    if together is None:
        together = devices.reports_as(Station.AP_MSH)
    for row in await evidence.tx.fetch(
        "SELECT event_id FROM outbox GROUP BY event_id HAVING COUNT(*) > 1"
    ):
        tally.find("event-doubled", event=row["event_id"])
    for select, read in _STEPS:
        async for page in evidence.pages(select):
            owed = [
                one for row in page for one in _owed(row, read(row), devices, together=together)
            ]
            await _find_missing(evidence, tally, owed)
    await _check_order(evidence, tally, together=together)
    parked = await evidence.number("SELECT COUNT(*) FROM outbox WHERE state = 'parked'")
    waiting = await evidence.number("SELECT COUNT(*) FROM outbox WHERE state = 'waiting'")
    tally.note(f"{waiting} wait to be sent, {parked} were refused and are kept")


@dataclass(frozen=True, slots=True)
class _Step:
    """What a row owes: acts, the facts of their events where they are stored, and ids for a finding."""

    acts: tuple[Act, ...]
    message_identifier: str
    acknowledgement: bool
    ids: Mapping[str, str]
    facts: DeliveryFacts | None = None
    together: tuple[Act, ...] = ()
    """Acts of the message service handler, where it stands with the access point."""


def _facts_of(row: Row) -> DeliveryFacts | None:
    """The facts, or None where they are sealed and only a directory is known."""
    return None if row["facts"] is None else facts_from_json(row["facts"])


def _of_message(row: Row) -> _Step:
    facts = _facts_of(row)
    acknowledgement = row["standard"] == ACKNOWLEDGEMENT_STANDARD
    opened = acknowledgement and row["state"] == "DELIVERED"
    acts: tuple[Act, ...] = (Act.AP_RECEIVED,)
    if row["direction"] == "out":
        acts = (Act.AP_TAKEN, Act.AP_SENT) if row["ended"] else (Act.AP_TAKEN,)
    return _Step(
        acts,
        row["message_identifier"],
        acknowledgement,
        {"message": row["id"], "message_id": row["message_id"]},
        facts,
        together=(Act.ACK_FINALIZED,) if opened else (),
    )


def _of_handover(row: Row) -> _Step:
    facts = _facts_of(row)
    return _Step(
        () if facts is None else (Act(row["act"]),),
        row["message_identifier"],
        facts is not None and facts.standard == ACKNOWLEDGEMENT_STANDARD,
        {"handover": row["id"], "target": row["target"]},
        facts,
    )


def _of_envelope(row: Row) -> _Step:
    acknowledgement = row["standard"] == ACKNOWLEDGEMENT_STANDARD
    if row["direction"] == "out":
        acts = () if acknowledgement else (Act.MSH_TAKEN,)
    else:
        acts = (Act.MSH_OPENED,)
    return _Step(acts, row["message_identifier"], acknowledgement, {"envelope": row["id"]})


def _of_document(row: Row) -> _Step:
    acts = (Act.EUA_SENT,) if row["direction"] == "out" else (Act.MSH_PASSED_UP,)
    return _Step(acts, row["message_identifier"], False, {"document": row["id"]})


_MESSAGES: Final = (
    "SELECT id, direction, state, message_id, message_identifier, standard, facts, EXISTS (SELECT 1 FROM history AS h"
    " WHERE h.message = m.id AND h.to_state IN ('ACKNOWLEDGED', 'REFUSED', 'EXPIRED', 'FAILED')) AS ended"
    " FROM messages AS m WHERE state <> 'PURGED' AND standard <> 'test-service' AND id > $1 ORDER BY id LIMIT $2"
)
_HANDOVERS: Final = (
    # What is brought by a hand-over is reported when it is taken; what is set aside, at once.
    "SELECT id, target, message_identifier, act, facts FROM handovers AS h WHERE kind IN ('document', 'envelope')"
    " AND target <> 'sharing' AND state IN ('done', 'set-aside') AND payload <> '' AND id > $1"
    # Of several systems of one address the last one ends the journey.
    " AND NOT EXISTS (SELECT 1 FROM handovers AS o WHERE h.target LIKE 'backend:%' AND o.target LIKE 'backend:%'"
    " AND o.message_identifier = h.message_identifier AND o.payload = h.payload AND o.state <> 'done')"
    " ORDER BY id LIMIT $2"
)
_ENVELOPES: Final = (
    "SELECT envelope_id AS id, direction, message_identifier, standard FROM envelopes AS e WHERE envelope_id > $1"
    " AND EXISTS (SELECT 1 FROM messages AS m WHERE m.message_identifier = e.message_identifier"
    " AND m.state <> 'PURGED') ORDER BY envelope_id LIMIT $2"
)
_DOCUMENTS: Final = (
    # Stations that are joined report in the commit of the step; the envelope in this store tells that they are.
    "SELECT id, direction, message_identifier FROM documents AS d WHERE payload <> '' AND id > $1"
    " AND EXISTS (SELECT 1 FROM envelopes AS e WHERE e.direction = d.direction"
    " AND e.message_identifier = d.message_identifier) ORDER BY id LIMIT $2"
)
_STEPS: Final = (
    (_MESSAGES, _of_message),
    (_HANDOVERS, _of_handover),
    (_ENVELOPES, _of_envelope),
    (_DOCUMENTS, _of_document),
)


def _owed(row: Row, step: _Step, devices: _Devices, *, together: bool) -> Iterator[_Owed]:
    for act in (*step.acts, *(step.together if together else ())):
        report = find_report(act, acknowledgement=step.acknowledgement, together=together)
        if report is None:
            continue

        def one(report: Report, instead: tuple[_Owed, ...] = (), act: Act = act) -> _Owed:
            event_ids = () if step.facts is None else devices.event_ids(report, step.facts)
            return _Owed(act, report, step.message_identifier, step.ids, event_ids, instead)

        apart = CREATED_APART.values() if act is Act.EUA_SENT else ()
        yield one(report, tuple(one(each) for each in apart))


async def _find_missing(evidence: Evidence, tally: Tally, owed: Sequence[_Owed]) -> None:
    every = [one for each in owed for one in each.every()]
    by_id = sorted({event for one in every for event in one.event_ids})
    known = {
        row["event_id"]
        for row in await evidence.fetch_in("SELECT event_id FROM outbox WHERE event_id", by_id)
    }
    names = sorted({one.message_identifier for one in every if not one.event_ids})
    about = {
        (row["aggregate"], row["station"], row["subtype"])
        for row in await evidence.fetch_in(
            "SELECT aggregate, station, subtype FROM outbox WHERE aggregate", names
        )
    }

    def is_there(one: _Owed) -> bool:
        if one.event_ids:
            return not known.isdisjoint(one.event_ids)
        return (one.message_identifier, one.report.station, one.report.subtype) in about

    for each in owed:
        tally.count()
        if not is_there(each) and not (each.instead and all(map(is_there, each.instead))):
            tally.find("event-missing", **each.ids, station=each.report.station, event=each.report.subtype)  # fmt: skip


async def _check_order(evidence: Evidence, tally: Tally, *, together: bool) -> None:
    """Of one message, events stand in the order of its way, and none is sent before an older one was tried."""
    ways = [
        {
            (str(report.station), str(report.subtype)): position
            for position, act in enumerate(way)
            if (report := find_report(act, acknowledgement=False, together=together)) is not None
        }
        for way in (_OUTBOUND, _INBOUND)
    ]
    for position, report in enumerate(CREATED_APART.values(), start=1 - len(CREATED_APART)):
        ways[0][str(report.station), str(report.subtype)] = position
    async for page in evidence.pages(
        "SELECT DISTINCT aggregate FROM outbox WHERE aggregate > $1 ORDER BY aggregate LIMIT $2",
        key="aggregate",
    ):
        by_message: dict[str, list[Row]] = defaultdict(list)
        for row in await evidence.tx.fetch(
            "SELECT aggregate, event_id, station, subtype, state, attempts FROM outbox"
            " WHERE aggregate >= $1 AND aggregate <= $2 ORDER BY seq",
            page[0]["aggregate"], page[-1]["aggregate"],
        ):  # fmt: skip
            by_message[row["aggregate"]].append(row)
        for message, rows in by_message.items():
            tally.count()
            if not all(_in_order(rows, way) for way in ways):
                tally.find("event-order", message_identifier=message)
            for older in _overtaken(rows):
                tally.find("event-overtaken", message_identifier=message, event=older["event_id"])


def _in_order(rows: Sequence[Row], way: Mapping[tuple[str, str], int]) -> bool:
    """Whether the first event of each kind follows the first of the kinds before it."""
    seen: list[int] = []
    for row in rows:
        position = way.get((row["station"], row["subtype"]))
        if position is not None and position not in seen:
            seen.append(position)
    return seen == sorted(seen)


def _overtaken(rows: Sequence[Row]) -> Iterator[Row]:
    """Events that were never tried although a later one of the same message is sent."""
    sent = [index for index, row in enumerate(rows) if row["state"] == "sent"]
    for row in rows[: sent[-1]] if sent else ():
        if row["state"] == "waiting" and row["attempts"] == 0:
            yield row
