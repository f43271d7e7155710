"""X.509 certificates as values: reading them, naming them, and the subject fields Danish OCES uses.

Reading is strict: exactly the certificates that are there, no trailing octets, a bounded size. What a
certificate is worth is not decided here (`keys.path`), nor whose it is (`keys.identity`).

Spec: ehmi.md 3.6 (OCES3 system certificates); as4.md 0.3 (subject key identifiers).
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509.oid import NameOID, ObjectIdentifier

from keys.errors import UnreadableCertificate, WeakKey

MAX_CERTIFICATE_BYTES: Final = 64 * 1024
"""More than any certificate needs; a megabyte of BinarySecurityToken is refused before it is parsed."""

MAX_BUNDLE_BYTES: Final = 4 * 1024 * 1024

MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 8192
"""Above this a single verification costs milliseconds, which strangers could make us spend."""

MIN_RSA_EXPONENT: Final = 65537
MAX_RSA_EXPONENT_BITS: Final = 64

_CURVES: Final = frozenset({"secp256r1", "secp384r1", "secp521r1"})
_PEM: Final = b"-----BEGIN "
_FINGERPRINT: Final = re.compile("[0-9a-f]{64}")
OCES_SYSTEM_POLICY: Final = "1.2.208.169.1.1.1.3.7.1"
"""The certificate policy of OCES3 system certificates."""
_REMEMBERED: Final = 256
"""Certificates never change and partners show the same ones with every message."""


def load_certificates(data: bytes) -> list[x509.Certificate]:
    """Read every certificate of a PEM bundle, of a single DER certificate, or of a PKCS #7 collection.

    Returns:
        At least one certificate, in the order of the input.

    Raises:
        UnreadableCertificate: none found, trailing data, too large, or damaged.
    """
    if len(data) > MAX_BUNDLE_BYTES:
        raise UnreadableCertificate(
            f"{len(data)} octets are more than any certificate bundle needs"
        )
    try:
        if _PEM + b"PKCS7" in data:
            found = pkcs7.load_pem_pkcs7_certificates(data)
        elif _PEM in data:
            found = x509.load_pem_x509_certificates(data)
        elif data[4:6] == b"\x06\x09":
            # SEQUENCE { OBJECT IDENTIFIER signedData ... is PKCS #7; a certificate begins with two SEQUENCEs.
            found = pkcs7.load_der_pkcs7_certificates(data)
        else:
            found = [load_certificate(data)]
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise UnreadableCertificate("the data holds no readable certificate") from error
    if not found:
        raise UnreadableCertificate("the data holds no certificate")
    for certificate in found:
        require_readable(certificate)
    return found


@lru_cache(maxsize=_REMEMBERED)
def load_certificate(der: bytes) -> x509.Certificate:
    """Read one DER certificate, nothing before it and nothing after it.

    Raises:
        UnreadableCertificate: damaged, trailing data, or larger than 64 KiB.
    """
    if len(der) > MAX_CERTIFICATE_BYTES:
        raise UnreadableCertificate(f"{len(der)} octets are more than any certificate needs")
    try:
        certificate = x509.load_der_x509_certificate(der)
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise UnreadableCertificate("not a readable DER certificate") from error
    require_readable(certificate)
    return certificate


def require_readable(certificate: x509.Certificate) -> None:
    """Refuse a certificate that parsed but would break later: names, times and extensions are read lazily.

    Raises:
        UnreadableCertificate: a part is malformed, or an extension occurs twice.
    """
    try:
        _ = certificate.subject, certificate.issuer, certificate.extensions
        _ = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        # TypeError: a bit string where a name has text.
        raise UnreadableCertificate("a part of the certificate is malformed") from error


@lru_cache(maxsize=_REMEMBERED)
def fingerprint(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of the DER as 64 lower-case hexadecimal digits."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def parse_fingerprint(text: str) -> str:
    """Bring a written SHA-256 fingerprint (any case, with or without colons) into the form of `fingerprint`.

    Raises:
        ValueError: not 32 octets in hexadecimal.
    """
    digits = text.strip().replace(":", "").lower()
    if _FINGERPRINT.fullmatch(digits) is None:
        raise ValueError("a SHA-256 fingerprint has 64 hexadecimal digits")
    return digits


def der(certificate: x509.Certificate) -> bytes:
    """Return the DER octets."""
    return certificate.public_bytes(Encoding.DER)


def pem(*certificates: x509.Certificate) -> bytes:
    """Return the certificates as one PEM bundle, in the order given."""
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


@lru_cache(maxsize=_REMEMBERED)
def subject_key_identifier(certificate: x509.Certificate) -> bytes:
    """Return the octets of the subject key identifier: the extension's, or SHA-1 of the key bits without one.

    Spec: RFC 5280 4.2.1.2 method 1; as4.md 0.3.
    """
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound:
        return x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()).digest
    return extension.value.digest


@dataclass(frozen=True, slots=True)
class SubjectFacts:
    """The subject fields that tell who an OCES certificate was issued to.

    A field is None when the subject lacks it, and also when it has it more than once: an ambiguous field
    speaks for nobody. `organization_identifier` looks like `NTRDK-12345678`, `serial_number` like
    `UI:DK-O:G:<uuid>`.
    """

    common_name: str | None
    organization: str | None
    organization_identifier: str | None
    serial_number: str | None
    country: str | None

    @property
    def cvr(self) -> str | None:
        """The eight digits of the Danish company register, from `organization_identifier`."""
        written = self.organization_identifier or ""
        digits = written.removeprefix("NTRDK-")
        if digits != written and len(digits) == 8 and digits.isascii() and digits.isdigit():
            return digits
        return None

    @property
    def uuid(self) -> str | None:
        """The globally unique part of an OCES3 `serial_number`."""
        written = self.serial_number or ""
        value = written.removeprefix("UI:DK-O:G:")
        return value if value != written and value else None


@lru_cache(maxsize=_REMEMBERED)
def subject_facts(certificate: x509.Certificate) -> SubjectFacts:
    """Read the identifying fields of a certificate's subject."""
    return SubjectFacts(
        common_name=_only(certificate, NameOID.COMMON_NAME),
        organization=_only(certificate, NameOID.ORGANIZATION_NAME),
        organization_identifier=_only(certificate, NameOID.ORGANIZATION_IDENTIFIER),
        serial_number=_only(certificate, NameOID.SERIAL_NUMBER),
        country=_only(certificate, NameOID.COUNTRY_NAME),
    )


