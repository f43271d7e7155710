"""The whole header: built, authenticated, decrypted; and each step refuses what it must, in order."""

import base64
import hashlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from envelope import codes, names
from envelope.errors import (
    CertificateRefused,
    FailedAuthentication,
    FailedDecryption,
    InvalidHeader,
    LocalProtocolError,
    PolicyNoncompliance,
    RemoteProtocolError,
    SignatureValueInvalid,
)
from envelope.messaging import PartyId
from envelope.names import q
from envelope.pmode import EDELIVERY_1_15, KeyTransport, Quirk, SecuritySuite, TokenForm
from envelope.signals import build_error_messaging
from envelope.soap import write_body, write_envelope
from envelope.wsse import WireIds, build_user_message, decrypt_key, sign_signal
from envelope.xml import canonicalize, scan
from envelope.xmldsig import verify_record

SECURITY = q(names.WSSE, "Security")


@pytest.fixture(scope="module")
def sent(workshop_of):
    return workshop_of.send()


@pytest.mark.parametrize("signing", list(TokenForm))
@pytest.mark.parametrize("encryption", list(TokenForm))
def test_round_trip_in_every_token_form(workshop, signing, encryption):
    suite = SecuritySuite(signing_token=signing, encryption_token=encryption)
    sent = workshop.send(suite=suite)

    verified = workshop.receive(sent)

    assert verified.user_message == sent.user_message
    assert verified.references == sent.envelope.references
    assert verified.certificate == workshop.people.sender.certificate
    assert verified.evidence == ("on the list", 1001)
    assert [part.digest for part in verified.parts] == [part.digest for part in sent.sealed]


def test_the_header_is_written_in_the_usual_order(workshop):
    suite = SecuritySuite(encryption_token=TokenForm.BINARY_SECURITY_TOKEN)
    root = etree.fromstring(workshop.send(suite=suite).data)

    assert [etree.QName(block).localname for block in root[0]] == ["Security", "Messaging"]
    assert [etree.QName(child).localname for child in root[0][0]] == [
        "BinarySecurityToken",
        "EncryptedKey",
        "EncryptedData",
        "EncryptedData",
        "BinarySecurityToken",
        "Signature",
    ]
    assert root[0][0].get(q(names.S12, "mustUnderstand")) == "true"
    assert not len(root[1])


def test_every_href_is_referenced_by_the_same_uri(workshop):
    payload = workshop.payload("strange+id_(1)%7e?x@alpha.example", b"x")
    root = etree.fromstring(workshop.send([payload]).data)

    hrefs = [each.get("href") for each in root.iter(q(names.EB, "PartInfo"))]
    uris = [each.get("URI") for each in root.iter(q(names.DS, "Reference"))][2:]
    ciphers = [each.get("URI") for each in root.iter(q(names.XENC, "CipherReference"))]

    assert hrefs == uris == ciphers


def test_the_references_kept_are_those_of_the_message(workshop, sent):
    root = scan(sent.data).root

    assert [canonicalize(each) for each in root.iter(q(names.DS, "Reference"))] == [
        each.xml for each in sent.envelope.references
    ]


def test_the_record_of_a_signature_verifies_again_without_the_message(workshop, sent):
    verified = workshop.receive(sent)
    record, signer = verified.signature, workshop.people.sender.certificate

    again = verify_record(record, signer, EDELIVERY_1_15)

    assert [(each.uri, each.digest_value, each.xml) for each in again] == [
        (each.uri, each.digest_value, each.xml) for each in verified.references
    ]
    with pytest.raises(SignatureValueInvalid):
        verify_record(record, workshop.people.stranger.certificate, EDELIVERY_1_15)
    changed = replace(record, signed_info=record.signed_info.replace(b"cid:", b"cit:", 1))
    with pytest.raises(SignatureValueInvalid):
        verify_record(changed, signer, EDELIVERY_1_15)
    with pytest.raises(PolicyNoncompliance):
        verify_record(replace(record, algorithm="urn:none"), signer, EDELIVERY_1_15)


def test_another_recipient_changes_only_the_wrapped_key(workshop):
    """Decision D11: a retry to a new certificate keeps ids, SignedInfo and signature."""
    first = workshop.send()
    second = workshop.send(recipient=workshop.people.stranger.certificate, content_key=b"L" * 16)

    def signature(sent):
        return etree.tostring(next(etree.fromstring(sent.data).iter(q(names.DS, "Signature"))))

    assert signature(first) == signature(second)
    assert first.envelope.references == second.envelope.references
    assert first.data != second.data
    assert first.parts != second.parts


