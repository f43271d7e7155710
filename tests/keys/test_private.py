import hmac
from dataclasses import dataclass, replace

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, x25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from keys.certificate import subject_key_identifier
from keys.errors import KeyStoreError, UnsupportedAlgorithm
from keys.private import (
    ECDH_ES,
    ECDSA_SHA256,
    EDDSA_ED25519,
    KW_AES128,
    RSA_OAEP,
    RSA_OAEP_MGF1P,
    RSA_SHA256,
    RSA_SHA384,
    RSA_SHA512,
    X25519,
    FileDecrypter,
    FileSigner,
    KeyRing,
)

SHA1 = "http://www.w3.org/2000/09/xmldsig#sha1"
SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"
MGF1_SHA1 = "http://www.w3.org/2009/xmlenc11#mgf1sha1"
MGF1_SHA256 = "http://www.w3.org/2009/xmlenc11#mgf1sha256"
KEY = bytes(range(16))


@dataclass
class Token:
    kind: str
    key_identifier: bytes | None = None
    certificate: object = None
    issuer: str | None = None
    serial: int | None = None


@dataclass
class Agreement:
    algorithm: str
    curve: str
    originator: bytes
    salt: bytes = b""
    info: bytes = b""


@dataclass
class Wrapped:
    cipher_value: bytes
    algorithm: str = RSA_OAEP
    digest_algorithm: str | None = SHA256
    mgf_algorithm: str | None = MGF1_SHA256
    token: Token | None = None
    agreement: Agreement | None = None


def wrap(issued, key=KEY, *, digest=None, mask=None):
    oaep = padding.OAEP(padding.MGF1(mask or hashes.SHA256()), digest or hashes.SHA256(), None)
    return issued.certificate.public_key().encrypt(key, oaep)


@pytest.mark.parametrize(
    ("algorithm", "digest"),
    [(RSA_SHA256, hashes.SHA256()), (RSA_SHA384, hashes.SHA384()), (RSA_SHA512, hashes.SHA512())],
)
def test_rsa_signature_verifies_as_pkcs1(pki, algorithm, digest):
    issued = pki.leaf()
    signature = issued.signer().sign(b"SignedInfo", algorithm)
    key = issued.certificate.public_key()
    key.verify(signature, b"SignedInfo", padding.PKCS1v15(), digest)
    with pytest.raises(InvalidSignature):
        key.verify(signature, b"SignedInf0", padding.PKCS1v15(), digest)


@pytest.mark.parametrize(
    ("curve", "width"), [(ec.SECP256R1, 32), (ec.SECP384R1, 48), (ec.SECP521R1, 66)]
)
def test_ecdsa_signature_is_r_and_s_of_fixed_width(pki, curve, width):
    issued = pki.leaf(key=ec.generate_private_key(curve()))
    for _ in range(8):
        signature = issued.signer().sign(b"SignedInfo", ECDSA_SHA256)
        assert len(signature) == 2 * width
        r, s = (int.from_bytes(half, "big") for half in (signature[:width], signature[width:]))
        issued.certificate.public_key().verify(
            encode_dss_signature(r, s), b"SignedInfo", ec.ECDSA(hashes.SHA256())
        )


def test_ed25519_signature(pki):
    issued = pki.leaf(key=ed25519.Ed25519PrivateKey.generate())
    signature = issued.signer().sign(b"SignedInfo", EDDSA_ED25519)
    issued.certificate.public_key().verify(signature, b"SignedInfo")


def test_algorithm_that_does_not_fit_the_key_for_every_pair(pki):
    fitting = {
        "rsa": (pki.leaf(), {RSA_SHA256, RSA_SHA384, RSA_SHA512}),
        "ec": (pki.leaf(key=pki.curve_key), {ECDSA_SHA256}),
        "ed": (pki.leaf(key=ed25519.Ed25519PrivateKey.generate()), {EDDSA_ED25519}),
    }
    unknown = {"", "none", "http://www.w3.org/2000/09/xmldsig#rsa-sha1"}
    everything = set().union(unknown, *(algorithms for _, algorithms in fitting.values()))
    for issued, algorithms in fitting.values():
        for algorithm in everything - algorithms:
            with pytest.raises(UnsupportedAlgorithm):
                issued.signer().sign(b"x", algorithm)


def test_signer_shows_certificate_and_chain_but_not_the_key(pki):
    issued = pki.leaf()
    signer = issued.signer()
    assert signer.certificate == issued.certificate
    assert tuple(signer.chain) == (pki.authority.issuing,)
    assert "PRIVATE" not in repr(signer)
    assert "ehmi-ap-test" in repr(signer)


def test_decrypter_shows_its_certificate_but_not_the_key(pki):
    decrypter = pki.leaf().decrypter()
    assert repr(decrypter).startswith("FileDecrypter('CN=ehmi-ap-test,")


def test_certificate_of_another_key_is_refused(pki):
    with pytest.raises(KeyStoreError):
        FileSigner(pki.other_key, pki.leaf().certificate)
    with pytest.raises(KeyStoreError):
        FileDecrypter(pki.other_key, pki.leaf().certificate)


