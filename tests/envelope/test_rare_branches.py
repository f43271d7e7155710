"""Branches of the gates that the messages of the other tests do not take: each by the element or octets that reach it."""

import importlib.util
import sys
import uuid
import zlib
from types import SimpleNamespace

import pytest
from as4_wire import business_document
from asn1crypto import core as asn1_core
from lxml import etree

from envelope import (
    compression,
    key_agreement,
    messaging,
    names,
    sbd_splitter,
    sbdh,
    security_token,
    wsse,
    xml,
)
from envelope.codes import Severity
from envelope.errors import (
    FailedAuthentication,
    Gate,
    InvalidHeader,
    LocalProtocolError,
    MimeInconsistency,
    PolicyNoncompliance,
    SbdRefused,
    TransportRefused,
)
from envelope.limits import DEFAULT_LIMITS
from envelope.mime import MultipartParser, parse_content_type
from envelope.names import q
from envelope.parts import digest_content
from envelope.pmode import EDELIVERY_1_15, EDELIVERY_2_0_P256, Quirk, SecuritySuite, TokenForm
from envelope.security_header import claimed_algorithm, read_signer
from envelope.security_token import read_key_info, write_token_reference
from envelope.signals import ErrorEntry, SignalMessage, read_signal
from envelope.signed_info import read_signed_info
from envelope.soap import FaultCode, fault, parse_soap
from envelope.verified import ParsedSignal, SignatureRecord
from envelope.wsse import WireIds, sign_signal
from envelope.xmldsig import check_rsa_size, public_key, verify_record

DS = f'xmlns:ds="{names.DS}"'


def element(text):
    return etree.fromstring(text)


# G2


def test_a_bare_content_id_must_still_be_one():
    head = 'multipart/related; type="application/soap+xml"; boundary=b'
    parser = MultipartParser(parse_content_type(head), quirks=frozenset({Quirk.BARE_CONTENT_ID}))
    with pytest.raises(MimeInconsistency) as refused:
        parser.feed(b"--b\r\nContent-ID: two words\r\n\r\n")
    assert refused.value.reason == "att.cid"


# G3


def test_resolvers_read_schemas_of_the_package_and_nothing_else():
    package, refusing = xml._PackageResolver(), xml._RefusingResolver()
    for url in ("http://www.w3.org/2001/xml.xsd.exe", "../../secret.xsd", None):
        with pytest.raises(OSError, match="only schemas"):
            package.resolve(url, None, None)
    with pytest.raises(OSError, match="never read"):
        refusing.resolve("file:///etc/passwd", None, None)


def test_levels_are_counted_through_every_end_tag():
    """Forty down, one up and forty down again are 79 levels, though no more than forty stand in a row."""
    deep = b"<a>" * 40 + b"</a>" + b"<a>" * 40 + b"</a>" * 79
    with pytest.raises(TransportRefused) as refused:
        xml.scan(deep)
    assert (refused.value.reason, refused.value.gate) == ("xml.limits", Gate.G3)


# G4


def test_an_answer_to_another_version_says_which_one_is_spoken():
    header = etree.fromstring(fault(FaultCode.VERSION_MISMATCH))[0]
    assert [each.tag for each in header] == [q(names.S12, "Upgrade")]
    assert header[0][0].attrib == {"qname": "S12:Envelope"}


def test_two_security_headers_are_refused_by_policy(signal):
    root = etree.fromstring(signal)
    security = next(root.iter(q(names.WSSE, "Security")))
    security.addnext(etree.fromstring(etree.tostring(security)))
    with pytest.raises(FailedAuthentication) as refused:
        parse_soap(xml.scan(etree.tostring(root)))
    assert (refused.value.reason, refused.value.gate) == ("sec.cardinality", Gate.G5)


def test_a_description_that_has_its_language_keeps_it():
    language = q(names.XML, "lang")
    told = element(
        f'<eb:Messaging xmlns:eb="{names.EB}"><eb:Description xml:lang="da"/><eb:Description/></eb:Messaging>'
    )
    copied = messaging._with_languages(told)
    assert [each.get(language) for each in copied] == ["da", "und"]
    assert [each.get(language) for each in told] == ["da", None]


