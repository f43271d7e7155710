"""Token references: each form names one certificate, written and read; everything else is refused."""

import base64

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

from envelope import names
from envelope.errors import CertificateRefused, FailedAuthentication, PolicyNoncompliance
from envelope.names import q
from envelope.pmode import TokenForm
from envelope.security_token import (
    TokenReference,
    load_path,
    read_binary_security_token,
    read_key_info,
    subject_key_identifier,
    write_binary_security_token,
    write_token_reference,
)

XMLNS = f'xmlns:wsse="{names.WSSE}" xmlns:wsu="{names.WSU}" xmlns:ds="{names.DS}"'


def parse(xml):
    return etree.fromstring(f"<x {XMLNS}>{xml}</x>")[0]


def key_info(inner):
    return parse(f"<ds:KeyInfo>{inner}</ds:KeyInfo>")


def der(certificate):
    return certificate.public_bytes(Encoding.DER)


def token_of(form, certificate, chain=()):
    xml = write_binary_security_token(form, certificate, chain, token_id="T")
    return {"T": parse(xml)} if xml else {}


@pytest.mark.parametrize("form", list(TokenForm))
def test_each_form_names_its_certificate(people, form):
    certificate = people.sender.certificate
    reference = read_key_info(
        key_info(write_token_reference(form, certificate, token_id="T")),
        token_of(form, certificate, [people.stranger.certificate]),
    )

    assert reference.kind is form
    assert reference.matches(certificate)
    assert not reference.matches(people.receiver.certificate)


@pytest.mark.parametrize("form", list(TokenForm))
def test_only_a_reference_to_a_path_says_its_token_type(people, form):
    """Basic Security Profile 1.1 R5215; without it WSS4J refuses the path."""
    reference = parse(write_token_reference(form, people.sender.certificate, token_id="T"))
    token_type = names.X509_PKI_PATH_V1 if form is TokenForm.PKI_PATH else None

    assert reference.get(q(names.WSSE11, "TokenType")) == token_type
    assert len(reference.attrib) == (token_type is not None)


@pytest.mark.parametrize("form", [TokenForm.BINARY_SECURITY_TOKEN, TokenForm.PKI_PATH])
def test_a_reference_says_the_type_of_the_token_it_points_at(people, form):
    certificate = people.sender.certificate
    reference = parse(write_token_reference(form, certificate, token_id="T"))[0]

    assert reference.get("ValueType") == token_of(form, certificate)["T"].get("ValueType")


def test_an_issuer_is_written_as_text(people, make_certificate):
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "<A> & B=C")])
    certificate = make_certificate(name, people.sender.key, serial=78)
    written = write_token_reference(TokenForm.ISSUER_SERIAL, certificate, token_id="T")

    assert read_key_info(key_info(written), {}).matches(certificate)


def test_the_path_is_written_leaf_last_and_read_leaf_first(people):
    leaf, issuing, root = (
        each.certificate for each in (people.sender, people.receiver, people.stranger)
    )
    token = token_of(TokenForm.PKI_PATH, leaf, [issuing, root])["T"]

    form, certificates = read_binary_security_token(token)
    raw = base64.b64decode(token.text)

    assert form is TokenForm.PKI_PATH
    assert certificates == (leaf, issuing, root)
    assert raw.endswith(der(leaf))
    assert raw.index(der(root)) < raw.index(der(issuing))


@pytest.mark.attack("KEY-12")
def test_a_path_in_wrong_order_names_its_last_certificate_all_the_same(people):
    """KEY-12: never whichever certificate happens to verify."""
    first, last = people.sender.certificate, people.stranger.certificate
    token = token_of(TokenForm.PKI_PATH, last, [first])["T"]

    assert read_binary_security_token(token)[1][0] == last


def test_the_leaf_is_not_repeated_in_its_own_path(people):
    leaf = people.sender.certificate
    token = token_of(TokenForm.PKI_PATH, leaf, [leaf])["T"]

    assert read_binary_security_token(token)[1] == (leaf,)


def sequence(content):
    return b"\x30\x82" + len(content).to_bytes(2, "big") + content


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path + b"\x00",
        lambda path: path[:-1],
        lambda path: b"\x31" + path[1:],
        lambda path: path[:2] + b"\xff\xff" + path[4:],
        lambda path: b"\x30\x00",
        lambda path: b"\x30",
        lambda path: b"",
        lambda path: b"\x30\x80" + path[4:] + b"\x00\x00",
        lambda path: b"\x30\x85\x00\x00\x00\x00\x01\x00",
        lambda path: b"\x30\x03\x02\x01\x01",
        lambda path: sequence(sequence(b"\x02\x01\x01")),
        lambda path: sequence(path[4:] + b"\x30"),
    ],
)
def test_a_damaged_path_is_refused(people, damage):
    path = sequence(der(people.sender.certificate))

    assert load_path(path) == (people.sender.certificate,)
    assert load_path(b"\x30\x84\0\0" + path[2:]) == (people.sender.certificate,)
    with pytest.raises(CertificateRefused) as refused:
        load_path(damage(path))
    assert (refused.value.gate, refused.value.reason) == ("G5", "cert.parse")


