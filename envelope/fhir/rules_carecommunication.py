"""CareCommunication rules: thread, category, payloads with their authors, and what each step added.

Spec: medcom-fhir.md 6, 11, 17, 18.
"""

from collections.abc import Iterator
from typing import Final

from envelope.fhir import canonicals, formats
from envelope.fhir.finding import Kind, Layer
from envelope.fhir.rule import Place, Rule
from envelope.fhir.view import MessageView, Node

_EVENTS: Final = frozenset({canonicals.CARECOMMUNICATION})
_MAX_ATTACHMENTS: Final = 10
_OTHER: Final = "other"
_REGARDING_REFERRAL: Final = "regarding-referral"


def _communications(view: MessageView) -> list[Node]:
    return view.of_type("Communication")


def _payloads(view: MessageView) -> Iterator[Node]:
    for node in _communications(view):
        yield from node.each("payload")


def _identifier(payload: Node) -> str | None:
    for item in payload.extensions(canonicals.IDENTIFIER_EXTENSION):
        return item.string("valueIdentifier", "value")
    return None


def _added(view: MessageView) -> set[str]:
    """Collect the identifiers of the payloads that the current step says it added."""
    return {
        value
        for provenance in view.current_provenances
        for entity in provenance.each("entity")
        if entity.string("role") == "source"
        for value in [entity.string("what", "identifier", "value")]
        if value is not None
    }


def _category(node: Node) -> str | None:
    for system, code in node.codings("category", "coding"):
        if system == canonicals.CATEGORY_SYSTEM:
            return code
    return None


def header_profile(view: MessageView) -> Iterator[Place]:
    """The header claims the CareCommunication profile."""
    if view.header is not None and canonicals.CC_HEADER not in view.header.profiles():
        yield f"{view.header.path}.meta.profile", "the header does not claim its profile"


def provenance_profile(view: MessageView) -> Iterator[Place]:
    """Every Provenance claims the CareCommunication profile."""
    for node in view.of_type("Provenance"):
        if canonicals.CC_PROVENANCE not in node.profiles():
            yield f"{node.path}.meta.profile", "the Provenance does not claim its profile"


def thread_identifier(view: MessageView) -> Iterator[Place]:
    """One identifier names the thread, as a UUID."""
    for node in _communications(view):
        values = [item.string("value") or "" for item in node.each("identifier")]
        if len(values) != 1 or not formats.is_uuid_urn(values[0]):
            yield f"{node.path}.identifier", "not exactly one thread id of the form urn:uuid"


def status_unknown(view: MessageView) -> Iterator[Place]:
    """The status is `unknown`."""
    for node in _communications(view):
        if node.string("status") != "unknown":
            yield f"{node.path}.status", "the status is not unknown"


def category_count(view: MessageView) -> Iterator[Place]:
    """There is exactly one category with exactly one coding."""
    for node in _communications(view):
        codings = list(node.each("category", "coding"))
        if node.count("category") != 1 or len(codings) != 1:
            yield f"{node.path}.category", "not exactly one category"


def category_known(view: MessageView) -> Iterator[Place]:
    """The category is one of MedCom's."""
    for node in _communications(view):
        if node.count("category") and _category(node) not in canonicals.CATEGORIES:
            yield f"{node.path}.category", "no category of MedCom's list"


def priority_referral(view: MessageView) -> Iterator[Place]:
    """Only a communication about a referral has a priority."""
    for node in _communications(view):
        if node.has("priority") and _category(node) != _REGARDING_REFERRAL:
            yield f"{node.path}.priority", "a priority in a category that has none"


def priority_known(view: MessageView) -> Iterator[Place]:
    """The priority is routine or as soon as possible."""
    for node in _communications(view):
        if node.string("priority") not in (None, "routine", "asap"):
            yield f"{node.path}.priority", "a priority MedCom does not use"


def topic_of_other(view: MessageView) -> Iterator[Place]:
    """The category `other` needs a topic in words."""
    for node in _communications(view):
        if _category(node) == _OTHER and node.string("topic", "text") is None:
            yield f"{node.path}.topic", "the category other needs a topic"


