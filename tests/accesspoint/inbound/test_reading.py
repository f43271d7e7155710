"""The order in which the events of a request may come, and what a request leaves that has no message of its own."""

import asyncio
from types import MappingProxyType
from typing import Any

import pytest

from accesspoint.inbound.reading import Reading
from accesspoint.inbound.refusal import Intake
from envelope.errors import Gate, MimeInconsistency, TransportRefused
from envelope.events import MessageComplete, PartData, PartEnded, PartStarted


def started(index: int, content_id: str | None) -> PartStarted:
    return PartStarted(index, MappingProxyType({}), content_id, None, "binary")


def reading_of(inbound: Any) -> Reading:
    return Reading(inbound.receiver(), Intake("peer"), inbound.parts.clock.now())


async def refusal(reading: Reading, *events: Any) -> MimeInconsistency:
    with pytest.raises(MimeInconsistency) as refused:  # noqa: PT012 - whichever event it is
        for event in events:
            await reading.take(event)
        reading.finish()
    reading.close()
    return refused.value


async def test_a_part_before_the_soap_part_is_complete_is_refused(inbound: Any) -> None:
    reading = reading_of(inbound)
    refused = await refusal(reading, started(0, None), PartData(b"<S12"), started(1, "a@x"))
    assert refused.reason == "mime.order"


async def test_a_soap_part_may_be_as_large_as_agreed_and_no_larger(inbound: Any) -> None:
    reading = reading_of(inbound)
    largest = bytes(inbound.receiver().soap_bytes)
    await reading.take(PartData(largest))
    assert reading.soap == largest
    with pytest.raises(TransportRefused) as refused:
        await reading.take(PartData(b"1"))
    told = refused.value
    assert (told.reason, told.gate, told.status) == ("soap.size", Gate.G2, 413)


async def test_without_a_soap_part_there_is_nothing_to_finish(inbound: Any) -> None:
    reading = reading_of(inbound)
    assert (await refusal(reading, PartEnded(1), MessageComplete(1))).reason == "mime.start"


@pytest.mark.parametrize(
    ("names", "reason", "gate"),
    [((None,), "att.cid", Gate.G4), (("first", "first"), "att.duplicate", Gate.G8)],
)
async def test_each_part_has_a_name_of_its_own(
    inbound: Any, names: tuple[str | None, ...], reason: str, gate: Gate
) -> None:
    wire = inbound.author.compose()
    known = {"first": wire.parts[0].content_id, None: None}
    reading = reading_of(inbound)
    parts = [started(number, known[name]) for number, name in enumerate(names, 1)]
    refused = await refusal(reading, started(0, None), PartData(wire.soap), PartEnded(0), *parts)
    assert (refused.reason, refused.gate) == (reason, gate)
    assert await inbound.stored_nothing()


async def test_a_receipt_that_comes_alone_is_taken_by_who_waits_for_it(inbound: Any) -> None:
    taken: list[bytes] = []

    async def take(soap: bytes, identify: Any) -> bool:
        taken.append(soap)
        return True

    receiver = inbound.receiver(take_receipt=take)
    answer = await inbound.receive_octets(b"<soap/>", "application/soap+xml", receiver=receiver)
    assert (answer.status, answer.body, taken) == (202, b"", [b"<soap/>"])
    assert answer.content_type == "text/plain; charset=utf-8"
    assert await inbound.stored_nothing()


async def test_two_test_messages_that_race_get_one_receipt(inbound: Any) -> None:
    """They have no payload in the store that the loser would have to take back."""
    wire = inbound.author.test_message()
    receiver = inbound.receiver()
    original, both = receiver._commit, asyncio.Barrier(2)

    async def commit(*arguments: Any, **more: Any) -> Any:
        await both.wait()
        return await original(*arguments, **more)

    receiver._commit = commit
    one, two = await asyncio.gather(
        inbound.receive(wire, receiver=receiver), inbound.receive(wire, receiver=receiver)
    )
    assert one.body == two.body
    assert len(await inbound.messages()) == 1


async def test_an_alarm_for_a_message_that_is_gone_is_none(inbound: Any) -> None:
    await inbound.receiver()._alarm("gone")
    assert await inbound.parts.rows("SELECT * FROM journal") == []
