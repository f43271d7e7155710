import datetime as dt

import pytest
from asn1crypto import core
from asn1crypto import crl as asn1
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from keys.crl import MAX_CRL_BYTES, CrlStore, distribution_points
from keys.devca import PSS, DevelopmentAuthority, IssuedCertificate, build_crl, key_usage
from keys.errors import CrlRefused

HOUR = dt.timedelta(hours=1)
DAY = dt.timedelta(days=1)
URL = "http://127.0.0.1:8085/issuing.crl"


@pytest.fixture
def authority(pki):
    """The session's authority with revocations of its own."""
    return DevelopmentAuthority(*pki.authority.keys, crl_url=URL)


@pytest.fixture
def store(pki):
    return CrlStore(pki.trust.authorities)


def refused(store, der, at, reason):
    before = store.generation
    with pytest.raises(CrlRefused) as caught:
        store.add(der, at=at)
    assert caught.value.reason == reason
    assert store.generation == before


def point(**fields):
    defaults = {
        "full_name": None,
        "relative_name": None,
        "only_contains_user_certs": False,
        "only_contains_ca_certs": False,
        "only_some_reasons": None,
        "indirect_crl": False,
        "only_contains_attribute_certs": False,
    }
    return [(x509.IssuingDistributionPoint(**{**defaults, **fields}), True)]


def test_list_signed_with_pss_is_taken_and_asked_by_serial(pki, authority, store):
    bad, good = pki.leaf().certificate, pki.leaf(name="good").certificate
    authority.revoke(bad, at=pki.at - DAY)
    der = authority.crl(pki.at)
    parameters = x509.load_der_x509_crl(der).signature_algorithm_parameters
    assert type(parameters).__name__ == "PSS"

    facts = store.add(der, at=pki.at)
    assert facts.entries == 1
    assert facts.number == int(pki.at.timestamp())
    assert facts.next_update == pki.at + 7 * DAY
    assert store.generation == 1
    assert store.facts() == [facts]
    assert store.ask(bad, authority.issuing).revoked_at == pki.at - DAY
    answer = store.ask(good, authority.issuing)
    assert answer.revoked_at is None
    assert answer.facts == facts


def test_pem_is_read_too(pki, authority, store):
    crl = x509.load_der_x509_crl(authority.crl(pki.at))
    assert store.add(crl.public_bytes(Encoding.PEM), at=pki.at).entries == 0


def test_list_of_a_curve_authority(pki):
    key = ec.generate_private_key(ec.SECP256R1())
    issued = pki.intermediate(key=key)
    crl = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issued.certificate.subject)
        .last_update(pki.at)
        .next_update(pki.at + DAY)
        .sign(key, hashes.SHA256())
    )
    store = CrlStore([issued.certificate])
    assert store.add(crl.public_bytes(Encoding.DER), at=pki.at).number is None


def test_no_list_of_the_issuer_means_no_answer(pki, store):
    answer = store.ask(pki.leaf().certificate, pki.authority.issuing)
    assert answer.facts is None
    assert answer.revoked_at is None


@pytest.mark.attack("KEY-05")
def test_key_05_wrong_issuer(pki, store):
    refused(store, pki.stranger.crl(pki.at), pki.at, "crl.issuer")


@pytest.mark.attack("KEY-05")
def test_key_05_wrong_signer_with_the_right_name(pki, store):
    forged = IssuedCertificate(pki.authority.issuing, pki.other_key, ())
    refused(store, build_crl(forged, (), at=pki.at), pki.at, "crl.signature")


def test_key_05_signer_without_crl_sign(pki):
    issued = pki.intermediate(bend=lambda e: [e[0], (key_usage(key_cert_sign=True), True), *e[2:]])
    store = CrlStore([issued.certificate])
    refused(store, build_crl(issued, (), at=pki.at), pki.at, "crl.signature")


def test_key_05_altered_list(pki, authority, store):
    octets = bytearray(authority.crl(pki.at))
    octets[-1] ^= 1
    refused(store, bytes(octets), pki.at, "crl.signature")


