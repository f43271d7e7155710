"""SignedInfo: what is written, read and refused. Other implementations judge it in test_xmldsig_oracles.py."""

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from envelope import names
from envelope.errors import (
    FailedAuthentication,
    PolicyNoncompliance,
    ReferenceDigestMismatch,
    SignatureValueInvalid,
)
from envelope.limits import Limits
from envelope.names import q
from envelope.pmode import EDELIVERY_1_15, Quirk
from envelope.signed_info import decode_base64
from envelope.xmldsig import (
    check_algorithms,
    read_signature,
    verify_reference,
    verify_signature,
    write_signature,
    write_signed_info,
    write_signed_reference,
)

KEY_INFO = "<wsse:x xmlns:wsse='urn:wsse'></wsse:x>"
DIGEST = bytes(range(32))


def signature_xml(signer, *, algorithm=names.RSA_SHA256, uris=("#a", "cid:b@c")):
    references = [write_signed_reference(uri, DIGEST) for uri in uris]
    signed_info = write_signed_info(references, algorithm)
    value = signer.sign(signed_info.encode(), algorithm)
    return write_signature(signed_info, value, KEY_INFO, signature_id="S")


def read(xml, **limits):
    return read_signature(etree.fromstring(xml), Limits(**limits))


@pytest.fixture
def xml(people):
    return signature_xml(people.sender)


def test_what_is_written_is_read_and_verifies(people, xml):
    signature = read(xml)

    check_algorithms(signature, EDELIVERY_1_15)
    verify_signature(signature, people.sender.certificate, EDELIVERY_1_15)

    assert [reference.uri for reference in signature.references] == ["#a", "cid:b@c"]
    assert [reference.digest_value for reference in signature.references] == [DIGEST, DIGEST]
    assert len(signature.value) == 256


def test_another_certificate_does_not_verify(people, xml):
    with pytest.raises(SignatureValueInvalid) as refused:
        verify_signature(read(xml), people.stranger.certificate, EDELIVERY_1_15)

    assert (refused.value.gate, refused.value.reason) == ("G6", "sig.value")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("#a", "#b"),
        ("cid:b@c", "cid:b@d"),
        ("AAECAwQF", "AAECAwQG"),
        ("rsa-sha256", "rsa-sha512"),
    ],
)
def test_a_changed_signed_info_does_not_verify(people, xml, old, new):
    assert old in xml
    changed = read(xml.replace(old, new, 1))

    with pytest.raises(SignatureValueInvalid):
        verify_signature(changed, people.sender.certificate, EDELIVERY_1_15)


@given(
    uri=st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1).map(
        lambda text: "cid:" + text
    ),
    digest=st.binary(min_size=1, max_size=64),
)
def test_what_is_written_is_its_own_canonical_form(uri, digest):
    if any(ord(character) in (0xFFFE, 0xFFFF) for character in uri):
        return
    reference = write_signed_reference(uri, digest)
    signed_info = write_signed_info([reference], names.RSA_SHA256)
    in_document = f'<x xmlns="urn:x" xmlns:y="urn:y">{signed_info}</x>'

    element = etree.fromstring(in_document)[0]

    assert etree.tostring(element, method="c14n", exclusive=True) == signed_info.encode()
    assert etree.tostring(element[2], method="c14n", exclusive=True) == reference.xml
    assert element[2].get("URI") == uri


def test_control_characters_in_a_uri_survive():
    uri = 'cid:a\t\r\n<&"'

    assert etree.fromstring(write_signed_reference(uri, DIGEST).xml).get("URI") == uri


# Structure


def add_object(signature):
    etree.SubElement(signature, q(names.DS, "Object"))


def second_signed_info(signature):
    signature.insert(0, etree.fromstring(etree.tostring(signature[0])))


def second_signature_value(signature):
    signature.insert(1, etree.fromstring(etree.tostring(signature[1])))


def no_key_info(signature):
    del signature[2]


def other_order(signature):
    signature.insert(0, signature[1])