def test_a_warning_is_no_failure():
    warning, failure = (ErrorEntry("EBMS:0004", each) for each in Severity)
    signal = SignalMessage("m@x", "2026-11-21T12:00:00Z", errors=(warning, failure))
    if failure.severity is Severity.WARNING:
        warning, failure = failure, warning
    assert signal.failures == (failure,)


# G5


@pytest.fixture
def signal(people):
    from envelope.codes import OTHER
    from envelope.signals import build_error_messaging

    ids = WireIds.new("rare")
    told = build_error_messaging(
        message_id="m@x", timestamp="2026-11-21T12:00:00.000Z", ref_to_message_id="sent@x",
        errors=[OTHER], messaging_id=ids.messaging,
    )  # fmt: skip
    return sign_signal(told, signer=people.sender, suite=SecuritySuite(), ids=ids)


def without(document, name):
    for found in list(document.root.iter(name)):
        found.getparent().remove(found)


def test_the_signer_and_the_algorithm_are_read_before_anything_is_verified(
    workshop, people, signal
):
    document = workshop.document(signal)
    assert read_signer(document).certificate == people.sender.certificate
    assert claimed_algorithm(document) == names.RSA_SHA256
    found = wsse.find_signer(ParsedSignal.read(document), check=workshop.check())
    assert found == people.sender.certificate
    without(document, q(names.DS, "SignatureMethod"))
    assert claimed_algorithm(document) is None


def test_without_a_security_header_nobody_signed(workshop, signal):
    root = etree.fromstring(signal)
    header = root[0]
    header.remove(header.find(q(names.WSSE, "Security")))
    document = workshop.document(etree.tostring(root))
    assert claimed_algorithm(document) is None
    with pytest.raises(PolicyNoncompliance) as refused:
        read_signer(document)
    assert refused.value.reason == "sec.missing"


def signed_info(change, workshop, signal):
    found = next(etree.fromstring(signal).iter(q(names.DS, "SignedInfo")))
    change(found)
    return found


def reasons(change, workshop, signal):
    with pytest.raises((PolicyNoncompliance, FailedAuthentication)) as refused:
        read_signed_info(signed_info(change, workshop, signal), DEFAULT_LIMITS)
    assert refused.value.gate == Gate.G5
    return refused.value.reason


def first(name):
    return lambda info: next(info.iter(q(names.DS, name)))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda info: setattr(first("Transform")(info), "text", "x"), "alg.transform"),
        (lambda info: setattr(first("Transform")(info), "tag", q(names.DS, "Other")), "sig.schema"),
        (lambda info: setattr(first("DigestValue")(info), "text", "A==="), "sig.schema"),
        (lambda info: setattr(first("DigestValue")(info), "text", ""), "sig.schema"),
        (lambda info: first("Reference")(info).set("Type", "urn:x"), "sig.reference"),
        (lambda info: first("Reference")(info).set("URI", ""), "sig.reference"),
        (
            lambda info: first("CanonicalizationMethod")(info).insert(
                0,
                element(f'<ec:InclusiveNamespaces xmlns:ec="{names.EC}" PrefixList="#default"/>'),
            ),
            "alg.c14n",
        ),
        (
            lambda info: first("Transform")(info).append(
                element(
                    f'<ec:InclusiveNamespaces xmlns:ec="{names.EC}" PrefixList="{" ".join("abcdefghijklmnopq")}"/>'
                )
            ),
            "alg.c14n",
        ),
    ],
)
def test_a_signed_info_of_another_shape_is_refused_from_its_tree(change, reason, workshop, signal):
    assert reasons(change, workshop, signal) == reason


def test_a_signed_info_without_a_canonical_form_is_read_from_its_tree(
    monkeypatch, workshop, signal
):
    """A relative namespace URI has none; whether the signature is then good is for its verification to say."""
    info = signed_info(lambda _: None, workshop, signal)
    text = etree.tostring(info).replace(
        b"<ds:SignedInfo ", b'<ds:SignedInfo xmlns:r="relative" ', 1
    )
    found = read_signed_info(etree.fromstring(text), DEFAULT_LIMITS)
    assert found.octets is None
    usual = read_signed_info(info, DEFAULT_LIMITS)
    assert usual.octets is not None
    assert [each.digest_value for each in found.references] == [
        each.signed().digest_value for each in usual.references
    ]