def subject_present(view: MessageView) -> Iterator[Place]:
    """The communication is about the patient."""
    for node in _communications(view):
        if node.string("subject", "reference") is None:
            yield f"{node.path}.subject", "the subject is missing"


def text_payload(view: MessageView) -> Iterator[Place]:
    """At least one payload is text."""
    for node in _communications(view):
        if next(node.each("payload", "contentString"), None) is None:
            yield f"{node.path}.payload", "no payload is text"


def payload_identifier(view: MessageView) -> Iterator[Place]:
    """Every payload has one identifier with the organization that assigned it."""
    for payload in _payloads(view):
        items = list(payload.extensions(canonicals.IDENTIFIER_EXTENSION))
        value = items[0].string("valueIdentifier", "value") if items else None
        if (
            len(items) != 1
            or not formats.is_uuid_urn(value or "")
            or items[0].first("valueIdentifier", "assigner") is None
        ):
            yield f"{payload.path}.extension", "not exactly one identifier with its assigner"


def payload_date(view: MessageView) -> Iterator[Place]:
    """Every payload says when it was sent."""
    for payload in _payloads(view):
        items = list(payload.extensions(canonicals.DATETIME_EXTENSION))
        if len(items) != 1 or items[0].string("valueDateTime") is None:
            yield f"{payload.path}.extension", "not exactly one time of sending"


def payload_author(view: MessageView) -> Iterator[Place]:
    """A text names one author and how to reach the author; an attachment at most one."""
    for payload in _payloads(view):
        least = 1 if payload.has("contentString") else 0
        for url in (canonicals.PRACTITIONER_EXTENSION, canonicals.CONTACT_EXTENSION):
            if not least <= sum(1 for _ in payload.extensions(url)) <= 1:
                yield f"{payload.path}.extension", "not the number of authors or contacts allowed"


def author_contact(view: MessageView) -> Iterator[Place]:
    """How to reach an author is a phone number."""
    for payload in _payloads(view):
        for item in payload.extensions(canonicals.CONTACT_EXTENSION):
            contact = item.first("valueContactPoint")
            if contact is None or not (contact.string("value") or "").strip():
                yield f"{item.path}.value", "the contact of the author has no value"
            elif contact.string("system") != "phone":
                yield f"{item.path}.value", "the contact of the author is not a phone"


def attachment_title(view: MessageView) -> Iterator[Place]:
    """An attachment has a title."""
    for payload in _payloads(view):
        for item in payload.each("contentAttachment"):
            if item.string("title") is None:
                yield f"{item.path}.title", "the title is missing"


def attachment_type(view: MessageView) -> Iterator[Place]:
    """Attached data is of a type in MedCom's list."""
    for payload in _payloads(view):
        for item in payload.each("contentAttachment"):
            kind = item.string("contentType")
            if (item.has("data") or kind is not None) and kind not in canonicals.ATTACHMENT_TYPES:
                yield f"{item.path}.contentType", "not a type of attachment MedCom allows"


def attachment_content(view: MessageView) -> Iterator[Place]:
    """An attachment that this message adds holds data or a link."""
    added = _added(view)
    for payload in _payloads(view):
        for item in payload.each("contentAttachment"):
            if _identifier(payload) in added and not (item.has("data") or item.has("url")):
                yield item.path, "an attachment that is new holds neither data nor a link"


def attachment_count(view: MessageView) -> Iterator[Place]:
    """More than ten attachments do not pass the conversion service."""
    for node in _communications(view):
        if sum(1 for _ in node.each("payload", "contentAttachment")) > _MAX_ATTACHMENTS:
            yield f"{node.path}.payload", "more than ten attachments"


def practitioner_name(view: MessageView) -> Iterator[Place]:
    """Every practitioner has a name."""
    for node in view.of_type("Practitioner"):
        if node.first("name") is None:
            yield f"{node.path}.name", "the practitioner has no name"