@pytest.mark.attack("KEY-05")
def test_key_05_stale(pki, authority, store):
    refused(store, authority.crl(pki.at), pki.at + 8 * DAY, "crl.stale")


def test_key_05_end_pushed_into_the_future_by_a_stranger(pki, authority, store):
    der = authority.crl(pki.at)
    stamp = (pki.at + 7 * DAY).strftime("%y%m%d%H%M%SZ").encode()
    assert der.count(stamp) == 1
    refused(store, der.replace(stamp, b"491231235959Z"), pki.at, "crl.signature")


@pytest.mark.attack("KEY-05")
def test_key_05_future(pki, authority, store):
    refused(store, authority.crl(pki.at + HOUR), pki.at, "crl.future")
    assert store.add(authority.crl(pki.at + dt.timedelta(minutes=4)), at=pki.at)


def test_key_05_replay_of_an_older_list_does_not_unrevoke(pki, authority, store):
    leaf = pki.leaf().certificate
    old = authority.crl(pki.at - DAY)
    authority.revoke(leaf, at=pki.at - HOUR)
    new = authority.crl(pki.at)
    store.add(old, at=pki.at)
    store.add(new, at=pki.at)
    refused(store, old, pki.at, "crl.older")
    assert store.ask(leaf, authority.issuing).revoked_at
    store.add(new, at=pki.at)
    assert store.generation == 2


def test_delta_list_is_refused(pki, authority, store):
    der = authority.crl(pki.at, extensions=[(x509.DeltaCRLIndicator(1), True)])
    refused(store, der, pki.at, "crl.delta")


def test_unknown_critical_extension_is_refused(pki, authority, store):
    strange = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    refused(store, authority.crl(pki.at, extensions=[(strange, True)]), pki.at, "crl.extension")
    assert store.add(authority.crl(pki.at, extensions=[(strange, False)]), at=pki.at)


@pytest.mark.parametrize(
    "fields",
    [
        {"indirect_crl": True},
        {"only_contains_attribute_certs": True},
        {"only_some_reasons": frozenset([x509.ReasonFlags.key_compromise])},
        {"full_name": [x509.DNSName("crl.example")]},
    ],
)
def test_list_that_speaks_about_something_else_is_refused(pki, authority, store, fields):
    refused(store, authority.crl(pki.at, extensions=point(**fields)), pki.at, "crl.scope")


def test_partition_answers_only_for_its_own_certificates(pki, authority, store):
    named = authority.issue_system_certificate(
        "named", "T", "12345678", uuid="1", not_before=pki.at, private_key=pki.leaf_key
    ).certificate
    mine = [x509.UniformResourceIdentifier(URL)]
    other = [x509.UniformResourceIdentifier("http://127.0.0.1/other.crl")]
    store.add(authority.crl(pki.at, extensions=point(full_name=other)), at=pki.at)
    assert store.ask(named, authority.issuing).facts is None
    store.add(authority.crl(pki.at, extensions=point(full_name=mine)), at=pki.at)
    assert store.ask(named, authority.issuing).facts is not None
    assert len(store.facts()) == 2


def test_a_newer_list_has_the_place_of_an_older_one_and_every_other_list_its_own(
    pki, authority, store
):
    users = point(only_contains_user_certs=True)
    older = store.add(authority.crl(pki.at - HOUR, extensions=users), at=pki.at)
    newer = store.add(authority.crl(pki.at, extensions=users), at=pki.at)
    assert newer.place == older.place
    store.add(authority.crl(pki.at), at=pki.at)
    store.add(authority.root_crl(pki.at), at=pki.at)
    assert len({one.place for one in store.facts()}) == len(store.facts()) == 3


def test_list_about_authorities_does_not_answer_for_leaves(pki, authority, store):
    leaf = pki.leaf().certificate
    store.add(authority.crl(pki.at, extensions=point(only_contains_ca_certs=True)), at=pki.at)
    assert store.ask(leaf, authority.issuing).facts is None
    assert store.ask(pki.intermediate().certificate, authority.issuing).facts is not None
    store.add(authority.crl(pki.at, extensions=point(only_contains_user_certs=True)), at=pki.at)
    assert store.ask(leaf, authority.issuing).facts is not None


