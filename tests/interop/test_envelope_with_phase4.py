"""First contact of the pure packages with phase4: envelopes and receipts, both ways, without the access point.

Everything that is decided is decided by `envelope` and `keys`, and on the other side by phase4; the same cases run
in both directions, so that each row of the matrix has two answers.
"""

import asyncio
import base64
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from interop_envelopes import IN_CLEAR, SOAP, Composed, Endpoint, compose, match, post, serving

from envelope import names
from envelope.errors import InvalidReceipt
from envelope.messaging import Property, Service
from envelope.pmode import EDELIVERY_1_15, SecuritySuite, TokenForm
from envelope.signals import read_signal
from envelope.soap import parse_soap
from envelope.xml import scan
from keys.devca import DevelopmentAuthority

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(900),
    pytest.mark.matrix(peer="phase4", profile="eDelivery AS4 1.15"),
]

Job = Callable[..., dict[str, Any]]

SHAPES = pytest.mark.parametrize(
    ("parts", "encrypt", "compress"),
    [
        pytest.param(
            parts,
            encrypt,
            compress,
            id=f"{parts} part{'s' * (parts > 1)}, {'encrypted' if encrypt else 'in clear'}, "
            f"{'gzip' if compress else 'as is'}",
        )
        for parts in (1, 2, 10)
        for encrypt in (True, False)
        for compress in (True, False)
    ],
)
SIZES = {"4 KiB": 4 * 1024, "100 KiB": 100 * 1024, "1 MiB": 1024**2, "20 MiB": 20 * 1024**2}
SHAPE = "signed message with a receipt that both verify"
TOKEN = "token form, encrypted, with a receipt that both verify"
SIZE = "size of one part, encrypted, with a receipt that both verify"
MEDIA = "digest of an uncompressed part by its media type"
SPOILT_RECEIPT = "receipt with a changed digest is refused"
SPOILT_PART = "part with a changed octet is refused with EBMS:0102 that the sender reads"
UNKNOWN_SIGNER = "signer under an unknown authority is refused, and the sender reads the error"
OTHER_KEY = "message encrypted for another certificate is refused, and the sender reads the error"
DOCUMENT = b"<a  b='1'>\r\n<c/>\n<!-- note -->\r\n\xc3\xa6</a>\n"


def changed_part(body: bytes) -> bytes:
    """The request with one octet of its last part changed."""
    place = body.rindex(b"\r\n--") - 40
    return body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]


def changed_digest(receipt: bytes) -> bytes:
    """The planted fault: were this accepted, the receipts would prove nothing."""
    start = receipt.index(b"DigestValue>") + len(b"DigestValue>")
    end = receipt.index(b"<", start)
    changed = base64.b64encode(sha256(receipt[start:end]).digest())
    return receipt[:start] + changed + receipt[end:]


def assert_receipt_verified(answer: dict[str, Any]) -> None:
    """phase4's own verdict on our receipt."""
    assert answer["result"] == "SUCCESS", answer
    assert answer["receipt"] | {"message_id": ""} == {
        "message_id": "",
        "ref_to_message_id": answer["message_id"],
        "signature_verified": True,
        "references": "matched",
        "verified": True,
    }


