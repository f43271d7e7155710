"""The XML signature as WS-Security uses it: read SignedInfo, check its algorithms, verify it, write it.

Only what AS4 needs exists here, so nothing has to be switched off: exclusive canonicalisation, references to
an element by id and to a MIME part by `cid:`, one transform each. A thing that is not known is refused, never
skipped. Which elements a signature must cover is decided in `coverage`.

`write_signed_info` and `write_signed_reference` write canonical form directly: the bytes signed are the bytes sent.

Spec: XML Signature 1.1; Exclusive XML Canonicalization 1.0; WSS SwA Profile 1.1; eDelivery AS4 1.15 section 4.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Protocol

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from envelope import names
from envelope.canonical import attribute
from envelope.errors import (
    FailedAuthentication,
    Gate,
    PolicyNoncompliance,
    ReferenceDigestMismatch,
    SignatureValueInvalid,
)
from envelope.limits import DEFAULT_LIMITS, Limits
from envelope.names import q
from envelope.pmode import Quirk, SecurityPolicy
from envelope.signed_info import (
    Reference,
    Transform,
    decode_base64,
    leaf_text,
    read_reference,
    read_signed_info,
    schema_violation,
)
from envelope.verified import SignatureRecord, SignedReference
from envelope.xml import canonicalize, parse_trusted

if TYPE_CHECKING:
    from lxml.etree import _Element

SIGNATURE: Final = q(names.DS, "Signature")
SIGNED_INFO: Final = q(names.DS, "SignedInfo")
SIGNATURE_VALUE: Final = q(names.DS, "SignatureValue")
KEY_INFO: Final = q(names.DS, "KeyInfo")
OBJECT: Final = q(names.DS, "Object")
_PARTS: Final = [SIGNED_INFO, SIGNATURE_VALUE, KEY_INFO]

MAXIMUM_RSA_BITS: Final = 8192
SMALLEST_RSA_BITS: Final = 1024
_MAXIMUM_EXPONENT_BITS: Final = 33
_DECLARE_DS: Final = f' xmlns:ds="{names.DS}"'


class _Hash(Protocol):
    """A running digest of hashlib."""

    def update(self, data: bytes, /) -> None:
        """Take in more octets."""

    def digest(self) -> bytes:
        """The digest of everything so far."""


_DIGESTS: Final[dict[str, Callable[[], _Hash]]] = {
    names.SHA256: hashlib.sha256,
    names.SHA384: hashlib.sha384,
    names.SHA512: hashlib.sha512,
}


@dataclass(frozen=True, slots=True)
class Signature:
    """One `ds:Signature` as read: exactly one SignedInfo, SignatureValue and KeyInfo, in this order.

    `octets` is the canonical SignedInfo where that is what was read.
    """

    signed_info: "_Element"
    canonicalization: Transform
    algorithm: str
    references: tuple[Reference, ...]
    value: bytes
    key_info: "_Element"
    octets: bytes | None = None


def read_signature(element: "_Element", limits: Limits = DEFAULT_LIMITS) -> Signature:
    """Read a `ds:Signature` with exactly the children it must have.

    Raises `FailedAuthentication` (`sig.schema`, `sig.limits`, `sig.reference`, `sec.schema`) and
    `PolicyNoncompliance` (`alg.*`) for parameters that no allowed algorithm has.

    Spec: XML Signature 1.1 section 4.
    """
    tags = [child.tag for child in element]
    if tags != _PARTS:
        if any(tag not in _PARTS for tag in tags):
            raise FailedAuthentication(
                "ds:Signature holds an unexpected element", reason="sec.schema", gate=Gate.G5
            )
        raise schema_violation("ds:Signature is not SignedInfo, SignatureValue, KeyInfo")
    signed_info, value, key_info = element
    canonicalization, algorithm, references, octets = read_signed_info(signed_info, limits)
    return Signature(
        signed_info=signed_info,
        canonicalization=canonicalization,
        algorithm=algorithm,
        references=references,
        value=decode_base64(leaf_text(value), what="ds:SignatureValue"),
        key_info=key_info,
        octets=octets,
    )


def check_algorithms(signature: Signature, policy: SecurityPolicy) -> None:
    """Refuse every algorithm that is not on the lists of `policy`, before any key or digest work.

    An id reference has exactly the exclusive canonicalisation transform, a `cid:` reference exactly the
    content signature transform. Raises `PolicyNoncompliance` (`alg.signature`, `.c14n`, `.digest`, `.transform`).

    Spec: eDelivery AS4 1.15 section 4.2; WSS SwA Profile 1.1 section 5.4.
    """
    if signature.algorithm not in policy.allowed_signatures or signature.algorithm not in _SCHEMES:
        raise PolicyNoncompliance("signature algorithm not agreed", reason="alg.signature")
    if signature.canonicalization.algorithm != names.EXC_C14N:
        raise PolicyNoncompliance("canonicalisation not agreed", reason="alg.c14n")
    for reference in signature.references:
        if (
            reference.digest_algorithm not in policy.digest_algorithms
            or reference.digest_algorithm not in _DIGESTS
        ):
            raise PolicyNoncompliance("digest algorithm not agreed", reason="alg.digest")
        wanted = (
            names.ATTACHMENT_CONTENT_SIGNATURE
            if reference.uri.startswith("cid:")
            else names.EXC_C14N
        )
        if [transform.algorithm for transform in reference.transforms] != [wanted]:
            raise PolicyNoncompliance("transform not agreed", reason="alg.transform")
        if wanted != names.EXC_C14N and reference.transforms[0].prefixes:
            raise PolicyNoncompliance("parameters of a transform", reason="alg.transform")


def _wrong_key(detail: str) -> PolicyNoncompliance:
    return PolicyNoncompliance(detail, reason="alg.key")


class _Scheme(Protocol):
    """How one family of signature algorithms checks a key and a value."""

    def verify(
        self, key: CertificatePublicKeyTypes, value: bytes, octets: bytes, policy: SecurityPolicy
    ) -> None:
        """Raise `PolicyNoncompliance` for a key that does not fit, `InvalidSignature` for a wrong value."""


@dataclass(frozen=True, slots=True)
class _Rsa:
    """RSASSA-PKCS1-v1_5."""

    digest: hashes.HashAlgorithm

    def verify(
        self, key: CertificatePublicKeyTypes, value: bytes, octets: bytes, policy: SecurityPolicy
    ) -> None:
        """Check size and exponent, then the value."""
        if not isinstance(key, rsa.RSAPublicKey):
            raise _wrong_key("the signature algorithm wants an RSA key")
        check_rsa_size(key, policy)
        key.verify(value, octets, padding.PKCS1v15(), self.digest)


@dataclass(frozen=True, slots=True)
class _Ecdsa:
    """ECDSA with the value as fixed-width r and s, on a curve of the policy."""

    digest: hashes.HashAlgorithm

    def verify(
        self, key: CertificatePublicKeyTypes, value: bytes, octets: bytes, policy: SecurityPolicy
    ) -> None:
        """Check the curve and the width, then the value."""
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in policy.curves:
            raise _wrong_key("the signature algorithm wants a key on an agreed curve")
        width = (key.curve.key_size + 7) // 8
        if len(value) != 2 * width:
            raise InvalidSignature
        r, s = int.from_bytes(value[:width], "big"), int.from_bytes(value[width:], "big")
        key.verify(encode_dss_signature(r, s), octets, ec.ECDSA(self.digest))


@dataclass(frozen=True, slots=True)
class _Ed25519:
    """Ed25519 over the canonical octets themselves."""

    def verify(
        self, key: CertificatePublicKeyTypes, value: bytes, octets: bytes, policy: SecurityPolicy
    ) -> None:
        """Check the key type, then the value."""
        if not isinstance(key, ed25519.Ed25519PublicKey):
            raise _wrong_key("the signature algorithm wants an Ed25519 key")
        key.verify(value, octets)


_SCHEMES: Final[dict[str, _Scheme]] = {
    names.RSA_SHA256: _Rsa(hashes.SHA256()),
    names.RSA_SHA384: _Rsa(hashes.SHA384()),
    names.RSA_SHA512: _Rsa(hashes.SHA512()),
    names.ECDSA_SHA256: _Ecdsa(hashes.SHA256()),
    names.EDDSA_ED25519: _Ed25519(),
}


def check_rsa_size(key: rsa.RSAPublicKey, policy: SecurityPolicy) -> None:
    """Refuse an RSA key that is too small to trust, too big to compute with, or has an odd exponent.

    Raises `PolicyNoncompliance` (`alg.key`).
    """
    least = SMALLEST_RSA_BITS if policy.allows(Quirk.SMALL_RSA) else policy.minimum_rsa_bits
    if not least <= key.key_size <= MAXIMUM_RSA_BITS:
        raise _wrong_key(f"RSA key of {key.key_size} bits")
    exponent = key.public_numbers().e
    if exponent < 3 or exponent % 2 == 0 or exponent.bit_length() > _MAXIMUM_EXPONENT_BITS:
        raise _wrong_key("RSA public exponent")


@lru_cache(maxsize=256)
def _public_key(certificate: x509.Certificate) -> CertificatePublicKeyTypes:
    return certificate.public_key()


def public_key(certificate: x509.Certificate) -> CertificatePublicKeyTypes:
    """The public key of a certificate; one that cannot be read raises `PolicyNoncompliance` (`alg.key`)."""
    try:
        return _public_key(certificate)
    except (ValueError, UnsupportedAlgorithm):
        raise _wrong_key("the key of the certificate cannot be read") from None


def verify_signature(
    signature: Signature, certificate: x509.Certificate, policy: SecurityPolicy
) -> SignatureRecord:
    """Verify the signature value over SignedInfo with the key of `certificate`, and return what can be verified again.

    Raises `PolicyNoncompliance` (`alg.key`) for a key of another type or size than the algorithm wants,
    `SignatureValueInvalid` otherwise. Says nothing about trust in the certificate.

    Spec: XML Signature 1.1 section 3.2.2.
    """
    octets = signature.octets
    if octets is None:
        octets = canonicalize(signature.signed_info, signature.canonicalization.prefixes)
    record = SignatureRecord(signature.algorithm, octets, signature.value)
    _verify_value(record, certificate, policy)
    return record


def verify_record(
    record: SignatureRecord, certificate: x509.Certificate, policy: SecurityPolicy
) -> tuple[SignedReference, ...]:
    """Verify a signature again that `verify_signature` verified once; returns what it is over.

    Raises what `verify_signature` raises; a record that was not made by it raises `FailedAuthentication` or
    `PolicyNoncompliance` too.

    Spec: XML Signature 1.1 section 3.2.2.
    """
    if record.algorithm not in _SCHEMES:
        raise PolicyNoncompliance("signature algorithm not agreed", reason="alg.signature")
    _verify_value(record, certificate, policy)
    # What verifies was written by the signer and read once before.
    signed_info = parse_trusted(record.signed_info)
    if signed_info.tag != SIGNED_INFO or signed_info[1].get("Algorithm") != record.algorithm:
        raise schema_violation("the record is of another algorithm than was signed")
    return tuple(read_reference(child, DEFAULT_LIMITS).signed() for child in signed_info[2:])


def _verify_value(
    record: SignatureRecord, certificate: x509.Certificate, policy: SecurityPolicy
) -> None:
    key = public_key(certificate)
    try:
        _SCHEMES[record.algorithm].verify(key, record.value, record.signed_info, policy)
    except InvalidSignature:
        raise SignatureValueInvalid("SignedInfo does not verify") from None


def new_digest(algorithm: str) -> _Hash:
    """A running digest for a digest algorithm URI that `check_algorithms` has passed."""
    return _DIGESTS[algorithm]()


def verify_reference(reference: Reference, element: "_Element") -> None:
    """Compare the digest of `element`, canonicalised where it stands, with the signed one.

    Raises `ReferenceDigestMismatch` (G6, `sig.digest`).
    """
    digest = new_digest(reference.digest_algorithm)
    digest.update(canonicalize(element, reference.transforms[0].prefixes))
    if not hmac.compare_digest(digest.digest(), reference.digest_value):
        raise ReferenceDigestMismatch(
            f"digest of {element.tag!r} differs", reason="sig.digest", gate=Gate.G6
        )


def _write_prefixes(prefixes: str) -> str:
    if not prefixes:
        return ""
    return (
        f'<ec:InclusiveNamespaces xmlns:ec="{names.EC}" PrefixList="{prefixes}">'
        "</ec:InclusiveNamespaces>"
    )


def write_signed_reference(
    uri: str, digest_value: bytes, digest_algorithm: str = names.SHA256, *, prefixes: str = ""
) -> SignedReference:
    """One `ds:Reference` in canonical form, as a value to store until the receipt comes.

    `prefixes` is the PrefixList of an element's transform, by which its digest must have been made.
    """
    is_part = uri.startswith("cid:")
    transform = names.ATTACHMENT_CONTENT_SIGNATURE if is_part else names.EXC_C14N
    listed = "" if is_part else _write_prefixes(prefixes)
    value = base64.b64encode(digest_value).decode("ascii")
    xml = (
        f"<ds:Reference{_DECLARE_DS} URI={attribute(uri)}><ds:Transforms>"
        f'<ds:Transform Algorithm="{transform}">{listed}</ds:Transform></ds:Transforms>'
        f'<ds:DigestMethod Algorithm="{digest_algorithm}"></ds:DigestMethod>'
        f"<ds:DigestValue>{value}</ds:DigestValue></ds:Reference>"
    )
    return SignedReference(uri, digest_algorithm, digest_value, (transform,), xml.encode())


def write_signed_info(
    references: Sequence[SignedReference], algorithm: str, *, soap_prefix: str = ""
) -> str:
    """`ds:SignedInfo` in canonical form with its namespace declaration: the very octets to sign.

    `references` are what `write_signed_reference` gave, by the same prefix where there is one.
    InclusiveNamespaces is written only for partners that demand it, with the prefix of the SOAP namespace: nothing
    signed holds a qualified name in its content.

    Spec: XML Signature 1.1 section 4.4; Exclusive XML Canonicalization 1.0.
    """
    listed = "".join(reference.xml.decode().replace(_DECLARE_DS, "", 1) for reference in references)
    inclusive = f' xmlns:{soap_prefix}="{names.S12}"' if soap_prefix else ""
    return (
        f"<ds:SignedInfo{inclusive}{_DECLARE_DS}>"
        f'<ds:CanonicalizationMethod Algorithm="{names.EXC_C14N}">{_write_prefixes(soap_prefix)}'
        "</ds:CanonicalizationMethod>"
        f'<ds:SignatureMethod Algorithm="{algorithm}"></ds:SignatureMethod>'
        f"{listed}</ds:SignedInfo>"
    )


def write_signature(signed_info: str, value: bytes, key_info: str, *, signature_id: str) -> str:
    """`ds:Signature` around what `write_signed_info` wrote and its value; `key_info` is the token reference."""
    return (
        f"<ds:Signature{_DECLARE_DS} Id={attribute(signature_id)}>{signed_info}"
        f"<ds:SignatureValue>{base64.b64encode(value).decode('ascii')}</ds:SignatureValue>"
        f"<ds:KeyInfo>{key_info}</ds:KeyInfo></ds:Signature>"
    )
