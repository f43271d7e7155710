"""Enveloped signatures: one shape is accepted, made and checked against libxmlsec, everything else is refused by name."""

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree
from seal_parts import MANIFEST, Station, ds, issue, manifest_tree, refusal, station, verify

from envelope import names
from envelope.errors import LocalProtocolError, SbdRefused, SmpRefused
from envelope.limits import Limits
from envelope.seal import (
    seal_manifest,
    sign_service_metadata,
    verify_manifest,
    verify_service_metadata,
)


def test_sealed_manifest_is_verified(sealed: bytes, station_a: Station) -> None:
    assert verify(sealed, station_a) == MANIFEST


def test_purpose_is_checked_where_it_is_given(sealed: bytes, station_a: Station) -> None:
    digest = MANIFEST.sha256
    expected = station_a.certificate

    verify_manifest(
        sealed, expected_certificate=expected, document_sha256=digest, kind="document", direction="sending"
    )  # fmt: skip
    for purpose in ({"kind": "envelope"}, {"direction": "delivering"}):
        with pytest.raises(SbdRefused) as refused:
            verify_manifest(
                sealed, expected_certificate=expected, document_sha256=digest, **purpose
            )
        assert refused.value.reason == "manifest.purpose"


def test_seal_of_another_document_is_refused(sealed: bytes, station_a: Station) -> None:
    with pytest.raises(SbdRefused) as refused:
        verify_manifest(
            sealed,
            expected_certificate=station_a.certificate,
            document_sha256=hashlib.sha256(b"other").digest(),
        )

    assert refused.value.reason == "manifest.digest"


def test_a_seal_is_verified_before_its_document_has_come(
    sealed: bytes, station_a: Station, station_b: Station
) -> None:
    manifest = verify_manifest(
        sealed, expected_certificate=station_a.certificate, document_sha256=None
    )
    assert manifest == MANIFEST
    with pytest.raises(SbdRefused) as refused:
        verify_manifest(sealed, expected_certificate=station_b.certificate, document_sha256=None)
    assert refused.value.reason == "manifest.certificate"


def test_seal_of_another_station_is_refused(
    sealed: bytes, station_a: Station, station_b: Station
) -> None:
    assert refusal(sealed, station_b) == "manifest.certificate"

    # The expected certificate on another station's signature helps nobody, nor does the reverse.
    by_b = seal_manifest(MANIFEST, station_b.key, station_b.certificate)
    assert refusal(by_b, station_a) == "manifest.certificate"
    renamed = _compact(by_b).replace(_der(station_b), _der(station_a))
    assert refusal(renamed, station_a) == "manifest.signature"


def _der(signer: Station) -> bytes:
    return base64.b64encode(signer.certificate.public_bytes(Encoding.DER))


def _compact(data: bytes) -> bytes:
    """The same document with every certificate on one line."""
    root = etree.fromstring(data)
    for element in root.iter(f"{{{names.DS}}}X509Certificate"):
        element.text = "".join((element.text or "").split())
    return etree.tostring(root)


@given(
    facts=st.dictionaries(
        st.from_regex(r"[A-Za-z][A-Za-z0-9_.-]{0,20}", fullmatch=True),
        st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=40).filter(
            lambda text: not set(text) & {"\ufffe", "\uffff"}
        ),
        max_size=5,
    ),
    size=st.integers(0, 2**47),
    digest=st.binary(min_size=32, max_size=32),
    at=st.datetimes(timezones=st.just(UTC)),
)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_verifying_undoes_sealing(
    station_a: Station, facts: dict[str, str], size: int, digest: bytes, at: datetime
) -> None:
    manifest = replace(MANIFEST, facts=facts, size=size, sha256=digest, created_at=at)
    data = seal_manifest(manifest, station_a.key, station_a.certificate)

    assert manifest == verify_manifest(
        data, expected_certificate=station_a.certificate, document_sha256=digest
    )


@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_flipped_bit_changes_nothing_or_is_refused(
    sealed: bytes, station_a: Station, at: int, bit: int
) -> None:
    damaged = bytearray(sealed)
    damaged[at % len(damaged)] ^= 1 << bit

    try:
        manifest = verify(bytes(damaged), station_a)
    except SbdRefused:
        return
    assert manifest == MANIFEST


