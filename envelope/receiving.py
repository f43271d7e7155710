"""The states of a message that we receive, from the commit before its receipt until its payload is deleted.

Theory. Before RECEIVED there is no durable state: a message that is refused, or whose sender goes away,
leaves nothing but a refusal record. RECEIVED is one commit of the message, its duplicate key, the
receipt as it will be sent, and the delivery events; only then does the receipt leave. So a receipt that
anybody holds proves a row, and a row without a receipt on the other side is met by the sender's retry
and answered with the same receipt, byte for byte.

* DELIVERING is held under a lease by one worker that hands the message to the backend with a delivery
  id that never changes. The backend may see that id again if it did not confirm it.
* DELIVERED needs the backend's confirmation.
* DELIVERY_WAIT has its next time in the row; the sender already has its receipt and waits for nothing.
* HELD waits for an operator, after too many attempts or because a person said so.
* QUARANTINED is a message that cannot be read although its signature and digests held. It is kept for a
  person to look at and never deleted silently.
* PURGED keeps ids, digests and receipt, and nothing of the payload.

Spec: reliability sections 2.1 to 2.3; decisions D7 and D8.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from envelope import states


class State(StrEnum):
    """Where an inbound message stands; the value is what the database stores and people see."""

    RECEIVED = "RECEIVED"
    DELIVERING = "DELIVERING"
    DELIVERED = "DELIVERED"
    DELIVERY_WAIT = "DELIVERY_WAIT"
    HELD = "HELD"
    QUARANTINED = "QUARANTINED"
    PURGED = "PURGED"


FIRST: Final = State.RECEIVED

CAUSES: Final[Mapping[State, Mapping[State, str]]] = states.freeze(
    {
        State.RECEIVED: {
            State.DELIVERING: "leased by a worker",
            State.HELD: "operator holds it",
        },
        State.DELIVERING: {
            State.DELIVERED: "backend confirmed",
            State.DELIVERY_WAIT: "hand-over failed or its lease ran out",
            State.HELD: "attempts spent",
            State.QUARANTINED: "cannot be read",
        },
        State.DELIVERY_WAIT: {
            State.DELIVERING: "time has come",
            State.HELD: "operator holds it",
        },
        State.HELD: {
            State.DELIVERY_WAIT: "operator released it",
            State.QUARANTINED: "operator set it aside",
        },
        State.QUARANTINED: {
            State.DELIVERY_WAIT: "operator released it",
            State.PURGED: "operator let it go",
        },
        State.DELIVERED: {State.PURGED: "retention is over"},
    }
)

TRANSITIONS: Final[Mapping[State, frozenset[State]]] = states.followers(CAUSES)

BY_A_PERSON: Final = frozenset({State.HELD, State.QUARANTINED})
"""Where nothing happens until a person acts."""


def advance(current: State, to: State) -> State:
    """Return `to` when a message may go there from `current`.

    Raises: LocalProtocolError when the table does not know the step.
    """
    return states.step(TRANSITIONS, current, to)


def dot(table: Mapping[State, Mapping[State, str]] = CAUSES) -> str:
    """Draw the table as a Graphviz graph."""
    return states.dot(table)
