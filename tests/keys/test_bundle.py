"""Certificates and keys in every form that authorities send them in, and what is said of files that are none."""

import pytest
from bundle_parts import PHRASE, as_pkcs12
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    pkcs7,
    pkcs12,
)

from keys.bundle import (
    is_pkcs12,
    needs_passphrase,
    order_chain,
    read_bundle,
    read_certificates,
)
from keys.certificate import MAX_BUNDLE_BYTES, der, describe, pem
from keys.errors import BundleRefused, UnreadableCertificate


@pytest.fixture(scope="module")
def issued(pki):
    return pki.leaf()


def test_every_form_gives_the_same_certificate(issued):
    leaf = issued.certificate
    forms = [
        pem(leaf),
        der(leaf),
        issued.certificate_pem,
        pkcs7.serialize_certificates([leaf, *issued.chain], Encoding.DER),
        pkcs7.serialize_certificates([leaf, *issued.chain], Encoding.PEM),
        as_pkcs12(issued),
        issued.key_pem + issued.certificate_pem,
    ]
    for form in forms:
        assert leaf in read_certificates(form, PHRASE)
        assert is_pkcs12(form) == (form is forms[5])


def test_the_key_comes_from_pkcs12_and_from_pem(issued):
    encrypted = issued.private_key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(PHRASE)
    )
    older = issued.private_key.private_bytes(
        Encoding.PEM, PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(PHRASE)
    )
    for form, asked in (
        (as_pkcs12(issued), True),
        (issued.certificate_pem + issued.key_pem, False),
        (encrypted + issued.certificate_pem, True),
        (older + issued.certificate_pem, True),
    ):
        found = read_bundle(form, PHRASE)
        assert found.private_key.private_numbers() == issued.private_key.private_numbers()
        assert found.certificates[0] == issued.certificate
        assert needs_passphrase(form) is asked
        assert "private_key" not in repr(found)
    assert read_bundle(issued.certificate_pem).private_key is None
    assert read_bundle(as_pkcs12(issued, None)).private_key is not None


@pytest.mark.parametrize(
    ("phrase", "text"), [(None, "none was given"), (b"wrong", "does not open the PKCS #12")]
)
def test_a_passphrase_that_is_missing_or_wrong_is_told(issued, phrase, text):
    with pytest.raises(BundleRefused, match=text) as caught:
        read_bundle(as_pkcs12(issued), phrase)
    assert caught.value.reason == "bundle.passphrase"
    assert "wrong" not in str(caught.value.detail)


def test_an_encrypted_pem_key_is_not_opened_by_another_passphrase(issued):
    encrypted = issued.private_key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(PHRASE)
    )
    with pytest.raises(BundleRefused, match="does not open the private key"):
        read_bundle(encrypted + issued.certificate_pem, b"other")


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"0" * (MAX_BUNDLE_BYTES + 1)], ids=["empty", "text", "huge"]
)
def test_what_is_no_bundle_is_refused(data):
    with pytest.raises(UnreadableCertificate):
        read_bundle(data)


def test_pkcs12_without_a_certificate_is_refused(issued):
    lone = pkcs12.serialize_key_and_certificates(
        None, issued.private_key, None, None, BestAvailableEncryption(PHRASE)
    )
    with pytest.raises(UnreadableCertificate, match="no certificate"):
        read_bundle(lone, PHRASE)


def test_the_chain_is_put_in_order_without_the_root_and_without_strangers(pki, issued):
    leaf, issuing, root = issued.certificate, pki.authority.issuing, pki.authority.root
    shuffled = [root, pki.stranger.issuing, issuing, leaf]
    assert order_chain(shuffled, issued.private_key) == (leaf, issuing)


def test_of_two_authorities_of_one_name_the_chain_has_the_one_whose_key_signed(pki):
    before = pki.intermediate(key=pki.stranger.keys[1].private_key)
    issuing = pki.intermediate()
    leaf = pki.below(issuing).certificate
    assert before.certificate.subject == issuing.certificate.subject
    given = [leaf, before.certificate, issuing.certificate, pki.authority.root]
    assert order_chain(given, pki.leaf_key) == (leaf, issuing.certificate)
    assert order_chain(given[:2], pki.leaf_key) == (leaf,)


def test_a_file_without_the_certificate_of_the_key_is_refused(pki, issued):
    with pytest.raises(BundleRefused) as caught:
        order_chain([pki.authority.issuing, issued.certificate], pki.other_key)
    assert caught.value.reason == "import.key"
    assert caught.value.detail.endswith(f"the file has that of {describe(issued.certificate)}")
    with pytest.raises(BundleRefused, match=r"the file has that of .*, serial "):
        order_chain([pki.authority.issuing], pki.other_key)
