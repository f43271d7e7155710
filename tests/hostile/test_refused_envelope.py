"""A document that its schema allows and the EHMI profile does not: receipted, answered in the negative, kept from the user.

The access point has nothing against such a message; the message service handler has. So the sender gets
its receipt, and then an ehmiSBDH acknowledgement that says no.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest
from as4_arena import Arena, Verdict
from as4_peer import verify_receipt

from envelope.sbdh import StandardBusinessDocumentHeader

Header = StandardBusinessDocumentHeader


def without(name: str) -> Callable[[Header], Header]:
    return lambda header: replace(
        header, scopes=tuple(scope for scope in header.scopes if scope.type != name)
    )


def scope(name: str, value: str) -> Callable[[Header], Header]:
    return lambda header: replace(
        header,
        scopes=tuple(
            replace(one, instance_identifier=value) if one.type == name else one
            for one in header.scopes
        ),
    )


@pytest.mark.parametrize(
    "change",
    [
        without("StatisticalInformation"),
        scope("PATIENTID", "not-a-number"),
        lambda header: replace(header, binary_content_mime_type="application/xml"),
    ],
    ids=["no statistics", "PATIENTID", "media type"],
)
async def test_profile_broken(arena: Arena, change: Callable[[Header], Header]) -> None:
    await arena.node.idle()
    delivered, sent = arena.node.delivered(), len(arena.municipality.arrived)
    wire = arena.author.compose(header=change)
    verify_receipt(await arena.client.post(wire), wire, arena.node.certificate)
    await arena.node.idle()
    message = await arena.node.message(wire.message_id)
    (envelope,) = await arena.node.rows(
        "SELECT acknowledgement FROM envelopes WHERE direction = 'in' AND envelope_id = $1",
        message["envelope_id"],
    )
    assert envelope["acknowledgement"] == "negative"
    assert len(arena.municipality.arrived) == sent + 1
    assert arena.node.delivered() == delivered
    documents = await arena.node.rows(
        "SELECT * FROM documents WHERE message_identifier = $1", wire.message_identifier
    )
    assert documents == []


@pytest.mark.parametrize("name", ["SENDERID", "RECEIVERID"])
async def test_nobody_to_answer(arena: Arena, name: str) -> None:
    """Without a usable address no acknowledgement can be written: kept in quarantine, with an alarm, not delivered."""
    await arena.node.idle()
    delivered, mark = arena.node.delivered(), arena.log.mark
    wire = arena.author.compose(header=scope(name, "not-a-sor-id"))
    verify_receipt(await arena.client.post(wire), wire, arena.node.certificate)
    await arena.node.idle()
    assert (await arena.node.message(wire.message_id))["state"] == "QUARANTINED"
    (event,) = arena.log.since(mark)
    assert (event["event"], event["level"]) == ("inbound_not_delivered", "error")
    assert arena.node.delivered() == delivered


@pytest.mark.parametrize("name", ["SENDERID", "MESSAGEIDENTIFIER", "DOCUMENTID", "PROCESSID"])
async def test_scope_that_routing_needs(arena: Arena, name: str) -> None:
    """What the access point itself has to know is asked for at its own gate."""
    twin = arena.author.compose()
    attack = arena.author.compose(message_id=twin.message_id, header=without(name))
    reason, code = {
        "DOCUMENTID": ("pmode.action", "EBMS:0001"),
        "PROCESSID": ("pmode.service", "EBMS:0001"),
    }.get(name, ("sbd.scope", "EBMS:0004"))
    await arena.refuses(attack, Verdict("G10", reason, code), twin=twin)
