"""The FHIR AuditEvent of a delivery event: writing it, and checking one element by element. Both pure.

`build_audit_event` writes the patient profile where the facts name a patient and the basic one
otherwise. `check_audit_event` is what the status component asks of a report; our own reports pass it.
A violation names the element and the rule, never a value, so that it can be logged and answered.

Spec: EdsBasicDeliveryStatus and EdsPatientDeliveryStatus of EHMI delivery status 1.0.2; FHIR R4.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import MAXYEAR, MINYEAR, UTC, datetime
from typing import Any, Final

from accesspoint.delivery import terminology as eds
from accesspoint.delivery.events import DeliveryEvent, DeliveryFacts

_CPR: Final = re.compile(r"[0-9]{10}", re.ASCII)
_INSTANT: Final = re.compile(
    r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
    r"(\.[0-9]{1,9})?(Z|[+-](0[0-9]|1[0-4]):[0-5][0-9])",
    re.ASCII,
)
_ELEMENTS: Final = frozenset(
    [
        "resourceType",
        "id",
        "meta",
        "implicitRules",
        "language",
        "text",
        "contained",
        "extension",
        "modifierExtension",
        "type",
        "subtype",
        "action",
        "period",
        "recorded",
        "outcome",
        "outcomeDesc",
        "purposeOfEvent",
        "agent",
        "source",
        "entity",
    ]
)


@dataclass(frozen=True, slots=True)
class Violation:
    """One rule an AuditEvent breaks: the element's path and the rule in words, without its value."""

    path: str
    rule: str


@dataclass(frozen=True, slots=True)
class _DetailSlice:
    """One entity slice: what its details may be, each with its cardinality, and how many there are."""

    details: dict[str, tuple[int, int]]
    minimum: int
    maximum: int
    closed: bool = True


_ENTITY_SLICES: Final = {
    "ehmiMessage": _DetailSlice(
        {"ehmiMessageType": (1, 1), "ehmiMessageVersion": (1, 1), "ehmiStatisticalInfo": (0, 1)},
        2,
        3,
    ),
    "ehmiMessageEnvelope": _DetailSlice({"ehmiMessageEnvelopeType": (0, 1)}, 0, 1),
    "ehmiTransportEnvelope": _DetailSlice(
        {"ehmiTransportEnvelopeType": (0, 1), "ehmiTransportEnvelopeVersion": (0, 1)}, 0, 2
    ),
    "ehmiOrigMessage": _DetailSlice(
        {"ehmiMessageType": (1, 1), "ehmiMessageVersion": (1, 1)}, 2, 2
    ),
    "ehmiOrigTransportEnvelope": _DetailSlice({}, 0, 2, closed=False),
}


def build_audit_event(event: DeliveryEvent) -> dict[str, Any]:
    """Write a delivery event as a FHIR R4 AuditEvent in JSON shape.

    Spec: EdsPatientDeliveryStatus when the facts have a patient, else EdsBasicDeliveryStatus.
    """
    facts = event.facts
    profile = eds.PATIENT_DELIVERY_STATUS if facts.patient_id else eds.BASIC_DELIVERY_STATUS
    return {
        "resourceType": "AuditEvent",
        "meta": {"profile": [profile]},
        "type": eds.TYPES.coding("ehmiMessaging"),
        "subtype": [eds.SUB_TYPES.coding(event.subtype)],
        "action": "C",
        "recorded": event.recorded_at.isoformat(timespec="milliseconds"),
        "outcome": event.outcome,
        "agent": [
            _agent("ehmiSender", facts.sender_sor, facts.sender_gln, facts.sender_name),
            _agent("ehmiReceiver", facts.receiver_sor, facts.receiver_gln, facts.receiver_name),
        ],
        "source": {
            "observer": {"identifier": {"value": event.device_id}},
            "type": [eds.SOURCE_TYPES.coding(event.station)],
        },
        "entity": list(_entities(facts)),
    }


def _agent(role: str, sor: str, gln: str, name: str | None) -> dict[str, Any]:
    kind = {"system": eds.IDENTIFIER_TYPES.uri, "code": "GLN"}
    agent: dict[str, Any] = {
        "extension": [
            {
                "url": eds.OTHER_ID,
                "valueIdentifier": {
                    "type": {"coding": [kind]},
                    "system": eds.GLN_SYSTEM,
                    "value": gln,
                },
            }
        ],
        "type": {"coding": [eds.ROLES.coding(role)]},
        "who": {"identifier": {"system": eds.SOR_SYSTEM, "value": sor}},
    }
    if name:
        agent["name"] = name
    agent["requestor"] = role == "ehmiSender"
    return agent


