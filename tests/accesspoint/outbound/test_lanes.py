"""Lanes with an injected clock: windows, death, probes, and the order in which slots are dealt; no waiting, no network."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accesspoint.outbound.lanes import FIRST_WINDOW, LONGEST_SILENCE, UNKNOWN, Lanes, lane_to
from accesspoint.retry import RetrySchedule

AT = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
SECOND = timedelta(seconds=1)
SCHEDULE = RetrySchedule(10 * SECOND, 2.0, timedelta(hours=1), timedelta(hours=24), lambda: 0.0)


def lanes(*, total: int = 8, per_lane: int = 4, schedule: RetrySchedule = SCHEDULE) -> Lanes:
    return Lanes(total=total, per_lane=per_lane, schedule=schedule)


def prove(some: Lanes, *names: str, times: int = 10) -> None:
    for name in names:
        for _ in range(times):
            some.answered(name)


def kill(some: Lanes, name: str, *, at: datetime = AT) -> datetime:
    """Let a destination fail until it is dead; when its first probe may go."""
    while not some.failed(name, now=at):
        pass
    closed_until = some.next_at([(name, at)], now=at)
    assert closed_until is not None
    return closed_until


def deal(some: Lanes, *names: str, free: int, at: datetime = AT) -> dict[str, int]:
    """Deal slots to lanes in all of which something is due, and hold them."""
    shares = some.share([(name, AT) for name in names], now=at, free=free)
    for name, slots in shares.items():
        for _ in range(slots):
            some.enter(name)
    return shares


@pytest.mark.parametrize(
    ("url", "lane"),
    [
        ("https://AP.example/as4", "ap.example"),
        ("https://user@ap.example:8443/as4?x", "ap.example:8443"),
        ("https://[::1/as4", "https://[::1/as4"),
        ("nonsense", "nonsense"),
    ],
)
def test_a_destination_is_host_and_port(url: str, lane: str) -> None:
    assert lane_to(url) == lane


def test_a_window_begins_small_opens_with_answers_and_halves_with_failures() -> None:
    some = lanes()
    assert some.room("a", AT) == FIRST_WINDOW
    some.answered("a")
    assert some.room("a", AT) == FIRST_WINDOW + 1
    prove(some, "a")
    assert some.room("a", AT) == 4
    assert not some.failed("a", now=AT)
    assert some.room("a", AT) == 2
    some.enter("a")
    assert some.room("a", AT) == 1


def test_a_dead_destination_gets_one_probe_at_a_time_and_the_back_off_grows() -> None:
    some, waits, now = lanes(), [], AT
    due = kill(some, "a")
    for _ in range(9):
        waits.append(due - now)
        assert some.room("a", due - SECOND) == 0
        assert some.share([("a", AT)], now=due, free=8) == {"a": 1}
        some.enter("a")
        assert some.room("a", due + SECOND) == 0
        now = due
        assert some.failed("a", now=now)
        some.leave("a", now=now)
        found = some.next_at([("a", AT)], now=now)
        assert found is not None
        due = found
    assert waits[:4] == [5 * SECOND, 10 * SECOND, 20 * SECOND, 40 * SECOND]
    assert waits[-1] == LONGEST_SILENCE / 2


@given(st.floats(0, 0.999))
def test_jitter_moves_a_probe_between_half_and_the_whole_of_the_back_off(fraction: float) -> None:
    some = lanes(schedule=replace(SCHEDULE, draw=lambda: fraction))
    assert 5 * SECOND <= kill(some, "a") - AT < 10 * SECOND


def test_what_was_in_flight_when_it_died_does_not_lengthen_the_back_off() -> None:
    some = lanes()
    due = kill(some, "a")
    for _ in range(20):
        assert some.failed("a", now=AT)
    assert some.next_at([("a", AT)], now=AT) == due


def test_a_probe_without_a_result_leaves_the_lane_closed() -> None:
    some = lanes()
    due = kill(some, "a")
    deal(some, "a", free=1, at=due)
    some.leave("a", now=due)
    assert some.room("a", due) == 0
    assert some.next_at([("a", AT)], now=due) == due + 5 * SECOND


def test_the_first_answer_brings_a_dead_destination_back_and_wakes_what_waits() -> None:
    some = lanes()
    due = kill(some, "a")
    assert some.take_woken() == set()
    deal(some, "a", free=1, at=due)
    some.answered("a")
    some.leave("a", now=due)
    assert some.room("a", due) == FIRST_WINDOW
    assert some.take_woken() == {"a"}
    assert some.take_woken() == set()
    some.answered("a")
    assert some.take_woken() == set()


def test_to_hear_from_a_partner_ends_the_back_off_of_his_destinations_and_no_other() -> None:
    some = lanes()
    some.learn(("1", "d", "p"), "a", "partner-a")
    some.learn(("2", "d", "p"), "b", "partner-b")
    for name in ("a", "b"):
        kill(some, name)
    assert some.heard("partner-a")
    assert not some.heard("partner-a")
    assert not some.heard("nobody")
    assert (some.room("a", AT), some.room("b", AT)) == (1, 0)
    assert some.take_woken() == {"a"}


def test_after_a_restart_hearing_from_a_partner_wakes_what_waits_for_him() -> None:
    some = lanes()
    some.prime([("a", "partner-a")])
    assert some.heard("partner-a")
    assert some.take_woken() == {"a"}


def test_a_new_message_goes_where_its_route_led() -> None:
    some = lanes()
    route = ("0088:1", "d", "p")
    assert some.lane_of(route) == UNKNOWN
    some.learn(route, "a", "partner-a")
    assert some.lane_of(route) == "a"
    assert some.lane_of(("0088:2", "d", "p")) == UNKNOWN


def test_slots_are_dealt_in_turn_and_the_turn_goes_on() -> None:
    some = lanes(total=64)
    prove(some, "a", "b", "c")
    assert deal(some, "a", "b", "c", free=4) == {"a": 2, "b": 1, "c": 1}
    assert deal(some, "a", "b", "c", free=2) == {"b": 1, "c": 1}
    assert deal(some, "a", "b", "c", free=9) == {"a": 2, "b": 2, "c": 2}
    assert deal(some, "a", "b", "c", free=9) == {}


def test_what_is_not_due_gets_nothing_and_says_when() -> None:
    some = lanes()
    heads = [("a", AT + 3 * SECOND), ("b", AT + 2 * SECOND)]
    assert some.share(heads, now=AT, free=8) == {}
    assert some.next_at(heads, now=AT) == AT + 2 * SECOND
    assert some.next_at([], now=AT) is None


def test_an_open_lane_that_is_full_waits_for_an_answer_not_for_a_time() -> None:
    some = lanes()
    assert deal(some, "a", free=8) == {"a": FIRST_WINDOW}
    assert some.next_at([("a", AT)], now=AT) is None


def test_lanes_that_prove_nothing_hold_at_most_half_of_the_slots() -> None:
    some = lanes(total=8)
    silent = [f"silent-{number}" for number in range(40)]
    assert sum(deal(some, UNKNOWN, *silent, free=8).values()) == 4
    assert deal(some, *silent, free=4) == {}
    prove(some, "healthy")
    assert deal(some, "healthy", *silent, free=4) == {"healthy": 4}


def test_messages_not_looked_up_yet_share_one_lane_that_cannot_die() -> None:
    some = lanes()
    for _ in range(20):
        assert not some.failed(UNKNOWN, now=AT)
    assert some.room(UNKNOWN, AT) == 1


def test_with_one_slot_there_is_still_progress() -> None:
    some = lanes(total=1, per_lane=1)
    assert deal(some, "a", "b", free=1) == {"a": 1}
    some.leave("a", now=AT)
    assert deal(some, "a", "b", free=1) == {"b": 1}


def test_a_dead_and_a_silent_partner_with_ten_thousand_messages_do_not_slow_a_healthy_one() -> None:
    """One simulated hour: the healthy partner takes 1 s a message and gets through as many as alone.

    Until its first answer it is one of those that have proved nothing, which costs it two messages.
    """
    seconds = 3600

    def run(*neighbours: str) -> tuple[int, Counter[str]]:
        some = lanes(total=8)
        flights: list[tuple[datetime, str]] = []
        done: Counter[str] = Counter()
        takes = {"healthy": SECOND, "dead": SECOND / 100, "silent": 60 * SECOND}
        now = AT
        for _ in range(seconds):
            for end, name in [flight for flight in flights if flight[0] <= now]:
                flights.remove((end, name))
                done[name] += 1
                if name == "healthy":
                    some.answered(name)
                else:
                    some.failed(name, now=now)
                some.leave(name, now=now)
            for name, slots in deal(
                some, "healthy", *neighbours, free=8 - len(flights), at=now
            ).items():
                flights += [(now + takes[name], name)] * slots
            now += SECOND
        return done["healthy"], done

    alone, _ = run()
    beside, done = run("dead", "silent")
    assert alone - beside <= 2
    # The others were not forgotten: probed at least as often as promised, and never hammered.
    for name in ("dead", "silent"):
        assert seconds // LONGEST_SILENCE.total_seconds() <= done[name] <= 40