@pytest.mark.parametrize(
    "inside",
    [
        "<ds:X509SubjectName>x</ds:X509SubjectName>",
        "<ds:X509IssuerSerial><ds:X509IssuerName>x</ds:X509IssuerName></ds:X509IssuerSerial>",
        "<ds:X509IssuerSerial><ds:X509IssuerName/><ds:X509SerialNumber>1e3</ds:X509SerialNumber></ds:X509IssuerSerial>",
    ],
)
def test_x509_data_names_a_certificate_in_one_of_two_ways(inside):
    info = element(
        f'<ds:KeyInfo {DS} xmlns:wsse="{names.WSSE}"><wsse:SecurityTokenReference><ds:X509Data>{inside}</ds:X509Data>'
        "</wsse:SecurityTokenReference></ds:KeyInfo>"
    )
    with pytest.raises(PolicyNoncompliance) as refused:
        read_key_info(info, {})
    assert refused.value.reason == "key.reference"


@pytest.mark.parametrize("octets", [0, 1, 127, 128, 255, 256, 70_000])
def test_a_sequence_of_any_length_is_der(octets):
    written = security_token._der_sequence(bytes(octets))
    assert written == asn1_core.Sequence(contents=bytes(octets)).dump()


def test_an_issuer_that_is_no_text_is_not_written():
    nobody = SimpleNamespace(
        issuer=SimpleNamespace(rfc4514_string=lambda: "CN=a\nb"), serial_number=1
    )
    with pytest.raises(LocalProtocolError):
        write_token_reference(TokenForm.ISSUER_SERIAL, nobody, token_id="t")


# G6


@pytest.mark.parametrize("exponent", [1, 4, 2**33 + 1])
def test_an_odd_exponent_is_refused(exponent):
    numbers = SimpleNamespace(e=exponent)
    key = SimpleNamespace(key_size=2048, public_numbers=lambda: numbers)
    with pytest.raises(PolicyNoncompliance) as refused:
        check_rsa_size(key, EDELIVERY_1_15)
    assert refused.value.reason == "alg.key"


def test_a_key_that_cannot_be_read_is_refused():
    class Unreadable:
        def public_key(self):
            raise ValueError("no such curve")

    with pytest.raises(PolicyNoncompliance) as refused:
        public_key(Unreadable())
    assert refused.value.reason == "alg.key"


def test_a_record_of_another_algorithm_than_was_signed_is_refused(people):
    signed = b"<x><a/><b/></x>"
    for text in (signed, signed.replace(b"x>", b"y>")):
        record = SignatureRecord(names.RSA_SHA256, text, people.sender.sign(text, names.RSA_SHA256))
        with pytest.raises(FailedAuthentication) as refused:
            verify_record(record, people.sender.certificate, EDELIVERY_1_15)
        assert refused.value.reason == "sig.schema"


# G7


def test_an_originator_key_is_written_in_the_way_of_its_kind():
    for read, inside in (
        (key_agreement._read_x25519, "<ds:KeyValue/>"),
        (key_agreement._read_point, "<ds:Other/>"),
        (key_agreement._read_point, "<ds:KeyValue><ds:Other/></ds:KeyValue>"),
        (
            key_agreement._read_point,
            f'<ds:KeyValue><e:ECKeyValue xmlns:e="{names.DSIG11}"><e:PublicKey/></e:ECKeyValue></ds:KeyValue>',
        ),
    ):
        with pytest.raises(PolicyNoncompliance) as refused:
            read(
                element(f"<ds:OriginatorKeyInfo {DS}>{inside}</ds:OriginatorKeyInfo>"),
                EDELIVERY_2_0_P256,
            )
        assert refused.value.reason == "enc.schema"


# G8 and G9


def test_a_whole_part_has_the_digest_of_its_pieces():
    import hashlib

    digest = digest_content(
        b"octets", mime_type="application/octet-stream", compressed=False, algorithm=names.SHA256,
        limits=DEFAULT_LIMITS,
    )  # fmt: skip
    assert digest == hashlib.sha256(b"octets").digest()


