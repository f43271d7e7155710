"""The AuditEvent we write conforms, an independent FHIR model reads it, and each broken rule is found."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from fhir.resources.R4B.auditevent import AuditEvent
from hypothesis import given
from hypothesis import strategies as st

from accesspoint.delivery.auditevent import build_audit_event, check_audit_event
from accesspoint.delivery.events import DeliveryEvent, DeliveryFacts, Station, SubType

EVERY_STATION_AND_SUB_TYPE = [(station, subtype) for station in Station for subtype in SubType]


@pytest.fixture
def report(event_of: Callable[..., DeliveryEvent]) -> dict[str, Any]:
    return build_audit_event(event_of())


def entity(resource: dict[str, Any], code: str) -> dict[str, Any]:
    (found,) = [item for item in resource["entity"] if item["type"]["code"] == code]
    return dict(found)


@pytest.mark.parametrize(("station", "subtype"), EVERY_STATION_AND_SUB_TYPE)
def test_every_station_and_sub_type_conforms(
    event_of: Callable[..., DeliveryEvent], station: Station, subtype: SubType
) -> None:
    resource = build_audit_event(event_of(station=station, subtype=subtype))

    assert check_audit_event(resource) == []
    read = AuditEvent.model_validate_json(json.dumps(resource))
    assert read.source.type[0].code == station
    assert read.subtype[0].code == subtype


def test_a_patient_message_is_reported_with_the_patient_profile(report: dict[str, Any]) -> None:
    assert report["meta"]["profile"] == [
        "http://medcomehmi.dk/ig/eds/StructureDefinition/EdsPatientDeliveryStatus"
    ]
    patient = entity(report, "ehmiPatient")
    assert patient["what"]["identifier"] == {
        "value": "2512489996",
        "system": "urn:oid:1.2.208.176.1.2",
    }
    assert patient["role"]["code"] == "1"
    assert report["recorded"] == "2026-11-21T09:30:05.123+00:00"
    assert report["outcome"] == "0"
    assert report["source"]["observer"] == {"identifier": {"value": "fjordby-ap"}}


def test_parties_carry_sor_and_bare_gln(report: dict[str, Any]) -> None:
    sender, receiver = report["agent"]

    assert sender["who"]["identifier"]["value"] == "900000000000016"
    assert sender["extension"][0]["valueIdentifier"]["value"] == "5790009990010"
    assert (sender["requestor"], receiver["requestor"]) == (True, False)
    assert receiver["name"] == "TEST Lægerne Havnegade"


def test_a_replacement_number_does_not_claim_the_cpr_system(
    event_of: Callable[..., DeliveryEvent], facts: DeliveryFacts
) -> None:
    resource = build_audit_event(event_of(facts=replace(facts, patient_id="251248ABC1")))

    assert entity(resource, "ehmiPatient")["what"]["identifier"] == {"value": "251248ABC1"}
    assert check_audit_event(resource) == []


def test_an_acknowledgement_is_reported_with_the_basic_profile_and_both_originals(
    event_of: Callable[..., DeliveryEvent], acknowledgement_facts: DeliveryFacts
) -> None:
    resource = build_audit_event(event_of(facts=acknowledgement_facts))

    assert check_audit_event(resource) == []
    assert resource["meta"]["profile"][0].endswith("/EdsBasicDeliveryStatus")
    assert [item["type"]["code"] for item in resource["entity"]] == [
        "ehmiMessage",
        "ehmiMessageEnvelope",
        "ehmiTransportEnvelope",
        "ehmiOrigMessage",
        "ehmiOrigTransportEnvelope",
    ]
    assert entity(resource, "ehmiOrigMessage")["detail"] == [
        {"type": "ehmiMessageType", "valueString": "homecareobservation-message"},
        {"type": "ehmiMessageVersion", "valueString": "1.1"},
    ]
    assert "name" not in resource["agent"][0]


def test_a_failure_carries_no_reason(event_of: Callable[..., DeliveryEvent]) -> None:
    resource = build_audit_event(event_of(outcome="8"))

    assert resource["outcome"] == "8"
    assert "outcomeDesc" not in resource
    assert check_audit_event(resource) == []


def put(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(resource: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        target: Any = resource
        for step in parents:
            target = target[int(step)] if step.isdigit() else target[step]
        if value is DROP and isinstance(target, list):
            target.pop(int(last))
        elif value is DROP:
            del target[last]
        elif isinstance(target, list):
            target[int(last) : int(last) + 1] = [value]
        else:
            target[last] = value

    return change


DROP = object()
BROKEN = [
    ("AuditEvent", put("resourceType", "Patient")),
    ("AuditEvent", put("severity", "high")),
    ("AuditEvent.meta.profile", put("meta", DROP)),
    ("AuditEvent.type", put("type", DROP)),
    ("AuditEvent.type", put("type.code", "rest")),
    ("AuditEvent.type.display", put("type.display", "something else")),
    ("AuditEvent.subtype", put("subtype", [])),
    ("AuditEvent.subtype[0]", put("subtype.0.code", "msg-lost")),
    ("AuditEvent.subtype[0]", put("subtype.0.system", DROP)),
    ("AuditEvent.action", put("action", "U")),
    ("AuditEvent.recorded", put("recorded", DROP)),
    ("AuditEvent.recorded", put("recorded", "2026-11-21")),
    ("AuditEvent.recorded", put("recorded", "2026-02-30T09:30:05Z")),
    ("AuditEvent.recorded", put("recorded", "2026-11-21T09:30:05")),
    ("AuditEvent.recorded", put("recorded", "9999-12-31T23:59:59Z")),
    ("AuditEvent.recorded", put("recorded", "0001-01-01T00:00:00Z")),
    ("AuditEvent.outcome", put("outcome", "4")),
    ("AuditEvent.outcome", put("outcome", DROP)),
    ("AuditEvent.period", put("period", {})),
    ("AuditEvent.outcomeDesc", put("outcomeDesc", "no answer")),
    ("AuditEvent.purposeOfEvent", put("purposeOfEvent", [])),
    ("AuditEvent.agent", put("agent.1", DROP)),
    ("AuditEvent.agent:ehmiReceiver", put("agent.1", DROP)),
    ("AuditEvent.agent[0].requestor", put("agent.0.requestor", "true")),
    ("AuditEvent.agent[0].who", put("agent.0.who", DROP)),
    ("AuditEvent.agent[0].who.identifier", put("agent.0.who", {"display": "TEST"})),
    ("AuditEvent.agent[0].who", put("agent.0.who.reference", "Patient/1")),
    ("AuditEvent.agent:ehmiSender", put("agent.0.type.coding.0.code", "ehmiReceiver")),
    (
        "AuditEvent.agent[0].extension[0].valueIdentifier.type",
        put("agent.0.extension.0.valueIdentifier.type", DROP),
    ),
    (
        "AuditEvent.agent[0].extension[0].valueIdentifier.value",
        put("agent.0.extension.0.valueIdentifier.value", DROP),
    ),
    ("AuditEvent.source.observer", put("source.observer", DROP)),
    ("AuditEvent.source.observer.identifier", put("source.observer.identifier", {"value": ""})),
    ("AuditEvent.source.observer.type", put("source.observer.type", "Device")),
    ("AuditEvent.source.observer.reference", put("source.observer.reference", "Patient/1")),
    ("AuditEvent.source.type", put("source.type", [])),
    ("AuditEvent.source.type[0]", put("source.type.0.code", "C3")),
    ("AuditEvent.entity:ehmiPatient", put("entity.0", DROP)),
    ("AuditEvent.entity[0].role", put("entity.0.role", DROP)),
    ("AuditEvent.entity[0].role", put("entity.0.role.code", "4")),
    ("AuditEvent.entity:ehmiMessage", put("entity.1", DROP)),
    ("AuditEvent.entity[1].type.display", put("entity.1.type.display", DROP)),
    ("AuditEvent.entity[1].what.identifier", put("entity.1.what", {"display": "a message"})),
    (
        "AuditEvent.entity[1].what.identifier.value",
        put("entity.1.what.identifier", {"use": "usual"}),
    ),
    ("AuditEvent.entity[1].detail:ehmiMessageVersion", put("entity.1.detail.1", DROP)),
    ("AuditEvent.entity[1].detail", put("entity.1.detail", [])),
    (
        "AuditEvent.entity[1].detail",
        put("entity.1.detail.2", {"type": "ehmiMood", "valueString": "good"}),
    ),
    (
        "AuditEvent.entity[1].detail[0].value[x]",
        put("entity.1.detail.0", {"type": "ehmiMessageType", "valueBase64Binary": "TQ=="}),
    ),
    ("AuditEvent.entity[1].detail[0].type", put("entity.1.detail.0.type", DROP)),
    (
        "AuditEvent.entity[3].detail",
        put("entity.3.detail.2", {"type": "ehmiTransportEnvelopeType", "valueString": "XHE"}),
    ),
    ("AuditEvent.entity:ehmiTransportEnvelope", put("entity.2.type.code", "ehmiTransportEnvelope")),
]


@pytest.mark.parametrize(
    ("path", "change"), BROKEN, ids=[f"{n}-{p}" for n, (p, _) in enumerate(BROKEN)]
)
def test_a_broken_rule_is_found_at_its_element(
    report: dict[str, Any], path: str, change: Callable[[dict[str, Any]], None]
) -> None:
    change(report)

    violations = check_audit_event(report)

    assert path in [violation.path for violation in violations]
    assert "2512489996" not in repr(violations)


def test_more_than_four_agents_are_refused_and_extra_ones_up_to_four_are_not(
    report: dict[str, Any],
) -> None:
    extra = {"requestor": False, "name": "TEST support"}
    report["agent"] += [extra, extra]
    assert check_audit_event(report) == []

    report["agent"].append(extra)
    assert [violation.path for violation in check_audit_event(report)] == ["AuditEvent.agent"]


def test_an_additional_entity_is_legal(report: dict[str, Any]) -> None:
    report["entity"].append(
        {
            "type": {"system": "urn:example", "code": "queue", "display": "Queue"},
            "what": {"identifier": {"value": "7"}},
        }
    )

    assert check_audit_event(report) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(JSON)
def test_any_json_gets_an_answer(value: Any) -> None:
    assert check_audit_event(value)


@given(data=st.data())
def test_any_damage_to_any_element_gets_an_answer(data: st.DataObject) -> None:
    facts = DeliveryFacts(*["1"] * 6, "2512489996", "m", "s", "v", "b", "Bundle", "e", "1.0")
    at_time = "2026-11-21T09:30:05+00:00"
    resource = build_audit_event(
        DeliveryEvent(Station.AP, "d", SubType.SENT, "0", datetime.fromisoformat(at_time), facts)
    )
    damaged = copy.deepcopy(resource)
    target: Any = damaged
    while True:
        keys = list(range(len(target))) if isinstance(target, list) else list(target)
        key = data.draw(st.sampled_from(keys))
        if isinstance(target[key], (dict, list)) and target[key] and data.draw(st.booleans()):
            target = target[key]
            continue
        target[key] = data.draw(JSON)
        break

    assert isinstance(check_audit_event(damaged), list)
