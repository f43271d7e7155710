"""The journey of one message: its reports joined to legs, each leg a walk over stations in their order.

A message walks from the sender's application (place 0) over message handler and access point (1, 2) to the
receiver's access point, handler and application (3, 4, 5). What acknowledges it is a leg of its own, in the other
direction. A station built of two parts covers two places. Reports say which device made them and not whose device
it is; that is concluded from what only one side can do, and otherwise from the order in time.

Places order a walk, not the times: clocks of stations differ.

Spec: EHMI delivery status 1.0.2, "which station reports what".
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import groupby
from typing import Final

from accesspoint.delivery.events import Station, SubType
from accesspoint.status_component.resource import SBDH_ACKNOWLEDGEMENT, Verdict
from accesspoint.tracking.report import Party, Report

LAST_PLACE: Final = 5
_HANDLER: Final = 1
_SPANS: Final = {
    Station.EUA: (0, 0),
    Station.EUA_MSH: (0, 1),
    Station.MSH: (1, 1),
    Station.AP_MSH: (1, 2),
    Station.AP: (2, 2),
}
_GROUPS: Final = {
    Station.EUA: "application",
    Station.EUA_MSH: "handler",
    Station.MSH: "handler",
    Station.AP_MSH: "access-point",
    Station.AP: "access-point",
}
"""Of each group an organisation has one device as a rule."""
_STARTS: Final = frozenset({SubType.CREATED, SubType.CREATED_AND_SENT})
_ENDS: Final = frozenset({SubType.FINALIZED, SubType.RECEIVED_AND_FINALIZED})
_ARRIVALS: Final = _STARTS | {SubType.RECEIVED, SubType.RECEIVED_AND_FINALIZED}
_DEPARTURES: Final = frozenset({SubType.SENT, SubType.CREATED_AND_SENT})


class Kind(StrEnum):
    """What a leg carries."""

    MESSAGE = "message"
    RECEIPT = "receipt"
    ANSWER = "answer"
    ANSWER_RECEIPT = "answer-receipt"
    COPY = "copy"
    COPY_RECEIPT = "copy-receipt"


class Stop(StrEnum):
    """What stands at a place."""

    APPLICATION = "application"
    HANDLER = "handler"
    ACCESS_POINT = "access-point"

    @classmethod
    def at(cls, place: int) -> "Stop":
        """The stop at one of the places 0 to 5."""
        return (cls.APPLICATION, cls.HANDLER, cls.ACCESS_POINT)[min(place, LAST_PLACE - place)]


@dataclass(frozen=True, slots=True)
class Visit:
    """One leg at one station: the places it covers, and when it came, left, ended or failed there."""

    device: str
    station: Station
    owner: Party
    first: int
    last: int
    arrived: datetime | None = None
    left: datetime | None = None
    ended: datetime | None = None
    failed: datetime | None = None
    failed_at: SubType | None = None
    created: bool = False

    @property
    def times(self) -> list[datetime]:
        """Every time that is known of it, in the order in which they should be."""
        return [at for at in (self.arrived, self.left, self.ended, self.failed) if at is not None]


@dataclass(frozen=True, slots=True)
class Leg:
    """One walk of one message in one envelope; `attempt` counts those of its kind from 1 as they began."""

    kind: Kind
    message: str
    message_type: str
    sender: Party
    receiver: Party
    visits: tuple[Visit, ...]
    reports: tuple[Report, ...]
    envelope: str | None = None
    attempt: int = 1
    verdict: Verdict | None = None

    @property
    def end(self) -> int:
        """The place where it ends: receipts go from handler to handler."""
        ends_at_handler = self.kind in (
            Kind.RECEIPT,
            Kind.ANSWER_RECEIPT,
            Kind.COPY_RECEIPT,
            Kind.COPY,
        )
        return LAST_PLACE - _HANDLER if ends_at_handler else LAST_PLACE

    @property
    def furthest(self) -> Visit:
        """The station nearest to the end that has seen it."""
        return self.visits[-1]

    @property
    def started(self) -> datetime:
        """The first time known of it."""
        return min(at for visit in self.visits for at in visit.times)

    @property
    def ended(self) -> datetime | None:
        """When its end station reported that it is finalized."""
        return max((visit.ended for visit in self.visits if visit.ended), default=None)

    def owner_of(self, place: int) -> Party:
        """Whose station stands at this place."""
        return self.sender if 2 * place < LAST_PLACE else self.receiver


@dataclass(frozen=True, slots=True)
class Lane:
    """One station of the picture: its owner's role is 0 for the sender, 1 for the receiver, 2 for others."""

    device: str
    station: Station
    owner: Party
    role: int
    place: int


