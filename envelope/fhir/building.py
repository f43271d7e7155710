"""The pieces every message we make is put together from: entries, narrative, header, Provenance.

Every value in a narrative is escaped. Resource ids and referenced ids are rendered in it too, as the
profiles with narrative obligations want.

Spec: medcom-fhir.md 2, 3, 4, 6, 8, 19.
"""

from collections.abc import Sequence
from datetime import datetime
from html import escape
from typing import Any, Final

from envelope import names
from envelope.fhir import canonicals, formats
from envelope.fhir.reading import Resource

_TITLES: Final = {
    canonicals.ACKNOWLEDGEMENT: "Kvittering",
    canonicals.HOMECAREOBSERVATION: "Kommunale prøvesvar",
    canonicals.CARECOMMUNICATION: "Korrespondancemeddelelse",
    canonicals.HOSPITALNOTIFICATION: "Advis om sygehusophold",
}


def narrative(title: str, rows: Sequence[tuple[str, object]]) -> dict[str, Any]:
    """Make a Narrative with a heading and one table row per label that has a value."""
    cells = "".join(
        f"<tr><td><b>{escape(label)}</b></td><td>{escape(str(value))}</td></tr>"
        for label, value in rows
        if value not in (None, "")
    )
    table = f"<table><tbody>{cells}</tbody></table>" if cells else ""
    return {
        "status": "generated",
        "div": f'<div xmlns="{names.XHTML}"><p><b>{escape(title)}</b></p>{table}</div>',
    }


def bundle(bundle_id: str, profile: str, at: datetime, resources: list[Resource]) -> Resource:
    """Put resources into a message bundle; the first one must be the header.

    Full addresses share one base, so that the relative references inside resolve against it.
    """
    return {
        "resourceType": "Bundle",
        "id": bundle_id,
        "meta": {"profile": [profile]},
        "type": "message",
        "timestamp": formats.format_instant(at),
        "entry": [{"fullUrl": _full_url(item), "resource": item} for item in resources],
    }


def _full_url(resource: Resource) -> str:
    return f"{canonicals.FULL_URL_BASE}/{resource['resourceType']}/{resource['id']}"


def reference(resource_type: str, identifier: str) -> dict[str, str]:
    """Point at a resource of the same bundle."""
    return {"reference": f"{resource_type}/{identifier}"}


def coding(system: str, code: str, display: str | None = None) -> dict[str, str]:
    """Make a Coding."""
    made = {"system": system, "code": code}
    return made if display is None else {**made, "display": display}


def message_header(
    *,
    message_id: str,
    profile: str,
    event: str,
    definition: str | None,
    sender_id: str,
    sender_endpoint: str,
    receiver_id: str,
    receiver_endpoint: str,
    response: dict[str, Any] | None = None,
    focus: dict[str, str] | None = None,
) -> Resource:
    """Make a MessageHeader with one primary destination."""
    header: Resource = {
        "resourceType": "MessageHeader",
        "id": message_id,
        "meta": {"profile": [profile]},
        "text": narrative(
            _TITLES[event],
            [
                ("Meddelelses-id", message_id),
                ("Type", event),
                ("Afsender", f"Organization/{sender_id} {sender_endpoint}"),
                ("Modtager", f"Organization/{receiver_id} {receiver_endpoint}"),
                ("Svar på", response["identifier"] if response else None),
                ("Svarkode", response["code"] if response else None),
                ("Detaljer", (response or {}).get("details", {}).get("reference")),
                ("Indhold", focus["reference"] if focus else None),
                ("Definition", definition),
            ],
        ),
        "eventCoding": coding(canonicals.EVENT_SYSTEM, event),
        "destination": [
            {
                "extension": [
                    {
                        "url": canonicals.DESTINATION_USE_EXTENSION,
                        "valueCoding": coding(canonicals.DESTINATION_USE_SYSTEM, "primary"),
                    }
                ],
                "endpoint": receiver_endpoint,
                "receiver": reference("Organization", receiver_id),
            }
        ],
        "sender": reference("Organization", sender_id),
        "source": {"endpoint": sender_endpoint},
    }
    if response is not None:
        header["response"] = response
    if focus is not None:
        header["focus"] = [focus]
    if definition is not None:
        header["definition"] = definition
    return header


def provenance(
    *,
    provenance_id: str,
    target_id: str,
    activity: str,
    agent_id: str,
    at: datetime,
    revision_of: str | None = None,
    removal_of: str | None = None,
) -> Resource:
    """Make a Provenance for one step, which follows or withdraws the message with the header of that id."""
    time = formats.format_instant(at)
    made: Resource = {
        "resourceType": "Provenance",
        "id": provenance_id,
        "meta": {"profile": [canonicals.PROVENANCE]},
        "text": narrative(
            "Hændelse",
            [
                ("Id", provenance_id),
                ("Meddelelse", f"MessageHeader/{target_id}"),
                ("Tidspunkt", time),
                ("Aktivitet", activity),
                ("Udført af", f"Organization/{agent_id}"),
                ("Forrige meddelelse", f"MessageHeader/{revision_of}" if revision_of else None),
                ("Annulleret meddelelse", f"MessageHeader/{removal_of}" if removal_of else None),
            ],
        ),
        "target": [reference("MessageHeader", target_id)],
        "occurredDateTime": time,
        "recorded": time,
        "activity": {"coding": [coding(canonicals.ACTIVITY_SYSTEM, activity)]},
        "agent": [{"who": reference("Organization", agent_id)}],
    }
    named = (("revision", revision_of), ("removal", removal_of))
    entities = [
        {"role": role, "what": reference("MessageHeader", header)}
        for role, header in named
        if header
    ]
    if entities:
        made["entity"] = entities
    return made


def organization(
    *,
    organization_id: str,
    profile: str,
    gln: str,
    sor: str,
    name: str | None,
    identifiers: tuple[tuple[str, str], ...] = (),
    contact: dict[str, Any] | None = None,
) -> Resource:
    """Make a messaging Organization; `identifiers` are further (system, value) pairs."""
    pairs = ((canonicals.GLN, gln), (canonicals.SOR, sor), *identifiers)
    made: Resource = {
        "resourceType": "Organization",
        "id": organization_id,
        "meta": {"profile": [profile]},
        "text": narrative(
            "Organisation",
            [("Id", organization_id), ("Navn", name), *pairs],
        ),
        "identifier": [{"system": system, "value": value} for system, value in pairs],
    }
    if name is not None:
        made["name"] = name
    if contact is not None:
        made["contact"] = [contact]
    return made


def endpoint_of(sor: str) -> str:
    """Write the endpoint address of an organization by its SOR id."""
    return canonicals.SOR_ENDPOINT + sor
