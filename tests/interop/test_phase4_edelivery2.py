"""The living stranger in the second generation: Ed25519 with X25519, and ECDSA with ECDH-ES on P-256, over mutual TLS.

Both sides hold their RSA keys as well, as they would while they migrate. Nothing here is a claim of conformance: it
shows that two code bases read the same secondary texts alike.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from as4_generations import NEW, KeySet, key_set_of
from as4_stage import Node, Partner, Stage
from as4_wire import business_document, medcom_message
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from accesspoint.demo.scenery import CLINIC, MUNICIPALITY, Organisation
from envelope import names
from envelope.pmode import SUITES, Generation
from envelope.sbd_splitter import SbdSplitter
from keys.certificate import fingerprint, pem
from keys.devca import IssuedCertificate

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(900),
    pytest.mark.matrix(peer="phase4", profile="eDelivery AS4 2.0"),
]


@dataclass(frozen=True)
class Holder:
    """One access point with the keys of both generations; `job` is what a Java peer is told in the newer one."""

    station: Any
    keys: KeySet
    job: dict[str, Any]


@pytest.fixture(scope="module", params=NEW, ids=str)
def generation(request: pytest.FixtureRequest) -> Generation:
    return request.param


@pytest.fixture(scope="module")
def holders(
    generation, authority, municipality, clinic, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Holder, Holder]:
    """The municipality and the clinic."""
    folder = tmp_path_factory.mktemp(f"generation-{generation}")

    def files(name: str, issued: IssuedCertificate) -> dict[str, str]:
        key, chain = folder / f"{name}.key.der", folder / f"{name}.pem"
        key.write_bytes(
            issued.private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        )
        chain.write_bytes(issued.certificate_pem)
        return {"key": str(key), "chain": str(chain)}

    def holder(name: str, station: Any) -> Holder:
        not_before = station.issued.certificate.not_valid_before_utc
        keys = key_set_of(authority, f"{name}-ap", generation, not_before=not_before)
        job = {
            **station.job,
            "generation": str(generation),
            "signing": files(f"{name}-signing", keys.signing),
            "agreement": files(f"{name}-agreement", keys.agreement),
        }
        return Holder(station, keys, job)

    return holder("municipality", municipality), holder("clinic", clinic)


RunNode = Callable[..., Any]


@pytest.fixture
def run_holder(stage_pki, tmp_path: Path) -> RunNode:
    """Run our access point as one holder, whose partner is the other one at `url`."""

    @asynccontextmanager
    async def run(
        organisation: Organisation,
        own: Holder,
        partner: tuple[Organisation, Holder],
        url: str,
        *,
        generations: tuple[str, ...] | None = None,
        agreement: IssuedCertificate | None = None,
    ) -> AsyncIterator[Node]:
        other, theirs = partner
        file = tmp_path / f"{other.key}.pem"
        agreed = (agreement or theirs.keys.agreement).certificate
        file.write_bytes(
            pem(theirs.keys.signing.certificate, agreed, theirs.station.issued.certificate)
        )
        settings = {
            "certificate": str(file),
            "generations": list(generations or (str(own.keys.generation),)),
        }
        path = Stage(stage_pki, stage_pki.directory).write_node(
            organisation,
            own.station.issued,
            partners={"phase4": Partner(other, theirs.station.issued, url, settings)},
        )
        own.keys.write(path.parent / "keys")
        async with Stage(stage_pki, stage_pki.directory).run(path) as node:
            yield node

    return run


@pytest.fixture(scope="module")
def receivers(start_phase4, tmp_path_factory: pytest.TempPathFactory):
    """One phase4 for each holder that receives, and its address."""
    known: dict[str, Any] = {}

    def receiver(holder: Holder) -> Any:
        name = holder.job["agreement"]["key"]
        if name not in known:
            peer = start_phase4("receive")
            folder = str(tmp_path_factory.mktemp("inbox"))
            ready = peer.ask({**holder.job, "folder": folder, "tls": holder.station.tls_job})
            known[name] = peer, ready["url"]
        known[name][0].forget()
        return known[name]

    return receiver


@pytest.fixture
def job_for(phase4_job, holders, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """A job for phase4 as the municipality: one StandardBusinessDocument to the clinic."""
    sender, receiver = holders

    def job(url: str, **changes: Any) -> dict[str, Any]:
        document = business_document(str(uuid.uuid4()), str(uuid.uuid4()))
        splitter = SbdSplitter()
        splitter.feed(document)
        header = splitter.finish()
        file = tmp_path / f"{uuid.uuid4()}.xml"
        file.write_bytes(document)
        return {
            **phase4_job(url),
            **sender.job,
            "receiver_certificate": receiver.job["agreement"]["chain"],
            "tls": sender.station.tls_job,
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


NOWHERE = "https://127.0.0.1:9/as4"
TOKENS = ["BST_DIRECT_REFERENCE", "SKI_KEY_IDENTIFIER", "ISSUER_SERIAL"]


@pytest.mark.matrix(direction="peer to us")
class TestPhase4SendsToTheAccessPoint:
    """phase4 is the municipality's access point; ours is the clinic's."""

    @pytest.mark.parametrize("token", TOKENS)
    async def test_message_is_delivered_and_its_receipt_verifies(
        self, run_holder, phase4_sender, job_for, holders, token: str
    ) -> None:
        sender, receiver = holders
        async with run_holder(CLINIC, receiver, (MUNICIPALITY, sender), NOWHERE) as node:
            answer = await asyncio.to_thread(phase4_sender.ask, job_for(node.url, token=token))
            assert answer["result"] == "SUCCESS", answer
            assert answer["receipt"]["verified"], answer
            assert answer["signed_by"] == fingerprint(receiver.keys.signing.certificate)
            [row] = await node.rows("SELECT * FROM messages WHERE direction = 'in'")
            assert row["message_id"] == answer["message_id"]
            [signature] = await node.rows("SELECT * FROM signatures")
            assert signature["algorithm"] == SUITES[receiver.keys.generation].signature_algorithm
            assert signature["signer"] == fingerprint(sender.keys.signing.certificate)

    async def test_the_older_generation_is_refused_where_it_is_not_agreed(
        self, run_holder, phase4_sender, job_for, holders
    ) -> None:
        sender, receiver = holders
        async with run_holder(CLINIC, receiver, (MUNICIPALITY, sender), NOWHERE) as node:
            job = job_for(node.url, receiver_certificate=str(receiver.station.certificate_file))
            job.pop("generation")
            answer = await asyncio.to_thread(phase4_sender.ask, job)
            assert answer["result"] == "AS4_ERROR_MESSAGE_RECEIVED", answer
            assert [error["code"] for error in answer["errors"]] == ["EBMS:0103"]
            [refusal] = await node.rows("SELECT * FROM refusals")
            assert (refusal["gate"], refusal["reason"]) == ("G5", "alg.signature")

    async def test_both_generations_are_served_while_both_are_agreed(
        self, run_holder, phase4_sender, job_for, holders
    ) -> None:
        sender, receiver = holders
        both = (str(receiver.keys.generation), "1.15")
        async with run_holder(
            CLINIC, receiver, (MUNICIPALITY, sender), NOWHERE, generations=both
        ) as node:
            old = job_for(node.url, receiver_certificate=str(receiver.station.certificate_file))
            old.pop("generation")
            new = job_for(node.url)
            for job, signer in (
                (old, receiver.station.issued),
                (new, receiver.keys.signing),
            ):
                answer = await asyncio.to_thread(phase4_sender.ask, job)
                assert answer["result"] == "SUCCESS", answer
                assert answer["receipt"]["verified"], answer
                assert answer["signed_by"] == fingerprint(signer.certificate)

    async def test_message_for_another_agreement_key_is_answered_with_a_signed_error(
        self, run_holder, phase4_sender, job_for, holders
    ) -> None:
        sender, receiver = holders
        async with run_holder(CLINIC, receiver, (MUNICIPALITY, sender), NOWHERE) as node:
            job = job_for(node.url, receiver_certificate=sender.job["agreement"]["chain"])
            answer = await asyncio.to_thread(phase4_sender.ask, job)
            assert answer["result"] == "AS4_ERROR_MESSAGE_RECEIVED", answer
            assert [error["code"] for error in answer["errors"]] == ["EBMS:0102"]
            assert answer["signed_by"] == fingerprint(receiver.keys.signing.certificate)
            assert await node.rows("SELECT * FROM messages") == []


async def submit(node: Node) -> str:
    """Hand a MedCom message to the end-user application of the node."""
    identifier = str(uuid.uuid4())
    content, _ = medcom_message(identifier, str(uuid.uuid4()))
    _, commit = await node.point.application.submit(content)
    await node.point.bells.run(node.point.database, commit)
    return identifier


@pytest.mark.matrix(direction="us to peer")
class TestTheAccessPointSendsToPhase4:
    """Ours is the municipality's access point; phase4 is the clinic's."""

    async def test_message_is_received_and_its_receipt_ends_the_sending(
        self, run_holder, receivers, holders
    ) -> None:
        sender, receiver = holders
        peer, url = receivers(receiver)
        async with run_holder(MUNICIPALITY, sender, (CLINIC, receiver), url) as node:
            await submit(node)
            heard = await asyncio.to_thread(peer.listen)
            assert heard["signature_verified"], heard
            assert heard["decrypted"], heard
            await node.idle()
            [row] = await node.rows("SELECT * FROM messages WHERE direction = 'out'")
            assert (row["state"], row["problem"], row["attempt"]) == ("NOTIFIED", None, 1)
            [part] = heard["payloads"]
            assert part["sha256"] == row["payload_sha256"]
            [receipt] = await node.rows("SELECT * FROM receipts")
            assert receipt["signer"] == fingerprint(receiver.keys.signing.certificate)

    async def test_message_for_another_agreement_key_is_not_acknowledged(
        self, run_holder, receivers, holders, authority
    ) -> None:
        """The clinic has changed its agreement key and told nobody: phase4 cannot decrypt what we send."""
        sender, receiver = holders
        peer, url = receivers(receiver)
        begins = receiver.station.issued.certificate.not_valid_before_utc
        former = key_set_of(authority, "clinic-ap", receiver.keys.generation, not_before=begins)
        async with run_holder(
            MUNICIPALITY, sender, (CLINIC, receiver), url, agreement=former.agreement
        ) as node:
            await submit(node)

            async def refused() -> bool:
                rows = await node.rows("SELECT problem FROM messages WHERE direction = 'out'")
                return bool(rows) and rows[0]["problem"] is not None

            await node.until(refused, "phase4 has not refused")
            [row] = await node.rows("SELECT problem FROM messages WHERE direction = 'out'")
            assert row["problem"] == "peer-refused"
            assert await node.rows("SELECT * FROM receipts") == []
            assert peer.silent()
