"""Messages that other products really sent: each must be accepted, or refused at the right gate for the right reason.

The table says for every sample under which quirks it is read and what comes of it. Most samples stand twice: once
as the default profile judges them, once under the quirks that their product needs. The private keys are published
test keys. Nothing here needs a peer that runs; without the fixtures the file skips.
"""

import json
import os
import re
from base64 import urlsafe_b64decode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from envelope import names
from envelope.compression import Decompressor
from envelope.errors import FailedDecryption, RemoteProtocolError
from envelope.events import PartData, PartStarted
from envelope.messaging import PartyId
from envelope.mime import MultipartParser, parse_content_type
from envelope.parts import PartOpener, verify_parts
from envelope.pmode import EDELIVERY_1_15, Quirk, SecurityPolicy, TokenForm
from envelope.security_header import read_security
from envelope.security_token import TokenReference
from envelope.signals import read_signal
from envelope.soap import parse_soap, read_fault
from envelope.verified import AuthenticatedUserMessage, ParsedSignal, ParsedUserMessage
from envelope.wsse import authenticate, authenticate_signal, decrypt_key
from envelope.xml import scan
from envelope.xmldsig import verify_reference, verify_signature
from envelope.xmlenc import WrappedKey

FIXTURES = os.environ.get("ACCESSPOINT_FIXTURES")
pytestmark = pytest.mark.skipif(
    not FIXTURES, reason="ACCESSPOINT_FIXTURES does not name the folder with the samples"
)
SAMPLES = Path(FIXTURES or ".") / "as4" / "samples"

HASHES: dict[str, hashes.HashAlgorithm] = {
    names.SHA1: hashes.SHA1(),
    names.SHA256: hashes.SHA256(),
    names.MGF1_SHA1: hashes.SHA1(),
    names.MGF1_SHA256: hashes.SHA256(),
}


def octets(text: str) -> int:
    return int.from_bytes(urlsafe_b64decode(text + "=" * (-len(text) % 4)), "big")


def private_key(name: str) -> rsa.RSAPrivateKey:
    jwk = json.loads((SAMPLES / "keys" / "test-keys.jwk.json").read_text("utf-8"))[name]
    public = rsa.RSAPublicNumbers(octets(jwk["e"]), octets(jwk["n"]))
    p, q, d = octets(jwk["p"]), octets(jwk["q"]), octets(jwk["d"])
    return rsa.RSAPrivateNumbers(
        p, q, d, rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q), public
    ).private_key()


