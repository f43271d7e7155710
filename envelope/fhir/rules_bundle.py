"""Bundle rules: the frame of every message, its ids, and the references between its entries.

Spec: medcom-fhir.md 2, 8; HL7 FHIR R4 (bdl-7, bdl-8, bdl-12).
"""

import re
from collections.abc import Iterator
from typing import Final

from envelope.fhir import canonicals, formats
from envelope.fhir.elements import TYPES
from envelope.fhir.finding import Kind, Layer
from envelope.fhir.rule import Place, Rule
from envelope.fhir.view import MessageView, Node

_BUNDLE_PROFILES: Final = {
    canonicals.HOMECAREOBSERVATION: canonicals.HCO_BUNDLE,
    canonicals.CARECOMMUNICATION: canonicals.CC_BUNDLE,
    canonicals.HOSPITALNOTIFICATION: canonicals.HN_BUNDLE,
    canonicals.ACKNOWLEDGEMENT: canonicals.ACK_BUNDLE,
    canonicals.EMPTY: canonicals.MESSAGE_BUNDLE,
}

_ROLES: Final = ("PractitionerRole", "CareTeam")
_BUNDLED: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    ("MessageHeader", "sender"): ("Organization",),
    ("MessageHeader", "destination.receiver"): ("Organization",),
    ("MessageHeader", "focus"): (),
    ("MessageHeader", "response.details"): ("OperationOutcome",),
    ("DiagnosticReport", "subject"): ("Patient",),
    ("DiagnosticReport", "performer"): ("Organization", "PractitionerRole"),
    ("DiagnosticReport", "result"): ("Observation",),
    ("DiagnosticReport", "media.link"): ("Media",),
    ("Observation", "subject"): ("Patient",),
    ("PractitionerRole", "practitioner"): ("Practitioner",),
    ("Provenance", "agent.who"): ("Organization",),
    ("Communication", "subject"): ("Patient",),
    ("Communication", "encounter"): ("Encounter",),
    ("Communication", "recipient"): _ROLES,
    ("Communication", f"<{canonicals.SENDER_EXTENSION}>.valueReference"): _ROLES,
    ("Communication", f"payload.<{canonicals.PRACTITIONER_EXTENSION}>.valueReference"): (
        "PractitionerRole",
    ),
    ("Communication", f"payload.<{canonicals.IDENTIFIER_EXTENSION}>.valueIdentifier.assigner"): (
        "Organization",
    ),
    (
        "MessageHeader",
        f"<{canonicals.REPORT_OF_ADMISSION_RECIPIENT_EXTENSION}>.valueReference",
    ): ("Organization",),
    ("Encounter", "subject"): ("Patient",),
    ("Encounter", "serviceProvider"): ("Organization",),
    ("Media", "operator"): ("PractitionerRole",),
    ("Media", "identifier.assigner"): ("Organization",),
}
"""Resource type and element to the types a bundled target may have; an empty tuple leaves it open.

An extension is named by its address, since a sender may add others whose references are nobody's business here.
"""

_EMBEDDED: Final = re.compile(r"""["']data:[^"',]{0,100};base64,""")
_OUTSIDE: Final = frozenset({("Provenance", "target"), ("Provenance", "entity.what")})


def bundle_type(view: MessageView) -> Iterator[Place]:
    """Bundle.type is `message`."""
    if view.bundle.string("type") != "message":
        yield "Bundle.type", "the Bundle is not a message"


def bundle_id(view: MessageView) -> Iterator[Place]:
    """The bundle has an id of its own: it is the id of the transmission."""
    if view.bundle.string("id") is None:
        yield "Bundle.id", "the Bundle has no id"


def bundle_timestamp(view: MessageView) -> Iterator[Place]:
    """Bundle.timestamp is present; that it has a zone is a matter of structure."""
    if view.bundle.string("timestamp") is None:
        yield "Bundle.timestamp", "the Bundle has no timestamp"


def first_entry(view: MessageView) -> Iterator[Place]:
    """The first entry is the MessageHeader."""
    first = view.entries[0].first("resource") if view.entries else None
    if first is None or first.type != "MessageHeader":
        yield "Bundle.entry[0]", "the first entry is not a MessageHeader"


def one_header(view: MessageView) -> Iterator[Place]:
    """There is one MessageHeader only."""
    for extra in view.of_type("MessageHeader")[1:]:
        yield extra.path, "a second MessageHeader"


def entry_resource(view: MessageView) -> Iterator[Place]:
    """Every entry holds a resource."""
    for entry in view.entries:
        if entry.first("resource") is None:
            yield entry.path, "an entry without resource"


def full_url_unique(view: MessageView) -> Iterator[Place]:
    """No two entries share a fullUrl."""
    seen: set[str] = set()
    for entry in view.entries:
        address = entry.string("fullUrl")
        if address is not None and address in seen:
            yield f"{entry.path}.fullUrl", "an earlier entry has the same fullUrl"
        elif address is not None:
            seen.add(address)


def full_url_version(view: MessageView) -> Iterator[Place]:
    """A fullUrl names no version."""
    for entry in view.entries:
        if "/_history/" in (entry.string("fullUrl") or ""):
            yield f"{entry.path}.fullUrl", "the fullUrl names a version"


def resource_unique(view: MessageView) -> Iterator[Place]:
    """No two resources of one type share an id: a reference to it would be ambiguous."""
    seen: set[tuple[str, str]] = set()
    for resource in view.resources:
        kind, identifier = resource.string("resourceType"), resource.string("id")
        if kind is None or identifier is None:
            continue
        if (kind, identifier) in seen:
            yield f"{resource.path}.id", "an earlier resource has the same type and id"
        seen.add((kind, identifier))