@dataclass(frozen=True, slots=True)
class Exchange:
    """A message and all that answers it. `legs` are in the order in which they began."""

    message: str
    message_type: str
    version: str
    sender: Party
    receiver: Party
    legs: tuple[Leg, ...]
    lanes: tuple[Lane, ...]
    reports: tuple[Report, ...]

    def of(self, kind: Kind) -> tuple[Leg, ...]:
        """The legs of a kind."""
        return tuple(leg for leg in self.legs if leg.kind is kind)

    def current(self, kind: Kind) -> Leg | None:
        """The leg of this kind that counts: the first that ended, else the latest."""
        legs = self.of(kind)
        return first_ended(legs) or next(reversed(legs), None)

    @property
    def started(self) -> datetime:
        """The first time known."""
        return min(report.recorded_at for report in self.reports)

    @property
    def latest(self) -> datetime:
        """The last time known."""
        return max(report.recorded_at for report in self.reports)

    @property
    def slowest_report(self) -> timedelta:
        """The longest time from what happened to its being reported."""
        delays = [r.received_at - r.recorded_at for r in self.reports if r.received_at is not None]
        return max(delays, default=timedelta(0))


def first_ended(legs: Iterable[Leg]) -> Leg | None:
    """The leg that came to its end before all others: what is sent again afterwards changes nothing of it."""
    ended = [(leg.ended, leg) for leg in legs if leg.ended is not None]
    return min(ended, key=lambda one: one[0], default=(None, None))[1]


def covers(station: Station, stop: Stop) -> bool:
    """Whether a station contains what stands at this stop."""
    first, last = _SPANS[station]
    return first <= list(Stop).index(stop) <= last


def root_of(reports: Iterable[Report]) -> str | None:
    """The message that is answered and answers nothing itself; None without reports."""
    reports = sorted(reports, key=lambda report: report.recorded_at)
    for report in reports:
        if not report.is_answer:
            return report.message
    answered = {report.answers for report in reports}
    for report in reports:
        if report.message in answered:
            return report.message
    return reports[0].message if reports else None


def build_exchange(
    reports: Iterable[Report], *, owners: Mapping[str, str] | None = None
) -> Exchange | None:
    """Join the reports of one message and of what answers it; None when there are none.

    `owners` maps a device to the `Party.key` of its organisation where that is known otherwise.
    """
    reports = _named(sorted(reports, key=lambda report: report.recorded_at))
    message = root_of(reports)
    if message is None:
        return None
    own = [report for report in reports if report.message == message]
    # The creating station names the true receiver: a copy of the message has another one.
    first = next((r for r in own if r.subtype in _STARTS), next((r for r in own), reports[0]))
    if first.is_answer:
        # Nothing was reported of what it answers, which went the other way.
        first = replace(first, sender=first.receiver, receiver=first.sender)
    owned = _owners(reports, dict(owners or {}))
    parties = {party.key: party for r in reports for party in (r.sender, r.receiver)}
    counts: Counter[Kind] = Counter()
    legs = []
    for leg in sorted(_legs(reports, first, owned, parties), key=lambda leg: leg.started):
        counts[leg.kind] += 1
        legs.append(replace(leg, attempt=counts[leg.kind]))
    return Exchange(
        message=message,
        message_type=first.message_type,
        version=first.version,
        sender=first.sender,
        receiver=first.receiver,
        legs=tuple(legs),
        lanes=tuple(_lanes(legs, first)),
        reports=reports,
    )


def _named(reports: Sequence[Report]) -> tuple[Report, ...]:
    """The same reports with each organisation called alike: only some stations know names."""
    known: dict[str, Party] = {}
    for report in reports:
        for party in (report.sender, report.receiver):
            if party.name:
                known.setdefault(party.key, party)
    return tuple(
        replace(
            report,
            sender=known.get(report.sender.key, report.sender),
            receiver=known.get(report.receiver.key, report.receiver),
        )
        for report in reports
    )


def _owners(reports: Sequence[Report], known: dict[str, str]) -> dict[str, str]:
    """Whose each device is: who creates is the sender, who finalizes the receiver; the rest by order in time."""
    for report in reports:
        if report.subtype in _STARTS:
            known.setdefault(report.device, report.sender.key)
        elif report.subtype in _ENDS:
            known.setdefault(report.device, report.receiver.key)
    groups: dict[tuple[str, str], str] = {}
    for report in reports:
        if report.device in known:
            groups.setdefault((known[report.device], _GROUPS[report.station]), report.device)
    for report in reports:
        if report.device in known:
            continue
        group = _GROUPS[report.station]
        near, far = report.sender.key, report.receiver.key
        owner = far if (near, group) in groups and (far, group) not in groups else near
        known[report.device] = owner
        groups.setdefault((owner, group), report.device)
    return known


