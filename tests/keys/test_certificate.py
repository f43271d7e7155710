import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509.oid import NameOID

from keys.certificate import (
    MAX_BUNDLE_BYTES,
    MAX_CERTIFICATE_BYTES,
    check_key,
    der,
    describe,
    describe_key,
    fingerprint,
    load_certificate,
    load_certificates,
    parse_fingerprint,
    pem,
    subject_facts,
    subject_key_identifier,
)
from keys.devca import build_certificate, key_usage
from keys.errors import UnreadableCertificate, WeakKey


def test_bundle_keeps_its_order(pki):
    issued = pki.leaf()
    chain = [issued.certificate, pki.authority.issuing, pki.authority.root]
    assert load_certificates(pem(*chain)) == chain
    assert load_certificates(b"leading comment\n" + pem(*chain)) == chain
    assert load_certificates(der(chain[0])) == chain[:1]


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
def test_pkcs7_collection(pki, encoding):
    chain = [pki.authority.issuing, pki.authority.root]
    collection = pkcs7.serialize_certificates(chain, encoding)
    assert set(load_certificates(collection)) == set(chain)


def test_key_15_trailing_data_after_the_certificate(pki):
    with pytest.raises(UnreadableCertificate) as caught:
        load_certificate(der(pki.authority.root) + b"\x00")
    assert caught.value.reason == "cert.parse"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x30",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        b"\x30\x82\x00\x04\x06\x09xx",
    ],
)
def test_damaged_certificate(data):
    with pytest.raises(UnreadableCertificate):
        load_certificates(data)


def test_key_15_certificate_of_a_megabyte():
    with pytest.raises(UnreadableCertificate, match="octets"):
        load_certificate(bytes(MAX_CERTIFICATE_BYTES + 1))


def test_extension_that_occurs_twice_is_refused_at_once(pki):
    issued = pki.bent_leaf(
        lambda extensions: [
            *extensions,
            (x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.90"), b"\x05\x00"), False),
        ]
    )
    octets = der(issued.certificate)
    assert octets.count(b"\x06\x03\x55\x1d\x5a") == 1
    with pytest.raises(UnreadableCertificate):
        load_certificate(octets.replace(b"\x06\x03\x55\x1d\x5a", b"\x06\x03\x55\x1d\x0f"))


def test_fingerprint_is_sha256_and_reads_back_in_any_writing(pki):
    written = fingerprint(pki.authority.root)
    assert bytes.fromhex(written) == pki.authority.root.fingerprint(hashes.SHA256())
    colons = ":".join(written[i : i + 2] for i in range(0, 64, 2)).upper()
    assert parse_fingerprint(f" {colons} ") == written


@pytest.mark.parametrize("text", ["", "ab" * 20, "g" * 64, "\uff11" * 64])
def test_what_is_no_fingerprint(text):
    with pytest.raises(ValueError, match="SHA-256"):
        parse_fingerprint(text)


def test_oces_subject_fields(pki):
    facts = subject_facts(pki.leaf().certificate)
    assert facts.common_name == "ehmi-ap-test"
    assert facts.organization == "Testorganisation"
    assert facts.organization_identifier == "NTRDK-95474483"
    assert facts.cvr == "95474483"
    assert facts.serial_number == "UI:DK-O:G:a262681f-2e94-45c5-aaea-aad4e9bc5768"
    assert facts.uuid == "a262681f-2e94-45c5-aaea-aad4e9bc5768"
    assert facts.country == "DK"


def test_field_that_occurs_twice_speaks_for_nobody(pki):
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, "one"),
            x509.NameAttribute(NameOID.COMMON_NAME, "two"),
            x509.NameAttribute(NameOID.ORGANIZATION_IDENTIFIER, "NTRDK-\u0661\u0662345678"),
        ]
    )
    facts = subject_facts(pki.below_name(name))
    assert facts.common_name is None
    assert facts.cvr is None
    assert facts.uuid is None


def test_key_identifier_comes_from_the_extension_or_the_key(pki):
    with_extension = pki.leaf().certificate
    without = pki.bent_leaf(lambda extensions: extensions[:1]).certificate
    assert subject_key_identifier(with_extension) == subject_key_identifier(without)
    assert len(subject_key_identifier(without)) == 20


