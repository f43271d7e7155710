"""Service metadata by OASIS SMP 2.0: the root is signed itself, dates are days, and certificates say what they are for.

Signing and encryption may have certificates of their own, each with days of its own. Every certificate that messages
can be encrypted for gives one endpoint here, valid while both the endpoint and the certificate are, so that an old and a
new certificate can stand side by side.

Element names are taken by their local part: some products write ServiceID for ID.

Spec: OASIS SMP 2.0 sections 3 and 4.
"""

import base64
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from lxml import etree
from lxml.etree import _Element

from envelope import names, xml
from envelope.errors import CertificateRefused, LocalProtocolError, SmpRefused
from envelope.names import q
from envelope.seal import sign_service_metadata
from envelope.security_token import load_certificate
from envelope.smp.model import (
    Endpoint,
    MetadataContent,
    Process,
    Redirect,
    ServiceGroup,
    ServiceMetadata,
    SmpIdentifier,
    check_url,
)
from envelope.smp.version_1 import read_base64, require_endpoints

_XKMS: Final = "http://www.w3.org/2002/03/xkms#"
EXCHANGE: Final = _XKMS + "Exchange"
SIGNATURE: Final = _XKMS + "Signature"
NO_PROCESS: Final = SmpIdentifier("bdx-procid-transport", "bdx:noprocess")

# Reading


def read_metadata_2(root: _Element) -> MetadataContent:
    """Read a ServiceMetadata document; this proves nothing, only a verified signature does.

    Raises SmpRefused (`smp.form`, `smp.url`); `InvalidHeader` where something is missing or there twice.

    Spec: OASIS SMP 2.0 section 3.3.
    """
    if root.tag != _named("ServiceMetadata"):
        raise SmpRefused("root is not ServiceMetadata", reason="smp.form")
    _require_version(root)
    listed = _all(root, "ProcessMetadata")
    redirects = [found for one in listed for found in _all(one, "Redirect")]
    if redirects:
        if len(listed) > 1 or _all(listed[0], "Endpoint", "Process"):
            # Where only some processes are elsewhere the answer depends on the one that is asked for.
            raise SmpRefused("a redirect beside an answer", reason="smp.form")
        certificates = tuple(
            _content(certificate) for certificate in _all(redirects[0], "Certificate")
        )
        return Redirect(check_url(_text(redirects[0], "PublisherURI")), certificates=certificates)
    return ServiceMetadata(
        _identifier(_one(root, "ParticipantID")),
        _identifier(_one(root, "ID", "ServiceID")),
        tuple(process for one in listed for process in _read_processes(one)),
    )


def read_group_2(root: _Element) -> ServiceGroup:
    """Read a ServiceGroup, whose references name documents and not addresses; raises `InvalidHeader`.

    Spec: OASIS SMP 2.0 section 3.2.
    """
    _require_version(root)
    documents = [
        _identifier(_one(one, "ID", "ServiceID")) for one in _all(root, "ServiceReference")
    ]
    return ServiceGroup(
        _identifier(_one(root, "ParticipantID")),
        tuple(f"{document.scheme or ''}::{document.value}" for document in documents),
    )


def _require_version(root: _Element) -> None:
    if _text(root, "SMPVersionID") != "2.0":
        raise SmpRefused("SMPVersionID is not 2.0", reason="smp.form")


def _read_processes(element: _Element) -> list[Process]:
    endpoints = tuple(found for one in _all(element, "Endpoint") for found in _read_endpoints(one))
    named = [_identifier(_one(one, "ID")) for one in _all(element, "Process")]
    return [Process(one, endpoints) for one in named or [NO_PROCESS]]


