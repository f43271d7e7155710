import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, x25519
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier
from path_checks import DAY, OFF, check, refused

from keys.certificate import der, fingerprint, load_certificate
from keys.devca import (
    OCES_POLICIES,
    authority_name,
    key_usage,
)
from keys.errors import (
    BadPath,
    Expired,
    NotYetValid,
    RevocationUnknown,
    Revoked,
    UnknownExtension,
    UnknownIssuer,
    WeakKey,
    WrongPolicy,
    WrongUsage,
)
from keys.path import MAX_AUTHORITIES, MAX_CHAIN, Usage, ValidatedCertificate, validate
from keys.revocation import PREFER, RevocationPolicy, RevocationStatus
from keys.trust import Purpose, TrustStore

# What is accepted


def test_oces_shaped_certificate_without_san_is_accepted_for_signing_and_encryption(pki):
    issued = pki.leaf()
    with pytest.raises(x509.ExtensionNotFound):
        issued.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)

    for usage in (Usage.SIGNING, Usage.ENCRYPTION):
        evidence = check(pki, issued, usage=usage, policies=OCES_POLICIES)
        assert evidence.certificate == issued.certificate
        assert evidence.path == (issued.certificate, pki.authority.issuing, pki.authority.root)
        assert evidence.anchor == pki.authority.root
        assert evidence.usage is usage
        assert evidence.fingerprint == fingerprint(issued.certificate)
        assert not evidence.pinned


def test_intermediate_may_come_from_the_message_or_from_the_store(pki):
    issued = pki.leaf()
    anchors_only = TrustStore(Purpose.MESSAGE, pki.authority.anchors)

    assert check(pki, issued, trust=anchors_only).anchor == pki.authority.root
    without_chain = validate(
        issued.certificate, trust=pki.trust, at=pki.at, usage=Usage.SIGNING, revocation=OFF
    )
    assert without_chain.anchor == pki.authority.root
    with pytest.raises(UnknownIssuer):
        validate(issued.certificate, trust=anchors_only, at=pki.at, usage=Usage.SIGNING)


def test_issuing_authority_alone_can_be_the_anchor(pki):
    trust = TrustStore(Purpose.MESSAGE, (pki.authority.issuing,))
    assert check(pki, pki.leaf(), trust=trust).path[-1] == pki.authority.issuing


@pytest.mark.parametrize(
    ("make", "usage"),
    [
        (ed25519.Ed25519PrivateKey.generate, Usage.SIGNING),
        (lambda: ec.generate_private_key(ec.SECP384R1()), Usage.SIGNING),
        (x25519.X25519PrivateKey.generate, Usage.ENCRYPTION),
    ],
)
def test_keys_of_the_second_generation_are_accepted(pki, make, usage):
    assert check(pki, pki.leaf(key=make()), usage=usage).usage is usage


def test_tls_certificate_is_accepted_for_both_sides_of_tls(pki):
    issued = pki.authority.issue_tls_certificate("localhost", san=["localhost"], not_before=pki.at)
    for usage in (Usage.TLS_SERVER, Usage.TLS_CLIENT):
        assert check(pki, issued, usage=usage).usage is usage


def test_evidence_window_is_what_all_certificates_of_the_path_share(pki):
    issued = pki.leaf(begins=-3, ends=5)
    evidence = check(pki, issued)
    assert evidence.not_before == pki.at - 1 * DAY  # the authorities began one day ago
    assert evidence.not_after == pki.at + 5 * DAY


def test_evidence_cannot_be_made_elsewhere(pki):
    with pytest.raises(TypeError):
        ValidatedCertificate(
            certificate=pki.authority.root,
            path=(pki.authority.root,),
            anchor=None,
            usage=Usage.SIGNING,
            at=pki.at,
            pinned=True,
            revocation=(),
            not_before=pki.at,
            not_after=pki.at,
            why="because",
            proof=object(),
        )


# KEY-01, KEY-02: trust


@pytest.mark.parametrize("authority", [False, True])
def test_key_01_self_signed_certificate(pki, authority):
    extensions = [(key_usage(digital_signature=True, key_cert_sign=True), True)]
    if authority:
        extensions.append((x509.BasicConstraints(ca=True, path_length=None), True))
    certificate = pki.self_signed(extensions=extensions)
    for chain in ((), (certificate,)):
        with pytest.raises(UnknownIssuer) as caught:
            validate(
                certificate, chain, trust=pki.trust, at=pki.at, usage=Usage.SIGNING, revocation=OFF
            )
        assert caught.value.reason == "cert.untrusted"


