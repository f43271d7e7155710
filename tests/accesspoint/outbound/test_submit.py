"""Accepting an envelope: owed from the commit on, and refused before anything is stored when it does not hold."""

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from station_parts import RECEIVER, SENDER

from accesspoint.stations import Bell
from accesspoint.stations.document import Envelope
from envelope.errors import SbdRefused

if TYPE_CHECKING:
    from .conftest import Outbound


async def test_an_accepted_envelope_is_a_row_that_is_due(outbound: "Outbound") -> None:
    envelope = outbound.envelope()
    commit = await outbound.submit.take_envelope(envelope)
    assert commit.rings == {Bell.SENDER, Bell.OUTBOX}
    await outbound.parts.run(commit)
    row = await outbound.parts.one("SELECT * FROM messages")
    header = envelope.header
    assert header is not None
    assert (row["direction"], row["state"], row["party"]) == ("out", "ACCEPTED", "")
    assert row["message_id"].endswith("@sender.example")
    assert row["envelope_id"] == header.instance_identifier
    assert (row["original_sender"], row["final_recipient"]) == (
        f"0088:{SENDER.gln}",
        f"0088:{RECEIVER.gln}",
    )
    assert (row["document_id"], row["process_id"]) == (
        header.scope("DOCUMENTID"),
        header.scope("PROCESSID"),
    )
    assert row["payload"] == envelope.stored.payload
    assert await outbound.parts.events() == [("AP", "msg-received")]
    note = await outbound.parts.one("SELECT * FROM journal")
    assert (note["event"], note["station"]) == ("accepted", "AP")
    assert json.loads(note["detail"])["message_id"] == row["message_id"]


async def test_an_envelope_from_elsewhere_is_read_from_its_file(outbound: "Outbound") -> None:
    envelope = outbound.envelope()
    await outbound.parts.run(await outbound.submit.take_envelope(replace(envelope, header=None)))
    assert envelope.header is not None
    row = await outbound.parts.one("SELECT * FROM messages")
    assert row["envelope_id"] == envelope.header.instance_identifier


async def test_an_envelope_that_does_not_hold_is_refused_before_anything_is_stored(
    outbound: "Outbound",
) -> None:
    good = outbound.envelope()
    assert good.header is not None
    scopes = tuple(scope for scope in good.header.scopes if scope.type != "DOCUMENTID")
    flawed = replace(good, header=replace(good.header, scopes=scopes))
    for envelope in (flawed, Envelope("m", outbound.parts.store(b"<x/>"))):
        with pytest.raises(SbdRefused):
            await outbound.submit.take_envelope(envelope)
    assert await outbound.parts.rows("SELECT * FROM messages") == []