def test_description_names_holder_issuer_and_end(pki):
    text = describe(pki.leaf(ends=10).certificate)
    assert text.startswith("ehmi-ap-test (NTRDK-95474483), serial ")
    assert text.endswith("issued by EHMI Development udstedende-CA 1, valid until 2026-12-01")
    assert describe_key(pki.leaf().certificate) == "RSA 3072"
    assert describe_key(pki.leaf(key=pki.curve_key).certificate) == "EC secp256r1"


def with_key(pki, key):
    return build_certificate(
        subject=pki.authority.root.subject,
        public_key=key.public_key(),
        issuer=pki.authority.root.subject,
        issuer_key=pki.curve_key,
        not_before=pki.at,
        not_after=pki.at,
        extensions=[(key_usage(digital_signature=True), True)],
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: rsa.generate_private_key(65537, 1024),
        lambda: rsa.generate_private_key(3, 2048),
        lambda: ec.generate_private_key(ec.BrainpoolP256R1()),
        lambda: ec.generate_private_key(ec.SECP256K1()),
        lambda: ed448.Ed448PrivateKey.generate(),
        lambda: dsa.generate_private_key(1024),
    ],
    ids=["alg-09-rsa-1024", "alg-09-exponent-3", "brainpool", "secp256k1", "ed448", "alg-04-dsa"],
)
def test_weak_or_foreign_key_is_refused(pki, make):
    with pytest.raises(WeakKey) as caught:
        check_key(with_key(pki, make()))
    assert caught.value.reason == "cert.key"


@pytest.mark.parametrize("curve", [ec.SECP192R1(), ec.SECP224R1()], ids=lambda curve: curve.name)
def test_alg_08_curves_that_are_too_small(pki, curve):
    with pytest.raises(WeakKey, match=curve.name):
        check_key(with_key(pki, ec.generate_private_key(curve)))


def public_exponent(pki, exponent):
    """Write another exponent of the same width into the key of a certificate."""
    octets = der(pki.leaf().certificate)
    assert octets.count(b"\x02\x03\x01\x00\x01") == 1
    return load_certificate(octets.replace(b"\x02\x03\x01\x00\x01", b"\x02\x03" + exponent))


@pytest.mark.parametrize("exponent", [b"\x00\x00\x01", b"\x01\x00\x00", b"\x00\x80\x01"])
def test_alg_09_exponent_one_or_even_or_small(pki, exponent):
    with pytest.raises(WeakKey):
        check_key(public_exponent(pki, exponent))


def test_alg_09_modulus_of_sixteen_thousand_bits(pki):
    numbers = rsa.RSAPublicNumbers(65537, (1 << 16383) + 1)
    huge = build_certificate(
        subject=pki.authority.root.subject,
        public_key=numbers.public_key(),
        issuer=pki.authority.root.subject,
        issuer_key=pki.curve_key,
        not_before=pki.at,
        not_after=pki.at,
        extensions=[],
    )
    with pytest.raises(WeakKey, match="16384 bits"):
        check_key(huge)


def test_bundle_of_many_megabytes():
    with pytest.raises(UnreadableCertificate, match="octets"):
        load_certificates(bytes(MAX_BUNDLE_BYTES + 1))


def test_key_on_a_curve_nobody_knows(pki):
    octets = der(with_key(pki, pki.curve_key))
    p256 = bytes.fromhex("06082a8648ce3d030107")
    assert octets.count(p256) == 1
    certificate = load_certificate(octets.replace(p256, bytes.fromhex("06082a8648ce3d03017f")))
    assert describe_key(certificate) == "unsupported key"
    with pytest.raises(WeakKey):
        check_key(certificate)


def test_key_of_the_second_generation_is_described(pki):
    issued = pki.leaf(key=ed25519.Ed25519PrivateKey.generate())
    assert describe_key(issued.certificate) == "Ed25519"


def test_description_is_short_whatever_the_subject_says(pki):
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "x" * 5000) for _ in range(3)])
    assert len(describe(pki.below_name(name))) < 400