def test_key_02_chain_to_an_authority_outside_the_store(pki):
    issued = pki.leaf(authority=pki.stranger)
    refused(UnknownIssuer, "cert.untrusted", pki, issued)
    with pytest.raises(UnknownIssuer):
        validate(
            issued.certificate,
            (*issued.chain, pki.stranger.root),
            trust=pki.trust,
            at=pki.at,
            usage=Usage.SIGNING,
            revocation=OFF,
        )


def test_key_02_authority_with_the_name_of_ours_and_another_key(pki):
    impostor = pki.intermediate(
        name="EHMI Development udstedende-CA 1", issuer=pki.stranger.keys[0]
    )
    issued = pki.below(impostor)
    assert issued.certificate.issuer == pki.authority.issuing.subject
    refused(UnknownIssuer, "cert.untrusted", pki, issued)


def test_key_02_empty_store_trusts_nobody(pki):
    refused(UnknownIssuer, "cert.untrusted", pki, pki.leaf(), trust=TrustStore(Purpose.MESSAGE))


def test_leaf_among_the_chain_does_not_become_its_own_anchor(pki):
    issued = pki.leaf(authority=pki.stranger)
    with pytest.raises(UnknownIssuer):
        validate(
            issued.certificate,
            (issued.certificate,),
            trust=pki.trust,
            at=pki.at,
            usage=Usage.SIGNING,
            revocation=OFF,
        )


def test_anchor_does_not_speak_for_a_party(pki):
    both = [
        (x509.BasicConstraints(ca=True, path_length=0), True),
        (key_usage(digital_signature=True, key_cert_sign=True), True),
    ]
    anchor = pki.self_signed(extensions=both)
    trust = TrustStore(Purpose.MESSAGE, (anchor,))
    with pytest.raises(UnknownIssuer):
        validate(anchor, trust=trust, at=pki.at, usage=Usage.SIGNING, revocation=OFF)


def test_authority_below_the_anchor_does_not_speak_for_a_party(pki):
    authority = pki.intermediate(
        bend=lambda extensions: [
            extensions[0],
            (key_usage(digital_signature=True, key_cert_sign=True), True),
            *extensions[2:],
        ]
    )
    refused(BadPath, "cert.path", pki, authority)


# KEY-03: time


def test_key_03_expired_leaf(pki):
    refused(Expired, "cert.time", pki, pki.leaf(begins=-20, ends=-1))


def test_key_03_leaf_not_yet_valid(pki):
    refused(NotYetValid, "cert.time", pki, pki.leaf(begins=1))


@pytest.mark.attack("KEY-03")
def test_key_03_expired_intermediate(pki):
    refused(Expired, "cert.time", pki, pki.below(pki.intermediate(begins=-20, ends=-1)))


def test_key_03_intermediate_not_yet_valid(pki):
    refused(NotYetValid, "cert.time", pki, pki.below(pki.intermediate(begins=1)))


def test_key_03_expired_anchor(pki):
    issued = pki.leaf(ends=5000)
    refused(Expired, "cert.time", pki, issued, at=pki.at + 3700 * DAY)


def test_validity_ends_with_its_last_second(pki):
    issued = pki.leaf(ends=5)
    end = issued.certificate.not_valid_after_utc
    assert check(pki, issued, at=end).not_after == end
    refused(Expired, "cert.time", pki, issued, at=end + dt.timedelta(microseconds=1))


# KEY-04, KEY-05: revocation


def test_key_04_leaf_revoked_by_crl(pki):
    issued = pki.leaf()
    crls = pki.crls(issued.certificate)
    for policy in (RevocationPolicy(), PREFER):
        refused(Revoked, "cert.revoked", pki, issued, revocation=policy, crls=crls)


def test_key_04_certificate_not_on_the_list_is_good(pki):
    evidence = check(pki, pki.leaf(), revocation=RevocationPolicy(), crls=pki.crls())
    assert [entry.status for entry in evidence.revocation] == [RevocationStatus.GOOD] * 2
    assert evidence.not_after == pki.at + 7 * DAY - dt.timedelta(hours=1)  # nextUpdate


@pytest.mark.attack("KEY-05")
def test_key_05_crl_unreachable(pki):
    refused(
        RevocationUnknown, "cert.revocation-unknown", pki, pki.leaf(), revocation=RevocationPolicy()
    )
    evidence = check(pki, pki.leaf(), revocation=PREFER)
    assert {entry.status for entry in evidence.revocation} == {RevocationStatus.UNKNOWN}


