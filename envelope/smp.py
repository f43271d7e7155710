"""Where a receiver's access point is: service metadata documents (SMP 1.0) and the names that lead to them (BDXL).

A participant's name in the locator's zone is a hash; the NAPTR record there gives the publisher's address; the
publisher answers with a signed document that names, for one participant and one kind of document, processes and their
endpoints. The record is not trusted, the signature is. An answer is read only from what was signed, and only when it
is about the question that was asked.

Fetching, address filters and caches are the access point's affair, and so is trust in the signer: it is a callback.

Spec: OASIS SMP 1.0; OASIS BDXL 1.0; EHMI use of SMP; RFC 3403, RFC 4848.
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Final, TypeAlias
from urllib.parse import quote, unquote, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from lxml import etree
from lxml.etree import _Element

from envelope import names, xml
from envelope.errors import InvalidHeader, LocalProtocolError, SmpRefused, TransportRefused
from envelope.limits import DEFAULT_LIMITS, Limits
from envelope.names import q
from envelope.seal import CertificateCheck, sign_service_metadata, verify_service_metadata


@dataclass(frozen=True, slots=True)
class SmpIdentifier:
    """An identifier with the scheme it belongs to, as SMP writes both; `scheme` may be missing on a process."""

    scheme: str | None
    value: str


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One way to reach the receiver; `certificate` is DER, valid from `activation` until before `expiration`."""

    transport_profile: str
    url: str
    certificate: bytes
    activation: datetime | None = None
    expiration: datetime | None = None
    service_description: str = ""
    technical_contact_url: str = ""


@dataclass(frozen=True, slots=True)
class Process:
    """A process of the receiver and the endpoints that serve it."""

    process_id: SmpIdentifier
    endpoints: tuple[Endpoint, ...]


@dataclass(frozen=True, slots=True)
class ServiceMetadata:
    """What a participant takes for one kind of document."""

    participant: SmpIdentifier
    document_id: SmpIdentifier
    processes: tuple[Process, ...]


@dataclass(frozen=True, slots=True)
class Redirect:
    """The answer is at another publisher, whose signing certificate has this identifier."""

    href: str
    certificate_uid: str


MetadataContent: TypeAlias = ServiceMetadata | Redirect


@dataclass(frozen=True, slots=True)
class SignedServiceMetadata:
    """Evidence: `certificate` signed `content`, and `evidence` is what the check of that certificate gave."""

    content: MetadataContent
    certificate: x509.Certificate
    evidence: object


@dataclass(frozen=True, slots=True)
class ServiceGroup:
    """The kinds of documents a participant is registered for, as addresses; never signed, so only a hint."""

    participant: SmpIdentifier
    references: tuple[str, ...]


# Reading


