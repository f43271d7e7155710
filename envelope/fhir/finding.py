"""What the validator says about a message: findings, and the refusal that carries them.

A finding names a rule, an element path and a constant text. Nothing a sender wrote is ever repeated in
one, since any string of a health message may hold a patient's number.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from envelope.errors import EnvelopeError

Severity = Literal["error", "warning", "information"]


class Kind(StrEnum):
    """The class of a finding; it decides which issue an Acknowledgement reports (`acknowledgement.ISSUES`)."""

    SYNTAX = "syntax"
    STRUCTURE = "structure"
    NAMESPACE = "namespace"
    REQUIRED = "required"
    VALUE = "value"
    DATE = "date"
    CODE = "code"
    CODE_SYSTEM = "code-system"
    TOO_LONG = "too-long"
    INVARIANT = "invariant"
    NOT_FOUND = "not-found"
    RECEIVER_UNKNOWN = "receiver-unknown"
    RECEIVER_MISSING = "receiver-missing"
    NOT_SUPPORTED = "not-supported"
    IDENTIFIER_REUSED = "identifier-reused"
    DUPLICATE = "duplicate"
    UNAVAILABLE = "unavailable"
    LOCAL_FAILURE = "local-failure"
    DAMAGED = "damaged"


class Layer(StrEnum):
    """What a rule looks at, from the bytes inwards; a person mends them in this order."""

    STRUCTURE = "structure"
    HEADER = "header"
    REFERENCES = "references"
    PROFILE = "profile"
    RELIABLE = "reliable messaging"


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken rule at one place.

    `rule` is the stable name of the rule, `path` a FHIRPath from `Bundle` on, `text` a constant sentence,
    `medcom_id` the invariant MedCom (or HL7) publishes for the same thing, where there is one.
    """

    rule: str
    severity: Severity
    path: str
    text: str
    medcom_id: str | None = None
    kind: Kind = Kind.INVARIANT
    layer: Layer = Layer.STRUCTURE


class MessageRefused(EnvelopeError):
    """Bytes that cannot be read as a FHIR message, or a message whose routing facts cannot be found."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__("; ".join(f"{found.rule} at {found.path}" for found in self.findings))


def refusal(
    rule: str, text: str, *, path: str = "Bundle", kind: Kind = Kind.STRUCTURE
) -> MessageRefused:
    """Make the refusal for one broken rule; the caller raises it."""
    return MessageRefused([Finding(rule, "error", path, text, kind=kind)])


def errors_of(findings: Iterable[Finding]) -> list[Finding]:
    """Keep the findings that make a message invalid."""
    return [found for found in findings if found.severity == "error"]