@pytest.mark.attack("KEY-05")
def test_key_05_crl_stale(pki):
    crls = pki.crls()
    later = pki.at + 8 * DAY
    refused(
        RevocationUnknown,
        "cert.revocation-unknown",
        pki,
        pki.leaf(),
        revocation=RevocationPolicy(),
        crls=crls,
        at=later,
    )
    soft = RevocationPolicy(grace=2 * DAY)
    assert check(pki, pki.leaf(), revocation=soft, crls=crls, at=later).at == later
    refused(
        RevocationUnknown,
        "cert.revocation-unknown",
        pki,
        pki.leaf(),
        revocation=soft,
        crls=crls,
        at=later + 2 * DAY,
    )


def test_revocation_is_required_when_nothing_is_said(pki):
    issued = pki.leaf()
    with pytest.raises(RevocationUnknown):
        validate(issued.certificate, issued.chain, trust=pki.trust, at=pki.at, usage=Usage.SIGNING)


# KEY-06: key usage


@pytest.mark.attack("KEY-06")
@pytest.mark.parametrize(
    ("bits", "usage"),
    [
        ({"key_encipherment": True}, Usage.SIGNING),
        ({"digital_signature": True}, Usage.ENCRYPTION),
        ({"digital_signature": True, "key_agreement": True}, Usage.ENCRYPTION),
        ({"key_agreement": True}, Usage.TLS_CLIENT),
        ({"crl_sign": True}, Usage.TLS_SERVER),
    ],
)
def test_key_06_key_usage_without_the_bit(pki, bits, usage):
    issued = pki.bent_leaf(lambda extensions: [(key_usage(**bits), True), *extensions[1:]])
    refused(WrongUsage, "cert.usage", pki, issued, usage=usage)


def test_key_06_key_usage_absent(pki):
    issued = pki.bent_leaf(lambda extensions: extensions[1:])
    refused(WrongUsage, "cert.usage", pki, issued)


def test_key_06_agreement_key_does_not_sign(pki):
    issued = pki.leaf(key=x25519.X25519PrivateKey.generate())
    refused(WrongUsage, "cert.usage", pki, issued)


# KEY-07: extended key usage, certificate policies


@pytest.mark.parametrize(
    ("purpose", "usage"),
    [
        (ExtendedKeyUsageOID.CODE_SIGNING, Usage.SIGNING),
        (ExtendedKeyUsageOID.TIME_STAMPING, Usage.ENCRYPTION),
        (ExtendedKeyUsageOID.SERVER_AUTH, Usage.SIGNING),
        (ExtendedKeyUsageOID.CLIENT_AUTH, Usage.TLS_SERVER),
        (ExtendedKeyUsageOID.SERVER_AUTH, Usage.TLS_CLIENT),
    ],
)
def test_key_07_extended_key_usage_excludes_the_use(pki, purpose, usage):
    issued = pki.bent_leaf(
        lambda extensions: [*extensions, (x509.ExtendedKeyUsage([purpose]), False)]
    )
    refused(WrongPolicy, "cert.policy", pki, issued, usage=usage)


def test_extended_key_usage_that_fits_is_accepted(pki):
    issued = pki.bent_leaf(
        lambda extensions: [
            *extensions,
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), True),
        ]
    )
    assert check(pki, issued).usage is Usage.SIGNING


@pytest.mark.attack("KEY-07")
def test_key_07_policy_not_on_the_list(pki):
    refused(WrongPolicy, "cert.policy", pki, pki.leaf(), policies={"1.2.3.4"})
    assert check(pki, pki.leaf(), policies={"1.2.3.4", OCES_POLICIES[1]}).anchor


def test_key_07_policies_absent(pki):
    issued = pki.bent_leaf(
        lambda extensions: [e for e in extensions if not isinstance(e[0], x509.CertificatePolicies)]
    )
    refused(WrongPolicy, "cert.policy", pki, issued, policies=OCES_POLICIES)
    assert check(pki, issued).anchor


# KEY-09: path rules


@pytest.mark.attack("KEY-09")
def test_key_09_leaf_used_as_authority(pki):
    refused(BadPath, "cert.path", pki, pki.below(pki.leaf(), key=pki.other_key))


def test_key_09_authority_without_cert_sign(pki):
    authority = pki.intermediate(
        bend=lambda extensions: [extensions[0], (key_usage(crl_sign=True), True), *extensions[2:]]
    )
    refused(BadPath, "cert.path", pki, pki.below(authority))


def test_key_09_basic_constraints_says_no_authority(pki):
    authority = pki.intermediate(
        bend=lambda extensions: [
            (x509.BasicConstraints(ca=False, path_length=None), True),
            *extensions[1:],
        ]
    )
    refused(BadPath, "cert.path", pki, pki.below(authority))


