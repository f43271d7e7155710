"""Sending again over the interface: the message, not its copy; and what the list says of the answer."""

from accesspoint.clock import SystemClock
from accesspoint.demo.play import sample_message
from accesspoint.demo.scenery import CLINIC, REGISTER
from accesspoint.store.database import Transaction

from .conftest import Interface


async def test_the_copy_for_the_register_is_no_receiver_of_the_message(
    interface: Interface,
) -> None:
    _, accepted, _ = await interface.call("POST", "/api/v1/messages", sample_message(SystemClock()))
    identifier = accepted["message_identifier"]
    database = interface.node.point.database
    (sent,) = await database.fetch(
        "SELECT * FROM envelopes WHERE direction = 'out' AND message_identifier = $1", identifier
    )
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
    status, told, _ = await interface.call("POST", f"/api/v1/messages/{identifier}/resend")
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
    assert [one["answer"] for one in body["exchanges"]] == ["fatal-error"]
