"""Shared facts of the delivery tests: an invented message between invented organisations."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from accesspoint.clock import ManualClock
from accesspoint.delivery.events import DeliveryEvent, DeliveryFacts, Station, SubType
from accesspoint.delivery.outbox import Outbox
from accesspoint.store.database import Database, sqlite_url

MESSAGE = DeliveryFacts(
    sender_sor="900000000000016",
    sender_gln="5790009990010",
    sender_name="TEST Fjordby Kommune",
    receiver_sor="900000000000024",
    receiver_gln="5790009990027",
    receiver_name="TEST Lægerne Havnegade",
    patient_id="2512489996",
    message_identifier="2d7c7fd1-56a5-44f2-9bf0-0f4ad0e7c0a1",
    standard="homecareobservation-message",
    type_version="1.1",
    message_envelope_identifier="c1f6a9b8-9f7d-4a41-8d0e-b5b4f70f3a02",
    message_envelope_type="Bundle",
    transport_envelope_identifier="7a4b5f54-2a8a-4a46-8d0f-4d2c8f1f5e03",
    transport_envelope_version="1.0",
    statistical_information="MCM:homecareobservation-message",
)


@pytest.fixture
def facts() -> DeliveryFacts:
    """The facts of one patient message, seen in its transport envelope."""
    return MESSAGE


@pytest.fixture
def acknowledgement_facts() -> DeliveryFacts:
    """The facts of the ehmiSBDH acknowledgement of that message: parties swapped, no patient."""
    return replace(
        MESSAGE,
        sender_sor=MESSAGE.receiver_sor,
        sender_gln=MESSAGE.receiver_gln,
        receiver_sor=MESSAGE.sender_sor,
        receiver_gln=MESSAGE.sender_gln,
        sender_name=None,
        receiver_name=None,
        patient_id=None,
        message_identifier="f3c0f7a4-40cf-4be3-93a0-6c2f6f7f0b04",
        standard="ehmisbdh-acknowledgement",
        type_version="ebbp-signals-2.0",
        message_envelope_type="ReceiptAcknowledgement",
        message_envelope_identifier="8e0e6d0e-9d8e-4b3f-8c0b-2f1f3a7c9d05",
        transport_envelope_identifier="5f6f0a52-6a49-4a64-9dd2-0c5b9a4f7e06",
        orig_message_identifier=MESSAGE.message_identifier,
        orig_standard=MESSAGE.standard,
        orig_version=MESSAGE.type_version,
        orig_envelope_identifier=MESSAGE.transport_envelope_identifier,
    )


@pytest.fixture
def event_of(facts: DeliveryFacts) -> Callable[..., DeliveryEvent]:
    """Make an event of the message; keywords replace its fields."""

    def make(**changes: Any) -> DeliveryEvent:
        event = DeliveryEvent(
            station=Station.AP,
            device_id="fjordby-ap",
            subtype=SubType.SENT,
            outcome="0",
            recorded_at=datetime(2026, 11, 21, 9, 30, 5, 123456, tzinfo=UTC),
            facts=facts,
        )
        return replace(event, **changes)

    return make


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """A fresh SQLite database with the tables of this program."""
    opened = await Database.open(sqlite_url(tmp_path / "store.db"))
    yield opened
    await opened.close()


@pytest.fixture
def clock() -> ManualClock:
    """A clock that moves only when a test says so."""
    return ManualClock(datetime(2026, 11, 21, 9, 30, tzinfo=UTC))


@pytest.fixture
def outbox(database: Database, clock: ManualClock) -> Outbox:
    """The outbox of a node that acts for the sender."""
    return Outbox(database, clock=clock, glns=[MESSAGE.sender_gln])
