"""A message there and all its acknowledgements back, between two nodes in one process."""

import uuid

from as4_stage import Node
from as4_wire import medcom_message


async def test_message_and_both_acknowledgements(two_nodes: tuple[Node, Node]) -> None:
    municipality, clinic = two_nodes
    identifier = str(uuid.uuid4())
    data, _ = medcom_message(identifier, str(uuid.uuid4()))
    _, commit = await municipality.point.application.submit(data)
    await municipality.point.bells.run(municipality.point.database, commit)

    async def settled() -> bool:
        (document,) = await municipality.rows(
            "SELECT acknowledgement FROM documents WHERE direction = 'out'"
        )
        awaited = [
            row
            for node in two_nodes
            for row in await node.rows("SELECT * FROM envelopes WHERE acknowledgement = 'awaited'")
        ]
        return document["acknowledgement"] == "ok" and not awaited

    await municipality.until(settled, "the exchange does not come to its end")
    for node in two_nodes:
        await node.idle()
    assert clinic.delivered() == {f"{identifier}.json"}
    assert (clinic.home / "received" / f"{identifier}.json").read_bytes() == data
    assert len(municipality.delivered()) == 1  # the MedCom acknowledgement
    for node in two_nodes:
        states = await node.rows("SELECT DISTINCT direction, state FROM messages")
        assert {(row["direction"], row["state"]) for row in states} == {
            ("out", "NOTIFIED"),
            ("in", "DELIVERED"),
        }
        assert (await node.counts())["refusals"] == 0
    assert municipality.outcomes() == {identifier: "ACKNOWLEDGED"}
    assert list(clinic.outcomes().values()) == ["ACKNOWLEDGED"]