def no_references(signature):
    for reference in signature[0][2:]:
        signature[0].remove(reference)


def second_digest_value(signature):
    reference = signature[0][2]
    reference.append(etree.fromstring(etree.tostring(reference[2])))


def comment_in_digest_value(signature):
    value = signature[0][2][2]
    value.append(etree.Comment("x"))


def junk_in_digest_value(signature):
    signature[0][2][2].text = "!" + signature[0][2][2].text


def junk_in_signature_value(signature):
    signature[1].text = signature[1].text[:8] + "*" + signature[1].text[8:]


def empty_signature_value(signature):
    signature[1].text = " "


def unknown_in_signed_info(signature):
    etree.SubElement(signature[0], q(names.DS, "Manifest"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (add_object, "sec.schema"),
        (second_signed_info, "sig.schema"),
        (second_signature_value, "sig.schema"),
        (no_key_info, "sig.schema"),
        (other_order, "sig.schema"),
        (no_references, "sig.schema"),
        (second_digest_value, "sig.schema"),
        (comment_in_digest_value, "sig.schema"),
        (junk_in_digest_value, "sig.schema"),
        (junk_in_signature_value, "sig.schema"),
        (empty_signature_value, "sig.schema"),
        (unknown_in_signed_info, "sig.schema"),
    ],
)
def test_another_structure_is_refused(xml, change, reason):
    element = etree.fromstring(xml)
    change(element)

    with pytest.raises(FailedAuthentication) as refused:
        read_signature(element)

    assert (refused.value.gate, refused.value.reason) == ("G5", reason)


@pytest.mark.parametrize(
    ("uri", "attributes"),
    [("", {}), ("#a", {"Type": names.DS + "Manifest"}), ("#a", {"Type": "urn:any"})],
)
def test_whole_document_and_manifest_references_are_refused(xml, uri, attributes):
    element = etree.fromstring(xml)
    element[0][2].set("URI", uri)
    element[0][2].attrib.update(attributes)

    with pytest.raises(FailedAuthentication) as refused:
        read_signature(element)

    assert refused.value.reason == "sig.reference"


def test_more_references_than_the_limit_are_refused(people):
    xml = signature_xml(people.sender, uris=[f"#a{number}" for number in range(5)])

    assert len(read(xml, references=5).references) == 5
    with pytest.raises(FailedAuthentication) as refused:
        read(xml, references=4)
    assert refused.value.reason == "sig.limits"


def test_white_space_in_base64_is_tolerated(people, xml):
    element = etree.fromstring(xml)
    for value in (element[1], element[0][2][2]):
        value.text = "\r\n".join([*value.text, ""])

    signature = read_signature(element)

    assert signature.references[0].digest_value == DIGEST
    assert len(signature.value) == 256


@pytest.mark.parametrize(
    "text", ["", None, "A", "AA=", "AA==AA==", "ÆØÅ=", "AA\u00a0==", "=AAA", "A-_="]
)
def test_what_is_not_base64_is_refused(text):
    with pytest.raises(FailedAuthentication):
        decode_base64(text, what="x")


# Algorithms


def set_algorithm(path, value):
    def change(signature):
        signature.find(path).set("Algorithm", value)

    return change


def ds(*steps):
    return "/".join(q(names.DS, step) for step in steps)


SIGNATURE_METHOD = ds("SignedInfo", "SignatureMethod")
C14N_METHOD = ds("SignedInfo", "CanonicalizationMethod")
DIGEST_METHOD = ds("SignedInfo", "Reference", "DigestMethod")
TRANSFORM = ds("SignedInfo", "Reference", "Transforms", "Transform")


def insert(path, child, attributes=None):
    def change(signature):
        etree.SubElement(signature.find(path), child, attributes or {})

    return change


def prefixes(value):
    return insert(TRANSFORM, q(names.EC, "InclusiveNamespaces"), {"PrefixList": value})


def no_transforms(signature):
    signature[0][2].remove(signature[0][2][0])