@pytest.mark.matrix(direction="peer to us")
class TestPhase4SendsToUs:
    @pytest.fixture
    def send(self, phase4_sender, phase4_job: Job, municipality, clinic) -> Callable[..., Any]:
        """Let phase4 send one message to an endpoint of ours; what it said, and the endpoint."""

        async def sent(
            endpoint: Endpoint | None = None, **job: Any
        ) -> tuple[dict[str, Any], Endpoint]:
            endpoint = endpoint or Endpoint(clinic, municipality.issued.certificate)
            async with serving(endpoint) as url:
                answer = await asyncio.to_thread(phase4_sender.ask, phase4_job(url, **job))
            return answer, endpoint

        return sent

    @pytest.mark.matrix(case=SHAPE)
    @SHAPES
    async def test_shapes(
        self,
        send,
        municipality,
        clinic,
        tmp_path: Path,
        parts: int,
        encrypt: bool,
        compress: bool,
    ) -> None:
        files = [tmp_path / f"part-{number}" for number in range(parts)]
        for number, file in enumerate(files):
            file.write_bytes(b"%d " % number + os.urandom(3000))
        payloads = [
            {
                "payload": str(file),
                "mime_type": "application/octet-stream",
                "compress": compress,
                "content_id": f"part-{number}@municipality.example",
            }
            for number, file in enumerate(files)
        ]
        policy = EDELIVERY_1_15 if encrypt else IN_CLEAR
        endpoint = Endpoint(clinic, municipality.issued.certificate, policy=policy)
        answer, _ = await send(endpoint, encrypt=encrypt, **payloads[0], more_payloads=payloads[1:])
        assert endpoint.refused == []
        [(verified, received)] = endpoint.seen
        assert received == [file.read_bytes() for file in files]
        listed = [part.content_id for part in verified.user_message.parts]
        assert listed == [entry["content_id"] for entry in payloads]
        assert (verified.parts[0].compressed, len(verified.parts)) == (compress, parts)
        assert_receipt_verified(answer)

    @pytest.mark.matrix(case=TOKEN)
    @pytest.mark.parametrize(
        "token",
        [
            pytest.param("BST_DIRECT_REFERENCE", id="x509v3"),
            pytest.param("SKI_KEY_IDENTIFIER", id="ski"),
            pytest.param("ISSUER_SERIAL", id="issuer-serial"),
        ],
    )
    async def test_tokens(self, send, municipality, payload: Path, token: str) -> None:
        answer, endpoint = await send(token=token)
        assert endpoint.refused == []
        [(verified, payloads)] = endpoint.seen
        assert payloads == [payload.read_bytes()]
        message = verified.user_message
        assert message.message_id == answer["message_id"]
        assert message.from_party.party_id.value == "municipality-ap"
        assert message.collaboration_info.service == Service("urn:ehmi:sdn-emergence", "process")
        assert message.property("finalRecipient") == Property(
            "finalRecipient", "0088:5790000000029", "iso6523-actorid-upis"
        )
        assert verified.certificate == municipality.issued.certificate
        assert_receipt_verified(answer)

    @pytest.mark.matrix(case=SIZE)
    @pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
    async def test_sizes(self, send, municipality, clinic, tmp_path: Path, size: int) -> None:
        file = tmp_path / "payload"
        file.write_bytes(os.urandom(size))
        endpoint = Endpoint(clinic, municipality.issued.certificate, chunk=1500)
        answer, _ = await send(endpoint, mime_type="application/octet-stream", payload=str(file))
        assert endpoint.refused == []
        assert sha256(endpoint.seen[0][1][0]).digest() == sha256(file.read_bytes()).digest()
        assert_receipt_verified(answer)

    @pytest.mark.matrix(case=MEDIA)
    @pytest.mark.parametrize("mime_type", ["text/plain", "text/xml", "application/pdf"])
    async def test_forms_of_digest_agree_for_uncompressed_payloads(
        self, send, tmp_path: Path, mime_type: str
    ) -> None:
        """Line ends and XML are signed in a form of their own; both sides must arrive at the same octets."""
        file = tmp_path / "payload"
        file.write_bytes(DOCUMENT)
        answer, endpoint = await send(compress=False, mime_type=mime_type, payload=str(file))
        assert endpoint.refused == []
        assert endpoint.seen[0][1] == [file.read_bytes()]
        assert_receipt_verified(answer)

    @pytest.mark.matrix(case=SPOILT_RECEIPT)
    async def test_phase4_sees_a_changed_digest_in_our_receipt(
        self, send, municipality, clinic
    ) -> None:
        endpoint = Endpoint(clinic, municipality.issued.certificate, spoil=changed_digest)
        answer, _ = await send(endpoint)
        assert len(endpoint.seen) == 1
        assert answer["result"] != "SUCCESS"
        assert "receipt" not in answer

    @pytest.mark.matrix(case=SPOILT_PART)
    async def test_we_see_a_changed_octet_of_the_payload(self, send, municipality, clinic) -> None:
        endpoint = Endpoint(clinic, municipality.issued.certificate, spoil_request=changed_part)
        answer, _ = await send(endpoint)
        assert [error.reason for error in endpoint.refused] == ["enc.failed"]
        assert answer["result"] == "AS4_ERROR_MESSAGE_RECEIVED", answer
        assert [error["code"] for error in answer["errors"]] == ["EBMS:0102"]

    @pytest.mark.matrix(case=UNKNOWN_SIGNER)
    async def test_we_refuse_a_signer_we_do_not_know_and_phase4_reads_our_error(
        self, send, clinic
    ) -> None:
        answer, endpoint = await send(Endpoint(clinic, clinic.issued.certificate))
        assert endpoint.seen == []
        assert [error.reason for error in endpoint.refused] == ["cert.untrusted"]
        assert answer["result"] == "AS4_ERROR_MESSAGE_RECEIVED", answer
        assert [error["code"] for error in answer["errors"]] == ["EBMS:0101"]

    @pytest.mark.matrix(case=OTHER_KEY)
    async def test_we_refuse_what_is_for_another_key_and_phase4_reads_our_error(
        self, send, municipality
    ) -> None:
        answer, endpoint = await send(receiver_certificate=str(municipality.certificate_file))
        assert [error.reason for error in endpoint.refused] == ["enc.failed"]
        assert answer["result"] == "AS4_ERROR_MESSAGE_RECEIVED", answer
        assert [error["code"] for error in answer["errors"]] == ["EBMS:0102"]

    @pytest.mark.matrix(case="message that breaks the agreement is refused")
    @pytest.mark.parametrize(
        ("job", "reason", "code"),
        [
            ({"sign": False}, "sig.missing", "EBMS:0103"),
            ({"encrypt": False}, "enc.missing", "EBMS:0103"),
        ],
        ids=["not signed", "not encrypted"],
    )
    async def test_we_refuse_what_the_agreement_does_not_allow(
        self, send, job: dict[str, Any], reason: str, code: str
    ) -> None:
        answer, endpoint = await send(**job)
        assert endpoint.seen == []
        assert [error.reason for error in endpoint.refused] == [reason]
        assert answer["result"] == "AS4_ERROR_MESSAGE_RECEIVED", answer
        assert [error["code"] for error in answer["errors"]] == [code]


