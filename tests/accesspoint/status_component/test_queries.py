"""What pages are made from: journeys, lists and counts, of what may be seen and of nothing else."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from status_parts import AT, CPR, FACTS, report

from accesspoint.delivery.auditevent import build_audit_event
from accesspoint.delivery.events import DeliveryEvent, Outcome, Station, SubType
from accesspoint.status_component.access import Seen
from accesspoint.status_component.queries import (
    Count,
    Filters,
    Negative,
    State,
    Step,
    count_messages,
    count_negative,
    find_journey,
    find_messages_by_envelope,
    list_messages,
)
from accesspoint.status_component.store import EventStore

ACKNOWLEDGEMENT = replace(
    FACTS,
    patient_id=None,
    message_identifier="a-1",
    standard="ehmisbdh-acknowledgement",
    orig_message_identifier="m-1",
    orig_standard=FACTS.standard,
    orig_version="1.1",
    transport_envelope_identifier="ae-1",
)


def event(
    identifier: str, subtype: SubType, minutes: float, *, outcome: Outcome = "0", **facts: Any
) -> dict[str, Any]:
    given = replace(FACTS, message_identifier=identifier, **facts)
    at = AT + timedelta(minutes=minutes)
    return build_audit_event(
        DeliveryEvent(Station.AP, f"device-{subtype}", subtype, outcome, at, given)
    )


@pytest.fixture
async def filled(store: EventStore) -> EventStore:
    """m-1 arrived, m-2 is under way, m-3 was given up, m-4 (of December, of another type) was refused."""
    events = [
        event("m-1", SubType.RECEIVED_AND_FINALIZED, 2),
        event("m-1", SubType.CREATED_AND_SENT, 0),
        report(ACKNOWLEDGEMENT),
        event("m-2", SubType.CREATED_AND_SENT, 3, patient_id="0101010101"),
        event("m-3", SubType.SENT, 4, outcome="8", receiver_sor="77"),
        event("m-4", SubType.RECEIVED, 30 * 24 * 60, outcome="8", standard="hospital"),
    ]
    for resource in events:
        await store.add(resource, received_at=AT)
    return store


async def listed(store: EventStore, seen: Seen | None = None, **filters: Any) -> list[str]:
    found = await store.database.read(lambda tx: list_messages(tx, Filters(**filters), seen=seen))
    return [message.identifier for message in found]


async def test_a_journey_is_a_message_with_its_events_in_order_and_what_answers_it(
    filled: EventStore,
) -> None:
    journey = await filled.database.read(lambda tx: find_journey(tx, "M-1"))

    assert journey is not None
    message, answer = journey.messages
    assert (message.identifier, message.state, message.answers) == ("m-1", State.FINALIZED, None)
    assert (answer.identifier, answer.state, answer.answers) == ("a-1", State.UNDERWAY, "m-1")
    assert [e.subtype for e in journey.of(message)] == [
        "msg-created-and-sent",
        "msg-received-and-finalized",
    ]
    assert message.sender.glns == (FACTS.sender_gln,)
    assert message.finalized_at == AT + timedelta(minutes=2)
    assert CPR not in repr(message)


async def test_nothing_is_found_of_a_stranger(filled: EventStore) -> None:
    assert await filled.database.read(lambda tx: find_journey(tx, "m-9")) is None
    stranger = Seen(patient="0101010101")
    assert await filled.database.read(lambda tx: find_journey(tx, "m-1", seen=stranger)) is None


async def test_messages_are_found_by_each_envelope(filled: EventStore) -> None:
    async def found(identifier: str) -> list[str]:
        return await filled.database.read(lambda tx: find_messages_by_envelope(tx, identifier))

    assert await found("ae-1") == ["a-1"]
    assert "m-1" in await found("b-1")
    assert await found("m-2") == ["m-2"]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, ["m-4", "m-3", "m-2", "m-1"]),
        ({"with_answers": True, "start": AT, "end": AT + timedelta(minutes=1)}, ["a-1", "m-1"]),
        ({"state": State.UNDERWAY}, ["m-2"]),
        ({"state": State.FINALIZED}, ["m-1"]),
        ({"state": State.UNDELIVERED}, ["m-3"]),
        ({"state": State.REFUSED}, ["m-4"]),
        ({"standard": "hospital"}, ["m-4"]),
        ({"patient": "0101010101"}, ["m-2"]),
        ({"receiver": "77"}, ["m-3"]),
        ({"party": "5790009990010", "end": AT + timedelta(minutes=1)}, ["m-1"]),
        ({"sender": "test fjord", "limit": 1}, ["m-4"]),
        ({"sender": "havnegade"}, []),
    ],
)
async def test_filters(filled: EventStore, filters: Any, expected: list[str]) -> None:
    assert await listed(filled, **filters) == expected


async def test_pages_of_a_list_follow_each_other(filled: EventStore) -> None:
    [first] = await filled.database.read(lambda tx: list_messages(tx, Filters(limit=1)))

    assert await listed(filled, after=(first.first_at, first.position)) == ["m-3", "m-2", "m-1"]


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (Seen(device="device-msg-sent"), ["m-3"]),
        (Seen(patient="0101010101"), ["m-2"]),
        (Seen(organisations=("77",)), ["m-3"]),
        (Seen(organisations=()), []),
    ],
)
async def test_only_what_may_be_seen_is_listed(
    filled: EventStore, seen: Seen, expected: list[str]
) -> None:
    assert await listed(filled, seen) == expected


async def test_counts_by_day_week_and_month(filled: EventStore) -> None:
    async def count(step: Step) -> list[Count]:
        return await filled.database.read(lambda tx: count_messages(tx, Filters(), step))

    month = await count(Step.MONTH)
    assert [(c.start.day, c.start.month, c.state, c.messages) for c in month] == [
        (1, 11, State.FINALIZED, 1),
        (1, 11, State.UNDELIVERED, 1),
        (1, 11, State.UNDERWAY, 1),
        (1, 12, State.REFUSED, 1),
    ]
    # 21 November 2026 is a Saturday.
    assert {c.start for c in await count(Step.WEEK)} == {
        datetime(2026, 11, 16, tzinfo=UTC),
        datetime(2026, 12, 21, tzinfo=UTC),
    }
    assert min(c.start for c in await count(Step.DAY)) == datetime(2026, 11, 21, tzinfo=UTC)


async def test_negative_by_standard_and_month(filled: EventStore) -> None:
    table = await filled.database.read(lambda tx: count_negative(tx, Filters()))

    assert table == [
        Negative(datetime(2026, 11, 1, tzinfo=UTC), FACTS.standard, 3, refused=0, undelivered=1),
        Negative(datetime(2026, 12, 1, tzinfo=UTC), "hospital", 1, refused=1, undelivered=0),
    ]


async def test_a_stranger_who_uses_an_identifier_changes_nothing_of_its_message(
    store: EventStore,
) -> None:
    """A station may report what is between its own organisation and others; a message of others is not its own."""
    await store.add(event("m-1", SubType.CREATED_AND_SENT, 0, patient_id=None), received_at=AT)
    before = await store.database.read(lambda tx: list_messages(tx, Filters()))
    for changes in ({"sender_sor": "66"}, {"receiver_sor": "66"}):
        forged = event(
            "m-1", SubType.FINALIZED, -60, outcome="8", patient_id="0101010101",
            message_envelope_identifier=f"b-{changes}", transport_envelope_identifier=None, **changes,
        )  # fmt: skip
        assert (await store.add(forged, received_at=AT))[1]

    assert await store.database.read(lambda tx: list_messages(tx, Filters())) == before
    assert await listed(store, patient="0101010101") == []

    await store.add(event("m-1", SubType.FINALIZED, 2), received_at=AT)
    assert await listed(store, state=State.FINALIZED, patient=CPR) == ["m-1"]