def test_without_isal_zlib_does_the_work(monkeypatch):
    monkeypatch.setitem(sys.modules, "isal", None)
    spec = importlib.util.spec_from_file_location("compression_without_isal", compression.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.CODEC is zlib
    packer = module.Compressor()
    wire = packer.compress(b"one") + packer.finish()
    assert b"".join(module.Decompressor().decompress(wire)) == b"one"


# G10


def test_base64_that_is_only_looked_at_may_break_off_within_a_group():
    for pieces in ((b"A", b"  A" + b"A" * 26), (b"AAAA" * 3, b"AAAA" * 3)):
        looked = sbd_splitter._Base64Text()
        for piece in pieces:
            looked.check(piece)
        looked.finish()
    looked.check(b"A")
    with pytest.raises(SbdRefused) as refused:
        looked.finish()
    assert refused.value.reason == "sbd.base64"


@pytest.fixture(scope="module")
def document():
    return business_document(str(uuid.UUID(int=1)), str(uuid.UUID(int=2)))


def split(data):
    splitter = sbd_splitter.SbdSplitter()
    splitter.feed(data)
    return splitter.finish()


def test_comments_around_the_document_and_after_its_content_are_read_over(document):
    plain = split(document)
    start, end = document.index(b"<Standard"), document.rindex(b"</")
    around = (
        document[:start]
        + b"<!-- before -->"
        + document[start:end]
        + b"<!-- c -->\n"
        + document[end:]
    )
    assert split(around) == plain


def test_a_document_with_something_unfinished_behind_it_is_malformed(document):
    for rest in (b"<!-", b"<?x", b"<!-- open"):
        with pytest.raises(SbdRefused) as refused:
            split(document + rest)
        assert refused.value.reason == "sbd.xml"


def test_a_prolog_that_is_looked_at_too_often_is_refused():
    with pytest.raises(SbdRefused) as refused:
        split(b"<!-- BinaryContent -->" + b"<!-- -->" * 20)
    assert refused.value.reason == "sbd.limits"


def test_a_header_that_never_came_says_so():
    head = sbd_splitter._Head(DEFAULT_LIMITS, allow_bom=False)
    for ask in (head.read, head.start_tags, head.end_tags):
        with pytest.raises(SbdRefused) as refused:
            ask()
        assert refused.value.reason == "sbd.content"


def test_a_violation_that_stands_nowhere_is_still_one():
    schema = xml.schema("ehmi-sbdh-inbound")
    wrong = element(f'<x:Other xmlns:x="{names.SBDH}"><x:More/></x:Other>')
    assert not schema.validate(wrong)
    assert "Other" in sbdh._first_violation(schema, wrong)
    assert sbdh._first_violation(SimpleNamespace(error_log=()), wrong) == "schema violation"
    lost = SimpleNamespace(path="/nowhere", type_name="X")
    assert sbdh._first_violation(SimpleNamespace(error_log=(lost,)), wrong) == "schema violation"


# Two signals


def test_a_warning_beside_a_receipt_is_read_with_it(workshop, signal):
    warned = signal.replace(b'severity="failure"', b'severity="warning"')
    assert warned != signal
    root = etree.fromstring(warned)
    told = next(root.iter(q(names.EB, "Messaging")))
    receipt = element(
        f'<eb:SignalMessage xmlns:eb="{names.EB}"><eb:MessageInfo><eb:Timestamp>2026-11-21T12:00:00.000Z</eb:Timestamp>'
        "<eb:MessageId>r@x</eb:MessageId><eb:RefToMessageId>sent@x</eb:RefToMessageId></eb:MessageInfo>"
        f'<eb:Receipt><x:NonRepudiationInformation xmlns:x="{names.EBBP}"><x:MessagePartNRInformation>'
        f'<ds:Reference {DS} URI="#a"><ds:DigestMethod Algorithm="{names.SHA256}"/><ds:DigestValue>AAAA</ds:DigestValue>'
        "</ds:Reference></x:MessagePartNRInformation></x:NonRepudiationInformation></eb:Receipt></eb:SignalMessage>"
    )
    told.append(receipt)
    found = read_signal(workshop.document(etree.tostring(root)))
    assert found.message_id == "r@x"
    assert found.receipt is not None
    assert [each.severity for each in found.errors] == [Severity.WARNING]


def test_two_signals_that_are_no_receipt_with_a_warning_are_refused(workshop, signal):
    root = etree.fromstring(signal)
    told = next(root.iter(q(names.EB, "Messaging")))
    told.append(etree.fromstring(etree.tostring(told[0])))
    with pytest.raises(InvalidHeader) as refused:
        read_signal(workshop.document(etree.tostring(root)))
    assert refused.value.reason == "soap.cardinality"
