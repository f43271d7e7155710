"""Two other implementations, xmlsec and signxml, on the signatures we write, and we on theirs."""

import pytest
import xmlsec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from lxml import etree
from signxml import XMLVerifier
from signxml.exceptions import InvalidDigest, InvalidSignature
from signxml.verifier import SignatureConfiguration

from envelope import names
from envelope.names import q
from envelope.pmode import SecuritySuite
from envelope.xmldsig import read_signature


def xmlsec_key(certificate):
    return xmlsec.Key.from_memory(
        certificate.public_bytes(Encoding.PEM), xmlsec.KeyFormat.CERT_PEM, None
    )


def header_signature(root):
    return next(root.iter(q(names.DS, "Signature")))


def test_xmlsec_verifies_messaging_and_body(workshop, people):
    root = etree.fromstring(workshop.send(()).data)
    xmlsec.tree.add_ids(root, ["Id"])
    context = xmlsec.SignatureContext()
    context.key = xmlsec_key(people.sender.certificate)

    context.verify(header_signature(root))


def test_xmlsec_refuses_a_changed_messaging(workshop, people):
    root = etree.fromstring(workshop.send(()).data)
    next(root.iter(q(names.EB, "MessageId"))).text = "other@alpha.example"
    xmlsec.tree.add_ids(root, ["Id"])
    context = xmlsec.SignatureContext()
    context.key = xmlsec_key(people.sender.certificate)

    with pytest.raises(xmlsec.Error):
        context.verify(header_signature(root))


def test_xmlsec_verifies_the_value_over_attachments(workshop, people):
    """xmlsec knows no `cid:` reference, so it judges the value over its own canonical SignedInfo."""
    root = etree.fromstring(workshop.send().data)
    signature = read_signature(header_signature(root))
    octets = etree.tostring(signature.signed_info, method="c14n", exclusive=True)

    def verify(data):
        context = xmlsec.SignatureContext()
        context.key = xmlsec_key(people.sender.certificate)
        context.verify_binary(data, xmlsec.constants.TransformRsaSha256, signature.value)

    verify(octets)
    with pytest.raises(xmlsec.Error):
        verify(octets + b" ")


def signxml_verify(root, sent, certificate, attachments):
    return XMLVerifier().verify(
        root,
        x509_cert=certificate.public_bytes(Encoding.PEM).decode(),
        uri_resolver=lambda uri: attachments[uri],
        id_attribute="Id",
        validate_schema=False,
        expect_config=SignatureConfiguration(
            location=f"./{q(names.S12, 'Header')}/{q(names.WSSE, 'Security')}/",
            expect_references=len(sent.sealed) + 2,
        ),
    )


@pytest.fixture
def attached(workshop):
    sent = workshop.send(encrypt=False)
    return sent, {f"cid:{cid}": wire for cid, wire in sent.parts.items()}


def test_signxml_verifies_header_and_attachments(attached, people):
    sent, attachments = attached

    results = signxml_verify(
        etree.fromstring(sent.data), sent, people.sender.certificate, attachments
    )

    assert len(results) == 4


def test_signxml_refuses_a_changed_attachment(attached, people):
    sent, attachments = attached
    uri = next(iter(attachments))
    attachments[uri] = attachments[uri][:-1] + b"?"

    with pytest.raises(InvalidDigest):
        signxml_verify(etree.fromstring(sent.data), sent, people.sender.certificate, attachments)


def test_signxml_refuses_another_certificate(attached, people):
    sent, attachments = attached

    with pytest.raises(InvalidSignature):
        signxml_verify(etree.fromstring(sent.data), sent, people.stranger.certificate, attachments)


def test_we_verify_what_xmlsec_signs(workshop, people):
    """The mirror: a Messaging and Body signature made by xmlsec, with its own line breaks, passes our gate."""
    data = workshop.send(()).data
    root = etree.fromstring(data)
    signature = header_signature(root)
    for value in signature.iter(q(names.DS, "DigestValue"), q(names.DS, "SignatureValue")):
        value.text = None
    xmlsec.tree.add_ids(root, ["Id"])
    context = xmlsec.SignatureContext()
    pem = people.sender.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    context.key = xmlsec.Key.from_memory(pem, xmlsec.KeyFormat.PEM, None)
    context.sign(signature)
    made = etree.tostring(root)

    assert b"\n" in next(etree.fromstring(made).iter(q(names.DS, "SignatureValue"))).text.encode()
    workshop.authenticate(made)


def test_inclusive_prefixes_are_listed_and_held_to_by_xmlsec_and_by_us(workshop, people):
    """For partners that demand the list: in SignedInfo and in each transform, and the digests are made by it."""
    sent = workshop.send((), suite=SecuritySuite(inclusive_prefixes=True))
    root = etree.fromstring(sent.data)
    listed = [each.get("PrefixList") for each in root.iter(q(names.EC, "InclusiveNamespaces"))]
    assert listed == ["S12"] * 3
    xmlsec.tree.add_ids(root, ["Id"])
    context = xmlsec.SignatureContext()
    context.key = xmlsec_key(people.sender.certificate)

    context.verify(header_signature(root))

    assert workshop.receive(sent).user_message == sent.user_message


def test_inclusive_prefixes_round_trip_with_parts(workshop):
    sent = workshop.send(suite=SecuritySuite(inclusive_prefixes=True))

    verified = workshop.receive(sent)

    assert verified.references == sent.envelope.references
