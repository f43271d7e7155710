"""One meaning in three standards: OASIS SMP 1.0, Busdox and OASIS SMP 2.0, each read as it is written and as others write it."""

import base64
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from envelope import names
from envelope.ehmi import DOCUMENTS, SBDH_ACKNOWLEDGEMENT
from envelope.errors import LocalProtocolError, SmpRefused
from envelope.smp import (
    VERSION_1,
    Endpoint,
    MetadataContent,
    Process,
    Redirect,
    ServiceMetadata,
    SmpForm,
    SmpIdentifier,
    build_group_2,
    build_metadata_2,
    build_service_group,
    build_signed_service_metadata,
    metadata_path,
    read_metadata_2,
    read_path,
    read_service_group,
    read_service_metadata,
    read_signed_service_metadata,
    select_endpoint,
)
from envelope.smp.version_2 import EXCHANGE

FIXTURES = os.environ.get("ACCESSPOINT_FIXTURES")
with_fixtures = pytest.mark.skipif(FIXTURES is None, reason="ACCESSPOINT_FIXTURES is not set")
NOW = datetime(2026, 11, 2, 8, 15, tzinfo=UTC)
DAY = timedelta(days=1)
MIDNIGHT = datetime(2026, 11, 2, tzinfo=UTC)
PARTICIPANT = SmpIdentifier(names.ISO6523_ACTORID, "0088:5790000000029")
DOCUMENT = SmpIdentifier("busdox-docid-qns", SBDH_ACKNOWLEDGEMENT.document_id)
PROCESS = SmpIdentifier("dk-messaging-procid", names.EHMI_PROCESS)
ALL = frozenset(SmpForm)


@dataclass(frozen=True)
class Signer:
    key: rsa.RSAPrivateKey
    certificate: x509.Certificate

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)


def certify(
    key: rsa.RSAPrivateKey,
    public: CertificatePublicKeyTypes | None = None,
    usage: x509.KeyUsage | None = None,
) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public or key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + DAY)
    )
    if usage is not None:
        builder = builder.add_extension(usage, critical=True)
    return builder.sign(key, hashes.SHA256())


@pytest.fixture(scope="module")
def signer() -> Signer:
    key = rsa.generate_private_key(65537, 2048)
    return Signer(key, certify(key))


@pytest.fixture(scope="module")
def metadata(signer: Signer) -> ServiceMetadata:
    endpoint = Endpoint(
        names.TRANSPORT_AS4_V1, "https://ap.example/as4", signer.der, MIDNIGHT - DAY, MIDNIGHT + DAY, "Test",
        "mailto:test@ap.example",
    )  # fmt: skip
    return ServiceMetadata(PARTICIPANT, DOCUMENT, (Process(PROCESS, (endpoint,)),))


def write(content: MetadataContent, signer: Signer, form: SmpForm) -> bytes:
    signing: dict[str, Any] = {"key": signer.key, "certificate": signer.certificate}
    if form is SmpForm.OASIS_2:
        return build_metadata_2(content, participant=PARTICIPANT, document_id=DOCUMENT, **signing)
    return build_signed_service_metadata(content, form=form, **signing)


def read(data: bytes, **changes: Any) -> MetadataContent:
    asked: dict[str, Any] = {
        "participant": PARTICIPANT,
        "document_id": DOCUMENT,
        "check": lambda certificate, chain: None,
        "forms": ALL,
    }
    return read_signed_service_metadata(data, **asked | changes).content


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(SmpRefused) as caught:
        call()
    return caught.value.reason


@pytest.mark.parametrize("form", SmpForm)
def test_every_form_says_the_same(form: SmpForm, metadata: ServiceMetadata, signer: Signer) -> None:
    assert read(write(metadata, signer, form), forms={form}) == metadata


@pytest.mark.parametrize("form", SmpForm)
def test_what_was_changed_or_asked_differently_is_refused(
    form: SmpForm, metadata: ServiceMetadata, signer: Signer
) -> None:
    data = write(metadata, signer, form)
    moved = data.replace(b"https://ap.example/as4", b"https://ap.evil.ex/as4")
    other = SmpIdentifier(names.ISO6523_ACTORID, "0088:5790000000012")

    assert data != moved
    assert refusal(lambda: read(moved)) == "smp.signature"
    assert refusal(lambda: read(data, participant=other)) == "smp.participant"
    assert refusal(lambda: read(data, document_id=replace(DOCUMENT, value="x"))) == "smp.document"
    assert refusal(lambda: read(data, forms=ALL - {form})) == "smp.namespace"


