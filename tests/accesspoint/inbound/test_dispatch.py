"""From a received message to the next station: delivered in one commit, tried again, held, or kept in quarantine."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from background import background
from station_parts import MESSAGE, Neighbour, Parts, envelope, header_for
from unreadable_rows import DAMAGED, HOWEVER, spoil

from accesspoint.clock import to_microseconds
from accesspoint.delivery.events import DeliveryFacts
from accesspoint.inbound.dispatch import HOLD_AFTER, Dispatcher
from accesspoint.retry import RetrySchedule
from accesspoint.stations import Bell
from accesspoint.stations.document import Envelope
from accesspoint.stations.reporting import Act, facts_to_json
from accesspoint.store.database import (
    IntegrityKind,
    IntegrityViolation,
    Row,
    StorageFailure,
    StorageFull,
    Transaction,
)
from accesspoint.store.encryption import PayloadKeyMissing
from accesspoint.store.leases import Leases
from accesspoint.store.messages import NewMessage, insert_message
from accesspoint.store.payloads import PayloadDamaged, PayloadMissing
from envelope.errors import LocalProtocolError, SbdRefused

SCHEDULE = RetrySchedule(timedelta(seconds=10), 2.0, timedelta(seconds=40), timedelta(days=60))
FACTS = DeliveryFacts.from_header(header_for(), with_envelope=True)


@dataclass
class Received:
    """Received messages of an access point, and the station above it."""

    parts: Parts
    up: Neighbour[Envelope] = field(default_factory=Neighbour)

    async def message(self, id_: str = "M1") -> str:
        item = envelope(self.parts)
        new = NewMessage(
            id_, "in", "RECEIVED", f"{id_}@a", "c", "p", id_, MESSAGE, FACTS.standard, "", "", "", "",
            facts_to_json(FACTS), item.stored.payload, item.stored.payload_bytes, item.stored.payload_sha256,
        )  # fmt: skip
        await self.parts.database.run(lambda tx: insert_message(tx, new, at=self.parts.clock.now()))
        return id_

    def dispatching(self) -> AbstractAsyncContextManager[asyncio.Task[None]]:
        dispatcher = Dispatcher(
            database=self.parts.database,
            up=self.up,
            reporter=self.parts.reporter,
            bells=self.parts.bells,
            clock=self.parts.clock,
            schedule=SCHEDULE,
            leases=Leases("worker-1"),
        )
        return background(dispatcher.run())

    async def row(self, id_: str = "M1") -> Row:
        return await self.parts.one("SELECT * FROM messages WHERE id = $1", id_)

    async def until(self, state: str, id_: str = "M1") -> Row:
        async with asyncio.timeout(10):
            while (row := await self.row(id_))["state"] != state or row["lease_owner"]:
                await asyncio.sleep(0.002)
        return row

    async def states(self, id_: str = "M1") -> list[str]:
        rows = await self.parts.rows("SELECT * FROM history WHERE message = $1 ORDER BY seq", id_)
        return [row["to_state"] for row in rows]


@pytest.fixture
async def received(tmp_path: Path) -> AsyncIterator[Received]:
    async with Parts.open(tmp_path / "node", together=False) as parts:
        yield Received(parts)


async def test_a_message_goes_up_and_is_delivered_in_one_commit(received: Received) -> None:
    await received.message()
    async with received.dispatching():
        await received.until("DELIVERED")
        second = await received.message("M2")
        received.parts.bells.ring(Bell.DISPATCHER)
        await received.until("DELIVERED", second)
    item, act, facts = received.up.offered[0]
    assert (item.message_identifier, act, facts) == (MESSAGE, Act.AP_PASSED_UP, FACTS)
    assert received.parts.read(item.stored).startswith(b"<")
    assert await received.states() == ["RECEIVED", "DELIVERING", "DELIVERED"]
    assert len(received.up.taken) == 2


async def test_what_fails_for_now_is_tried_again_with_growing_waits(received: Received) -> None:
    await received.message()
    failures = (LocalProtocolError("x"), OSError("x"), ValueError("x"))
    async with received.dispatching():
        for attempt, wait in enumerate((10, 20, 40), start=1):
            received.up.failures.append(failures[attempt - 1])
            received.parts.bells.ring(Bell.DISPATCHER)
            async with asyncio.timeout(10):
                while (row := await received.row())["attempt"] != attempt:
                    await asyncio.sleep(0.002)
            due = received.parts.clock.now() + timedelta(seconds=wait)
            assert (row["state"], row["problem"]) == ("DELIVERY_WAIT", "delivery-failed")
            assert row["next_at"] == to_microseconds(due)
            received.parts.clock.advance(timedelta(seconds=wait))
        received.parts.bells.ring(Bell.DISPATCHER)
        row = await received.until("DELIVERED")
    assert (row["problem"], len(received.up.taken)) == (None, 1)


async def test_after_many_attempts_a_person_has_to_look(received: Received) -> None:
    await received.message()
    received.up.failures.extend(OSError("x") for _ in range(HOLD_AFTER))
    async with received.dispatching():
        async with asyncio.timeout(10):
            while (row := await received.row())["state"] != "HELD":
                if row["lease_owner"] is None:
                    received.parts.clock.advance(timedelta(seconds=40))
                    received.parts.bells.ring(Bell.DISPATCHER)
                await asyncio.sleep(0.002)
        received.parts.clock.advance(timedelta(days=1))
        received.parts.bells.ring(Bell.DISPATCHER)
        await received.message("M2")
        received.parts.bells.ring(Bell.DISPATCHER)
        await received.until("DELIVERED", "M2")
    row = await received.row()
    assert (row["state"], row["attempt"]) == ("HELD", HOLD_AFTER)
    assert (await received.parts.journal())[0] == ("AP", "not-delivered", "delivery-failed")


async def test_what_cannot_be_read_is_kept_in_quarantine(received: Received) -> None:
    await received.message()
    received.up.failures.append(SbdRefused("x", reason="sbd.scope"))
    async with received.dispatching():
        row = await received.until("QUARANTINED")
    assert await received.states() == ["RECEIVED", "DELIVERING", "QUARANTINED"]
    assert received.parts.read(row["payload"]).startswith(b"<")
    note = (await received.parts.rows("SELECT note FROM history ORDER BY seq"))[-1]["note"]
    assert note == "sbd.scope"


@pytest.mark.parametrize(
    "failure",
    [
        PayloadKeyMissing("the key is not configured"),
        IntegrityViolation(IntegrityKind.UNIQUE, "documents.id"),
        RecursionError(),
        KeyError("x"),
    ],
)
async def test_one_poisonous_message_does_not_stop_the_others(
    received: Received, failure: Exception
) -> None:
    await received.message()
    await received.message("M2")
    received.up.failures.append(failure)
    async with received.dispatching() as task:
        await received.until("DELIVERED", "M2")
        row = await received.until("DELIVERY_WAIT", "M1")
        assert not task.done()
    assert row["problem"] == "delivery-failed"


@pytest.mark.parametrize("failure", [PayloadMissing("gone"), PayloadDamaged("chunk 1")])
async def test_a_message_whose_payload_is_damaged_is_kept_for_a_person(
    received: Received, failure: Exception
) -> None:
    await received.message()
    await received.message("M2")
    received.up.failures.append(failure)
    async with received.dispatching() as task:
        await received.until("DELIVERED", "M2")
        row = await received.until("QUARANTINED", "M1")
        assert not task.done()
    assert (row["problem"], row["payload"] is not None) == ("payload-damaged", True)


@HOWEVER
async def test_a_row_that_does_not_open_stops_neither_the_others_nor_the_dispatcher(
    received: Received, fault: str
) -> None:
    await received.message()
    await received.message("M2")
    await spoil(received.parts.database, "messages", "facts", "M1", fault)
    async with received.dispatching() as task:
        await received.until("DELIVERED", "M2")
        damaged = fault == DAMAGED
        row = await received.until("QUARANTINED" if damaged else "DELIVERY_WAIT", "M1")
        assert not task.done()
    problem = "payload-damaged" if damaged else "storage-refused"
    assert row["problem"] == problem
    noted = await received.parts.one("SELECT * FROM journal WHERE problem = $1", problem)
    assert (noted["event"], noted["subject"]) == ("not-delivered", MESSAGE)


async def test_a_store_without_room_is_tried_again_and_held_by_nobody(received: Received) -> None:
    await received.message()
    received.up.failures.append(StorageFull("no space left"))
    async with received.dispatching() as task:
        row = await received.until("DELIVERY_WAIT", "M1")
        assert row["problem"] == "storage-full"
        assert not task.done()


async def test_a_store_that_fails_ends_the_dispatcher(received: Received) -> None:
    await received.message()
    received.up.failures.append(StorageFailure("the disk is gone"))
    async with received.dispatching() as task:
        with pytest.raises(StorageFailure):
            async with asyncio.timeout(10):
                await task


async def test_a_message_whose_lease_was_lost_is_left_alone(received: Received) -> None:
    await received.message()
    parts = received.parts

    class TakenOver(Neighbour[Envelope]):
        async def pass_on(self, item, *, act, facts, at):  # type: ignore[no-untyped-def]
            async def work(tx: Transaction) -> None:
                await tx.execute(
                    "UPDATE messages SET lease_owner = 'worker-2', lease_until = 9000000000000000 WHERE id = 'M1'"
                )

            if not self.taken:
                await parts.database.run(work)
            return await super().pass_on(item, act=act, facts=facts, at=at)

    received.up = TakenOver()
    async with received.dispatching() as task:
        async with asyncio.timeout(10):
            while (await received.row())["lease_owner"] != "worker-2":
                await asyncio.sleep(0.002)
        await asyncio.sleep(0.01)
        assert not task.done()
    assert (await received.row())["state"] == "RECEIVED"
    assert received.up.taken == []
