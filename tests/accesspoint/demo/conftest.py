"""One delivery event as the status component takes it."""

from datetime import UTC, datetime
from typing import Any

import pytest

from accesspoint.delivery.auditevent import build_audit_event
from accesspoint.delivery.events import DeliveryEvent, DeliveryFacts, Station, SubType


@pytest.fixture
def audit_event() -> dict[str, Any]:
    facts = DeliveryFacts(
        sender_sor="900000000000016", sender_gln="5790000000012", sender_name="Eksempel Kommune",
        receiver_sor="900000000000024", receiver_gln="5790000000029", receiver_name="Lægehuset Eksempel",
        patient_id="2512489996", message_identifier="message-1", standard="homecareobservation-message",
        type_version="1.1", message_envelope_identifier="bundle-1", message_envelope_type="Bundle",
        transport_envelope_identifier="envelope-1", transport_envelope_version="1.0",
        statistical_information="MCM:homecareobservation-message",
    )  # fmt: skip
    return build_audit_event(
        DeliveryEvent(
            station=Station.AP_MSH,
            device_id="ap",
            subtype=SubType.SENT,
            outcome="0",
            recorded_at=datetime(2026, 11, 21, 9, 30, tzinfo=UTC),
            facts=facts,
        )
    )