def is_renewal(one: x509.Certificate, other: x509.Certificate) -> bool:
    """Whether two certificates are for one holder by its issuer: the same whole subject, the same issuer.

    Names alone say this, so both must be trusted for other reasons.
    """
    return one.issuer == other.issuer and one.subject == other.subject


def certificate_policies(certificate: x509.Certificate) -> tuple[str, ...]:
    """Return the dotted identifiers of the certificate policies, none when there is no such extension."""
    try:
        present = certificate.extensions.get_extension_for_class(x509.CertificatePolicies).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(policy.policy_identifier.dotted_string for policy in present)


def describe(certificate: x509.Certificate) -> str:
    """Say in one line whose certificate this is, who issued it and until when it is valid.

    Names are cut to 100 characters: strangers choose them.
    """
    facts = subject_facts(certificate)
    who = facts.common_name or certificate.subject.rfc4514_string() or "(no subject)"
    organization = facts.organization_identifier or facts.organization
    issuers = certificate.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
    issuer = str(issuers[0].value) if issuers else certificate.issuer.rfc4514_string()
    until = certificate.not_valid_after_utc.date().isoformat()
    within = f" ({organization})" if organization else ""
    return (
        f"{who[:100]}{within[:100]}, serial {certificate.serial_number:x}, "
        f"issued by {issuer[:100]}, valid until {until}"
    )


def describe_key(certificate: x509.Certificate | x509.CertificateSigningRequest) -> str:
    """Name the public key: `RSA 3072`, `EC secp256r1`, `Ed25519`."""
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return "unsupported key"
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"EC {key.curve.name}"
    return type(key).__name__.removesuffix("PublicKey")


def agrees_only(certificate: x509.Certificate) -> bool:
    """Tell whether this certificate is for key agreement and signs nothing: another one of its holder does that.

    X25519 keys always are; keys on a named curve when keyUsage says so.
    """
    try:
        key = certificate.public_key()
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return isinstance(key, x25519.X25519PublicKey)
    except (ValueError, UnsupportedAlgorithm):
        return False
    if isinstance(key, ec.EllipticCurvePublicKey):
        return usage.key_agreement and not usage.digital_signature
    return isinstance(key, x25519.X25519PublicKey)


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether basicConstraints calls it a certificate authority, which says nothing about who believes it."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def check_key(certificate: x509.Certificate) -> None:
    """Refuse keys that are broken, too weak, or so large that checking them is an attack.

    RSA of 2048 to 8192 bits with an odd exponent from 65537 up, the NIST curves P-256, P-384 and P-521,
    Ed25519 and X25519 pass. `cryptography`'s path verifier looks at issuers' keys only, so a leaf of
    1024 bits or on brainpool would pass without this.

    Raises:
        WeakKey: anything else.

    Spec: hostile.md 1.6 ALG-08, ALG-09; reliability.md 6.4.
    """
    who = certificate.subject.rfc4514_string()
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise WeakKey(f"the public key of {who} cannot be used") from error
    if isinstance(key, rsa.RSAPublicKey):
        exponent = key.public_numbers().e
        if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
            raise WeakKey(f"the RSA key of {who} has {key.key_size} bits")
        if (
            exponent < MIN_RSA_EXPONENT
            or not exponent & 1
            or exponent.bit_length() > MAX_RSA_EXPONENT_BITS
        ):
            raise WeakKey(f"the RSA key of {who} has an unusual public exponent")
    elif isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name not in _CURVES:
            raise WeakKey(f"the key of {who} is on the curve {key.curve.name}")
    elif not isinstance(key, ed25519.Ed25519PublicKey | x25519.X25519PublicKey):
        raise WeakKey(f"the key of {who} is of a kind this access point does not use")


def _only(certificate: x509.Certificate, oid: ObjectIdentifier) -> str | None:
    found = certificate.subject.get_attributes_for_oid(oid)
    if len(found) != 1 or isinstance(found[0].value, bytes):
        return None
    return found[0].value