def _read_endpoints(element: _Element) -> list[Endpoint]:
    """One endpoint for each certificate that can be encrypted for."""
    certificates = _all(element, "Certificate")
    signing = [_content(one) for one in certificates if _is_for(one, SIGNATURE)]
    window = _window(element)
    found = []
    for one in certificates:
        if _is_for(one, EXCHANGE):
            own = _window(one)
            # One certificate may serve both, mentioned once or twice.
            distinct = [other for other in signing if other != _content(one)]
            found.append(
                Endpoint(
                    _text(element, "TransportProfileID"),
                    _text(element, "AddressURI"),
                    _content(one),
                    max((at for at in (window[0], own[0]) if at), default=None),
                    min((at for at in (window[1], own[1]) if at), default=None),
                    _text(element, "Description", default=""),
                    _text(element, "Contact", default=""),
                    distinct[0] if distinct else None,
                )
            )
    return found


def _is_for(certificate: _Element, use: str) -> bool:
    """Whether a certificate is for `use`: as its type code says, else as its key can."""
    code = _text(certificate, "TypeCode", default="")
    if code in (EXCHANGE, SIGNATURE):
        return code == use
    try:
        parsed = load_certificate(_content(certificate))
        key = parsed.public_key()
        usage = _key_usage(parsed)
    except (ValueError, CertificateRefused, UnsupportedAlgorithm):
        # Said when the endpoint is chosen; another one may be good.
        return use == EXCHANGE
    if isinstance(key, x25519.X25519PublicKey | ed25519.Ed25519PublicKey):
        return isinstance(key, x25519.X25519PublicKey) == (use == EXCHANGE)
    if usage is None:
        return True
    agrees = isinstance(key, ec.EllipticCurvePublicKey) and usage.key_agreement
    exchanges = usage.key_encipherment or agrees
    return exchanges if use == EXCHANGE else usage.digital_signature


def _key_usage(certificate: x509.Certificate) -> x509.KeyUsage | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return None


def _window(element: _Element) -> tuple[datetime | None, datetime | None]:
    """From when, inclusive, and until when, exclusive: both are days, which begin at midnight UTC."""
    return _read_day(element, "ActivationDate"), _read_day(element, "ExpirationDate")


def _read_day(parent: _Element, local: str) -> datetime | None:
    said = _text(parent, local, default="")
    if not said:
        return None
    try:
        # An xs:date may carry a zone, which moves its midnight by hours: nobody counts on that.
        return datetime.combine(date.fromisoformat(said[:10]), time(), UTC)
    except ValueError:
        raise SmpRefused("a date has no legal form", reason="smp.form") from None


def _content(certificate: _Element) -> bytes:
    try:
        return read_base64(_text(certificate, "ContentBinaryObject"))
    except ValueError:
        raise SmpRefused("Certificate has no legal form", reason="smp.form") from None


def _identifier(element: _Element) -> SmpIdentifier:
    return SmpIdentifier(element.get("schemeID"), xml.text(element))


def _all(parent: _Element, *locals_: str) -> list[_Element]:
    """The children with these local names in a namespace of SMP 2.0."""
    found = [(child, etree.QName(child)) for child in xml.children(parent)]
    return [
        child
        for child, name in found
        if name.localname in locals_ and (name.namespace or "").startswith(names.SMP2)
    ]


def _one(parent: _Element, *locals_: str) -> _Element:
    found = _all(parent, *locals_)
    if len(found) != 1:
        raise SmpRefused(f"{locals_[0]} occurs {len(found)} times", reason="smp.form")
    return found[0]


def _text(parent: _Element, local: str, *, default: str | None = None) -> str:
    if default is not None and not _all(parent, local):
        return default
    return xml.text(_one(parent, local))


# Writing


def build_group_2(participant: SmpIdentifier, documents: Iterable[SmpIdentifier]) -> bytes:
    """Write the list of the kinds of documents that a participant takes.

    Spec: OASIS SMP 2.0 section 3.2.
    """
    root = _root("ServiceGroup")
    _basic(root, "ParticipantID", participant.value, schemeID=participant.scheme)
    for document in documents:
        reference = _aggregate(root, "ServiceReference")
        _basic(reference, "ID", document.value, schemeID=document.scheme)
    return etree.tostring(root, encoding="UTF-8", xml_declaration=True)