def _entities(facts: DeliveryFacts) -> Iterator[dict[str, Any]]:
    if facts.patient_id:
        patient = _entity("ehmiPatient", facts.patient_id)
        # A replacement number is not a CPR number and must not claim its system.
        if _CPR.fullmatch(facts.patient_id):
            patient["what"]["identifier"]["system"] = eds.CPR_SYSTEM
        patient["role"] = eds.PATIENT_ROLE.coding("1")
        yield patient
    yield _entity(
        "ehmiMessage",
        facts.message_identifier,
        ("ehmiMessageType", facts.standard),
        ("ehmiMessageVersion", facts.type_version),
        ("ehmiStatisticalInfo", facts.statistical_information),
    )
    if facts.message_envelope_identifier:
        yield _entity(
            "ehmiMessageEnvelope",
            facts.message_envelope_identifier,
            ("ehmiMessageEnvelopeType", facts.message_envelope_type),
        )
    if facts.transport_envelope_identifier:
        yield _entity(
            "ehmiTransportEnvelope",
            facts.transport_envelope_identifier,
            ("ehmiTransportEnvelopeType", "SBDH"),
            ("ehmiTransportEnvelopeVersion", facts.transport_envelope_version),
        )
    if facts.orig_message_identifier:
        yield _entity(
            "ehmiOrigMessage",
            facts.orig_message_identifier,
            ("ehmiMessageType", facts.orig_standard or "unknown"),
            ("ehmiMessageVersion", facts.orig_version or "unknown"),
        )
    if facts.orig_envelope_identifier:
        yield _entity(
            "ehmiOrigTransportEnvelope",
            facts.orig_envelope_identifier,
            ("ehmiTransportEnvelopeType", "SBDH"),
        )


def _entity(kind: str, identifier: str, *details: tuple[str, str | None]) -> dict[str, Any]:
    entity: dict[str, Any] = {
        "what": {"identifier": {"value": identifier}},
        "type": eds.ENTITY_TYPES.coding(kind),
    }
    if present := [{"type": name, "valueString": value} for name, value in details if value]:
        entity["detail"] = present
    return entity


def check_audit_event(resource: object) -> list[Violation]:
    """Check a report against the profile it claims and return every violation, none when it conforms.

    `resource` is parsed JSON of any shape: nothing about it is taken for granted.
    """
    return list(_check_resource(resource))


def _check_resource(resource: object) -> Iterator[Violation]:
    if not isinstance(resource, dict) or resource.get("resourceType") != "AuditEvent":
        yield Violation("AuditEvent", "is not an AuditEvent")
        return
    for name in resource:
        if name.removeprefix("_") not in _ELEMENTS:
            yield Violation("AuditEvent", "has an element that FHIR R4 does not define")
            break
    profiles = _as_list(_as_dict(resource.get("meta")).get("profile"))
    of_patient = eds.PATIENT_DELIVERY_STATUS in profiles
    if not of_patient and eds.BASIC_DELIVERY_STATUS not in profiles:
        yield Violation("AuditEvent.meta.profile", "names neither delivery status profile")

    yield from _check_coding(
        "AuditEvent.type", resource.get("type"), eds.TYPES, eds.FHIR_TYPE_SYSTEMS
    )
    subtypes = _as_list(resource.get("subtype"))
    if len(subtypes) != 1:
        yield Violation("AuditEvent.subtype", "exactly one")
    for index, subtype in enumerate(subtypes):
        path = f"AuditEvent.subtype[{index}]"
        yield from _check_coding(path, subtype, eds.SUB_TYPES, eds.FHIR_SUB_TYPE_SYSTEMS)
    if resource.get("action") != "C":
        yield Violation("AuditEvent.action", "fixed value C")
    recorded = resource.get("recorded")
    if not isinstance(recorded, str) or not _is_instant(recorded):
        yield Violation("AuditEvent.recorded", "an instant with seconds and offset")
    if resource.get("outcome") not in ("0", "8"):
        yield Violation("AuditEvent.outcome", "0 or 8")
    for forbidden in ("period", "outcomeDesc", "purposeOfEvent"):
        if forbidden in resource or "_" + forbidden in resource:
            yield Violation(f"AuditEvent.{forbidden}", "not allowed")
    yield from _check_agents(_as_list(resource.get("agent")))
    yield from _check_source(resource.get("source"))
    yield from _check_entities(_as_list(resource.get("entity")), of_patient=of_patient)


