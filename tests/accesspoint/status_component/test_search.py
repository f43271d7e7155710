"""Search parameters: what each finds, how values match, and that damage which passes the check is searchable."""

import asyncio
import copy
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from status_parts import FACTS as GIVEN

from accesspoint.delivery.auditevent import build_audit_event, check_audit_event
from accesspoint.delivery.events import DeliveryEvent, DeliveryFacts, Station, SubType
from accesspoint.status_component.finding import Found, find
from accesspoint.status_component.resource import resource_id
from accesspoint.status_component.search import SEARCH_PARAMETERS, SearchRefused, parse_search
from accesspoint.status_component.store import EventStore

FACTS = replace(
    GIVEN,
    sender_sor="100",
    sender_name="TEST Fjordby, Kommune",
    receiver_sor="200",
    receiver_name="TEST Havnegade",
    orig_message_identifier="o-1",
    orig_envelope_identifier="oe-1",
)
AT = datetime(2026, 11, 21, 9, 30, 5, 500_000, tzinfo=UTC)


def resource(facts: DeliveryFacts = FACTS, **changes: Any) -> dict[str, Any]:
    event = replace(DeliveryEvent(Station.AP, "d", SubType.SENT, "0", AT, facts), **changes)
    return build_audit_event(event)


FOUND = [
    "message-id=m-1",
    "orig-message-id=o-1",
    "entityIdentifier=m-1",
    "entityIdentifier=b-1",
    "entityIdentifier=e-1",
    "entityIdentifier=o-1",
    "entityIdentifier=oe-1",
    "cpr=2512489996",
    "participant-sor=100",
    "participant-sor=200",
    "sender-sor=100",
    "receiver-sor=200",
    "sender-gln=5790009990010",
    "receiver-gln=5790009990027",
    "sender-name=test fjordby",
    "sender-name=TEST Fjordby\\, Kommune",
    "sender-name:contains=KOMMUNE",
    "receiver-name:exact=TEST Havnegade",
    "senderOrg=100",
    "senderOrg=5790009990010",
    "receiverOrg=TEST",
    "ehmiMessageType=homecareobservation-message",
    "outcome=0",
    "outcome=http://hl7.org/fhir/audit-event-outcome|0",
    "outcome=8,0",
    "subtype=msg-sent",
    f"_id={resource_id(resource())}",
    "date=2026",
    "date=2026-11",
    "date=2026-11-21",
    "date=2026-11-21T09:30",
    "date=2026-11-21T10:30:05+01:00",
    "date=2026-11-21T09:30:05.500Z",
    "date=ge2026-11-21",
    "date=le2026-11-21",
    "date=gt2026-11-20",
    "date=lt2026-11-22",
    "date=ne2026-11-20",
    "date=sa2026-10",
    "date=eb2027",
]
MISSED = [
    "message-id=m-2",
    "message-id=x",
    "orig-message-id=m-1",
    "cpr=9",
    "sender-sor=200",
    "receiver-gln=5790009990010",
    "sender-name:exact=test fjordby, kommune",
    "receiverOrg=100",
    "ehmiMessageType=homecareobservation",
    "ehmiMessageType=HomeCareObservation-message",
    "outcome=8",
    "outcome=urn:other|0",
    "_id=id",
    "date=2025",
    "date=gt2026-11-21",
    "date=lt2026-11-21",
    "date=ne2026-11-21",
    "date=ge2026-11-21T09:30:06",
    "date=2026-11-21T09:30:05.501Z",
    "date=sa2026-11",
]
REFUSED = [
    "colour=red",
    "message-id:near=1",
    "message-id:contains=251",
    "cpr:contains=2512489996",
    "message-id=" + ",".join("abc" for _ in range(65)),
    "_total=most",
    "date:exact=2026",
    "date=yesterday",
    "date=2026-13",
    "date=2026-02-30",
    "date=9999",
    "message-id=",
    "message-id=a,",
    "_count=-1",
    "_count=100000",
    "_sort=cpr",
    "2512489996=1",
]


async def search(store: EventStore, text: str) -> Found:
    parsed = parse_search([tuple(part.split("=", 1)) for part in text.split("&")])  # type: ignore[misc]
    return await store.database.read(lambda tx: find(tx, parsed))


@pytest.fixture
async def filled(store: EventStore) -> EventStore:
    await store.add(resource(), received_at=AT)
    return store


async def test_found(filled: EventStore) -> None:
    assert [text for text in FOUND if not (await search(filled, text)).matches] == []


async def test_missed(filled: EventStore) -> None:
    assert [text for text in MISSED if (await search(filled, text)).matches] == []


@pytest.mark.parametrize("text", REFUSED)
def test_refused_without_repeating_the_value(text: str) -> None:
    name, _, value = text.partition("=")
    with pytest.raises(SearchRefused) as refused:
        parse_search([(name, value)])

    assert value == "" or value not in str(refused.value)
    assert "2512489996" not in str(refused.value)


@pytest.mark.parametrize("name", ["entityIdentifier", "outcome", "sender-name", "_id"])
def test_a_search_has_so_many_values_and_no_more(name: str) -> None:
    parse_search([(name, "8,0")] * 32)
    with pytest.raises(SearchRefused, match="64"):
        parse_search([(name, "8,0")] * 32 + [("cpr", "1")])


async def test_a_parameter_repeated_means_and(filled: EventStore) -> None:
    assert (await search(filled, "sender-sor=100&outcome=8")).total == 0
    assert (await search(filled, "sender-sor=100&outcome=0")).total == 1


def test_every_parameter_of_the_specification_is_there() -> None:
    wanted = (
        "message-id orig-message-id entityIdentifier ehmiMessageType cpr participant-sor sender-sor receiver-sor "
        "sender-gln receiver-gln sender-name receiver-name senderOrg receiverOrg date outcome _id"
    )
    assert set(wanted.split()) <= set(SEARCH_PARAMETERS)


async def test_order_and_count(store: EventStore) -> None:
    late = resource(recorded_at=AT.replace(hour=11), device_id="late")
    await store.add(late, received_at=AT)
    await store.add(resource(), received_at=AT)

    assert [position for _, position in (await search(store, "date=2026")).matches] == [2, 1]
    newest = await search(store, "_sort=-date&_count=1")
    assert [position for _, position in newest.matches] == [1]
    assert newest.has_more
    assert (await search(store, "_count=0")).total == 2


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(data=st.data())
def test_whatever_passes_the_check_can_be_stored(data: st.DataObject) -> None:
    damaged = copy.deepcopy(resource())
    target: Any = damaged
    while True:
        keys = list(range(len(target))) if isinstance(target, list) else list(target)
        key = data.draw(st.sampled_from(keys))
        if isinstance(target[key], (dict, list)) and target[key] and data.draw(st.booleans()):
            target = target[key]
            continue
        target[key] = data.draw(JSON)
        break
    if check_audit_event(damaged):
        return

    async def keep() -> None:
        store = await EventStore.open()
        await store.add(damaged, received_at=AT)
        await store.close()

    asyncio.run(keep())
