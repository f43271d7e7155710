"""Answers of OCSP responders: who may sign them, how fresh they are, and what they change."""

import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from keys.crl import CrlStore
from keys.devca import DevelopmentAuthority, key_usage, system_name
from keys.errors import OcspRefused, RevocationUnknown, Revoked
from keys.ocsp import LONGEST, MAX_ANSWER_BYTES, OcspStore, addresses, build_request
from keys.path import Usage, Validator, validate
from keys.revocation import PREFER, RevocationPolicy, RevocationStatus

from .conftest import AT

HOUR = dt.timedelta(hours=1)
URL = "http://127.0.0.1:8086/ocsp"


@pytest.fixture
def leaf(pki):
    return pki.leaf().certificate


@pytest.fixture
def store(pki, leaf):
    made = OcspStore()
    made.watch(leaf, pki.authority.issuing)
    made.watch(pki.authority.issuing, pki.authority.root)
    return made


@pytest.fixture
def fresh(pki):
    """An authority of its own for revocations, with the same keys."""
    root, issuing = pki.authority.keys
    return DevelopmentAuthority(root, issuing, ocsp_url=URL)


def responder(pki, *, purposes=(ExtendedKeyUsageOID.OCSP_SIGNING,), authority=None, ends=10):
    found = [(key_usage(digital_signature=True), True)]
    if purposes:
        found.append((x509.ExtendedKeyUsage(purposes), False))
    return (authority or pki.authority).issue(
        system_name("responder", "Test", "95474483", "x"),
        ec.generate_private_key(ec.SECP256R1()),
        not_before=AT - dt.timedelta(days=20),
        not_after=AT + dt.timedelta(days=ends),
        extensions=found,
    )


def refused(store, data, reason, *, at=AT):
    before = store.generation, store.facts()
    with pytest.raises(OcspRefused) as caught:
        store.add(data, at=at)
    assert caught.value.reason == reason
    assert (store.generation, store.facts()) == before


def test_the_question_names_the_certificate_and_nothing_else(pki, leaf):
    question = ocsp.load_der_ocsp_request(build_request(leaf, pki.authority.issuing))
    assert question.serial_number == leaf.serial_number
    assert len(question.extensions) == 0


def test_an_answer_of_the_issuer_and_of_its_responder_is_taken(pki, store, leaf, fresh):
    facts = store.add(fresh.ocsp_answer(leaf, AT), at=AT)
    assert (facts.serial, facts.this_update) == (leaf.serial_number, AT)
    assert facts.next_update == AT + dt.timedelta(days=1)
    assert store.generation == 1
    store.add(fresh.ocsp_answer(leaf, AT), at=AT)
    assert store.generation == 1
    delegated = fresh.ocsp_answer(leaf, AT + HOUR, responder=responder(pki))
    store.add(delegated, at=AT + HOUR)
    assert store.ask(leaf, pki.authority.issuing).facts.this_update == AT + HOUR
    assert store.end_of(leaf) == AT + HOUR + dt.timedelta(days=1)
    assert store.end_of(pki.authority.issuing) is None


def test_an_answer_that_does_not_hold_is_refused(pki, store, leaf, fresh):
    good = fresh.ocsp_answer(leaf, AT)
    stranger = DevelopmentAuthority(*pki.stranger.keys)
    cases = [
        (b"no answer", "ocsp.parse"),
        (b"\x30" * (MAX_ANSWER_BYTES + 1), "ocsp.parse"),
        (good[:-1] + bytes([good[-1] ^ 1]), "ocsp.signature"),
        # The digest of the identifiers is one that nobody knows.
        (good.replace(bytes.fromhex("2b0e03021a"), bytes.fromhex("2b0e03027f")), "ocsp.parse"),
        (
            fresh.ocsp_answer(leaf, AT, responder=responder(pki, authority=pki.stranger)),
            "ocsp.signature",
        ),
        (fresh.ocsp_answer(leaf, AT, responder=responder(pki, purposes=())), "ocsp.responder"),
        (fresh.ocsp_answer(leaf, AT, responder=responder(pki, ends=-1)), "ocsp.responder"),
        (stranger.ocsp_answer(leaf, AT), "ocsp.certificate"),
        (fresh.ocsp_answer(pki.leaf(name="unasked").certificate, AT), "ocsp.certificate"),
        (fresh.ocsp_answer(leaf, AT, unknown=True), "ocsp.unknown"),
        (fresh.ocsp_answer(leaf, AT + HOUR), "ocsp.future"),
        (fresh.ocsp_answer(leaf, AT - 5 * HOUR, next_update=AT - HOUR), "ocsp.stale"),
    ]
    for data, reason in cases:
        refused(store, data, reason)
    busy = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER)
    refused(store, busy.public_bytes(Encoding.DER), "ocsp.status")
    store.add(good, at=AT)
    refused(store, fresh.ocsp_answer(leaf, AT - HOUR), "ocsp.older")


def test_the_leaf_itself_signs_no_answer_about_itself(pki, store, leaf, fresh):
    refused(store, fresh.ocsp_answer(leaf, AT, responder=pki.leaf()), "ocsp.responder")


def test_other_certificates_of_the_issuer_may_stand_beside_the_responders(pki, store, leaf):
    signer = responder(pki)
    builder = ocsp.OCSPResponseBuilder().add_response(
        leaf, pki.authority.issuing, hashes.SHA256(), ocsp.OCSPCertStatus.GOOD, AT, None, None, None
    )
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, signer.certificate)
    builder = builder.certificates([leaf, signer.certificate])
    data = builder.sign(signer.private_key, hashes.SHA256()).public_bytes(Encoding.DER)
    assert store.add(data, at=AT).serial == leaf.serial_number


