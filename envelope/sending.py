"""The states of a message that we send, from the submission by C1 until its payload is deleted.

Theory. AS4 reception awareness is at-least-once transfer with duplicate elimination at the receiver:
the sender repeats the same UserMessage until a receipt comes, the receiver keeps one copy. That turns
into "once" between two durable stores when the sender never forgets before it holds a verified receipt,
which is what this table is for. Each step is one database transaction; what is in no row is in no
state, so a restart continues where the last commit was.

* ACCEPTED is the line of responsibility towards C1: from here on the message is delivered or reported.
* RESOLVED holds the answer of the look-up: endpoint, certificate and how long both are good.
* READY holds the signed envelope. MessageId and SignedInfo never change after it, however often the
  message is sent, because the peer recognises a duplicate by them. (Sending again at the level of the
  EHMI envelope is another message with its own row and a new EnvelopeIdentifier.)
* SENDING is held under a lease by one worker. A worker that dies leaves the lease to run out; the row
  then goes to RETRY_WAIT, and since nobody knows whether the peer got the message, the same bytes go
  again. A worker that comes back late finds that its `UPDATE … WHERE state = …` touches no row.
* RETRY_WAIT has its next time in the row. There are no timers in memory and no look-back window.
* ACKNOWLEDGED needs a receipt that verifies against the stored digests. It is reached at most once.
* REFUSED needs a verified error of a permanent class from the peer.
* UNCERTAIN is the honest end when retries are spent but some attempt may have arrived. A receipt that
  comes late still makes it ACKNOWLEDGED; otherwise an operator decides.
* EXPIRED is the end when retries are spent and no attempt can have arrived.
* REJECTED, FAILED and CANCELLED end a message that never left: the submission was not valid, the
  look-up can never succeed, or the operator withdrew it before the first attempt.
* NOTIFIED means that C1 has confirmed the outcome, whichever it was. PURGED keeps ids, digests and
  receipt, and nothing of the payload.

Spec: reliability sections 2.1 and 2.2; decisions D4, D7 and D11.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from envelope import states


class State(StrEnum):
    """Where an outbound message stands; the value is what the database stores and people see."""

    ACCEPTED = "ACCEPTED"
    RESOLVED = "RESOLVED"
    READY = "READY"
    SENDING = "SENDING"
    RETRY_WAIT = "RETRY_WAIT"
    ACKNOWLEDGED = "ACKNOWLEDGED"
    REFUSED = "REFUSED"
    UNCERTAIN = "UNCERTAIN"
    EXPIRED = "EXPIRED"
    REJECTED = "REJECTED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    NOTIFIED = "NOTIFIED"
    PURGED = "PURGED"


FIRST: Final = State.ACCEPTED

_TOLD: Final = {State.NOTIFIED: "C1 confirmed the outcome"}

CAUSES: Final[Mapping[State, Mapping[State, str]]] = states.freeze(
    {
        State.ACCEPTED: {
            State.RESOLVED: "look-up answered",
            State.REJECTED: "submission not valid",
            State.FAILED: "look-up can never succeed",
            State.CANCELLED: "operator withdrew it",
        },
        State.RESOLVED: {
            State.READY: "signed envelope stored",
            State.RETRY_WAIT: "answer ran out and is not renewed yet",
            State.FAILED: "look-up can never succeed",
            State.CANCELLED: "operator withdrew it",
        },
        State.READY: {
            State.SENDING: "leased by a worker",
            State.CANCELLED: "operator withdrew it",
        },
        State.SENDING: {
            State.ACKNOWLEDGED: "receipt verified",
            State.RETRY_WAIT: "attempt failed or its lease ran out",
            State.REFUSED: "verified permanent error",
            State.UNCERTAIN: "retries spent, may have arrived",
        },
        State.RETRY_WAIT: {
            State.SENDING: "time has come",
            State.UNCERTAIN: "retries spent, may have arrived",
            State.EXPIRED: "retries spent, never connected",
        },
        State.UNCERTAIN: {
            State.ACKNOWLEDGED: "late receipt verified",
            State.NOTIFIED: "operator told C1 that it is uncertain",
        },
        State.ACKNOWLEDGED: _TOLD,
        State.REFUSED: _TOLD,
        State.EXPIRED: _TOLD,
        State.REJECTED: _TOLD,
        State.FAILED: _TOLD,
        State.CANCELLED: _TOLD,
        State.NOTIFIED: {State.PURGED: "retention is over"},
    }
)

TRANSITIONS: Final[Mapping[State, frozenset[State]]] = states.followers(CAUSES)

OUTCOMES: Final = frozenset(state for state, row in TRANSITIONS.items() if State.NOTIFIED in row)
"""What C1 can be told about a message."""

BEFORE_FIRST_ATTEMPT: Final = frozenset(
    state for state, row in TRANSITIONS.items() if State.CANCELLED in row
)
"""Where the operator can still withdraw a message, since nobody outside has seen it."""


def advance(current: State, to: State) -> State:
    """Return `to` when a message may go there from `current`.

    Raises: LocalProtocolError when the table does not know the step.
    """
    return states.step(TRANSITIONS, current, to)


def dot(table: Mapping[State, Mapping[State, str]] = CAUSES) -> str:
    """Draw the table as a Graphviz graph."""
    return states.dot(table)