@pytest.mark.parametrize(
    "change",
    [
        {"id": ""},
        {"id": "a b"},
        {"id": "nul\0"},
        {"kind": "letter"},
        {"direction": "two words"},
        {"created_at": datetime(2026, 11, 2)},  # noqa: DTZ001
        {"sha256": b"short"},
        {"size": -1},
        {"mime_type": ""},
        {"facts": {"not a name": "x"}},
        {"facts": {"long": "x" * 1_025}},
        {"facts": {"bell": "\a"}},
        {"facts": {"not-a-character": "\ufffe"}},
        {"facts": {f"n{at}": "" for at in range(65)}},
    ],
)
def test_manifest_without_legal_form_is_not_sealed(
    station_a: Station, change: dict[str, object]
) -> None:
    with pytest.raises(LocalProtocolError):
        seal_manifest(
            replace(MANIFEST, **change),  # type: ignore[arg-type]
            station_a.key,
            station_a.certificate,
        )


FORMS: dict[str, Callable[[etree._Element], object]] = {
    "other-root": lambda root: setattr(root, "tag", f"{{{names.EHMI_MANIFEST}}}Other"),
    "member-twice": lambda root: root.append(etree.fromstring(etree.tostring(root[0]))),
    "member-missing": lambda root: root.remove(root[2]),
    "unknown-member": lambda root: etree.SubElement(root, "{urn:other}X"),
    "member-with-child": lambda root: etree.SubElement(root[0], "{urn:other}X"),
    "time-without-zone": lambda root: setattr(root[3], "text", "2026-11-02T08:15:00"),
    "no-time": lambda root: setattr(root[3], "text", "yesterday"),
    "digest-not-base64": lambda root: setattr(root[6], "text", "!"),
    "size-with-sign": lambda root: setattr(root[5], "text", "+25"),
    "size-in-other-digits": lambda root: setattr(root[5], "text", "２５"),
    "fact-twice": lambda root: root[7].append(etree.fromstring(etree.tostring(root[7][0]))),
    "foreign-fact": lambda root: etree.SubElement(root[7], "{urn:other}Fact", name="x"),
}


@pytest.mark.parametrize("form", FORMS)
def test_signed_document_that_is_no_manifest_is_refused(
    sealed: bytes, station_a: Station, form: str
) -> None:
    root = manifest_tree(sealed)
    FORMS[form](root)
    data = sign_service_metadata(root, key=station_a.key, certificate=station_a.certificate)

    assert refusal(data, station_a) == "manifest.form"


# Hostile signatures, named after the attack


def _swap(old: str, new: str) -> Callable[[bytes], bytes]:
    def apply(data: bytes) -> bytes:
        assert old.encode() in data
        return data.replace(old.encode(), new.encode(), 1)

    return apply


def _edit(change: Callable[[etree._Element, etree._Element], object]) -> Callable[[bytes], bytes]:
    def apply(data: bytes) -> bytes:
        root = etree.fromstring(data)
        change(root, root[-1])
        return etree.tostring(root)

    return apply


def _copy(element: etree._Element) -> etree._Element:
    return etree.fromstring(etree.tostring(element))


def _wrap(data: bytes) -> bytes:
    """A forged manifest outside, the sealed one hidden within, its signature moved to the outside."""
    inner = etree.fromstring(data)
    outer = _copy(inner)
    outer[0].text = "forged"
    outer.insert(0, inner)
    return etree.tostring(outer)


def _bury(data: bytes) -> bytes:
    inner = etree.fromstring(data)
    outer = manifest_tree(data)
    outer[0].text = "forged"
    outer.append(inner)
    return etree.tostring(outer)


