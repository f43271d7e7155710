"""Whose turn it is, in one finding: what is silent or refused, since when, at whose station, and what to do.

`find_culprit` is one table read from the top: what a person must act on first stands first. The words are in the
texts of the pages, one per case.

Spec: EHMI delivery status 1.0.2; reliable messaging, alert after ten minutes without acknowledgement.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from accesspoint.delivery.events import SubType
from accesspoint.status_component.queries import Whereabouts
from accesspoint.status_component.resource import Verdict
from accesspoint.tracking.journey import LAST_PLACE, Exchange, Kind, Leg, Stop, first_ended
from accesspoint.tracking.report import Party

PATIENCE: Final = timedelta(minutes=10)
"""How long a next step may take before somebody should look."""
SKEW: Final = timedelta(seconds=2)
LATE: Final = timedelta(minutes=1)
_HANDLER: Final = LAST_PLACE - 1


class Case(StrEnum):
    """What is the matter."""

    UNKNOWN = "unknown"
    ENVELOPE_REFUSED = "envelope-refused"
    REFUSED = "refused"
    REFUSED_FOR_NOW = "refused-for-now"
    COMPLETE = "complete"
    GAVE_UP = "gave-up"
    NOT_TAKEN = "not-taken"
    HELD = "held"
    SILENT = "silent"
    UNACKNOWLEDGED = "unacknowledged"
    UNANSWERED = "unanswered"
    DELIVERED = "delivered"
    UNDERWAY = "underway"
    PASSING = "passing"


_WHEREABOUTS: Final = {
    Case.UNKNOWN: Whereabouts.UNDERWAY,
    Case.ENVELOPE_REFUSED: Whereabouts.REFUSED,
    Case.REFUSED: Whereabouts.REFUSED,
    Case.REFUSED_FOR_NOW: Whereabouts.REFUSED,
    Case.COMPLETE: Whereabouts.ANSWERED,
    Case.GAVE_UP: Whereabouts.STOPPED,
    Case.NOT_TAKEN: Whereabouts.STOPPED,
    Case.HELD: Whereabouts.STOPPED,
    Case.SILENT: Whereabouts.STOPPED,
    Case.UNACKNOWLEDGED: Whereabouts.DELIVERED,
    Case.UNANSWERED: Whereabouts.DELIVERED,
    Case.DELIVERED: Whereabouts.DELIVERED,
    Case.UNDERWAY: Whereabouts.UNDERWAY,
    Case.PASSING: Whereabouts.UNDERWAY,
}
_MOVING: Final = frozenset({Case.UNDERWAY, Case.PASSING})
"""Between two stations, or at one, for no longer than it may take."""
_OVER: Final = frozenset(
    {
        Case.UNKNOWN,
        Case.ENVELOPE_REFUSED,
        Case.REFUSED,
        Case.REFUSED_FOR_NOW,
        Case.COMPLETE,
        Case.GAVE_UP,
        Case.NOT_TAKEN,
    }
)
"""Nothing is waited for any more, or nothing is known of it."""
_STUCK: Final = frozenset({Case.GAVE_UP, Case.NOT_TAKEN, Case.HELD, Case.SILENT})


class Remark(StrEnum):
    """What is worth knowing beside the finding."""

    RESENT = "resent"
    UNREPORTED = "unreported"
    SKEW = "skew"
    LATE_REPORTS = "late-reports"
    RECEIPT_MISSING = "receipt-missing"
    ANSWER_UNACKNOWLEDGED = "answer-unacknowledged"
    COPIED = "copied"


@dataclass(frozen=True, slots=True)
class Finding:
    """The finding: `stop` of `organisation` is where it is or should be, reached from `before` of `before_owner`.

    `since` is when the last thing happened; `kind` is the leg that it is about; `place` is where it failed, or is
    waited for.
    """

    case: Case
    kind: Kind
    since: datetime
    stop: Stop
    organisation: Party
    before: Stop | None = None
    before_owner: Party | None = None
    place: int | None = None

    @property
    def state(self) -> Whereabouts:
        """Where the message is; with its acknowledgement on the way, or stuck there, the receiver has it."""
        if self.kind is not Kind.MESSAGE and self.case in _STUCK | _MOVING:
            return Whereabouts.DELIVERED
        return _WHEREABOUTS[self.case]

    @property
    def is_waiting(self) -> bool:
        """Whether the time since `since` is time in which something should have come."""
        return self.case not in _OVER

    @property
    def needs_a_person(self) -> bool:
        """Whether it will not go on by itself, as far as can be seen."""
        return self.case not in {Case.COMPLETE, Case.DELIVERED} | _MOVING


def find_culprit(exchange: Exchange, now: datetime) -> Finding:
    """Return what is the matter with an exchange at this time; never raises for reports that were taken."""
    message = exchange.current(Kind.MESSAGE)
    receipt = _best(exchange, Kind.RECEIPT)
    answer = _best(exchange, Kind.ANSWER)
    if message is None:
        leg = exchange.legs[0]
        return Finding(
            Case.UNKNOWN, leg.kind, exchange.latest, Stop.APPLICATION, exchange.sender, place=0
        )
    if receipt is not None and receipt.verdict is Verdict.FATAL:
        return _of_answer(Case.ENVELOPE_REFUSED, receipt, Stop.HANDLER)
    if answer is not None and answer.verdict is Verdict.FATAL:
        return _of_answer(Case.REFUSED, answer, Stop.APPLICATION)
    if answer is not None and answer.verdict is Verdict.TRANSIENT:
        return _of_answer(Case.REFUSED_FOR_NOW, answer, Stop.APPLICATION)
    if answer is not None and answer.ended is not None:
        return Finding(
            Case.COMPLETE, Kind.ANSWER, answer.ended, Stop.APPLICATION, answer.receiver, place=0
        )
    if answer is not None:
        return _on_the_way(answer, now)
    if message.ended is None:
        return _not_arrived(message, receipt, now)
    return _unanswered(message, receipt, now)


def remarks(exchange: Exchange) -> Iterator[tuple[Remark, str | timedelta]]:
    """Yield what is worth knowing beside the finding, each with what to fill in."""
    attempts = len(exchange.of(Kind.MESSAGE))
    if attempts > 1:
        yield Remark.RESENT, str(attempts)
    if exchange.of(Kind.COPY):
        yield Remark.COPIED, exchange.of(Kind.COPY)[0].receiver.shown
    for owner in dict.fromkeys(_unreported(exchange)):
        yield Remark.UNREPORTED, owner
    for device in dict.fromkeys(_skewed(exchange)):
        yield Remark.SKEW, device
    if exchange.slowest_report > LATE:
        yield Remark.LATE_REPORTS, exchange.slowest_report
    answer = exchange.current(Kind.ANSWER)
    if answer is not None and answer.ended is not None:
        if not exchange.of(Kind.RECEIPT):
            yield Remark.RECEIPT_MISSING, exchange.receiver.shown
        if not exchange.of(Kind.ANSWER_RECEIPT):
            yield Remark.ANSWER_UNACKNOWLEDGED, exchange.sender.shown


def _best(exchange: Exchange, kind: Kind) -> Leg | None:
    """The first positive one if there is one: what was sent again may have been accepted after a refusal."""
    legs = exchange.of(kind)
    positive = [leg for leg in legs if leg.verdict in (None, Verdict.POSITIVE)]
    return first_ended(positive) or next(reversed(positive or legs), None)


def _of_answer(case: Case, leg: Leg, stop: Stop) -> Finding:
    return Finding(case, leg.kind, leg.started, stop, leg.sender, place=None)


def _not_arrived(message: Leg, receipt: Leg | None, now: datetime) -> Finding:
    if receipt is not None and message.furthest.last < _HANDLER:
        # Acknowledged, so the handler has it: the stations between kept silent, and they are not the trouble.
        finding = Finding(
            Case.SILENT,
            Kind.MESSAGE,
            receipt.started,
            Stop.APPLICATION,
            message.receiver,
            Stop.HANDLER,
            message.receiver,
            LAST_PLACE,
        )
        return _unless_patient(finding, now)
    return _on_the_way(message, now)


def _on_the_way(leg: Leg, now: datetime) -> Finding:
    visit = leg.furthest
    here, owner = Stop.at(visit.last), leg.owner_of(visit.last)
    # At its end it has nowhere to go on to; before it, the next place is somebody's.
    following = min(visit.last + 1, LAST_PLACE)
    next_stop, next_owner = Stop.at(following), leg.owner_of(following)
    if visit.failed is not None and visit.left is None:
        if visit.failed_at in (SubType.SENT, SubType.CREATED_AND_SENT, SubType.CREATED):
            return Finding(
                Case.GAVE_UP, leg.kind, visit.failed, next_stop, next_owner, here, owner, visit.last
            )
        return Finding(Case.NOT_TAKEN, leg.kind, visit.failed, here, owner, place=visit.last)
    if visit.left is not None and visit.last < leg.end:
        finding = Finding(
            Case.SILENT, leg.kind, visit.left, next_stop, next_owner, here, owner, following
        )
    else:
        since = visit.arrived or visit.times[-1]
        finding = Finding(Case.HELD, leg.kind, since, here, owner, place=visit.last)
    return _unless_patient(finding, now)


def _unless_patient(finding: Finding, now: datetime) -> Finding:
    """What stopped, unless it may still go on by itself."""
    if now - finding.since > PATIENCE:
        return finding
    return Finding(
        Case.PASSING if finding.case is Case.HELD else Case.UNDERWAY,
        finding.kind,
        finding.since,
        finding.stop,
        finding.organisation,
        finding.before,
        finding.before_owner,
        finding.place,
    )


def _unanswered(message: Leg, receipt: Leg | None, now: datetime) -> Finding:
    ended = message.ended or message.started
    is_late = now - ended > PATIENCE
    if receipt is None or receipt.ended is None:
        if receipt is not None:
            finding = _on_the_way(receipt, now)
        else:
            case = Case.UNACKNOWLEDGED if is_late else Case.DELIVERED
            finding = Finding(
                case, Kind.RECEIPT, ended, Stop.HANDLER, message.receiver, place=_HANDLER
            )
        if finding.case not in _MOVING:
            return finding
    case = Case.UNANSWERED if is_late else Case.DELIVERED
    return Finding(case, Kind.ANSWER, ended, Stop.APPLICATION, message.receiver, place=LAST_PLACE)


def _unreported(exchange: Exchange) -> Iterator[str]:
    """Owners of stations that a later report proves to have been passed, and that said nothing in any envelope."""
    for kind in Kind:
        legs = exchange.of(kind)
        if not legs or kind in (Kind.COPY, Kind.COPY_RECEIPT):
            # What a register reports is no part of the way of the message.
            continue
        covered = {
            place
            for leg in legs
            for visit in leg.visits
            for place in range(visit.first, visit.last + 1)
        }
        arrived = kind is Kind.MESSAGE and exchange.of(Kind.ANSWER)
        reached = LAST_PLACE if arrived else max(covered)
        begins = 1 if legs[0].end == _HANDLER else 0
        for place in range(begins, min(reached, legs[0].end) + 1):
            if place not in covered:
                yield legs[0].owner_of(place).shown


def _skewed(exchange: Exchange) -> Iterator[str]:
    """Owners of stations that say a message came before the station in front of it let go of it."""
    for leg in exchange.legs:
        for before, after in zip(leg.visits, leg.visits[1:], strict=False):
            left, arrived = before.left, after.arrived
            if left is not None and arrived is not None and left - arrived > SKEW:
                yield after.owner.shown
