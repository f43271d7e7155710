"""Enveloped XML signatures, made and checked with signxml: sealed manifests and signed service metadata.

A sealed manifest is how a message, or an envelope, keeps its authenticity between two of our stations that run apart:
a small XML document with the SHA-256 of what travels beside it, signed by the station before. A signature inside the
StandardBusinessDocument would break its schema.

signxml computes; it does not decide. It ignores transforms it does not know, takes the first of two signatures, and
will follow any algorithm in its tables. So every document passes the pre-scan, then `_check_form`, which admits
exactly one shape of signature, and only then signxml with the certificate pinned; what comes back is parsed anew from
the octets that were signed, never from the document that was received. Whether the certificate is to be trusted, and
at what time, is the caller's decision.

signxml logs canonical text at DEBUG. Nothing sealed here is secret, but whoever configures logging silences it.

Spec: XML Signature 1.0 (enveloped, Canonical XML 1.0, rsa-sha256); OASIS SMP 1.0 section 3; decision D10.
"""

import base64
import hmac
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree
from lxml.etree import _Element
from signxml.algorithms import (
    CanonicalizationMethod,
    DigestAlgorithm,
    SignatureConstructionMethod,
    SignatureMethod,
)
from signxml.exceptions import SignXMLException
from signxml.signer import XMLSigner
from signxml.verifier import SignatureConfiguration, VerifyResult, XMLVerifier

from envelope import names, xml
from envelope.errors import (
    CertificateRefused,
    InvalidHeader,
    LocalProtocolError,
    RemoteProtocolError,
    SbdRefused,
    SmpRefused,
    TransportRefused,
)
from envelope.limits import DEFAULT_LIMITS, Limits
from envelope.names import q
from envelope.security_token import load_certificate

MINIMUM_RSA_BITS: Final = 2048
SEAL_LIFETIME: Final = timedelta(minutes=10)
"""How far a station's clock and the way between two stations may be apart; each attempt is sealed anew."""

CertificateCheck: TypeAlias = Callable[[x509.Certificate, Sequence[x509.Certificate]], object]
"""Decides about a signer's certificate and the others sent with it: gives evidence, or raises."""

_Refuse: TypeAlias = Callable[[str, str], RemoteProtocolError]


@dataclass(frozen=True, slots=True)
class SealedDocument:
    """Evidence: `root` was parsed from the octets that `certificate` signed; `evidence` is what the check gave."""

    root: _Element
    certificate: x509.Certificate
    evidence: object


# Signed service metadata


def sign_service_metadata(
    root: _Element,
    *,
    key: rsa.RSAPrivateKey,
    certificate: x509.Certificate,
    chain: Sequence[x509.Certificate] = (),
    canonicalization: str = names.C14N_10,
) -> bytes:
    """Sign service metadata that has no signature yet and write the whole document.

    Spec: OASIS SMP 1.0 section 3: enveloped, URI="", inclusive Canonical XML, X509Data; 2.0 section 4: the same, C14N 1.1.
    """
    return _sign(root, key, [certificate, *chain], canonicalization)


def verify_service_metadata(
    data: bytes,
    *,
    check: CertificateCheck,
    canonicalizations: Collection[str] = (names.C14N_10,),
    limits: Limits = DEFAULT_LIMITS,
) -> SealedDocument:
    """Verify the one signature that is a child of the root, over one of `canonicalizations`, and give what it covers.

    `check` decides about the certificate in the signature's KeyInfo before any signature is computed; what it
    raises passes through.

    Raises SmpRefused: `smp.xml` (not within bounds), `smp.unsigned`, `smp.signature` (form, digest or value),
    `smp.algorithm`, `smp.key` (too small, or not RSA).

    Spec: OASIS SMP 1.0 section 3.
    """
    return _verify(data, check, limits, _refuse_metadata, canonicalizations)


def _refuse_metadata(suffix: str, detail: str) -> SmpRefused:
    return SmpRefused(detail, reason=f"smp.{suffix}")


# Sealed manifests