_TRANSFORM = '<ds:Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"/>'
_REFERENCE = "SignedInfo/Reference"
HOSTILE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "content-changed": (_swap("message-1", "message-2"), "signature"),
    "digest-changed": (
        _edit(lambda root, s: setattr(ds(s, f"{_REFERENCE}/DigestValue"), "text", "A" * 43 + "=")),
        "signature",
    ),
    "signature-removed": (_edit(lambda root, s: root.remove(s)), "unsigned"),
    "signature-in-no-namespace": (_swap(names.DS, "urn:other"), "unsigned"),
    "signature-buried": (_bury, "unsigned"),
    "wrapped": (_wrap, "signature"),
    "second-signature": (_edit(lambda root, s: root.append(_copy(s))), "signature"),
    "signature-first": (_edit(lambda root, s: root.insert(0, s)), "signature"),
    "part-reference": (_swap('URI=""', 'URI="#x"'), "signature"),
    "reference-without-uri": (_swap(' URI=""', ""), "signature"),
    "external-reference": (_swap('URI=""', 'URI="http://127.0.0.1/x"'), "signature"),
    "reference-type": (_swap('URI=""', 'URI="" Type="http://www.w3.org/2000/09/xmldsig#Manifest"'), "signature"),
    "two-references": (
        _edit(lambda root, s: ds(s, "SignedInfo").append(_copy(ds(s, _REFERENCE)))), "signature"),
    "no-reference": (_edit(lambda root, s: ds(s, "SignedInfo").remove(ds(s, _REFERENCE))), "signature"),
    "no-transforms": (
        _edit(lambda root, s: ds(s, _REFERENCE).remove(ds(s, f"{_REFERENCE}/Transforms"))), "signature"),
    "xpath-transform": (_swap("#enveloped-signature", "#XPath"), "algorithm"),
    "xslt-transform": (
        _swap(_TRANSFORM, _TRANSFORM + '<ds:Transform Algorithm="http://www.w3.org/TR/1999/REC-xslt-19991116"/>'),
        "algorithm",
    ),
    "unknown-third-transform": (
        _swap(_TRANSFORM, _TRANSFORM * 3), "signature"),
    "transform-with-parameters": (
        _swap(_TRANSFORM, _TRANSFORM.replace("/>", "><x/></ds:Transform>")), "algorithm"),
    "exclusive-c14n": (_swap(names.C14N_10, names.EXC_C14N), "algorithm"),
    "c14n-with-comments": (_swap(names.C14N_10, names.C14N_10 + "#WithComments"), "algorithm"),
    "sha-1-digest": (_swap(names.SHA256, names.SHA1), "algorithm"),
    "rsa-sha1": (_swap(names.RSA_SHA256, names.DS + "rsa-sha1"), "algorithm"),
    "hmac-with-public-key": (_swap(names.RSA_SHA256, names.HMAC_SHA256), "algorithm"),
    "truncated-hmac": (
        _edit(lambda root, s: etree.SubElement(ds(s, "SignedInfo/SignatureMethod"), f"{{{names.DS}}}HMACOutputLength")),
        "algorithm",
    ),
    "object-in-signature": (_edit(lambda root, s: etree.SubElement(s, f"{{{names.DS}}}Object")), "signature"),
    "no-key-information": (_edit(lambda root, s: s.remove(ds(s, "KeyInfo"))), "signature"),
    "key-value-beside-certificate": (
        _edit(lambda root, s: etree.SubElement(ds(s, "KeyInfo"), f"{{{names.DS}}}KeyValue")), "signature"),
    "retrieval-method": (
        _edit(lambda root, s: setattr(ds(s, "KeyInfo/X509Data"), "tag", f"{{{names.DS}}}RetrievalMethod")),
        "signature",
    ),
    "no-certificate": (
        _edit(lambda root, s: ds(s, "KeyInfo/X509Data").remove(ds(s, "KeyInfo/X509Data/X509Certificate"))),
        "signature",
    ),
    "key-identifier-beside-certificate": (
        _edit(lambda root, s: etree.SubElement(ds(s, "KeyInfo/X509Data"), f"{{{names.DS}}}X509SKI")), "signature"),
    "certificate-is-none": (
        _edit(lambda root, s: setattr(ds(s, "KeyInfo/X509Data/X509Certificate"), "text", "QUJD")), "signature"),
    "second-certificate": (
        _edit(lambda root, s: ds(s, "KeyInfo/X509Data").append(_copy(ds(s, "KeyInfo/X509Data/X509Certificate")))),
        "certificate",
    ),
    "junk-in-signature-value": (
        _edit(lambda root, s: setattr(ds(s, "SignatureValue"), "text", f"-{ds(s, 'SignatureValue').text}")),
        "signature",
    ),
    "text-in-signed-info": (_edit(lambda root, s: setattr(ds(s, "SignedInfo"), "text", "x")), "signature"),
    "comment-in-digest": (
        _swap("</ds:DigestValue>", "<!-- --></ds:DigestValue>"), "xml"),
    "doctype-with-id-attribute": (
        lambda data: b"<!DOCTYPE x [<!ATTLIST x Id ID #IMPLIED>]>" + data.partition(b"?>\n")[2], "xml"),
    "namespace-bomb": (
        _swap("<Facts>", "<Facts " + " ".join(f'xmlns:n{n}="urn:{n}"' for n in range(400)) + ">"), "xml"),
    "element-bomb": (_swap("<Facts>", "<Facts>" + "<Fact/>" * 3_000), "xml"),
    "attribute-bomb": (_swap("<Facts>", "<Facts " + " ".join(f'a{n}=""' for n in range(400)) + ">"), "xml"),
    "huge": (_swap("<Facts>", "<Facts>" + " " * 2**21), "xml"),
    "not-xml": (lambda data: b"{}", "xml"),
}  # fmt: skip