def test_version_1_is_told_from_busdox_by_its_namespace_only(
    metadata: ServiceMetadata, signer: Signer
) -> None:
    for form in VERSION_1:
        assert read(write(metadata, signer, form), forms=VERSION_1) == metadata


@pytest.mark.parametrize(
    "document", [kind.document_id for kind in (*DOCUMENTS.values(), SBDH_ACKNOWLEDGEMENT)]
)
@pytest.mark.parametrize("form", SmpForm)
def test_the_documents_of_ehmi_survive_their_path(document: str, form: SmpForm) -> None:
    asked = SmpIdentifier("busdox-docid-qns", document)

    path = metadata_path(PARTICIPANT, asked, form)

    assert "#" not in path
    assert ":" not in path
    assert path.count("%23%23") == 1
    prefix, separator, rest = path.rpartition("bdxr-smp-2/")
    assert (prefix, separator) == ("", "bdxr-smp-2/" if form is SmpForm.OASIS_2 else "")
    assert read_path(rest) == (PARTICIPANT, asked)


def test_redirects_name_the_next_publisher(signer: Signer) -> None:
    stranger = Signer(signer.key, certify(signer.key))
    named = Redirect("http://smp.example/x", "UID")
    assert read(write(named, signer, SmpForm.BUSDOX)) == named

    given = Redirect("http://smp.example/x", certificates=(signer.der,))
    assert read(write(given, signer, SmpForm.OASIS_2)) == given
    plain = write(_sparse(signer), signer, SmpForm.OASIS_2)
    assert read(plain, redirected_by=given)
    assert refusal(lambda: read(write(_sparse(signer), stranger, SmpForm.OASIS_2), redirected_by=given)) == "smp.redirect"  # fmt: skip
    assert refusal(lambda: read(write(given, signer, SmpForm.OASIS_2), redirected_by=given)) == "smp.redirect"  # fmt: skip
    # Without a certificate any trusted publisher may answer, which is what `check` says.
    assert read(plain, redirected_by=Redirect("http://smp.example/x"))


def _sparse(signer: Signer) -> ServiceMetadata:
    endpoint = Endpoint(names.TRANSPORT_AS4_V2, "https://ap.example/as4", signer.der)
    return ServiceMetadata(PARTICIPANT, DOCUMENT, (Process(PROCESS, (endpoint,)),))


# Version 2.0


def test_each_key_of_an_endpoint_has_its_use(signer: Signer) -> None:
    exchange, signing = _curves(signer)
    content = _sparse(signer)
    endpoint = replace(content.processes[0].endpoints[0], certificate=exchange, signing_certificate=signing)  # fmt: skip
    content = replace(content, processes=(Process(PROCESS, (endpoint,)),))

    assert read(write(content, signer, SmpForm.OASIS_2)) == content


@pytest.mark.parametrize("code", ["", "X.509", "http://example/unknown"])
def test_without_a_known_type_code_the_key_says_what_it_is_for(signer: Signer, code: str) -> None:
    exchange, signing = _curves(signer)

    for first, second in ((exchange, signing), (signing, exchange)):
        found = _read_certificates(_certificate(first, code) + _certificate(second, code))
        assert [(end.certificate, end.signing_certificate) for end in found] == [
            (exchange, signing)
        ]


def test_an_rsa_certificate_may_be_for_both_or_say_what_it_is_for(signer: Signer) -> None:
    def usage(**changes: bool) -> x509.KeyUsage:
        return x509.KeyUsage(
            **{
                "digital_signature": False, "content_commitment": False, "key_encipherment": False,
                "data_encipherment": False, "key_agreement": False, "key_cert_sign": False, "crl_sign": False,
                "encipher_only": False, "decipher_only": False,
            } | changes
        )  # fmt: skip

    signing, exchange = (
        certify(signer.key, usage=usage(**{name: True})).public_bytes(Encoding.DER)
        for name in ("digital_signature", "key_encipherment")
    )
    key = ec.generate_private_key(ec.SECP256R1())
    agreeing = certify(signer.key, key.public_key(), usage(key_agreement=True)).public_bytes(
        Encoding.DER
    )

    both = _read_certificates(_certificate(signer.der, "X.509"))
    assert [(end.certificate, end.signing_certificate) for end in both] == [(signer.der, None)]
    for wanted in (exchange, agreeing):
        found = _read_certificates(_certificate(signing) + _certificate(wanted))
        assert [(end.certificate, end.signing_certificate) for end in found] == [(wanted, signing)]
    assert _read_certificates(_certificate(signing)) == ()


