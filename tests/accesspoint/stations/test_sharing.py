"""The copy to the document register: owed with the message, due with its acknowledgement, made once."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sample_messages import home_care_observation
from station_parts import RECEIVER, SENDER, Neighbour, Parts, acknowledge

from accesspoint.config import Retention
from accesspoint.stations.document import Address, Document, Envelope
from accesspoint.stations.link import Handover, insert_handover
from accesspoint.stations.message_service_handler import MessageServiceHandler
from accesspoint.stations.relay import NeverTaken
from accesspoint.stations.reporting import Act
from accesspoint.stations.sbd_file import header_from_bytes, open_sbd
from accesspoint.stations.settling import handover_of
from accesspoint.stations.sharing import Sharing
from accesspoint.store.lanes import NEVER
from accesspoint.store.retention import RetentionKeeper
from envelope import fhir
from envelope.acknowledgement import ReceiptException
from envelope.ehmi import check_envelope
from envelope.fhir.document_reference import read_document_reference
from envelope.sbdh import StandardBusinessDocumentHeader

REGISTER = Address("5790000000043", "900000000000040", "Dokumentregister")


@dataclass
class Sender:
    """A message service handler that shares what it sent, over an access point that takes everything."""

    parts: Parts
    station: MessageServiceHandler
    down: Neighbour[Envelope]
    sharing: Sharing

    async def send(self, bundle: dict[str, Any] | None = None) -> StandardBusinessDocumentHeader:
        await self.parts.run(await self.station.take_document(self.document(bundle)))
        header = self.down.taken[-1].header
        assert header is not None
        return header

    def document(self, bundle: dict[str, Any] | None = None) -> Document:
        data = fhir.serialize(bundle or home_care_observation(), "json")
        facts = fhir.recognise(fhir.read_message(data))
        return Document(
            facts.message_id, facts.bundle_id, facts.event_code, facts.definition_version, SENDER, RECEIVER,
            facts.patient_id, None, None, facts.mime_type, self.parts.store(data),
        )  # fmt: skip

    async def acknowledge(
        self, header: StandardBusinessDocumentHeader, exception: ReceiptException | None = None
    ) -> None:
        answer = acknowledge(self.parts, header, exception)
        await self.parts.run(await self.station.take_envelope(answer))

    async def make_copy(self) -> None:
        row = await self.parts.one("SELECT * FROM handovers WHERE target = 'sharing'")
        await self.sharing.carrier(self.station.copy_document)(handover_of(row))

    async def state(self) -> tuple[str, bool, str | None]:
        """State, whether it is due, and problem of the only copy."""
        row = await self.parts.one("SELECT * FROM handovers WHERE target = 'sharing'")
        return row["state"], row["next_at"] != NEVER, row["problem"]


@pytest.fixture
async def sender(tmp_path: Path) -> AsyncIterator[Sender]:
    async with opened(tmp_path) as made:
        yield made


@asynccontextmanager
async def opened(directory: Path, *, together: bool = True) -> AsyncIterator[Sender]:
    async with Parts.open(directory, together=together) as parts:
        sharing = Sharing(
            REGISTER, database=parts.database, payloads=parts.payloads, bells=parts.bells, clock=parts.clock
        )  # fmt: skip
        station = MessageServiceHandler(
            database=parts.database, payloads=parts.payloads, reporter=parts.reporter, clock=parts.clock,
            ids=parts.ids, sharing=sharing,
        )  # fmt: skip
        station.down = down = Neighbour()
        yield Sender(parts, station, down, sharing)


async def test_a_copy_is_owed_with_the_message_and_due_with_its_acknowledgement(sender):
    header = await sender.send()
    assert await sender.state() == ("waiting", False, None)
    await sender.acknowledge(header)
    assert await sender.state() == ("waiting", True, None)


async def test_what_the_receiver_refused_is_not_shared(sender):
    header = await sender.send()
    await sender.acknowledge(header, ReceiptException("Syntax", "no"))
    assert await sender.state() == ("set-aside", False, "acknowledgement-negative")


async def test_the_copy_is_the_message_in_an_envelope_of_its_own(sender):
    header = await sender.send()
    await sender.acknowledge(header)
    await sender.make_copy()
    envelope = sender.down.taken[-1]
    with open_sbd(sender.parts.payloads, envelope.stored) as opened_:
        copy, digest = opened_.header, opened_.sha256
    check_envelope(copy)
    original = await sender.parts.one(
        "SELECT payload_sha256 FROM envelopes ORDER BY created_at LIMIT 1"
    )
    assert digest == original["payload_sha256"]
    assert copy.instance_identifier != header.instance_identifier
    assert (copy.receiver.value, copy.scope("RECEIVERID")) == ("0088:5790000000043", REGISTER.sor)
    for same in (
        "MESSAGEIDENTIFIER",
        "MESSAGEENVELOPEIDENTIFIER",
        "SENDERID",
        "PATIENTID",
        "DOCUMENTID",
    ):
        assert copy.scope(same) == header.scope(same)
    assert copy.scope("EHMI-ReceiptAcknowledgement") == "Request"
    metadata = read_document_reference(copy.scope("XDS-METADATA") or "")
    assert metadata.master_identifier == f"urn:uuid:{header.scope('MESSAGEENVELOPEIDENTIFIER')}"
    assert header.scope("XDS-METADATA") is None


async def test_the_envelope_table_keeps_no_metadata(sender):
    await sender.acknowledge(await sender.send())
    await sender.make_copy()
    rows = await sender.parts.rows("SELECT header FROM envelopes WHERE direction = 'out'")
    assert len(rows) == 2
    for row in rows:
        assert header_from_bytes(bytes(row["header"])).scope("XDS-METADATA") is None


async def test_making_it_twice_makes_it_once(sender):
    await sender.acknowledge(await sender.send())
    await sender.make_copy()
    await sender.make_copy()
    assert len(sender.down.taken) == 2
    assert [e for _, e, _ in await sender.parts.journal()].count("copied") == 1


async def test_its_own_acknowledgement_settles_its_envelope_and_nothing_else(sender):
    await sender.acknowledge(await sender.send())
    await sender.make_copy()
    copy = sender.down.taken[-1].header
    await sender.acknowledge(copy)
    rows = await sender.parts.rows("SELECT acknowledgement FROM envelopes WHERE direction = 'out'")
    assert [row["acknowledgement"] for row in rows] == ["positive", "positive"]
    assert len(await sender.parts.rows("SELECT id FROM handovers")) == 1


async def test_a_message_sent_again_is_shared_once(sender):
    document = sender.document()
    for _ in range(2):
        await sender.parts.run(await sender.station.take_document(document))
    for envelope in list(sender.down.taken):
        await sender.acknowledge(envelope.header)
    await sender.make_copy()
    assert len(sender.down.taken) == 3


async def test_a_copy_that_is_sent_again_says_the_same_of_its_document(sender):
    document = sender.document()
    await sender.parts.run(await sender.station.take_document(document))
    await sender.acknowledge(sender.down.taken[-1].header)
    await sender.make_copy()
    first = sender.down.taken[-1].header
    envelope = sender.down.taken[-1]
    brought = Handover(
        "h", "down", "envelope", document.message_identifier, "{}", Act.MSH_PASSED_DOWN, "{}", "application/xml",
        envelope.stored,
    )  # fmt: skip
    await sender.parts.database.run(
        lambda tx: insert_handover(tx, brought, at=sender.parts.clock.now())
    )
    row = await sender.parts.one(
        "SELECT * FROM envelopes WHERE envelope_id = $1", first.instance_identifier
    )
    await sender.parts.run(await sender.station.resend(row, asked=True))
    again = sender.down.taken[-1].header
    assert again.instance_identifier != first.instance_identifier
    about = [read_document_reference(one.scope("XDS-METADATA") or "") for one in (first, again)]
    assert about[0] == about[1]


async def test_a_message_about_nobody_or_of_another_type_is_not_shared(sender):
    document = sender.document()
    for other in (
        replace(document, patient_id=None),
        replace(document, event_code="care-communication-message", definition_version="5.0"),
    ):
        await sender.parts.run(await sender.station.take_document(other))
    assert await sender.parts.rows("SELECT id FROM handovers") == []


async def test_what_cannot_be_described_is_for_a_person(sender):
    document = sender.document()
    broken = document.standing_at(sender.parts.store(b"{}"))
    await sender.parts.run(await sender.station.take_document(broken))
    with pytest.raises(NeverTaken) as refused:
        await sender.make_copy()
    assert refused.value.slug == "sharing-not-built"


async def test_message_service_handlers_that_stand_apart_report_the_copy(tmp_path):
    async with opened(tmp_path, together=False) as sender:
        await sender.acknowledge(await sender.send())
        before = await sender.parts.events()
        await sender.make_copy()
        assert [e for e in await sender.parts.events() if e not in before] == []
        assert sender.down.offered[-1][1] == "msh-passed-down"
        facts = sender.down.offered[-1][2]
        assert (facts.receiver_gln, facts.receiver_sor) == (REGISTER.gln, REGISTER.sor)


async def test_a_message_nobody_acknowledged_is_let_go_of_in_time(sender):
    await sender.send()
    sender.parts.clock.advance(Retention().undelivered + timedelta(seconds=1))
    keeper = RetentionKeeper(
        sender.parts.database, sender.parts.payloads, clock=sender.parts.clock, periods=Retention()
    )
    await keeper.apply()
    row = await sender.parts.one("SELECT * FROM handovers")
    assert (row["state"], row["problem"], row["payload"]) == (
        "set-aside",
        "acknowledgement-missing",
        "",
    )
