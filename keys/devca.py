"""A throw-away public-key infrastructure whose certificates are shaped like OCES3, for development and tests.

Root and issuing authority hold RSA-3072 keys and sign with RSASSA-PSS (SHA-256, MGF1-SHA256, salt of 32
octets), as the OCES issuing authorities do; an access point that copes with these certificates copes with
the real ones. Every name says that it is a development authority. Nothing here reads a clock: times are
arguments, serial numbers follow from key, subject and validity, so the only unrepeatable thing is key
generation. Keys are made in threads: `cryptography` releases the interpreter lock while it looks for primes.

Spec: ehmi.md 3.6.
"""

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.types import (
    CertificateIssuerPublicKeyTypes,
    CertificatePublicKeyTypes,
    PrivateKeyTypes,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509 import ocsp
from cryptography.x509.oid import (
    AuthorityInformationAccessOID,
    ExtendedKeyUsageOID,
    ExtensionOID,
    NameOID,
    ObjectIdentifier,
)

from keys.certificate import OCES_SYSTEM_POLICY, pem
from keys.errors import UntrustedCertificate
from keys.private import FileDecrypter, FileSigner
from keys.request import RSA_BITS, general_name, key_usage

OCES_POLICIES: Final = ("0.4.0.2042.1.1", OCES_SYSTEM_POLICY)
"""Certificate policies of an OCES3 system certificate: ETSI NCP and OCES itself."""

PSS: Final = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)

_AUTHORITY_LIFE: Final = timedelta(days=3652)
_LEAF_LIFE: Final = timedelta(days=1095)
_CRL_LIFE: Final = timedelta(days=7)
_ORGANIZATION: Final = "EHMI access point developers"
_UNIT: Final = "Test - development"


def new_rsa_key() -> rsa.RSAPrivateKey:
    """Generate one RSA-3072 key."""
    return rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)


def new_rsa_keys(count: int) -> list[rsa.RSAPrivateKey]:
    """Generate several RSA-3072 keys at once, in threads."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        return list(pool.map(lambda _: new_rsa_key(), range(count)))


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """A certificate with its private key and the authorities above it (issuer first, without the root)."""

    certificate: x509.Certificate
    private_key: PrivateKeyTypes
    chain: tuple[x509.Certificate, ...]

    @property
    def certificate_pem(self) -> bytes:
        """The certificate and its chain, leaf first."""
        return pem(self.certificate, *self.chain)

    @property
    def key_pem(self) -> bytes:
        """The private key as unencrypted PKCS #8."""
        return self.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def signer(self) -> FileSigner:
        """Return a signer with this key."""
        return FileSigner(self.private_key, self.certificate, self.chain)

    def decrypter(self) -> FileDecrypter:
        """Return a decrypter with this key."""
        return FileDecrypter(self.private_key, self.certificate)