def read_signed_service_metadata(
    data: bytes,
    *,
    participant: SmpIdentifier,
    document_id: SmpIdentifier,
    check: CertificateCheck,
    redirected_by: Redirect | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> SignedServiceMetadata:
    """Verify a publisher's answer and read it, if it is about this participant and this kind of document.

    `check` decides about the signer's certificate and may raise what it likes. With `redirected_by` the answer must
    not redirect again, and must be signed by the certificate that the redirect names.

    Raises SmpRefused: those of `seal.verify_service_metadata`, `smp.namespace` (SMP of another version or
    community), `smp.form`, `smp.participant` and `smp.document` (about something else), `smp.redirect`.

    Spec: OASIS SMP 1.0 sections 2 and 3.
    """
    _check_namespace(data, limits)
    sealed = verify_service_metadata(data, check=check, limits=limits)
    try:
        if sealed.root.tag != _s("SignedServiceMetadata"):
            raise SmpRefused("root is not SignedServiceMetadata", reason="smp.form")
        content = read_service_metadata(xml.one(sealed.root, _s("ServiceMetadata")))
    except InvalidHeader as error:
        raise SmpRefused(error.detail, reason="smp.form") from None
    if redirected_by is not None:
        _check_redirected(redirected_by, content, sealed.certificate)
    if isinstance(content, ServiceMetadata):
        if _folded(content.participant) != _folded(participant):
            raise SmpRefused("the answer is about another participant", reason="smp.participant")
        if content.document_id != document_id:
            raise SmpRefused("the answer is about another document", reason="smp.document")
    return SignedServiceMetadata(content, sealed.certificate, sealed.evidence)


def read_service_metadata(element: _Element) -> MetadataContent:
    """Read a ServiceMetadata element; this proves nothing, only a verified signature around it does.

    Raises SmpRefused (`smp.form`, `smp.url`).

    Spec: OASIS SMP 1.0 section 2.3.
    """
    try:
        redirect = xml.find(element, _s("Redirect"))
        if redirect is not None:
            if len(xml.children(element)) > 1:
                raise SmpRefused("a redirect beside an answer", reason="smp.form")
            href = check_url(redirect.get("href", ""))
            return Redirect(href, _text(redirect, "CertificateUID"))
        information = xml.one(element, _s("ServiceInformation"))
        return ServiceMetadata(
            _identifier(xml.one(information, _s("ParticipantIdentifier"))),
            _identifier(xml.one(information, _s("DocumentIdentifier"))),
            tuple(
                _read_process(process)
                for process in xml.children(xml.one(information, _s("ProcessList")))
            ),
        )
    except InvalidHeader as error:
        raise SmpRefused(error.detail, reason="smp.form") from None


def read_service_group(data: bytes, *, limits: Limits = DEFAULT_LIMITS) -> ServiceGroup:
    """Read a ServiceGroup; raises SmpRefused (`smp.xml`, `smp.namespace`, `smp.form`).

    Spec: OASIS SMP 1.0 section 2.2.
    """
    root = _check_namespace(data, limits)
    try:
        if root.tag != _s("ServiceGroup"):
            raise SmpRefused("root is not ServiceGroup", reason="smp.form")
        collection = xml.one(root, _s("ServiceMetadataReferenceCollection"))
        return ServiceGroup(
            _identifier(xml.one(root, _s("ParticipantIdentifier"))),
            tuple(reference.get("href", "") for reference in xml.children(collection)),
        )
    except InvalidHeader as error:
        raise SmpRefused(error.detail, reason="smp.form") from None


def select_endpoint(
    metadata: ServiceMetadata,
    process_id: str,
    profiles: Sequence[str],
    at: datetime,
) -> Endpoint:
    """Choose the endpoint of a process: the first of `profiles` that is active at `at`.

    Raises SmpRefused: `smp.process` and `smp.profile` (none such), `smp.ambiguous` (two alike), `smp.inactive`
    (only endpoints not yet or no longer valid), `smp.url`, `smp.plaintext` (not https), `smp.certificate` (does
    not parse).

    Spec: OASIS SMP 1.0 section 2.3.4; EHMI: receiver, DOCUMENTID and PROCESSID give one answer; AS4 over TLS only.
    """
    processes = [found for found in metadata.processes if found.process_id.value == process_id]
    if not processes:
        raise SmpRefused("the receiver does not serve this process", reason="smp.process")
    if len(processes) > 1:
        raise SmpRefused("the process is listed twice", reason="smp.ambiguous")
    inactive = False
    for profile in profiles:
        matching = [end for end in processes[0].endpoints if end.transport_profile == profile]
        if len(matching) > 1:
            raise SmpRefused("two endpoints of one transport profile", reason="smp.ambiguous")
        for endpoint in matching:
            if _is_active(endpoint, at):
                if urlsplit(check_url(endpoint.url)).scheme != "https":
                    raise SmpRefused("the endpoint is not https", reason="smp.plaintext")
                _check_certificate(endpoint.certificate)
                return endpoint
            inactive = True
    if inactive:
        raise SmpRefused("no endpoint is valid at this time", reason="smp.inactive")
    raise SmpRefused("no endpoint has a transport profile we use", reason="smp.profile")


_NAME: Final = re.compile(r"(?=.{1,253}$)(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII | re.IGNORECASE)
_URL: Final = re.compile(r"[!-~]{1,2048}", re.ASCII)


def check_url(url: str) -> str:
    """Give back an address that is plain http or https with a host; any other raises SmpRefused (`smp.url`)."""
    try:
        parts = urlsplit(url)
        plain = (
            _URL.fullmatch(url)
            and parts.scheme in ("http", "https")
            and parts.hostname
            and "@" not in parts.netloc
            and "\\" not in url
            and not parts.fragment
            and parts.port != 0
            and _is_name_or_address(parts.hostname, bracketed="[" in parts.netloc)
        )
    except ValueError:
        plain = False
    if not plain:
        raise SmpRefused("an address is not plain http or https", reason="smp.url")
    return url


def _is_name_or_address(host: str, *, bracketed: bool) -> bool:
    """Whether a host is a name or a canonical address, and no number that resolvers turn into an address (127.1).

    Raises ValueError for what looks like an address and is none.
    """
    if bracketed:
        # A zone names an interface of the machine that wrote the address.
        return IPv6Address(host).scope_id is None
    if _NUMBER.fullmatch(host.removesuffix(".").rpartition(".")[2]):
        return str(IPv4Address(host)) == host
    return _NAME.fullmatch(host) is not None


def _check_namespace(data: bytes, limits: Limits) -> _Element:
    try:
        root = xml.scan(data, limits).root
    except TransportRefused as refused:
        raise SmpRefused(refused.reason, reason="smp.xml") from None
    if etree.QName(root).namespace != names.SMP1:
        raise SmpRefused("not a document of OASIS SMP 1.0", reason="smp.namespace")
    return root


def _check_redirected(
    redirect: Redirect, content: MetadataContent, certificate: x509.Certificate
) -> None:
    if isinstance(content, Redirect):
        raise SmpRefused("a redirect leads to a redirect", reason="smp.redirect")
    subject = certificate.subject
    identifiers = {subject.rfc4514_string()} | {
        str(attribute.value)
        for oid in (NameOID.X500_UNIQUE_IDENTIFIER, NameOID.SERIAL_NUMBER)
        for attribute in subject.get_attributes_for_oid(oid)
    }
    if redirect.certificate_uid not in identifiers:
        raise SmpRefused("not signed by the publisher the redirect names", reason="smp.redirect")


_CASE: Final = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")


def fold(identifier: SmpIdentifier) -> SmpIdentifier:
    """Give the one spelling of an identifier whose letters may be in any case.

    Spec: OASIS SMP 1.0 section 2 (identifiers are compared ignoring case unless their scheme says otherwise).
    """
    # Only ASCII letters fold: str.lower() would make letters of other scripts equal to them.
    scheme = None if identifier.scheme is None else identifier.scheme.translate(_CASE)
    return SmpIdentifier(scheme, identifier.value.translate(_CASE))


def _folded(identifier: SmpIdentifier) -> SmpIdentifier:
    return fold(identifier) if identifier.scheme == names.ISO6523_ACTORID else identifier


def _read_process(element: _Element) -> Process:
    if element.tag != _s("Process"):
        raise SmpRefused("ProcessList holds something else", reason="smp.form")
    endpoints = xml.children(xml.one(element, _s("ServiceEndpointList")))
    return Process(
        _identifier(xml.one(element, _s("ProcessIdentifier"))),
        tuple(_read_endpoint(endpoint) for endpoint in endpoints),
    )


def _read_endpoint(element: _Element) -> Endpoint:
    if element.tag != _s("Endpoint"):
        raise SmpRefused("ServiceEndpointList holds something else", reason="smp.form")
    try:
        certificate = base64.b64decode(
            "".join(_text(element, "Certificate").split()), validate=True
        )
        activation = _read_time(element, "ServiceActivationDate")
        expiration = _read_time(element, "ServiceExpirationDate")
    except ValueError:
        raise SmpRefused("Certificate or a date has no legal form", reason="smp.form") from None
    return Endpoint(
        element.get("transportProfile", ""),
        _text(element, "EndpointURI"),
        certificate,
        activation,
        expiration,
        _text(element, "ServiceDescription"),
        _text(element, "TechnicalContactUrl"),
    )


def _read_time(parent: _Element, local: str) -> datetime | None:
    element = xml.find(parent, _s(local))
    if element is None:
        return None
    at = datetime.fromisoformat(xml.text(element))
    # xs:dateTime may lack a zone; publishers mean UTC.
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def _is_active(endpoint: Endpoint, at: datetime) -> bool:
    return (endpoint.activation is None or endpoint.activation <= at) and (
        endpoint.expiration is None or at < endpoint.expiration
    )


def _check_certificate(data: bytes) -> None:
    try:
        x509.load_der_x509_certificate(data)
    except ValueError:
        raise SmpRefused("the endpoint's certificate does not parse", reason="smp.certificate") from None  # fmt: skip


def _identifier(element: _Element) -> SmpIdentifier:
    return SmpIdentifier(element.get("scheme"), xml.text(element))


def _text(parent: _Element, local: str) -> str:
    return xml.text(xml.one(parent, _s(local)))


def _s(local: str) -> str:
    return q(names.SMP1, local)


# Writing


def build_service_group(participant: SmpIdentifier, references: Iterable[str]) -> bytes:
    """Write the list of a participant's service metadata addresses.

    Spec: OASIS SMP 1.0 section 2.2.
    """
    root = etree.Element(_s("ServiceGroup"), nsmap={None: names.SMP1})
    _add_identifier(root, "ParticipantIdentifier", participant)
    collection = _add(root, "ServiceMetadataReferenceCollection")
    for reference in references:
        _add(collection, "ServiceMetadataReference").set("href", reference)
    return etree.tostring(root, encoding="UTF-8", xml_declaration=True)


def build_signed_service_metadata(
    content: MetadataContent,
    *,
    key: rsa.RSAPrivateKey,
    certificate: x509.Certificate,
    chain: Sequence[x509.Certificate] = (),
) -> bytes:
    """Write and sign a publisher's answer.

    Raises LocalProtocolError: nothing to list, or a time without a zone.

    Spec: OASIS SMP 1.0 sections 2.3 and 3.
    """
    root = etree.Element(_s("SignedServiceMetadata"), nsmap={None: names.SMP1})
    metadata = _add(root, "ServiceMetadata")
    if isinstance(content, Redirect):
        redirect = _add(metadata, "Redirect")
        redirect.set("href", content.href)
        _add(redirect, "CertificateUID", content.certificate_uid)
    else:
        if not content.processes or not all(process.endpoints for process in content.processes):
            raise LocalProtocolError("service metadata needs a process and an endpoint for each")
        information = _add(metadata, "ServiceInformation")
        _add_identifier(information, "ParticipantIdentifier", content.participant)
        _add_identifier(information, "DocumentIdentifier", content.document_id)
        listed = _add(information, "ProcessList")
        for process in content.processes:
            element = _add(listed, "Process")
            _add_identifier(element, "ProcessIdentifier", process.process_id)
            endpoints = _add(element, "ServiceEndpointList")
            for endpoint in process.endpoints:
                _build_endpoint(endpoints, endpoint)
    return sign_service_metadata(root, key=key, certificate=certificate, chain=chain)


def _build_endpoint(parent: _Element, endpoint: Endpoint) -> None:
    element = _add(parent, "Endpoint")
    element.set("transportProfile", endpoint.transport_profile)
    _add(element, "EndpointURI", endpoint.url)
    for local, at in (
        ("ServiceActivationDate", endpoint.activation),
        ("ServiceExpirationDate", endpoint.expiration),
    ):
        if at is not None:
            if at.tzinfo is None:
                raise LocalProtocolError("a time in service metadata needs an offset from UTC")
            _add(element, local, at.isoformat())
    _add(element, "Certificate", base64.b64encode(endpoint.certificate).decode())
    _add(element, "ServiceDescription", endpoint.service_description)
    _add(element, "TechnicalContactUrl", endpoint.technical_contact_url)


def _add_identifier(parent: _Element, local: str, identifier: SmpIdentifier) -> None:
    element = _add(parent, local, identifier.value)
    if identifier.scheme is not None:
        element.set("scheme", identifier.scheme)


def _add(parent: _Element, local: str, text: str | None = None) -> _Element:
    element = etree.SubElement(parent, _s(local))
    element.text = text
    return element


# Addresses


def participant_path(participant: SmpIdentifier) -> str:
    """Give the path of a participant's ServiceGroup, relative to the publisher, as one encoded segment."""
    return _segment(participant)


def metadata_path(participant: SmpIdentifier, document_id: SmpIdentifier) -> str:
    """Give the path of signed service metadata, relative to the publisher; a raw `#` would cut it off.

    Spec: OASIS SMP 1.0 section 2.4 (percent-encoding of each segment).
    """
    return f"{_segment(participant)}/services/{_segment(document_id)}"


def read_path(path: str) -> tuple[SmpIdentifier, SmpIdentifier | None] | None:
    """Read what a request asks for: a participant, and a document when it asks for metadata; None for another path.

    `path` is raw and relative to the publisher. An identifier without scheme may stand with `::` before it or without.

    Spec: OASIS SMP 1.0 section 2.4.
    """
    match path.split("/"):
        case [participant]:
            return _read_segment(participant), None
        case [participant, "services", document]:
            return _read_segment(participant), _read_segment(document)
    return None


def _segment(identifier: SmpIdentifier) -> str:
    return quote(f"{identifier.scheme or ''}::{identifier.value}", safe="")


def _read_segment(segment: str) -> SmpIdentifier:
    scheme, separator, value = unquote(segment).partition("::")
    return SmpIdentifier(scheme or None, value) if separator else SmpIdentifier(None, scheme)


def bdxl_label(canonical: str) -> str:
    """Hash a participant's canonical form to one DNS label: SHA-256 in base32, without padding.

    Spec: OASIS BDXL 1.0, hash of the participant identifier.
    """
    return base64.b32encode(hashlib.sha256(canonical.encode()).digest()).decode().rstrip("=")


def bdxl_owner_name(
    participant: str,
    zone: str,
    *,
    scheme: str | None = names.ISO6523_ACTORID,
    environment: str | None = None,
    fold: bool = True,
) -> str:
    """Give the name whose NAPTR record leads to a participant's publisher.

    Communities differ: `fold` lowers the case of the identifier first, `scheme` and `environment` are labels
    between the hash and the zone, None for none.

    Spec: OASIS BDXL 1.0; EHMI use of the locator.
    """
    labels = [
        bdxl_label(participant.translate(_CASE) if fold else participant),
        scheme,
        environment,
        zone,
    ]
    return ".".join(label for label in labels if label)


@dataclass(frozen=True, slots=True)
class NaptrRecord:
    """One NAPTR record as texts; `replacement` is `.` where the regexp is used."""

    order: int
    preference: int
    flags: str
    service: str
    regexp: str
    replacement: str = "."


SMP_SERVICES: Final = ("meta:smp", "oasis-bdxr-smp-1")
_MOST_RECORDS: Final = 32
_WHOLE_NAME: Final = frozenset({".*", "^.*$", "^.*", ".*$"})


def read_naptr(records: Sequence[NaptrRecord], *, services: Sequence[str] = SMP_SERVICES) -> str:
    """Give the publisher's address from the records of a name.

    The lowest order and then preference wins among records that end a look-up in an address of one of `services`
    (compared without case). No regular expression is ever run: its pattern must stand for the whole name, and what
    replaces it must be an address and nothing else.

    Raises SmpRefused (`smp.naptr`): no usable record, too many, or one that tries more than that.

    Spec: RFC 3403 section 4.1, RFC 4848; OASIS BDXL 1.0.
    """
    if len(records) > _MOST_RECORDS:
        raise SmpRefused("too many NAPTR records", reason="smp.naptr")
    usable = [
        record
        for record in records
        if record.flags.lower() == "u" and record.service.lower() in services
    ]
    if not usable:
        raise SmpRefused("no NAPTR record leads to service metadata", reason="smp.naptr")
    record = min(usable, key=lambda found: (found.order, found.preference))
    delimiter = record.regexp[:1]
    parts = record.regexp.split(delimiter) if delimiter else []
    if (
        len(parts) != 4
        or delimiter.isalnum()
        or delimiter == "\\"
        or parts[1] not in _WHOLE_NAME
        or parts[3] not in ("", "i")
        or record.replacement not in (".", "")
    ):
        raise SmpRefused("NAPTR regexp does more than give an address", reason="smp.naptr")
    try:
        return check_url(parts[2])
    except SmpRefused:
        raise SmpRefused("NAPTR regexp gives no plain address", reason="smp.naptr") from None
