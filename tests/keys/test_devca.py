import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, x25519
from cryptography.x509.oid import ExtendedKeyUsageOID, SignatureAlgorithmOID

from keys.certificate import load_certificates, subject_facts
from keys.devca import (
    OCES_POLICIES,
    DevelopmentAuthority,
    authority_name,
    build_certificate,
    build_crl,
    new_rsa_keys,
)

DAY = dt.timedelta(days=1)
UUID = "a262681f-2e94-45c5-aaea-aad4e9bc5768"


def extension(certificate, kind):
    return certificate.extensions.get_extension_for_class(kind)


def test_system_certificate_has_the_shape_of_oces3(pki):
    authority = DevelopmentAuthority(
        *pki.authority.keys, crl_url="http://127.0.0.1/crl", ocsp_url="http://127.0.0.1/ocsp"
    )
    certificate = authority.issue_system_certificate(
        "ehmi-ap-test", "Testorganisation", "95474483", uuid=UUID, not_before=pki.at
    ).certificate

    assert certificate.signature_algorithm_oid == SignatureAlgorithmOID.RSASSA_PSS
    parameters = certificate.signature_algorithm_parameters
    assert isinstance(parameters, padding.PSS)
    assert parameters._salt_length == 32
    assert certificate.signature_hash_algorithm.name == "sha256"
    assert isinstance(certificate.public_key(), rsa.RSAPublicKey)
    assert certificate.public_key().key_size == 3072
    usage = extension(certificate, x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    assert usage.value.key_encipherment
    assert not usage.value.key_cert_sign
    policies = extension(certificate, x509.CertificatePolicies).value
    assert tuple(policy.policy_identifier.dotted_string for policy in policies) == OCES_POLICIES
    for absent in (x509.ExtendedKeyUsage, x509.SubjectAlternativeName, x509.BasicConstraints):
        with pytest.raises(x509.ExtensionNotFound):
            extension(certificate, absent)
    points = extension(certificate, x509.CRLDistributionPoints).value
    assert points[0].full_name[0].value == "http://127.0.0.1/crl"
    access = extension(certificate, x509.AuthorityInformationAccess).value
    assert access[0].access_location.value == "http://127.0.0.1/ocsp"
    facts = subject_facts(certificate)
    assert facts.organization_identifier == "NTRDK-95474483"
    assert facts.serial_number == f"UI:DK-O:G:{UUID}"
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc == 1095 * DAY


def test_authorities_say_that_they_are_for_development(pki):
    for certificate in (pki.authority.root, pki.authority.issuing):
        assert "Development" in certificate.subject.rfc4514_string()
        assert "Test" in certificate.subject.rfc4514_string()
        assert certificate.signature_algorithm_oid == SignatureAlgorithmOID.RSASSA_PSS
    assert extension(pki.authority.root, x509.BasicConstraints).value.path_length == 1
    assert extension(pki.authority.issuing, x509.BasicConstraints).value.path_length == 0


def test_same_input_gives_the_same_certificate_but_for_the_salt(pki):
    first, second = pki.leaf().certificate, pki.leaf().certificate
    assert first.tbs_certificate_bytes == second.tbs_certificate_bytes
    assert first.signature != second.signature


def test_serial_numbers_differ_with_key_subject_and_validity(pki):
    serials = {
        issued.certificate.serial_number
        for issued in (
            pki.leaf(),
            pki.leaf(name="other"),
            pki.leaf(key=pki.other_key),
            pki.leaf(begins=-9),
            pki.leaf(ends=9),
        )
    }
    assert len(serials) == 5
    assert all(0 < serial < 2**127 for serial in serials)


def test_serial_number_can_be_chosen(pki):
    issued = pki.authority.issue_system_certificate(
        "x", "T", "12345678", uuid="1", not_before=pki.at, private_key=pki.leaf_key, serial=4711
    )
    assert issued.certificate.serial_number == 4711


@pytest.mark.parametrize(
    ("make", "bits"),
    [
        (ed25519.Ed25519PrivateKey.generate, {"digital_signature"}),
        (x25519.X25519PrivateKey.generate, {"key_agreement"}),
        (lambda: ec.generate_private_key(ec.SECP256R1()), {"digital_signature"}),
    ],
)
def test_key_usage_follows_the_key(pki, make, bits):
    usage = extension(pki.leaf(key=make()).certificate, x509.KeyUsage).value
    names = ("digital_signature", "key_encipherment", "key_agreement", "key_cert_sign")
    assert {name for name in names if getattr(usage, name)} == bits


def test_tls_certificate_names_hosts_and_addresses(pki):
    issued = pki.authority.issue_tls_certificate(
        "localhost", san=["localhost", "127.0.0.1", "::1"], not_before=pki.at
    )
    names = extension(issued.certificate, x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    addresses = names.get_values_for_type(x509.IPAddress)
    assert [str(address) for address in addresses] == ["127.0.0.1", "::1"]
    purposes = set(extension(issued.certificate, x509.ExtendedKeyUsage).value)
    assert purposes == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert isinstance(issued.private_key, ec.EllipticCurvePrivateKey)


def test_issued_certificate_is_written_leaf_first(pki):
    issued = pki.leaf()
    assert load_certificates(issued.certificate_pem) == [issued.certificate, pki.authority.issuing]
    assert issued.key_pem.startswith(b"-----BEGIN PRIVATE KEY-----")


def test_list_names_what_was_revoked_and_the_first_time_stands(pki):
    authority = DevelopmentAuthority(*pki.authority.keys)
    leaf = pki.leaf().certificate
    authority.revoke(leaf, at=pki.at)
    authority.revoke(leaf, at=pki.at + DAY)
    crl = x509.load_der_x509_crl(authority.crl(pki.at + DAY, next_update=pki.at + 2 * DAY))
    entry = crl.get_revoked_certificate_by_serial_number(leaf.serial_number)
    assert entry.revocation_date_utc == pki.at
    assert len(crl) == 1
    assert crl.next_update_utc == pki.at + 2 * DAY
    assert crl.is_signature_valid(authority.issuing.public_key())
    assert len(x509.load_der_x509_crl(authority.root_crl(pki.at))) == 0


def test_certificate_of_another_authority_cannot_be_revoked_here(pki):
    with pytest.raises(ValueError, match="another authority"):
        pki.authority.revoke(pki.leaf(authority=pki.stranger).certificate, at=pki.at)


def test_keys_are_made_in_threads_and_all_differ():
    keys = new_rsa_keys(2)
    assert [key.key_size for key in keys] == [3072, 3072]
    assert keys[0].private_numbers() != keys[1].private_numbers()


def test_authority_makes_its_own_keys_when_none_are_given(pki):
    authority = DevelopmentAuthority.create(at=pki.at, name="Fresh")
    authority.issuing.verify_directly_issued_by(authority.root)
    assert authority.anchors == (authority.root,)
    assert authority.intermediates == (authority.issuing,)
    assert authority.root.not_valid_before_utc == pki.at - DAY


def test_list_is_signed_with_rsa_only(pki):
    issued = pki.leaf(key=pki.curve_key)
    with pytest.raises(TypeError, match="RSA"):
        build_crl(issued, (), at=pki.at)


def test_certificate_below_an_edwards_key(pki):
    issuer_key = ed25519.Ed25519PrivateKey.generate()
    certificate = build_certificate(
        subject=authority_name("below"),
        public_key=pki.leaf_key.public_key(),
        issuer=authority_name("above"),
        issuer_key=issuer_key,
        not_before=pki.at,
        not_after=pki.at,
        extensions=[],
    )
    issuer_key.public_key().verify(certificate.signature, certificate.tbs_certificate_bytes)
