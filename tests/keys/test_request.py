"""Requests for certificates (PKCS #10) are read whole, and only where the key that they are for signed them."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from keys.errors import UnreadableCertificate, UntrustedCertificate
from keys.path import Usage
from keys.request import build_request, read_request


@pytest.fixture(scope="module")
def asked():
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ap")])
    key = ec.generate_private_key(ec.SECP256R1())
    return build_request(key, (Usage.TLS_SERVER,), name, ["ap.example.dk"], None)


def test_a_request_is_read(asked):
    assert read_request(asked.public_bytes(Encoding.PEM)) == asked


@pytest.mark.parametrize("data", [b"", b"no request", b"-----BEGIN CERTIFICATE REQUEST-----\nMA=="])
def test_what_is_no_request_is_refused(data):
    with pytest.raises(UnreadableCertificate, match="it is no request"):
        read_request(data)


def test_a_subject_that_does_not_read_is_refused_here_and_not_later(asked):
    octets = asked.public_bytes(Encoding.DER)
    assert b"\x06\x03\x55\x04\x03\x0c" in octets
    broken = octets.replace(b"\x06\x03\x55\x04\x03\x0c", b"\x06\x03\x55\x04\x03\x03", 1)
    request = x509.load_der_x509_csr(broken)
    with pytest.raises(UnreadableCertificate):
        read_request(request.public_bytes(Encoding.PEM))


def test_a_request_that_was_changed_after_it_was_signed_is_refused(asked):
    octets = asked.public_bytes(Encoding.DER).replace(b"ap.example.dk", b"xp.example.dk")
    with pytest.raises(UntrustedCertificate, match="not signed by the key that it is for"):
        read_request(x509.load_der_x509_csr(octets).public_bytes(Encoding.PEM))
