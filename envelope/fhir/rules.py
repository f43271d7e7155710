"""The whole list of rules, and the one validator for both wire formats.

A home-grown rule set is a reference and a pre-flight check, not a substitute for a validator built on
an officially maintained HL7 implementation, which certified systems need. It is deliberately stricter
than the published profiles where their expressions are vacuous or broken; `STRICTER` lists where.

Spec: medcom-fhir.md 15, 18, 21, 22.
"""

from typing import Final

from envelope.fhir import (
    rules_acknowledgement,
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
    *rules_hospitalnotification.RULES,
    *rules_acknowledgement.RULES,
)
"""Every rule there is, in the order findings are reported."""

STRICTER: Final = frozenset(
    {
        "header-focus",  # the profile of HomeCareObservation allows any number of focus resources
        "header-definition-hco",  # the published expression forgets to escape the bar
        "header-definition-cc",
        "provenance-current",  # prose only
        "provenance-activity",  # vacuous as published for HospitalNotification
        "hco-producer",  # formally 0..1 since messaging 2.2.2, demanded by the business rules
        "hco-observation-status",  # the profile allows five codes, the business rules one
        "cc-encounter-referenced",  # vacuous as published
        "hn-episode",  # vacuous as published
    }
)
"""Rules that refuse what the official validator may let pass, each backed by MedCom's prose."""


def validate(message: FhirMessage) -> list[Finding]:
    """Check a message against every rule that applies to its event; an empty list means no finding.

    Texts name element paths only, never values. Order is that of `RULES`, the reader's findings first.
    """
    view = MessageView(message)
    findings = list(message.findings)
    for rule in RULES:
        findings.extend(rule.findings(view))
    return findings
