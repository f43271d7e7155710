"""WSS4J and Santuario, with no access point around them, on the security headers that we write, and we on theirs.

WSS4J is what phase4, Domibus, Holodeck B2B and Oxalis rest on: a form that it reads and writes here is one that
those products can agree on with us.
"""

import gzip
import itertools
import uuid
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from interop_envelopes import Composed, compose, multipart, part_info, receive, user_message

from envelope import names
from envelope.errors import RemoteProtocolError
from envelope.messaging import build_messaging
from envelope.parts import SealedPart
from envelope.pmode import SecuritySuite, TokenForm
from envelope.receipts import build_receipt
from envelope.soap import write_body, write_envelope
from envelope.wsse import WireIds

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(300),
    pytest.mark.matrix(peer="WSS4J", profile="eDelivery AS4 1.15"),
]

DOCUMENT = "<dokument xmlns='urn:x'>blåbærgrød <b/></dokument>".encode() * 40
OURS = {
    TokenForm.BINARY_SECURITY_TOKEN: "DIRECT_REF",
    TokenForm.PKI_PATH: "DIRECT_REF",
    TokenForm.KEY_IDENTIFIER: "KEY_IDENTIFIER",
    TokenForm.ISSUER_SERIAL: "ISSUER_SERIAL",
}
ENCRYPTION_FORMS = [form for form in TokenForm if form is not TokenForm.PKI_PATH]


@pytest.fixture(scope="session")
def wss4j(start_phase4: Callable[..., Any]) -> Any:
    """The peer process in the mode in which it is WSS4J alone."""
    return start_phase4("wss4j")


class Desk:
    """Carries one message between us and WSS4J through files."""

    def __init__(self, peer: Any, folder: Path, municipality: Any, clinic: Any) -> None:
        self.peer, self.folder = peer, folder
        self.municipality, self.clinic = municipality, clinic

    def _job(
        self, station: Any, soap: bytes, parts: dict[str, tuple[str, bytes]]
    ) -> dict[str, Any]:
        (self.folder / "soap").write_bytes(soap)
        listed = []
        for number, (content_id, (media, octets)) in enumerate(parts.items()):
            file = self.folder / f"part-{number}"
            file.write_bytes(octets)
            listed.append({"id": content_id, "mime_type": media, "file": str(file)})
        return {**station.job, "soap": str(self.folder / "soap"), "parts": listed}

    def judge(self, soap: bytes, parts: dict[str, bytes], station: Any = None) -> dict[str, Any]:
        """What WSS4J, with the clinic's keys, says of a message of ours."""
        typed = {name: ("application/octet-stream", octets) for name, octets in parts.items()}
        answer: dict[str, Any] = self.peer.ask(self._job(station or self.clinic, soap, typed))
        return answer

    def written(self, *payloads: bytes, compress: bool = True, **options: Any) -> tuple[str, bytes]:
        """A request whose security header WSS4J wrote with the municipality's keys; the rest is ours."""
        parts: dict[str, tuple[str, bytes]] = {}
        infos = []
        for payload in payloads:
            content_id = f"{uuid.uuid4()}@municipality.example"
            infos.append(part_info(SealedPart(content_id, "text/xml", compress, b"", 0)))
            parts[content_id] = (
                ("application/gzip", gzip.compress(payload)) if compress else ("text/xml", payload)
            )
        messaging = build_messaging(user_message(infos), messaging_id="id-messaging")
        soap = write_envelope(messaging, write_body("id-body"))
        job = self._job(self.municipality, soap, parts) | {
            "do": "write",
            "messaging_namespace": names.EB,
            "receiver_certificate": str(self.clinic.certificate_file),
            **options,
        }
        answer = self.peer.ask(job)
        assert answer == {"written": True}, answer
        return multipart(
            Path(job["soap"]).read_bytes(),
            [
                (part["id"], "application/octet-stream", Path(part["file"]).read_bytes())
                for part in job["parts"]
            ],
        )

    def received(self, content_type: str, body: bytes) -> list[bytes]:
        """The payloads of a request, when all our gates let it pass; raises what the gates raise."""
        verified, payloads = receive(
            content_type,
            body,
            4096,
            partner=self.municipality.issued.certificate,
            station=self.clinic,
        )
        assert verified.certificate == self.municipality.issued.certificate
        return payloads


