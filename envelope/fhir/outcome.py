"""What another validator said of a message, as findings: its OperationOutcome without a word of its own.

A validator repeats in its texts what it read, a patient's number included. So of each issue only the severity, the
code of R4's list, a path and the id of an invariant known here are kept; the sentence is ours.

Spec: HL7 FHIR R4 (OperationOutcome, $validate); medcom-fhir.md 15.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

import orjson

from envelope.fhir.catalogue import CATALOGUE
from envelope.fhir.elements import TYPES
from envelope.fhir.finding import Finding, Kind, Layer, Severity
from envelope.fhir.view import Node

UNANSWERED: Final = "external-unanswered"
"""The rule that is told where the validator gave no answer that can be used."""

_MOST_ISSUES: Final = 100
_COMMENT: Final = re.compile(r"/\*[^*]{0,200}\*/")
_PATH: Final = re.compile(r"Bundle(?:\.[A-Za-z]{1,40}(?:\[[0-9]{1,6}\])?){0,20}")
_IDS: Final = {each for entry in CATALOGUE.values() for each in entry.medcom_ids}
_ID: Final = re.compile(
    "|".join(
        rf"(?<![\w-]){re.escape(each)}(?![\w-])" for each in sorted(_IDS, key=len, reverse=True)
    )
)
_SEVERITIES: Final[dict[str | None, Severity]] = {
    "fatal": "error",
    "error": "error",
    "warning": "warning",
    "information": "information",
}
_KINDS: Final = {
    "structure": Kind.STRUCTURE,
    "required": Kind.REQUIRED,
    "value": Kind.VALUE,
    "code-invalid": Kind.CODE,
    "not-found": Kind.NOT_FOUND,
    "not-supported": Kind.NOT_SUPPORTED,
    "too-long": Kind.TOO_LONG,
}
_CODES: Final = TYPES["OperationOutcome.issue"]["code"].codes or frozenset()


def read_outcome(data: bytes) -> list[Finding]:
    """Read the findings out of an OperationOutcome in JSON; informative issues are left out.

    Raises `ValueError` for bytes that are none.
    """
    try:
        outcome = Node(orjson.loads(data), "OperationOutcome")
    except orjson.JSONDecodeError:
        raise ValueError("no JSON") from None
    if outcome.string("resourceType") != "OperationOutcome" or outcome.first("issue") is None:
        raise ValueError("no OperationOutcome")
    return [found for found in _issues(outcome) if found.severity != "information"][:_MOST_ISSUES]


def _issues(outcome: Node) -> Iterator[Finding]:
    for issue in outcome.each("issue"):
        severity = _SEVERITIES.get(issue.string("severity"))
        if severity is None:
            raise ValueError("an issue without severity")
        code = issue.string("code")
        code = code if code in _CODES else "processing"
        yield Finding(
            f"external-{code}",
            severity,
            _path(issue),
            "the external validator tells of it",
            _invariant(issue),
            _KINDS.get(code, Kind.INVARIANT),
            Layer.PROFILE,
        )


def _path(issue: Node) -> str:
    for name in ("expression", "location"):
        path = _COMMENT.sub("", issue.string(name) or "")
        if _PATH.fullmatch(path):
            return path
    return "Bundle"


def _invariant(issue: Node) -> str | None:
    texts: list[Any] = [issue.string("diagnostics"), issue.string("details", "text")]
    texts += [code for _, code in issue.codings("details", "coding")]
    for text in texts:
        match = _ID.search(text[:2000]) if text else None
        if match is not None:
            return match[0]
    return None


def unanswered(severity: Severity) -> Finding:
    """Tell that the validator gave no answer; who sends is told as loudly as the configuration wants."""
    return Finding(
        UNANSWERED,
        severity,
        "Bundle",
        "the external validator gave no answer",
        kind=Kind.UNAVAILABLE,
        layer=Layer.PROFILE,
    )
