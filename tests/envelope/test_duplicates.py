"""The four rows of reliable messaging, and what must hold over all of them."""

from itertools import product

import pytest

from envelope.duplicates import DECISIONS, Action, decide


@pytest.mark.parametrize(
    ("envelope_seen", "message_seen", "action"),
    [
        (False, False, Action.PROCESS),
        (True, True, Action.ACKNOWLEDGE_AGAIN),
        (False, True, Action.RESEND_ACKNOWLEDGEMENT),
        (True, False, Action.REFUSE),
    ],
)
def test_row_of_the_table(envelope_seen: bool, message_seen: bool, action: Action) -> None:
    assert decide(envelope_seen, message_seen) is action


def test_table_is_total_and_every_action_has_its_row() -> None:
    assert set(DECISIONS) == set(product((False, True), repeat=2))
    assert {row.action for row in DECISIONS.values()} == set(Action)


def test_only_a_new_message_in_a_new_envelope_is_delivered() -> None:
    delivering = [seen for seen, row in DECISIONS.items() if row.delivers]

    assert delivering == [(False, False)]


def test_a_known_message_is_never_answered_differently() -> None:
    known = [row for (_, message_seen), row in DECISIONS.items() if message_seen]

    assert all(row.repeats and row.acknowledges for row in known)
    assert not any(row.repeats for (_, seen), row in DECISIONS.items() if not seen)


class _Receiver:
    """The smallest receiver that follows the table: two caches and what came of each envelope."""

    def __init__(self) -> None:
        self.envelopes: set[str] = set()
        self.messages: set[str] = set()
        self.delivered: list[str] = []

    def receive(self, envelope: str, message: str) -> Action:
        row = DECISIONS[envelope in self.envelopes, message in self.messages]
        if row.delivers:
            self.delivered.append(message)
        if row.action is not Action.REFUSE:
            self.envelopes.add(envelope)
            self.messages.add(message)
        return row.action


def test_replay_of_any_order_delivers_each_message_once() -> None:
    receiver = _Receiver()

    actions = [
        receiver.receive(*pair)
        for pair in [
            ("e1", "m1"),
            ("e1", "m1"),
            ("e2", "m1"),
            ("e1", "m2"),
            ("e3", "m2"),
            ("e2", "m1"),
        ]
    ]

    assert receiver.delivered == ["m1", "m2"]
    assert actions == [
        Action.PROCESS,
        Action.ACKNOWLEDGE_AGAIN,
        Action.RESEND_ACKNOWLEDGEMENT,
        Action.REFUSE,
        Action.PROCESS,
        Action.ACKNOWLEDGE_AGAIN,
    ]
