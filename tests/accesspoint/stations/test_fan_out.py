"""One address, several systems: each is brought the message by itself, and one answer speaks for them all."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from postgresql_server import running
from sample_messages import home_care_observation
from station_parts import RECEIVER, SENDER, Neighbour, Parts

from accesspoint.backends.pull import Kind, PullDesk, Unknown
from accesspoint.retry import RetrySchedule
from accesspoint.stations import Bell
from accesspoint.stations.document import Document
from accesspoint.stations.end_user_application import EndUserApplication
from accesspoint.stations.link import Handover
from accesspoint.stations.relay import HandoverRelay, NotTaken
from accesspoint.stations.settling import handover_of, settle
from accesspoint.store.leases import Leases
from envelope import fhir

SYSTEMS = ["backend:care", "backend:school"]
SCHEDULE = RetrySchedule(timedelta(milliseconds=5), 1.0, timedelta(seconds=1), timedelta(days=1))
FINALIZED = ("EUA", "msg-received-and-finalized")


class Municipality:
    """An application with two systems for its address, over a handler that takes every answer."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.down: Neighbour[Document] = Neighbour()
        served = {RECEIVER.gln: RECEIVER}
        self.station = EndUserApplication(
            database=parts.database, payloads=parts.payloads, reporter=parts.reporter, clock=parts.clock,
            ids=parts.ids, organisation=RECEIVER, served=served, known=served, readdress=False, acknowledge=True,
            systems={RECEIVER.gln: SYSTEMS},
        )  # fmt: skip
        self.station.down = self.down

    async def receive(self, *, valid: bool = True) -> None:
        bundle = home_care_observation()
        if not valid:
            for entry in bundle["entry"]:
                if entry["resource"]["resourceType"] == "DiagnosticReport":
                    entry["resource"]["status"] = "corrected"
        data = fhir.serialize(bundle, "json")
        facts = fhir.recognise(fhir.read_message(data))
        document = Document(
            facts.message_id, facts.bundle_id, facts.event_code, facts.definition_version, SENDER, RECEIVER,
            facts.patient_id, None, None, facts.mime_type, self.parts.store(data),
        )  # fmt: skip
        await self.parts.run(await self.station.take_document(document))

    async def handovers(self) -> dict[str, Handover]:
        rows = await self.parts.rows("SELECT * FROM handovers ORDER BY target")
        return {row["target"]: handover_of(row) for row in rows}

    async def settle(self, target: str) -> bool:
        handover = (await self.handovers())[target]
        at = self.parts.clock.now()
        return await self.parts.database.run(
            lambda tx: settle(tx, handover, reporter=self.parts.reporter, at=at)
        )

    async def delivered(self) -> bool:
        return (await self.parts.one("SELECT delivered_at FROM documents WHERE direction = 'in'"))[
            "delivered_at"
        ] is not None


@pytest.fixture
async def municipality(tmp_path: Path) -> AsyncIterator[Municipality]:
    async with Parts.open(tmp_path) as parts:
        yield Municipality(parts)


async def test_each_system_is_owed_the_message_under_an_id_of_its_own(municipality):
    await municipality.receive()
    owed = await municipality.handovers()
    assert list(owed) == SYSTEMS
    assert len({one.id for one in owed.values()}) == 2
    assert len({one.stored for one in owed.values()}) == 1


async def test_one_acknowledgement_speaks_for_all(municipality):
    await municipality.receive()
    assert [one.event_code for one in municipality.down.taken] == ["acknowledgement-message"]


async def test_the_journey_ends_with_the_last_system(municipality):
    await municipality.receive()
    for number, target in enumerate(SYSTEMS):
        ends = number == len(SYSTEMS) - 1
        assert await municipality.settle(target)
        assert await municipality.delivered() is ends
        assert (await municipality.parts.events()).count(FINALIZED) == int(ends)
    assert not await municipality.settle(SYSTEMS[0])
    assert (await municipality.parts.events()).count(FINALIZED) == 1


