"""The Security header at gate G5: what must be there, what must not, and in which order it is judged."""

from copy import deepcopy

import pytest
from lxml import etree

from envelope import names
from envelope.errors import FailedAuthentication, PolicyNoncompliance, RemoteProtocolError
from envelope.names import q
from envelope.pmode import Quirk
from envelope.security_header import read_security

SECURITY = q(names.WSSE, "Security")
SIGNATURE = q(names.DS, "Signature")
ENCRYPTED_KEY = q(names.XENC, "EncryptedKey")
ENCRYPTED_DATA = q(names.XENC, "EncryptedData")


@pytest.fixture
def sent(workshop):
    return workshop.send()


def read(workshop, data, **changes):
    parsed = workshop.parse(data)
    return read_security(
        parsed.document,
        content_ids=[part.content_id for part in parsed.user_message.parts],
        policy=workshop.policy(**changes),
    )


def security_of(root):
    return root[0].find(SECURITY)


def test_our_own_header_is_read(workshop, sent):
    header = read(workshop, sent.data)

    assert header.encryption.parts.keys() == sent.parts.keys()
    assert header.coverage.parts.keys() == sent.parts.keys()
    assert header.token.certificate == workshop.people.sender.certificate


def test_the_blocks_may_stand_in_another_order(workshop, sent):
    def shuffle(root):
        security = security_of(root)
        security[:] = list(reversed(security))
        root[0][:] = list(reversed(root[0]))

    workshop.authenticate(workshop.edit(sent.data, shuffle))


def remove_security(root):
    root[0].remove(security_of(root))


def remove_signature(root):
    security_of(root).remove(security_of(root).find(SIGNATURE))


def second_signature(first):
    def change(root):
        signature = security_of(root).find(SIGNATURE)
        fake = deepcopy(signature)
        for element in fake.iter():
            element.attrib.pop("Id", None)
        (signature.addprevious if first else signature.addnext)(fake)

    return change


def add(namespace, local):
    def change(root):
        etree.SubElement(security_of(root), q(namespace, local))

    return change


def without_encryption(root):
    for tag in (ENCRYPTED_KEY, ENCRYPTED_DATA):
        for element in security_of(root).findall(tag):
            security_of(root).remove(element)


def one_part_in_clear(root):
    security = security_of(root)
    data = security.find(ENCRYPTED_DATA)
    reference = next(
        each
        for each in security.iter(q(names.XENC, "DataReference"))
        if each.get("URI") == "#" + data.get("Id")
    )
    reference.getparent().remove(reference)
    security.remove(data)


def move(tag, target):
    def change(root):
        target(root).append(security_of(root).find(tag))

    return change


SAML = "urn:oasis:names:tc:SAML:2.0:assertion"


@pytest.mark.parametrize(
    ("change", "kind", "reason"),
    [
        (remove_security, PolicyNoncompliance, "sec.missing"),  # COV-01
        (remove_signature, PolicyNoncompliance, "sig.missing"),  # COV-02
        (second_signature(True), FailedAuthentication, "sig.cardinality"),  # XSW-11
        (second_signature(False), FailedAuthentication, "sig.cardinality"),
        (add(names.WSSE, "UsernameToken"), PolicyNoncompliance, "sec.token"),  # KEY-20
        (add(SAML, "Assertion"), PolicyNoncompliance, "sec.token"),
        (add(names.XENC, "ReferenceList"), FailedAuthentication, "sec.schema"),
        (add(names.EB, "Messaging"), FailedAuthentication, "sec.schema"),
        (add("urn:any", "x"), FailedAuthentication, "sec.schema"),
        (without_encryption, PolicyNoncompliance, "enc.missing"),  # ENC-01
        (one_part_in_clear, PolicyNoncompliance, "enc.missing"),  # ENC-02
        (move(ENCRYPTED_DATA, lambda root: root[0]), PolicyNoncompliance, "enc.placement"),
        (move(ENCRYPTED_DATA, lambda root: root[1]), PolicyNoncompliance, "enc.placement"),
        (move(ENCRYPTED_KEY, lambda root: root[0]), PolicyNoncompliance, "enc.placement"),
    ],
)
def test_another_header_is_refused(workshop, sent, change, kind, reason):
    data = workshop.edit(sent.data, change)

    with pytest.raises(RemoteProtocolError) as refused:
        read(workshop, data)

    assert isinstance(refused.value, kind)
    assert (refused.value.gate, refused.value.reason) == ("G5", reason)


def test_encryption_of_a_part_that_does_not_exist(workshop):
    """ENC-07 and the signal with an EncryptedKey: nothing may be encrypted but the parts."""
    sent = workshop.send()
    parsed = workshop.parse(sent.data)

    with pytest.raises(RemoteProtocolError) as refused:
        read_security(parsed.document, content_ids=[], policy=workshop.policy())
    assert refused.value.reason == "sig.coverage"

    def forget_references(root):
        for reference in list(root.iter(q(names.DS, "Reference")))[2:]:
            reference.getparent().remove(reference)

    document = workshop.document(workshop.edit(sent.data, forget_references))
    with pytest.raises(PolicyNoncompliance) as refused:
        read_security(document, content_ids=[], policy=workshop.policy())
    assert refused.value.reason == "enc.reference"


def test_parts_in_clear_only_where_agreed(workshop):
    data = workshop.send(encrypt=False).data

    with pytest.raises(PolicyNoncompliance) as refused:
        read(workshop, data)
    assert refused.value.reason == "enc.missing"
    assert read(workshop, data, encryption_required=False).encryption is None
    assert read(workshop, data, quirks=frozenset({Quirk.UNENCRYPTED})).encryption is None


def test_a_message_without_parts_needs_no_encryption(workshop):
    assert read(workshop, workshop.send(()).data).encryption is None


def test_some_parts_in_clear_are_refused_where_clear_is_agreed(workshop, sent):
    data = workshop.edit(sent.data, one_part_in_clear)

    with pytest.raises(PolicyNoncompliance) as refused:
        read(workshop, data, encryption_required=False)
    assert refused.value.reason == "enc.missing"


def test_algorithms_are_judged_before_keys(workshop, sent):
    """A weak algorithm and a broken token: the first is said, the second is never parsed."""

    def change(root):
        next(root.iter(q(names.DS, "SignatureMethod"))).set("Algorithm", names.DS + "rsa-sha1")
        next(root.iter(q(names.WSSE, "BinarySecurityToken"))).text = "AAAA"

    with pytest.raises(PolicyNoncompliance) as refused:
        read(workshop, workshop.edit(sent.data, change))
    assert refused.value.reason == "alg.signature"


def test_a_comment_in_the_header_is_refused_though_the_scan_would_have(workshop, sent):
    """The gate before refuses comments; this one does not rely on it."""
    parsed = workshop.parse(sent.data)
    parsed.document.security.append(etree.Comment("x"))

    with pytest.raises(FailedAuthentication) as refused:
        read_security(parsed.document, content_ids=list(sent.parts), policy=workshop.policy())
    assert refused.value.reason == "sec.schema"