def _authors(view: MessageView) -> Iterator[Node]:
    for payload in _payloads(view):
        for item in payload.extensions(canonicals.PRACTITIONER_EXTENSION):
            role = view.resolve(item.first("valueReference"))
            if role is not None and role.type == "PractitionerRole":
                yield role


def author_role(view: MessageView) -> Iterator[Place]:
    """An author's role is coded or in words, one of the two."""
    for role in _authors(view):
        coded = next(role.each("code", "coding"), None) is not None
        worded = role.string("code", "text") is not None
        if coded == worded:
            yield f"{role.path}.code", "the role is not either coded or in words"


def author_practitioner(view: MessageView) -> Iterator[Place]:
    """An author's role leads to a practitioner of the bundle."""
    for role in _authors(view):
        if role.string("practitioner", "reference") is None:
            yield f"{role.path}.practitioner", "the role leads to no practitioner"


def encounter_episode(view: MessageView) -> Iterator[Place]:
    """An encounter is referenced by the communication and has an episode of care."""
    for encounter in view.of_type("Encounter"):
        if encounter.string("episodeOfCare", "identifier", "value") is None:
            yield f"{encounter.path}.episodeOfCare", "the encounter has no episode of care"


def encounter_referenced(view: MessageView) -> Iterator[Place]:
    """An encounter in the bundle is the one the communication points at."""
    pointers = [item for node in _communications(view) for item in node.each("encounter")]
    referenced = view.resolved_paths(pointers)
    for encounter in view.of_type("Encounter"):
        if encounter.path not in referenced:
            yield encounter.path, "the encounter is not referenced"


def _belongs(view: MessageView, member: Node, organization: Node | None) -> bool:
    """Whether a care team or role, where it is in the bundle, belongs to the organization."""
    found = view.resolve(member)
    if found is None or found.type not in ("CareTeam", "PractitionerRole") or organization is None:
        return True  # what leads nowhere, or to the wrong type, is told by the rules on references
    owners = [*found.each("managingOrganization"), *found.each("organization")]
    return organization.path in view.resolved_paths(owners)


def _senders(node: Node) -> list[Node]:
    found = (item.first("valueReference") for item in node.extensions(canonicals.SENDER_EXTENSION))
    return [item for item in found if item is not None]


def sender_belongs(view: MessageView) -> Iterator[Place]:
    """A sender named in the communication belongs to the organization that sends."""
    for node in _communications(view):
        for item in _senders(node):
            if not _belongs(view, item, view.sender):
                yield item.path, "the sender named is of another organization"


def recipient_belongs(view: MessageView) -> Iterator[Place]:
    """A recipient named in the communication belongs to the organization that receives."""
    for node in _communications(view):
        for item in node.each("recipient"):
            if not _belongs(view, item, view.receiver):
                yield item.path, "the recipient named is of another organization"


def one_of_each(view: MessageView) -> Iterator[Place]:
    """At most one sender and one recipient are named in the communication."""
    for node in _communications(view):
        if node.count("recipient") > 1 or len(_senders(node)) > 1:
            yield node.path, "more than one sender or recipient"


def entity_roles(view: MessageView) -> Iterator[Place]:
    """A Provenance names added payloads as `source` and at most one message as `revision`."""
    for provenance in view.of_type("Provenance"):
        roles = [item.string("role") for item in provenance.each("entity")]
        if set(roles) - {"source", "revision"} or roles.count("revision") > 1:
            yield f"{provenance.path}.entity", "a role this message does not use, or used twice"


def source_entity(view: MessageView) -> Iterator[Place]:
    """The step this message is names the payloads it added, by their identifiers."""
    for provenance in view.current_provenances:
        if not any(
            item.string("role") == "source"
            and item.string("what", "identifier", "value") is not None
            for item in provenance.each("entity")
        ):
            yield f"{provenance.path}.entity", "no payload is named with role source"


def source_payload(view: MessageView) -> Iterator[Place]:
    """The payloads named as added are in the message.

    Two published examples break this while MedCom's own validator accepts them; MedCom's test of a negative
    doublet is built on it all the same. So it binds who sends, and who reads where strictness is configured.
    """
    known = {_identifier(payload) for payload in _payloads(view)}
    for provenance in view.current_provenances:
        for entity in provenance.each("entity"):
            value = entity.string("what", "identifier", "value")
            if entity.string("role") == "source" and value is not None and value not in known:
                yield f"{entity.path}.what", "the payload named is not in the message"


