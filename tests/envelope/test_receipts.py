"""Receipts: what the receiver signs matches what the sender kept, and nothing less is an acknowledgement."""

import base64
import hashlib
from dataclasses import replace

import pytest
import xmlsec
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

from envelope import names
from envelope.errors import (
    FailedAuthentication,
    InvalidReceipt,
    LocalProtocolError,
    PolicyNoncompliance,
)
from envelope.names import q
from envelope.pmode import SecuritySuite, TokenForm
from envelope.receipts import build_receipt, match_receipt, repeat_receipt
from envelope.wsse import WireIds

PART_INFORMATION = q(names.EBBP, "MessagePartNRInformation")
REFERENCE = q(names.DS, "Reference")
MESSAGE_ID = "m-1@alpha.example"


@pytest.fixture
def sent(workshop):
    return workshop.send()


def arguments(workshop):
    return {
        "message_id": "r-1@beta.example",
        "timestamp": "2026-11-21T12:00:01.000Z",
        "signer": workshop.people.receiver,
        "suite": SecuritySuite(),
        "ids": WireIds.new("r"),
    }


@pytest.fixture
def receipt(workshop, sent):
    return build_receipt(workshop.receive(sent), **arguments(workshop))


def match(workshop, data, sent, **changes):
    authenticated = workshop.authenticate_signal(data)
    wanted = {"message_id": MESSAGE_ID, "expected": sent.envelope.references} | changes
    return match_receipt(authenticated, **wanted)


def test_a_receipt_matches_the_message(workshop, sent, receipt):
    evidence = match(workshop, receipt, sent)

    assert evidence.message_id == MESSAGE_ID
    assert evidence.receipt_message_id == "r-1@beta.example"
    assert evidence.timestamp == "2026-11-21T12:00:01.000Z"
    assert evidence.certificate == workshop.people.receiver.certificate
    assert evidence.evidence == ("on the list", 2002)
    assert evidence.references == sent.envelope.references


def test_a_receipt_repeats_every_reference_as_it_was(sent, receipt):
    root = etree.fromstring(receipt)
    copies = [each[0] for each in root.iter(PART_INFORMATION)]

    assert [etree.tostring(each, method="c14n", exclusive=True) for each in copies] == [
        each.xml for each in sent.envelope.references
    ]
    assert not len(root[1])


def test_building_again_gives_the_same_octets(workshop, sent, receipt):
    assert build_receipt(workshop.receive(sent), **arguments(workshop)) == receipt


@pytest.mark.parametrize("form", list(TokenForm))
def test_every_token_form_matches(workshop, sent, form):
    how = arguments(workshop) | {"suite": SecuritySuite(signing_token=form)}

    match(workshop, build_receipt(workshop.receive(sent), **how), sent)


def test_xmlsec_verifies_the_receipt_and_refuses_a_changed_one(workshop, receipt):
    def verify(data):
        root = etree.fromstring(data)
        xmlsec.tree.add_ids(root, ["Id"])
        context = xmlsec.SignatureContext()
        context.key = xmlsec.Key.from_memory(
            workshop.people.receiver.certificate.public_bytes(Encoding.PEM),
            xmlsec.KeyFormat.CERT_PEM,
            None,
        )
        context.verify(next(root.iter(q(names.DS, "Signature"))))

    verify(receipt)
    with pytest.raises(xmlsec.Error):
        verify(receipt.replace(b"m-1@alpha", b"m-2@alpha"))


def test_copies_with_other_prefixes_and_white_space_match(workshop, sent, receipt):
    """Products rewrite the elements; decoded values count."""

    def rewrite(root):
        for information in root.iter(PART_INFORMATION):
            old = information[0]
            new = etree.SubElement(information, REFERENCE, nsmap={"dsig": names.DS})
            new.set("URI", old.get("URI"))
            for child in old:
                new.append(child)
            information.remove(old)
            new[-1].text = "\n  " + new[-1].text[:20] + "\r\n  " + new[-1].text[20:] + "\n"

    match(workshop, again(workshop, receipt, rewrite), sent)


def test_the_order_of_the_references_is_free(workshop, sent, receipt):
    def reverse(root):
        information = next(root.iter(PART_INFORMATION)).getparent()
        information[:] = list(reversed(information))

    match(workshop, again(workshop, receipt, reverse), sent)


def again(workshop, data, change):
    """A receipt that its signer changed before signing: digest and value are good again."""

    def change_and_digest(root):
        change(root)
        messaging = root[0].find(q(names.EB, "Messaging"))
        octets = etree.tostring(messaging, method="c14n", exclusive=True)
        signed_info = next(root.iter(q(names.DS, "SignedInfo")))
        signed_info[2][2].text = base64.b64encode(hashlib.sha256(octets).digest()).decode()

    return workshop.resign(workshop.edit(data, change_and_digest), workshop.people.receiver)


def other_digest(number):
    def change(root):
        list(root.iter(PART_INFORMATION))[number][0][2].text = base64.b64encode(bytes(32)).decode()

    return change


def all_digests(root):
    for information in root.iter(PART_INFORMATION):
        information[0][2].text = base64.b64encode(bytes(32)).decode()


def other_algorithm(root):
    next(root.iter(PART_INFORMATION))[0][1].set("Algorithm", names.SHA512)


def left_out(number):
    def change(root):
        information = list(root.iter(PART_INFORMATION))[number]
        information.getparent().remove(information)

    return change


def extra(root):
    information = next(root.iter(PART_INFORMATION))
    copy = etree.fromstring(etree.tostring(information))
    copy[0].set("URI", "cid:extra@x")
    information.addnext(copy)


