"""Whose turn it is, case by case: the journey that is told, and the finding that must come of it."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from journeys import FJORDBY, HAVNEGADE, RECEIPT_WALK, REGISTER, WALK, Story

from accesspoint.status_component.queries import Whereabouts
from accesspoint.tracking.asking import Found
from accesspoint.tracking.culprit import Case, Finding, Remark, find_culprit, remarks
from accesspoint.tracking.journey import Exchange, Kind, Stop, build_exchange
from accesspoint.tracking.picture import draw
from accesspoint.tracking.report import read_report
from accesspoint.tracking.texts import texts
from accesspoint.tracking.words import sentence, slowest, to_do

AT = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
LATER = AT + timedelta(hours=2)
A, B = FJORDBY.gln, HAVNEGADE.gln
EUA, MSH, AP = Stop.APPLICATION, Stop.HANDLER, Stop.ACCESS_POINT


def story() -> Story:
    return Story("told", AT)


def exchange_of(told: Story) -> Exchange:
    exchange = build_exchange([one for r in told.reports if (one := read_report(r))])
    assert exchange is not None
    return exchange


def find(told: Story, now: datetime = LATER) -> Finding:
    return find_culprit(exchange_of(told), now)


@pytest.mark.parametrize(
    ("told", "case", "kind", "stop", "owner", "state"),
    [
        # Silent: who stands behind the last one that sent it on.
        (story().send(upto=1), Case.SILENT, Kind.MESSAGE, MSH, A, "stopped"),
        (story().send(upto=3), Case.SILENT, Kind.MESSAGE, AP, A, "stopped"),
        (story().send(upto=5), Case.SILENT, Kind.MESSAGE, AP, B, "stopped"),
        (story().send(upto=7), Case.SILENT, Kind.MESSAGE, MSH, B, "stopped"),
        (story().send(upto=9), Case.SILENT, Kind.MESSAGE, EUA, B, "stopped"),
        # Held: who received it and did not send it on.
        (story().send(upto=2), Case.HELD, Kind.MESSAGE, MSH, A, "stopped"),
        (story().send(upto=4), Case.HELD, Kind.MESSAGE, AP, A, "stopped"),
        (story().send(upto=6), Case.HELD, Kind.MESSAGE, AP, B, "stopped"),
        (story().send(upto=8), Case.HELD, Kind.MESSAGE, MSH, B, "stopped"),
        (story().send(upto=8).receive(), Case.HELD, Kind.MESSAGE, MSH, B, "stopped"),
        # Acknowledged by a handler that did not report the message itself.
        (story().send(upto=5).receive(), Case.SILENT, Kind.MESSAGE, EUA, B, "stopped"),
        # Outcome 8: sending that was given up, receiving that was refused.
        (story().send(upto=5, fails=True), Case.GAVE_UP, Kind.MESSAGE, AP, B, "stopped"),
        (story().send(upto=3, fails=True), Case.GAVE_UP, Kind.MESSAGE, AP, A, "stopped"),
        (story().send(upto=6, fails=True), Case.NOT_TAKEN, Kind.MESSAGE, AP, B, "stopped"),
        (story().send(upto=10, fails=True), Case.NOT_TAKEN, Kind.MESSAGE, EUA, B, "stopped"),
        # It arrived; what should come back does not.
        (story().send(), Case.UNACKNOWLEDGED, Kind.RECEIPT, MSH, B, "delivered"),
        (story().send().receive(upto=1), Case.SILENT, Kind.RECEIPT, AP, B, "delivered"),
        (story().send().receive(upto=3), Case.SILENT, Kind.RECEIPT, AP, A, "delivered"),
        (story().send().receive(upto=5), Case.SILENT, Kind.RECEIPT, MSH, A, "delivered"),
        (story().send().receive(), Case.UNANSWERED, Kind.ANSWER, EUA, B, "delivered"),
        (story().send().receive().answer(upto=1), Case.SILENT, Kind.ANSWER, MSH, B, "delivered"),
        (story().send().receive().answer(upto=6), Case.HELD, Kind.ANSWER, AP, A, "delivered"),
        # Refused, and refused first and accepted when sent again.
        (story().send(upto=8).receive(positive=False), Case.ENVELOPE_REFUSED, Kind.RECEIPT, MSH, B, "refused"),
        (story().send().receive().answer("fatal-error"), Case.REFUSED, Kind.ANSWER, EUA, B, "refused"),
        (story().send().receive().answer("transient-error"), Case.REFUSED_FOR_NOW, Kind.ANSWER, EUA, B, "refused"),
        (story().send(upto=8).receive(positive=False).send(start=2, envelope=2).receive(of=2).answer(),
         Case.COMPLETE, Kind.ANSWER, EUA, A, "answered"),
        # All is well, also where the answer's words are another product's.
        (story().whole(), Case.COMPLETE, Kind.ANSWER, EUA, A, "answered"),
        (story().send().receive().answer(None), Case.COMPLETE, Kind.ANSWER, EUA, A, "answered"),
        (story().send().answer(), Case.COMPLETE, Kind.ANSWER, EUA, A, "answered"),
    ],
)  # fmt: skip
def test_the_finding(
    told: Story, case: Case, kind: Kind, stop: Stop, owner: str, state: str
) -> None:
    finding = find(told)

    assert (finding.case, finding.kind, finding.stop, finding.organisation.gln) == (
        case,
        kind,
        stop,
        owner,
    )
    assert finding.state == state
    assert finding.needs_a_person is (case is not Case.COMPLETE)
    for language in ("da", "en"):
        text = texts(language)
        exchange = exchange_of(told)
        assert sentence(exchange, finding, LATER, text)[-1] == "."
        assert "{" not in sentence(exchange, finding, LATER, text) + to_do(exchange, finding, text)


def test_who_gave_up_is_asked_first_since_its_report_does_not_tell_why() -> None:
    told = story().send(upto=5, fails=True)
    exchange, finding = exchange_of(told), find(told)

    said = sentence(exchange, finding, LATER, texts("en"))
    advice = to_do(exchange, finding, texts("en"))

    assert "could not be found, could not be reached, or said no" in said
    assert advice.startswith(f"{FJORDBY.name}: look first in the log of the access point of")
    assert advice.index(FJORDBY.name) < advice.index(HAVNEGADE.name)
    picture = draw(exchange, finding, LATER, texts("en"), said)
    assert "not handed over" in picture
    assert "silent</tspan>" not in picture
    assert (finding.place, find(story().send(upto=5)).place) == (2, 3)


@pytest.mark.parametrize("upto", range(1, len(WALK)))
def test_what_is_on_its_way_is_nobodys_fault_for_ten_minutes(upto: int) -> None:
    told = story().send(upto=upto)

    # The steps of the walk take turns: received at a station, sent on by it.
    moving = Case.PASSING if upto % 2 == 0 else Case.UNDERWAY
    assert find(told, told.now + timedelta(minutes=10)).case is moving
    assert find(told, told.now + timedelta(minutes=10)).state is Whereabouts.UNDERWAY
    assert find(told, told.now + timedelta(minutes=10, seconds=1)).state is Whereabouts.STOPPED


@pytest.mark.parametrize("upto", range(len(RECEIPT_WALK) + 1))
def test_a_message_that_arrived_may_take_a_moment_to_be_answered(upto: int) -> None:
    told = story().send()
    if upto:
        told.receive(upto=upto)

    finding = find(told, told.now + timedelta(minutes=1))

    assert finding.state is Whereabouts.DELIVERED
    assert not finding.needs_a_person


def test_sent_again_counts_as_it_goes_now() -> None:
    told = (
        Story("again", AT)
        .send(upto=5, fails=True)
        .wait(minutes=30)
        .send(start=2, upto=5, envelope=2)
    )

    assert find(told, told.now + timedelta(minutes=1)).case is Case.UNDERWAY
    assert find(told, told.now + timedelta(hours=1)).case is Case.SILENT


def test_sent_again_after_it_was_accepted_does_not_change_when_it_was() -> None:
    told = story().whole()
    before = find(told)
    again = told.wait(minutes=3).now
    told.send(start=2, envelope=2).receive(of=2).answer(number=2)

    exchange, finding = exchange_of(told), find(told)

    assert finding == before
    assert [leg.attempt for leg in exchange.of(Kind.ANSWER)] == [1, 2]
    accepted, sent_again = sentence(exchange, finding, LATER, texts("en")).split(". ")
    assert accepted == sentence(exchange_of(story().whole()), before, LATER, texts("en"))[:-1]
    assert sent_again == f"It was sent again at {texts('en').time(again)}."
    assert Found(exchange, finding, None).took == before.since - exchange.started
    shown = slowest(exchange, finding, LATER, texts("en"))
    assert shown == slowest(exchange_of(story().whole()), before, LATER, texts("en"))


def test_sent_again_before_it_was_answered_it_came_when_it_first_came() -> None:
    told = story().send().receive()
    before = find(told)

    told.wait(minutes=3).send(start=2, envelope=2).receive(of=2)

    assert find(told) == before


@pytest.mark.parametrize(
    ("told", "wait", "where"),
    [
        (story().send().receive().wait(seconds=60).answer("fatal-error"), "60 s|1 min", "at the application of"),
        (story().send().receive().answer(pauses={4: 90.0}), "2 min", "at the access point of"),
        (story().send(pauses={8: 300.0}).receive().wait(seconds=60).answer(), "5 min", "at the message handler of"),
        (story().send(upto=5), "2 h", "on the way from the access point of"),
        (story().send(upto=8).receive(), "2 h", "at the message handler of"),
        (story().send().receive(), "2 h", "at the application of"),
        (story().send(upto=5, pauses={4: 1_200.0}, fails=True), "20 min", "at the access point of"),
    ],
)  # fmt: skip
def test_the_longest_wait_is_that_of_message_and_answer(told: Story, wait: str, where: str) -> None:
    shown = slowest(exchange_of(told), find(told), LATER, texts("en"))

    assert re.match(rf"Longest wait: ({wait}), {where}", shown or ""), shown


def test_only_an_acknowledgement_was_reported() -> None:
    reports = [one for r in story().send().receive().reports if (one := read_report(r))]

    exchange = build_exchange([one for one in reports if one.answers is not None])

    assert exchange is not None
    finding = find_culprit(exchange, LATER)
    assert (finding.case, finding.state) == (Case.UNKNOWN, Whereabouts.UNDERWAY)
    assert sentence(exchange, finding, LATER, texts("en")).startswith("Only acknowledgements")


@pytest.mark.parametrize("silent", [(1, 2), (3, 4), (5, 6), (7, 8)])
def test_a_station_that_kept_silent_is_remarked_and_not_blamed(silent: tuple[int, ...]) -> None:
    told = story().send(silent=silent).receive().answer()

    assert find(told).case is Case.COMPLETE
    found = dict(remarks(exchange_of(told)))
    assert Remark.UNREPORTED in found


def test_remarks_of_a_resend_and_a_copy() -> None:
    told = Story("copied", AT).send(upto=5, fails=True).wait(minutes=30).send(start=2, envelope=2)
    told.receive(of=2).answer().send(start=2, upto=6, envelope=3, to=REGISTER)

    exchange = exchange_of(told)

    assert dict(remarks(exchange)) == {Remark.RESENT: "2", Remark.COPIED: REGISTER.name}
    assert [leg.attempt for leg in exchange.of(Kind.MESSAGE)] == [1, 2]
    assert find(told).case is Case.COMPLETE


def test_a_register_that_reports_nothing_but_acknowledges_its_copy_is_not_remarked() -> None:
    told = story().whole().send(start=2, upto=5, envelope=2, to=REGISTER)
    acknowledged = Story("told", told.now, receiver=REGISTER).receive(of=2)
    told.reports += [one for one in acknowledged.reports if "fjordby" in str(one["source"])]

    exchange = exchange_of(told)

    assert exchange.of(Kind.COPY_RECEIPT)
    assert dict(remarks(exchange)) == {Remark.COPIED: REGISTER.name}


def test_nothing_is_remarked_of_a_journey_without_fault() -> None:
    assert list(remarks(exchange_of(story().whole()))) == []


def test_clocks_that_differ_do_not_change_the_order_of_stations() -> None:
    told = story().send(pauses={5: -300.0}).receive().answer()

    exchange = exchange_of(told)

    walked = [(visit.owner.gln, visit.first) for visit in exchange.of(Kind.MESSAGE)[0].visits]
    assert walked == [(A, 0), (A, 1), (A, 2), (B, 3), (B, 4), (B, 5)]
    assert dict(remarks(exchange))[Remark.SKEW] == HAVNEGADE.name


def test_an_organisation_is_called_by_its_name_where_any_station_knows_it() -> None:
    told = story().whole()
    for report in told.reports[1:]:
        for agent in report["agent"]:
            del agent["name"]

    exchange = exchange_of(told)

    assert {lane.owner.shown for lane in exchange.lanes} == {FJORDBY.name, HAVNEGADE.name}
    assert {leg.sender.shown for leg in exchange.legs} == {FJORDBY.name, HAVNEGADE.name}


def test_a_message_that_arrives_before_its_receipt_does_not_travel_back_in_time() -> None:
    """The sending station reports when it has the receipt; the receiving one reported before it gave it."""
    told = story().send(pauses={5: -0.03}).receive().answer()
    exchange = exchange_of(told)

    svg = draw(exchange, find_culprit(exchange, LATER), LATER, texts("en"), "")

    hops = re.findall(r'class="hop" d="M([0-9.]+) [0-9.]+ L([0-9.]+) ', svg)
    assert len(hops) == 16
    assert all(float(left) <= float(right) for left, right in hops)
    assert list(remarks(exchange)) == []
