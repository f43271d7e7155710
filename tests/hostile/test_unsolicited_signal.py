"""Receipts and errors that nobody asked for, posted to our own endpoint: answers come where the question went, or not at all."""

from collections.abc import Callable

import pytest
from as4_arena import Arena, Verdict
from as4_peer import Answers, Arrived, HttpAnswer

from envelope import codes

VERDICT = Verdict("G4", "soap.cardinality", "EBMS:0009")


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
@pytest.mark.parametrize(
    "write",
    [
        lambda answers, arrived, signed: answers.receipt(arrived, signed=signed),
        lambda answers, arrived, signed: answers.error(
            codes.OTHER, message_id=arrived.message_id, signed=signed
        ),
    ],
    ids=["receipt", "error"],
)
async def test_signal_instead_of_a_message(
    arena: Arena, write: Callable[[Answers, Arrived, bool], bytes], signed: bool
) -> None:
    """The clinic has sent acknowledgements to the municipality; a pushed signal changes nothing about them."""
    await arena.accepts(arena.author.compose())
    arrived = arena.municipality.arrived[-1]
    answers = Answers(arena.pki.municipality.signer())
    body = write(answers, arrived, signed)

    async def attack() -> HttpAnswer:
        return await arena.client.post_octets(
            body, {"Content-Type": "application/soap+xml; charset=UTF-8"}
        )

    before = await arena.node.message(arrived.message_id)
    await arena.refuses(attack, VERDICT, twin=arena.author.compose())
    assert await arena.node.message(arrived.message_id) == before
