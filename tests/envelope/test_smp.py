"""Service metadata and the names that lead to it: read only when signed, about the question, and plain."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from attack_rows import row
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from envelope import names
from envelope.errors import CertificateRefused, LocalProtocolError, SmpRefused
from envelope.seal import sign_service_metadata
from envelope.smp import (
    Endpoint,
    MetadataContent,
    Process,
    Redirect,
    ServiceGroup,
    ServiceMetadata,
    SignedServiceMetadata,
    SmpIdentifier,
    build_service_group,
    build_signed_service_metadata,
    metadata_path,
    read_service_group,
    read_service_metadata,
    read_signed_service_metadata,
    select_endpoint,
)

FIXTURES = os.environ.get("ACCESSPOINT_FIXTURES")
with_fixtures = pytest.mark.skipif(FIXTURES is None, reason="ACCESSPOINT_FIXTURES is not set")

NOW = datetime(2026, 11, 2, 8, 15, tzinfo=UTC)
PARTICIPANT = SmpIdentifier(names.ISO6523_ACTORID, "0088:5790000201389")
DOCUMENT = SmpIdentifier(
    "bdx-docid-qns",
    "urn:dk:healthcare:medcom:messaging:fhir:structuredefinition::homecareobservation-message"
    "##urn:dk:medcom:fhir:homecareobservation-message::1.1",
)


@dataclass(frozen=True)
class Publisher:
    key: rsa.RSAPrivateKey
    certificate: x509.Certificate


def publisher_of(name: str) -> Publisher:
    key = rsa.generate_private_key(65537, 2048)
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, name),
            x509.NameAttribute(NameOID.SERIAL_NUMBER, f"UI:DK-O:G:{name}"),
        ]
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return Publisher(key, certificate)


@pytest.fixture(scope="module")
def publisher() -> Publisher:
    return publisher_of("publisher")


@pytest.fixture(scope="module")
def stranger() -> Publisher:
    return publisher_of("stranger")


@pytest.fixture(scope="module")
def metadata(publisher: Publisher) -> ServiceMetadata:
    return ServiceMetadata(
        PARTICIPANT,
        DOCUMENT,
        (
            Process(
                SmpIdentifier("urn:ehmi", names.EHMI_PROCESS),
                (
                    Endpoint(
                        names.TRANSPORT_AS4_V1,
                        "https://ap.example/as4",
                        publisher.certificate.public_bytes(Encoding.DER),
                        NOW - timedelta(hours=1),
                        NOW + timedelta(hours=1),
                        "Test access point",
                        "mailto:test@ap.example",
                    ),
                ),
            ),
        ),
    )


def sign(content: MetadataContent, publisher: Publisher) -> bytes:
    return build_signed_service_metadata(
        content, key=publisher.key, certificate=publisher.certificate
    )


def read(data: bytes, publisher: Publisher, **changes: Any) -> SignedServiceMetadata:
    def check(certificate: x509.Certificate, chain: Sequence[x509.Certificate]) -> str:
        if certificate != publisher.certificate:
            raise CertificateRefused("not the publisher", reason="cert.untrusted")
        return "trusted"

    question: dict[str, Any] = {
        "participant": PARTICIPANT,
        "document_id": DOCUMENT,
        "check": check,
    }
    return read_signed_service_metadata(data, **question | changes)


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(SmpRefused) as refused:
        call()
    return refused.value.reason


def test_answer_is_read_with_its_evidence(metadata: ServiceMetadata, publisher: Publisher) -> None:
    answer = read(sign(metadata, publisher), publisher)

    assert answer == SignedServiceMetadata(metadata, publisher.certificate, "trusted")


text = st.text(st.characters(codec="ascii", min_codepoint=33, exclude_characters="\x7f"), min_size=1, max_size=30)  # fmt: skip
endpoints = st.builds(
    Endpoint,
    transport_profile=text,
    url=text,
    certificate=st.binary(max_size=40),
    activation=st.none() | st.datetimes(timezones=st.just(UTC)),
    expiration=st.none() | st.datetimes(timezones=st.just(timezone(timedelta(hours=2)))),
    service_description=text,
    technical_contact_url=text,
)
identifiers = st.builds(SmpIdentifier, text, text)
contents = st.builds(
    ServiceMetadata,
    identifiers,
    identifiers,
    st.lists(
        st.builds(Process, identifiers, st.lists(endpoints, min_size=1, max_size=3).map(tuple)),
        min_size=1,
        max_size=3,
    ).map(tuple),
)


@given(content=contents)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_reading_undoes_writing(publisher: Publisher, content: ServiceMetadata) -> None:
    answer = read(
        sign(content, publisher),
        publisher,
        participant=content.participant,
        document_id=content.document_id,
    )

    assert answer.content == content


# Trust and identity of an answer


def test_answer_of_a_stranger_is_refused_by_the_check(
    metadata: ServiceMetadata, publisher: Publisher, stranger: Publisher
) -> None:
    with pytest.raises(CertificateRefused):
        read(sign(metadata, stranger), publisher)


def test_unsigned_and_changed_answers_are_refused(
    metadata: ServiceMetadata, publisher: Publisher
) -> None:
    signed = sign(metadata, publisher)
    unsigned = etree.fromstring(signed)
    unsigned.remove(unsigned[-1])

    assert refusal(lambda: read(etree.tostring(unsigned), publisher)) == "smp.unsigned"
    moved = signed.replace(b"https://ap.example/as4", b"https://ap.evil.example/as4")
    assert refusal(lambda: read(moved, publisher)) == "smp.signature"


def test_second_metadata_beside_the_signed_one_is_refused(
    metadata: ServiceMetadata, publisher: Publisher
) -> None:
    root = etree.fromstring(sign(metadata, publisher))
    root.remove(root[-1])
    root.append(etree.fromstring(etree.tostring(root[0])))
    data = sign_service_metadata(root, key=publisher.key, certificate=publisher.certificate)

    assert refusal(lambda: read(data, publisher)) == "smp.form"


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"participant": SmpIdentifier(names.ISO6523_ACTORID, "0088:5790000121526")}, "smp.participant"),
        ({"participant": SmpIdentifier("other-scheme", PARTICIPANT.value)}, "smp.participant"),
        ({"participant": SmpIdentifier(names.ISO6523_ACTORID, "0088:５790000201389")}, "smp.participant"),
        ({"document_id": SmpIdentifier("busdox-docid-qns", DOCUMENT.value)}, "smp.document"),
        ({"document_id": SmpIdentifier(DOCUMENT.scheme, DOCUMENT.value.upper())}, "smp.document"),
        ({"document_id": SmpIdentifier(DOCUMENT.scheme, DOCUMENT.value[:-1] + "2")}, "smp.document"),
    ],
)  # fmt: skip
def test_answer_to_another_question_is_refused(
    metadata: ServiceMetadata, publisher: Publisher, asked: dict[str, Any], reason: str
) -> None:
    assert refusal(lambda: read(sign(metadata, publisher), publisher, **asked)) == reason


@pytest.mark.parametrize(
    ("scheme", "answered", "same"),
    [
        (names.ISO6523_ACTORID, "0088:123ABK", True),
        (names.ISO6523_ACTORID, "0088:123abk", True),
        # KELVIN SIGN lowers to the letter k, but it is not that letter.
        (names.ISO6523_ACTORID, "0088:123ab\u212a", False),
        ("case-sensitive-scheme", "0088:123ABK", False),
    ],
)
def test_case_of_a_participant_folds_within_its_scheme(
    metadata: ServiceMetadata, publisher: Publisher, scheme: str, answered: str, same: bool
) -> None:
    asked = SmpIdentifier(scheme, "0088:123abk")
    answer = replace(metadata, participant=SmpIdentifier(scheme, answered))
    data = sign(answer, publisher)

    if same:
        assert read(data, publisher, participant=asked).content == answer
    else:
        assert refusal(lambda: read(data, publisher, participant=asked)) == "smp.participant"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "smp.xml"),
        (b"<html/>", "smp.namespace"),
        (b'<!DOCTYPE x [<!ENTITY a "b">]><x/>', "smp.xml"),
        row("C14-08", b"<x " + b" ".join(b'xmlns:n%d="urn:%d"' % (n, n) for n in range(3_000)) + b"/>", "smp.xml"),
        row("C14-08", b"<x>" * 5_000, "smp.xml"),
        (b"<x>" + b" " * 2**21 + b"</x>", "smp.xml"),
    ],
)  # fmt: skip
def test_document_that_is_no_answer_is_refused(
    publisher: Publisher, data: bytes, reason: str
) -> None:
    assert refusal(lambda: read(data, publisher)) == reason
    assert refusal(lambda: read_service_group(data)) == reason


FORMS: dict[str, Callable[[etree._Element], object]] = {
    "other-root": lambda root: setattr(root, "tag", f"{{{names.SMP1}}}ServiceMetadata"),
    "no-information": lambda root: root[0].remove(root[0][0]),
    "no-participant": lambda root: root[0][0].remove(root[0][0][0]),
    "two-participants": lambda root: root[0][0].append(_copy(root[0][0][0])),
    "no-processes": lambda root: root[0][0].remove(root[0][0][2]),
    "foreign-process": lambda root: etree.SubElement(root[0][0][2], "{urn:other}Process"),
    "foreign-endpoint": lambda root: etree.SubElement(_endpoints(root), "{urn:other}Endpoint"),
    "two-certificates": lambda root: _endpoint(root).append(_copy(_member(root, "Certificate"))),
    "certificate-not-base64": lambda root: setattr(_member(root, "Certificate"), "text", "-----BEGIN"),
    "impossible-date": lambda root: setattr(_member(root, "ServiceActivationDate"), "text", "soon"),
    "element-in-address": lambda root: etree.SubElement(_member(root, "EndpointURI"), "{urn:other}x"),
    "redirect-beside-information": lambda root: root[0].append(
        etree.fromstring(f'<Redirect xmlns="{names.SMP1}" href="http://x.example/"/>')),
}  # fmt: skip


def _copy(element: etree._Element) -> etree._Element:
    return etree.fromstring(etree.tostring(element))


def _endpoints(root: etree._Element) -> etree._Element:
    return root[0][0][2][0][1]


def _endpoint(root: etree._Element) -> etree._Element:
    return _endpoints(root)[0]


def _member(root: etree._Element, local: str) -> etree._Element:
    found = _endpoint(root).find(f"{{{names.SMP1}}}{local}")
    assert found is not None
    return found


@pytest.mark.parametrize("form", FORMS)
def test_signed_answer_without_legal_form_is_refused(
    metadata: ServiceMetadata, publisher: Publisher, form: str
) -> None:
    root = etree.fromstring(sign(metadata, publisher))
    root.remove(root[-1])
    FORMS[form](root)
    data = sign_service_metadata(root, key=publisher.key, certificate=publisher.certificate)

    assert refusal(lambda: read(data, publisher)) == "smp.form"


# Redirects


REDIRECT = Redirect("http://smp2.example/x", "UI:DK-O:G:stranger")


def test_redirect_is_read_and_its_target_must_be_the_named_publisher(
    metadata: ServiceMetadata, publisher: Publisher, stranger: Publisher
) -> None:
    assert read(sign(REDIRECT, publisher), publisher).content == REDIRECT

    answer = read(sign(metadata, stranger), stranger, redirected_by=REDIRECT)
    assert answer.content == metadata

    by_name = replace(REDIRECT, certificate_uid=stranger.certificate.subject.rfc4514_string())
    assert read(sign(metadata, stranger), stranger, redirected_by=by_name).content == metadata

    other = sign(metadata, publisher)
    assert refusal(lambda: read(other, publisher, redirected_by=REDIRECT)) == "smp.redirect"


def test_redirect_to_a_redirect_is_refused(stranger: Publisher) -> None:
    data = sign(REDIRECT, stranger)

    assert refusal(lambda: read(data, stranger, redirected_by=REDIRECT)) == "smp.redirect"


def test_redirect_to_something_else_than_the_web_is_refused(publisher: Publisher) -> None:
    data = sign(replace(REDIRECT, href="file:///etc/hosts"), publisher)

    assert refusal(lambda: read(data, publisher)) == "smp.url"


# Choosing an endpoint

PROFILES = [names.TRANSPORT_PEPPOL_AS4_V2, names.TRANSPORT_AS4_V1]


def choose(metadata: ServiceMetadata, at: datetime = NOW) -> Endpoint:
    return select_endpoint(metadata, names.EHMI_PROCESS, PROFILES, at)


def with_endpoints(metadata: ServiceMetadata, *endpoints: Endpoint) -> ServiceMetadata:
    return replace(metadata, processes=(replace(metadata.processes[0], endpoints=endpoints),))


def test_endpoint_of_the_first_active_profile_is_chosen(metadata: ServiceMetadata) -> None:
    old = metadata.processes[0].endpoints[0]
    new = replace(old, transport_profile=names.TRANSPORT_PEPPOL_AS4_V2)

    assert choose(metadata) == old
    assert choose(with_endpoints(metadata, old, new)) == new
    expired = replace(new, expiration=NOW)
    assert choose(with_endpoints(metadata, old, expired)) == old


def test_activation_is_inclusive_and_expiration_exclusive(metadata: ServiceMetadata) -> None:
    endpoint = metadata.processes[0].endpoints[0]
    assert endpoint.activation is not None
    assert endpoint.expiration is not None
    tick = timedelta(microseconds=1)

    assert choose(metadata, endpoint.activation) == endpoint
    assert choose(metadata, endpoint.expiration - tick) == endpoint
    for at in (endpoint.activation - tick, endpoint.expiration):
        assert refusal(lambda at=at: choose(metadata, at)) == "smp.inactive"  # type: ignore[misc]
    always = replace(endpoint, activation=None, expiration=None)
    assert choose(with_endpoints(metadata, always), datetime.max.replace(tzinfo=UTC)) == always


def test_what_gives_no_single_usable_endpoint_is_refused(metadata: ServiceMetadata) -> None:
    process = metadata.processes[0]
    endpoint = process.endpoints[0]
    cases = {
        "smp.process": replace(
            metadata, processes=(replace(process, process_id=SmpIdentifier(None, "other")),)
        ),
        "smp.ambiguous": replace(metadata, processes=(process, process)),
        "smp.profile": with_endpoints(metadata, replace(endpoint, transport_profile="as2")),
        "smp.certificate": with_endpoints(metadata, replace(endpoint, certificate=b"none")),
        "smp.url": with_endpoints(metadata, replace(endpoint, url="gopher://ap.example/")),
        "smp.plaintext": with_endpoints(metadata, replace(endpoint, url="http://ap.example/as4")),
    }

    for reason, case in cases.items():
        assert refusal(lambda case=case: choose(case)) == reason  # type: ignore[misc]
    twice = with_endpoints(metadata, endpoint, endpoint)
    assert refusal(lambda: choose(twice)) == "smp.ambiguous"


# Writing


def test_answer_that_lists_nothing_is_not_written(
    metadata: ServiceMetadata, publisher: Publisher
) -> None:
    naive = replace(metadata.processes[0].endpoints[0], activation=NOW.replace(tzinfo=None))

    for content in (
        replace(metadata, processes=()),
        with_endpoints(metadata),
        with_endpoints(metadata, naive),
    ):
        with pytest.raises(LocalProtocolError):
            sign(content, publisher)


def test_service_group_is_written_and_read() -> None:
    references = (f"http://smp.example/{metadata_path(PARTICIPANT, DOCUMENT)}",)

    assert read_service_group(build_service_group(PARTICIPANT, references)) == ServiceGroup(
        PARTICIPANT, references
    )
    for other in ("Redirect", "ServiceGroup"):
        data = f'<{other} xmlns="{names.SMP1}"/>'.encode()
        assert refusal(lambda data=data: read_service_group(data)) == "smp.form"  # type: ignore[misc]


# Against the published schema and other products' documents


@pytest.fixture(scope="module")
def official() -> etree.XMLSchema:
    if FIXTURES is None:
        pytest.skip("ACCESSPOINT_FIXTURES is not set")
    return etree.XMLSchema(etree.parse(Path(FIXTURES) / "as4" / "schema" / "bdx-smp-201605.xsd"))


def sample(name: str) -> bytes:
    return (Path(FIXTURES or "") / "as4" / "samples" / "smp" / name).read_bytes()


def test_published_schema_accepts_what_we_write(
    official: etree.XMLSchema, metadata: ServiceMetadata, publisher: Publisher
) -> None:
    sparse = with_endpoints(metadata, Endpoint(names.TRANSPORT_AS4_V1, "https://ap.example", b"x"))

    for data in (
        sign(metadata, publisher),
        sign(sparse, publisher),
        sign(REDIRECT, publisher),
        build_service_group(PARTICIPANT, ()),
        build_service_group(PARTICIPANT, ["http://smp.example/a"]),
    ):
        official.assertValid(etree.fromstring(data))


@with_fixtures
@pytest.mark.parametrize(
    ("name", "participant", "process", "url"),
    [
        ("ServiceMetadataResponseOASIS.xml", "urn:romania:ncpb", "urn:epsosPatientService::List",
         "http://localhost:9090/anonymous/msh"),
        ("bdxr1-service-metadata.xml", "9915:xxx", "urn:fdc:peppol.eu:2017:poacc:billing:01:1.0",
         "http://test.smpserver/as4"),
    ],
)  # fmt: skip
def test_metadata_of_another_product_is_read(
    name: str, participant: str, process: str, url: str
) -> None:
    content = read_service_metadata(etree.fromstring(sample(name)))

    assert isinstance(content, ServiceMetadata)
    assert content.participant.value == participant
    assert content.processes[0].process_id.value == process
    assert content.processes[0].endpoints[0].url == url


@with_fixtures
def test_service_group_and_redirect_of_another_product_are_read() -> None:
    template = read_service_group(sample("cef-ServiceGroup-template.xml"))
    assert template.participant == SmpIdentifier("ID_SCHEME", "ID")
    assert len(template.references) == 1

    redirect = etree.fromstring(sample("cef-Redirect-template.xml"))[0]
    redirect[0].set("href", "http://smp.example/x")
    assert read_service_metadata(redirect) == Redirect(
        "http://smp.example/x", "CERTIFICATE_UID_REDIRECT"
    )


@with_fixtures
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        # Signed with a key of 1,024 bits, and its signature was broken by formatting.
        ("SignedServiceMetadataResponseOASIS.xml", "smp.key"),
        ("ServiceMetadataResponseOASIS.xml", "smp.unsigned"),
        # Licence comments: in signed metadata a comment is refused before anything else.
        ("bdxr1-service-metadata.xml", "smp.xml"),
        ("cef-SignedServiceMetadata-template.xml", "smp.xml"),
        # Busdox, signed with SHA-1.
        ("signed-service-metadata1.xml", "smp.algorithm"),
        ("signed-service-metadata2.xml", "smp.algorithm"),
        ("signed-service-metadata3-c14n-inclusive.xml", "smp.algorithm"),
        ("smp2-servicemetadata1.xml", "smp.xml"),
    ],
)
def test_sample_that_cannot_be_relied_on_is_refused_by_name(name: str, reason: str) -> None:
    call = lambda: read_signed_service_metadata(  # noqa: E731
        sample(name),
        participant=PARTICIPANT,
        document_id=DOCUMENT,
        check=lambda certificate, chain: None,
    )

    assert refusal(call) == reason