def _check_agents(agents: Sequence[object]) -> Iterator[Violation]:
    if not 2 <= len(agents) <= 4:
        yield Violation("AuditEvent.agent", "two to four")
    slices = {"ehmiSender": 0, "ehmiReceiver": 0}
    for index, item in enumerate(agents):
        path = f"AuditEvent.agent[{index}]"
        agent = _as_dict(item)
        if not _is_list_of_objects(
            _as_dict(agent.get("type", {})).get("coding", [])
        ) or not isinstance(agent.get("type", {}), dict):
            yield Violation(f"{path}.type", "a CodeableConcept")
        if not _is_list_of_objects(agent.get("extension", [])):
            yield Violation(f"{path}.extension", "a list of extensions")
        if not isinstance(agent.get("requestor"), bool):
            yield Violation(f"{path}.requestor", "exactly one boolean")
        role = _role(agent)
        if role in slices:
            slices[role] += 1
            yield from _check_party(path, agent, role)
        for position, extension in enumerate(_as_list(agent.get("extension"))):
            if _as_dict(extension).get("url") == eds.OTHER_ID:
                yield from _check_other_id(f"{path}.extension[{position}]", _as_dict(extension))
    for role, count in slices.items():
        if count != 1:
            yield Violation(f"AuditEvent.agent:{role}", "exactly one")


def _role(agent: dict[str, Any]) -> str | None:
    for coding in _as_list(_as_dict(agent.get("type")).get("coding")):
        found = _as_dict(coding)
        if found.get("system") == eds.ROLES.uri and isinstance(found.get("code"), str):
            return str(found["code"])
    return None


def _check_party(path: str, agent: dict[str, Any], role: str) -> Iterator[Violation]:
    codings = _as_list(_as_dict(agent.get("type")).get("coding"))
    if len(codings) != 1:
        yield Violation(f"{path}.type", f"fixed coding {role}")
    for coding in codings:
        yield from _check_coding(f"{path}.type.coding", coding, eds.ROLES)
    if "name" in agent and not _is_text(agent["name"]):
        yield Violation(f"{path}.name", "a string")
    who = _as_dict(agent.get("who"))
    if not who:
        yield Violation(f"{path}.who", "exactly one reference")
    elif not _is_text(_as_dict(who.get("identifier")).get("value")):
        yield Violation(f"{path}.who.identifier", "exactly one identifier, the SOR id")
    if who.get("type") not in (None, "Organization") or not _may_refer_to(who, "Organization"):
        yield Violation(f"{path}.who", "refers to an Organization")


def _check_other_id(path: str, extension: dict[str, Any]) -> Iterator[Violation]:
    identifier = _as_dict(extension.get("valueIdentifier"))
    codings = _as_list(_as_dict(identifier.get("type")).get("coding"))
    kinds = [(_as_dict(item).get("system"), _as_dict(item).get("code")) for item in codings]
    if kinds != [(eds.IDENTIFIER_TYPES.uri, "GLN")]:
        yield Violation(f"{path}.valueIdentifier.type", "fixed coding GLN")
    if not _is_text(identifier.get("value")):
        yield Violation(f"{path}.valueIdentifier.value", "exactly one")


def _check_source(source: object) -> Iterator[Violation]:
    observer = _as_dict(_as_dict(source).get("observer"))
    if not observer:
        yield Violation("AuditEvent.source.observer", "exactly one reference")
    elif "identifier" in observer and not _is_text(_as_dict(observer["identifier"]).get("value")):
        yield Violation("AuditEvent.source.observer.identifier", "has a value, the device id")
    if not _may_refer_to(observer, "Device"):
        yield Violation("AuditEvent.source.observer.reference", "refers to a Device")
    if observer.get("type") not in (None, "ehmiDevice"):
        yield Violation("AuditEvent.source.observer.type", "ehmiDevice when present")
    types = _as_list(_as_dict(source).get("type"))
    if len(types) != 1:
        yield Violation("AuditEvent.source.type", "exactly one")
    for coding in types:
        yield from _check_coding("AuditEvent.source.type[0]", coding, eds.SOURCE_TYPES)