def repeated(root):
    information = next(root.iter(PART_INFORMATION))
    information.addnext(etree.fromstring(etree.tostring(information)))


def other_message(root):
    next(root.iter(q(names.EB, "RefToMessageId"))).text = "m-2@alpha.example"


def no_reference_to_a_message(root):
    element = next(root.iter(q(names.EB, "RefToMessageId")))
    element.getparent().remove(element)


def error_beside(severity):
    def change(root):
        receipt = next(root.iter(q(names.EB, "Receipt")))
        error = etree.Element(
            q(names.EB, "Error"), {"errorCode": "EBMS:0004", "severity": severity}
        )
        receipt.addnext(error)

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (other_message, "rcp.other"),  # RCP-01
        (no_reference_to_a_message, "rcp.other"),
        *[(other_digest(number), "rcp.digest") for number in range(4)],  # RCP-05
        (all_digests, "rcp.digest"),
        (other_algorithm, "rcp.digest"),
        *[(left_out(number), "rcp.missing") for number in range(4)],
        (extra, "rcp.extra"),
        (repeated, "rcp.extra"),
        (error_beside("failure"), "rcp.error"),  # RCP-07
    ],
)
def test_another_receipt_proves_nothing(workshop, sent, receipt, change, reason):
    data = again(workshop, receipt, change)

    with pytest.raises(InvalidReceipt) as refused:
        match(workshop, data, sent)
    assert refused.value.reason == reason


def test_a_warning_beside_the_receipt_is_no_failure(workshop, sent, receipt):
    match(workshop, again(workshop, receipt, error_beside("warning")), sent)


def test_a_reception_awareness_receipt_proves_nothing(workshop, sent, receipt):
    """RCP-06."""

    def without_information(root):
        receipt_element = next(root.iter(q(names.EB, "Receipt")))
        receipt_element[:] = [etree.fromstring(sent.data)[0].find(q(names.EB, "Messaging"))[0]]

    with pytest.raises(InvalidReceipt) as refused:
        match(workshop, again(workshop, receipt, without_information), sent)
    assert refused.value.reason == "rcp.missing"


def test_an_error_is_no_receipt(workshop, sent, receipt):
    def error_instead(root):
        receipt_element = next(root.iter(q(names.EB, "Receipt")))
        error_beside("warning")(root)
        receipt_element.getparent().remove(receipt_element)

    with pytest.raises(InvalidReceipt) as refused:
        match(workshop, again(workshop, receipt, error_instead), sent)
    assert refused.value.reason == "rcp.missing"


def test_an_unsigned_receipt_proves_nothing(workshop, sent, receipt):
    """RCP-04 and COV-13."""

    def unsign(root):
        security = next(root.iter(q(names.WSSE, "Security")))
        security.getparent().remove(security)

    with pytest.raises(PolicyNoncompliance) as refused:
        match(workshop, workshop.edit(receipt, unsign), sent)
    assert refused.value.reason == "sec.missing"


def test_a_receipt_signed_by_another_trusted_party(workshop, sent):
    """RCP-03."""
    how = arguments(workshop) | {"signer": workshop.people.sender}
    data = build_receipt(workshop.receive(sent), **how)

    with pytest.raises(FailedAuthentication) as refused:
        workshop.authenticate_signal(data)
    assert refused.value.reason == "cert.party"


def test_changes_after_signing_are_refused_before_matching(workshop, sent, receipt):
    for change in (other_digest(0), other_message, left_out(1)):
        with pytest.raises(FailedAuthentication):
            match(workshop, workshop.edit(receipt, change), sent)


def test_nothing_expected_is_a_mistake(workshop, sent, receipt):
    with pytest.raises(LocalProtocolError):
        match(workshop, receipt, sent, expected=())


def test_a_receipt_for_a_message_of_another_name(workshop, sent, receipt):
    """RCP-02: the receipt is good, but not for what we ask about."""
    with pytest.raises(InvalidReceipt) as refused:
        match(workshop, receipt, sent, message_id="m-9@alpha.example")
    assert refused.value.reason == "rcp.other"


def test_a_repetition_signed_anew_gets_a_receipt_of_its_own(workshop, sent):
    workshop.wire_ids = WireIds.new("second-time")
    second = workshop.send()
    repetition = workshop.authenticate(second.data)
    assert second.envelope.references != sent.envelope.references

    data = repeat_receipt(repetition, accepted=sent.envelope.references, **arguments(workshop))

    match(workshop, data, second)


def test_other_parts_under_the_same_id_get_no_receipt(workshop, sent):
    """RPL-02: nobody has seen these parts."""
    other = workshop.send([workshop.payload("message-1@alpha.example", b"other")])

    with pytest.raises(LocalProtocolError):
        repeat_receipt(
            workshop.authenticate(other.data),
            accepted=sent.envelope.references,
            **arguments(workshop),
        )


def test_a_partner_may_use_prefix_lists_in_what_we_repeat(workshop, sent):
    """InclusiveNamespaces of the sender come back with the reference, and stay readable."""

    def with_prefixes(root):
        transform = next(root.iter(REFERENCE))[0][0]
        etree.SubElement(transform, q(names.EC, "InclusiveNamespaces"), {"PrefixList": "nothing"})

    data = workshop.resign(workshop.edit(sent.data, with_prefixes))
    sent.envelope = replace(sent.envelope, data=data)
    verified = workshop.receive(sent)

    receipt = build_receipt(verified, **arguments(workshop))

    assert receipt.count(b'PrefixList="nothing"') == 1
    match(workshop, receipt, sent, expected=verified.references)
