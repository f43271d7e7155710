"""`keys.path` with pins, and the `Validator` that remembers what was good."""

import os
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ObjectIdentifier
from path_checks import DAY, OFF, check, refused

from keys.certificate import fingerprint, load_certificates
from keys.devca import (
    DevelopmentAuthority,
    key_usage,
)
from keys.errors import (
    Expired,
    RevocationUnknown,
    Revoked,
    UnknownExtension,
    UnknownIssuer,
    UntrustedCertificate,
    WeakKey,
    WrongPolicy,
    WrongUsage,
)
from keys.path import Usage, Validator, validate
from keys.revocation import PREFER, RevocationPolicy, RevocationStatus
from keys.trust import Purpose, TrustStore


def strange(critical):
    extension = x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4.5"), b"\x05\x00")
    return lambda extensions: [*extensions, (extension, critical)]


# Pins


def test_pin_alone_is_enough_in_a_store_without_anchors(pki):
    certificate = pki.self_signed()
    trust = TrustStore.pinned(Purpose.MESSAGE, [certificate])
    evidence = validate(certificate, trust=trust, at=pki.at, usage=Usage.SIGNING)
    assert evidence.pinned
    assert evidence.anchor is None
    assert evidence.path == (certificate,)
    assert evidence.revocation[0].status is RevocationStatus.NOT_CHECKED


def test_pin_does_not_excuse_time_usage_or_extensions(pki):
    issued = pki.bent_leaf(strange(True))
    trust = TrustStore.pinned(Purpose.MESSAGE, [issued.certificate])
    refused(UnknownExtension, "cert.extension", pki, issued, trust=trust)
    certificate = pki.self_signed()
    trust = TrustStore.pinned(Purpose.MESSAGE, [certificate])
    with pytest.raises(Expired):
        validate(certificate, trust=trust, at=pki.at + 2 * DAY, usage=Usage.SIGNING)
    certificate = pki.self_signed(extensions=[(key_usage(key_encipherment=True), True)])
    trust = TrustStore.pinned(Purpose.MESSAGE, [certificate])
    with pytest.raises(WrongUsage):
        validate(certificate, trust=trust, at=pki.at, usage=Usage.SIGNING)


def test_pinned_certificate_of_a_partner_without_authority_may_lack_key_usage(pki):
    certificate = pki.self_signed(extensions=[(x509.SubjectKeyIdentifier(b"x"), False)])
    trust = TrustStore.pinned(Purpose.MESSAGE, [certificate])
    for usage in (Usage.SIGNING, Usage.ENCRYPTION):
        assert validate(certificate, trust=trust, at=pki.at, usage=usage).pinned


# Two samples have RSA keys of 1024 bits, two a curve of 448 bits that no profile asks for.
TOO_WEAK = {
    "as4net-holodeck-partya",
    "as4net-holodeck-partyc",
    "wss4j-ecdh-x448",
    "wss4j-eddsa-ed448",
}


@pytest.mark.skipif(
    "ACCESSPOINT_FIXTURES" not in os.environ, reason="ACCESSPOINT_FIXTURES is not set"
)
def test_certificates_of_real_products_are_usable_when_pinned():
    directory = Path(os.environ["ACCESSPOINT_FIXTURES"]) / "as4" / "samples" / "keys"
    weak, usable = set(), set()
    for file in directory.glob("*.cert.pem"):
        name = file.name.removesuffix(".cert.pem")
        for certificate in load_certificates(file.read_bytes()):
            trust = TrustStore.pinned(Purpose.MESSAGE, [certificate])
            at = certificate.not_valid_before_utc
            try:
                validate(certificate, trust=trust, at=at, usage=Usage.SIGNING)
                usable.add(name)
            except WeakKey:
                weak.add(name)
            except WrongUsage:
                assert validate(certificate, trust=trust, at=at, usage=Usage.ENCRYPTION).pinned
    assert weak == TOO_WEAK
    assert {
        "phase4-dummy-ph-as4",
        "domibus-blue_gw",
        "holodeck-partya",
        "as4net-interop-c2",
    } <= usable