def _check_entities(entities: Sequence[object], *, of_patient: bool) -> Iterator[Violation]:
    minimum = 3 if of_patient else 2
    if len(entities) < minimum:
        yield Violation("AuditEvent.entity", f"at least {minimum}")
    counts = dict.fromkeys(["ehmiPatient", *_ENTITY_SLICES], 0)
    for index, item in enumerate(entities):
        path = f"AuditEvent.entity[{index}]"
        entity = _as_dict(item)
        kind = _as_dict(entity.get("type"))
        for part in ("system", "code", "display"):
            if not _is_text(kind.get(part)):
                yield Violation(f"{path}.type.{part}", "exactly one")
        identifier = _as_dict(_as_dict(entity.get("what")).get("identifier"))
        if not identifier:
            yield Violation(f"{path}.what.identifier", "exactly one")
        yield from _check_details(path, entity)
        code = kind.get("code")
        if kind.get("system") != eds.ENTITY_TYPES.uri or not isinstance(code, str):
            continue
        yield from _check_coding(f"{path}.type", kind, eds.ENTITY_TYPES)
        if code not in counts:
            continue
        counts[code] += 1
        if not _is_text(identifier.get("value")):
            yield Violation(f"{path}.what.identifier.value", f"the id of {code}")
        if code == "ehmiPatient":
            yield from _check_coding(f"{path}.role", entity.get("role"), eds.PATIENT_ROLE)
        else:
            yield from _check_slice(path, entity, _ENTITY_SLICES[code])
    for kind_code, count in counts.items():
        required = kind_code == "ehmiMessage" or (kind_code == "ehmiPatient" and of_patient)
        if required and count != 1:
            yield Violation(f"AuditEvent.entity:{kind_code}", "exactly one")
        elif count > 1:
            yield Violation(f"AuditEvent.entity:{kind_code}", "at most one")


def _check_details(path: str, entity: dict[str, Any]) -> Iterator[Violation]:
    if not _is_list_of_objects(entity.get("detail", [])):
        yield Violation(f"{path}.detail", "a list of details")
    for position, item in enumerate(_as_list(entity.get("detail"))):
        detail = _as_dict(item)
        if not _is_text(detail.get("type")):
            yield Violation(f"{path}.detail[{position}].type", "exactly one string")
        values = [name for name in detail if name.startswith("value")]
        if values != ["valueString"] or not _is_text(detail["valueString"]):
            yield Violation(f"{path}.detail[{position}].value[x]", "exactly one valueString")


def _check_slice(path: str, entity: dict[str, Any], rule: _DetailSlice) -> Iterator[Violation]:
    kinds = (_as_dict(item).get("type") for item in _as_list(entity.get("detail")))
    # What is no text is told above; here it only counts as a kind that the slice does not have.
    found = [kind if isinstance(kind, str) else "" for kind in kinds]
    if not rule.minimum <= len(found) <= rule.maximum:
        yield Violation(f"{path}.detail", f"{rule.minimum} to {rule.maximum}")
    for name, (least, most) in rule.details.items():
        if not least <= found.count(name) <= most:
            yield Violation(f"{path}.detail:{name}", f"{least} to {most}")
    if rule.closed and any(name not in rule.details for name in found):
        yield Violation(f"{path}.detail", "closed: " + ", ".join(rule.details))


def _check_coding(
    path: str, value: object, system: eds.CodeSystem, admitted: frozenset[str] = frozenset()
) -> Iterator[Violation]:
    coding = _as_dict(value)
    if not _is_text(coding.get("system")) or not _is_text(coding.get("code")):
        yield Violation(path, "a Coding with system and code")
        return
    if coding["system"] in admitted:
        return
    if coding["system"] != system.uri or coding["code"] not in system.displays:
        yield Violation(path, f"a code of {system.uri}")
    elif coding.get("display") not in (None, system.displays[coding["code"]]):
        yield Violation(f"{path}.display", "the display of its code")


def _may_refer_to(reference: dict[str, Any], kind: str) -> bool:
    """Say whether a literal reference can be to this type; one into the resource or a URN cannot tell."""
    literal = reference.get("reference", "#")
    if not isinstance(literal, str):
        return False
    return literal.startswith(("#", "urn:")) or kind in literal.split("/")[:-1]


def _is_instant(value: str) -> bool:
    if not _INSTANT.fullmatch(value):
        return False
    try:
        at = datetime.fromisoformat(value).astimezone(UTC)
    except (ValueError, OverflowError):
        return False
    # It has to have a place in the calendar of every zone: whoever reads it may write it in another.
    return MINYEAR < at.year < MAXYEAR


def _as_dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _as_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_list_of_objects(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())
