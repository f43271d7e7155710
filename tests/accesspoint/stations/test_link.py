"""The two ways to pass something on: in the same commit, or as a row that waits for the relay."""

import pytest
from station_parts import AT, BUNDLE, MESSAGE, Parts, document, envelope

from accesspoint.clock import to_microseconds
from accesspoint.delivery.events import DeliveryFacts
from accesspoint.stations import Bell, Commit
from accesspoint.stations.document import Document
from accesspoint.stations.link import Apart, Joined
from accesspoint.stations.reporting import Act, facts_from_json
from accesspoint.store.database import Transaction


async def test_joined_stations_pass_on_in_one_commit_and_report_before_the_next_one(
    parts: Parts,
) -> None:
    message = document(parts)

    async def take(item: Document) -> Commit:
        assert item is message

        async def work(tx: Transaction) -> None:
            await parts.reporter.report(tx, Act.MSH_TAKEN, item.delivery_facts())

        return Commit(work, frozenset({Bell.SENDER}))

    commit = await Joined(take, parts.reporter).pass_on(
        message, act=Act.EUA_SENT, facts=message.delivery_facts(), at=AT
    )
    assert commit.rings == {Bell.OUTBOX, Bell.SENDER}
    assert await parts.events() == []
    await parts.run(commit)
    assert await parts.events() == [("EUA", "msg-created-and-sent"), ("AP-MSH", "msg-received")]


async def test_what_the_next_station_refuses_is_not_reported(parts: Parts) -> None:
    async def take(_: Document) -> Commit:
        async def work(tx: Transaction) -> None:
            raise RuntimeError("not taken")

        return Commit(work)

    message = document(parts)
    commit = await Joined(take, parts.reporter).pass_on(
        message, act=Act.EUA_SENT, facts=message.delivery_facts(), at=AT
    )
    with pytest.raises(RuntimeError):
        await parts.run(commit)
    assert await parts.events() == []


async def test_a_document_waits_for_the_relay_with_its_facts(apart: Parts) -> None:
    message = document(apart)
    commit = await Apart[Document]("down", apart.ids).pass_on(
        message, act=Act.EUA_SENT, facts=message.delivery_facts(), at=AT
    )
    assert commit.rings == {Bell.RELAY}
    await apart.run(commit)
    row = await apart.one("SELECT * FROM handovers")
    assert (row["target"], row["kind"], row["state"]) == ("down", "document", "waiting")
    assert row["next_at"] == row["created_at"] == to_microseconds(AT)
    assert (row["act"], row["attempts"], row["media_type"]) == (
        "eua-sent",
        0,
        "application/fhir+json",
    )
    assert Document.from_json(row["item"]) == message
    assert facts_from_json(row["facts"]) == message.delivery_facts()
    # Nothing is said before the other station has it.
    assert await apart.events() == []


async def test_an_envelope_waits_without_facts_beside_it(apart: Parts) -> None:
    item = envelope(apart)
    assert item.header is None
    facts = DeliveryFacts("1", "2", None, "3", "4", None, None, MESSAGE, "s", "v", BUNDLE, "Bundle")
    commit = await Apart("up", apart.ids).pass_on(item, act=Act.AP_PASSED_UP, facts=facts, at=AT)
    await apart.run(commit)
    row = await apart.one("SELECT * FROM handovers")
    assert (row["kind"], row["item"], row["media_type"]) == ("envelope", "{}", "application/xml")
    assert (row["payload"], row["payload_bytes"], row["payload_sha256"]) == (
        item.stored.payload,
        item.stored.payload_bytes,
        item.stored.payload_sha256,
    )
    assert row["message_identifier"] == MESSAGE