@pytest.mark.matrix(direction="us to peer")
class TestWeSendToPhase4:
    @pytest.fixture
    def exchange(self, phase4_receiver, municipality, clinic) -> Callable[..., Any]:
        """Post one message of ours to phase4; its answer, verified as a receipt, and what phase4 says it got."""
        receiver, url = phase4_receiver

        async def exchanged(*payloads: bytes, **options: Any) -> tuple[Composed, dict[str, Any]]:
            sent = compose(municipality, clinic.issued.certificate, *payloads, **options)
            status, answer = await post(url, sent.content_type, sent.body)
            assert status == 200, answer
            receipt = match(answer, sent, clinic.issued.certificate)
            assert receipt.message_id == sent.message.message_id
            heard = await asyncio.to_thread(receiver.listen)
            assert heard["received"] == sent.message.message_id
            assert heard["signature_verified"]
            return sent, heard

        return exchanged

    @pytest.fixture
    def refused(self, phase4_receiver) -> Callable[..., Any]:
        """Post a message that phase4 must refuse; the codes of its error."""
        receiver, url = phase4_receiver

        async def codes(content_type: str, body: bytes) -> list[str]:
            _, answer = await post(url, content_type, body)
            signal = read_signal(parse_soap(scan(answer)))
            assert signal.receipt is None
            assert receiver.silent()
            return [error.code for error in signal.errors]

        return codes

    @pytest.mark.matrix(case=SHAPE)
    @SHAPES
    async def test_shapes(self, exchange, parts: int, encrypt: bool, compress: bool) -> None:
        payloads = [b"%d " % number + os.urandom(3000) for number in range(parts)]
        sent, heard = await exchange(
            *payloads, encrypt=encrypt, compress=compress, mime_type="application/octet-stream"
        )
        assert heard["decrypted"] == encrypt
        assert [part["sha256"] for part in heard["payloads"]] == [
            sha256(payload).hexdigest() for payload in payloads
        ]
        assert [part["content_id"] for part in heard["payloads"]] == list(sent.parts)

    @pytest.mark.matrix(case=TOKEN)
    @pytest.mark.parametrize("form", list(TokenForm), ids=lambda form: form.value)
    async def test_tokens(self, exchange, payload: Path, form: TokenForm) -> None:
        suite = SecuritySuite(
            signing_token=form,
            encryption_token=TokenForm.BINARY_SECURITY_TOKEN
            if form is TokenForm.PKI_PATH
            else form,
        )
        _, heard = await exchange(payload.read_bytes(), suite=suite)
        assert heard["decrypted"]
        assert heard["from"] == {
            "id": "municipality-ap",
            "type": names.PARTY_UNREGISTERED,
            "role": names.EB_INITIATOR,
        }
        assert heard["properties"]["originalSender"]["value"] == "0088:5790000000012"
        [part] = heard["payloads"]
        assert part["sha256"] == sha256(payload.read_bytes()).hexdigest()
        assert part["mime_type"] == "application/xml"

    @pytest.mark.matrix(case=SIZE)
    @pytest.mark.parametrize(
        "size",
        [
            pytest.param(size, id=name, marks=[pytest.mark.slow] * (size > 1024**2))
            for name, size in SIZES.items()
        ],
    )
    async def test_sizes(self, exchange, size: int) -> None:
        """On Java 17 the peer's stream cipher copies what it has so far again and again: 20 MiB take it 30 s."""
        octets = os.urandom(size)
        _, heard = await exchange(octets, mime_type="application/octet-stream")
        assert [part["sha256"] for part in heard["payloads"]] == [sha256(octets).hexdigest()]

    @pytest.mark.matrix(case=MEDIA)
    @pytest.mark.parametrize("mime_type", ["text/plain", "text/xml", "application/pdf"])
    async def test_forms_of_digest_agree_for_uncompressed_payloads(
        self, exchange, mime_type: str
    ) -> None:
        _, heard = await exchange(DOCUMENT, compress=False, mime_type=mime_type)
        assert [part["sha256"] for part in heard["payloads"]] == [sha256(DOCUMENT).hexdigest()]

    @pytest.mark.matrix(case="marker beside the NonRepudiationInformation does not disturb")
    async def test_marker_in_the_receipt_of_phase4_does_not_disturb(
        self, phase4_receiver, municipality, clinic, payload: Path
    ) -> None:
        """phase4 writes its version beside the NonRepudiationInformation, as the schema of ebMS allows."""
        receiver, url = phase4_receiver
        sent = compose(municipality, clinic.issued.certificate, payload.read_bytes())
        _, answer = await post(url, sent.content_type, sent.body)
        await asyncio.to_thread(receiver.listen)
        assert b"urn:fdc:com.helger.phase4:ns:info" in answer
        evidence = match(answer, sent, clinic.issued.certificate)
        assert evidence.message_id == sent.message.message_id

    @pytest.mark.matrix(case=SPOILT_RECEIPT)
    async def test_receipt_of_phase4_does_not_serve_for_another_message(
        self, phase4_receiver, municipality, clinic, payload: Path
    ) -> None:
        """Its digests are those of another message, under the very message id of this one."""
        receiver, url = phase4_receiver
        first, second = (
            compose(municipality, clinic.issued.certificate, payload.read_bytes()) for _ in range(2)
        )
        _, answer = await post(url, first.content_type, first.body)
        await asyncio.to_thread(receiver.listen)
        with pytest.raises(InvalidReceipt):
            match(answer, replace(first, envelope=second.envelope), clinic.issued.certificate)

    @pytest.mark.matrix(case=SPOILT_PART)
    async def test_phase4_sees_a_changed_octet_of_the_payload(
        self, refused, municipality, clinic, payload: Path
    ) -> None:
        sent = compose(municipality, clinic.issued.certificate, payload.read_bytes())
        assert await refused(sent.content_type, changed_part(sent.body)) == ["EBMS:0102"]

    @pytest.mark.matrix(case=UNKNOWN_SIGNER)
    async def test_phase4_refuses_a_signer_it_does_not_know(
        self, refused, make_stations, clinic, payload: Path
    ) -> None:
        """It says EBMS:0102 FailedDecryption, whatever failed in the security header."""
        stranger, _ = make_stations(
            DevelopmentAuthority.create(at=datetime.now(UTC), name="Unknown"), "stranger", "other"
        )
        sent = compose(stranger, clinic.issued.certificate, payload.read_bytes())
        assert await refused(sent.content_type, sent.body) == ["EBMS:0102"]

    @pytest.mark.matrix(case=OTHER_KEY)
    async def test_phase4_refuses_what_is_for_another_key(
        self, refused, municipality, payload: Path
    ) -> None:
        sent = compose(municipality, municipality.issued.certificate, payload.read_bytes())
        assert await refused(sent.content_type, sent.body) == ["EBMS:0102"]

    @pytest.mark.matrix(
        case="message without originalSender is refused, and the sender reads the error"
    )
    async def test_phase4_refuses_a_message_without_original_sender(
        self, refused, municipality, clinic, payload: Path
    ) -> None:
        sent = compose(municipality, clinic.issued.certificate, payload.read_bytes(), properties=())
        assert set(await refused(sent.content_type, sent.body)) == {"EBMS:0010"}

    @pytest.mark.matrix(
        case="repetition of the same octets is not delivered again, and the sender can tell"
    )
    async def test_phase4_answers_a_repetition_with_a_signed_error(
        self, refused, exchange, phase4_receiver
    ) -> None:
        """Not a second receipt: EBMS:0004, which must not be taken for proof that nothing arrived."""
        sent, _ = await exchange(b"<once/>")
        assert await refused(sent.content_type, sent.body) == ["EBMS:0004"]

    @pytest.mark.matrix(case="ping is receipted")
    async def test_phase4_receipts_a_ping(self, phase4_receiver, municipality, clinic) -> None:
        """A message without payload, signed only; phase4 leaves it to the application not to deliver it."""
        receiver, url = phase4_receiver
        sent = compose(
            municipality,
            clinic.issued.certificate,
            service=Service(names.EB_TEST_SERVICE),
            action=names.EB_TEST_ACTION,
        )
        status, answer = await post(url, SOAP, sent.envelope.data)
        assert status == 200, answer
        receipt = match(answer, sent, clinic.issued.certificate)
        assert receipt.message_id == sent.message.message_id
        heard = await asyncio.to_thread(receiver.listen)
        assert (heard["received"], heard["payloads"]) == (sent.message.message_id, [])
