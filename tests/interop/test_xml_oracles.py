"""xmlsec and signxml as oracles over generated messages: what we sign both accept, what is changed all three refuse.

What differs between the three is stated as a test of its own. xmlsec knows no `cid:` reference, so it judges whole
messages without parts, and of messages with parts the value over SignedInfo. signxml hashes a part as it is, which
is right for compressed and binary parts, and checks everything.
"""

import base64
import hashlib
from collections.abc import Callable
from typing import Any

import pytest
import xmlsec
from as4_peer import SignedBy
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from interop_envelopes import FOUR_CORNER, IN_CLEAR, Composed, compose
from lxml import etree
from signxml import XMLVerifier
from signxml.exceptions import SignXMLException
from signxml.verifier import SignatureConfiguration

from envelope import names
from envelope.errors import RemoteProtocolError
from envelope.messaging import Property
from envelope.names import q
from envelope.parts import PartOpener
from envelope.pmode import EDELIVERY_1_15, SecuritySuite, TokenForm
from envelope.soap import parse_soap
from envelope.verified import ParsedUserMessage
from envelope.wsse import authenticate, decrypt_key
from envelope.xml import scan
from envelope.xmldsig import read_signature

pytestmark = [
    pytest.mark.matrix(profile="eDelivery AS4 1.15, generated messages"),
    pytest.mark.timeout(300),
]

FEW, MANY = 25, 500
VERIFIED = "signature of a message is verified"
CHANGED = "message that was changed in one place is refused"
UNSEEN = "change that canonical form does not see is accepted"
Oracle = Callable[[bytes, Composed, x509.Certificate, dict[str, bytes]], None]

ANY_TEXT = st.text(
    st.one_of(
        st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Cn", "Co", "Zl", "Zp")),
        st.sampled_from("<>&\"' ]"),
    ),
    min_size=1,
    max_size=30,
)
VALUES = ANY_TEXT.filter(lambda text: text == text.strip(" "))
NAMES = st.from_regex(r"[!-~]{1,12}( [!-~]{1,8})?", fullmatch=True)
MESSAGES = st.fixed_dictionaries(
    {
        "properties": st.lists(
            st.builds(Property, NAMES, VALUES, st.none() | NAMES), max_size=4
        ).map(lambda some: (*FOUR_CORNER, *some)),
        "payloads": st.lists(st.binary(max_size=300), max_size=3),
        "compress": st.booleans(),
        "encrypt": st.booleans(),
        "suite": st.builds(
            SecuritySuite,
            signing_token=st.sampled_from(
                [TokenForm.BINARY_SECURITY_TOKEN, TokenForm.KEY_IDENTIFIER, TokenForm.ISSUER_SERIAL]
            ),
        ),
    }
)


def composed(facts: dict[str, Any], municipality: Any, clinic: Any) -> Composed:
    options = {key: value for key, value in facts.items() if key != "payloads"}
    return compose(
        municipality,
        clinic.issued.certificate,
        *facts["payloads"],
        mime_type="application/octet-stream",
        **options,
    )


def header_signature(root: etree._Element) -> etree._Element:
    return next(root.iter(q(names.DS, "Signature")))


def judge_ourselves(
    data: bytes, sent: Composed, municipality: Any, clinic: Any
) -> dict[str, bytes]:
    """Gates G4 to G8; the octets of each part as they were signed."""
    policy = IN_CLEAR if b"EncryptedKey" not in sent.envelope.data else EDELIVERY_1_15
    check = SignedBy(municipality.issued.certificate)
    parsed = ParsedUserMessage.read(parse_soap(scan(data)))
    decrypted = decrypt_key(
        authenticate(parsed, policy=policy, check=check), clinic.issued.decrypter()
    )
    signed = {}
    for content_id, wire in sent.parts.items():
        opener = PartOpener(decrypted, content_id)
        signed[content_id] = opener.update(wire)
        opener.finish()
    return signed


def judge_xmlsec(
    data: bytes, sent: Composed, certificate: x509.Certificate, signed: dict[str, bytes]
) -> None:
    """The whole signature, or over parts its value; raises `xmlsec.Error`."""
    root = etree.fromstring(data)
    signature = header_signature(root)
    context = xmlsec.SignatureContext()
    context.key = xmlsec.Key.from_memory(
        certificate.public_bytes(Encoding.PEM), xmlsec.KeyFormat.CERT_PEM, None
    )
    if not sent.parts:
        xmlsec.tree.add_ids(root, ["Id"])
        context.verify(signature)
        return
    read = read_signature(signature)
    octets = etree.tostring(read.signed_info, method="c14n", exclusive=True)
    context.verify_binary(octets, xmlsec.constants.TransformRsaSha256, read.value)