@pytest.fixture
def desk(wss4j: Any, tmp_path: Path, municipality: Any, clinic: Any) -> Desk:
    return Desk(wss4j, tmp_path, municipality, clinic)


def assert_held(answer: dict[str, Any], sent: Composed, signer: Any) -> None:
    """WSS4J found Messaging, Body and every part signed by our key, and every part encrypted."""
    assert "refused" not in answer, answer
    assert answer["signed_by"] == signer.issued.certificate.fingerprint(SHA256()).hex()
    cids = [f"cid:{content_id}" for content_id in sent.parts]
    assert sorted(answer["signed"]) == sorted(["Messaging", "Body", *cids])
    assert len(answer["encrypted"]) == len(sent.parts)
    assert set(answer["parts"]) == set(sent.parts)


@pytest.mark.matrix(direction="us to peer")
class TestWss4jOnOurHeaders:
    @pytest.mark.matrix(case="token forms of signature and encrypted key are resolved")
    @pytest.mark.parametrize(
        ("signing", "encryption"),
        [
            pytest.param(signing, encryption, id=f"{signing.value} and {encryption.value}")
            for signing, encryption in itertools.product(TokenForm, ENCRYPTION_FORMS)
        ],
    )
    def test_tokens(self, desk: Desk, signing: TokenForm, encryption: TokenForm) -> None:
        suite = SecuritySuite(signing_token=signing, encryption_token=encryption)
        sent = compose(
            desk.municipality, desk.clinic.issued.certificate, DOCUMENT, b"two", suite=suite
        )
        answer = desk.judge(sent.envelope.data, sent.parts)
        assert_held(answer, sent, desk.municipality)
        assert answer["form"] == OURS[signing]
        assert answer["transport"] == names.RSA_OAEP

    @pytest.mark.matrix(case="part is decrypted and its digest found equal")
    @pytest.mark.parametrize("media", ["text/plain", "text/xml", "application/pdf"])
    def test_uncompressed_parts(self, desk: Desk, media: str) -> None:
        document = b"<a  b='1'>\r\n<c/>\n<!-- note -->\r\n\xc3\xa6</a>\n"
        sent = compose(
            desk.municipality,
            desk.clinic.issued.certificate,
            document,
            compress=False,
            mime_type=media,
        )
        answer = desk.judge(sent.envelope.data, sent.parts)
        assert_held(answer, sent, desk.municipality)
        assert list(answer["parts"].values()) == [sha256(document).hexdigest()]

    @pytest.mark.matrix(case="signed message without parts, as of the test service, is verified")
    def test_no_parts(self, desk: Desk) -> None:
        sent = compose(desk.municipality, desk.clinic.issued.certificate)
        assert_held(desk.judge(sent.envelope.data, {}), sent, desk.municipality)

    @pytest.mark.matrix(case="signed receipt is verified")
    @pytest.mark.parametrize("form", list(TokenForm), ids=lambda form: form.value)
    def test_receipt(self, desk: Desk, form: TokenForm) -> None:
        sent = compose(desk.municipality, desk.clinic.issued.certificate, DOCUMENT)
        verified, _ = receive(
            sent.content_type,
            sent.body,
            4096,
            partner=desk.municipality.issued.certificate,
            station=desk.clinic,
        )
        receipt = build_receipt(
            verified,
            message_id="receipt@clinic.example",
            timestamp="2026-11-21T10:00:00Z",
            signer=desk.clinic.issued.signer(),
            suite=SecuritySuite(signing_token=form),
            ids=WireIds.new("receipt"),
        )
        answer = desk.judge(receipt, {}, desk.municipality)
        assert "refused" not in answer, answer
        assert sorted(answer["signed"]) == ["Body", "Messaging"]
        assert answer["form"] == OURS[form]

    @pytest.mark.matrix(case="changed message is refused")
    @pytest.mark.parametrize(
        ("old", "new"),
        [
            (b"conversation-2", b"conversation-3"),
            (b"<S12:Body ", b"<S12:Body x='1' "),
            (b"2001/10/xml-exc-c14n#", b"2001/10/xml-exc-c14n#WithComments"),
        ],
        ids=["Messaging", "Body", "SignedInfo"],
    )
    def test_changed_header(self, desk: Desk, old: bytes, new: bytes) -> None:
        """The planted fault: were this accepted, the tests above would prove nothing."""
        sent = compose(desk.municipality, desk.clinic.issued.certificate, DOCUMENT)
        assert old in sent.envelope.data
        answer = desk.judge(sent.envelope.data.replace(old, new, 1), sent.parts)
        assert "refused" in answer, answer

    @pytest.mark.matrix(case="changed message is refused: part")
    def test_changed_part(self, desk: Desk) -> None:
        sent = compose(desk.municipality, desk.clinic.issued.certificate, DOCUMENT)
        [(content_id, octets)] = sent.parts.items()
        changed = {content_id: octets[:-1] + bytes([octets[-1] ^ 1])}
        assert "refused" in desk.judge(sent.envelope.data, changed)


