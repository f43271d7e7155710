"""Sending again over the interface: the message, not its copy; and what the list says of the answer."""

import asyncio

import pytest

from accesspoint.clock import SystemClock
from accesspoint.demo.play import sample_message
from accesspoint.demo.scenery import CLINIC, REGISTER
from accesspoint.store.database import Row, Transaction

from .conftest import WHY, Interface


async def test_the_copy_for_the_register_is_no_receiver_of_the_message(
    interface: Interface,
) -> None:
    _, accepted, _ = await interface.call("POST", "/api/v1/messages", sample_message(SystemClock()))
    identifier = accepted["message_identifier"]
    database = interface.node.point.database
    sent = await until_wrapped(interface, identifier)
    copy = {
        **sent,
        "envelope_id": "copy",
        "receiver": f"0088:{REGISTER.address.gln}",
        "created_at": sent["created_at"] + 1,
    }

    async def insert(tx: Transaction) -> None:
        places = ", ".join(f"${number}" for number in range(1, len(copy) + 1))
        await tx.execute(
            f"INSERT INTO envelopes ({', '.join(copy)}) VALUES ({places})",
            *copy.values(),
        )

    await database.run(insert)
    status, told, _ = await interface.call("POST", f"/api/v1/messages/{identifier}/resend", WHY)
    assert status == 202
    receivers = [one["receiver"].removeprefix("0088:") for one in told["envelopes"]]
    clinic = CLINIC.address.gln
    assert receivers == [clinic, REGISTER.address.gln, clinic]


async def test_the_list_says_what_the_receiver_answered(interface: Interface) -> None:
    _, accepted, _ = await interface.call("POST", "/api/v1/messages", sample_message(SystemClock()))
    identifier = accepted["message_identifier"]

    async def refuse(tx: Transaction) -> None:
        await tx.execute(
            "UPDATE documents SET acknowledgement = 'fatal-error' WHERE message_identifier = $1",
            identifier,
        )

    await interface.node.point.database.run(refuse)
    while True:
        _, body, _ = await interface.call("GET", "/api/v1/exchanges?all=1")
        if body["exchanges"]:
            break
        await asyncio.sleep(0.01)
    assert [one["answer"] for one in body["exchanges"]] == ["fatal-error"]


@pytest.mark.parametrize(
    ("answer", "handler", "query", "status", "title"),
    [
        ("ok", "positive", "", 409, "already-acknowledged"),
        ("ok", "positive", "?anyway=1", 202, None),
        ("fatal-error", "positive", "?anyway=1", 409, "not-possible"),
        # Its handler has it, but what its system says is missed still.
        ("awaited", "positive", "", 202, None),
        ("transient-error", "positive", "", 202, None),
        ("awaited", "awaited", "", 202, None),
    ],
)
async def test_what_was_acknowledged_is_not_sent_again_unless_asked_for_anyway(
    interface: Interface, answer: str, handler: str, query: str, status: int, title: str | None
) -> None:
    _, accepted, _ = await interface.call("POST", "/api/v1/messages", sample_message(SystemClock()))
    identifier = accepted["message_identifier"]
    await until_wrapped(interface, identifier)

    async def settle(tx: Transaction) -> None:
        for table, value in (("documents", answer), ("envelopes", handler)):
            await tx.execute(f"UPDATE {table} SET acknowledgement = $1", value)

    await interface.node.point.database.run(settle)
    got, body, _ = await interface.call("POST", f"/api/v1/messages/{identifier}/resend{query}", WHY)
    assert (got, body.get("title")) == (status, title)


async def until_wrapped(interface: Interface, identifier: str) -> Row:
    """The envelope that the message is in."""
    while True:
        found = await interface.node.point.database.fetch(
            "SELECT * FROM envelopes WHERE direction = 'out' AND message_identifier = $1",
            identifier,
        )
        if found:
            return found[0]
        await asyncio.sleep(0.01)
