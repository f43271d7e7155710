"""How a received message is answered when somebody decides it: which message, whether it may be answered so, in what words.

The first `ok` or `fatal-error` stands for ever, as its sender's people have acted on it; only a `transient-error` may
be followed by either. What is said goes to the sender in an OperationOutcome, so it names no patient. What was said is
kept beside the message, as names of rules and constant texts or the words of whoever decided, to say it again when the
message comes again.

Spec: MedCom FHIR Acknowledgement 2.0 (medcom-fhir.md 13, 14).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import orjson

from accesspoint.log import holds_patient_number
from accesspoint.stations.document import Document, Stored
from accesspoint.store.database import Database, Row
from envelope import fhir
from envelope.fhir.acknowledgement import ISSUES

Code = Literal["ok", "fatal-error", "transient-error"]
CODES: Final[tuple[Code, ...]] = ("ok", "fatal-error", "transient-error")
DETAILS: Final[Mapping[str, fhir.Kind]] = {
    details: kind for kind, (_, _, details) in reversed(ISSUES.items())
}
"""Codes of `OperationOutcome.issue.details` that an answer may name; each stands for a class of findings."""
LONGEST_REASON: Final = 1_000
_FINAL: Final = frozenset({"ok", "fatal-error"})
_RULE: Final = "receiver-decision"
_DEFAULT: Final[Mapping[Code, str]] = {
    "fatal-error": "MSG_NO_MATCH",
    "transient-error": "MSG_LOCAL_FAIL",
}


class NotAnswerable(Exception):
    """A message cannot be answered like this; the text says why and names no patient."""


class UnknownMessage(LookupError):
    """No message with this identifier was received."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What somebody decided: the code, and for any but `ok` the reason in words and the code of its details.

    Raises NotAnswerable for a reason that must not go out, or for details that are none.
    """

    code: Code
    reason: str | None = None
    details: str | None = None

    def __post_init__(self) -> None:
        if self.code not in CODES:
            raise NotAnswerable(f"the codes are {', '.join(CODES)}")
        if self.code == "ok" and (self.reason or self.details):
            raise NotAnswerable("an ok has no reason")
        if self.details is not None and self.details not in DETAILS:
            raise NotAnswerable(f"the details are one of {', '.join(sorted(DETAILS))}")
        if self.reason is not None and holds_patient_number(self.reason):
            raise NotAnswerable("the reason holds what looks like a patient number")
        if self.reason is not None and not 0 < len(self.reason.strip()) <= LONGEST_REASON:
            raise NotAnswerable(f"a reason has 1 to {LONGEST_REASON} characters")

    def findings(self, message: fhir.FhirMessage) -> tuple[fhir.Finding, ...]:
        """What the acknowledgement tells of: the reason given, else the rules that the message breaks.

        Raises NotAnswerable for a fatal error without either.
        """
        if self.code == "ok":
            return ()
        if self.reason is None and self.details is None:
            broken = tuple(fhir.errors_of(fhir.validate(message)))
            if self.code == "fatal-error" and not broken:
                raise NotAnswerable("the message breaks no rule: a fatal-error needs a reason")
            return broken if self.code == "fatal-error" else ()
        text = (self.reason or "the receiver decided so").strip()
        kind = DETAILS[self.details or _DEFAULT[self.code]]
        return (fhir.Finding(_RULE, "error", "Bundle", text, kind=kind),)


def describe_response(response: fhir.Response) -> str:
    """Return an answer that came, for the journal: its code, and of its details those that MedCom defines.

    Any other text of it may be about a patient.
    """
    details = [one for one in response.details if one in DETAILS]
    return f"{response.code} ({', '.join(details)})" if details else response.code


async def find_received(
    database: Database, message_identifier: str, sender: str | None, receiver: str | None = None
) -> tuple[Row, Document]:
    """The row of a received message, and the message with its routing facts.

    Raises UnknownMessage; NotAnswerable where the identifier was used by several senders, or for several of our
    organisations, and `sender` and `receiver` (GLNs) do not say which message is meant.
    """
    rows = await database.fetch(
        "SELECT * FROM documents WHERE direction = 'in' AND message_identifier = $1 ORDER BY id",
        message_identifier,
    )
    rows = [
        row
        for row in rows
        if sender in (None, row["sender"]) and receiver in (None, row["receiver"])
    ]
    if not rows:
        raise UnknownMessage(message_identifier)
    if len(rows) > 1:
        found = ", ".join(
            sorted(f"sender {row['sender']} to receiver {row['receiver']}" for row in rows)
        )
        raise NotAnswerable(f"several messages have this identifier; name one of: {found}")
    (row,) = rows
    for brought in await database.fetch(
        "SELECT id, item FROM handovers WHERE kind = 'document' AND target LIKE 'backend%' AND message_identifier = $1",
        message_identifier,
    ):
        document = Document.from_json(brought["item"])
        if (document.sender.gln, document.receiver.gln) == (row["sender"], row["receiver"]):
            if not row["payload"]:
                break
            stands = Stored(row["payload"], int(row["payload_bytes"]), row["payload_sha256"])
            return row, document.standing_at(stands)
    raise NotAnswerable("the message is not stored any more, and its answer repeats parts of it")


def is_answered_so(row: Row, code: Code) -> bool:
    """Whether a message was answered with this code before; raises NotAnswerable where another answer stands."""
    first = str(row["acknowledgement"])
    if row["event_code"] == "acknowledgement-message":
        raise NotAnswerable("an acknowledgement is never acknowledged")
    if first in _FINAL and first != code:
        raise NotAnswerable(f"the message was answered with {first}, which stands")
    return first == code


def findings_to_json(findings: tuple[fhir.Finding, ...]) -> str:
    """What an acknowledgement told of, as the store keeps it."""
    return orjson.dumps(findings).decode() if findings else ""


def findings_from_json(text: str) -> tuple[fhir.Finding, ...]:
    """The findings that `findings_to_json` wrote."""
    return tuple(
        fhir.Finding(**{**found, "kind": fhir.Kind(found["kind"])})
        for found in (orjson.loads(text) if text else ())
    )