def empty_transforms(signature):
    del signature[0][2][0][0]


def attachment_complete(signature):
    signature[0][3][0][0].set("Algorithm", names.ATTACHMENT_COMPLETE_SIGNATURE)


def canonicalised_attachment(signature):
    signature[0][3][0][0].set("Algorithm", names.EXC_C14N)


def prefix_list_on_attachment(signature):
    etree.SubElement(signature[0][3][0][0], q(names.EC, "InclusiveNamespaces"), {"PrefixList": "a"})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (set_algorithm(SIGNATURE_METHOD, names.DS + "rsa-sha1"), "alg.signature"),
        (set_algorithm(SIGNATURE_METHOD, names.DS + "dsa-sha1"), "alg.signature"),
        (set_algorithm(SIGNATURE_METHOD, names.DS + "hmac-sha1"), "alg.signature"),
        (set_algorithm(SIGNATURE_METHOD, names.HMAC_SHA256), "alg.signature"),
        (set_algorithm(SIGNATURE_METHOD, ""), "alg.signature"),
        (set_algorithm(SIGNATURE_METHOD, "none"), "alg.signature"),
        (set_algorithm(SIGNATURE_METHOD, names.RSA_SHA384), "alg.signature"),
        (set_algorithm(SIGNATURE_METHOD, names.ECDSA_SHA256), "alg.signature"),
        (insert(SIGNATURE_METHOD, q(names.DS, "HMACOutputLength")), "alg.signature"),
        (set_algorithm(C14N_METHOD, names.C14N_10), "alg.c14n"),
        (set_algorithm(C14N_METHOD, names.C14N_11), "alg.c14n"),
        (set_algorithm(C14N_METHOD, names.EXC_C14N + "WithComments"), "alg.c14n"),
        (set_algorithm(DIGEST_METHOD, names.SHA1), "alg.digest"),
        (set_algorithm(DIGEST_METHOD, "http://www.w3.org/2001/04/xmldsig-more#md5"), "alg.digest"),
        (insert(DIGEST_METHOD, "x"), "alg.digest"),
        (set_algorithm(TRANSFORM, names.C14N_10), "alg.transform"),
        (set_algorithm(TRANSFORM, names.ENVELOPED_SIGNATURE), "alg.transform"),
        (set_algorithm(TRANSFORM, "http://www.w3.org/TR/1999/REC-xpath-19991116"), "alg.transform"),
        (set_algorithm(TRANSFORM, "http://www.w3.org/TR/1999/REC-xslt-19991116"), "alg.transform"),
        (set_algorithm(TRANSFORM, names.DS + "base64"), "alg.transform"),
        (set_algorithm(TRANSFORM, "urn:unknown"), "alg.transform"),
        (insert(TRANSFORM, q(names.DS, "XPath")), "alg.transform"),
        (no_transforms, "alg.transform"),
        (empty_transforms, "alg.transform"),
        (attachment_complete, "alg.transform"),
        (canonicalised_attachment, "alg.transform"),
        (prefix_list_on_attachment, "alg.transform"),
        (prefixes("#default"), "alg.c14n"),
        (prefixes(" ".join(f"p{number}" for number in range(17))), "alg.c14n"),
    ],
)
def test_algorithms_not_agreed_are_refused(xml, change, reason):
    element = etree.fromstring(xml)
    change(element)

    with pytest.raises(PolicyNoncompliance) as refused:
        check_algorithms(read_signature(element), EDELIVERY_1_15)

    assert (refused.value.gate, refused.value.reason) == ("G5", reason)


@pytest.mark.parametrize("extra", [1, 2, 10])
def test_more_than_one_transform_is_refused(xml, extra):
    element = etree.fromstring(xml)
    for _ in range(extra):
        insert(
            ds("SignedInfo", "Reference", "Transforms"),
            q(names.DS, "Transform"),
            {"Algorithm": names.EXC_C14N},
        )(element)

    with pytest.raises(PolicyNoncompliance) as refused:
        check_algorithms(read_signature(element), EDELIVERY_1_15)

    assert refused.value.reason == "alg.transform"


