"""Stations that seal manifests, and one manifest, for the tests of `envelope.seal`."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from lxml import etree

from envelope import names
from envelope.errors import SbdRefused
from envelope.seal import Manifest, verify_manifest

LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)
DOCUMENT = b'{"resourceType":"Bundle"}'
MANIFEST = Manifest(
    id="5c0a7d4e-manifest",
    kind="document",
    direction="sending",
    created_at=datetime(2026, 11, 2, 8, 15, 0, 125_000, tzinfo=UTC),
    sha256=hashlib.sha256(DOCUMENT).digest(),
    size=len(DOCUMENT),
    mime_type="application/fhir+json",
    facts={"message": "message-1", "bundle": "bundle-1"},
)


@dataclass(frozen=True)
class Station:
    key: rsa.RSAPrivateKey
    certificate: x509.Certificate


def issue(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, name: str) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(7)
        # Long expired: whether that matters is for the check to say, not for this code.
        .not_valid_before(LONG_AGO)
        .not_valid_after(LONG_AGO + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )


def station(name: str, bits: int = 2048) -> Station:
    key = rsa.generate_private_key(65537, bits)
    return Station(key, issue(key, name))


def verify(data: bytes, signer: Station) -> Manifest:
    return verify_manifest(
        data, expected_certificate=signer.certificate, document_sha256=MANIFEST.sha256
    )


def refusal(data: bytes, signer: Station) -> str:
    with pytest.raises(SbdRefused) as refused:
        verify(data, signer)
    return refused.value.reason


def manifest_tree(sealed: bytes) -> etree._Element:
    """The manifest without its signature."""
    root = etree.fromstring(sealed)
    root.remove(root[-1])
    return root


def ds(parent: etree._Element, path: str) -> etree._Element:
    found = parent.find("/".join(f"{{{names.DS}}}{step}" for step in path.split("/")))
    assert found is not None
    return found
