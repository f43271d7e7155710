"""Make a CareCommunication 5.0: a new thread, a reply to a message, or a forward of one, about nobody.

A reply repeats the texts of the message it answers and names its attachments without their data; a forward begins a
thread of its own and carries the data again. Both repeat all steps so far.

Spec: medcom-fhir.md 6, 11, 19.
"""

import base64
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final

from envelope.fhir import building, canonicals, formats
from envelope.fhir.reading import Resource
from envelope.fhir.synthetic_parts import (
    Ids,
    SampleFacts,
    history,
    message_header,
    organizations,
    patient,
    practitioner,
    resource,
    resources_of,
    role,
    step,
)

_VERSION: Final = "5.0"
_TEXT: Final = "TEST. Kære kollega\nBorgeren er urolig ved udsigten til at komme hjem. Ærlig talt: kan I ses ved?"
_PHONE: Final = "+4500000000"


@dataclass(frozen=True, slots=True)
class Attached:
    """An attachment: raw bytes of a type of MedCom's list, or a link where `url` is given."""

    title: str
    data: bytes = b""
    content_type: str = "application/pdf"
    url: str | None = None


@dataclass(frozen=True, slots=True)
class CareFacts:
    """What the communication is about; `topic` belongs to the category `other`, `priority` to a referral.

    `named` names a sender and a recipient inside the organizations, and `episode` an episode of care.
    """

    category: str = "nursing"
    text: str = _TEXT
    attached: Sequence[Attached] = ()
    topic: str | None = None
    priority: str | None = None
    named: bool = False
    episode: bool = False


def build_care_communication(
    facts: SampleFacts,
    care: CareFacts = CareFacts(),
    *,
    follows: Resource | None = None,
    forward: bool = False,
) -> Resource:
    """Build the bundle as a plain dictionary; with `follows` it answers that message, or forwards it."""
    ids = Ids(facts.message_id)
    previous, steps = history(follows)
    activity = canonicals.NEW_MESSAGE
    if previous is not None:
        activity = canonicals.FORWARD_MESSAGE if forward else canonicals.REPLY_MESSAGE
    added = list(_payloads(facts, care, ids))
    communication = _communication(care, ids, [*_repeated(follows, forward), *added])
    if follows is not None and not forward:
        thread = resources_of(follows, "Communication")[0]["identifier"]
        communication["identifier"] = deepcopy(thread)
    authors = [] if follows is None else resources_of(follows, "PractitionerRole", "Practitioner")
    own: list[Resource] = []
    if care.named:
        own.append(_team(ids))
    if care.episode:
        own.append(_encounter(ids))
    return building.bundle(
        facts.bundle_id,
        canonicals.CC_BUNDLE,
        facts.at,
        [
            message_header(
                facts,
                ids,
                event=canonicals.CARECOMMUNICATION,
                profile=canonicals.CC_HEADER,
                definition=f"{canonicals.CC_DEFINITION}|{_VERSION}",
                focus=("Communication", ids("communication")),
            ),
            patient(facts, ids),
            communication,
            role(ids, organization=ids("sender")),
            practitioner(ids),
            *own,
            *authors,
            *organizations(facts, ids),
            _step(facts, ids, activity, previous, added),
            *steps,
        ],
    )


def _communication(care: CareFacts, ids: Ids, payloads: list[dict[str, Any]]) -> Resource:
    made: Resource = {
        **resource(
            "Communication",
            ids("communication"),
            canonicals.CC_COMMUNICATION,
            "Korrespondance (TEST)",
            [
                ("Kategori", care.category),
                ("Emne", care.topic),
                ("Prioritet", care.priority),
                ("Borger", f"Patient/{ids('patient')}"),
                *(("Tekst", item.get("contentString")) for item in payloads),
                *(("Bilag", item.get("contentAttachment", {}).get("title")) for item in payloads),
            ],
        ),
        "identifier": [{"value": f"urn:uuid:{ids('thread')}"}],
        "status": "unknown",
        "category": [{"coding": [building.coding(canonicals.CATEGORY_SYSTEM, care.category)]}],
        "subject": building.reference("Patient", ids("patient")),
        "payload": payloads,
    }
    if care.priority is not None:
        made["priority"] = care.priority
    if care.topic is not None:
        made["topic"] = {"text": care.topic}
    if care.episode:
        made["encounter"] = building.reference("Encounter", ids("encounter"))
    if care.named:
        sender = building.reference("PractitionerRole", ids("role"))
        made["extension"] = [{"url": canonicals.SENDER_EXTENSION, "valueReference": sender}]
        made["recipient"] = [building.reference("CareTeam", ids("team"))]
    return made


