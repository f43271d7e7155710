"""A message there and all its acknowledgements back, between two nodes in one process."""

from as4_stage import Node
from exchange import exchange


async def test_message_and_both_acknowledgements(two_nodes: tuple[Node, Node]) -> None:
    municipality, clinic = two_nodes
    identifier, data = await exchange(municipality, clinic)
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