def _cc(number: int) -> str:
    return f"medcom-careCommunication-{number}"


RULES: Final = (
    Rule("cc-header-profile", header_profile, medcom_id=_cc(1), events=_EVENTS),
    Rule("cc-provenance-profile", provenance_profile, medcom_id=_cc(3), events=_EVENTS),
    Rule("cc-thread", thread_identifier, Kind.VALUE, medcom_id="medcom-uuidv4", events=_EVENTS),
    Rule("cc-status", status_unknown, Kind.VALUE, events=_EVENTS),
    Rule("cc-category", category_count, Kind.REQUIRED, events=_EVENTS),
    Rule("cc-category-known", category_known, Kind.CODE, events=_EVENTS),
    Rule("cc-priority", priority_referral, medcom_id=_cc(5), events=_EVENTS),
    Rule("cc-priority-known", priority_known, Kind.CODE, events=_EVENTS),
    Rule("cc-topic", topic_of_other, Kind.REQUIRED, medcom_id=_cc(6), events=_EVENTS),
    Rule("cc-subject", subject_present, Kind.REQUIRED, events=_EVENTS),
    Rule("cc-text-payload", text_payload, Kind.REQUIRED, events=_EVENTS),
    Rule(
        "cc-payload-identifier",
        payload_identifier,
        Kind.REQUIRED,
        medcom_id="medcom-uuidv4",
        events=_EVENTS,
    ),
    Rule("cc-payload-date", payload_date, Kind.REQUIRED, events=_EVENTS),
    Rule("cc-payload-author", payload_author, Kind.REQUIRED, events=_EVENTS),
    Rule(
        "cc-author-contact",
        author_contact,
        Kind.VALUE,
        medcom_id="medcom-core-contact",
        events=_EVENTS,
    ),
    Rule("cc-attachment-title", attachment_title, Kind.REQUIRED, events=_EVENTS),
    Rule("cc-attachment-type", attachment_type, Kind.CODE, events=_EVENTS),
    Rule(
        "cc-attachment-count",
        attachment_count,
        Kind.TOO_LONG,
        events=_EVENTS,
        lenient="warning",
    ),
    Rule(
        "cc-attachment-content",
        attachment_content,
        Kind.REQUIRED,
        events=_EVENTS,
        lenient="warning",
    ),
    Rule("cc-sender-organization", sender_belongs, medcom_id=_cc(11), events=_EVENTS),
    Rule("cc-recipient-organization", recipient_belongs, medcom_id=_cc(12), events=_EVENTS),
    Rule("cc-one-recipient", one_of_each, events=_EVENTS),
    Rule(
        "cc-practitioner-name", practitioner_name, Kind.REQUIRED, medcom_id=_cc(4), events=_EVENTS
    ),
    Rule("cc-author-role", author_role, medcom_id=_cc(7), events=_EVENTS),
    Rule(
        "cc-author-practitioner",
        author_practitioner,
        Kind.REQUIRED,
        medcom_id=_cc(13),
        events=_EVENTS,
    ),
    Rule(
        "cc-encounter-episode", encounter_episode, Kind.REQUIRED, medcom_id=_cc(9), events=_EVENTS
    ),
    Rule(
        "cc-encounter-referenced",
        encounter_referenced,
        medcom_id=_cc(15),
        events=_EVENTS,
        layer=Layer.REFERENCES,
    ),
    Rule("cc-entity-role", entity_roles, Kind.CODE, events=_EVENTS, layer=Layer.RELIABLE),
    Rule("cc-source", source_entity, Kind.REQUIRED, events=_EVENTS, layer=Layer.RELIABLE),
    Rule(
        "cc-source-payload",
        source_payload,
        Kind.NOT_FOUND,
        events=_EVENTS,
        layer=Layer.RELIABLE,
        lenient="warning",
    ),
)
