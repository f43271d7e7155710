"""Durable from acceptance: processes are killed, answers lost and networks silent, and every message arrives once.

Theory. A message answered with 202 is a row on disk; a receipt leaves only after its message is one. So
whatever dies, and whenever, the sender has something to send again and the receiver something to know it
by. The same MessageId on every attempt is what joins the two, and the same receipt is the proof that the
second copy was not taken for a new message.

Every test ends in the same state: delivered once, acknowledged on both levels, the sixteen delivery
events of a full exchange, none missing and none twice.
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from delivery_rows import expected_rows, rows_by
from sample_messages import home_care_observation
from two_organisations import TwoOrganisations, describe, until

from accesspoint.demo.scenery import ORGANISATIONS, device_ids
from accesspoint.network.faults import Fault
from envelope import fhir

pytestmark = pytest.mark.asyncio(loop_scope="module")

OWNERS = {device: o.key for o in ORGANISATIONS for device in device_ids(o).values()}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def network(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TwoOrganisations]:
    async with TwoOrganisations.open(tmp_path_factory.mktemp("restart")) as network:
        yield network


@pytest_asyncio.fixture(loop_scope="module")
async def scene(network: TwoOrganisations) -> AsyncIterator[TwoOrganisations]:
    """The two organisations with empty stores and nothing running."""
    for name in network.plans:
        await network.forget(name)
    yield network
    network.around.network.faults.clear()
    for name, door in network.doors.items():
        door.keeps_answers = False
        await network.stop(name)


class Message:
    """One message to send, and what becomes of it."""

    def __init__(self, network: TwoOrganisations) -> None:
        self.network = network
        self.data = fhir.serialize(home_care_observation(), "json")
        self.identifier = fhir.recognise(fhir.read_message(self.data)).message_id

    async def submit(self) -> None:
        async with self.network.client("municipality") as client:
            accepted = await client.submit(self.data, to=None)
        assert accepted["message_identifier"] == self.identifier

    async def told_by(self, name: str) -> dict[str, Any] | None:
        async with self.network.client(name) as client:
            return await describe(client, self.identifier)

    async def outbound(self) -> dict[str, Any]:
        """The one exchange of the sender's access point."""
        told = await self.told_by("municipality")
        assert told is not None
        (exchange,) = told["exchanges"]
        return exchange

    async def inbound(self) -> dict[str, Any] | None:
        """The one exchange of the receiver's access point, once there is one."""
        told = await self.told_by("clinic")
        if told is None:
            return None
        (exchange,) = told["exchanges"]
        return exchange

    async def until_tried(self, times: int) -> dict[str, Any]:
        async def tried() -> dict[str, Any] | None:
            exchange = await self.outbound()
            return exchange if exchange["attempt"] >= times else None

        return await until(tried, f"{times} attempts")

    async def arrives_once(self) -> None:
        """Wait for the end of the exchange and hold everything against what was promised."""
        reports = await self.network.status.wait_for([self.identifier], 16, seconds=60)
        acknowledgement = next(
            report.message_identifier
            for report in reports
            if report.resource["source"]["type"][0]["code"] == "EUA"
            and report.message_identifier != self.identifier
        )

        async def settled() -> bool:
            told = await self.told_by("municipality")
            return told is not None and told["documents"][0]["acknowledgement"] == "ok"

        await until(settled, "the FHIR Acknowledgement")
        await self._nothing_is_owed(acknowledgement)
        reports = await self.network.status.of_exchange([self.identifier])
        found = rows_by((report.resource for report in reports), OWNERS)
        assert found == expected_rows("together")
        assert {report.resource["outcome"] for report in reports} == {"0"}
        assert self.network.delivered("clinic") == {f"{self.identifier}.json": self.data}
        assert list(self.network.delivered("municipality")) == [f"{acknowledgement}.json"]
        out, taken = await self.outbound(), await self.inbound()
        assert taken is not None
        assert out["outcome"] == "ACKNOWLEDGED"
        assert taken["state"] == "DELIVERED"
        assert out["message_id"] == taken["message_id"]
        assert out["payload_sha256"] == taken["payload_sha256"]
        assert [step["to"] for step in taken["history"]].count("RECEIVED") == 1

    async def _nothing_is_owed(self, acknowledgement: str) -> None:
        """Every event that any node has recorded for the exchange was sent: the count is final."""
        for name in self.network.plans:
            async with self.network.client(name) as client:
                for identifier in (self.identifier, acknowledgement):

                    async def sent(identifier: str = identifier, client: Any = client) -> bool:
                        told = await describe(client, identifier)
                        return told is not None and all(
                            event["state"] == "sent" for event in told["events"]
                        )

                    await until(sent, f"events of {name}")