@pytest.mark.parametrize("attack", HOSTILE)
def test_hostile_signature_is_refused(sealed: bytes, station_a: Station, attack: str) -> None:
    change, reason = HOSTILE[attack]

    assert refusal(change(sealed), station_a) == f"manifest.{reason}"


def test_small_key_is_refused() -> None:
    small = station("Small", bits=1024)
    data = seal_manifest(MANIFEST, small.key, small.certificate)

    assert refusal(data, small) == "manifest.key"


def test_key_of_another_kind_is_refused(sealed: bytes, station_a: Station) -> None:
    certificate = issue(ec.generate_private_key(ec.SECP256R1()), "Curve")
    text = base64.b64encode(certificate.public_bytes(Encoding.DER))

    assert refusal(_compact(sealed).replace(_der(station_a), text), station_a) == "manifest.key"


# Service metadata: who may sign is asked of the caller


@pytest.fixture
def metadata(station_a: Station) -> bytes:
    root = etree.fromstring(f'<S xmlns="{names.SMP1}"><M>one</M></S>')
    return sign_service_metadata(root, key=station_a.key, certificate=station_a.certificate)


def test_check_sees_the_certificates_and_its_evidence_is_kept(
    station_a: Station, station_b: Station
) -> None:
    root = etree.fromstring(f'<S xmlns="{names.SMP1}"><M>one</M></S>')
    data = sign_service_metadata(
        root,
        key=station_a.key,
        certificate=station_a.certificate,
        chain=[station_b.certificate],
    )

    def check(
        certificate: x509.Certificate, chain: Sequence[x509.Certificate]
    ) -> tuple[x509.Certificate, ...]:
        return (certificate, *chain)

    sealed = verify_service_metadata(data, check=check)

    assert sealed.evidence == (station_a.certificate, station_b.certificate)
    assert sealed.certificate == station_a.certificate
    assert etree.tostring(sealed.root) == etree.tostring(root)


def test_refusal_of_the_check_passes_through(metadata: bytes) -> None:
    class NotTrustedError(Exception):
        pass

    def check(certificate: x509.Certificate, chain: Sequence[x509.Certificate]) -> object:
        raise NotTrustedError

    with pytest.raises(NotTrustedError):
        verify_service_metadata(metadata, check=check)


def test_metadata_is_refused_under_its_own_names(metadata: bytes) -> None:
    for data, reason in (
        (metadata.replace(b"one", b"two"), "smp.signature"),
        (b"<S/>", "smp.unsigned"),
        (b"", "smp.xml"),
    ):
        with pytest.raises(SmpRefused) as refused:
            verify_service_metadata(data, check=lambda certificate, chain: None)
        assert refused.value.reason == reason


def test_signature_within_an_extension_is_only_content(station_a: Station, metadata: bytes) -> None:
    root = etree.fromstring(f'<S xmlns="{names.SMP1}"><Extension/></S>')
    root[0].append(etree.fromstring(metadata)[-1])
    data = sign_service_metadata(root, key=station_a.key, certificate=station_a.certificate)

    sealed = verify_service_metadata(data, check=lambda certificate, chain: None)

    assert len(sealed.root) == 1
    assert sealed.root[0][0].tag == f"{{{names.DS}}}Signature"


def test_document_that_grows_over_the_limit_when_canonical_is_refused(station_a: Station) -> None:
    root = etree.fromstring(f'<S xmlns="{names.SMP1}">{"<M/>" * 1_500}</S>')
    data = sign_service_metadata(root, key=station_a.key, certificate=station_a.certificate)

    with pytest.raises(SmpRefused) as refused:
        verify_service_metadata(
            data, check=lambda certificate, chain: None, limits=Limits(soap_bytes=len(data))
        )

    assert refused.value.reason == "smp.xml"