def test_a_message_without_parts_is_signed_only(workshop):
    sent = workshop.send(())

    decrypted = workshop.decrypt(sent.data)

    assert decrypted.content_key is None
    assert b"EncryptedKey" not in sent.data
    assert len(sent.envelope.references) == 2


# G6


@pytest.mark.parametrize(
    ("tag", "reason"),
    [("MessageId", "sig.digest"), ("Action", "sig.digest"), ("Property", "sig.digest")],
)
def test_a_changed_header_is_refused(workshop, sent, tag, reason):
    def change(root):
        next(root.iter(q(names.EB, tag))).text = "changed@alpha.example"

    with pytest.raises(FailedAuthentication) as refused:
        workshop.authenticate(workshop.edit(sent.data, change))
    assert (refused.value.gate, refused.value.reason) == ("G6", reason)


def test_a_changed_body_attribute_is_refused(workshop, sent):
    def change(root):
        root[1].set("x", "y")

    with pytest.raises(FailedAuthentication) as refused:
        workshop.authenticate(workshop.edit(sent.data, change))
    assert refused.value.reason == "sig.digest"


def test_a_changed_digest_value_is_refused(workshop, sent):
    for number in range(4):

        def change(root, number=number):
            value = list(root.iter(q(names.DS, "DigestValue")))[number]
            value.text = base64.b64encode(bytes(32)).decode()

        with pytest.raises(SignatureValueInvalid):
            workshop.authenticate(workshop.edit(sent.data, change))


def test_a_stranger_who_signs_well_is_not_trusted(workshop):
    """KEY-01: self-signed, valid value, unknown here."""
    sent = workshop.send(signer=workshop.people.stranger)

    with pytest.raises(CertificateRefused) as refused:
        workshop.authenticate(sent.data)
    assert (refused.value.gate, refused.value.reason) == ("G6", "cert.untrusted")


def test_a_known_partner_who_is_not_the_sender_is_refused(workshop):
    """KEY-08 and PTY-03: trusted, but of another party than From says."""
    sent = workshop.send(signer=workshop.people.receiver)

    with pytest.raises(CertificateRefused) as refused:
        workshop.authenticate(sent.data)
    assert refused.value.reason == "cert.party"


def test_the_check_is_asked_about_the_sender_and_its_chain(workshop, keyholder):
    issuer = workshop.people.stranger.certificate
    signer = keyholder(
        workshop.people.sender.key, workshop.people.sender.certificate, chain=(issuer,)
    )
    suite = SecuritySuite(signing_token=TokenForm.PKI_PATH)
    check = workshop.check()

    workshop.authenticate(workshop.send(suite=suite, signer=signer).data, check=check)

    assert check.asked == [
        (signer.certificate, (issuer,), PartyId("alpha", names.PARTY_UNREGISTERED))
    ]


def test_a_bad_signature_never_reaches_the_check(workshop, sent):
    check = workshop.check()

    def change(root):
        next(root.iter(q(names.DS, "SignatureValue"))).text = base64.b64encode(bytes(256)).decode()

    with pytest.raises(SignatureValueInvalid):
        workshop.authenticate(workshop.edit(sent.data, change), check=check)
    assert check.asked == []


@pytest.mark.parametrize("form", [TokenForm.KEY_IDENTIFIER, TokenForm.ISSUER_SERIAL])
def test_a_reference_to_an_unknown_certificate_is_refused(workshop, form):
    sent = workshop.send(suite=SecuritySuite(signing_token=form))

    with pytest.raises(CertificateRefused) as refused:
        workshop.authenticate(sent.data, check=workshop.check(workshop.people.stranger.certificate))
    assert refused.value.reason == "cert.untrusted"


def test_a_look_up_that_finds_another_certificate_is_refused(workshop):
    """KEY-16: the reference, not the look-up, says which certificate is meant."""
    check = workshop.check()
    check.find = lambda reference: workshop.people.receiver.certificate
    sent = workshop.send(suite=SecuritySuite(signing_token=TokenForm.KEY_IDENTIFIER))

    with pytest.raises(FailedAuthentication) as refused:
        workshop.authenticate(sent.data, check=check)
    assert refused.value.reason == "key.mismatch"