def test_pin_of_another_certificate(pki):
    trust = TrustStore.pinned(Purpose.MESSAGE, [pki.self_signed()])
    refused(UnknownIssuer, "cert.untrusted", pki, pki.leaf(), trust=trust)


def test_pin_in_a_store_with_anchors_still_needs_the_path(pki):
    ours, strangers = pki.leaf(), pki.leaf(authority=pki.stranger)
    pins = frozenset({fingerprint(strangers.certificate), fingerprint(ours.certificate)})
    trust = TrustStore(Purpose.MESSAGE, pki.authority.anchors, pki.authority.intermediates, pins)
    refused(UnknownIssuer, "cert.untrusted", pki, strangers, trust=trust)
    assert check(pki, ours, trust=trust).pinned
    assert not check(pki, pki.leaf(), trust=trust).pinned
    crls = pki.crls(ours.certificate)
    refused(Revoked, "cert.revoked", pki, ours, trust=trust, revocation=PREFER, crls=crls)


# Validator


def test_validator_answers_from_memory_inside_the_window_only(pki):
    validator = Validator(pki.trust, revocation=RevocationPolicy(), crls=pki.crls())
    issued = pki.leaf()
    first = validator.validate(issued.certificate, issued.chain, usage=Usage.SIGNING, at=pki.at)
    again = validator.validate(
        issued.certificate, issued.chain, usage=Usage.SIGNING, at=pki.at + DAY
    )
    assert len(validator) == 1
    assert again is first
    with pytest.raises(RevocationUnknown):
        validator.validate(
            issued.certificate, issued.chain, usage=Usage.SIGNING, at=pki.at + 9 * DAY
        )


def test_validator_keeps_uses_apart(pki):
    validator = Validator(pki.trust, revocation=OFF)
    issued = pki.bent_leaf(
        lambda extensions: [(key_usage(digital_signature=True), True), *extensions[1:]]
    )
    validator.validate(issued.certificate, issued.chain, usage=Usage.SIGNING, at=pki.at)
    with pytest.raises(WrongUsage):
        validator.validate(issued.certificate, issued.chain, usage=Usage.ENCRYPTION, at=pki.at)


def test_validator_forgets_when_a_new_list_arrives(pki):
    crls = pki.crls()
    validator = Validator(pki.trust, revocation=RevocationPolicy(), crls=crls)
    issued = pki.leaf()
    validator.validate(issued.certificate, issued.chain, usage=Usage.SIGNING, at=pki.at)
    authority = DevelopmentAuthority(*pki.authority.keys)
    authority.revoke(issued.certificate, at=pki.at)
    crls.add(authority.crl(pki.at), at=pki.at)
    with pytest.raises(Revoked):
        validator.validate(issued.certificate, issued.chain, usage=Usage.SIGNING, at=pki.at)


def test_validator_is_bounded_and_never_remembers_refusals(pki):
    validator = Validator(pki.trust, revocation=OFF, capacity=2)
    for number in range(3):
        issued = pki.leaf(name=f"ap-{number}")
        validator.validate(issued.certificate, issued.chain, usage=Usage.SIGNING, at=pki.at)
    assert len(validator) == 2
    stranger = pki.leaf(authority=pki.stranger)
    with pytest.raises(UntrustedCertificate):
        validator.validate(stranger.certificate, stranger.chain, usage=Usage.SIGNING, at=pki.at)
    assert len(validator) == 2


def test_validator_applies_its_policies(pki):
    validator = Validator(pki.trust, policies=["1.2.3.4"], revocation=OFF)
    with pytest.raises(WrongPolicy):
        validator.validate(pki.leaf().certificate, usage=Usage.SIGNING, at=pki.at)
