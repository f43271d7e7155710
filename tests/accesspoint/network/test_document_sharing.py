"""The document register's page: what it shows of a copy, what it finds wrong with one, and what it never shows."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from sample_messages import TEST_PERSON, home_care_observation
from station_parts import AT, Parts

from accesspoint.network.document_sharing import DocumentSharing, mask
from accesspoint.network.listening import Listeners
from accesspoint.stations.sbd_file import write_sbd
from accesspoint.store.messages import NewMessage, insert_message
from envelope import fhir
from envelope.ehmi import envelope_for_message
from envelope.fhir.document_reference import build_document_reference

REGISTER = "5790000000043"


class Register:
    """A register with a store that copies are put into as its access point does it."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.documents = DocumentSharing(parts.database, parts.payloads)

    async def receive(
        self, *, change: dict[str, Any] | None = None, text: str | None = None
    ) -> str:
        """Store one copy whose metadata is changed, or is this text; its message identifier."""
        data = fhir.serialize(home_care_observation(), "json")
        message = fhir.read_message(data)
        facts = fhir.recognise(message)
        built = json.loads(
            build_document_reference(message, data, reference_id=self.parts.ids.uuid())
        )
        built["content"][0]["attachment"].update(change or {})
        header = envelope_for_message(
            facts, instance_identifier=self.parts.ids.uuid(), created_at=AT, receiver_gln=REGISTER,
            xds_metadata=json.dumps(built) if text is None else text or None,
        )  # fmt: skip
        stored = write_sbd(self.parts.payloads, header, self.parts.store(data))
        new = NewMessage(
            id=self.parts.ids.ulid(), direction="in", state="RECEIVED", message_id=self.parts.ids.uuid(),
            conversation_id="c", party="p", envelope_id=header.instance_identifier,
            message_identifier=facts.message_id, standard=header.standard, original_sender=header.sender.value,
            final_recipient=header.receiver.value, document_id="d", process_id="p", facts="{}",
            payload=stored.payload, payload_bytes=stored.payload_bytes, payload_sha256=stored.payload_sha256,
        )  # fmt: skip
        await self.parts.database.run(lambda tx: insert_message(tx, new, at=AT))
        return facts.message_id


@pytest.fixture
async def register(tmp_path: Path) -> AsyncIterator[Register]:
    async with Parts.open(tmp_path) as parts:
        yield Register(parts)


async def test_a_whole_copy_is_shown_by_its_metadata(register):
    identifier = await register.receive()
    (found,) = await register.documents.documents(identifier)
    assert (found.fault, found.title, found.author) == (
        None,
        "Kommunale prøvesvar",
        "Eksempel Kommune",
    )
    assert found.patient == "••••••-••••"


@pytest.mark.parametrize(
    ("change", "fault"),
    [({"size": 1}, "size"), ({"hash": "AAAA"}, "hash"), ({"size": "many"}, "size")],
)
async def test_metadata_of_another_document_is_told(register, change, fault):
    await register.receive(change=change)
    (found,) = await register.documents.documents()
    assert found.fault == fault


@pytest.mark.parametrize("text", ["", "{}", "no"])
async def test_a_copy_without_metadata_is_told(register, text):
    await register.receive(text=text)
    (found,) = await register.documents.documents()
    assert (found.fault, found.patient) == ("sbd.xds-metadata", "")


async def test_a_payload_that_is_gone_is_told(register):
    await register.receive()
    row = await register.parts.one("SELECT payload FROM messages")
    register.parts.payloads.delete(row["payload"])
    (found,) = await register.documents.documents()
    assert found.fault == "payload"


async def test_page_and_json_name_no_patient_and_forbid_everything_active(register):
    identifiers = {await register.receive() for _ in range(2)}
    listeners = Listeners()
    try:
        base = await listeners.start(register.documents.application())
        async with ClientSession() as session:
            for path in ("/", "/documents.json"):
                async with session.get(base + path) as answer:
                    text = await answer.text()
                    assert answer.status == 200
                    assert answer.headers["Content-Security-Policy"].startswith(
                        "default-src 'none'"
                    )
                    assert answer.headers["Cache-Control"] == "no-store"
                assert all(one in text for one in identifiers)
                assert TEST_PERSON not in text
                assert "Berggren" not in text
                assert TEST_PERSON[:6] not in text
    finally:
        await listeners.stop()


def test_nothing_of_a_number_is_left():
    assert mask(None) == ""
    assert not any(character.isdigit() for character in mask(TEST_PERSON))
