"""A finding in words: the sentence that names the culprit, what to do, and what a citizen reads instead.

Spec: experience section 5.2.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from shlex import quote

from accesspoint.tracking.culprit import Case, Finding, remarks
from accesspoint.tracking.journey import Exchange, Kind, Leg, Stop
from accesspoint.tracking.report import Party
from accesspoint.tracking.texts import Texts


def sentence(exchange: Exchange, finding: Finding, now: datetime, texts: Texts) -> str:
    """What is the matter, in one sentence."""
    subject = texts(f"subject.{finding.kind}")
    text = texts(
        f"finding.{finding.case}",
        **_named(exchange, finding, texts),
        subject=subject if finding.case is not Case.NOT_TAKEN else _lower(subject),
        subject_low=_lower(subject),
        stop=_stop(finding.stop, finding.organisation, texts),
        next=_stop(finding.stop, finding.organisation, texts),
        time=texts.time(finding.since),
        ago=texts.duration(now - finding.since),
        span=texts.duration(finding.since - exchange.started),
    )  # fmt: skip
    again = [leg.started for leg in exchange.of(Kind.MESSAGE) if leg.started > finding.since]
    if finding.case is Case.COMPLETE and again:
        text += " " + texts("message.sent_again", time=texts.time(again[-1]))
    return text[0].upper() + text[1:]


def to_do(exchange: Exchange, finding: Finding, texts: Texts) -> str:
    """What somebody can do about it, and who."""
    return texts(f"todo.{finding.case}", **_named(exchange, finding, texts))


def for_citizen(exchange: Exchange, finding: Finding, texts: Texts) -> str:
    """Whether it was sent and received, without the stations."""
    return texts(
        f"citizen.{finding.state}", sender=exchange.sender.shown, receiver=exchange.receiver.shown
    )


def remark_lines(exchange: Exchange, texts: Texts) -> Iterator[str]:
    """Yield what is worth knowing, a sentence each."""
    for remark, value in remarks(exchange):
        shown = texts.duration(value) if isinstance(value, timedelta) else value
        yield texts(f"remark.{remark}", value=shown)


def slowest(exchange: Exchange, finding: Finding, now: datetime, texts: Texts) -> str | None:
    """The longest wait of the message and of its answer up to the finding, one that lasts included, and where it was.

    None when it was seen once only and nothing is waited for.
    """
    waits: list[tuple[timedelta, str]] = []
    for leg in (*exchange.of(Kind.MESSAGE), *exchange.of(Kind.ANSWER)):
        if leg.started <= finding.since:
            waits += _waits(leg, texts)
            waits += _before_answer(exchange, leg, texts)
    if finding.is_waiting:
        waits.append((now - finding.since, _where(exchange, finding, texts)))
    if not waits:
        return None
    span, where = max(waits, key=lambda wait: wait[0])
    return texts("message.slowest", span=texts.duration(span), where=where)


def _before_answer(exchange: Exchange, leg: Leg, texts: Texts) -> Iterator[tuple[timedelta, str]]:
    """Yield how long the receiver's system had the message before it gave this answer."""
    came = [
        one.ended
        for one in exchange.of(Kind.MESSAGE)
        if one.ended is not None and one.ended <= leg.started
    ]
    if leg.kind is Kind.ANSWER and came:
        stop = _stop(Stop.APPLICATION, exchange.receiver, texts)
        yield leg.started - max(came), texts("message.waited_at", stop=stop)


def _where(exchange: Exchange, finding: Finding, texts: Texts) -> str:
    stop = _stop(finding.stop, finding.organisation, texts)
    if finding.before is None:
        return texts("message.waited_at", stop=stop)
    before = _named(exchange, finding, texts)["before"]
    return texts("message.waited_between", before=before, next=stop)


def _waits(leg: Leg, texts: Texts) -> Iterator[tuple[timedelta, str]]:
    for number, visit in enumerate(leg.visits):
        if len(visit.times) > 1:
            stop = _stop(Stop.at(visit.last), visit.owner, texts)
            yield max(visit.times) - min(visit.times), texts("message.waited_at", stop=stop)
        before = leg.visits[number - 1]
        if number and before.left is not None and before.left <= min(visit.times):
            yield (
                min(visit.times) - before.left,
                texts(
                    "message.waited_between",
                    before=_stop(Stop.at(before.last), before.owner, texts),
                    next=_stop(Stop.at(visit.first), visit.owner, texts),
                ),
            )


def _named(exchange: Exchange, finding: Finding, texts: Texts) -> dict[str, str]:
    before_owner = finding.before_owner or finding.organisation
    return {
        # Others chose it, and a person may paste the line that it stands in.
        "id": quote(exchange.message),
        "owner": finding.organisation.shown,
        "gln": finding.organisation.gln,
        "before": _stop(finding.before or finding.stop, before_owner, texts),
        "before_owner": before_owner.shown,
        "sender": exchange.sender.shown,
        "receiver": exchange.receiver.shown,
    }


def _stop(stop: Stop, owner: Party, texts: Texts) -> str:
    return texts(f"stop_of.{stop}", owner=owner.shown)


def _lower(text: str) -> str:
    return text[0].lower() + text[1:]