async def test_a_message_accepted_before_a_kill_is_sent_after_the_restart(scene):
    await scene.start("municipality")
    message = Message(scene)
    await message.submit()
    assert await scene.kill("municipality") == -9
    await scene.start("municipality", "clinic")
    await message.arrives_once()


async def test_a_message_tried_before_a_kill_keeps_its_message_id(scene):
    scene.doors["clinic"].shut()
    await scene.start("municipality")
    message = Message(scene)
    await message.submit()
    before = await message.until_tried(1)
    assert await scene.kill("municipality") == -9
    await scene.start("municipality")
    between = await message.outbound()
    assert between["message_id"] == before["message_id"]
    assert between["state"] not in {"ACKNOWLEDGED", "FAILED", "EXPIRED", "UNCERTAIN"}
    await scene.start("clinic")
    await message.arrives_once()
    after = await message.outbound()
    assert after["message_id"] == before["message_id"]
    assert after["attempt"] > before["attempt"]


async def test_a_sender_killed_while_it_waits_for_the_receipt_asks_for_it_again(scene):
    await scene.start("municipality", "clinic")
    scene.doors["clinic"].keeps_answers = True
    message = Message(scene)
    await message.submit()
    taken = await until(message.inbound, "the commit of the receiver")
    assert (await message.outbound())["state"] == "SENDING"
    assert await scene.kill("municipality") == -9
    scene.doors["clinic"].keeps_answers = False
    scene.doors["clinic"].cut()
    await scene.start("municipality")
    await message.arrives_once()
    out, again = await message.outbound(), await message.inbound()
    assert again is not None
    assert out["message_id"] == taken["message_id"]
    assert out["attempt"] == 2
    assert again["receipt"] == taken["receipt"]


async def test_a_receiver_killed_after_its_commit_answers_the_retry_with_the_stored_receipt(scene):
    await scene.start("municipality", "clinic")
    scene.doors["clinic"].keeps_answers = True
    message = Message(scene)
    await message.submit()
    taken = await until(message.inbound, "the commit of the receiver")
    assert await scene.kill("clinic") == -9
    assert (await message.outbound())["receipt"] is None
    scene.doors["clinic"].keeps_answers = False
    scene.doors["clinic"].cut()
    await scene.start("clinic")
    await message.arrives_once()
    again = await message.inbound()
    assert again is not None
    assert again["id"] == taken["id"]
    assert again["receipt"] == taken["receipt"]
    out = await message.outbound()
    assert out["attempt"] >= 2
    assert out["receipt"]["signer"] == taken["receipt"]["signer"]
    assert '"event":"as4.in.duplicate"' in scene.log("clinic")


async def test_an_answer_lost_on_the_way_is_asked_for_again(scene):
    await scene.start("municipality", "clinic")
    scene.doors["clinic"].keeps_answers = True
    message = Message(scene)
    await message.submit()
    taken = await until(message.inbound, "the commit of the receiver")
    scene.doors["clinic"].keeps_answers = False
    scene.doors["clinic"].cut()
    await message.arrives_once()
    again = await message.inbound()
    assert again is not None
    assert again["receipt"] == taken["receipt"]
    assert (await message.outbound())["attempt"] == 2


async def test_events_of_a_silent_status_component_arrive_when_it_speaks_again(scene):
    faults = scene.around.network.faults
    faults.add(Fault.STATUS_DOWN)
    await scene.start("municipality", "clinic")
    message = Message(scene)
    await message.submit()

    async def acknowledged() -> bool:
        told = await message.told_by("municipality")
        return told is not None and told["documents"][0]["acknowledgement"] == "ok"

    await until(acknowledged, "the FHIR Acknowledgement")
    assert await scene.status.of_exchange([message.identifier]) == []
    # Events are rows like everything else: both nodes die while nobody takes them.
    for name in scene.plans:
        assert await scene.kill(name) == -9
    await scene.start("municipality", "clinic")
    faults.clear()
    await message.arrives_once()
