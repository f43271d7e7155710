"""Signals that nobody asked for, posted to our own endpoint: who cannot show a receipt of our message changes nothing."""

from collections.abc import Callable

import pytest
from as4_arena import Arena, Verdict
from as4_peer import Answers, Arrived, HttpAnswer
from attack_rows import row

from accesspoint.trust import common_name
from envelope import codes
from envelope.wsse import Signer

SIGNAL = {"Content-Type": "application/soap+xml; charset=UTF-8"}
NO_MESSAGE = Verdict("G4", "soap.cardinality", "EBMS:0009")
NOT_OURS = Verdict("G10", "rcp.other", "EBMS:0302")


def error(answers: Answers, arrived: Arrived, *, signed: bool) -> bytes:
    return answers.error(codes.OTHER, message_id=arrived.message_id, signed=signed)


def stranger(arena: Arena) -> Signer:
    """Somebody who calls himself the municipality's access point."""
    name = common_name(arena.pki.municipality.certificate)
    return arena.pki.certify(name, authority=arena.pki.untrusted_authority).signer()


@pytest.mark.parametrize(
    ("write", "verdict"),
    [
        row("RCP-14", lambda a, m, _: error(a, m, signed=True), NO_MESSAGE),
        row("RCP-14", lambda a, m, _: error(a, m, signed=False), NO_MESSAGE),
        (lambda a, m, _: a.receipt(m, signed=False), Verdict("G5", "sec.missing", "EBMS:0103")),
        (lambda a, m, _: a.receipt(m, message_id="of@nobody"), NOT_OURS),
        (lambda a, m, arena: a.receipt(m, signer=arena.pki.clinic.signer()), NOT_OURS),
        (
            lambda a, m, arena: a.receipt(m, signer=stranger(arena)),
            Verdict("G6", "cert.untrusted", "EBMS:0101"),
        ),
        (
            lambda a, m, _: a.receipt(m, references=m.references[:-1]),
            Verdict("G10", "rcp.missing", "EBMS:0302"),
        ),
    ],
    ids=[
        "signed error",
        "unsigned error",
        "unsigned receipt",
        "receipt of no message",
        "receipt of another access point",
        "receipt of a stranger",
        "receipt of less",
    ],
)
async def test_a_signal_that_proves_nothing(
    arena: Arena, write: Callable[[Answers, Arrived, Arena], bytes], verdict: Verdict
) -> None:
    """The clinic has sent acknowledgements to the municipality; a pushed signal changes nothing about them."""
    await arena.accepts(arena.author.compose())
    arrived = arena.municipality.arrived[-1]
    body = write(Answers(arena.pki.municipality.signer()), arrived, arena)

    async def attack() -> HttpAnswer:
        return await arena.client.post_octets(body, SIGNAL)

    before = await arena.node.message(arrived.message_id)
    await arena.refuses(attack, verdict, twin=arena.author.compose())
    assert await arena.node.message(arrived.message_id) == before


async def test_a_receipt_that_we_have_already(arena: Arena) -> None:
    """A true receipt once more is no attack: it is taken and changes nothing, however often it comes."""
    await arena.accepts(arena.author.compose())
    await arena.node.idle()
    arrived = arena.municipality.arrived[-1]
    body = Answers(arena.pki.municipality.signer()).receipt(arrived)
    before = await arena.node.counts()
    for _ in range(3):
        answer = await arena.client.post_octets(body, SIGNAL)
        assert (answer.status, answer.body) == (202, b"")
    assert await arena.node.counts() == before