def test_the_private_key_does_nothing_for_a_stranger(workshop):
    """Decision D1: without authentication there is no value that `decrypt_key` would take."""
    sent = workshop.send(signer=workshop.people.stranger)
    parsed = workshop.parse(sent.data)

    with pytest.raises(CertificateRefused):
        workshop.authenticate(sent.data)
    with pytest.raises(AttributeError):
        decrypt_key(parsed, workshop.people.receiver)


@settings(max_examples=60)
@given(at=st.integers(0), mask=st.integers(1, 255))
def test_no_changed_octet_of_the_envelope_passes_unseen(workshop_of, sent, at, mask):
    """Any octet of the SOAP part: refused, or what was read and signed is the same as before."""
    data = bytearray(sent.data)
    data[at % len(data)] ^= mask
    try:
        authenticated = workshop_of.authenticate(bytes(data))
    except RemoteProtocolError:
        return
    assert authenticated.user_message == sent.user_message
    assert authenticated.references == sent.envelope.references
    assert authenticated.certificate == workshop_of.people.sender.certificate


# G7


def test_the_content_key_comes_out(workshop, sent):
    assert workshop.decrypt(sent.data).content_key == b"K" * 16


class Unwilling:
    """A decrypter that fails in one of the ways there are."""

    def __init__(self, answer, *, ours=True):
        self.answer = answer
        self.ours = ours
        self.unwrapped = 0

    def matches(self, reference):
        return self.ours

    def unwrap(self, wrapped):
        self.unwrapped += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    "decrypter",
    [
        Unwilling(ValueError("padding")),
        Unwilling(b""),
        Unwilling(b"k" * 15),
        Unwilling(b"k" * 32),
        Unwilling(b"k" * 16, ours=False),
    ],
)
def test_all_failures_to_unwrap_look_alike(workshop, sent, decrypter):
    """ENC-03, ENC-04, ENC-12."""
    authenticated = workshop.authenticate(sent.data)

    with pytest.raises(FailedDecryption) as refused:
        decrypt_key(authenticated, decrypter)

    assert str(refused.value) == "G7 enc.failed: the content key cannot be unwrapped"
    assert refused.value.__cause__ is None
    assert decrypter.unwrapped == int(decrypter.ours)


def test_a_key_wrapped_for_somebody_else(workshop):
    sent = workshop.send(recipient=workshop.people.stranger.certificate)

    with pytest.raises(FailedDecryption):
        workshop.decrypt(sent.data)


def test_a_damaged_wrapped_key(workshop, sent):
    def damage(root):
        value = next(root.iter(q(names.XENC, "CipherValue")))
        octets = bytearray(base64.b64decode(value.text))
        octets[100] ^= 1
        value.text = base64.b64encode(octets).decode()

    with pytest.raises(FailedDecryption) as refused:
        workshop.decrypt(workshop.edit(sent.data, damage))
    assert str(refused.value) == "G7 enc.failed: the content key cannot be unwrapped"


# Signals


def error_signal(workshop, *, signer=None, signed=True, suite=SecuritySuite()):  # noqa: B008
    messaging = build_error_messaging(
        message_id="e-1@beta.example",
        timestamp="2026-11-21T12:00:01Z",
        ref_to_message_id="m-1@alpha.example",
        errors=[codes.OTHER],
        messaging_id=workshop.wire_ids.messaging,
    )
    if not signed:
        return write_envelope(messaging, write_body("b"))
    return sign_signal(
        messaging,
        signer=signer or workshop.people.receiver,
        suite=suite,
        ids=workshop.wire_ids,
    )


@pytest.mark.parametrize("form", list(TokenForm))
def test_a_signed_signal_is_authenticated(workshop, form):
    data = error_signal(workshop, suite=SecuritySuite(signing_token=form))

    signal = workshop.authenticate_signal(data)

    assert signal.certificate == workshop.people.receiver.certificate
    assert len(signal.references) == 2
    assert len(signal.fingerprint) == 64


def test_an_unsigned_signal_is_refused(workshop):
    with pytest.raises(PolicyNoncompliance) as refused:
        workshop.authenticate_signal(error_signal(workshop, signed=False))
    assert refused.value.reason == "sec.missing"