def resource_id(view: MessageView) -> Iterator[Place]:
    """Every resource of a type the message standards use has an id."""
    for resource in view.resources:
        if resource.type is not None and resource.string("id") is None:
            yield f"{resource.path}.id", "the resource has no id"


def id_uuid(view: MessageView) -> Iterator[Place]:
    """Ids are UUIDs by MedCom's governance; others must be accepted, so this only warns."""
    for resource in (view.bundle, *view.resources):
        identifier = resource.string("id")
        if identifier is not None and not formats.is_uuid(identifier.lower()):
            yield f"{resource.path}.id", "the id is not a UUID"


def bundle_profile(view: MessageView) -> Iterator[Place]:
    """The claimed profile fits the event code; a hint, since the event code decides."""
    expected = _BUNDLE_PROFILES.get(view.event or "")
    if expected is not None and expected not in view.bundle.profiles():
        yield "Bundle.meta.profile", "the profile of this event is not claimed"


def narrative_present(view: MessageView) -> Iterator[Place]:
    """Every resource carries a narrative, and never an empty one."""
    for resource in view.resources:
        if resource.type is None or resource.type == "Bundle":
            continue
        status = resource.string("text", "status")
        if status not in ("generated", "extensions"):
            yield f"{resource.path}.text", "no generated narrative"


def narrative_attachment(view: MessageView) -> Iterator[Place]:
    """A narrative does not hold the data of an attachment, which would travel twice."""
    for resource in view.resources:
        div = resource.string("text", "div") or ""
        if "data:" in div and _EMBEDDED.search(div):
            yield f"{resource.path}.text.div", "the narrative holds the data of an attachment"


def references(view: MessageView) -> list[tuple[Node, str, str]]:
    """List every Reference of the table's types: node, resource type, dotted element name."""
    found: list[tuple[Node, str, str]] | None = view.notes.get(__name__)
    if found is None:
        found = view.notes[__name__] = [
            reference
            for resource in view.resources
            if resource.type is not None
            for reference in _references(resource, resource.type, resource.type, "")
        ]
    return found


def _references(
    node: Node, kind: str, resource_type: str, name: str
) -> Iterator[tuple[Node, str, str]]:
    if kind == "Reference":
        yield node, resource_type, name
    if not isinstance(node.value, dict):
        return
    for key in node.value:
        element = TYPES[kind].get(key)
        if element is None or element.type not in TYPES or key == "contained":
            continue
        for child in node.each(key):
            step = f"<{child.string('url')}>" if element.type == "Extension" else key
            yield from _references(
                child, element.type, resource_type, f"{name}.{step}" if name else step
            )


def reference_bundled(view: MessageView) -> Iterator[Place]:
    """What header, focus, performers and agents point at is in the bundle."""
    for node, kind, name in references(view):
        if (kind, name) in _BUNDLED and view.resolve(node) is None:
            yield node.path, "the reference does not lead to an entry of the bundle"


def reference_type(view: MessageView) -> Iterator[Place]:
    """A bundled reference leads to a resource of the right type."""
    for node, kind, name in references(view):
        allowed = _BUNDLED.get((kind, name))
        found = view.resolve(node) if allowed else None
        if allowed and found is not None and found.string("resourceType") not in allowed:
            yield node.path, "the reference leads to a resource of the wrong type"


def reference_other(view: MessageView) -> Iterator[Place]:
    """Any other reference should lead somewhere too; only history may point outside."""
    for node, kind, name in references(view):
        target = node.string("reference")
        if (
            target is not None
            and not target.startswith("#")
            and (kind, name) not in _BUNDLED
            and (kind, name) not in _OUTSIDE
            and view.resolve(node) is None
        ):
            yield node.path, "the reference leads outside the bundle"


RULES: Final = (
    Rule("bundle-type", bundle_type, Kind.STRUCTURE, layer=Layer.STRUCTURE),
    Rule("bundle-id", bundle_id, Kind.REQUIRED, layer=Layer.RELIABLE),
    Rule("bundle-timestamp", bundle_timestamp, Kind.REQUIRED, layer=Layer.RELIABLE),
    Rule(
        "bundle-first-entry", first_entry, Kind.STRUCTURE, medcom_id="bdl-12", layer=Layer.STRUCTURE
    ),
    Rule("bundle-one-header", one_header, Kind.STRUCTURE, layer=Layer.STRUCTURE),
    Rule("bundle-entry-resource", entry_resource, Kind.REQUIRED, layer=Layer.STRUCTURE),
    Rule("bundle-full-url-unique", full_url_unique, medcom_id="bdl-7", layer=Layer.REFERENCES),
    Rule("bundle-full-url-version", full_url_version, medcom_id="bdl-8", layer=Layer.REFERENCES),
    Rule("resource-unique", resource_unique, layer=Layer.REFERENCES),
    Rule("resource-id", resource_id, Kind.REQUIRED, layer=Layer.REFERENCES),
    Rule("resource-id-uuid", id_uuid, severity="warning", layer=Layer.REFERENCES),
    Rule("bundle-profile", bundle_profile, severity="warning"),
    Rule("narrative-present", narrative_present, severity="warning", layer=Layer.STRUCTURE),
    Rule("narrative-attachment", narrative_attachment, severity="warning", layer=Layer.STRUCTURE),
    Rule("reference-bundled", reference_bundled, Kind.NOT_FOUND, layer=Layer.REFERENCES),
    Rule("reference-type", reference_type, layer=Layer.REFERENCES),
    Rule(
        "reference-other",
        reference_other,
        Kind.NOT_FOUND,
        severity="warning",
        layer=Layer.REFERENCES,
    ),
)