def test_a_path_of_nine_is_refused(people):
    one = der(people.sender.certificate)

    assert len(load_path(sequence(one * 8))) == 8
    with pytest.raises(CertificateRefused):
        load_path(sequence(one * 9))


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("ValueType", names.X509_SKI),
        ("ValueType", ""),
        ("EncodingType", "urn:hex"),
        ("text", "AAAA"),
        ("text", ""),
        ("text", "junk!"),
        ("text", "A" * 65537),
    ],
)
def test_a_bad_binary_security_token_is_refused(people, attribute, value):
    token = token_of(TokenForm.BINARY_SECURITY_TOKEN, people.sender.certificate)["T"]
    if attribute == "text":
        token.text = value
    else:
        token.set(attribute, value)

    with pytest.raises(FailedAuthentication) as refused:
        read_binary_security_token(token)
    assert refused.value.reason == "cert.parse"


def test_octets_after_the_certificate_are_refused(people):
    token = token_of(TokenForm.BINARY_SECURITY_TOKEN, people.sender.certificate)["T"]
    token.text = base64.b64encode(der(people.sender.certificate) + b"\0").decode()

    with pytest.raises(CertificateRefused):
        read_binary_security_token(token)


STR = "<wsse:SecurityTokenReference>{}</wsse:SecurityTokenReference>"
SKI = f'<wsse:KeyIdentifier ValueType="{names.X509_SKI}">AAAA</wsse:KeyIdentifier>'
KEY_VALUE = "<ds:KeyValue><ds:RSAKeyValue/></ds:KeyValue>"
X509 = "<ds:X509Data><ds:X509Certificate>AAAA</ds:X509Certificate></ds:X509Data>"
SERIAL = (
    "<ds:X509IssuerSerial><ds:X509IssuerName>CN=a</ds:X509IssuerName>"
    "<ds:X509SerialNumber>{}</ds:X509SerialNumber></ds:X509IssuerSerial>"
)


def test_the_certificate_itself_may_stand_in_the_reference(people):
    """No product we have samples of writes this form; WS-Security allows it and a partner may."""
    encoded = base64.encodebytes(der(people.sender.certificate)).decode()
    reference = read_key_info(key_info(STR.format(X509.replace("AAAA", encoded))), {})

    assert reference.certificate == people.sender.certificate
    assert reference.matches(people.sender.certificate)


@pytest.mark.parametrize("text", ["AAAA", "?", "", "A" * 70_000])
def test_what_is_no_certificate_is_refused_where_one_stands_in_the_reference(text):
    with pytest.raises(FailedAuthentication) as refused:
        read_key_info(key_info(STR.format(X509.replace("AAAA", text))), {})

    assert refused.value.reason == "cert.parse"