def test_an_answer_without_an_end_counts_for_a_week_at_most(pki, store, leaf, fresh):
    builder = ocsp.OCSPResponseBuilder().add_response(
        leaf, pki.authority.issuing, hashes.SHA256(), ocsp.OCSPCertStatus.GOOD, AT, None, None, None
    )
    key = pki.authority.keys[1].private_key
    data = builder.responder_id(ocsp.OCSPResponderEncoding.NAME, pki.authority.issuing).sign(
        key, hashes.SHA384()
    )
    assert store.add(data.public_bytes(Encoding.DER), at=AT).next_update == AT + LONGEST
    long = fresh.ocsp_answer(leaf, AT, next_update=AT + 9 * LONGEST)
    assert store.add(long, at=AT).next_update == AT + LONGEST


def test_a_revoked_certificate_is_refused_although_the_list_does_not_name_it(
    pki, store, leaf, fresh
):
    trust = pki.trust
    crl_store = CrlStore(trust.authorities)
    for data in (pki.authority.crl(AT), pki.authority.root_crl(AT)):
        crl_store.add(data, at=AT)
    store.add(fresh.ocsp_answer(leaf, AT), at=AT)
    good = validate(leaf, trust=trust, at=AT, usage=Usage.SIGNING, crls=crl_store, ocsp=store)
    assert good.revocation[0].status is RevocationStatus.GOOD
    fresh.revoke(leaf, at=AT - HOUR)
    store.add(fresh.ocsp_answer(leaf, AT + HOUR), at=AT + HOUR)
    for policy in (PREFER, RevocationPolicy()):
        with pytest.raises(Revoked):
            validate(
                leaf, trust=trust, at=AT + HOUR, usage=Usage.SIGNING,
                revocation=policy, crls=crl_store, ocsp=store,
            )  # fmt: skip


def test_answers_alone_are_enough_and_stale_ones_are_not(pki, leaf, fresh):
    made = OcspStore()
    validator = Validator(pki.trust, ocsp=made)
    with pytest.raises(RevocationUnknown):
        validator.validate(leaf, usage=Usage.SIGNING, at=AT)
    # The question itself made both wanted, and only because their path leads to an anchor.
    assert [one.certificate for one in made.watched] == [leaf]
    made.add(fresh.ocsp_answer(leaf, AT), at=AT)
    with pytest.raises(RevocationUnknown):
        validator.validate(leaf, usage=Usage.SIGNING, at=AT)
    assert [one.certificate for one in made.watched] == [leaf, pki.authority.issuing]
    root = ocsp.OCSPResponseBuilder().add_response(
        pki.authority.issuing, pki.authority.root, hashes.SHA1(), ocsp.OCSPCertStatus.GOOD,
        AT, AT + HOUR, None, None,
    )  # fmt: skip
    signed = root.responder_id(ocsp.OCSPResponderEncoding.HASH, pki.authority.root).sign(
        pki.authority.keys[0].private_key, hashes.SHA256()
    )
    made.add(signed.public_bytes(Encoding.DER), at=AT)
    found = validator.validate(leaf, usage=Usage.SIGNING, at=AT)
    assert found.not_after == AT + HOUR
    assert "responder said good" in found.revocation[0].why
    with pytest.raises(RevocationUnknown, match="OCSP answer ran out"):
        validator.validate(leaf, usage=Usage.SIGNING, at=AT + 2 * HOUR)


def test_an_answer_about_another_certificate_than_was_asked_about_is_none(pki, store, leaf, fresh):
    other = pki.leaf(name="other").certificate
    store.watch(other, pki.authority.issuing)
    with pytest.raises(OcspRefused) as caught:
        store.add(fresh.ocsp_answer(other, AT), at=AT, about=leaf)
    assert caught.value.reason == "ocsp.certificate"
    assert store.facts() == []
    store.add(fresh.ocsp_answer(other, AT), at=AT, about=other)
    assert store.end_of(other) == AT + dt.timedelta(days=1)


def test_only_so_many_are_watched_and_the_one_used_last_stays(pki):
    made = OcspStore(capacity=2)
    leaves = [pki.leaf(name=f"ap-{number}").certificate for number in range(3)]
    for leaf in (leaves[0], leaves[1], leaves[0], leaves[2]):
        assert made.ask(leaf, pki.authority.issuing) is None
    assert [one.certificate for one in made.watched] == [leaves[0], leaves[2]]


def test_a_kept_answer_is_recalled_once_by_the_first_question_however_old(pki, leaf, fresh):
    issuing, ended = pki.authority.issuing, responder(pki, ends=-1)
    fresh.revoke(leaf, at=AT - 5 * HOUR)
    made = AT - dt.timedelta(days=2)
    kept = [fresh.ocsp_answer(leaf, made, next_update=made + HOUR, responder=ended)]
    store = OcspStore(capacity=1, recall=lambda _: kept.pop() if kept else None)
    assert store.ask(leaf, issuing).revoked_at == AT - 5 * HOUR
    kept.append(b"not asked for again")
    assert store.ask(leaf, issuing).facts.this_update == made
    assert (store.generation, len(kept)) == (1, 1)
    # A responder had to be one when it signed, and what is kept is as whole as what comes.
    late = fresh.ocsp_answer(leaf, AT, responder=ended)
    for data in (b"torn", late, None):
        store = OcspStore(recall=lambda _, data=data: data)
        assert store.ask(leaf, issuing) is None


def test_addresses_are_those_of_responders_only(pki, leaf, fresh):
    issued = fresh.issue_system_certificate(
        "ap", "Test", "95474483", uuid="x", not_before=AT, private_key=pki.leaf_key
    )
    assert list(addresses(issued.certificate)) == [URL]
    assert list(addresses(leaf)) == []