def test_a_signal_of_a_stranger_or_another_party_is_refused(workshop):
    with pytest.raises(CertificateRefused):
        workshop.authenticate_signal(error_signal(workshop, signer=workshop.people.stranger))
    with pytest.raises(CertificateRefused) as refused:
        workshop.authenticate_signal(error_signal(workshop, signer=workshop.people.sender))
    assert refused.value.reason == "cert.party"


def test_a_changed_signal_is_refused(workshop):
    data = error_signal(workshop).replace(b"EBMS:0004", b"EBMS:0101")

    with pytest.raises(FailedAuthentication) as refused:
        workshop.authenticate_signal(data)
    assert refused.value.reason == "sig.digest"


def test_a_user_message_is_no_signal(workshop, sent):
    """Neither is read as the other, whatever its signature covers."""
    with pytest.raises(InvalidHeader):
        workshop.authenticate_signal(sent.data)
    with pytest.raises(InvalidHeader):
        workshop.authenticate(error_signal(workshop))


def test_a_signal_may_carry_a_signed_fault(workshop):
    """phase4 answers like this; the Body is signed, so it may hold what it likes."""

    def with_fault(root):
        etree.SubElement(root[1], q(names.S12, "Fault"))
        octets = etree.tostring(root[1], method="c14n", exclusive=True)
        value = list(root.iter(q(names.DS, "DigestValue")))[1]
        value.text = base64.b64encode(hashlib.sha256(octets).digest()).decode()

    data = workshop.edit(error_signal(workshop), with_fault)

    workshop.authenticate_signal(workshop.resign(data, workshop.people.receiver))


# What we are asked to send wrongly


def test_sealed_parts_must_be_those_of_the_message(workshop):
    sent = workshop.send()

    for sealed in (
        [],
        sent.sealed[:1],
        list(reversed(sent.sealed)),
        [*sent.sealed, sent.sealed[0]],
    ):
        with pytest.raises(LocalProtocolError):
            build(workshop, sent, sealed=sealed)


def build(workshop, sent, **changes):
    arguments = {
        "sealed": sent.sealed,
        "signer": workshop.people.sender,
        "suite": SecuritySuite(),
        "recipient": workshop.people.receiver.certificate,
        "content_key": b"K" * 16,
        "ids": workshop.wire_ids,
    } | changes
    return build_user_message(sent.user_message, **arguments)


@pytest.mark.parametrize(
    "changes",
    [
        {"recipient": None},
        {"content_key": None},
        {"content_key": b"short"},
        {"suite": SecuritySuite(key_transport=KeyTransport.X25519)},
        {"suite": SecuritySuite(digest_algorithm=names.SHA512)},
    ],
)
def test_an_impossible_order_is_refused(workshop, sent, changes):
    assert build(workshop, sent).references == sent.envelope.references
    with pytest.raises(LocalProtocolError):
        build(workshop, sent, **changes)


@pytest.mark.parametrize("unique", ["a b", 'a"b', "æ", "a:b", "a\n"])
def test_wire_ids_are_xml_names(unique):
    assert WireIds.new("x") == WireIds.new("x")
    with pytest.raises(LocalProtocolError):
        WireIds.new(unique)


def test_wire_ids_differ_from_each_other():
    with pytest.raises(LocalProtocolError):
        WireIds("a", "a", "b", "c", "d", "e", "f")


def test_a_signal_needs_the_id_it_is_signed_by(workshop):
    messaging = build_error_messaging(
        message_id="e-1@beta.example",
        timestamp="2026-11-21T12:00:01Z",
        ref_to_message_id=None,
        errors=[codes.OTHER],
        messaging_id="another",
    )

    with pytest.raises(LocalProtocolError):
        sign_signal(
            messaging,
            signer=workshop.people.receiver,
            suite=SecuritySuite(),
            ids=workshop.wire_ids,
        )


def test_quirks_are_per_partner(workshop):
    """The same message, refused by default and accepted where the partner's quirk is agreed."""
    sent = workshop.send(encrypt=False)

    with pytest.raises(PolicyNoncompliance):
        workshop.authenticate(sent.data)
    workshop.receive(sent, policy=workshop.policy(quirks=frozenset({Quirk.UNENCRYPTED})))
