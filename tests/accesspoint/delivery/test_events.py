"""Delivery events: facts from an envelope header, and ids that a repeated report shares."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accesspoint.delivery.events import DeliveryEvent, DeliveryFacts, Station, SubType, event_id
from envelope.errors import LocalProtocolError, SbdRefused
from envelope.sbdh_values import Identifier, Scope, StandardBusinessDocumentHeader

HOME_CARE_SCOPES = {
    "SENDERID": "900000000000016",
    "RECEIVERID": "900000000000024",
    "PATIENTID": "2512489996",
    "MESSAGEIDENTIFIER": "m-1",
    "MESSAGEENVELOPEIDENTIFIER": "b-1",
    "StatisticalInformation": "MCM:homecareobservation-message",
}


def header(scopes: dict[str, str]) -> StandardBusinessDocumentHeader:
    return StandardBusinessDocumentHeader(
        sender=Identifier("0088:5790009990010"),
        receiver=Identifier("0088:5790009990027"),
        standard="homecareobservation-message",
        type_version="1.1",
        instance_identifier="e-1",
        creation_date_and_time="2026-11-21T10:30:00+01:00",
        scopes=tuple(Scope(kind, value) for kind, value in scopes.items()),
        binary_content_mime_type="application/fhir+json",
    )


def test_facts_of_a_header_name_parties_message_and_both_envelopes() -> None:
    facts = DeliveryFacts.from_header(header(HOME_CARE_SCOPES), with_envelope=True)

    assert (facts.sender_gln, facts.sender_sor) == ("5790009990010", "900000000000016")
    assert (facts.receiver_gln, facts.receiver_sor) == ("5790009990027", "900000000000024")
    assert (facts.patient_id, facts.message_identifier) == ("2512489996", "m-1")
    assert (facts.message_envelope_identifier, facts.message_envelope_type) == ("b-1", "Bundle")
    assert (facts.transport_envelope_identifier, facts.transport_envelope_version) == ("e-1", "1.0")
    assert facts.statistical_information == "MCM:homecareobservation-message"
    assert facts.orig_message_identifier is None
    assert facts.orig_standard is None


def test_a_station_outside_the_envelope_does_not_name_it() -> None:
    facts = DeliveryFacts.from_header(header(HOME_CARE_SCOPES), with_envelope=False)

    assert facts.transport_envelope_identifier is None
    assert facts.transport_envelope_version is None
    assert facts.envelope_identifier == "b-1"


def test_an_acknowledgement_without_original_standard_says_unknown() -> None:
    scopes = HOME_CARE_SCOPES | {"ORIGINALMESSAGEIDENTIFIER": "m-0"}
    facts = DeliveryFacts.from_header(header(scopes), with_envelope=True)

    assert (facts.orig_message_identifier, facts.orig_standard, facts.orig_version) == (
        "m-0",
        "unknown",
        "unknown",
    )


@pytest.mark.parametrize("missing", ["SENDERID", "RECEIVERID", "MESSAGEIDENTIFIER"])
def test_a_header_without_a_needed_scope_is_refused(missing: str) -> None:
    scopes = {kind: value for kind, value in HOME_CARE_SCOPES.items() if kind != missing}

    with pytest.raises(SbdRefused, match=missing) as refused:
        DeliveryFacts.from_header(header(scopes), with_envelope=True)

    assert refused.value.reason == "sbd.scope"
    assert "2512489996" not in str(refused.value)


def test_facts_without_any_envelope_are_a_mistake_of_ours(facts: DeliveryFacts) -> None:
    with pytest.raises(LocalProtocolError):
        replace(facts, message_envelope_identifier=None, transport_envelope_identifier=None)


def test_a_time_without_zone_is_a_mistake_of_ours(event_of: Callable[..., DeliveryEvent]) -> None:
    with pytest.raises(LocalProtocolError):
        event_of(recorded_at=datetime(2026, 11, 21, 9, 30))  # noqa: DTZ001


def test_no_repr_shows_the_patient(event_of: Callable[..., DeliveryEvent]) -> None:
    assert "2512489996" not in repr(event_of())


def test_an_event_reported_again_has_the_same_id(event_of: Callable[..., DeliveryEvent]) -> None:
    first = event_of()
    again = event_of(
        recorded_at=first.recorded_at.replace(hour=11), outcome="8", station=Station.MSH
    )

    assert event_id(first) == event_id(again)
    assert event_id(first).version == 5


def test_each_part_of_the_id_matters(
    event_of: Callable[..., DeliveryEvent], facts: DeliveryFacts
) -> None:
    events = [
        event_of(),
        event_of(device_id="havnegade-ap"),
        event_of(subtype=SubType.RECEIVED),
        event_of(facts=replace(facts, message_identifier="other")),
        event_of(facts=replace(facts, transport_envelope_identifier="resent")),
    ]

    assert len({event_id(event) for event in events}) == len(events)


@given(st.text(min_size=1), st.text(min_size=1), st.text(min_size=1))
def test_no_split_of_the_same_text_meets_another(left: str, middle: str, right: str) -> None:
    def identify(device_id: str, message_identifier: str) -> object:
        facts = DeliveryFacts(
            *["1"] * 6, None, message_identifier, "s", "v", "b", "Bundle"
        )  # fmt: skip
        at = datetime.fromisoformat("2026-11-21T09:30:05+00:00")
        return event_id(DeliveryEvent(Station.AP, device_id, SubType.SENT, "0", at, facts))

    assert identify(left + middle, right) != identify(left, middle + right)