class DevelopmentAuthority:
    """A root, an issuing authority below it, and the revocation list and OCSP answers of the issuing authority.

    Make one with `create`. `root` is the trust anchor to configure, `issuing` the intermediate.
    """

    def __init__(
        self,
        root: IssuedCertificate,
        issuing: IssuedCertificate,
        *,
        crl_url: str | None = None,
        ocsp_url: str | None = None,
        revoked: Iterable[tuple[int, datetime]] = (),
    ) -> None:
        self.root = root.certificate
        self.issuing = issuing.certificate
        self.crl_url = crl_url
        self.ocsp_url = ocsp_url
        self._root = root
        self._issuing = issuing
        self._revoked: dict[int, datetime] = dict(revoked)

    @classmethod
    def create(
        cls,
        *,
        at: datetime,
        name: str = "EHMI Development",
        crl_url: str | None = None,
        ocsp_url: str | None = None,
        private_keys: Sequence[rsa.RSAPrivateKey] | None = None,
    ) -> "DevelopmentAuthority":
        """Make root and issuing authority, both valid for ten years from one day before `at`.

        Args:
            at: an aware time.
            name: stands in both common names; two authorities in one test should differ.
            crl_url: written into every leaf's CRL distribution point; absent without it.
            ocsp_url: written into every leaf's authority information access; absent without it.
            private_keys: two RSA keys to use instead of fresh ones.
        """
        root_key, issuing_key = private_keys or new_rsa_keys(2)
        not_before = at - timedelta(days=1)
        not_after = not_before + _AUTHORITY_LIFE
        root_name = authority_name(f"{name} Rod-CA")
        issuing_name = authority_name(f"{name} udstedende-CA 1")
        root = build_certificate(
            subject=root_name,
            public_key=root_key.public_key(),
            issuer=root_name,
            issuer_key=root_key,
            not_before=not_before,
            not_after=not_after,
            extensions=authority_extensions(root_key, root_key, path_length=1),
        )
        issuing = build_certificate(
            subject=issuing_name,
            public_key=issuing_key.public_key(),
            issuer=root_name,
            issuer_key=root_key,
            not_before=not_before,
            not_after=not_after,
            extensions=authority_extensions(issuing_key, root_key, path_length=0),
        )
        return cls(
            IssuedCertificate(root, root_key, ()),
            IssuedCertificate(issuing, issuing_key, ()),
            crl_url=crl_url,
            ocsp_url=ocsp_url,
        )

    @property
    def anchors(self) -> tuple[x509.Certificate, ...]:
        """What a relying party configures as trust anchors."""
        return (self.root,)

    @property
    def intermediates(self) -> tuple[x509.Certificate, ...]:
        """What a relying party may configure as intermediates."""
        return (self.issuing,)

    @property
    def keys(self) -> tuple[IssuedCertificate, IssuedCertificate]:
        """Root and issuing authority with their private keys, to write to disk or to misuse in tests."""
        return self._root, self._issuing

    @property
    def revoked(self) -> tuple[tuple[int, datetime], ...]:
        """Serial number and time of every revocation so far."""
        return tuple(sorted(self._revoked.items()))

    def issue(
        self,
        subject: x509.Name,
        private_key: PrivateKeyTypes,
        *,
        not_before: datetime,
        not_after: datetime,
        extensions: Sequence[tuple[x509.ExtensionType, bool]],
        serial: int | None = None,
    ) -> IssuedCertificate:
        """Issue whatever is asked for: subject and (extension, critical) pairs as given, signed with PSS."""
        certificate = build_certificate(
            subject=subject,
            public_key=_public(private_key),
            issuer=self.issuing.subject,
            issuer_key=self._issuing.private_key,
            not_before=not_before,
            not_after=not_after,
            extensions=extensions,
            serial=serial,
        )
        return IssuedCertificate(certificate, private_key, (self.issuing,))

    def issue_system_certificate(
        self,
        common_name: str,
        organization: str,
        cvr: str,
        *,
        uuid: str,
        not_before: datetime,
        not_after: datetime | None = None,
        san: Sequence[str] = (),
        private_key: PrivateKeyTypes | None = None,
        serial: int | None = None,
        agrees: bool = False,
    ) -> IssuedCertificate:
        """Issue an OCES3-shaped system certificate that signs and decrypts messages.

        Key usage follows the key: RSA gets digitalSignature and keyEncipherment, X25519 keyAgreement,
        others digitalSignature, or keyAgreement instead where `agrees` asks for it. There is no extended key usage, and no subject alternative name unless asked.
        """
        key = private_key or new_rsa_key()
        return self.issue(
            system_name(common_name, organization, cvr, uuid),
            key,
            not_before=not_before,
            not_after=not_after or not_before + _LEAF_LIFE,
            extensions=self.system_extensions(key, san=san, agrees=agrees),
            serial=serial,
        )

    def issue_tls_certificate(
        self,
        common_name: str,
        *,
        san: Sequence[str],
        not_before: datetime,
        not_after: datetime | None = None,
        organization: str = _ORGANIZATION,
        cvr: str = "00000000",
        uuid: str = "00000000-0000-4000-8000-000000000000",
        private_key: PrivateKeyTypes | None = None,
        serial: int | None = None,
    ) -> IssuedCertificate:
        """Issue a certificate for TLS as server and as client; `san` holds DNS names and IP addresses.

        The key is P-256 unless another is given: it handshakes faster than RSA and is made at once.
        """
        key = private_key or ec.generate_private_key(ec.SECP256R1())
        purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        return self.issue(
            system_name(common_name, organization, cvr, uuid),
            key,
            not_before=not_before,
            not_after=not_after or not_before + _LEAF_LIFE,
            extensions=[
                *self.system_extensions(key, san=san),
                (x509.ExtendedKeyUsage(purposes), False),
            ],
            serial=serial,
        )

    def system_extensions(
        self, private_key: PrivateKeyTypes, *, san: Sequence[str] = (), agrees: bool = False
    ) -> list[tuple[x509.ExtensionType, bool]]:
        """Return the extensions of a system certificate as (extension, critical) pairs, to use or to bend."""
        return self._extensions_for(_public(private_key), san=san, agrees=agrees)

    def _extensions_for(
        self, public_key: CertificatePublicKeyTypes, *, san: Sequence[str], agrees: bool
    ) -> list[tuple[x509.ExtensionType, bool]]:
        is_rsa = isinstance(public_key, rsa.RSAPublicKey)
        agrees = agrees or isinstance(public_key, x25519.X25519PublicKey)
        usage = key_usage(
            digital_signature=not agrees, key_encipherment=is_rsa, key_agreement=agrees
        )
        policies = [
            x509.PolicyInformation(ObjectIdentifier(policy), None) for policy in OCES_POLICIES
        ]
        found: list[tuple[x509.ExtensionType, bool]] = [
            (usage, True),
            (x509.CertificatePolicies(policies), False),
            (_key_identifier_of_issuer(self._issuing.private_key), False),
            (x509.SubjectKeyIdentifier.from_public_key(public_key), False),
        ]
        if self.crl_url:
            points = [
                x509.DistributionPoint(
                    [x509.UniformResourceIdentifier(self.crl_url)], None, None, None
                )
            ]
            found.append((x509.CRLDistributionPoints(points), False))
        if self.ocsp_url:
            access = x509.AccessDescription(
                AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(self.ocsp_url)
            )
            found.append((x509.AuthorityInformationAccess([access]), False))
        if san:
            found.append((x509.SubjectAlternativeName([general_name(name) for name in san]), False))
        return found

    def certify(
        self, request: x509.CertificateSigningRequest, *, not_before: datetime
    ) -> tuple[x509.Certificate, ...]:
        """Answer a request as it asks: a system certificate, and one for TLS where it names hosts; leaf and chain.

        Nobody is asked whether the subject is who asks: this authority is for networks without patients.

        Raises: UntrustedCertificate when the request is not signed by its own key.
        """
        if not request.is_signature_valid:
            raise UntrustedCertificate("the request is not signed by the key that it is for")
        asked = {extension.oid: extension.value for extension in request.extensions}
        usage = asked.get(ExtensionOID.KEY_USAGE)
        extensions = self._extensions_for(request.public_key(), san=(), agrees=False)
        if usage is not None:
            extensions = [(usage, True), *extensions[1:]]
        if (names := asked.get(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)) is not None:
            purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            extensions += [(names, False), (x509.ExtendedKeyUsage(purposes), False)]
        certificate = build_certificate(
            subject=request.subject,
            public_key=request.public_key(),
            issuer=self.issuing.subject,
            issuer_key=self._issuing.private_key,
            not_before=not_before,
            not_after=not_before + _LEAF_LIFE,
            extensions=extensions,
        )
        return certificate, self.issuing

    def revoke(self, certificate: x509.Certificate, *, at: datetime) -> None:
        """Put a certificate of the issuing authority on its revocation list; the first time stands."""
        if certificate.issuer != self.issuing.subject:
            raise ValueError("the certificate was issued by another authority")
        self._revoked.setdefault(certificate.serial_number, at)

    def crl(
        self,
        at: datetime,
        *,
        next_update: datetime | None = None,
        extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
    ) -> bytes:
        """Return the issuing authority's revocation list as DER: thisUpdate `at`, nextUpdate a week later."""
        return build_crl(
            self._issuing, self.revoked, at=at, next_update=next_update, extensions=extensions
        )

    def root_crl(self, at: datetime, *, next_update: datetime | None = None) -> bytes:
        """Return the root's revocation list, which is always empty, as DER."""
        return build_crl(self._root, (), at=at, next_update=next_update)

    def ocsp_answer(
        self,
        certificate: x509.Certificate,
        at: datetime,
        *,
        next_update: datetime | None = None,
        responder: IssuedCertificate | None = None,
        unknown: bool = False,
    ) -> bytes:
        """Return what the issuing authority's responder says about a certificate as DER, good for a day.

        `responder` signs instead of the authority itself; `unknown` says that it knows nothing of the certificate.
        """
        revoked_at = self._revoked.get(certificate.serial_number)
        status = ocsp.OCSPCertStatus.REVOKED if revoked_at else ocsp.OCSPCertStatus.GOOD
        signer = responder or self._issuing
        builder = ocsp.OCSPResponseBuilder().add_response(
            cert=certificate,
            issuer=self.issuing,
            algorithm=hashes.SHA1(),  # noqa: S303 - RFC 5019: it names, and proves nothing
            cert_status=ocsp.OCSPCertStatus.UNKNOWN if unknown else status,
            this_update=at,
            next_update=next_update or at + timedelta(days=1),
            revocation_time=None if unknown else revoked_at,
            revocation_reason=None,
        )
        builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, signer.certificate)
        if responder is not None:
            builder = builder.certificates([responder.certificate])
        key = cast(rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, signer.private_key)
        return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def build_certificate(
    *,
    subject: x509.Name,
    public_key: CertificatePublicKeyTypes,
    issuer: x509.Name,
    issuer_key: PrivateKeyTypes,
    not_before: datetime,
    not_after: datetime,
    extensions: Sequence[tuple[x509.ExtensionType, bool]],
    serial: int | None = None,
) -> x509.Certificate:
    """Build and sign one certificate; RSA issuers sign with PSS, others with their own scheme and SHA-256."""
    number = serial if serial is not None else _serial(subject, public_key, not_before, not_after)
    builder = x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        public_key=public_key,
        serial_number=number,
        not_valid_before=not_before,
        not_valid_after=not_after,
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    if isinstance(issuer_key, rsa.RSAPrivateKey):
        return builder.sign(issuer_key, hashes.SHA256(), rsa_padding=PSS)
    if isinstance(issuer_key, ec.EllipticCurvePrivateKey):
        return builder.sign(issuer_key, hashes.SHA256())
    return builder.sign(cast(ed25519.Ed25519PrivateKey, issuer_key), None)