@dataclass(frozen=True, slots=True)
class Manifest:
    """What one station states about an octet stream it hands to the next.

    `kind` is `document` (a FHIR message), `envelope` (a StandardBusinessDocument) or `outcome` (of a message that was
    sent), `direction` the way it goes; `sha256` and `size` are those of the stream, `facts` small texts both stations
    need, never about a patient.
    """

    id: str
    kind: str
    direction: str
    created_at: datetime
    sha256: bytes
    size: int
    mime_type: str
    facts: Mapping[str, str] = field(default_factory=dict)


_KINDS: Final = frozenset({"document", "envelope", "outcome"})
_TOKEN: Final = re.compile(r"[!-~]{1,255}", re.ASCII)
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}", re.ASCII)
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,15}", re.ASCII)
_MOST_FACTS: Final = 64
_LONGEST_FACT: Final = 1_024


def seal_manifest(
    manifest: Manifest, key: rsa.RSAPrivateKey, certificate: x509.Certificate
) -> bytes:
    """Write and sign a manifest; one with values of no legal form raises LocalProtocolError.

    Spec: decision D10.
    """
    root = etree.Element(_m("SealedManifest"), nsmap={None: names.EHMI_MANIFEST})
    for local, text in (
        ("Id", manifest.id),
        ("Kind", manifest.kind),
        ("Direction", manifest.direction),
        ("CreatedAt", manifest.created_at.isoformat()),
        ("MediaType", manifest.mime_type),
        ("Size", str(manifest.size)),
        ("Digest", base64.b64encode(manifest.sha256).decode()),
    ):
        _add(root, local, text)
    facts = _add(root, "Facts", None)
    for name, text in manifest.facts.items():
        _add(facts, "Fact", text).set("name", name)
    try:
        if _read_manifest(root) != manifest:
            raise LocalProtocolError("a value of the manifest does not survive writing")
    except SbdRefused as refused:
        raise LocalProtocolError(refused.detail) from None
    return _sign(root, key, [certificate])


def verify_manifest(
    data: bytes,
    *,
    expected_certificate: x509.Certificate,
    document_sha256: bytes | None,
    kind: str | None = None,
    direction: str | None = None,
    at: datetime | None = None,
    lifetime: timedelta = SEAL_LIFETIME,
) -> Manifest:
    """Verify that `expected_certificate` sealed a document of this digest and give the manifest.

    `document_sha256` is None while the document is still on its way: then the caller compares it with the
    manifest's `sha256` before anything is done with the document.
    Where `kind` or `direction` is given the manifest must say the same, so that a seal for one hop is of no use
    on another. Where `at` is given the seal must be no further than `lifetime` from that time, on either side.

    Raises SbdRefused: `manifest.xml`, `manifest.unsigned`, `manifest.signature`, `manifest.algorithm`,
    `manifest.key`, `manifest.certificate` (another signer), `manifest.form`, `manifest.digest` (another document),
    `manifest.purpose` (another kind or direction), `manifest.time` (sealed too long ago, or in the future).

    Spec: decision D10.
    """

    def check(certificate: x509.Certificate, chain: Sequence[x509.Certificate]) -> None:
        if chain or not hmac.compare_digest(
            certificate.public_bytes(Encoding.DER), expected_certificate.public_bytes(Encoding.DER)
        ):
            raise _refuse_manifest("certificate", "sealed by another certificate")

    sealed = _verify(data, check, DEFAULT_LIMITS, _refuse_manifest)
    manifest = _read_manifest(sealed.root)
    if document_sha256 is not None and not hmac.compare_digest(manifest.sha256, document_sha256):
        raise _refuse_manifest("digest", "the manifest is for another document")
    if (kind or manifest.kind) != manifest.kind:
        raise _refuse_manifest("purpose", "the manifest is for another kind of document")
    if (direction or manifest.direction) != manifest.direction:
        raise _refuse_manifest("purpose", "the manifest is for the other direction")
    if at is not None and abs(at - manifest.created_at) > lifetime:
        raise _refuse_manifest("time", "the manifest was not sealed about now")
    return manifest


def _refuse_manifest(suffix: str, detail: str) -> SbdRefused:
    return SbdRefused(detail, reason=f"manifest.{suffix}")