ACCEPTED = ("x509v3", "pkipath", "ski", "issuer-serial", "issuer-serial-quoted")


@pytest.mark.matrix(direction="peer to us")
class TestWeOnHeadersOfWss4j:
    @pytest.mark.matrix(case="token forms of signature and encrypted key are resolved")
    @pytest.mark.parametrize(
        ("signing", "encryption"),
        [
            pytest.param(signing, encryption, id=f"{signing} and {encryption}")
            for signing in ACCEPTED
            for encryption in ("x509v3", "ski", "issuer-serial")
        ],
    )
    def test_tokens(self, desk: Desk, signing: str, encryption: str) -> None:
        request = desk.written(DOCUMENT, b"two", signing_token=signing, encryption_token=encryption)
        assert desk.received(*request) == [DOCUMENT, b"two"]

    @pytest.mark.matrix(case="InclusiveNamespaces are honoured, and not needed")
    @pytest.mark.parametrize("prefixes", [True, False], ids=["with prefix list", "without"])
    def test_inclusive_prefixes(self, desk: Desk, prefixes: bool) -> None:
        content_type, body = desk.written(DOCUMENT, inclusive_prefixes=prefixes)
        assert (b"InclusiveNamespaces" in body) == prefixes
        assert desk.received(content_type, body) == [DOCUMENT]

    @pytest.mark.matrix(case="part is decrypted and its digest found equal")
    def test_uncompressed_xml(self, desk: Desk) -> None:
        document = b"<a  b='1'>\r\n<c/>\n<!-- note -->\r\n\xc3\xa6</a>\n"
        assert desk.received(*desk.written(document, compress=False)) == [document]

    @pytest.mark.matrix(case="token form that no profile names is refused")
    @pytest.mark.parametrize(
        ("place", "form"),
        [
            ("signing_token", "certificate"),
            ("signing_token", "thumbprint"),
            ("encryption_token", "certificate"),
            ("encryption_token", "thumbprint"),
            ("encryption_token", "x509-ski"),
        ],
    )
    def test_other_tokens(self, desk: Desk, place: str, form: str) -> None:
        request = desk.written(DOCUMENT, **{place: form})
        with pytest.raises(RemoteProtocolError) as refused:
            desk.received(*request)
        assert refused.value.gate == "G5"

    @pytest.mark.matrix(case="changed message is refused")
    @pytest.mark.parametrize(
        ("old", "new"),
        [(b"conversation-2", b"conversation-3"), (b"Body ", b"Body x='1' ")],
        ids=["Messaging", "Body"],
    )
    def test_changed_header(self, desk: Desk, old: bytes, new: bytes) -> None:
        content_type, body = desk.written(DOCUMENT)
        assert old in body
        with pytest.raises(RemoteProtocolError) as refused:
            desk.received(content_type, body.replace(old, new, 1))
        assert refused.value.reason in ("sig.digest", "header.schema")
