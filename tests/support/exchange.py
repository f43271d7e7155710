"""One MedCom message there and all its acknowledgements back, between two nodes in this process."""

import uuid

from as4_stage import Node
from as4_wire import medcom_message


async def exchange(sender: Node, receiver: Node) -> tuple[str, bytes]:
    """Send a message and wait until both nodes owe nobody anything; its identifier and its octets."""
    identifier = str(uuid.uuid4())
    data, _ = medcom_message(identifier, str(uuid.uuid4()))
    _, commit = await sender.point.application.submit(data)
    await sender.point.bells.run(sender.point.database, commit)

    async def settled() -> bool:
        (document,) = await sender.rows(
            "SELECT acknowledgement FROM documents WHERE direction = 'out' AND message_identifier = $1",
            identifier,
        )
        awaited = [
            row
            for node in (sender, receiver)
            for row in await node.rows("SELECT * FROM envelopes WHERE acknowledgement = 'awaited'")
        ]
        return document["acknowledgement"] == "ok" and not awaited

    await sender.until(settled, "the exchange does not come to its end")
    for node in (sender, receiver):
        await node.idle()
    return identifier, data
