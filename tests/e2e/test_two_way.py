"""Two-Way/Push-and-Push between two nodes: an answer is a push of its own that names what it answers."""

from pathlib import Path

import pytest
from as4_stage import Node, Pki, Stage
from exchange import exchange

from envelope import soap
from envelope.messaging import parse_user_message
from envelope.xml import scan


async def legs(sender: Node, receiver: Node) -> tuple[list[dict[str, object]], list[object]]:
    """What the receiver sent back: its rows, and what their signed headers say of the message that they answer."""
    rows = await receiver.rows("SELECT * FROM messages WHERE direction = 'out' ORDER BY id")
    wires = [
        await receiver.rows("SELECT soap FROM wires WHERE message = $1", r["id"]) for r in rows
    ]
    said = [parse_user_message(soap.parse_soap(scan(bytes(one["soap"])))) for (one,) in wires]
    arrived = {
        row["message_id"]: row
        for row in await sender.rows("SELECT * FROM messages WHERE direction = 'in'")
    }
    for row, header in zip(rows, said, strict=True):
        assert header.collaboration_info.conversation_id == row["conversation_id"]
        assert arrived[row["message_id"]]["ref_to_message_id"] == header.ref_to_message_id
    return rows, [header.ref_to_message_id for header in said]


@pytest.mark.parametrize("mep", ["two-way/push-and-push", "one-way/push"])
async def test_an_answer_refers_to_the_request_where_that_is_agreed(
    pki: Pki, tmp_path: Path, mep: str
) -> None:
    stage = Stage(pki, tmp_path)
    async with stage.pair(acknowledging={"fhir": "automatic"}, agreed={"mep": mep}) as nodes:
        municipality, clinic = nodes
        identifier, _ = await exchange(municipality, clinic)
        (request,) = await municipality.rows(
            "SELECT * FROM messages WHERE direction = 'out' AND message_identifier = $1", identifier
        )
        rows, references = await legs(municipality, clinic)
    assert len(rows) >= 2, "the acknowledgements of MSH and application are answers both"
    assert request["ref_to_message_id"] is None
    assert {row["conversation_id"] for row in rows} == {request["conversation_id"]}
    assert {row["ref_to_message_id"] for row in rows} == {request["message_id"]}
    said = request["message_id"] if mep == "two-way/push-and-push" else None
    assert set(references) == {said}