def test_an_old_and_a_new_certificate_stand_side_by_side(signer: Signer) -> None:
    old, new = signer.der, certify(signer.key).public_bytes(Encoding.DER)
    found = _read_certificates(
        _certificate(old, EXCHANGE, expires="2026-11-02")
        + _certificate(new, EXCHANGE, begins="2026-11-02")
    )
    content = ServiceMetadata(PARTICIPANT, DOCUMENT, (Process(PROCESS, found),))

    def chosen(at: datetime) -> bytes:
        return select_endpoint(content, PROCESS.value, [names.TRANSPORT_AS4_V2], at).certificate

    assert chosen(MIDNIGHT - timedelta(seconds=1)) == old
    assert chosen(MIDNIGHT) == new


@pytest.mark.parametrize(
    "damage",
    [
        lambda der: der.replace(
            bytes.fromhex("2a864886f70d010101"), bytes.fromhex("2a864886f70d01017f")
        ),
        lambda der: der[:-1],
    ],
    ids=["key-of-no-known-kind", "cut"],
)
def test_a_certificate_that_cannot_be_read_spoils_no_other(
    signer: Signer, damage: Callable[[bytes], bytes]
) -> None:
    assert damage(signer.der) != signer.der

    found = _read_certificates(_certificate(damage(signer.der)) + _certificate(signer.der))

    assert signer.der in [one.certificate for one in found]


def test_two_certificates_for_one_day_are_ambiguous(signer: Signer) -> None:
    found = _read_certificates(_certificate(signer.der, EXCHANGE) * 2)
    content = ServiceMetadata(PARTICIPANT, DOCUMENT, (Process(PROCESS, found),))

    assert refusal(lambda: select_endpoint(content, PROCESS.value, [names.TRANSPORT_AS4_V2], NOW)) == "smp.ambiguous"  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        "<b:SMPVersionID>1.0</b:SMPVersionID><b:ID>d</b:ID><b:ParticipantID>p</b:ParticipantID>",
        "<b:SMPVersionID>2.0</b:SMPVersionID><b:ParticipantID>p</b:ParticipantID>",
        "<b:SMPVersionID>2.0</b:SMPVersionID><b:ID>d</b:ID><b:ID>d</b:ID><b:ParticipantID>p</b:ParticipantID>",
        ("<b:SMPVersionID>2.0</b:SMPVersionID><b:ID>d</b:ID><b:ParticipantID>p</b:ParticipantID>"
        "<a:ProcessMetadata><a:Process><b:ID>x</b:ID></a:Process><a:Redirect><b:PublisherURI>http://x</b:PublisherURI>"
        "</a:Redirect></a:ProcessMetadata>"),
        ("<b:SMPVersionID>2.0</b:SMPVersionID><b:ID>d</b:ID><b:ParticipantID>p</b:ParticipantID>"
        "<a:ProcessMetadata><a:Endpoint><b:TransportProfileID>t</b:TransportProfileID><b:ActivationDate>soon"
        "</b:ActivationDate></a:Endpoint></a:ProcessMetadata>"),
    ],
)  # fmt: skip
def test_metadata_2_without_legal_form_is_refused(body: str) -> None:
    assert refusal(lambda: read_metadata_2(_smp2(body))) == "smp.form"


def test_the_service_id_of_other_products_is_read() -> None:
    content = read_metadata_2(
        _smp2(
            "<b:SMPVersionID>2.0</b:SMPVersionID><b:ServiceID schemeID='s'>d</b:ServiceID><b:ParticipantID>p</b:ParticipantID>"
            "<a:ProcessMetadata/>"
        )
    )

    assert isinstance(content, ServiceMetadata)
    assert content.document_id == SmpIdentifier("s", "d")
    assert content.processes[0].process_id.value == "bdx:noprocess"


def test_days_never_make_an_endpoint_last_longer(signer: Signer) -> None:
    endpoint = replace(
        _sparse(signer).processes[0].endpoints[0], activation=NOW, expiration=NOW + 3 * DAY
    )
    content = ServiceMetadata(PARTICIPANT, DOCUMENT, (Process(PROCESS, (endpoint,)),))
    found = read(write(content, signer, SmpForm.OASIS_2))

    assert isinstance(found, ServiceMetadata)
    told = found.processes[0].endpoints[0]
    assert (told.activation, told.expiration) == (MIDNIGHT + DAY, MIDNIGHT + 3 * DAY)
    naive = replace(endpoint, activation=NOW.replace(tzinfo=None))
    bad = ServiceMetadata(PARTICIPANT, DOCUMENT, (Process(PROCESS, (naive,)),))
    with pytest.raises(LocalProtocolError):
        write(bad, signer, SmpForm.OASIS_2)