@pytest.mark.parametrize("algorithm", [names.RSA_SHA384, names.RSA_SHA512])
def test_other_rsa_hashes_need_an_agreement(people, workshop, algorithm):
    signature = read(signature_xml(people.sender, algorithm=algorithm))
    agreed = workshop.policy(signature_algorithms=frozenset({algorithm}))

    check_algorithms(signature, agreed)
    verify_signature(signature, people.sender.certificate, agreed)

    with pytest.raises(PolicyNoncompliance):
        check_algorithms(signature, EDELIVERY_1_15)


def test_rsa_sha384_is_a_quirk(people, workshop):
    signature = read(signature_xml(people.sender, algorithm=names.RSA_SHA384))

    check_algorithms(signature, workshop.policy(quirks=frozenset({Quirk.RSA_SHA384})))


@pytest.fixture(scope="module")
def other_keys(keyholder, make_certificate, people):
    def holder(key, serial):
        return keyholder(
            key, make_certificate(people.sender.certificate.subject, key, serial=serial)
        )

    return {
        names.EDDSA_ED25519: holder(ed25519.Ed25519PrivateKey.generate(), 51),
        names.ECDSA_SHA256: holder(ec.generate_private_key(ec.SECP256R1()), 52),
        "P-521": holder(ec.generate_private_key(ec.SECP521R1()), 53),
        "P-192": holder(ec.generate_private_key(ec.SECP192R1()), 54),
        "RSA-1024": holder(rsa.generate_private_key(65537, 1024), 55),
        "e=3": holder(rsa.generate_private_key(3, 2048), 56),
    }


@pytest.mark.parametrize(
    ("algorithm", "name"),
    [
        (names.EDDSA_ED25519, names.EDDSA_ED25519),
        (names.ECDSA_SHA256, names.ECDSA_SHA256),
        (names.ECDSA_SHA256, "P-521"),
        (names.RSA_SHA256, "e=3"),
    ],
)
def test_other_keys_verify_where_agreed(other_keys, workshop, algorithm, name):
    policy = workshop.policy(signature_algorithms=frozenset({algorithm}))
    holder = other_keys[name]
    signature = read(signature_xml(holder, algorithm=algorithm))

    check_algorithms(signature, policy)
    verify_signature(signature, holder.certificate, policy)

    changed = read(signature_xml(holder, algorithm=algorithm).replace("#a", "#b", 1))
    with pytest.raises(SignatureValueInvalid):
        verify_signature(changed, holder.certificate, policy)


@pytest.mark.attack("ALG-08")
@pytest.mark.parametrize("declared", [names.RSA_SHA256, names.ECDSA_SHA256, names.EDDSA_ED25519])
@pytest.mark.parametrize("key", [names.RSA_SHA256, names.ECDSA_SHA256, names.EDDSA_ED25519])
def test_algorithm_of_another_key_type_is_refused(people, other_keys, workshop, declared, key):
    holder = {names.RSA_SHA256: people.sender, **other_keys}[key]
    policy = workshop.policy(signature_algorithms=frozenset({declared}))
    xml = signature_xml(holder, algorithm=key).replace(key, declared)

    if declared == key:
        verify_signature(read(xml), holder.certificate, policy)
        return
    with pytest.raises(PolicyNoncompliance) as refused:
        verify_signature(read(xml), holder.certificate, policy)
    assert refused.value.reason == "alg.key"


@pytest.mark.attack("ALG-08")
def test_ecdsa_on_a_small_curve_is_refused(other_keys, workshop):
    holder = other_keys["P-192"]
    policy = workshop.policy(signature_algorithms=frozenset({names.ECDSA_SHA256}))

    with pytest.raises(PolicyNoncompliance) as refused:
        verify_signature(
            read(signature_xml(holder, algorithm=names.ECDSA_SHA256)), holder.certificate, policy
        )
    assert refused.value.reason == "alg.key"