def judge_signxml(
    data: bytes, sent: Composed, certificate: x509.Certificate, signed: dict[str, bytes]
) -> None:
    """Signature value, header, Body and every part; raises `SignXMLException`."""
    XMLVerifier().verify(
        etree.fromstring(data),
        x509_cert=certificate.public_bytes(Encoding.PEM).decode(),
        uri_resolver=lambda uri: signed[uri.removeprefix("cid:")],
        id_attribute="Id",
        validate_schema=False,
        expect_config=SignatureConfiguration(
            location=f"./{q(names.S12, 'Header')}/{q(names.WSSE, 'Security')}/",
            expect_references=len(sent.parts) + 2,
        ),
    )


REFUSALS = {judge_xmlsec: (xmlsec.Error,), judge_signxml: (SignXMLException,)}
ORACLES = pytest.mark.parametrize(
    "oracle",
    [
        pytest.param(oracle, id=peer, marks=pytest.mark.matrix(peer=peer, direction="us to peer"))
        for peer, oracle in (("xmlsec", judge_xmlsec), ("signxml", judge_signxml))
    ],
)
COUNTS = pytest.mark.parametrize(
    "count",
    [FEW, pytest.param(MANY, marks=pytest.mark.slow)],
    ids=lambda count: f"{count} examples",
)


def examples(count: int) -> settings:
    return settings(
        max_examples=count, suppress_health_check=list(HealthCheck), database=None, deadline=None
    )


@pytest.mark.matrix(case=VERIFIED)
@COUNTS
@ORACLES
def test_what_we_sign_is_verified(oracle: Oracle, count: int, municipality, clinic) -> None:
    @examples(count)
    @given(MESSAGES)
    def verified(facts: dict[str, Any]) -> None:
        sent = composed(facts, municipality, clinic)
        signed = judge_ourselves(sent.envelope.data, sent, municipality, clinic)
        oracle(sent.envelope.data, sent, municipality.issued.certificate, signed)

    verified()


def change_text(root: etree._Element, draw: Any) -> None:
    messaging = next(root.iter(q(names.EB, "Messaging")))
    texts = [element for element in messaging.iter() if (element.text or "").strip()]
    element = draw(st.sampled_from(texts))
    element.text = draw(ANY_TEXT.filter(lambda text: text != element.text))


def change_attribute(root: etree._Element, draw: Any) -> None:
    messaging = next(root.iter(q(names.EB, "Messaging")))
    places = [(element, name) for element in messaging.iter() for name in element.attrib]
    element, name = draw(st.sampled_from(places))
    element.set(name, element.get(name) + "x")


def remove_element(root: etree._Element, draw: Any) -> None:
    messaging = next(root.iter(q(names.EB, "Messaging")))
    element = draw(st.sampled_from(list(messaging.iterdescendants())))
    element.getparent().remove(element)


def mark_body(root: etree._Element, draw: Any) -> None:
    next(root.iter(q(names.S12, "Body"))).set("lang", draw(st.sampled_from("abc")))


def change_digest(root: etree._Element, draw: Any) -> None:
    value = draw(st.sampled_from(list(root.iter(q(names.DS, "DigestValue")))))
    value.text = base64.b64encode(hashlib.sha256(value.text.encode()).digest()).decode()


def drop_reference(root: etree._Element, draw: Any) -> None:
    reference = draw(st.sampled_from(list(root.iter(q(names.DS, "Reference")))))
    reference.getparent().remove(reference)


def change_value(root: etree._Element, draw: Any) -> None:
    value = next(root.iter(q(names.DS, "SignatureValue")))
    octets = bytearray(base64.b64decode(value.text))
    octets[draw(st.integers(0, len(octets) - 1))] ^= 1 << draw(st.integers(0, 7))
    value.text = base64.b64encode(octets).decode()


IN_SIGNED_INFO = (change_digest, drop_reference, change_value)
CHANGES = (*IN_SIGNED_INFO, change_text, change_attribute, remove_element, mark_body)


@pytest.mark.matrix(case=CHANGED)
@COUNTS
@ORACLES
def test_what_was_changed_all_refuse(oracle: Oracle, count: int, municipality, clinic) -> None:
    @examples(count)
    @given(MESSAGES, st.data())
    def refused(facts: dict[str, Any], data: st.DataObject) -> None:
        sent = composed(facts, municipality, clinic)
        signed = judge_ourselves(sent.envelope.data, sent, municipality, clinic)
        blind = oracle is judge_xmlsec and sent.parts
        change = data.draw(st.sampled_from(IN_SIGNED_INFO if blind else CHANGES))
        root = etree.fromstring(sent.envelope.data)
        change(root, data.draw)
        changed = etree.tostring(root)
        with pytest.raises(RemoteProtocolError):
            judge_ourselves(changed, sent, municipality, clinic)
        with pytest.raises(REFUSALS[oracle]):
            oracle(changed, sent, municipality.issued.certificate, signed)

    refused()