async def test_two_messages_do_not_wait_for_each_other(municipality):
    for _ in range(2):
        await municipality.receive()
    rows = await municipality.parts.rows(
        "SELECT * FROM handovers ORDER BY message_identifier, target"
    )
    for row in rows[:2]:
        handover = handover_of(row)
        await municipality.parts.database.run(
            lambda tx, handover=handover: settle(
                tx,
                handover,
                reporter=municipality.parts.reporter,
                at=municipality.parts.clock.now(),
            )
        )
    assert (await municipality.parts.events()).count(FINALIZED) == 1


async def test_a_message_that_breaks_rules_is_given_to_none_of_them(municipality):
    await municipality.receive(valid=False)
    rows = await municipality.parts.rows("SELECT state, problem FROM handovers")
    assert [tuple(row.values()) for row in rows] == [("set-aside", "message-invalid")] * 2
    assert (await municipality.parts.events()).count(FINALIZED) == 1
    assert len(municipality.down.taken) == 1


async def test_a_system_that_does_not_answer_holds_up_nobody_but_itself(municipality):
    parts = municipality.parts
    brought: list[str] = []
    lifted = asyncio.Event()

    async def care(handover: Handover) -> None:
        brought.append("care")

    async def school(handover: Handover) -> None:
        if not lifted.is_set():
            raise NotTaken("backend-not-accepting", "closed")
        brought.append("school")

    relays = [
        HandoverRelay(
            database=parts.database,
            carriers={target: carry},
            reporter=parts.reporter,
            bells=parts.bells,
            clock=parts.clock,
            schedule=SCHEDULE,
            leases=Leases("me", duration=timedelta(seconds=30)),
            bell=Bell.BACKEND,
        )
        for target, carry in zip(SYSTEMS, (care, school), strict=True)
    ]
    tasks = [asyncio.create_task(relay.run()) for relay in relays]
    try:
        await municipality.receive()
        await parts.until("delivered")
        await parts.until("not-taken")
        assert brought == ["care"]
        assert not await municipality.delivered()
        lifted.set()
        parts.clock.advance(timedelta(seconds=2))
        parts.bells.ring(Bell.BACKEND)
        await parts.until("delivered", times=2)
        assert brought == ["care", "school"]
        assert await municipality.delivered()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_of_two_that_are_confirmed_at_one_moment_one_is_the_last(tmp_path):
    """On several connections neither sees the other's commit: they meet at the document."""
    with running() as server:
        async with Parts.open(tmp_path, url=server.create("fan_out")) as parts:
            municipality = Municipality(parts)
            for _ in range(8):
                await municipality.receive()
            rows = await parts.rows("SELECT * FROM handovers ORDER BY message_identifier")
            at = parts.clock.now()

            async def confirm(handover: Handover) -> bool:
                return await parts.database.run(
                    lambda tx: settle(tx, handover, reporter=parts.reporter, at=at)
                )

            assert all(await asyncio.gather(*(confirm(handover_of(row)) for row in rows)))
            assert (await parts.events()).count(FINALIZED) == 8
            undelivered = await parts.rows(
                "SELECT id FROM documents WHERE direction = 'in' AND delivered_at IS NULL"
            )
            assert undelivered == []


async def test_each_system_pulls_what_is_its_own(municipality):
    parts = municipality.parts
    desk = PullDesk(
        database=parts.database, payloads=parts.payloads, reporter=parts.reporter, bells=parts.bells,
        clock=parts.clock, ids=parts.ids, systems=["care", "school"],
    )  # fmt: skip
    await municipality.receive()
    ids = set()
    for name in ("care", "school"):
        target = desk.target(Kind.DELIVERY, name)
        leased = await desk.lease(target, limit=10, duration=timedelta(seconds=60))
        (item,) = leased.items
        ids.add(item["id"])
        await desk.confirm(target, item["id"])
    assert len(ids) == 2
    assert await municipality.delivered()
    assert desk.target(Kind.DELIVERY, None) == "backend"
    assert desk.target(Kind.OUTCOME, "care") == "submitter"
    with pytest.raises(Unknown):
        desk.target(Kind.DELIVERY, "nobody")