def test_authority_of_the_same_name_and_another_key_does_not_answer(pki, authority, store):
    leaf = pki.leaf().certificate
    store.add(authority.crl(pki.at), at=pki.at)
    twin = pki.intermediate(name="EHMI Development udstedende-CA 1").certificate
    assert twin.subject == authority.issuing.subject
    assert store.ask(leaf, twin).facts is None


@pytest.mark.parametrize("data", [b"", b"\x30\x00", b"-----BEGIN X509 CRL-----\n", b"<html>"])
def test_unreadable_list(pki, store, data):
    refused(store, data, pki.at, "crl.parse")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\x02\x01\x01\x30", b"\x02\x01\x07\x30"),
        (b"\x06\x03\x55\x04\x03\x0c", b"\x06\x03\x55\x04\x03\x03"),
    ],
    ids=["of no version", "issuer named by a bit string"],
)
def test_list_that_breaks_later(pki, authority, store, old, new):
    """Lists come over plain HTTP: whoever stands between must not stop the process from asking again."""
    data = authority.crl(pki.at)
    assert old in data
    refused(store, data.replace(old, new, 1), pki.at, "crl.parse")


def test_oversized_list(pki, store):
    refused(store, bytes(MAX_CRL_BYTES + 1), pki.at, "crl.parse")


def test_distribution_points(pki):
    assert distribution_points(pki.leaf().certificate) == (URL,)
    assert distribution_points(pki.authority.root) == ()
    ldap = x509.DistributionPoint(
        [x509.UniformResourceIdentifier("ldap://x/y"), x509.UniformResourceIdentifier(URL)],
        None,
        None,
        None,
    )
    issued = pki.bent_leaf(
        lambda extensions: [
            *(e for e in extensions if not isinstance(e[0], x509.CRLDistributionPoints)),
            (x509.CRLDistributionPoints([ldap]), False),
        ]
    )
    assert distribution_points(issued.certificate) == ("ldap://x/y", URL)


def test_list_that_never_ends_is_refused(pki, store):
    parsed = asn1.CertificateList.load(pki.authority.crl(pki.at))
    tbs = parsed["tbs_cert_list"]
    del tbs["next_update"]
    signed = pki.authority.keys[1].private_key.sign(tbs.dump(force=True), PSS, hashes.SHA256())
    parsed["signature"] = signed
    refused(store, parsed.dump(force=True), pki.at, "crl.stale")


def test_signer_without_key_usage(pki):
    issued = pki.intermediate(bend=lambda extensions: extensions[:1])
    store = CrlStore([issued.certificate])
    refused(store, build_crl(issued, (), at=pki.at), pki.at, "crl.signature")


def test_signer_with_a_weak_key(pki):
    issued = pki.intermediate(key=rsa.generate_private_key(65537, 1024))
    store = CrlStore([issued.certificate])
    refused(store, build_crl(issued, (), at=pki.at), pki.at, "crl.signature")


def test_freshest_list_that_covers_the_certificate_answers(pki, authority, store):
    leaf = pki.leaf().certificate
    fresh, users = pki.at + 3 * DAY, point(only_contains_user_certs=True)
    store.add(authority.crl(pki.at, next_update=fresh, extensions=users), at=pki.at)
    store.add(authority.crl(pki.at, next_update=pki.at + DAY), at=pki.at)
    assert store.ask(leaf, authority.issuing).facts.next_update == fresh


def test_same_time_and_lower_number_is_older(pki, authority, store):
    first = asn1.CertificateList.load(authority.crl(pki.at))
    lower = first.copy()
    for extension in lower["tbs_cert_list"]["crl_extensions"]:
        if extension["extn_id"].native == "crl_number":
            extension["extn_value"] = core.ParsableOctetString(core.Integer(5).dump())
    tbs = lower["tbs_cert_list"].dump(force=True)
    lower["signature"] = authority.keys[1].private_key.sign(tbs, PSS, hashes.SHA256())
    store.add(first.dump(), at=pki.at)
    refused(store, lower.dump(force=True), pki.at, "crl.older")