def _kind(report: Report, root: Report, answers: Mapping[str, str | None]) -> Kind:
    if report.message == root.message and not root.is_answer:
        return Kind.MESSAGE if report.receiver.key == root.receiver.key else Kind.COPY
    if report.message_type != SBDH_ACKNOWLEDGEMENT:
        return Kind.ANSWER
    if report.answers is not None and answers.get(report.answers) is not None:
        return Kind.ANSWER_RECEIPT
    return Kind.RECEIPT if report.sender.key == root.receiver.key else Kind.COPY_RECEIPT


def _legs(
    reports: Sequence[Report],
    root: Report,
    owners: Mapping[str, str],
    parties: Mapping[str, Party],
) -> Iterable[Leg]:
    answers = {report.message: report.answers for report in reports}

    def group(report: Report) -> tuple[str, str, str]:
        return _kind(report, root, answers), report.message, report.receiver.key

    for (kind, message, _), grouped in groupby(sorted(reports, key=group), key=group):
        members = sorted(grouped, key=lambda report: report.recorded_at)
        for envelope, carried in _attempts(members, owners):
            yield Leg(
                kind=Kind(kind),
                message=message,
                message_type=members[0].message_type,
                sender=members[0].sender,
                receiver=members[0].receiver,
                visits=tuple(_visits(carried, owners, parties)),
                reports=tuple(carried),
                envelope=envelope,
                verdict=next((r.verdict for r in carried if r.verdict), None),
            )


def _attempts(
    members: Sequence[Report], owners: Mapping[str, str]
) -> list[tuple[str | None, list[Report]]]:
    """The reports of one message by transport envelope; stations that see no envelope join the one in time."""
    attempts: dict[str, list[Report]] = {}
    inside = []
    for report in members:
        if report.envelope is None:
            inside.append(report)
        else:
            attempts.setdefault(report.envelope, []).append(report)
    if not attempts:
        return [(None, inside)]
    starts = {envelope: carried[0].recorded_at for envelope, carried in attempts.items()}
    order = list(attempts)
    for report in inside:
        if owners[report.device] == report.sender.key:
            fitting = [one for one in order if starts[one] >= report.recorded_at] or order[-1:]
            attempts[fitting[0]].append(report)
        else:
            arrived = [
                one
                for one in order
                if any(
                    owners[r.device] == report.receiver.key and r.recorded_at <= report.recorded_at
                    for r in attempts[one]
                )
            ]
            attempts[(arrived or order)[-1]].append(report)
    return [*attempts.items()]


def _visits(
    carried: Sequence[Report], owners: Mapping[str, str], parties: Mapping[str, Party]
) -> list[Visit]:
    visits = []
    devices = dict.fromkeys(report.device for report in carried)
    for device in devices:
        mine = [report for report in carried if report.device == device]
        good = [report for report in mine if not report.failed]
        bad = [report for report in mine if report.failed]
        first, last = _SPANS[mine[0].station]
        owner = parties.get(owners[device], mine[0].sender)
        if owner.key != mine[0].sender.key:
            first, last = LAST_PLACE - last, LAST_PLACE - first

        def earliest(steps: frozenset[SubType], among: list[Report]) -> datetime | None:
            return min((r.recorded_at for r in among if r.subtype in steps), default=None)

        visits.append(
            Visit(
                device=device,
                station=mine[0].station,
                owner=owner,
                first=first,
                last=last,
                arrived=earliest(frozenset(_ARRIVALS), good),
                left=earliest(_DEPARTURES, good),
                ended=earliest(_ENDS, good),
                failed=bad[-1].recorded_at if bad else None,
                failed_at=bad[-1].subtype if bad else None,
                created=any(report.subtype in _STARTS for report in mine),
            )
        )
    return sorted(visits, key=lambda visit: (visit.last, visit.first, visit.times[0]))


def _lanes(legs: Iterable[Leg], root: Report) -> list[Lane]:
    """Every station that reported: the sender's from the inside out, the receiver's from the outside in."""
    lanes: dict[str, Lane] = {}
    for leg in legs:
        for visit in leg.visits:
            if visit.device in lanes:
                continue
            first, last = _SPANS[visit.station]
            if visit.owner.key == root.sender.key:
                role, place = 0, first
            else:
                role = 1 if visit.owner.key == root.receiver.key else 2
                place = LAST_PLACE - last
            lanes[visit.device] = Lane(visit.device, visit.station, visit.owner, role, place)
    return sorted(
        lanes.values(), key=lambda lane: (lane.role, lane.owner.key, lane.place, lane.device)
    )
