"""The sender and its lanes against real partners on loopback: who is dead, who lives, and what waits for whom."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from aiohttp import web
from as4_peer import Arrived, answered
from outbound_steps import until_given_up, until_state
from unreadable_rows import DAMAGED, HOWEVER, spoil

from accesspoint.clock import to_microseconds
from accesspoint.discovery.directory import Directory
from accesspoint.discovery.static import StaticDirectory, StaticPartner
from accesspoint.outbound.lanes import Lanes, lane_to
from accesspoint.outbound.sender import Sender
from accesspoint.stations import Bell
from accesspoint.store.database import Transaction
from accesspoint.store.lanes import NEVER
from keys.certificate import der

from .conftest import SCHEDULE

if TYPE_CHECKING:
    from .conftest import Outbound

NOBODY = "https://127.0.0.1:1/as4"
LIVING, DEAD = "0088:5790000000005", "0088:5790000000012"


async def until(condition: Callable[[], object], outbound: "Outbound") -> None:
    async with asyncio.timeout(10):
        while not condition():
            await outbound.parts.bells.wait(Bell.JOURNAL, at_most_seconds=0.02)


class Book:
    """A directory that says of each participant where it is, and counts how often it was asked."""

    def __init__(self, outbound: "Outbound", **urls: str) -> None:
        self._certificate = der(outbound.pki.clinic.certificate)
        self.urls = urls
        self.asked = 0

    async def find_endpoint(self, participant: str, document_id: str, process_id: str) -> object:
        self.asked += 1
        gln = participant.rpartition(":")[2]
        url = self.urls["dead" if participant == DEAD else "living"]
        directory: Directory = StaticDirectory([StaticPartner("x", gln, url, self._certificate)])
        return await directory.find_endpoint(participant, document_id, process_id)


async def accept(outbound: "Outbound", numbers: range, recipient: str) -> list[str]:
    """Accept messages for a recipient that the test chooses."""
    ids = [await outbound.accept(number) for number in numbers]

    async def readdress(tx: Transaction) -> None:
        for id_ in ids:
            sql = "UPDATE messages SET final_recipient = $1 WHERE id = $2"
            await tx.execute(sql, recipient, id_)

    await outbound.parts.database.run(readdress)
    return ids


def sender_of(outbound: "Outbound", book: Book, *, total: int = 8) -> tuple[Sender, Lanes]:
    lanes = Lanes(total=total, per_lane=4, schedule=SCHEDULE)
    return outbound.sender(directory=book, lanes=lanes, concurrency=total), lanes


async def counts(outbound: "Outbound") -> dict[str, int]:
    rows = await outbound.parts.rows("SELECT state, COUNT(*) AS n FROM messages GROUP BY state")
    return {row["state"]: row["n"] for row in rows}


async def test_the_messages_of_a_dead_destination_wait_without_a_slot_and_others_go(
    outbound: "Outbound",
) -> None:
    dead = await accept(outbound, range(30), DEAD)
    living = await accept(outbound, range(30, 35), LIVING)
    book = Book(outbound, living=outbound.server.url, dead=NOBODY)
    sender, _ = sender_of(outbound, book)
    async with outbound.running(sender):
        await until(lambda: len(outbound.server.arrived) == len(living), outbound)
        async with asyncio.timeout(10):
            while (await counts(outbound)).get("ACKNOWLEDGED") != len(living) or sender._driving:
                await asyncio.sleep(0.01)
        before = await outbound.parts.rows(
            "SELECT SUM(attempt) AS n FROM messages WHERE lane = $1", lane_to(NOBODY)
        )
        # Each probe is one message, whatever waits; nothing else of the lane was touched.
        asked = book.asked
        for _ in range(3):
            outbound.parts.clock.advance(timedelta(seconds=20))
            outbound.parts.bells.ring(Bell.SENDER)
            await asyncio.sleep(0.1)
        assert book.asked - asked <= 3
    rows = await outbound.parts.rows(
        "SELECT DISTINCT lane FROM messages WHERE state <> 'ACKNOWLEDGED'"
    )
    assert [row["lane"] for row in rows] == [lane_to(NOBODY)]
    assert before[0]["n"] <= 4
    assert (await counts(outbound))["ACCEPTED"] >= len(dead) - 7


async def test_a_partner_that_moved_takes_its_waiting_messages_along(outbound: "Outbound") -> None:
    ids = await accept(outbound, range(6), LIVING)
    book = Book(outbound, living=NOBODY)
    sender, _ = sender_of(outbound, book)
    async with outbound.running(sender):
        async with asyncio.timeout(10):
            while len(await outbound.parts.rows("SELECT 1 FROM messages WHERE lane <> ''")) < 6:
                await asyncio.sleep(0.01)
        book.urls["living"] = outbound.server.url
        async with asyncio.timeout(10):
            while (await counts(outbound)).get("ACKNOWLEDGED") != len(ids):
                outbound.parts.clock.advance(timedelta(seconds=5))
                outbound.parts.bells.ring(Bell.SENDER)
                await asyncio.sleep(0.02)
    rows = await outbound.parts.rows("SELECT DISTINCT lane FROM messages")
    assert [row["lane"] for row in rows] == [lane_to(outbound.server.url)]


async def test_to_hear_from_the_partner_sends_at_once_what_waits_for_him(
    outbound: "Outbound",
) -> None:
    async def unavailable(arrived: Arrived, request: web.Request) -> web.StreamResponse:
        return answered(b"", status=503, content_type="text/plain")

    outbound.server.behaviour = unavailable
    ids = [await outbound.accept(number) for number in range(3)]
    sender = outbound.sender()
    async with outbound.running(sender):
        async with asyncio.timeout(10):
            while len(await outbound.parts.rows("SELECT 1 FROM messages WHERE attempt > 0")) < 2:
                await asyncio.sleep(0.01)
        await until(lambda: not sender._driving, outbound)
        outbound.server.behaviour = None
        sender.heard("nobody we know")
        await asyncio.sleep(0.05)
        assert (await counts(outbound)).get("ACKNOWLEDGED") is None
        row = await outbound.parts.one("SELECT party FROM messages WHERE party <> '' LIMIT 1")
        sender.heard(row["party"])
        for id_ in ids:
            async with asyncio.timeout(10):
                while (await outbound.row(id_))["state"] != "ACKNOWLEDGED":
                    await asyncio.sleep(0.01)


async def test_what_waited_for_a_dead_destination_to_the_end_of_its_time_is_given_up(
    outbound: "Outbound",
) -> None:
    """Those that were never tried as well: they are reported, with what was found about the destination."""
    ids = [await outbound.accept(number) for number in range(8)]
    sender, _ = sender_of(outbound, Book(outbound, living=NOBODY))
    async with outbound.running(sender), asyncio.timeout(10):
        while (await counts(outbound)).get("EXPIRED") != len(ids):
            outbound.parts.clock.advance(timedelta(seconds=5))
            outbound.parts.bells.ring(Bell.SENDER)
            await asyncio.sleep(0.01)
    rows = await outbound.parts.rows("SELECT problem, next_at FROM messages")
    assert {(row["problem"], row["next_at"]) for row in rows} == {("peer-unreachable", NEVER)}
    assert (await outbound.parts.outcomes()).count("8") == len(ids)
    never_tried = await outbound.parts.one("SELECT id FROM messages WHERE attempt = 0 LIMIT 1")
    assert await outbound.states(never_tried["id"]) == [
        "ACCEPTED",
        "RESOLVED",
        "RETRY_WAIT",
        "EXPIRED",
    ]


async def test_the_destination_of_a_new_message_is_known_from_the_one_before(
    outbound: "Outbound",
) -> None:
    lanes = Lanes(total=4, per_lane=4, schedule=SCHEDULE)
    outbound.options["lanes"] = lanes
    first = await outbound.accept(1)
    assert (await outbound.row(first))["lane"] == ""
    async with outbound.running():
        async with asyncio.timeout(10):
            while (await outbound.row(first))["state"] != "ACKNOWLEDGED":
                await asyncio.sleep(0.01)
        second = await outbound.accept(2)
        assert (await outbound.row(second))["lane"] == lane_to(outbound.server.url)
        async with asyncio.timeout(10):
            while (await outbound.row(second))["state"] != "ACKNOWLEDGED":
                await asyncio.sleep(0.01)


async def test_a_partner_that_is_silent_holds_no_more_than_its_window(outbound: "Outbound") -> None:
    release = asyncio.Event()

    async def silent(arrived: Arrived, request: web.Request) -> web.StreamResponse:
        await release.wait()
        return answered(b"", status=503, content_type="text/plain")

    outbound.server.behaviour = silent
    for number in range(10):
        await outbound.accept(number)
    sender, _ = sender_of(outbound, Book(outbound, living=outbound.server.url))
    async with outbound.running(sender):
        await until(lambda: len(outbound.server.arrived) == 2, outbound)
        await asyncio.sleep(0.1)
        assert len(outbound.server.arrived) == 2
        assert len(sender._driving) <= 4
        release.set()


# What a person asks for


async def test_an_uncertain_message_goes_out_once_more_when_asked_for_and_no_more(
    outbound: "Outbound",
) -> None:
    async def unavailable(arrived: Arrived, request: web.Request) -> web.StreamResponse:
        return answered(b"", status=503, content_type="text/plain")

    outbound.server.behaviour = unavailable
    id_ = await outbound.accept()
    async with outbound.running():
        async with asyncio.timeout(10):
            while (await outbound.row(id_))["state"] != "UNCERTAIN":
                outbound.parts.clock.advance(timedelta(seconds=5))
                outbound.parts.bells.ring(Bell.SENDER)
                await asyncio.sleep(0.01)
        row = await outbound.row(id_)
        assert row["next_at"] == NEVER
        sent = len(outbound.server.arrived)

        async def ask() -> None:
            now = to_microseconds(outbound.parts.clock.now())
            sql = "UPDATE messages SET next_at = $1 WHERE id = $2"
            await outbound.parts.database.run(lambda tx: tx.execute(sql, now, id_))
            outbound.parts.clock.advance(timedelta(minutes=5))
            outbound.parts.bells.ring(Bell.SENDER)

        await ask()
        async with asyncio.timeout(10):
            while (await outbound.row(id_))["next_at"] != NEVER:
                await asyncio.sleep(0.01)
        assert len(outbound.server.arrived) == sent + 1
        after = await outbound.row(id_)
        assert (after["state"], after["attempt"]) == ("UNCERTAIN", row["attempt"] + 1)
        assert (after["lease_owner"], after["problem"]) == (None, "peer-unavailable")
        assert (await outbound.parts.journal())[-1] == ("AP", "uncertain", "peer-unavailable")
        outbound.server.behaviour = None
        await ask()
        async with asyncio.timeout(10):
            while (await outbound.row(id_))["state"] != "ACKNOWLEDGED":
                await asyncio.sleep(0.01)
    assert (await outbound.states(id_))[-2:] == ["UNCERTAIN", "ACKNOWLEDGED"]
    bodies = {arrived.body for arrived in outbound.server.arrived}
    assert len(bodies) == 1
    assert await outbound.parts.outcomes() == ["0", "0"]


@HOWEVER
async def test_a_row_that_does_not_open_is_not_sent_and_stops_neither_the_others_nor_the_sender(
    outbound: "Outbound", fault: str
) -> None:
    poisoned, good = await outbound.accept(1), await outbound.accept(2)
    await spoil(outbound.parts.database, "messages", "facts", poisoned, fault)
    async with outbound.running() as task:
        await until_state(outbound, good, "ACKNOWLEDGED")
        await outbound.parts.until("waiting")
        assert not task.done()
        row = await outbound.row(poisoned)
        problem = "payload-damaged" if fault == DAMAGED else "storage-refused"
        assert (row["state"], row["problem"]) == ("ACCEPTED", problem)
        await until_given_up(outbound, poisoned, "FAILED")
        assert not task.done()
    assert len(outbound.server.arrived) == 1