def _m(local: str) -> str:
    return q(names.EHMI_MANIFEST, local)


def _add(parent: _Element, local: str, text: str | None) -> _Element:
    element = etree.SubElement(parent, _m(local))
    try:
        element.text = text
    except ValueError:
        raise LocalProtocolError(f"{local} holds a character that XML cannot carry") from None
    return element


def _read_manifest(root: _Element) -> Manifest:
    try:
        found = {
            local: xml.text(xml.one(root, _m(local)))
            for local in ("Id", "Kind", "Direction", "CreatedAt", "MediaType", "Size", "Digest")
        }
        facts = xml.children(xml.one(root, _m("Facts")))
        pairs = [(fact.get("name", ""), fact.text or "") for fact in facts]
        created_at = datetime.fromisoformat(found["CreatedAt"])
        digest = base64.b64decode(found["Digest"], validate=True)
    except InvalidHeader as error:
        raise _refuse_manifest("form", error.detail) from None
    except ValueError:
        raise _refuse_manifest("form", "CreatedAt or Digest has no legal form") from None
    legal = (
        root.tag == _m("SealedManifest")
        and len(root) == len(found) + 1
        and found["Kind"] in _KINDS
        and all(_TOKEN.fullmatch(found[local]) for local in ("Id", "Direction", "MediaType"))
        and _SIZE.fullmatch(found["Size"])
        and created_at.tzinfo is not None
        and len(digest) == 32
        and len({name for name, _ in pairs}) == len(pairs) <= _MOST_FACTS
        and all(_NAME.fullmatch(name) and len(text) <= _LONGEST_FACT for name, text in pairs)
        and all(fact.tag == _m("Fact") and not len(fact) for fact in facts)
    )
    if not legal:
        raise _refuse_manifest("form", "a member of the manifest has no legal form")
    return Manifest(
        id=found["Id"],
        kind=found["Kind"],
        direction=found["Direction"],
        created_at=created_at,
        sha256=digest,
        size=int(found["Size"]),
        mime_type=found["MediaType"],
        facts=dict(pairs),
    )


# The one shape of signature


def _sign(
    root: _Element,
    key: rsa.RSAPrivateKey,
    certificates: list[x509.Certificate],
    canonicalization: str = names.C14N_10,
) -> bytes:
    signer = XMLSigner(
        method=SignatureConstructionMethod.enveloped,
        signature_algorithm=SignatureMethod.RSA_SHA256,
        digest_algorithm=DigestAlgorithm.SHA256,
        c14n_algorithm=CanonicalizationMethod(canonicalization),
    )
    signed = signer.sign(
        root, key=key, cert=certificates, reference_uri=None, exclude_c14n_transform_element=True
    )
    return etree.tostring(signed, encoding="UTF-8", xml_declaration=True)


def _verify(
    data: bytes,
    check: CertificateCheck,
    limits: Limits,
    refuse: _Refuse,
    canonicalizations: Collection[str] = (names.C14N_10,),
) -> SealedDocument:
    try:
        root = xml.scan(data, limits).root
    except TransportRefused as refused:
        raise refuse("xml", refused.reason) from None
    certificate, chain = _check_form(root, refuse, canonicalizations)
    evidence = check(certificate, chain)
    configuration = SignatureConfiguration(
        location="./",
        expect_references=1,
        signature_methods=frozenset({SignatureMethod.RSA_SHA256}),
        digest_algorithms=frozenset({DigestAlgorithm.SHA256}),
        # Time is the check's affair; signxml would ask the clock.
        verification_time=certificate.not_valid_before_utc,
        default_reference_c14n_method=CanonicalizationMethod.CANONICAL_XML_1_0,
    )
    try:
        result = XMLVerifier().verify(root, x509_cert=certificate, expect_config=configuration)
        if not isinstance(result, VerifyResult):
            raise refuse("signature", "more than one reference was verified")
        return SealedDocument(xml.scan(result.signed_data, limits).root, certificate, evidence)
    except (SignXMLException, etree.LxmlError, ValueError):
        raise refuse("signature", "the signature does not verify") from None
    except TransportRefused as refused:
        raise refuse("xml", refused.reason) from None


