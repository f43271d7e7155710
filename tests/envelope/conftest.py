"""Keys, certificates and a message workshop for the tests of the security header: real ones, generated once."""

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID
from lxml import etree
from seal_parts import MANIFEST, Station, station

from envelope import names
from envelope.errors import CertificateRefused
from envelope.messaging import (
    CollaborationInfo,
    PartInfo,
    Party,
    PartyId,
    Property,
    Service,
    UserMessage,
)
from envelope.parts import PartOpener, PartSealer, SealedPart, verify_parts
from envelope.pmode import EDELIVERY_1_15, SecurityPolicy, SecuritySuite
from envelope.seal import seal_manifest
from envelope.security_token import TokenReference
from envelope.soap import SoapDocument, parse_soap
from envelope.verified import (
    AuthenticatedSignal,
    AuthenticatedUserMessage,
    DecryptedUserMessage,
    ParsedSignal,
    ParsedUserMessage,
    VerifiedUserMessage,
)
from envelope.wsse import (
    SignedEnvelope,
    WireIds,
    authenticate,
    authenticate_signal,
    build_user_message,
    decrypt_key,
)
from envelope.xml import scan
from envelope.xmlenc import WrappedKey

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
PRIVATE_KEYS = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
HASHES: Mapping[str, hashes.HashAlgorithm] = {
    names.RSA_SHA256: hashes.SHA256(),
    names.RSA_SHA384: hashes.SHA384(),
    names.RSA_SHA512: hashes.SHA512(),
    names.SHA1: hashes.SHA1(),
    names.SHA256: hashes.SHA256(),
    names.MGF1_SHA1: hashes.SHA1(),
    names.MGF1_SHA256: hashes.SHA256(),
}


def issue(name: x509.Name, key: PRIVATE_KEYS, *, serial: int, ski: bool = True) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=365))
    )
    if ski:
        builder = builder.add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
        )
    return builder.sign(
        key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    )


def subject(common_name: str, organization: str = "Fællesklinikken, Ærø") -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "DK"),
            x509.NameAttribute(NameOID.ORGANIZATION_IDENTIFIER, "NTRDK-99999999"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


@dataclass
class Keyholder:
    """A party with one key: signs, unwraps."""

    key: PRIVATE_KEYS
    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...] = ()

    def sign(self, data: bytes, algorithm: str) -> bytes:
        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(data, padding.PKCS1v15(), HASHES[algorithm])
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            return self.key.sign(data)
        width = (self.key.curve.key_size + 7) // 8
        pair = decode_dss_signature(self.key.sign(data, ec.ECDSA(hashes.SHA256())))
        return b"".join(number.to_bytes(width, "big") for number in pair)

    def matches(self, reference: TokenReference) -> bool:
        return reference.matches(self.certificate)

    def unwrap(self, wrapped: WrappedKey) -> bytes:
        assert isinstance(self.key, rsa.RSAPrivateKey)
        mgf = padding.MGF1(HASHES[wrapped.mgf_algorithm])
        return self.key.decrypt(
            wrapped.cipher_value, padding.OAEP(mgf, HASHES[wrapped.digest_algorithm], None)
        )


@dataclass
class AcceptList:
    """A certificate check over a list: who is on it is trusted, for the party the list says."""

    parties: Mapping[x509.Certificate, PartyId | None]
    asked: list[tuple[x509.Certificate, tuple[x509.Certificate, ...], PartyId | None]] = field(
        default_factory=list
    )

    def find(self, reference: TokenReference) -> x509.Certificate | None:
        return next((known for known in self.parties if reference.matches(known)), None)

    def check(
        self,
        certificate: x509.Certificate,
        chain: Sequence[x509.Certificate],
        *,
        party: PartyId | None,
    ) -> object:
        self.asked.append((certificate, tuple(chain), party))
        if certificate not in self.parties:
            raise CertificateRefused("not on the list")
        expected = self.parties[certificate]
        if expected is not None and party is not None and expected != party:
            raise CertificateRefused("of another party", reason="cert.party")
        return ("on the list", certificate.serial_number)


@dataclass
class People:
    """Sender, receiver and a stranger, each with an RSA-2048 key."""

    sender: Keyholder
    receiver: Keyholder
    stranger: Keyholder


@pytest.fixture(scope="session")
def people() -> People:
    def person(name: str, serial: int) -> Keyholder:
        key = rsa.generate_private_key(65537, 2048)
        return Keyholder(key, issue(subject(name), key, serial=serial))

    return People(person("alpha", 1001), person("beta", 2002), person("mallory", 3003))


@pytest.fixture(scope="session")
def make_certificate() -> Callable[..., x509.Certificate]:
    return issue


@pytest.fixture(scope="session")
def keyholder() -> Callable[..., Keyholder]:
    return Keyholder


@dataclass(frozen=True)
class Payload:
    """One part to send."""

    content_id: str
    octets: bytes
    mime_type: str = "application/fhir+json"
    compress: bool = True


@dataclass
class Sent:
    """A message as it goes over the wire."""

    envelope: SignedEnvelope
    parts: dict[str, bytes]
    sealed: list[SealedPart]
    user_message: UserMessage

    @property
    def data(self) -> bytes:
        return self.envelope.data


ALPHA = PartyId("alpha", names.PARTY_UNREGISTERED)
BETA = PartyId("beta", names.PARTY_UNREGISTERED)
PAYLOADS = (
    Payload("message-1@alpha.example", b'{"resourceType":"Bundle"}' * 40),
    Payload("picture@alpha.example", bytes(range(256)) * 300, "image/png", compress=False),
)