def build_crl(
    issuer: IssuedCertificate,
    revoked: Iterable[tuple[int, datetime]],
    *,
    at: datetime,
    next_update: datetime | None = None,
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
) -> bytes:
    """Build a revocation list, signed with PSS, numbered by the seconds of `at`, as DER."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(at)
        .next_update(next_update or at + _CRL_LIFE)
        .add_extension(_key_identifier_of_issuer(issuer.private_key), False)
        .add_extension(x509.CRLNumber(int(at.timestamp())), False)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    for serial, revoked_at in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(revoked_at)
        builder = builder.add_revoked_certificate(entry.build())
    if not isinstance(issuer.private_key, rsa.RSAPrivateKey):
        raise TypeError("development authorities sign revocation lists with RSA")
    return builder.sign(issuer.private_key, hashes.SHA256(), rsa_padding=PSS).public_bytes(
        Encoding.DER
    )


def authority_name(common_name: str) -> x509.Name:
    """Return the subject of a development authority."""
    return _name(
        (NameOID.COUNTRY_NAME, "DK"),
        (NameOID.ORGANIZATION_NAME, _ORGANIZATION),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, _UNIT),
        (NameOID.COMMON_NAME, common_name),
    )


def system_name(common_name: str, organization: str, cvr: str, uuid: str) -> x509.Name:
    """Return a subject with the five fields of an OCES3 system certificate."""
    return _name(
        (NameOID.COUNTRY_NAME, "DK"),
        (NameOID.ORGANIZATION_IDENTIFIER, f"NTRDK-{cvr}"),
        (NameOID.ORGANIZATION_NAME, organization),
        (NameOID.SERIAL_NUMBER, f"UI:DK-O:G:{uuid}"),
        (NameOID.COMMON_NAME, common_name),
    )


def authority_extensions(
    private_key: PrivateKeyTypes, issuer_key: PrivateKeyTypes, *, path_length: int | None
) -> list[tuple[x509.ExtensionType, bool]]:
    """Return the extensions of a certificate authority as (extension, critical) pairs."""
    return [
        (x509.BasicConstraints(ca=True, path_length=path_length), True),
        (key_usage(key_cert_sign=True, crl_sign=True), True),
        (x509.SubjectKeyIdentifier.from_public_key(_public(private_key)), False),
        (_key_identifier_of_issuer(issuer_key), False),
    ]


def _name(*attributes: tuple[ObjectIdentifier, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes])


def _serial(
    subject: x509.Name,
    public_key: CertificatePublicKeyTypes,
    not_before: datetime,
    not_after: datetime,
) -> int:
    """Derive a positive serial number of 127 bits: equal input, equal number; no counter to keep."""
    spki = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    period = f"{not_before.isoformat()}/{not_after.isoformat()}".encode()
    digest = hashlib.sha256(spki + subject.public_bytes() + period).digest()
    return int.from_bytes(digest[:16], "big") >> 1 | 1


def _public(private_key: PrivateKeyTypes) -> CertificatePublicKeyTypes:
    # Diffie-Hellman keys, the difference between the two types, do not occur here.
    return cast(CertificatePublicKeyTypes, private_key.public_key())


def _key_identifier_of_issuer(issuer_key: PrivateKeyTypes) -> x509.AuthorityKeyIdentifier:
    public_key = cast(CertificateIssuerPublicKeyTypes, issuer_key.public_key())
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(public_key)
