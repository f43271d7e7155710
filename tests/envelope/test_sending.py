from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envelope import states
from envelope.errors import LocalProtocolError
from envelope.sending import (
    BEFORE_FIRST_ATTEMPT,
    CAUSES,
    FIRST,
    OUTCOMES,
    TRANSITIONS,
    State,
    advance,
    dot,
)

ALLOWED = {
    ("ACCEPTED", "RESOLVED"), ("ACCEPTED", "REJECTED"), ("ACCEPTED", "FAILED"), ("ACCEPTED", "CANCELLED"),
    ("RESOLVED", "READY"), ("RESOLVED", "RETRY_WAIT"), ("RESOLVED", "FAILED"), ("RESOLVED", "CANCELLED"),
    ("READY", "SENDING"), ("READY", "CANCELLED"),
    ("SENDING", "ACKNOWLEDGED"), ("SENDING", "RETRY_WAIT"), ("SENDING", "REFUSED"), ("SENDING", "UNCERTAIN"),
    ("RETRY_WAIT", "SENDING"), ("RETRY_WAIT", "UNCERTAIN"), ("RETRY_WAIT", "EXPIRED"),
    ("UNCERTAIN", "ACKNOWLEDGED"), ("UNCERTAIN", "NOTIFIED"),
    ("ACKNOWLEDGED", "NOTIFIED"), ("REFUSED", "NOTIFIED"), ("EXPIRED", "NOTIFIED"), ("REJECTED", "NOTIFIED"),
    ("FAILED", "NOTIFIED"), ("CANCELLED", "NOTIFIED"),
    ("NOTIFIED", "PURGED"),
}  # fmt: skip


@pytest.mark.parametrize(("current", "to"), list(product(State, State)))
def test_every_pair_of_states_is_allowed_or_refused(current: State, to: State) -> None:
    if (current.value, to.value) in ALLOWED:
        assert advance(current, to) is to
    else:
        with pytest.raises(LocalProtocolError, match=f"{to} is not allowed after {current}"):
            advance(current, to)


def test_every_state_is_reachable_and_only_purged_is_the_end() -> None:
    assert states.reachable(TRANSITIONS, FIRST) == set(State)
    assert states.terminal(TRANSITIONS) == {State.PURGED}


@pytest.mark.parametrize("state", [state for state in State if state is not State.PURGED])
def test_no_state_is_a_trap(state: State) -> None:
    assert State.PURGED in states.reachable(TRANSITIONS, state)


def test_a_payload_is_deleted_only_after_c1_knows_the_outcome() -> None:
    assert [state for state in TRANSITIONS if State.PURGED in TRANSITIONS[state]] == [
        State.NOTIFIED
    ]


def test_outcomes_are_what_c1_can_be_told() -> None:
    assert {outcome.value for outcome in OUTCOMES} == {
        "ACKNOWLEDGED", "REFUSED", "UNCERTAIN", "EXPIRED", "REJECTED", "FAILED", "CANCELLED",
    }  # fmt: skip


def test_nothing_is_withdrawn_once_somebody_may_have_seen_it() -> None:
    assert {State.ACCEPTED, State.RESOLVED, State.READY} == BEFORE_FIRST_ATTEMPT


@given(st.lists(st.sampled_from(State), max_size=40))
def test_acknowledged_is_reached_at_most_once_and_left_only_by_telling(wishes: list[State]) -> None:
    current, walk = FIRST, [FIRST]
    for wish in wishes:
        try:
            current = advance(current, wish)
        except LocalProtocolError:
            continue
        walk.append(current)
    assert walk.count(State.ACKNOWLEDGED) <= 1
    if State.ACKNOWLEDGED in walk:
        after = walk[walk.index(State.ACKNOWLEDGED) + 1 :]
        assert after in ([], [State.NOTIFIED], [State.NOTIFIED, State.PURGED])
        assert State.SENDING in walk


def test_the_drawing_shows_each_step() -> None:
    assert dot().count(" -> ") == len(ALLOWED) == sum(len(row) for row in CAUSES.values())
