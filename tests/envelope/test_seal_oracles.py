"""Enveloped signatures: libxmlsec is the second opinion, in both directions."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import xmlsec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from lxml import etree
from seal_parts import MANIFEST, Station, ds, manifest_tree, refusal, verify


@pytest.fixture
def xmlsec_key(station_a: Station) -> Iterator[xmlsec.Key]:
    pem = station_a.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    key = xmlsec.Key.from_memory(pem, xmlsec.constants.KeyDataFormatPem)
    key.load_cert_from_memory(
        station_a.certificate.public_bytes(Encoding.PEM), xmlsec.constants.KeyDataFormatPem
    )
    return key  # type: ignore[return-value]


def test_libxmlsec_verifies_what_we_seal(sealed: bytes, xmlsec_key: xmlsec.Key) -> None:
    root = etree.fromstring(sealed)

    _xmlsec_context(xmlsec_key).verify(ds(root, "Signature"))

    root[0].text = "forged"
    with pytest.raises(xmlsec.Error):
        _xmlsec_context(xmlsec_key).verify(ds(root, "Signature"))


def _xmlsec_context(key: xmlsec.Key) -> xmlsec.SignatureContext:
    context = xmlsec.SignatureContext()
    context.key = key
    return context


def _signed_by_libxmlsec(
    sealed: bytes,
    key: xmlsec.Key,
    *,
    canonicalization: object = xmlsec.constants.TransformInclC14N,
    method: object = xmlsec.constants.TransformRsaSha256,
    digest: object = xmlsec.constants.TransformSha256,
    transforms: Sequence[object] = (xmlsec.constants.TransformEnveloped,),
    uris: Sequence[str] = ("",),
    reference_id: str | None = None,
    key_value: bool = False,
) -> bytes:
    """A manifest with a signature of this shape that does verify."""
    root = manifest_tree(sealed)
    root[-1].set("Id", "facts")
    xmlsec.tree.add_ids(root, ["Id"])
    template = xmlsec.template.create(root, canonicalization, method, ns="ds")
    root.append(template)
    for uri in uris:
        reference = xmlsec.template.add_reference(template, digest, uri=uri, id=reference_id)
        for transform in transforms:
            xmlsec.template.add_transform(reference, transform)
    key_information = xmlsec.template.ensure_key_info(template)
    data = xmlsec.template.add_x509_data(key_information)
    xmlsec.template.x509_data_add_certificate(data)
    xmlsec.template.x509_data_add_subject_name(data)
    if key_value:
        xmlsec.template.add_key_value(key_information)
    _xmlsec_context(key).sign(template)
    return etree.tostring(root)


@pytest.mark.parametrize("named", [False, True], ids=["c14n-by-default", "c14n-named"])
def test_we_verify_what_libxmlsec_signs(
    sealed: bytes, station_a: Station, xmlsec_key: xmlsec.Key, named: bool
) -> None:
    transforms = [xmlsec.constants.TransformEnveloped]
    if named:
        transforms.append(xmlsec.constants.TransformInclC14N)

    data = _signed_by_libxmlsec(sealed, xmlsec_key, transforms=transforms)

    assert verify(data, station_a) == MANIFEST


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ({"canonicalization": xmlsec.constants.TransformExclC14N}, "algorithm"),
        ({"canonicalization": xmlsec.constants.TransformInclC14NWithComments}, "algorithm"),
        ({"method": xmlsec.constants.TransformRsaSha512}, "algorithm"),
        ({"digest": xmlsec.constants.TransformSha512}, "algorithm"),
        (
            {
                "transforms": [
                    xmlsec.constants.TransformEnveloped,
                    xmlsec.constants.TransformExclC14N,
                ]
            },
            "algorithm",
        ),
        ({"uris": ["#facts"]}, "signature"),
        ({"uris": ["", "#facts"]}, "signature"),
        ({"reference_id": "r"}, "signature"),
        ({"key_value": True}, "signature"),
    ],
)
def test_signature_that_verifies_but_has_another_shape_is_refused(
    sealed: bytes,
    station_a: Station,
    xmlsec_key: xmlsec.Key,
    shape: dict[str, Any],
    reason: str,
) -> None:
    data = _signed_by_libxmlsec(sealed, xmlsec_key, **shape)
    root = etree.fromstring(data)
    xmlsec.tree.add_ids(root, ["Id"])
    _xmlsec_context(xmlsec_key).verify(ds(root, "Signature"))

    assert refusal(data, station_a) == f"manifest.{reason}"
