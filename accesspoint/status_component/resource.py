"""Reading an AuditEvent that keeps its profile: what it says of station, message, parties and patient. Pure.

Everything here takes a resource that `check_audit_event` found nothing against, and takes it at its word.

Spec: EHMI delivery status 1.0.2, search parameters.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

from accesspoint.delivery import terminology as eds

Resource = dict[str, Any]
SBDH_ACKNOWLEDGEMENT: Final = "ehmisbdh-acknowledgement"
FHIR_ACKNOWLEDGEMENT: Final = "acknowledgement-message"
_SBDH_EXCEPTION: Final = "Exception"


class Verdict(StrEnum):
    """What an acknowledgement says; the words are those of the FHIR Acknowledgement, but for the first."""

    POSITIVE = "positive"
    TRANSIENT = "transient-error"
    FATAL = "fatal-error"


@dataclass(frozen=True, slots=True)
class Party:
    """An organisation as a report names it; `glns` are in their order, `name` is empty where none is given."""

    sor: str
    glns: tuple[str, ...]
    name: str


def recorded(resource: Resource) -> datetime:
    """When the reporting station recorded the event."""
    return datetime.fromisoformat(resource["recorded"])


def identifier(resource: Resource, kind: str) -> str | None:
    """The identifier of the entity of this EHMI kind, or None; the profiles allow at most one."""
    for entity in resource["entity"]:
        if _is_kind(entity, kind):
            return str(entity["what"]["identifier"]["value"])
    return None


def detail(resource: Resource, kind: str, name: str) -> str | None:
    """The value of a detail of the entity of this EHMI kind, or None."""
    for entity in resource["entity"]:
        if _is_kind(entity, kind):
            for found in entity.get("detail", []):
                if found["type"] == name:
                    return str(found["valueString"])
    return None


def _is_kind(entity: Resource, kind: str) -> bool:
    return bool(entity["type"]["system"] == eds.ENTITY_TYPES.uri and entity["type"]["code"] == kind)


def device_id(resource: Resource) -> str | None:
    """The reporting station's device id: the observer's identifier, else the tail of its reference."""
    observer = resource["source"]["observer"]
    if "identifier" in observer:
        return str(observer["identifier"]["value"])
    reference = observer.get("reference", "")
    return reference.rpartition("/")[2] if reference.startswith("Device/") else None


def parties(resource: Resource, *roles: str) -> Iterator[Party]:
    """Yield the sender and receiver agents asked for."""
    for agent in resource["agent"]:
        codings = agent.get("type", {}).get("coding", [])
        if not any(c.get("system") == eds.ROLES.uri and c.get("code") in roles for c in codings):
            continue
        glns = tuple(
            extension["valueIdentifier"]["value"]
            for extension in agent.get("extension", [])
            if extension.get("url") == eds.OTHER_ID
        )
        yield Party(agent["who"]["identifier"]["value"], glns, agent.get("name") or "")


def verdict(resource: Resource) -> Verdict | None:
    """What an acknowledgement says, as far as a report of it tells; None where it does not, or of another message.

    An ehmiSBDH acknowledgement tells by the type of its document, a FHIR Acknowledgement by the postfix of its
    statistical information (`#ok`, `#transient-error`, `#fatal-error`), which not every product writes.
    """
    kind = detail(resource, "ehmiMessage", "ehmiMessageType")
    if kind == SBDH_ACKNOWLEDGEMENT:
        document = detail(resource, "ehmiMessageEnvelope", "ehmiMessageEnvelopeType")
        return Verdict.FATAL if document == _SBDH_EXCEPTION else Verdict.POSITIVE
    if kind == FHIR_ACKNOWLEDGEMENT:
        postfix = (detail(resource, "ehmiMessage", "ehmiStatisticalInfo") or "").rpartition("#")[2]
        if postfix == "ok":
            return Verdict.POSITIVE
        return next((one for one in (Verdict.TRANSIENT, Verdict.FATAL) if one == postfix), None)
    return None


def event_key(resource: Resource) -> tuple[str, str, str, str]:
    """What makes two reports the same one: device, sub type, message, envelope (decision D13)."""
    envelope = identifier(resource, "ehmiTransportEnvelope") or identifier(
        resource, "ehmiMessageEnvelope"
    )
    return (
        device_id(resource) or "",
        resource["subtype"][0]["code"],
        identifier(resource, "ehmiMessage") or "",
        envelope or "",
    )


def resource_id(resource: Resource) -> str:
    """The logical id that the component gives a report: the same report has the same one."""
    return str(uuid5(NAMESPACE_URL, ":".join(f"{len(p)}:{p}" for p in event_key(resource))))
