"""Every rule there is, those of the reader included, with all that a person or a page wants to know of it.

Spec: medcom-fhir.md 15, 18; experience section 7.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from envelope.fhir.finding import Layer, Severity
from envelope.fhir.remedies import REMEDIES
from envelope.fhir.rule import Rule
from envelope.fhir.rules import RULES

READING: Final[Mapping[str, str]] = MappingProxyType(
    {
        "message-size": "A message has at most 100 MB.",
        "message-format": "A message is UTF-8 JSON or XML, of the type that was declared.",
        "message-elements": "A message holds a bounded number of elements.",
        "message-depth": "A message nests to a bounded depth.",
        "message-bundle": "A message is one Bundle.",
        "json-syntax": "JSON is well-formed.",
        "json-duplicate-key": "An object names a member once.",
        "xml-syntax": "XML is well-formed.",
        "xml-namespace": "Every element is in the namespace of FHIR, a narrative in that of XHTML.",
        "xml-encoding": "XML is UTF-8.",
        "xml-instruction": "XML has no processing instruction.",
        "xml-doctype": "XML has no document type.",
        "xml-attributes": "A tag has a bounded number of attributes.",
        "xml-attribute": "An element has no attribute but `value`, `id` and `url`.",
        "xml-order": "Elements stand in the order of FHIR.",
        "xml-text": "There is no text between elements.",
        "xml-empty": "An element has a value, an extension or elements.",
        "xml-resource": "A resource element holds exactly one resource.",
    }
)
"""The rules that are held while a message is read, each with its demand; the first one broken ends the reading, but
for the last five of XML."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One rule: what it demands, what to do, how bad it is (to a sender and, if that differs, to a reader).

    `medcom_ids` are the official ids of the same invariant, `events` the event codes it is limited to.
    """

    name: str
    layer: Layer
    severity: Severity
    lenient: Severity
    demand: str
    remedy: str
    medcom_ids: tuple[str, ...] = ()
    events: frozenset[str] | None = None


SAME: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "cc-practitioner-name": ("medcom-careCommunication-8",),
        "provenance-target": ("medcom-messaging-3",),
    }
)
"""Official invariants that a rule holds besides the one it is named by: they say the same of fewer places."""

UNHELD: Final[Mapping[str, str]] = MappingProxyType(
    {
        "ctm-1": "R4's own, on participants of a care team, whom nothing here reads",
        "md-1": "on a MessageDefinition, which is no message",
        "NoSpacesRule": "on a MessageDefinition, which is no message",
        "marital-status-unknown-usage": "a hint on an element that no message here uses",
    }
)
"""Invariants in the published packages that no rule holds, and why."""


def _entry(rule: Rule) -> Entry:
    ids = (rule.medcom_id, *rule.medcom_ids.values(), *SAME.get(rule.name, ()))
    return Entry(
        rule.name,
        rule.layer,
        rule.severity,
        rule.lenient or rule.severity,
        rule.demand,
        REMEDIES[rule.name],
        tuple(each for each in ids if each is not None),
        rule.events,
    )


CATALOGUE: Final[Mapping[str, Entry]] = MappingProxyType(
    {
        **{
            name: Entry(name, Layer.STRUCTURE, "error", "error", demand, REMEDIES[name])
            for name, demand in READING.items()
        },
        **{rule.name: _entry(rule) for rule in RULES},
    }
)
"""From the name of a rule to what there is to say of it."""
