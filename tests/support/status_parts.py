"""Reports as the status component takes them, of invented organisations and a national test person."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from accesspoint.delivery.auditevent import build_audit_event
from accesspoint.delivery.events import DeliveryEvent, DeliveryFacts, Station, SubType

CPR = "2512489996"
FACTS = DeliveryFacts(
    sender_sor="900000000000016",
    sender_gln="5790009990010",
    sender_name="TEST Fjordby Kommune",
    receiver_sor="900000000000024",
    receiver_gln="5790009990027",
    receiver_name="TEST Lægerne Havnegade",
    patient_id=CPR,
    message_identifier="m-1",
    standard="homecareobservation-message",
    type_version="1.1",
    message_envelope_identifier="b-1",
    message_envelope_type="Bundle",
    transport_envelope_identifier="e-1",
    transport_envelope_version="1.0",
)
NOBODY = "https://127.0.0.1:1"
STATUS_AWAY = {
    "endpoint": NOBODY,
    "token_endpoint": NOBODY,
    "client_ids": {"EUA": "c", "MSH": "c", "AP": "c"},
}
"""The section of a configuration whose status component nobody runs: reports are made and stay."""
AT = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)


def report(
    facts: DeliveryFacts = FACTS, *, device_id: str = "fjordby-ap", subtype: SubType = SubType.SENT
) -> dict[str, Any]:
    return build_audit_event(DeliveryEvent(Station.AP, device_id, subtype, "0", AT, facts))


def chain() -> list[dict[str, Any]]:
    """A message, its acknowledgement, the acknowledgement of that one, and a stranger."""
    first = replace(FACTS, patient_id=None)
    second = replace(
        first,
        message_identifier="m-2",
        orig_message_identifier="m-1",
        orig_standard="s",
        orig_version="v",
    )
    third = replace(second, message_identifier="m-3", orig_message_identifier="m-2")
    stranger = replace(first, message_identifier="x")
    return [report(facts) for facts in (third, first, stranger, second)]
