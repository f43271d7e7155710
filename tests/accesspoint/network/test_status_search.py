"""Search parameters: what each finds, how values match, and that damage which passes the check is searchable."""

import copy
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accesspoint.delivery.auditevent import build_audit_event, check_audit_event
from accesspoint.delivery.events import DeliveryEvent, DeliveryFacts, Station, SubType
from accesspoint.network.status_search import SEARCH_PARAMETERS, SearchRefused, parse_search

FACTS = DeliveryFacts(
    sender_sor="100",
    sender_gln="5790009990010",
    sender_name="TEST Fjordby, Kommune",
    receiver_sor="200",
    receiver_gln="5790009990027",
    receiver_name="TEST Havnegade",
    patient_id="2512489996",
    message_identifier="m-1",
    standard="homecareobservation-message",
    type_version="1.1",
    message_envelope_identifier="b-1",
    message_envelope_type="Bundle",
    transport_envelope_identifier="e-1",
    transport_envelope_version="1.0",
    orig_message_identifier="o-1",
    orig_envelope_identifier="oe-1",
)
AT = datetime(2026, 11, 21, 9, 30, 5, 500_000, tzinfo=UTC)


def resource(facts: DeliveryFacts = FACTS, **changes: Any) -> dict[str, Any]:
    event = replace(DeliveryEvent(Station.AP, "d", SubType.SENT, "0", AT, facts), **changes)
    return {**build_audit_event(event), "id": "id-1"}


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
    "_id=id-1",
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


def search(text: str) -> Any:
    name, _, value = text.partition("=")
    return parse_search([(name, value)])


@pytest.mark.parametrize("text", FOUND)
def test_found(text: str) -> None:
    assert search(text).select([resource()])


@pytest.mark.parametrize("text", MISSED)
def test_missed(text: str) -> None:
    assert search(text).select([resource()]) == []


@pytest.mark.parametrize("text", REFUSED)
def test_refused_without_repeating_the_value(text: str) -> None:
    with pytest.raises(SearchRefused) as refused:
        search(text)

    assert text.rpartition("=")[2] == "" or text.rpartition("=")[2] not in str(refused.value)
    assert "2512489996" not in str(refused.value)


def test_a_parameter_repeated_means_and() -> None:
    both = parse_search([("sender-sor", "100"), ("outcome", "8")])

    assert both.select([resource()]) == []


def test_every_parameter_of_the_specification_is_there() -> None:
    wanted = (
        "message-id orig-message-id entityIdentifier ehmiMessageType cpr participant-sor sender-sor receiver-sor "
        "sender-gln receiver-gln sender-name receiver-name senderOrg receiverOrg date outcome _id"
    )
    assert set(wanted.split()) <= set(SEARCH_PARAMETERS)


def test_order_and_count() -> None:
    early, late = resource(), resource(recorded_at=AT.replace(hour=11))

    assert parse_search([]).select([late, early]) == [early, late]
    newest = parse_search([("_sort", "-date"), ("_count", "1")])
    assert newest.select([early, late]) == [late, early]
    assert newest.count == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
EVERY_SEARCH = [search(text) for text in FOUND]


@given(data=st.data())
def test_whatever_passes_the_check_can_be_searched(data: st.DataObject) -> None:
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

    for every in EVERY_SEARCH:
        every.select([damaged])