def certificate(name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((SAMPLES / "keys" / f"{name}.cert.pem").read_bytes())


class TestKey:
    """One published key as a decrypter."""

    __test__ = False

    def __init__(self, name: str) -> None:
        self.name = name
        self.certificate = certificate(name)

    def matches(self, reference: TokenReference) -> bool:
        return reference.matches(self.certificate)

    def unwrap(self, wrapped: WrappedKey) -> bytes:
        mgf = padding.MGF1(HASHES[wrapped.mgf_algorithm])
        return private_key(self.name).decrypt(
            wrapped.cipher_value, padding.OAEP(mgf, HASHES[wrapped.digest_algorithm], None)
        )


class EveryCertificate:
    """Knows the sample certificates and trusts whoever signed: these tests are about signatures, not about paths."""

    def __init__(self) -> None:
        self.known = [
            x509.load_pem_x509_certificate(path.read_bytes())
            for path in sorted((SAMPLES / "keys").glob("*.cert.pem"))
        ]

    def find(self, reference: TokenReference) -> x509.Certificate | None:
        return next((known for known in self.known if reference.matches(known)), None)

    def check(
        self,
        certificate: x509.Certificate,
        chain: Sequence[x509.Certificate],
        *,
        party: PartyId | None,
    ) -> object:
        return certificate.subject.rfc4514_string()


@dataclass(frozen=True)
class Sample:
    """One row: `outcome` is the refusal as `gate reason`, or what was reached."""

    file: str
    outcome: str
    quirks: frozenset[Quirk] = frozenset()
    key: str | None = None

    def __str__(self) -> str:
        return f"{self.file}-{'+'.join(sorted(self.quirks)) or 'default'}"


def quirks(*some: Quirk) -> frozenset[Quirk]:
    return frozenset(some)


LF, CID, BOM = Quirk.BARE_LINE_FEEDS, Quirk.MISSING_CONTENT_ID, Quirk.BYTE_ORDER_MARK
S384, MGF1P, OAEP1 = Quirk.RSA_SHA384, Quirk.OAEP_MGF1P, Quirk.OAEP_SHA1
RSA1024, B64, BARE = Quirk.SMALL_RSA, Quirk.BASE64_PARTS, Quirk.BARE_CONTENT_ID
CLEAR, UNTYPED = Quirk.UNENCRYPTED, Quirk.UNTYPED_NAMES

TABLE = [
    # as4.net and Holodeck
    Sample("as4net/as4-encrypted-signed-keyidentifier.as4", "G5 alg.signature"),
    Sample("as4net/as4-encrypted-signed-keyidentifier.as4", "G5 alg.transport", quirks(S384)),
    Sample(
        "as4net/as4-encrypted-signed-keyidentifier.as4",
        "verified 2 parts",
        quirks(S384, MGF1P),
        "as4net-AccessPointB",
    ),
    Sample(
        "as4net/as4-encrypted-signed-keyidentifier.as4",
        "G7 enc.failed",
        quirks(S384, MGF1P),
        "as4net-AccessPointA",
    ),
    Sample("as4net/signed_holodeck_message.as4", "G5 alg.signature"),
    Sample("as4net/signed_holodeck_message.as4", "G5 enc.missing", quirks(S384)),
    Sample("as4net/signed_holodeck_message.as4", "verified 2 parts", quirks(S384, CLEAR)),
    Sample("as4net/8.1.22-message.as4", "G5 alg.signature"),
    Sample(
        "as4net/8.1.22-message.as4", "G7 enc.failed", quirks(S384, MGF1P), "as4net-AccessPointB"
    ),
    Sample("as4net/as4-soap-signed-message.txt", "G5 alg.key"),
    Sample("as4net/as4-soap-signed-message.txt", "verified 0 parts", quirks(RSA1024)),
    Sample("as4net/as4-soap-untrusted-signed-message.txt", "G6 sig.value"),
    Sample("as4net/as4-soap-untrusted-signed-message.txt", "G6 sig.value", quirks(RSA1024)),
    Sample("as4net/as4-soap-wrong-signed-message.txt", "G5 sig.reference"),
    Sample("as4net/as4-soap-pullrequest.xml", "G3 xml.encoding"),
    Sample("as4net/as4-soap-pullrequest.xml", "G5 sec.missing", quirks(BOM)),
    Sample("as4net/receipt.xml", "G5 sec.missing"),
    Sample("as4net/UserMessage.xml", "G3 xml.encoding"),
    Sample("as4net/UserMessage.xml", "G4 header.schema", quirks(BOM)),
    Sample("as4net/BizTalkUserMessage.xml", "G3 xml.encoding"),
    Sample("as4net/BizTalkUserMessage.xml", "G4 soap.cardinality", quirks(BOM)),
    Sample("as4net/receipt_with_invalid_signature.as4", "G5 sig.coverage"),
    Sample(
        "as4net/receipt_with_invalid_signature.as4",
        "G6 cert.untrusted",
        quirks(Quirk.UNSIGNED_BODY),
    ),
    # nsoftware and Flame
    Sample("as4net/rssbus_message.as4", "G7 enc.failed", key="as4net-AccessPointB"),
    Sample("as4net/Receipt_InvalidNRI_Namespace.as4", "G2 mime.delimiter"),
    Sample("as4net/Receipt_InvalidNRI_Namespace.as4", "G4 header.schema", quirks(LF)),
    Sample("as4net/as4_flame_envelope.as4", "G4 header.uri"),
    Sample("as4net/as4_flame_envelope.as4", "G5 alg.oaep", quirks(UNTYPED)),
    Sample(
        "as4net/as4_flame_envelope.as4",
        "G8 att.missing",
        quirks(UNTYPED, OAEP1),
        "as4net-interop-c3",
    ),
    # phase4 and Dataport
    Sample("phase4/helger.as4in", "signal"),
    Sample("phase4/dataport1-mustunderstand.as4in", "signal"),
    Sample("phase4/dataport1.as4in", "G6 sig.digest"),
    Sample("phase4/dump-raw.as4out", "G7 enc.failed", key="as4net-AccessPointB"),
    Sample("phase4/ErrorMessage.xml", "G5 sec.missing"),
    Sample("phase4/ErrorMessageWithFault.xml", "G5 sec.missing"),
    Sample("phase4/TwoUserMessages.xml", "G4 soap.cardinality"),
    Sample("phase4/WrongCompression.mime", "G2 mime.delimiter"),
    Sample("phase4/WrongCompression.mime", "G4 header.uri", quirks(LF, B64, BARE, CID)),
    # Domibus: the files were formatted after signing, so no signature can verify
    Sample("domibus/MSHAS4Response.xml", "G6 sig.value"),
    Sample("domibus/bst_x509v3_incoming_message.xml", "G6 sig.value"),
    Sample("domibus/bst_X509PKIPathv1_incoming_message.xml", "G6 sig.value"),
    Sample("domibus/is_incoming_message.xml", "G6 cert.untrusted"),
    Sample("domibus/ski_incoming_message.xml", "G6 cert.untrusted"),
    Sample("domibus/SOAPFaultResponse.xml", "G4 soap.cardinality"),
]


def read_sample(sample: Sample) -> tuple[bytes, dict[str, bytes]]:
    """The SOAP part and the other parts as they were on the wire."""
    data = (SAMPLES / sample.file).read_bytes()
    value = "application/soap+xml"
    if data.startswith(b"--"):
        boundary = data.split(b"\n", 1)[0].strip()[2:].decode()
        value = f'multipart/related; type="application/soap+xml"; boundary="{boundary}"'
    elif not data.lstrip(b"\xef\xbb\xbf \r\n").startswith(b"<"):
        head, blank, data = data.partition(b"\r\n\r\n" if b"\r\n\r\n" in data[:1000] else b"\n\n")
        assert blank
        lines = head.decode("latin-1").replace("\r\n", "\n").replace("\n\t", " ").split("\n")
        value = next(line[13:] for line in lines if line.lower().startswith("content-type:"))
    content_type = parse_content_type(value.strip())
    if content_type.media_type == "application/soap+xml":
        return without_licence(data.rstrip(b"\r\n")), {}
    parser = MultipartParser(content_type, quirks=sample.quirks)
    found: list[tuple[str | None, bytearray]] = []
    for at in range(0, len(data), 10_000):
        for event in parser.feed(data[at : at + 10_000]):
            if isinstance(event, PartStarted):
                found.append((event.content_id, bytearray()))
            elif isinstance(event, PartData):
                found[-1][1].extend(event.data)
    parser.close()
    return bytes(found[0][1]), {str(name): bytes(part) for name, part in found[1:]}


def without_licence(data: bytes) -> bytes:
    """Some repositories put comments with source and licence before the document; they were never on the wire."""
    return re.sub(
        rb"\A(\xef\xbb\xbf)?(?:<\?xml[^>]*>)?(?:\s*<!--.*?-->)+\s*", rb"\1", data, flags=re.DOTALL
    )


def policy_of(sample: Sample) -> SecurityPolicy:
    return replace(EDELIVERY_1_15, quirks=sample.quirks)


def take_in(sample: Sample) -> str:
    """All gates from G2 to G9 on one sample; the outcome in the words of the table."""
    soap, wires = read_sample(sample)
    document = parse_soap(scan(soap, allow_bom=BOM in sample.quirks))
    policy, check = policy_of(sample), EveryCertificate()
    if not document.user_messages:
        authenticate_signal(ParsedSignal.read(document), policy=policy, check=check, party=None)
        return "signal"
    parsed = ParsedUserMessage.read(document, quirks=sample.quirks)
    authenticated = authenticate(parsed, policy=policy, check=check)
    decrypted = decrypt_key(authenticated, TestKey(sample.key or "as4net-AccessPointA"))
    evidences = []
    for content_id, wire in wires.items():
        opener = PartOpener(decrypted, content_id)
        signed = opener.update(wire)
        evidences.append(opener.finish())
        if evidences[-1].part.compressed:
            decompressor = Decompressor()
            assert b"".join(decompressor.decompress(signed))
            decompressor.finish()
    verified = verify_parts(decrypted, evidences)
    return f"verified {len(verified.parts)} parts"


PRODUCTS = {
    "as4net/as4-encrypted-signed-keyidentifier.as4": "Holodeck B2B",
    "as4net/signed_holodeck_message.as4": "Holodeck B2B",
    "as4net/8.1.22-message.as4": "Holodeck B2B",
    "as4net/rssbus_message.as4": "n/software",
    "as4net/as4_flame_envelope.as4": "Flame",
    "as4net": "AS4.NET",
    "domibus": "Domibus",
    "phase4/dataport1": "Dataport",
    "phase4": "phase4",
}


def product_of(sample: Sample) -> str:
    """Who wrote the sample; the folders are those of the projects that kept it."""
    return next(name for path, name in PRODUCTS.items() if sample.file.startswith(path))


@pytest.mark.matrix(
    profile="captured messages",
    direction="peer to us",
    case="captured message is judged as expected",
)
@pytest.mark.parametrize(
    "sample",
    [
        pytest.param(
            row, id=f"{row} comes to {row.outcome}", marks=pytest.mark.matrix(peer=product_of(row))
        )
        for row in TABLE
    ],
)
def test_sample(sample: Sample) -> None:
    try:
        outcome = take_in(sample)
    except RemoteProtocolError as refusal:
        outcome = f"{refusal.gate} {refusal.reason}"

    assert outcome == sample.outcome


def test_every_sample_has_a_row() -> None:
    present = {
        path.relative_to(SAMPLES).as_posix()
        for product in ("as4net", "phase4", "domibus")
        for path in (SAMPLES / product).iterdir()
    }

    assert {row.file for row in TABLE} == present


FAULTS = {
    "as4net/8.1.22-message.as4": "the cipher text of its parts was damaged: the tag does not hold",
    "as4net/as4-soap-untrusted-signed-message.txt": "signed wrongly on purpose",
    "as4net/as4-soap-wrong-signed-message.txt": "signed wrongly on purpose",
    "as4net/as4-soap-pullrequest.xml": "not signed",
    "as4net/receipt.xml": "not signed",
    "as4net/UserMessage.xml": "a template that does not fit the schema",
    "as4net/BizTalkUserMessage.xml": "the header of no AS4 message",
    "as4net/receipt_with_invalid_signature.as4": "signed wrongly on purpose",
    "as4net/rssbus_message.as4": "encrypted for a key that nobody published; the signature holds",
    "as4net/Receipt_InvalidNRI_Namespace.as4": "its content lost its namespace on purpose",
    "as4net/as4_flame_envelope.as4": "only its envelope was kept: signature and key hold, the parts are missing",
    "phase4/dataport1.as4in": "changed after signing; the file beside it is whole",
    "phase4/dump-raw.as4out": "encrypted for a key that nobody published; the signature holds",
    "phase4/ErrorMessage.xml": "not signed",
    "phase4/ErrorMessageWithFault.xml": "not signed",
    "phase4/TwoUserMessages.xml": "two messages on purpose",
    "phase4/WrongCompression.mime": "compressed wrongly on purpose",
    "domibus/MSHAS4Response.xml": "formatted after signing",
    "domibus/bst_x509v3_incoming_message.xml": "formatted after signing",
    "domibus/bst_X509PKIPathv1_incoming_message.xml": "formatted after signing",
    "domibus/is_incoming_message.xml": "its certificate was not kept",
    "domibus/ski_incoming_message.xml": "its certificate was not kept",
    "domibus/SOAPFaultResponse.xml": "a fault and no message",
}
"""What is wrong with each sample that is refused under every quirk."""


@pytest.mark.positive
@pytest.mark.parametrize("file", sorted({row.file for row in TABLE}))
def test_no_sample_is_refused_without_a_fault_of_its_own(file: str) -> None:
    """With the quirks of its product each whole message is taken in."""
    accepted = [row for row in TABLE if row.file == file and not re.match(r"G\d", row.outcome)]
    assert bool(accepted) != (file in FAULTS)
    assert [take_in(row) for row in accepted] == [row.outcome for row in accepted]


def authenticated(name: str, *some: Quirk) -> AuthenticatedUserMessage:
    sample = Sample(name, "", quirks(*some))
    soap, _ = read_sample(sample)
    return authenticate(
        ParsedUserMessage.read(parse_soap(scan(soap))),
        policy=policy_of(sample),
        check=EveryCertificate(),
    )


@pytest.mark.parametrize(
    ("name", "some", "signer"),
    [
        ("as4net/rssbus_message.as4", (), "CN=21X-NL-A-A0A0A-Z"),
        ("phase4/dump-raw.as4out", (), "CN=POP000306"),
    ],
)
def test_messages_for_keys_we_do_not_have_are_authentic(
    name: str, some: tuple[Quirk, ...], signer: str
) -> None:
    """Signature value and header digests hold; only the content key is for somebody else."""
    message = authenticated(name, *some)

    assert str(message.evidence).startswith(signer)
    assert message.encryption is not None
    assert message.encryption.wrapped_key.mgf_algorithm == names.MGF1_SHA256


def test_the_damaged_message_fails_at_its_tag_and_not_before() -> None:
    sample = Sample("as4net/8.1.22-message.as4", "", quirks(S384, MGF1P))
    _, wires = read_sample(sample)
    decrypted = decrypt_key(
        authenticated(sample.file, *sample.quirks), TestKey("as4net-AccessPointB")
    )

    assert len(decrypted.content_key or b"") == 16
    for content_id, wire in wires.items():
        opener = PartOpener(decrypted, content_id)
        opener.update(wire)
        with pytest.raises(FailedDecryption):
            opener.finish()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("bst_x509v3", TokenForm.BINARY_SECURITY_TOKEN),
        ("bst_X509PKIPathv1", TokenForm.BINARY_SECURITY_TOKEN),
        ("is", TokenForm.ISSUER_SERIAL),
        ("ski", TokenForm.KEY_IDENTIFIER),
    ],
)
def test_domibus_content_keys_open_in_every_token_form(name: str, kind: TokenForm) -> None:
    soap, _ = read_sample(Sample(f"domibus/{name}_incoming_message.xml", ""))
    header = read_security(parse_soap(scan(soap)), content_ids=["message"], policy=EDELIVERY_1_15)
    assert header.encryption is not None
    wrapped = header.encryption.wrapped_key
    key = TestKey("domibus-red_gw")

    assert wrapped.token.kind is kind
    assert key.matches(wrapped.token)
    assert len(key.unwrap(wrapped)) == 16


