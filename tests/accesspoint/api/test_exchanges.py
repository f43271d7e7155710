"""What a person does with an exchange over the interface: each act where it fits, and nowhere else."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from unreadable_rows import HOWEVER, spoil

import envelope.receiving
import envelope.sending
from accesspoint.delivery.events import DeliveryFacts
from accesspoint.stations.reporting import facts_to_json
from accesspoint.store.database import Transaction
from accesspoint.store.lanes import NEVER
from accesspoint.store.messages import NewMessage, advance, insert_message

from .conftest import WHY

if TYPE_CHECKING:
    from .conftest import Interface

AT = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
LATER = 8_000_000_000_000_000
FACTS = DeliveryFacts(
    sender_sor="1", sender_gln="5790000000012", sender_name=None, receiver_sor="2", receiver_gln="5790000000029",
    receiver_name=None, patient_id=None, message_identifier="m", standard="homecareobservation-message",
    type_version="1.0", message_envelope_identifier="b", message_envelope_type="Bundle",
    transport_envelope_identifier="e", transport_envelope_version="1.0",
)  # fmt: skip
TO: dict[str, Sequence[str]] = {
    "ACCEPTED": [],
    "RETRY_WAIT": ["RESOLVED", "RETRY_WAIT"],
    "UNCERTAIN": ["RESOLVED", "RETRY_WAIT", "UNCERTAIN"],
    "ACKNOWLEDGED": ["RESOLVED", "RETRY_WAIT", "UNCERTAIN", "ACKNOWLEDGED"],
    "RECEIVED": [],
    "DELIVERY_WAIT": ["DELIVERING", "DELIVERY_WAIT"],
    "HELD": ["HELD"],
    "QUARANTINED": ["HELD", "QUARANTINED"],
    "DELIVERED": ["DELIVERING", "DELIVERED"],
}


async def place(
    interface: "Interface", state: str, *, id_: str = "M1", owner: str | None = None
) -> None:
    """An exchange in this state that no worker finds due, nor what is to be told of its end."""
    inbound = state in set(envelope.receiving.State)
    first = str(envelope.receiving.FIRST if inbound else envelope.sending.FIRST)
    direction = "in" if inbound else "out"
    new = NewMessage(
        id=id_, direction=direction, state=first, message_id=f"{id_}@a.example", conversation_id="c", party="p",
        envelope_id="e", message_identifier="m", standard="s", original_sender="0088:1", final_recipient="0088:2",
        document_id="d", process_id="p", facts=facts_to_json(FACTS), payload=None,
        payload_bytes=0, payload_sha256="00",
    )  # fmt: skip

    async def work(tx: Transaction) -> None:
        await insert_message(tx, new, at=AT)
        row = {"id": id_, "direction": direction, "state": first}
        columns: dict[str, Any] = {
            "next_at": NEVER if state == "UNCERTAIN" else LATER,
            "attempt": 3,
        }
        await advance(tx, row, TO[state], at=AT, columns=columns)
        await tx.execute("UPDATE messages SET lease_owner = $1, lease_until = $2", owner, LATER)
        await tx.execute("UPDATE handovers SET next_at = $1", LATER)

    await interface.node.point.database.run(work)


async def ids(interface: "Interface", query: str = "") -> list[str]:
    status, body, _ = await interface.call("GET", f"/api/v1/exchanges{query}")
    assert status == 200
    return [one["id"] for one in body["exchanges"]]


async def test_what_stands_still_is_listed_and_any_state_when_asked_for(
    interface: "Interface",
) -> None:
    for state in TO:
        await place(interface, state, id_=state)
    assert sorted(await ids(interface)) == ["HELD", "QUARANTINED", "UNCERTAIN"]
    for state in TO:
        assert await ids(interface, f"?state={state}") == [state]
    assert await ids(interface, "?state=PURGED") == []
    status, body, _ = await interface.call("GET", "/api/v1/exchanges?state=LOST")
    assert (status, body["title"]) == (409, "not-possible")


async def test_one_exchange_tells_every_step(interface: "Interface") -> None:
    await place(interface, "UNCERTAIN")
    status, body, _ = await interface.call("GET", "/api/v1/exchanges/M1")
    assert (status, body["state"], body["receipt"]) == (200, "UNCERTAIN", None)
    assert [step["to"] for step in body["history"]] == ["ACCEPTED", *TO["UNCERTAIN"]]
    for method, path in (("GET", "M2"), ("POST", "M2/retry")):
        status, body, _ = await interface.call(method, f"/api/v1/exchanges/{path}", WHY)
        assert (status, body["title"]) == (404, "exchange-unknown")


FITS = {
    "retry": {"ACCEPTED", "RETRY_WAIT", "UNCERTAIN", "DELIVERY_WAIT"},
    "release": {"HELD", "QUARANTINED"},
    "cancel": {"ACCEPTED"},
}


@pytest.mark.parametrize("verb", list(FITS))
async def test_an_act_fits_some_states_and_no_other(interface: "Interface", verb: str) -> None:
    database = interface.node.point.database
    for state in TO:
        await place(interface, state, id_=state)
        before = await database.fetch("SELECT * FROM history WHERE message = $1", state)
        status, body, _ = await interface.call("POST", f"/api/v1/exchanges/{state}/{verb}", WHY)
        assert status == (200 if state in FITS[verb] else 409), body
        if status == 409:
            after = await database.fetch("SELECT * FROM history WHERE message = $1", state)
            row = await database.fetch_one("SELECT * FROM messages WHERE id = $1", state)
            assert after == before
            assert row is not None
            assert row["next_at"] in {NEVER, LATER}


async def test_a_release_starts_the_counting_anew(interface: "Interface") -> None:
    await place(interface, "HELD")
    status, body, _ = await interface.call("POST", "/api/v1/exchanges/M1/release", WHY)
    assert status == 200
    steps = [(step["to"], step["note"]) for step in body["history"]]
    assert ("DELIVERY_WAIT", "released") in steps
    assert body["attempt"] <= 1


async def test_a_withdrawn_message_is_told_to_who_submitted_it(interface: "Interface") -> None:
    await place(interface, "ACCEPTED")
    status, body, _ = await interface.call("POST", "/api/v1/exchanges/M1/cancel", WHY)
    assert (status, body["state"]) == (200, "CANCELLED")
    database = interface.node.point.database
    outcome = await database.fetch_one("SELECT item FROM handovers WHERE kind = 'outcome'")
    assert outcome is not None
    assert '"CANCELLED"' in outcome["item"]


@pytest.mark.parametrize("verb", list(FITS))
async def test_what_a_worker_has_in_hand_is_left_to_it(interface: "Interface", verb: str) -> None:
    state = sorted(FITS[verb])[0]
    await place(interface, state, owner="somebody")
    status, body, _ = await interface.call("POST", f"/api/v1/exchanges/M1/{verb}", WHY)
    assert (status, body["title"]) == (409, "not-possible")
    assert body["detail"].endswith("ask again")


@pytest.mark.attack("ADM-10")
@pytest.mark.parametrize("verb", list(FITS))
async def test_who_acted_and_why_is_in_the_audit_log_and_nothing_else(
    interface: "Interface", verb: str
) -> None:
    database, path = interface.node.point.database, f"/api/v1/exchanges/M1/{verb}"
    state = sorted(FITS[verb])[0]
    await place(interface, state, owner="somebody")
    assert (await interface.call("POST", path, WHY))[0] == 409
    assert await database.fetch("SELECT * FROM audit") == []
    await place(interface, state, id_="M2")
    assert (await interface.call("POST", path.replace("M1", "M2"), WHY))[0] == 200
    (line,) = await database.fetch("SELECT * FROM audit")
    assert (line["actor"], line["action"], line["object"], line["reason"]) == (
        "token-file", f"message.{verb}", "M2", "asked to on the telephone",
    )  # fmt: skip
    _, told, _ = await interface.call("GET", "/api/v1/audit")
    assert [one["digest"] for one in told["lines"]] == [line["digest"]]


async def test_another_act_is_none(interface: "Interface") -> None:
    await place(interface, "HELD")
    status, _, _ = await interface.call("POST", "/api/v1/exchanges/M1/delete")
    assert status == 404
    status, _, _ = await interface.call("POST", "/api/v1/exchanges/M1/release", token="wrong")
    assert status == 401


@HOWEVER
async def test_a_row_that_does_not_open_is_listed_and_what_needs_it_is_no_error_of_the_program(
    interface: "Interface", fault: str
) -> None:
    await place(interface, "QUARANTINED")
    await place(interface, "ACCEPTED", id_="M2")
    await spoil(interface.node.point.database, "messages", "facts", "M1", fault)
    await spoil(interface.node.point.database, "messages", "facts", "M2", fault)
    assert await ids(interface) == ["M1"]
    status, body, _ = await interface.call("POST", "/api/v1/exchanges/M1/release", WHY)
    assert (status, body["state"]) == (200, "DELIVERY_WAIT")
    # To withdraw it is an event, which needs the facts.
    status, body, _ = await interface.call("POST", "/api/v1/exchanges/M2/cancel", WHY)
    assert (status, body["title"]) == (503, "storage-failed")