def _ds(*locals_: str) -> list[str]:
    return [q(names.DS, local) for local in locals_]


def _tags(element: _Element) -> list[str]:
    return [str(child.tag) for child in xml.children(element)]


_SIGNATURE: Final = q(names.DS, "Signature")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/\s]+={0,2}\s*", re.ASCII)


def _check_form(
    root: _Element, refuse: _Refuse, canonicalizations: Collection[str]
) -> tuple[x509.Certificate, tuple[x509.Certificate, ...]]:
    """Admit the one shape of signature that is verified, and give the certificates it carries, signer first."""
    signatures = root.findall(_SIGNATURE)
    if not signatures:
        raise refuse("unsigned", "no signature is a child of the root")
    if len(signatures) > 1 or root[-1] is not signatures[0]:
        raise refuse("signature", "the root does not end with its one signature")
    signature = signatures[0]
    if _tags(signature) != _ds("SignedInfo", "SignatureValue", "KeyInfo"):
        raise refuse("signature", "unexpected members of Signature")
    information, value, key_information = signature
    if _tags(information) != _ds("CanonicalizationMethod", "SignatureMethod", "Reference"):
        raise refuse("signature", "unexpected members of SignedInfo")
    canonicalization, method, reference = information
    if _tags(reference) != _ds("Transforms", "DigestMethod", "DigestValue"):
        raise refuse("signature", "unexpected members of Reference")
    if dict(reference.attrib) != {"URI": ""}:
        raise refuse("signature", "the reference is not to the whole document")
    transforms, digest_method, digest_value = reference
    _check_algorithm(canonicalization, canonicalizations, refuse)
    _check_algorithm(method, (names.RSA_SHA256,), refuse)
    _check_algorithm(digest_method, (names.SHA256,), refuse)
    if _tags(transforms) not in (_ds("Transform"), _ds("Transform", "Transform")):
        raise refuse("signature", "unexpected members of Transforms")
    expected = ((names.ENVELOPED_SIGNATURE,), canonicalizations)
    for transform, algorithms in zip(transforms, expected, strict=False):
        _check_algorithm(transform, algorithms, refuse)
    for leaf in (value, digest_value):
        if len(leaf) or not _BASE64.fullmatch(leaf.text or ""):
            raise refuse("signature", "a value in the signature is not base64")
    return _read_certificates(key_information, refuse)


def _check_algorithm(element: _Element, agreed: Collection[str], refuse: _Refuse) -> None:
    if (
        set(element.attrib) != {"Algorithm"}
        or element.get("Algorithm") not in agreed
        or len(element)
    ):
        local = etree.QName(element).localname
        raise refuse("algorithm", f"{local} is no algorithm that was agreed")


def _read_certificates(
    key_information: _Element, refuse: _Refuse
) -> tuple[x509.Certificate, tuple[x509.Certificate, ...]]:
    if _tags(key_information) != _ds("X509Data"):
        raise refuse("signature", "KeyInfo holds more or less than X509Data")
    members = xml.children(key_information[0])
    if not set(_tags(key_information[0])) <= set(_ds("X509Certificate", "X509SubjectName")):
        raise refuse("signature", "unexpected members of X509Data")
    certificates = []
    for member in members:
        if member.tag != q(names.DS, "X509Certificate"):
            continue
        try:
            octets = base64.b64decode("".join((member.text or "").split()), validate=True)
            certificates.append(load_certificate(octets))
        except (ValueError, CertificateRefused):
            raise refuse("signature", "X509Certificate does not parse") from None
    if not certificates:
        raise refuse("signature", "KeyInfo names no certificate")
    try:
        public = certificates[0].public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise refuse("key", "the certificate's key does not parse") from None
    if not isinstance(public, rsa.RSAPublicKey) or public.key_size < MINIMUM_RSA_BITS:
        raise refuse("key", f"the signer's key is not RSA of at least {MINIMUM_RSA_BITS} bits")
    return certificates[0], tuple(certificates[1:])