def build_metadata_2(
    content: MetadataContent,
    *,
    participant: SmpIdentifier,
    document_id: SmpIdentifier,
    key: rsa.RSAPrivateKey,
    certificate: x509.Certificate,
    chain: Sequence[x509.Certificate] = (),
) -> bytes:
    """Write and sign a publisher's answer about a participant and a kind of document, also where it redirects.

    Times inside a day are written as days so that nothing is valid for longer than was said.

    Raises LocalProtocolError: nothing to list, or a time without a zone.

    Spec: OASIS SMP 2.0 sections 3.3 and 4.
    """
    root = _root("ServiceMetadata")
    _basic(root, "ID", document_id.value, schemeID=document_id.scheme)
    _basic(root, "ParticipantID", participant.value, schemeID=participant.scheme)
    if isinstance(content, Redirect):
        redirect = _aggregate(_aggregate(root, "ProcessMetadata"), "Redirect")
        _basic(redirect, "PublisherURI", content.href)
        for one in content.certificates:
            _add_certificate(redirect, one, SIGNATURE)
    else:
        require_endpoints(content)
        for process in content.processes:
            metadata = _aggregate(root, "ProcessMetadata")
            if process.process_id != NO_PROCESS:
                named = process.process_id
                _basic(_aggregate(metadata, "Process"), "ID", named.value, schemeID=named.scheme)
            for endpoint in process.endpoints:
                _build_endpoint(metadata, endpoint)
    return sign_service_metadata(
        root, key=key, certificate=certificate, chain=chain, canonicalization=names.C14N_11
    )


def _build_endpoint(parent: _Element, endpoint: Endpoint) -> None:
    element = _aggregate(parent, "Endpoint")
    _basic(element, "TransportProfileID", endpoint.transport_profile)
    for local, text in (
        ("Description", endpoint.service_description),
        ("Contact", endpoint.technical_contact_url),
        ("AddressURI", endpoint.url),
        ("ActivationDate", _write_day(endpoint.activation, up=True)),
        ("ExpirationDate", _write_day(endpoint.expiration, up=False)),
    ):
        if text:
            _basic(element, local, text)
    _add_certificate(element, endpoint.certificate, EXCHANGE)
    _add_certificate(element, endpoint.signing_certificate or endpoint.certificate, SIGNATURE)


def _write_day(at: datetime | None, *, up: bool) -> str:
    if at is None:
        return ""
    if at.tzinfo is None:
        raise LocalProtocolError("a time in service metadata needs an offset from UTC")
    at = at.astimezone(UTC)
    midnight = at.time() == time()
    return (at.date() + timedelta(days=0 if midnight or not up else 1)).isoformat()


def _add_certificate(parent: _Element, certificate: bytes, use: str) -> None:
    element = _aggregate(parent, "Certificate")
    _basic(element, "TypeCode", use)
    encoded = base64.b64encode(certificate).decode()
    _basic(element, "ContentBinaryObject", encoded, mimeCode="application/base64")


def _named(local: str) -> str:
    return q(names.SMP2 + local, local)


def _root(local: str) -> _Element:
    nsmap: dict[str | None, str] = {
        None: names.SMP2 + local,
        "sma": names.SMP2 + "AggregateComponents",
        "smb": names.SMP2 + "BasicComponents",
    }
    root = etree.Element(_named(local), nsmap=nsmap)
    _basic(root, "SMPVersionID", "2.0")
    return root


def _aggregate(parent: _Element, local: str) -> _Element:
    return etree.SubElement(parent, q(names.SMP2 + "AggregateComponents", local))


def _basic(parent: _Element, local: str, text: str, **attributes: str | None) -> None:
    element = etree.SubElement(parent, q(names.SMP2 + "BasicComponents", local))
    element.text = text
    for name, value in attributes.items():
        if value is not None:
            element.set(name, value)