@pytest.mark.attack("KEY-09")
def test_key_09_path_length(pki):
    authority = pki.intermediate(issuer=pki.authority.keys[1], path_length=None)
    issued = pki.below(authority)
    refused(BadPath, "cert.path", pki, issued)


@pytest.mark.attack("KEY-09")
def test_key_09_name_constraints(pki):
    def constrain(extensions):
        permitted = [x509.DNSName("good.example")]
        return [*extensions, (x509.NameConstraints(permitted, None), True)]

    def named(host):
        return lambda extensions: [
            *extensions,
            (x509.SubjectAlternativeName([x509.DNSName(host)]), False),
        ]

    authority = pki.intermediate(bend=constrain)
    assert check(pki, pki.below(authority, bend=named("ap.good.example"))).anchor
    refused(BadPath, "cert.path", pki, pki.below(authority, bend=named("ap.bad.example")))


def test_key_09_too_many_certificates(pki):
    issued = pki.leaf()
    with pytest.raises(BadPath):
        validate(
            issued.certificate,
            [pki.authority.issuing] * (MAX_CHAIN + 1),
            trust=pki.trust,
            at=pki.at,
            usage=Usage.SIGNING,
        )


def test_key_09_chain_of_more_authorities_than_anybody_needs(pki):
    root = pki.intermediate(name="Deep 0", issuer=None, path_length=None)
    anchors = TrustStore(Purpose.MESSAGE, (root.certificate,))
    chain = [root]
    for depth in range(1, 8):
        chain.append(pki.intermediate(name=f"Deep {depth}", issuer=chain[-1], path_length=None))
        issued = pki.below(chain[-1])
        above = [one.certificate for one in chain[1:]]
        arguments = {"trust": anchors, "at": pki.at, "usage": Usage.SIGNING, "revocation": OFF}
        if depth <= MAX_AUTHORITIES:
            path = validate(issued.certificate, above, **arguments).path
            assert len(path) == depth + 2
            continue
        with pytest.raises(BadPath):
            validate(issued.certificate, above, **arguments)


def test_signature_of_the_leaf_altered(pki):
    octets = bytearray(der(pki.leaf().certificate))
    octets[-1] ^= 1
    with pytest.raises(UnknownIssuer):
        validate(
            load_certificate(bytes(octets)),
            trust=pki.trust,
            at=pki.at,
            usage=Usage.SIGNING,
            revocation=OFF,
        )


# KEY-10: extensions


def strange(critical):
    extension = x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4.5"), b"\x05\x00")
    return lambda extensions: [*extensions, (extension, critical)]


def test_key_10_unknown_critical_extension_in_the_leaf(pki):
    refused(UnknownExtension, "cert.extension", pki, pki.bent_leaf(strange(True)))
    assert check(pki, pki.bent_leaf(strange(False))).anchor


def test_key_10_unknown_critical_extension_in_an_authority(pki):
    authority = pki.intermediate(bend=strange(True))
    refused(UnknownExtension, "cert.extension", pki, pki.below(authority))


# ALG-08, ALG-09: keys


@pytest.mark.parametrize(
    "make",
    [
        lambda: rsa.generate_private_key(65537, 1024),
        lambda: rsa.generate_private_key(3, 2048),
        lambda: ec.generate_private_key(ec.BrainpoolP256R1()),
        lambda: ec.generate_private_key(ec.SECP256K1()),
    ],
    ids=["rsa-1024", "exponent-3", "brainpool", "secp256k1"],
)
def test_alg_09_weak_key_of_the_leaf(pki, make):
    refused(WeakKey, "cert.key", pki, pki.leaf(key=make()))


def test_alg_09_weak_key_of_an_authority(pki):
    weak = rsa.generate_private_key(65537, 1024)
    refused(WeakKey, "cert.key", pki, pki.below(pki.intermediate(key=weak)))


def test_pss_with_sha512_is_accepted(pki):
    key = pki.authority.keys[1].private_key
    certificate = (
        x509.CertificateBuilder()
        .subject_name(authority_name("sha512"))
        .issuer_name(pki.authority.issuing.subject)
        .public_key(pki.leaf_key.public_key())
        .serial_number(1)
        .not_valid_before(pki.at - DAY)
        .not_valid_after(pki.at + DAY)
        .add_extension(key_usage(digital_signature=True), critical=True)
        .sign(
            key,
            hashes.SHA512(),
            rsa_padding=padding.PSS(padding.MGF1(hashes.SHA512()), salt_length=64),
        )
    )
    assert validate(
        certificate, trust=pki.trust, at=pki.at, usage=Usage.SIGNING, revocation=OFF
    ).anchor