def test_key_of_the_wrong_kind_is_refused(pki):
    agreement = pki.leaf(key=x25519.X25519PrivateKey.generate())
    with pytest.raises(KeyStoreError):
        agreement.signer()
    with pytest.raises(KeyStoreError):
        pki.leaf(key=ed25519.Ed25519PrivateKey.generate()).decrypter()


@pytest.mark.parametrize(
    ("algorithm", "digest_uri", "mask_uri", "digest", "mask"),
    [
        (RSA_OAEP, SHA256, MGF1_SHA256, hashes.SHA256(), hashes.SHA256()),
        (RSA_OAEP, SHA256, None, hashes.SHA256(), hashes.SHA1()),
        (RSA_OAEP, SHA256, MGF1_SHA1, hashes.SHA256(), hashes.SHA1()),
        (RSA_OAEP, None, None, hashes.SHA1(), hashes.SHA1()),
        (RSA_OAEP_MGF1P, SHA256, None, hashes.SHA256(), hashes.SHA1()),
        (RSA_OAEP_MGF1P, SHA1, MGF1_SHA1, hashes.SHA1(), hashes.SHA1()),
        (RSA_OAEP_MGF1P, SHA256, MGF1_SHA256, hashes.SHA256(), hashes.SHA1()),
    ],
)
def test_content_key_comes_back(pki, algorithm, digest_uri, mask_uri, digest, mask):
    issued = pki.leaf()
    wrapped = Wrapped(wrap(issued, digest=digest, mask=mask), algorithm, digest_uri, mask_uri)
    assert issued.decrypter().unwrap(wrapped) == KEY


def test_every_failure_to_unwrap_looks_the_same(pki):
    issued = pki.leaf()
    good = wrap(issued)
    other = pki.leaf(key=pki.other_key)
    cases = {
        "enc-03-another-key": Wrapped(wrap(other)),
        "flipped": Wrapped(bytes([good[0] ^ 1]) + good[1:]),
        "short": Wrapped(good[:-1]),
        "empty": Wrapped(b""),
        "long": Wrapped(good + b"\x00"),
        "wrong digest": Wrapped(good, digest_algorithm=SHA1),
        "wrong mask": Wrapped(good, mgf_algorithm=MGF1_SHA1),
        "unknown digest": Wrapped(good, digest_algorithm="urn:x"),
        "unknown mask": Wrapped(good, mgf_algorithm="urn:x"),
        "alg-10-rsa-1_5": Wrapped(good, "http://www.w3.org/2001/04/xmlenc#rsa-1_5"),
        "odd length": Wrapped(wrap(issued, b"fifteen octets!")),
        "no content": Wrapped(wrap(issued, b"")),
    }
    texts = set()
    for wrapped in cases.values():
        with pytest.raises(ValueError, match="cannot be opened") as caught:
            issued.decrypter().unwrap(wrapped)
        assert type(caught.value) is ValueError
        assert caught.value.__cause__ is None
        texts.add(str(caught.value))
    assert len(texts) == 1


def test_random_ciphertext_never_opens(pki):
    decrypter = pki.leaf().decrypter()

    @settings(max_examples=30, deadline=None)
    @given(st.binary(min_size=384, max_size=384))
    def never_opens(octets):
        with pytest.raises(ValueError, match="cannot be opened"):
            decrypter.unwrap(Wrapped(octets))

    never_opens()


CURVES = {
    "secp256r1": ec.SECP256R1(),
    "secp384r1": ec.SECP384R1(),
    "secp521r1": ec.SECP521R1(),
}
LOW_ORDER = [
    bytes(32),
    b"\x01" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
]
"""The encodings of points with which every X25519 key agrees on nothing (RFC 7748 section 6.1)."""


def hkdf_by_hand(secret, salt, info):
    """RFC 5869 in two lines, as the oracle of the derivation: one block of SHA-256 is more than 16 octets."""
    extracted = hmac.digest(salt or bytes(32), secret, "sha256")
    return hmac.digest(extracted, info + b"\x01", "sha256")[:16]


def agreed(issued, *, salt=b"", info=b"", curve=None):
    """A content key wrapped for a certificate by agreement, with primitives alone."""
    public = issued.certificate.public_key()
    if isinstance(public, x25519.X25519PublicKey):
        own = x25519.X25519PrivateKey.generate()
        secret, originator = own.exchange(public), own.public_key().public_bytes_raw()
        agreement = Agreement(X25519, "x25519", originator, salt, info)
    else:
        own = ec.generate_private_key(public.curve)
        secret = own.exchange(ec.ECDH(), public)
        originator = own.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        agreement = Agreement(ECDH_ES, public.curve.name, originator, salt, info)
    value = aes_key_wrap(hkdf_by_hand(secret, salt, info), KEY)
    return Wrapped(value, KW_AES128, "", "", agreement=agreement)


