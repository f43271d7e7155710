"""The living stranger: the whole access point and phase4 exchange EHMI messages over mutual TLS.

Nothing is shared but an authority and a static agreement: party ids, addresses, certificates. What phase4 says
is the verdict of another code base; what the access point says is read from its store.
"""

import asyncio
import os
import ssl
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from as4_peer import Client
from as4_stage import Node, Partner
from as4_wire import business_document, medcom_message
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from sample_messages import home_care_observation

from accesspoint.demo.scenery import CLINIC, MUNICIPALITY
from accesspoint.network.listening import Listeners
from envelope import fhir, names
from envelope.acknowledgement import build_acknowledgement, read_acknowledgement
from envelope.ehmi import envelope_for_message
from envelope.events import PartStarted
from envelope.mime import MultipartParser, parse_content_type
from envelope.sbd_splitter import SbdSplitter
from envelope.sbdh import (
    Base64Stream,
    StandardBusinessDocumentHeader,
    build_sbd,
)
from envelope.signals import read_signal
from envelope.soap import parse_soap
from envelope.xml import scan
from keys.devca import DevelopmentAuthority

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(900),
    pytest.mark.matrix(peer="phase4", profile="eDelivery AS4 1.15"),
]

NOWHERE = "5790000000036"
VERIFIED = {"signature_verified": True, "references": "matched", "verified": True}


def fingerprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(SHA256()).hex()


def read_document(document: bytes) -> tuple[StandardBusinessDocumentHeader, bytes]:
    """The header of a StandardBusinessDocument and the octets of its BinaryContent."""
    splitter = SbdSplitter()
    content = splitter.feed(document)
    return splitter.finish(), content


def write_document(header: StandardBusinessDocumentHeader, content: bytes) -> bytes:
    prefix, suffix = build_sbd(header)
    encoder = Base64Stream()
    return prefix + encoder.update(content) + encoder.finish() + suffix


@asynccontextmanager
async def recording() -> AsyncIterator[tuple[str, list[tuple[str, bytes]]]]:
    """A server that keeps what is posted to it and is out of service."""
    recorded: list[tuple[str, bytes]] = []

    async def keep(request: web.Request) -> web.Response:
        recorded.append((request.headers["Content-Type"], await request.read()))
        return web.Response(status=503)

    application = web.Application()
    application.router.add_post("/as4", keep)
    listeners = Listeners()
    try:
        yield f"{await listeners.start(application)}/as4", recorded
    finally:
        await listeners.stop()


@asynccontextmanager
async def losing_the_first_answer(target: str, tls: ssl.SSLContext) -> AsyncIterator[str]:
    """An address in front of `target` that passes every request on, and breaks off instead of the first answer."""
    lost: list[bytes] = []

    async def pass_on(request: web.Request) -> web.Response:
        headers = {"Content-Type": request.headers["Content-Type"]}
        async with ClientSession() as client:
            posted = client.post(target, data=await request.read(), headers=headers)
            async with posted as answer:
                body, content_type = await answer.read(), answer.headers["Content-Type"]
        if not lost:
            lost.append(body)
            assert request.transport is not None
            request.transport.abort()
        return web.Response(body=body, headers={"Content-Type": content_type})

    application = web.Application(client_max_size=1024**2)
    application.router.add_post("/as4", pass_on)
    listeners = Listeners()
    try:
        yield f"{await listeners.start(application, tls=tls)}/as4"
    finally:
        await listeners.stop()


def assert_plain_request_of_phase4(content_type: str, body: bytes) -> None:
    """What the exchange rests on: the algorithms of the profile, and a root part that nothing names."""
    assert parse_content_type(content_type).parameter("start") is None
    root = next(
        event
        for event in MultipartParser(parse_content_type(content_type)).feed(body)
        if isinstance(event, PartStarted)
    )
    assert (root.index, root.content_id) == (0, None)
    for algorithm in (
        names.RSA_SHA256,
        names.SHA256,
        names.AES128_GCM,
        names.RSA_OAEP,
        names.MGF1_SHA256,
        names.X509_V3,
    ):
        assert f'"{algorithm}"'.encode() in body, algorithm


