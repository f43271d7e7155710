"""The P-Mode that a message is sent under, and one for which none is agreed: it waits, and says what is missing."""

from dataclasses import replace
from typing import TYPE_CHECKING

from accesspoint.demo.scenery import CLINIC
from accesspoint.identity import Agreements
from envelope.pmode import DOMIBUS_LIKE, PMode

if TYPE_CHECKING:
    from .conftest import Outbound


async def agreed(outbound: "Outbound", id_: str) -> PMode:
    """A P-Mode for just this message, with an agreement to know it by."""
    row = await outbound.row(id_)
    return replace(
        DOMIBUS_LIKE,
        id="clinic.this",
        service=row["process_id"],
        action=row["document_id"],
        agreement="urn:this",
    )


async def test_a_message_goes_out_under_the_p_mode_of_its_service_and_action(
    outbound: "Outbound",
) -> None:
    id_ = await outbound.accept()
    this = await agreed(outbound, id_)
    other = replace(this, id="clinic.other", service="urn:other", agreement="urn:other")
    agreements = Agreements(exchanges={CLINIC.access_point: (other, this)})
    async with outbound.running(outbound.sender(agreements=agreements)):
        await outbound.parts.until("receipt")
    (arrived,) = outbound.server.arrived
    assert b"urn:this</" in arrived.body
    assert b"urn:other" not in arrived.body


async def test_without_a_p_mode_nothing_is_sent_and_the_message_waits(outbound: "Outbound") -> None:
    id_ = await outbound.accept()
    other = replace(await agreed(outbound, id_), service="urn:other")
    agreements = Agreements(exchanges={CLINIC.access_point: (other,)})
    async with outbound.running(outbound.sender(agreements=agreements)):
        await outbound.parts.until("waiting")
    row = await outbound.row(id_)
    assert (row["state"], row["problem"]) == ("ACCEPTED", "pmode-missing")
    assert outbound.server.arrived == []