@pytest.mark.parametrize(
    ("inner", "reason"),
    [
        ("", "key.reference"),
        (KEY_VALUE, "key.reference"),
        (X509, "key.reference"),
        ('<ds:RetrievalMethod URI="#x"/>', "key.reference"),
        (f'<KeyInfoReference xmlns="{names.DSIG11}" URI="#x"/>', "key.reference"),
        ("<ds:KeyName>alpha</ds:KeyName>", "key.reference"),
        (STR.format(""), "key.reference"),
        (STR.format(STR.format(SKI)), "key.reference"),
        (STR.format("<ds:X509Data/>"), "key.reference"),
        (STR.format(f"<ds:X509Data>{SERIAL.format('<a/>')}</ds:X509Data>"), "key.reference"),
        (STR.format(SKI.replace("AAAA", "<a/>")), "key.reference"),
        (STR.format(X509.replace("AAAA", "<a/>")), "cert.parse"),
        (STR.format(f"<ds:X509Data>{SERIAL.format('-1')}</ds:X509Data>"), "key.reference"),
        (STR.format(f"<ds:X509Data>{SERIAL.format('0x10')}</ds:X509Data>"), "key.reference"),
        (STR.format(f"<ds:X509Data>{SERIAL.format('٣')}</ds:X509Data>"), "key.reference"),
        (STR.format('<wsse:Reference URI="#absent"/>'), "key.reference"),
        (STR.format('<wsse:Reference URI="http://example.org/x"/>'), "key.reference"),
        (STR.format(SKI.replace("#X509SubjectKeyIdentifier", "#ThumbprintSHA1")), "key.reference"),
        (STR.format(SKI.replace("ValueType", 'EncodingType="urn:hex" ValueType')), "key.reference"),
        (STR.format(SKI.replace("AAAA", "?")), "key.reference"),
        (STR.format(SKI) * 2, "key.ambiguous"),
        (STR.format(SKI) + KEY_VALUE, "key.ambiguous"),
        (KEY_VALUE + X509, "key.ambiguous"),
        (STR.format(SKI + SKI), "key.ambiguous"),
        (STR.format(f"<ds:X509Data>{SERIAL.format(1) * 2}</ds:X509Data>"), "key.ambiguous"),
        (
            STR.format(X509.replace("</ds:X509Data>", SERIAL.format(1) + "</ds:X509Data>")),
            "key.ambiguous",
        ),
        ('<eb:Messaging xmlns:eb="urn:eb"/>', "sec.schema"),
        (STR.format(SKI) + '<eb:Messaging xmlns:eb="urn:eb"/>', "sec.schema"),
    ],
)
def test_another_key_info_is_refused(inner, reason):
    expected = PolicyNoncompliance if reason == "key.reference" else FailedAuthentication

    with pytest.raises((PolicyNoncompliance, FailedAuthentication)) as refused:
        read_key_info(key_info(inner), {})

    assert (refused.value.reason, refused.value.gate) == (reason, "G5")
    if "?" not in inner and "<a/>" not in inner:
        assert isinstance(refused.value, expected)


@pytest.mark.parametrize(
    "issuer",
    [
        'C=DK,O=Klinik\\, Ærø + Søn \\"A/S\\",2.5.4.97=NTRDK-1,CN=Issuing CA',
        'CN=Issuing CA, OID.2.5.4.97=NTRDK-1, O="Klinik, Ærø + Søn \\"A/S\\"", C=DK',
        "CN=issuing  ca,organizationIdentifier=NTRDK-1,O=Klinik\\2C \\c3\\86r\\C3\\B8 \\+ Søn \\22A/S\\22,C=dk",
    ],
)
def test_issuer_names_compare_by_their_parts(people, make_certificate, issuer):
    """Products write names in either order, with other short names, quoting and spaces."""
    issuer = issuer.replace("Ærø + Søn", "Ærø \\+ Søn") if '="' not in issuer else issuer
    name = x509.Name(
        [
            x509.NameAttribute(x509.NameOID.COUNTRY_NAME, "DK"),
            x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, 'Klinik, Ærø + Søn "A/S"'),
            x509.NameAttribute(x509.NameOID.ORGANIZATION_IDENTIFIER, "NTRDK-1"),
            x509.NameAttribute(x509.NameOID.COMMON_NAME, "Issuing CA"),
        ]
    )
    certificate = make_certificate(name, people.sender.key, serial=77)
    reference = TokenReference(TokenForm.ISSUER_SERIAL, issuer=issuer, serial=77)

    assert reference.matches(certificate)


@pytest.mark.parametrize(
    "issuer", ["", "CN=beta", "alpha", "=", "CN=alpha,CN=alpha", ",,,", "\\", "CN=\\FF"]
)
def test_another_issuer_name_matches_nothing(people, issuer):
    reference = TokenReference(TokenForm.ISSUER_SERIAL, issuer=issuer, serial=1001)

    assert not reference.matches(people.sender.certificate)


def test_a_certificate_without_the_extension_is_known_by_its_key(people, make_certificate):
    certificate = make_certificate(
        people.sender.certificate.subject, people.sender.key, serial=5, ski=False
    )

    assert subject_key_identifier(certificate) == subject_key_identifier(people.sender.certificate)


def test_an_empty_reference_matches_nothing(people):
    assert not TokenReference(TokenForm.KEY_IDENTIFIER).matches(people.sender.certificate)


def test_a_token_is_found_by_id_among_those_of_the_header_only(people):
    certificate = people.sender.certificate
    info = key_info(
        write_token_reference(TokenForm.BINARY_SECURITY_TOKEN, certificate, token_id="T")
    )

    with pytest.raises(PolicyNoncompliance):
        read_key_info(info, {"U": token_of(TokenForm.BINARY_SECURITY_TOKEN, certificate)["T"]})
    assert info[0][0].tag == q(names.WSSE, "Reference")
