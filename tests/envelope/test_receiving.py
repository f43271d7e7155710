from itertools import product

import pytest

from envelope import states
from envelope.errors import LocalProtocolError
from envelope.receiving import BY_A_PERSON, CAUSES, FIRST, TRANSITIONS, State, advance, dot

ALLOWED = {
    ("RECEIVED", "DELIVERING"), ("RECEIVED", "HELD"),
    ("DELIVERING", "DELIVERED"), ("DELIVERING", "DELIVERY_WAIT"), ("DELIVERING", "HELD"),
    ("DELIVERING", "QUARANTINED"),
    ("DELIVERY_WAIT", "DELIVERING"), ("DELIVERY_WAIT", "HELD"),
    ("HELD", "DELIVERY_WAIT"), ("HELD", "QUARANTINED"),
    ("QUARANTINED", "DELIVERY_WAIT"), ("QUARANTINED", "PURGED"),
    ("DELIVERED", "PURGED"),
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


def test_delivered_comes_only_from_a_hand_over() -> None:
    assert [state for state in TRANSITIONS if State.DELIVERED in TRANSITIONS[state]] == [
        State.DELIVERING
    ]


def test_an_undelivered_message_is_deleted_by_a_person_only() -> None:
    undelivered = {state for state in TRANSITIONS if state is not State.DELIVERED}
    deleting = {state for state in undelivered if State.PURGED in TRANSITIONS[state]}
    assert deleting == {State.QUARANTINED}
    assert deleting <= BY_A_PERSON


def test_the_drawing_shows_each_step() -> None:
    assert dot().count(" -> ") == len(ALLOWED) == sum(len(row) for row in CAUSES.values())