@pytest.fixture(scope="module", params=["x25519", *CURVES])
def agreement_leaf(request, pki):
    curve = CURVES.get(request.param)
    key = ec.generate_private_key(curve) if curve else x25519.X25519PrivateKey.generate()
    return pki.leaf(key=key)


@pytest.mark.parametrize("salt", [b"", b"s" * 16, b"s" * 100])
@pytest.mark.parametrize("info", [b"", b"some information"])
def test_agreed_content_key_comes_back(agreement_leaf, salt, info):
    assert agreement_leaf.decrypter().unwrap(agreed(agreement_leaf, salt=salt, info=info)) == KEY


def test_every_failure_to_agree_looks_the_same(agreement_leaf, pki):
    good = agreed(agreement_leaf)
    other = agreed(pki.leaf(key=ec.generate_private_key(ec.SECP256R1())))
    other_x = agreed(pki.leaf(key=x25519.X25519PrivateKey.generate()))
    agreement, value = good.agreement, good.cipher_value
    originator = agreement.originator
    cases = [
        other,
        other_x,
        replace(good, cipher_value=bytes([value[0] ^ 1]) + value[1:]),
        replace(good, cipher_value=value[:-8]),
        replace(good, cipher_value=value + bytes(8)),
        replace(good, cipher_value=b""),
        replace(good, algorithm=RSA_OAEP),
        replace(good, agreement=replace(agreement, salt=b"x")),
        replace(good, agreement=replace(agreement, info=b"x")),
        replace(good, agreement=replace(agreement, algorithm="urn:x")),
        replace(good, agreement=replace(agreement, originator=originator[:-1])),
        replace(good, agreement=replace(agreement, originator=originator + b"\x00")),
        replace(good, agreement=replace(agreement, originator=b"")),
        # not on the curve, the point at infinity, and a point that is only half there
        replace(good, agreement=replace(agreement, originator=originator[:-1] + bytes([originator[-1] ^ 1]))),
        replace(good, agreement=replace(agreement, originator=b"\x00")),
        replace(good, agreement=replace(agreement, originator=bytes(len(originator)))),
        Wrapped(bytes(384)),
    ]  # fmt: skip
    texts = set()
    for wrapped in cases:
        with pytest.raises(ValueError, match="cannot be opened") as caught:
            agreement_leaf.decrypter().unwrap(wrapped)
        assert type(caught.value) is ValueError
        assert caught.value.__cause__ is None
        texts.add(str(caught.value))
    assert len(texts) == 1
    with pytest.raises(ValueError, match="cannot be opened"):
        pki.leaf().decrypter().unwrap(good)


@pytest.mark.parametrize("point", LOW_ORDER, ids=lambda point: point.hex()[:8])
def test_a_point_of_low_order_opens_nothing_even_with_the_key_it_leads_to(pki, point):
    """The sender chose a point that makes the secret zero, and wrapped under the key which that gives."""
    issued = pki.leaf(key=x25519.X25519PrivateKey.generate())
    value = aes_key_wrap(hkdf_by_hand(bytes(32), b"", b""), KEY)
    wrapped = Wrapped(value, KW_AES128, "", "", agreement=Agreement(X25519, "x25519", point))
    with pytest.raises(ValueError, match="cannot be opened"):
        issued.decrypter().unwrap(wrapped)


def test_a_point_of_another_curve_of_the_same_size_opens_nothing(pki):
    """An invalid curve attack: a brainpool point of the right length under the name of our curve."""
    issued = pki.leaf(key=ec.generate_private_key(ec.SECP256R1()))
    stranger = ec.generate_private_key(ec.BrainpoolP256R1()).public_key()
    point = stranger.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    good = agreed(issued)
    for curve in ("secp256r1", "brainpoolP256r1"):
        agreement = replace(good.agreement, originator=point, curve=curve)
        with pytest.raises(ValueError, match="cannot be opened"):
            issued.decrypter().unwrap(replace(good, agreement=agreement))


def test_key_ring_uses_the_key_the_reference_names_and_tries_no_other(pki):
    old, new = pki.leaf(), pki.leaf(key=pki.other_key)
    ring = KeyRing([new.decrypter(), old.decrypter()])
    names_old = Token("ski", key_identifier=subject_key_identifier(old.certificate))
    names_new = Token("x509v3", certificate=new.certificate)
    assert ring.certificates == (new.certificate, old.certificate)
    assert ring.matches(names_old)
    assert ring.unwrap(Wrapped(wrap(old), token=names_old)) == KEY
    assert ring.unwrap(Wrapped(wrap(new), token=names_new)) == KEY
    with pytest.raises(ValueError, match="cannot be opened"):
        ring.unwrap(Wrapped(wrap(new), token=names_old))  # ENC-04
    stranger = Token("ski", key_identifier=b"nobody")
    assert not ring.matches(stranger)
    with pytest.raises(ValueError, match="cannot be opened"):
        ring.unwrap(Wrapped(wrap(new), token=stranger))
    with pytest.raises(KeyStoreError):
        KeyRing([])
