"""Service metadata by OASIS SMP 1.0, and by Busdox, from which it comes: one structure in two sets of namespaces.

Busdox, which Peppol uses, has identifiers in a namespace of their own and the address as a WS-Addressing reference.

Spec: OASIS SMP 1.0 section 2; Busdox service metadata publishing 1.0.
"""

import base64
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from lxml import etree
from lxml.etree import _Element

from envelope import names, xml
from envelope.errors import InvalidHeader, LocalProtocolError, SmpRefused
from envelope.names import q
from envelope.seal import sign_service_metadata
from envelope.smp.model import (
    Endpoint,
    MetadataContent,
    Process,
    Redirect,
    ServiceGroup,
    ServiceMetadata,
    SmpForm,
    SmpIdentifier,
    check_url,
)

# Reading


def read_service_metadata(element: _Element) -> MetadataContent:
    """Read a ServiceMetadata element; this proves nothing, only a verified signature around it does.

    Raises SmpRefused (`smp.form`, `smp.url`).

    Spec: OASIS SMP 1.0 section 2.3.
    """
    try:
        redirect = find_named(element, "Redirect")
        if redirect is not None:
            if len(xml.children(element)) > 1:
                raise SmpRefused("a redirect beside an answer", reason="smp.form")
            href = check_url(redirect.get("href", ""))
            return Redirect(href, _text(redirect, "CertificateUID"))
        information = one_named(element, "ServiceInformation")
        return ServiceMetadata(
            _identifier(information, "ParticipantIdentifier"),
            _identifier(information, "DocumentIdentifier"),
            tuple(
                _read_process(process)
                for process in xml.children(one_named(information, "ProcessList"))
            ),
        )
    except InvalidHeader as error:
        raise SmpRefused(error.detail, reason="smp.form") from None


def read_group_1(root: _Element) -> ServiceGroup:
    """Read a ServiceGroup element; raises `InvalidHeader`.

    Spec: OASIS SMP 1.0 section 2.2.
    """
    collection = one_named(root, "ServiceMetadataReferenceCollection")
    return ServiceGroup(
        _identifier(root, "ParticipantIdentifier"),
        tuple(reference.get("href", "") for reference in xml.children(collection)),
    )


def one_named(parent: _Element, local: str) -> _Element:
    """The only child with this local name in the parent's own namespace; raises `InvalidHeader`."""
    return xml.one(parent, _beside(parent, local))


def find_named(parent: _Element, local: str) -> _Element | None:
    """The only such child or None; two raise `InvalidHeader`."""
    return xml.find(parent, _beside(parent, local))


def _beside(element: _Element, local: str) -> str:
    return q(etree.QName(element).namespace or "", local)


def _read_process(element: _Element) -> Process:
    _require_name(element, "Process")
    endpoints = xml.children(one_named(element, "ServiceEndpointList"))
    return Process(
        _identifier(element, "ProcessIdentifier"),
        tuple(_read_endpoint(endpoint) for endpoint in endpoints),
    )


def _read_endpoint(element: _Element) -> Endpoint:
    _require_name(element, "Endpoint")
    try:
        certificate = read_base64(_text(element, "Certificate"))
        activation = _read_time(element, "ServiceActivationDate")
        expiration = _read_time(element, "ServiceExpirationDate")
    except ValueError:
        raise SmpRefused("Certificate or a date has no legal form", reason="smp.form") from None
    return Endpoint(
        element.get("transportProfile", ""),
        _read_address(element),
        certificate,
        activation,
        expiration,
        _text(element, "ServiceDescription"),
        _text(element, "TechnicalContactUrl"),
    )


def _read_address(endpoint: _Element) -> str:
    if etree.QName(endpoint).namespace == names.BUSDOX:
        reference = xml.one(endpoint, q(names.WSA, "EndpointReference"))
        return xml.text(xml.one(reference, q(names.WSA, "Address")))
    return _text(endpoint, "EndpointURI")


def _require_name(element: _Element, local: str) -> None:
    parent = element.getparent()
    if parent is None or element.tag != _beside(parent, local):
        raise SmpRefused(f"something else where {local} belongs", reason="smp.form")


def _read_time(parent: _Element, local: str) -> datetime | None:
    element = find_named(parent, local)
    if element is None:
        return None
    at = datetime.fromisoformat(xml.text(element))
    # xs:dateTime may lack a zone; publishers mean UTC.
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def read_base64(text: str) -> bytes:
    """Read base64 with white space in it; raises ValueError."""
    return base64.b64decode("".join(text.split()), validate=True)


def _identifier(parent: _Element, local: str) -> SmpIdentifier:
    busdox = etree.QName(parent).namespace == names.BUSDOX
    name = q(names.BUSDOX_IDENTIFIERS, local) if busdox else _beside(parent, local)
    element = xml.one(parent, name)
    return SmpIdentifier(element.get("scheme"), xml.text(element))


def _text(parent: _Element, local: str) -> str:
    return xml.text(one_named(parent, local))


# Writing


def build_service_group(
    participant: SmpIdentifier, references: Iterable[str], form: SmpForm = SmpForm.OASIS_1
) -> bytes:
    """Write the list of a participant's service metadata addresses.

    Spec: OASIS SMP 1.0 section 2.2.
    """
    root = _root(form, "ServiceGroup")
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
    form: SmpForm = SmpForm.OASIS_1,
) -> bytes:
    """Write and sign a publisher's answer as OASIS SMP 1.0 or Busdox.

    Raises LocalProtocolError: nothing to list, or a time without a zone.

    Spec: OASIS SMP 1.0 sections 2.3 and 3.
    """
    root = _root(form, "SignedServiceMetadata")
    metadata = _add(root, "ServiceMetadata")
    if isinstance(content, Redirect):
        redirect = _add(metadata, "Redirect")
        redirect.set("href", content.href)
        _add(redirect, "CertificateUID", content.certificate_uid)
    else:
        require_endpoints(content)
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


def require_endpoints(content: ServiceMetadata) -> None:
    """Raise LocalProtocolError for metadata that lists nothing."""
    if not content.processes or not all(process.endpoints for process in content.processes):
        raise LocalProtocolError("service metadata needs a process and an endpoint for each")


def _build_endpoint(parent: _Element, endpoint: Endpoint) -> None:
    element = _add(parent, "Endpoint")
    element.set("transportProfile", endpoint.transport_profile)
    if etree.QName(parent).namespace == names.BUSDOX:
        reference = etree.SubElement(element, q(names.WSA, "EndpointReference"))
        etree.SubElement(reference, q(names.WSA, "Address")).text = endpoint.url
        _add(element, "RequireBusinessLevelSignature", "false")
    else:
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


def _root(form: SmpForm, local: str) -> _Element:
    namespace = names.BUSDOX if form is SmpForm.BUSDOX else names.SMP1
    nsmap: dict[str | None, str] = {None: namespace}
    if namespace == names.BUSDOX:
        nsmap |= {"ids": names.BUSDOX_IDENTIFIERS, "wsa": names.WSA}
    return etree.Element(q(namespace, local), nsmap=nsmap)


def _add_identifier(parent: _Element, local: str, identifier: SmpIdentifier) -> None:
    if etree.QName(parent).namespace == names.BUSDOX:
        element = etree.SubElement(parent, q(names.BUSDOX_IDENTIFIERS, local))
        element.text = identifier.value
    else:
        element = _add(parent, local, identifier.value)
    if identifier.scheme is not None:
        element.set("scheme", identifier.scheme)


def _add(parent: _Element, local: str, text: str | None = None) -> _Element:
    element = etree.SubElement(parent, _beside(parent, local))
    element.text = text
    return element
