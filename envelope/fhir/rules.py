"""The whole list of rules, and the one validator for both wire formats.

A home-grown rule set is a reference and a pre-flight check, not a substitute for a validator built on
an officially maintained HL7 implementation, which certified systems need. It is deliberately stricter
than the published profiles where their expressions are vacuous or broken; `STRICTER` lists where.

Spec: medcom-fhir.md 15, 18, 21, 22.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from envelope.fhir import (
    rules_acknowledgement,
    rules_attachments,
    rules_bundle,
    rules_carecommunication,
    rules_header,
    rules_homecareobservation,
    rules_hospitalnotification,
    rules_parties,
    rules_provenance,
    rules_structure,
)
from envelope.fhir.finding import Finding
from envelope.fhir.reading import FhirMessage
from envelope.fhir.rule import Rule
from envelope.fhir.view import MessageView

RULES: Final[tuple[Rule, ...]] = (
    *rules_structure.RULES,
    *rules_bundle.RULES,
    *rules_header.RULES,
    *rules_parties.RULES,
    *rules_provenance.RULES,
    *rules_homecareobservation.RULES,
    *rules_carecommunication.RULES,
    *rules_attachments.RULES,
    *rules_hospitalnotification.RULES,
    *rules_acknowledgement.RULES,
)
"""Every rule there is, in the order findings are reported."""

STRICTER: Final[Mapping[str, str]] = MappingProxyType(
    {
        "header-focus": "the profile of HomeCareObservation allows any number of focus resources; its prose wants one",
        "header-definition-hco": "the published expression forgets to escape the bar and accepts nearly anything",
        "header-definition-cc": "the published expression forgets to escape the bar; mended by MedCom in 5.0.4",
        "header-no-response": "only prose says that a message which answers nothing has no response",
        "resource-unique": "R4 forbids equal full addresses only; two resources of one name make a reference ambiguous",
        "provenance-current": "only prose says which Provenance is the step of this message",
        "provenance-activity": "vacuous as published for HospitalNotification, and not evaluated for the others",
        "provenance-revision": "only prose demands the message that is answered, forwarded or corrected",
        "provenance-removal": "only prose demands the message that is withdrawn",
        "hco-producer": "formally 0..1 since messaging 2.2.2; the business rules demand it",
        "hco-observation-status": "the profile allows five codes, the business rules one",
        "hco-media-typed": "the profile lets the type be absent; data without one cannot be shown",
        "cc-encounter-referenced": "vacuous as published in 5.0.2; mended by MedCom in 5.0.4",
        "cc-recipient-organization": "the published expression asks any destination; here it is the primary one",
        "cc-attachment-count": "the standard sets no number; the conversion service of the sector takes ten",
        "cc-attachment-content": "only prose says that an attachment which is new holds data or a link",
        "cc-source-payload": "only MedCom's test of a negative doublet demands it; two published examples break it",
        "hn-activity-fits": "only the table of use cases ties class and status to the step",
        "hn-follow-up": "only prose demands the preceding message of a leave or a discharge",
        "ack-activity": "the profile allows every activity of MedCom's; only prose demands the one",
    }
)
"""Rules that refuse what the official validator may let pass, each with the reason."""


def validate(message: FhirMessage, *, strict: bool = False) -> list[Finding]:
    """Check a message against every rule that applies to its event; an empty list means no finding.

    `strict` is how a sender looks at its own message; without it some rules only warn (`Rule.lenient`). Texts name
    element paths only, never values. Order is that of `RULES`, the reader's findings first.
    """
    view = MessageView(message)
    findings = list(message.findings)
    for rule in RULES:
        findings.extend(rule.findings(view, strict=strict))
    return findings