def test_service_groups_of_every_form_are_read() -> None:
    href = "http://smp.example/" + metadata_path(PARTICIPANT, DOCUMENT)
    for form in VERSION_1:
        group = read_service_group(build_service_group(PARTICIPANT, [href], form))
        assert (group.participant, group.references) == (PARTICIPANT, (href,))
    second = read_service_group(build_group_2(PARTICIPANT, [DOCUMENT]))
    assert (second.participant, second.references) == (
        PARTICIPANT, (f"{DOCUMENT.scheme}::{DOCUMENT.value}",),
    )  # fmt: skip


@with_fixtures
def test_published_schema_accepts_version_2(metadata: ServiceMetadata, signer: Signer) -> None:
    schemas = Path(FIXTURES or "") / "as4" / "schema" / "smp2"
    described, grouped = (
        etree.XMLSchema(etree.parse(schemas / name))
        for name in ("ServiceMetadata-2.0.xsd", "ServiceGroup-2.0.xsd")
    )
    redirect = Redirect("http://smp.example/x", certificates=(signer.der,))

    for content in (metadata, _sparse(signer), redirect, replace(redirect, certificates=())):
        described.assertValid(etree.fromstring(write(content, signer, SmpForm.OASIS_2)))
    grouped.assertValid(etree.fromstring(build_group_2(PARTICIPANT, [DOCUMENT])))


@with_fixtures
@pytest.mark.parametrize(
    ("name", "participant", "address"),
    [
        ("signed-service-metadata1.xml", "0088:5026744000002", "https://peppol.netedi.com/receive.aspx"),
        ("smp2-servicemetadata1.xml", "123456789", "https://bpc-as4.bdxhub.com"),
    ],
)  # fmt: skip
def test_metadata_of_other_products_is_read(name: str, participant: str, address: str) -> None:
    root = etree.parse(Path(FIXTURES or "") / "as4" / "samples" / "smp" / name).getroot()
    for comment in root.xpath("//comment()"):
        if comment.getparent() is not None:
            comment.getparent().remove(comment)
    is_2 = root.tag == f"{{{names.SMP2}ServiceMetadata}}ServiceMetadata"
    content = read_metadata_2(root) if is_2 else read_service_metadata(root[0])

    assert isinstance(content, ServiceMetadata)
    assert content.participant.value == participant
    assert content.processes[0].endpoints[0].url == address


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_signed_answer_with_anything_changed_is_refused_and_nothing_else_is_raised(
    data: st.DataObject, metadata: ServiceMetadata, signer: Signer
) -> None:
    whole = write(metadata, signer, data.draw(st.sampled_from(list(SmpForm))))
    where = data.draw(st.integers(0, len(whole) - 1))
    other = data.draw(st.binary(max_size=3))
    changed = whole[:where] + other + whole[where + len(other) + 1 :]

    try:
        content = read(changed)
    except SmpRefused:
        return
    # What does not count, such as white space in a value of the signature, may change; what is said may not.
    assert content == metadata


def _curves(signer: Signer) -> tuple[bytes, bytes]:
    exchange, signing = (
        certify(signer.key, key.public_key()).public_bytes(Encoding.DER)
        for key in (x25519.X25519PrivateKey.generate(), ed25519.Ed25519PrivateKey.generate())
    )
    return exchange, signing


def _smp2(body: str) -> etree._Element:
    return etree.fromstring(
        f'<ServiceMetadata xmlns="{names.SMP2}ServiceMetadata" xmlns:a="{names.SMP2}AggregateComponents"'
        f' xmlns:b="{names.SMP2}BasicComponents">{body}</ServiceMetadata>'
    )


def _certificate(der: bytes, code: str = "", *, begins: str = "", expires: str = "") -> str:
    members = [("TypeCode", code), ("ActivationDate", begins), ("ExpirationDate", expires)]
    text = "".join(f"<b:{local}>{value}</b:{local}>" for local, value in members if value)
    content = base64.b64encode(der).decode()
    return f"<a:Certificate>{text}<b:ContentBinaryObject>{content}</b:ContentBinaryObject></a:Certificate>"


def _read_certificates(certificates: str) -> tuple[Endpoint, ...]:
    content = read_metadata_2(
        _smp2(
            "<b:SMPVersionID>2.0</b:SMPVersionID><b:ID>d</b:ID><b:ParticipantID>p</b:ParticipantID><a:ProcessMetadata>"
            f"<a:Endpoint><b:TransportProfileID>{names.TRANSPORT_AS4_V2}</b:TransportProfileID>"
            f"<b:AddressURI>https://ap.example/as4</b:AddressURI>{certificates}</a:Endpoint></a:ProcessMetadata>"
        )
    )
    assert isinstance(content, ServiceMetadata)
    return content.processes[0].endpoints