def _payloads(facts: SampleFacts, care: CareFacts, ids: Ids) -> Iterator[dict[str, Any]]:
    author = [
        {
            "url": canonicals.PRACTITIONER_EXTENSION,
            "valueReference": building.reference("PractitionerRole", ids("role")),
        },
        {
            "url": canonicals.CONTACT_EXTENSION,
            "valueContactPoint": {"system": "phone", "value": _PHONE},
        },
    ]
    yield {"extension": [*_sent(facts, ids, "text"), *author], "contentString": care.text}
    for number, item in enumerate(care.attached, 1):
        content: dict[str, Any] = {"title": item.title}
        if item.url is not None:
            content = {"url": item.url, **content}
        else:
            data = base64.b64encode(item.data).decode()
            content = {"contentType": item.content_type, "data": data, **content}
        yield {
            "extension": _sent(facts, ids, f"attachment {number}"),
            "contentAttachment": content,
        }


def _sent(facts: SampleFacts, ids: Ids, name: str) -> list[dict[str, Any]]:
    return [
        {
            "url": canonicals.DATETIME_EXTENSION,
            "valueDateTime": formats.format_instant(facts.at),
        },
        {
            "url": canonicals.IDENTIFIER_EXTENSION,
            "valueIdentifier": {
                "value": f"urn:uuid:{ids(f'payload {name}')}",
                "assigner": building.reference("Organization", ids("sender")),
            },
        },
    ]


def _repeated(follows: Resource | None, forward: bool) -> list[dict[str, Any]]:
    if follows is None:
        return []
    payloads: list[dict[str, Any]] = deepcopy(resources_of(follows, "Communication")[0]["payload"])
    if not forward:
        for payload in payloads:
            for name in ("data", "url"):
                payload.get("contentAttachment", {}).pop(name, None)
    return payloads


def _step(
    facts: SampleFacts,
    ids: Ids,
    activity: str,
    previous: str | None,
    added: list[dict[str, Any]],
) -> Resource:
    """Make the Provenance of this message: it names each payload that is new."""
    made = step(facts, ids, activity, previous)
    made["meta"]["profile"] = [canonicals.CC_PROVENANCE]
    identifiers = [
        extension["valueIdentifier"]["value"]
        for payload in added
        for extension in payload["extension"]
        if extension["url"] == canonicals.IDENTIFIER_EXTENSION
    ]
    sources = [
        {"role": "source", "what": {"identifier": {"value": value}}} for value in identifiers
    ]
    made["entity"] = [*sources, *made.get("entity", [])]
    return made


def _team(ids: Ids) -> Resource:
    return {
        **resource(
            "CareTeam",
            ids("team"),
            canonicals.CARE_TEAM,
            "Team",
            [("Navn", "Aftenteamet"), ("Organisation", f"Organization/{ids('receiver')}")],
        ),
        "name": "Aftenteamet",
        "managingOrganization": [building.reference("Organization", ids("receiver"))],
    }


def _encounter(ids: Ids) -> Resource:
    episode = f"urn:uuid:{ids('episode')}"
    return {
        **resource(
            "Encounter", ids("encounter"), canonicals.ENCOUNTER, "Forløb", [("Forløb", episode)]
        ),
        "status": "unknown",
        "class": building.coding(canonicals.ACT_CODE_SYSTEM, "AMB"),
        "subject": building.reference("Patient", ids("patient")),
        "episodeOfCare": [
            {"identifier": {"system": f"{canonicals.FULL_URL_BASE}/episode", "value": episode}}
        ],
    }