def test_a_domibus_pki_path_names_its_last_certificate() -> None:
    soap, _ = read_sample(Sample("domibus/bst_X509PKIPathv1_incoming_message.xml", ""))
    header = read_security(parse_soap(scan(soap)), content_ids=["message"], policy=EDELIVERY_1_15)

    assert header.token.kind is TokenForm.PKI_PATH
    assert header.token.certificate is not None
    assert header.token.chain
    assert header.token.certificate.issuer == header.token.chain[0].subject


def test_the_flame_header_is_authentic_and_its_bare_oaep_a_quirk() -> None:
    """Its ebMS header is refused for an untyped party id, so the security header is judged by itself."""
    sample = Sample("as4net/as4_flame_envelope.as4", "")
    soap, _ = read_sample(sample)
    document = parse_soap(scan(soap))
    content_ids = ["custompayload@minder", "xmlpayload@minder"]
    with pytest.raises(RemoteProtocolError) as refused:
        read_security(document, content_ids=content_ids, policy=EDELIVERY_1_15)
    assert refused.value.reason == "alg.oaep"

    policy = replace(EDELIVERY_1_15, quirks=quirks(OAEP1))
    header = read_security(document, content_ids=content_ids, policy=policy)
    assert header.token.certificate is not None
    verify_signature(header.signature, header.token.certificate, policy)
    for reference, element in header.coverage.elements:
        verify_reference(reference, element)

    assert header.encryption is not None
    wrapped = header.encryption.wrapped_key
    assert TestKey("as4net-interop-c3").matches(wrapped.token)
    assert len(TestKey("as4net-interop-c3").unwrap(wrapped)) == 16


def test_a_receipt_whose_references_lost_their_namespace_has_good_digests() -> None:
    """The digests of its own header hold, so it is the content that makes it prove nothing."""
    soap, _ = read_sample(Sample("as4net/Receipt_InvalidNRI_Namespace.as4", "", quirks(LF)))
    document = parse_soap(scan(soap))
    header = read_security(document, content_ids=[], policy=EDELIVERY_1_15, signal=True)

    for reference, element in header.coverage.elements:
        verify_reference(reference, element)
    with pytest.raises(RemoteProtocolError):
        read_signal(document)


@pytest.mark.parametrize(
    ("name", "references"),
    [("helger.as4in", 3), ("dataport1-mustunderstand.as4in", None)],
)
def test_receipts_of_other_products_are_read(name: str, references: int | None) -> None:
    soap, _ = read_sample(Sample(f"phase4/{name}", ""))
    signal = read_signal(parse_soap(scan(soap)))

    assert signal.receipt is not None
    assert signal.receipt.references
    assert references in (None, len(signal.receipt.references))


def test_a_fault_of_domibus_is_read() -> None:
    soap, _ = read_sample(Sample("domibus/SOAPFaultResponse.xml", ""))

    assert read_fault(scan(soap)) is not None