@dataclass
class Workshop:
    """Builds, changes and takes in messages between alpha and beta."""

    people: People

    payload: type[Payload] = Payload
    wire_ids: WireIds = field(default_factory=lambda: WireIds.new("4711"))

    def check(self, *known: x509.Certificate) -> AcceptList:
        if known:
            return AcceptList(dict.fromkeys(known))
        return AcceptList(
            {self.people.sender.certificate: ALPHA, self.people.receiver.certificate: BETA}
        )

    def send(
        self,
        payloads: Iterable[Payload] = PAYLOADS,
        *,
        suite: SecuritySuite = SecuritySuite(),  # noqa: B008
        encrypt: bool = True,
        signer: Keyholder | None = None,
        recipient: x509.Certificate | None = None,
        content_key: bytes = b"K" * 16,
        message_id: str = "m-1@alpha.example",
    ) -> Sent:
        sealed, wires, infos = [], {}, []
        for number, payload in enumerate(payloads):
            sealer = PartSealer(
                payload.content_id,
                content_key if encrypt else None,
                bytes([number]) * 12,
                mime_type=payload.mime_type,
                compress=payload.compress,
            )
            wire = b"".join(
                sealer.update(payload.octets[at : at + 4096])
                for at in range(0, len(payload.octets), 4096)
            )
            last, part = sealer.finish()
            wires[payload.content_id] = wire + last
            sealed.append(part)
            properties = [Property("MimeType", payload.mime_type)]
            if payload.compress:
                properties.append(Property("CompressionType", "application/gzip"))
            infos.append(PartInfo(payload.content_id, tuple(properties)))
        message = UserMessage(
            message_id=message_id,
            timestamp="2026-11-21T12:00:00.000Z",
            from_party=Party(ALPHA, names.EB_INITIATOR),
            to_party=Party(BETA, names.EB_RESPONDER),
            collaboration_info=CollaborationInfo(Service("urn:ehmi:sdn-emergence"), "urn:x", "c-1"),
            message_properties=(Property("originalSender", "0088:5790000000000"),),
            parts=tuple(infos),
        )
        encrypt = encrypt and bool(sealed)
        envelope = build_user_message(
            message,
            sealed,
            signer=signer or self.people.sender,
            suite=suite,
            recipient=(recipient or self.people.receiver.certificate) if encrypt else None,
            content_key=content_key if encrypt else None,
            ids=self.wire_ids,
        )
        return Sent(envelope, wires, sealed, message)

    def parse(self, data: bytes) -> ParsedUserMessage:
        return ParsedUserMessage.read(self.document(data))

    def document(self, data: bytes) -> SoapDocument:
        return parse_soap(scan(data))

    def authenticate(
        self,
        data: bytes,
        *,
        policy: SecurityPolicy = EDELIVERY_1_15,
        check: AcceptList | None = None,
    ) -> AuthenticatedUserMessage:
        return authenticate(self.parse(data), policy=policy, check=check or self.check())

    def decrypt(
        self, data: bytes, *, policy: SecurityPolicy = EDELIVERY_1_15
    ) -> DecryptedUserMessage:
        return decrypt_key(self.authenticate(data, policy=policy), self.people.receiver)

    def open(self, decrypted: DecryptedUserMessage, content_id: str, wire: bytes, step: int = 4096):
        opener = PartOpener(decrypted, content_id)
        octets = b"".join(opener.update(wire[at : at + step]) for at in range(0, len(wire), step))
        return octets, opener.finish()

    def receive(
        self, sent: Sent, *, policy: SecurityPolicy = EDELIVERY_1_15
    ) -> VerifiedUserMessage:
        decrypted = self.decrypt(sent.data, policy=policy)
        return verify_parts(
            decrypted, [self.open(decrypted, cid, wire)[1] for cid, wire in sent.parts.items()]
        )

    def authenticate_signal(
        self,
        data: bytes,
        *,
        policy: SecurityPolicy = EDELIVERY_1_15,
        check: AcceptList | None = None,
        party: PartyId | None = BETA,
    ) -> AuthenticatedSignal:
        return authenticate_signal(
            ParsedSignal.read(self.document(data)),
            policy=policy,
            check=check or self.check(),
            party=party,
        )

    def edit(self, data: bytes, change: Callable[[etree._Element], None]) -> bytes:
        """The same envelope after `change` worked on its tree."""
        root = etree.fromstring(data)
        change(root)
        return etree.tostring(root, encoding="UTF-8")

    def policy(self, **changes: object) -> SecurityPolicy:
        return replace(EDELIVERY_1_15, **changes)

    def resign(self, data: bytes, signer: Keyholder | None = None) -> bytes:
        """Make the signature value good again after SignedInfo was changed: what a hostile partner can do."""
        root = etree.fromstring(data)
        signed_info = next(root.iter(f"{{{names.DS}}}SignedInfo"))
        octets = etree.tostring(signed_info, method="c14n", exclusive=True)
        value = (signer or self.people.sender).sign(octets, names.RSA_SHA256)
        next(root.iter(f"{{{names.DS}}}SignatureValue")).text = base64.b64encode(value).decode()
        return etree.tostring(root, encoding="UTF-8")


@pytest.fixture
def workshop(people: People) -> Workshop:
    return Workshop(people)


@pytest.fixture(scope="module")
def workshop_of(people: People) -> Workshop:
    """The workshop for values that a whole file shares."""
    return Workshop(people)


@pytest.fixture(scope="module")
def station_a() -> Station:
    return station("Station A")


@pytest.fixture(scope="module")
def station_b() -> Station:
    return station("Station B")


@pytest.fixture(scope="module")
def sealed(station_a: Station) -> bytes:
    return seal_manifest(MANIFEST, station_a.key, station_a.certificate)
