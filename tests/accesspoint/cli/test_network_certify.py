"""`network certify`: a request is answered as it asks, by the authority of a network in miniature."""

from collections.abc import Callable
from pathlib import Path

import pytest
from as4_stage import Pki
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from accesspoint.trust import common_name
from keys.certificate import OCES_SYSTEM_POLICY, certificate_policies
from keys.devca import key_usage
from keys.path import Usage, why_not
from keys.store import load_certificate_files, write_authority

from .conftest import Ended

Invoke = Callable[..., Ended]


@pytest.fixture
def place(pki: Pki, tmp_path: Path) -> Path:
    write_authority(tmp_path / "authority", pki.authority)
    return tmp_path


def request(pki: Pki, names: list[str]) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ny-ap-test")])
    usage = key_usage(digital_signature=True, key_encipherment=not names)
    builder = x509.CertificateSigningRequestBuilder(subject).add_extension(usage, critical=True)
    if names:
        hosts = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = builder.add_extension(hosts, critical=False)
    return builder.sign(pki.spare_key, hashes.SHA256()).public_bytes(Encoding.PEM)


@pytest.mark.parametrize("names", [[], ["ap.example.dk"]], ids=["message", "tls"])
def test_a_request_is_answered_as_it_asks(
    pki: Pki, place: Path, invoke: Invoke, names: list[str]
) -> None:
    (place / "ap.csr").write_bytes(request(pki, names))
    out = place / "answer.pem"
    ended = invoke("network", "certify", place / "ap.csr", "--out", out, "--directory", place)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.endswith("\n  it counts in this network only\n")
    leaf, above = load_certificate_files([out])
    assert above == pki.authority.issuing
    leaf.verify_directly_issued_by(above)
    assert leaf.public_key() == pki.spare_key.public_key()
    assert common_name(leaf) == "ny-ap-test"
    assert OCES_SYSTEM_POLICY in certificate_policies(leaf)
    meant = (Usage.TLS_SERVER, Usage.TLS_CLIENT) if names else (Usage.SIGNING, Usage.ENCRYPTION)
    assert [why_not(leaf, usage) for usage in meant] == [None, None]


def test_what_is_no_request_is_told(pki: Pki, place: Path, invoke: Invoke) -> None:
    out = place / "answer.pem"
    file = place / "ap.csr"

    def certify() -> Ended:
        return invoke("network", "certify", file, "--out", out, "--directory", place)

    assert "No such file" in certify().err
    file.write_bytes(pki.municipality.certificate_pem)
    told = certify().err
    assert f"{file} cannot be used: it is no request (PKCS #10, PEM)" in told
    assert f"  do: openssl req -in {file} -noout" in told
    asked = x509.load_pem_x509_csr(request(pki, []))
    octets = bytearray(asked.public_bytes(Encoding.DER))
    octets[-1] ^= 1
    file.write_bytes(x509.load_der_x509_csr(bytes(octets)).public_bytes(Encoding.PEM))
    ended = certify()
    assert ended.status == 2
    assert "not signed by the key that it is for" in ended.err
    assert not out.exists()
    out.write_bytes(before := request(pki, []))
    file.write_bytes(before)
    assert "it is something else, and is not overwritten" in " ".join(certify().err.split())
    assert out.read_bytes() == before
