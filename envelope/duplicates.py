"""What a receiving message service handler does with an envelope, by what it has seen before.

Reliable messaging in EHMI rests on two identifiers: that of the envelope (`DocumentIdentification/InstanceIdentifier`,
new at every sending) and that of the message (scope `MESSAGEIDENTIFIER`, the same for as long as the content is).
Four combinations of seen and new are possible; the table names what each one means and what must follow.
This is the handler's table: the access point has its own for AS4 message ids, the end-user system one for bundles.

Spec: ehmiSBDH reliable messaging, duplicate rules; decision D8.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Action(StrEnum):
    """What the receiver does next."""

    PROCESS = "process"
    ACKNOWLEDGE_AGAIN = "acknowledge-again"
    RESEND_ACKNOWLEDGEMENT = "resend-acknowledgement"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Decision:
    """One row of the table.

    `delivers`: the content goes on to the end user. `acknowledges`: an ehmiSBDH acknowledgement leaves.
    `repeats`: its outcome and its signal are those already given, only envelope id and times are new.
    `tells`: the end-user application is given the repetition, because its own answer may be the one that was lost;
    its table (`envelope.fhir.duplicates`) decides, and never shows it again.
    """

    action: Action
    meaning: str
    delivers: bool
    acknowledges: bool
    repeats: bool
    tells: bool = False


DECISIONS: Final[Mapping[tuple[bool, bool], Decision]] = {
    (False, False): Decision(
        Action.PROCESS, "a message not seen before", delivers=True, acknowledges=True, repeats=False
    ),
    (True, True): Decision(
        Action.ACKNOWLEDGE_AGAIN,
        "the same envelope again",
        delivers=False,
        acknowledges=True,
        repeats=True,
    ),
    (False, True): Decision(
        Action.RESEND_ACKNOWLEDGEMENT,
        "a known message in a new envelope: the sender misses our acknowledgement",
        delivers=False,
        acknowledges=True,
        repeats=True,
        tells=True,
    ),
    (True, False): Decision(
        Action.REFUSE,
        "an envelope identifier used for a second message",
        delivers=False,
        acknowledges=True,
        repeats=False,
    ),
}
"""Keyed by (envelope seen, message seen)."""

OF_ACTION: Final[Mapping[Action, Decision]] = {row.action: row for row in DECISIONS.values()}
"""The same rows, by what they say to do."""


def decide(envelope_seen: bool, message_seen: bool) -> Action:
    """Look up what to do with an envelope whose identifiers were, or were not, seen before."""
    return DECISIONS[envelope_seen, message_seen].action