MESSAGE = {
    "properties": FOUR_CORNER,
    "payloads": [],
    "compress": True,
    "encrypt": False,
    "suite": SecuritySuite(),
}


@pytest.mark.matrix(case=UNSEEN)
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"<S12:Body ", b"<S12:Body \n  "),
        (b"<S12:Body ", b'<S12:Body xmlns:unused="urn:unused" '),
        (b"?>\n<", b"?>\n\n  <"),
        (b"originalSender", b"&#111;riginalSender"),
    ],
    ids=[
        "white space in a tag",
        "unused namespace",
        "white space before the root",
        "character reference",
    ],
)
@ORACLES
def test_what_canonical_form_does_not_see_all_accept(
    oracle: Oracle, old: bytes, new: bytes, municipality, clinic
) -> None:
    sent = composed(MESSAGE, municipality, clinic)
    assert old in sent.envelope.data
    changed = sent.envelope.data.replace(old, new, 1)
    judge_ourselves(changed, sent, municipality, clinic)
    oracle(changed, sent, municipality.issued.certificate, {})


@pytest.mark.matrix(
    case="comment or processing instruction in the header: they accept it, we refuse it at G3"
)
@pytest.mark.parametrize("inserted", [b"<!-- x -->", b"<?x y?>"], ids=["comment", "instruction"])
@ORACLES
def test_difference_of_what_canonical_form_drops(
    oracle: Oracle, inserted: bytes, municipality, clinic
) -> None:
    """A comment splits a text where a reader joins it: no product sends one, so we need not guess.

    A processing instruction is signed, so one that was inserted afterwards all refuse.
    """
    sent = composed(MESSAGE, municipality, clinic)
    changed = sent.envelope.data.replace(b"</eb:MessageId>", inserted + b"</eb:MessageId>", 1)
    assert changed != sent.envelope.data
    with pytest.raises(RemoteProtocolError) as refused:
        judge_ourselves(changed, sent, municipality, clinic)
    assert refused.value.gate == "G3"
    if inserted.startswith(b"<!--"):
        oracle(changed, sent, municipality.issued.certificate, {})
    else:
        with pytest.raises(REFUSALS[oracle]):
            oracle(changed, sent, municipality.issued.certificate, {})


@pytest.mark.matrix(
    peer="signxml",
    direction="us to peer",
    case="uncompressed XML part: we sign its canonical form, signxml hashes its octets",
)
def test_difference_of_uncompressed_xml(municipality, clinic) -> None:
    """signxml leaves out a transform that it does not know; WSS4J is the oracle for this one."""
    outcomes = []
    for document in (b"<a><b></b></a>", b"<a  ><b/></a>"):
        sent = compose(
            municipality,
            clinic.issued.certificate,
            document,
            compress=False,
            encrypt=False,
            mime_type="application/xml",
        )
        signed = judge_ourselves(sent.envelope.data, sent, municipality, clinic)
        assert list(signed.values()) == [document]
        try:
            judge_signxml(sent.envelope.data, sent, municipality.issued.certificate, signed)
            outcomes.append("verified")
        except SignXMLException:
            outcomes.append("refused")
    assert outcomes == ["verified", "refused"]


@pytest.mark.matrix(peer="xmlsec", direction="peer to us", case=VERIFIED)
@COUNTS
def test_what_xmlsec_signs_we_verify(count: int, municipality, clinic) -> None:
    """The mirror: digests and value made by xmlsec, with its own line breaks, pass our gates."""
    pem = municipality.issued.private_key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    key = xmlsec.Key.from_memory(pem, xmlsec.KeyFormat.PEM, None)

    @examples(count)
    @given(MESSAGES)
    def verified(facts: dict[str, Any]) -> None:
        sent = composed({**facts, "payloads": []}, municipality, clinic)
        root = etree.fromstring(sent.envelope.data)
        signature = header_signature(root)
        for value in signature.iter(q(names.DS, "DigestValue"), q(names.DS, "SignatureValue")):
            value.text = None
        xmlsec.tree.add_ids(root, ["Id"])
        context = xmlsec.SignatureContext()
        context.key = key
        context.sign(signature)
        judge_ourselves(etree.tostring(root), sent, municipality, clinic)

    verified()