def test_ecdsa_value_in_der_form_is_refused(other_keys, workshop):
    holder = other_keys[names.ECDSA_SHA256]
    policy = workshop.policy(signature_algorithms=frozenset({names.ECDSA_SHA256}))
    references = [write_signed_reference("#a", DIGEST)]
    signed_info = write_signed_info(references, names.ECDSA_SHA256)
    der = holder.key.sign(signed_info.encode(), ec.ECDSA(SHA256()))
    signature = read(write_signature(signed_info, der, KEY_INFO, signature_id="S"))

    with pytest.raises(SignatureValueInvalid):
        verify_signature(signature, holder.certificate, policy)


def test_ecdsa_value_of_another_width_is_refused(other_keys, workshop):
    """A zero octet before s leaves the numbers as they are; the value is another one all the same."""
    holder = other_keys[names.ECDSA_SHA256]
    policy = workshop.policy(signature_algorithms=frozenset({names.ECDSA_SHA256}))
    signed_info = write_signed_info([write_signed_reference("#a", DIGEST)], names.ECDSA_SHA256)
    value = holder.sign(signed_info.encode(), names.ECDSA_SHA256)

    def verify(octets):
        signature = read(write_signature(signed_info, octets, KEY_INFO, signature_id="S"))
        verify_signature(signature, holder.certificate, policy)

    verify(value)
    with pytest.raises(SignatureValueInvalid):
        verify(value[:32] + b"\0" + value[32:])


@pytest.mark.attack("ALG-09")
def test_rsa_1024_is_refused_but_for_its_quirk(other_keys, workshop):
    holder = other_keys["RSA-1024"]
    signature = read(signature_xml(holder))

    with pytest.raises(PolicyNoncompliance) as refused:
        verify_signature(signature, holder.certificate, EDELIVERY_1_15)
    assert refused.value.reason == "alg.key"
    verify_signature(
        signature, holder.certificate, workshop.policy(quirks=frozenset({Quirk.SMALL_RSA}))
    )


# Digests of elements


def test_an_element_is_digested_where_it_stands(people):
    document = etree.fromstring('<a xmlns:p="urn:p"><b Id="a" xmlns:q="urn:q"><p:c/></b></a>')
    canonical = b'<b Id="a"><p:c xmlns:p="urn:p"></p:c></b>'
    signature = read(
        write_signature(
            write_signed_info(
                [write_signed_reference("#a", hashlib.sha256(canonical).digest())], names.RSA_SHA256
            ),
            b"v",
            KEY_INFO,
            signature_id="S",
        )
    )

    verify_reference(signature.references[0], document[0])

    document[0].set("x", "")
    with pytest.raises(ReferenceDigestMismatch) as refused:
        verify_reference(signature.references[0], document[0])
    assert (refused.value.gate, refused.value.reason) == ("G6", "sig.digest")


def test_a_prefix_list_is_honoured(people):
    document = etree.fromstring('<a xmlns:p="urn:p"><b Id="a"/></a>')
    canonical = b'<b xmlns:p="urn:p" Id="a"></b>'
    element = etree.fromstring(signature_xml(people.sender, uris=["#a"]))
    prefixes("p")(element)
    element[0][2][2].text = base64.b64encode(hashlib.sha256(canonical).digest()).decode()

    verify_reference(read_signature(element).references[0], document[0])


def test_a_relative_namespace_has_no_canonical_form(people):
    document = etree.fromstring('<b Id="a" xmlns="rel/ative"/>')
    empty = hashlib.sha256(b"").digest()
    references = [write_signed_reference("#a", empty)]
    signed_info = write_signed_info(references, names.RSA_SHA256)
    signature = read(write_signature(signed_info, b"v", KEY_INFO, signature_id="S"))

    with pytest.raises(FailedAuthentication) as refused:
        verify_reference(signature.references[0], document)
    assert refused.value.reason == "c14n.failed"
