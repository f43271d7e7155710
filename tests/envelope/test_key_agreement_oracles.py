"""Messages of the second generation judged without our own readers: by xmlsec, and by primitives alone.

Content keys that Santuario wrapped open with our key, where the samples are at hand.

The wheel of xmlsec that is tested with knows ECDSA and no Ed25519 key, so that signature is verified by hand over
lxml's canonical SignedInfo. The content key is derived by hand from what stands in the header.
"""

import base64
import hmac
import json
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import xmlsec
from as4_generations import NEW, KeySet, key_set_of
from as4_wire import Author, Wire
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)
from lxml import etree

from envelope import names
from envelope.key_agreement import read_key_agreement
from envelope.names import q
from envelope.pmode import EDELIVERY_2_0, SUITES, Generation
from envelope.xmlenc import WrappedKey
from keys.devca import DevelopmentAuthority
from keys.private import FileDecrypter

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
CURVES = {curve.name: curve for curve in (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1())}
OCTETS = b"an image, or something else that does not compress"


@pytest.fixture(scope="module")
def sets() -> dict[Generation, KeySet]:
    """One party's keys for each generation; it writes to itself."""
    authority = DevelopmentAuthority.create(at=NOW)
    return {one: key_set_of(authority, "alpha-ap", one, not_before=NOW) for one in NEW}


def write(keys: KeySet, payloads: tuple[bytes, ...] = (OCTETS,)) -> Wire:
    author = Author(keys.signing.signer(), keys.agreement.certificate)
    return author.test_message(payloads, suite=SUITES[keys.generation])


def find(root: Any, namespace: str, local: str) -> Any:
    return next(root.iter(q(namespace, local)))


def octets_of(element: Any) -> bytes:
    return base64.b64decode("".join(element.text.split()))


def xmlsec_verify(root: Any, keys: KeySet) -> None:
    public = keys.signing.certificate.public_key()
    xmlsec.tree.add_ids(root, ["Id"])
    context = xmlsec.SignatureContext()
    context.key = xmlsec.Key.from_memory(
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        xmlsec.KeyFormat.PEM,
        None,
    )
    context.verify(find(root, names.DS, "Signature"))


def test_xmlsec_verifies_an_ecdsa_signature_and_refuses_a_changed_header(
    sets: dict[Generation, KeySet],
) -> None:
    keys = sets[Generation.V2_0_P256]
    root = etree.fromstring(write(keys, ()).soap)
    xmlsec_verify(root, keys)
    find(root, names.EB, "MessageId").text = "other@alpha.example"
    with pytest.raises(xmlsec.Error):
        xmlsec_verify(root, keys)


def test_an_ed25519_signature_verifies_over_the_canonical_octets(
    sets: dict[Generation, KeySet],
) -> None:
    keys = sets[Generation.V2_0]
    root = etree.fromstring(write(keys).soap)
    signed_info = find(root, names.DS, "SignedInfo")
    octets = etree.tostring(signed_info, method="c14n", exclusive=True)
    value = octets_of(find(root, names.DS, "SignatureValue"))
    keys.signing.certificate.public_key().verify(value, octets)
    with pytest.raises(InvalidSignature):
        keys.signing.certificate.public_key().verify(value, octets + b" ")


@pytest.mark.parametrize("generation", NEW, ids=str)
def test_the_content_key_follows_from_the_header_alone(
    sets: dict[Generation, KeySet], generation: Generation
) -> None:
    keys = sets[generation]
    wire = write(keys)
    root = etree.fromstring(wire.soap)
    private: Any = keys.agreement.private_key
    if generation is Generation.V2_0:
        key = load_der_public_key(octets_of(find(root, names.DSIG11, "DEREncodedKeyValue")))
        assert isinstance(key, x25519.X25519PublicKey)
        secret = private.exchange(key)
    else:
        octets = octets_of(find(root, names.DSIG11, "PublicKey"))
        point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), octets)
        secret = private.exchange(ec.ECDH(), point)
    salt = octets_of(find(root, names.DSIG_MORE_2021, "Salt"))
    wrapping = hmac.digest(hmac.digest(salt, secret, "sha256"), b"\x01", "sha256")[:16]
    content_key = aes_key_unwrap(wrapping, octets_of(find(root, names.XENC, "CipherValue")))
    [part] = wire.parts
    plain = AESGCM(content_key).decrypt(part.octets[:12], part.octets[12:], None)
    assert plain.startswith(b"\x1f\x8b")


# Vectors of another implementation

FIXTURES = os.environ.get("ACCESSPOINT_FIXTURES")
VECTORS = Path(FIXTURES or ".") / "as4" / "samples" / "vectors"
NAMED = ("x25519", "secp256r1", "secp384r1", "secp521r1")


@pytest.mark.skipif(
    FIXTURES is None, reason="ACCESSPOINT_FIXTURES does not name the folder with the samples"
)
@pytest.mark.parametrize("variant", ["", "-nosalt-noinfo"])
@pytest.mark.parametrize("name", NAMED)
def test_content_keys_that_another_implementation_wrapped_open(name, variant):
    root = etree.fromstring((VECTORS / f"keyagreement-{name}-hkdf{variant}.xml").read_bytes())
    expected = bytes.fromhex((VECTORS / f"keyagreement-{name}-hkdf{variant}.cek.hex").read_text())
    key_info = next(root.iter(q(names.XENC, "EncryptedKey")))[1]
    # Only the way the recipient is named differs from a message: by a key name.
    recipient = find(key_info, names.XENC, "RecipientKeyInfo")
    recipient[:] = [etree.fromstring(
        f'<w:SecurityTokenReference xmlns:w="{names.WSSE}"><w:KeyIdentifier ValueType="{names.X509_SKI}">AAAA'
        "</w:KeyIdentifier></w:SecurityTokenReference>"
    )]  # fmt: skip
    policy = replace(
        EDELIVERY_2_0,
        key_transports=frozenset({names.X25519, names.ECDH_ES}),
        curves=frozenset(CURVES),
    )
    agreement, token = read_key_agreement(key_info, {}, policy)
    value = base64.b64decode("".join(find(root, names.XENC, "CipherValue").text.split()))
    decrypter = published_key(name)
    wrapped = WrappedKey(names.KW_AES128, "", "", value, token, agreement=agreement)
    content_key = decrypter.unwrap(wrapped)
    assert content_key == expected
    cipher = base64.b64decode("".join((root[0][-1][0].text or "").split()))
    assert AESGCM(content_key).decrypt(cipher[:12], cipher[12:], None)


def published_key(name):
    folder = VECTORS.parent / "keys"
    certificate = x509.load_pem_x509_certificate(
        (folder / f"wss4j-ecdh-{name}.cert.pem").read_bytes()
    )
    jwk = json.loads((folder / "test-keys.jwk.json").read_text("utf-8"))[f"wss4j-ecdh-{name}"]
    octets = base64.urlsafe_b64decode(jwk["d"] + "==")
    if name == "x25519":
        key = x25519.X25519PrivateKey.from_private_bytes(octets)
    else:
        key = ec.derive_private_key(int.from_bytes(octets, "big"), CURVES[name])
    return FileDecrypter(key, certificate)