@pytest.fixture
def edelivery_job(phase4_job, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """One job that sends a StandardBusinessDocument over mutual TLS, addressed as its own header says."""

    def job(url: str, station: Any, document: bytes, **changes: Any) -> dict[str, Any]:
        header, _ = read_document(document)
        file = tmp_path / f"{uuid.uuid4()}.xml"
        file.write_bytes(document)
        plain = phase4_job(url)
        return {
            **plain,
            **station.job,
            "tls": station.tls_job,
            "service": {"value": header.scope("PROCESSID")},
            "action": header.scope("DOCUMENTID"),
            "properties": {
                "originalSender": {"value": header.sender.value, "type": names.ISO6523_ACTORID},
                "finalRecipient": {"value": header.receiver.value, "type": names.ISO6523_ACTORID},
            },
            "payload": str(file),
            **changes,
        }

    return job


@pytest.mark.matrix(direction="peer to us")
class TestPhase4SendsToTheAccessPoint:
    """phase4 is the municipality's access point; ours is the clinic's."""

    @pytest.fixture
    def clinic_node(self, run_node, secure_phase4, municipality, clinic):
        peer, url = secure_phase4(municipality)
        return peer, run_node(CLINIC, clinic, Partner(MUNICIPALITY, municipality.issued, url))

    @pytest.mark.parametrize("compress", [True, False], ids=["gzip", "as-is"])
    async def test_message_is_stored_delivered_receipted_and_acknowledged(
        self, clinic_node, phase4_sender, edelivery_job, municipality, clinic, compress: bool
    ) -> None:
        municipality_phase4, running = clinic_node
        message_id, envelope_id = str(uuid.uuid4()), str(uuid.uuid4())
        document = business_document(message_id, envelope_id)
        async with running as node:
            job = edelivery_job(node.url, municipality, document, compress=compress)
            answer = await asyncio.to_thread(phase4_sender.ask, job)
            assert answer["result"] == "SUCCESS", answer
            assert answer["receipt"] | VERIFIED == answer["receipt"], answer
            assert answer["receipt"]["ref_to_message_id"] == answer["message_id"]
            assert answer["signed_by"] == fingerprint(clinic.issued.certificate)

            await node.idle()
            assert await node.states(answer["message_id"]) == [
                "RECEIVED",
                "DELIVERING",
                "DELIVERED",
            ]
            row = await node.message(answer["message_id"])
            assert row["party"] == "municipality-ap"
            assert row["payload_sha256"] == sha256(document).hexdigest()
            [receipt] = await node.rows("SELECT * FROM receipts WHERE message = $1", row["id"])
            sent_back = read_signal(parse_soap(scan(bytes(receipt["body"]))))
            assert sent_back.message_id == answer["receipt"]["message_id"]
            _, content = read_document(document)
            delivered = node.home / "received" / f"{message_id}.json"
            assert delivered.read_bytes() == content

            # The envelope's own acknowledgement is a message back, and phase4 receives it.
            heard = await asyncio.to_thread(municipality_phase4.listen)
            assert heard["signature_verified"]
            assert heard["decrypted"]
            acknowledgement = read_acknowledgement(
                *read_document(Path(heard["payloads"][0]["file"]).read_bytes())
            )
            assert acknowledgement.positive
            assert acknowledgement.original_instance_identifier == envelope_id
            back = await node.message(heard["received"])
            assert (back["direction"], back["state"]) == ("out", "NOTIFIED")
            assert await node.rows("SELECT * FROM refusals") == []

    @pytest.mark.slow
    async def test_business_document_of_twenty_mebibytes_is_delivered(
        self, clinic_node, phase4_sender, edelivery_job, municipality
    ) -> None:
        _, running = clinic_node
        bundle = home_care_observation(attachment=os.urandom(11 * 1024**2))
        content = fhir.serialize(bundle, "json")
        facts = fhir.recognise(fhir.read_message(content))
        header = envelope_for_message(
            facts, instance_identifier=str(uuid.uuid4()), created_at=datetime.now(UTC)
        )
        document = write_document(header, content)
        assert len(document) > 19 * 1024**2
        async with running as node:
            job = edelivery_job(node.url, municipality, document)
            answer = await asyncio.to_thread(phase4_sender.ask, job)
            assert answer["result"] == "SUCCESS", answer
            assert answer["receipt"] | VERIFIED == answer["receipt"], answer
            await node.idle()
            row = await node.message(answer["message_id"])
            assert (row["state"], row["payload_sha256"]) == (
                "DELIVERED",
                sha256(document).hexdigest(),
            )
            delivered = node.home / "received" / f"{facts.message_id}.json"
            assert delivered.read_bytes() == content

    async def test_repetition_is_receipted_again_and_delivered_once(
        self, clinic_node, phase4_sender, edelivery_job, municipality
    ) -> None:
        """phase4 signs a repetition anew: the header differs, the part does not."""
        _, running = clinic_node
        document = business_document(str(uuid.uuid4()), str(uuid.uuid4()))
        async with running as node:
            job = edelivery_job(
                node.url, municipality, document, message_id=f"{uuid.uuid4()}@municipality.example"
            )
            first = await asyncio.to_thread(phase4_sender.ask, job)
            await node.idle()
            before = await node.counts()
            again = await asyncio.to_thread(phase4_sender.ask, job)
            await node.idle()
            assert (first["result"], again["result"]) == ("SUCCESS", "SUCCESS"), again
            assert first["message_id"] == again["message_id"]
            assert again["receipt"] | VERIFIED == again["receipt"], again
            assert await node.counts() == before
            assert len(node.delivered()) == 1

    async def test_repetition_of_the_same_octets_gets_the_stored_receipt(
        self, clinic_node, phase4_sender, edelivery_job, municipality, stage_pki
    ) -> None:
        """What phase4 wrote is kept by a recorder on the way and posted twice, as a retry of the same request."""
        _, running = clinic_node
        document = business_document(str(uuid.uuid4()), str(uuid.uuid4()))
        async with recording() as (url, recorded):
            job = edelivery_job(url, municipality, document)
            job.pop("tls")
            answer = await asyncio.to_thread(phase4_sender.ask, job)
            assert answer["result"] == "NO_SIGNAL_MESSAGE_RECEIVED", answer
        [(content_type, body)] = recorded
        assert_plain_request_of_phase4(content_type, body)
        tls, _ = stage_pki.tls_contexts("municipality")
        async with running as node, Client.connect(node.url, tls) as client:
            headers = {"Content-Type": content_type}
            first = await client.post_octets(body, headers)
            await node.idle()
            before = await node.counts()
            again = await client.post_octets(body, headers)
            await node.idle()
            assert (first.status, again.status) == (200, 200)
            _, receipt = first.signal()
            assert receipt.receipt is not None
            assert receipt.ref_to_message_id == answer["message_id"]
            assert again.body == first.body
            assert await node.counts() == before
            assert len(node.delivered()) == 1

    async def test_other_content_under_the_same_message_id_is_refused(
        self, clinic_node, phase4_sender, edelivery_job, municipality
    ) -> None:
        _, running = clinic_node
        message_id = f"{uuid.uuid4()}@municipality.example"
        documents = [business_document(str(uuid.uuid4()), str(uuid.uuid4())) for _ in range(2)]
        async with running as node:
            jobs = [
                edelivery_job(node.url, municipality, document, message_id=message_id)
                for document in documents
            ]
            first = await asyncio.to_thread(phase4_sender.ask, jobs[0])
            second = await asyncio.to_thread(phase4_sender.ask, jobs[1])
            await node.idle()
            assert first["result"] == "SUCCESS", first
            assert second["result"] == "AS4_ERROR_MESSAGE_RECEIVED", second
            assert [error["code"] for error in second["errors"]] == ["EBMS:0003"]
            assert len(node.delivered()) == 1

    async def test_unknown_recipient_is_answered_with_a_signed_error(
        self, clinic_node, phase4_sender, edelivery_job, municipality, clinic
    ) -> None:
        _, running = clinic_node
        _, facts = medcom_message(str(uuid.uuid4()), str(uuid.uuid4()))
        header = envelope_for_message(
            facts,
            instance_identifier=str(uuid.uuid4()),
            created_at=datetime.now(UTC),
            receiver_gln=NOWHERE,
        )
        async with running as node:
            job = edelivery_job(node.url, municipality, write_document(header, b"{}"))
            answer = await asyncio.to_thread(phase4_sender.ask, job)
            assert answer["result"] == "AS4_ERROR_MESSAGE_RECEIVED", answer
            assert "receipt" not in answer
            [error] = answer["errors"]
            assert (error["code"], error["severity"]) == ("EBMS:0001", "failure")
            assert error["ref_to_message_in_error"] == answer["message_id"]
            assert answer["signed_by"] == fingerprint(clinic.issued.certificate)
            [refusal] = await node.rows("SELECT * FROM refusals")
            assert (refusal["gate"], refusal["reason"]) == ("G10", "pmode.recipient")
            assert await node.rows("SELECT * FROM messages") == []

    async def test_ping_is_receipted_and_nobody_is_handed_it(
        self, clinic_node, phase4_sender, edelivery_job, municipality
    ) -> None:
        _, running = clinic_node
        document = business_document(str(uuid.uuid4()), str(uuid.uuid4()))
        async with running as node:
            job = edelivery_job(
                node.url,
                municipality,
                document,
                service={"value": names.EB_TEST_SERVICE},
                action=names.EB_TEST_ACTION,
            )
            answer = await asyncio.to_thread(phase4_sender.ask, job)
            await node.idle()
            assert answer["result"] == "SUCCESS", answer
            assert answer["receipt"] | VERIFIED == answer["receipt"], answer
            assert not node.delivered()
            assert await node.rows("SELECT * FROM refusals") == []

    async def test_stranger_does_not_get_past_the_handshake(
        self, clinic_node, phase4_sender, edelivery_job, municipality, make_stations
    ) -> None:
        _, running = clinic_node
        stranger, _ = make_stations(
            DevelopmentAuthority.create(at=datetime.now(UTC), name="Unknown"), "stranger", "other"
        )
        keys = {**stranger.tls_job, "truststore": municipality.tls_job["truststore"]}
        document = business_document(str(uuid.uuid4()), str(uuid.uuid4()))
        async with running as node:
            job = edelivery_job(node.url, municipality, document, tls=keys)
            answer = await asyncio.to_thread(phase4_sender.ask, job)
            assert answer["result"].startswith("TRANSPORT_ERROR"), answer
            assert await node.rows("SELECT * FROM refusals") == []
            assert await node.rows("SELECT * FROM messages") == []


async def submit(node: Node, content: bytes) -> None:
    """Hand a MedCom message to the end-user application of the node."""
    _, commit = await node.point.application.submit(content)
    await node.point.bells.run(node.point.database, commit)


async def outbound(node: Node, message_identifier: str) -> dict[str, Any]:
    [row] = await node.rows(
        "SELECT * FROM messages WHERE direction = 'out' AND message_identifier = $1",
        message_identifier,
    )
    return row


@pytest.mark.matrix(direction="us to peer")
class TestTheAccessPointSendsToPhase4:
    """Ours is the municipality's access point; phase4 is the clinic's."""

    async def test_message_is_received_and_its_receipt_ends_the_sending(
        self, run_node, secure_phase4, phase4_sender, edelivery_job, municipality, clinic
    ) -> None:
        peer, url = secure_phase4(clinic)
        identifier = str(uuid.uuid4())
        content, _ = medcom_message(identifier, str(uuid.uuid4()))
        async with run_node(
            MUNICIPALITY, municipality, Partner(CLINIC, clinic.issued, url)
        ) as node:
            await submit(node, content)
            heard = await asyncio.to_thread(peer.listen)
            assert heard["signature_verified"]
            assert heard["decrypted"]
            assert heard["from"]["id"] == "municipality-ap"
            assert heard["to"]["id"] == "clinic-ap"
            await node.idle()
            row = await outbound(node, identifier)
            assert (row["state"], row["problem"], row["attempt"]) == ("NOTIFIED", None, 1)
            assert heard["received"] == row["message_id"]
            [part] = heard["payloads"]
            assert part["sha256"] == row["payload_sha256"]
            header, arrived = read_document(Path(part["file"]).read_bytes())
            assert arrived == content

            [receipt] = await node.rows("SELECT * FROM receipts WHERE message = $1", row["id"])
            assert receipt["signer"] == fingerprint(clinic.issued.certificate)
            body = bytes(receipt["body"])
            assert b"urn:fdc:com.helger.phase4:ns:info" in body
            signal = read_signal(parse_soap(scan(body)))
            assert signal.ref_to_message_id == row["message_id"]
            assert signal.receipt is not None
            assert len(signal.receipt.references) == 3

            # phase4 carries the acknowledgement of the envelope back, and the exchange is complete.
            answer_header, answer = build_acknowledgement(
                header,
                instance_identifier=str(uuid.uuid4()),
                message_identifier=str(uuid.uuid4()),
                created_at=datetime.now(UTC),
            )
            job = edelivery_job(
                node.url,
                clinic,
                write_document(answer_header, answer),
                **{"from": {"id": "clinic-ap", "type": names.PARTY_UNREGISTERED}},
                to={"id": "municipality-ap", "type": names.PARTY_UNREGISTERED},
                receiver_certificate=str(municipality.certificate_file),
            )
            answered = await asyncio.to_thread(phase4_sender.ask, job)
            assert answered["result"] == "SUCCESS", answered
            assert answered["receipt"]["verified"], answered
            await node.idle()
            [sent] = await node.rows("SELECT * FROM envelopes WHERE direction = 'out'")
            assert sent["envelope_id"] == header.instance_identifier
            assert sent["acknowledgement"] == "positive"

    async def test_lost_receipt_leaves_the_message_uncertain_and_delivered_once(
        self, run_node, phase4_receiver, stage_pki, municipality, clinic
    ) -> None:
        """phase4 answers the retry with a signed EBMS:0004: it has the message, and only the proof is missing."""
        peer, target = phase4_receiver
        identifier = str(uuid.uuid4())
        content, _ = medcom_message(identifier, str(uuid.uuid4()))
        _, tls = stage_pki.tls_contexts("clinic")
        async with (
            losing_the_first_answer(target, tls) as url,
            run_node(
                MUNICIPALITY,
                municipality,
                Partner(CLINIC, clinic.issued, url),
                sending={"retry": {"first": "100 ms", "give_up_after": "5 min"}},
            ) as node,
        ):
            await submit(node, content)
            heard = await asyncio.to_thread(peer.listen)
            await node.idle()
            row = await outbound(node, identifier)
            assert heard["received"] == row["message_id"]
            assert (row["attempt"], row["problem"]) == (2, "receipt-missing")
            journal = await node.rows("SELECT event, detail FROM journal")
            assert "uncertain" in [entry["event"] for entry in journal]
            assert any("EBMS:0004" in (entry["detail"] or "") for entry in journal)
            assert await node.rows("SELECT * FROM receipts") == []
            assert peer.silent()

    async def test_message_for_the_key_that_it_had_before_waits_for_the_new_one(
        self, run_node, secure_phase4, make_stations, authority, municipality, clinic
    ) -> None:
        """The clinic has renewed its certificate and told nobody: it says so with the new one, and nothing is final."""
        peer, url = secure_phase4(clinic)
        former, _ = make_stations(authority, "clinic", "other")
        identifier = str(uuid.uuid4())
        content, _ = medcom_message(identifier, str(uuid.uuid4()))
        async with run_node(
            MUNICIPALITY, municipality, Partner(CLINIC, former.issued, url)
        ) as node:
            await submit(node, content)

            async def refused() -> bool:
                rows = await node.rows("SELECT problem FROM messages WHERE direction = 'out'")
                return bool(rows) and rows[0]["problem"] is not None

            await node.until(refused, "phase4 has not refused")
            row = await outbound(node, identifier)
            assert (row["state"], row["problem"]) == ("RETRY_WAIT", "peer-refused")
            [told] = await node.rows("SELECT detail FROM journal WHERE problem IS NOT NULL")
            assert "EBMS:0102 FailedDecryption" in told["detail"]
            assert "unsigned" not in told["detail"]
            assert await node.rows("SELECT * FROM receipts") == []
            assert peer.silent()

    @pytest.mark.parametrize("quirks", [[], ["unsigned-errors"]], ids=["default", "quirk"])
    async def test_message_for_another_key_is_refused_and_never_acknowledged(
        self,
        run_node,
        secure_phase4,
        authority,
        municipality,
        clinic,
        quirks: list[str],
    ) -> None:
        """Another organisation answers at the clinic's address: it cannot decrypt what we send, and its word is no signature."""
        peer, url = secure_phase4(clinic)
        former = authority.issue_system_certificate(
            "clinic-ap", "another", "87654321", uuid=str(uuid.uuid4()), not_before=datetime.now(UTC)
        )
        identifier = str(uuid.uuid4())
        content, _ = medcom_message(identifier, str(uuid.uuid4()))
        partner = Partner(CLINIC, former, url, {"quirks": quirks})
        async with run_node(MUNICIPALITY, municipality, partner) as node:
            await submit(node, content)

            async def refused() -> bool:
                rows = await node.rows("SELECT problem FROM messages WHERE direction = 'out'")
                return bool(rows) and rows[0]["problem"] is not None

            await node.until(refused, "phase4 has not refused")
            row = await outbound(node, identifier)
            assert row["problem"] == "peer-refused"
            # Its history, since the submitter may have been told of the end already, which is a state of its own.
            [after] = await node.rows("SELECT to_state FROM history WHERE from_state = 'SENDING'")
            assert after["to_state"] == ("REFUSED" if quirks else "RETRY_WAIT")
            [told] = await node.rows("SELECT event, detail FROM journal WHERE problem IS NOT NULL")
            assert told["event"] == ("refused" if quirks else "waiting")
            assert "EBMS:0102 FailedDecryption (unsigned)" in told["detail"]
            assert await node.rows("SELECT * FROM receipts") == []
            assert peer.silent()
        assert "No certificates were found for decryption" in peer.log.read_text()


def test_certificates_have_the_strength_the_agreement_asks_for(municipality, clinic) -> None:
    for station in (municipality, clinic):
        key = station.issued.certificate.public_key()
        assert key.key_size == 3072
