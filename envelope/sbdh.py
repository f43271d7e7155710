"""The StandardBusinessDocument: writing one around a payload, and reading the header of one.

An ehmiSBDH envelope is one XML document: a small header and one `BinaryContent` whose text is the payload in base64,
perhaps a hundred megabytes of it. Neither direction ever holds that text: `build_sbd` gives the octets before and after
it, and `sbd_splitter` takes a document in pieces and hands the tree of its header to `read_header`.

Spec: ehmiSBDH 2.0 (header, scopes, BinaryContent); decisions D5 and D6.
"""

import binascii
import re
from dataclasses import fields
from typing import Final

from lxml import etree
from lxml.etree import _Element

from envelope import names, xml
from envelope.errors import LocalProtocolError, SbdRefused
from envelope.names import q
from envelope.sbdh_values import (
    DOCUMENT_REFERENCE,
    MESSAGING,
    OFFICIAL_STANDARDS,
    PARTICIPANT_PREFIX,
    BusinessService,
    CorrelationInformation,
    Identifier,
    Scope,
    ScopeType,
    ServiceTransaction,
    StandardBusinessDocumentHeader,
)

__all__ = [
    "DOCUMENT_REFERENCE", "MESSAGING", "OFFICIAL_STANDARDS", "PARTICIPANT_PREFIX", "Base64Stream",
    "BusinessService", "CorrelationInformation", "Identifier", "Scope",
    "ScopeType", "ServiceTransaction", "StandardBusinessDocumentHeader", "build_sbd", "read_header",
]  # fmt: skip


# Writing


def build_sbd(
    header: StandardBusinessDocumentHeader, *, peppol_binary_content: bool = False
) -> tuple[bytes, bytes]:
    """Write the envelope around a payload: the octets before its base64 text, and those after it.

    The header is checked against the schema before anything is returned, so what leaves here is valid. With
    `peppol_binary_content` the content element stands in Peppol's namespace, which some partners expect although
    the published schema refuses it.

    Raises LocalProtocolError.

    Spec: ehmiSBDH 2.0; contradictions C-7 and C-8.
    """
    try:
        root = _build_document(header)
    except ValueError as error:
        raise LocalProtocolError("the header holds a character that XML cannot carry") from error
    strict = header.standard in OFFICIAL_STANDARDS
    schema = xml.schema("ehmi-sbdh" if strict else "ehmi-sbdh-outbound")
    if not schema.validate(root):
        raise LocalProtocolError(f"the header is not valid: {_first_violation(schema, root)}")
    content = root[-1]
    if peppol_binary_content:
        root.remove(content)
        attributes = {str(name): str(value) for name, value in content.attrib.items()}
        content = etree.SubElement(
            root,
            q(names.PEPPOL_ENVELOPE, "BinaryContent"),
            attributes,
            {None: names.PEPPOL_ENVELOPE},
        )
    # A stand-in keeps the element from being written as an empty tag; base64 never starts with it.
    content.text = "="
    data = etree.tostring(root, encoding="UTF-8", xml_declaration=True)
    prefix, _, suffix = data.rpartition(b"=</")
    return prefix, b"</" + suffix


class Base64Stream:
    """Encode a payload for `BinaryContent` piece by piece, without line breaks."""

    def __init__(self) -> None:
        self._rest = b""

    def update(self, chunk: bytes) -> bytes:
        """Give the text for all whole groups of three octets seen so far."""
        data = self._rest + chunk
        whole = len(data) - len(data) % 3
        self._rest = data[whole:]
        return binascii.b2a_base64(data[:whole], newline=False)

    def finish(self) -> bytes:
        """Give the text for the octets left over, padded."""
        return binascii.b2a_base64(self._rest, newline=False)


def _build_document(header: StandardBusinessDocumentHeader) -> _Element:
    root = etree.Element(q(names.SBDH, "StandardBusinessDocument"), nsmap={None: names.SBDH})
    head = _add(root, "StandardBusinessDocumentHeader")
    _add(head, "HeaderVersion", header.header_version)
    for role, partner in (("Sender", header.sender), ("Receiver", header.receiver)):
        identifier = _add(_add(head, role), "Identifier", partner.value)
        if partner.authority is not None:
            identifier.set("Authority", partner.authority)
    document = _add(head, "DocumentIdentification")
    _add(document, "Standard", header.standard)
    _add(document, "TypeVersion", header.type_version)
    _add(document, "InstanceIdentifier", header.instance_identifier)
    _add(document, "Type", header.type)
    if header.multiple_type is not None:
        _add(document, "MultipleType", str(header.multiple_type).lower())
    _add(document, "CreationDateAndTime", header.creation_date_and_time)
    business = _add(head, "BusinessScope")
    for scope in header.scopes:
        _build_scope(business, scope)
    content = _add(root, "BinaryContent")
    content.set("mimeType", header.binary_content_mime_type)
    if header.binary_content_encoding is not None:
        content.set("encoding", header.binary_content_encoding)
    return root


def _build_scope(parent: _Element, scope: Scope) -> None:
    element = _add(parent, "Scope")
    _add(element, "Type", scope.type)
    _add(element, "InstanceIdentifier", scope.instance_identifier)
    _add(element, "Identifier", scope.identifier)
    if (asked := scope.correlation) is not None:
        correlation = _add(element, "CorrelationInformation")
        _add(correlation, _REQUESTING_TIME, asked.requesting_document_creation_date_time)
        _add(correlation, _REQUESTING_ID, asked.requesting_document_instance_identifier)
        if asked.expected_response_date_time is not None:
            _add(correlation, _EXPECTED_TIME, asked.expected_response_date_time)
    if scope.service is not None:
        service = _add(element, "BusinessService")
        _add(service, "BusinessServiceName", scope.service.name)
        transaction = _add(service, "ServiceTransaction")
        for field, attribute in _TRANSACTION_ATTRIBUTES.items():
            value: str | None = getattr(scope.service.transaction, field)
            if value is not None:
                transaction.set(attribute, value)


def _add(parent: _Element, local: str, text: str | None = None) -> _Element:
    element = etree.SubElement(parent, q(names.SBDH, local))
    element.text = text
    return element


_REQUESTING_TIME: Final = "RequestingDocumentCreationDateTime"
_REQUESTING_ID: Final = "RequestingDocumentInstanceIdentifier"
_EXPECTED_TIME: Final = "ExpectedResponseDateTime"
_TRANSACTION_ATTRIBUTES: Final = {
    field.name: "".join(word.capitalize() for word in field.name.split("_"))
    for field in fields(ServiceTransaction)
} | {"type_of_service_transaction": "TypeOfServiceTransaction"}


# Reading the header's tree

_DATE_TIMES: Final = tuple(
    q(names.SBDH, local) for local in ("CreationDateAndTime", _REQUESTING_TIME, _EXPECTED_TIME)
)
_CORRELATION: Final = q(names.SBDH, "CorrelationInformation")
_SERVICE: Final = q(names.SBDH, "BusinessService")
_WITHOUT_MULTIPLE_TYPE: Final = 5
_SPACE: Final = " \t\r\n"
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def read_header(root: _Element, content: _Element) -> StandardBusinessDocumentHeader:
    """The header of a document whose tree ends with the start tag of `content`, held against the inbound schema.

    Raises SbdRefused: `sbd.schema`, `sbd.cardinality`, `sbd.duplicate-scope`, `sbd.identifier`.

    Spec: decisions D5 and D6.
    """
    namespace = str(content.tag)[1:].partition("}")[0]
    # The schema knows the content in one namespace; partners write it in Peppol's, too.
    content.tag = q(names.SBDH, "BinaryContent")
    for element in root.iter(*_DATE_TIMES):
        # White space around a dateTime is legal, but libxml2 calls it invalid.
        text = element.text or ""
        if text != text.strip(_SPACE):
            element.text = text.strip(_SPACE)
    schema = xml.schema("ehmi-sbdh-inbound")
    if not schema.validate(root):
        raise SbdRefused(_first_violation(schema, root), reason="sbd.schema")
    # The schema has fixed order and number: each element stands where it must.
    version, sender, receiver, about, business = root[0]
    header = StandardBusinessDocumentHeader(
        header_version=version.text or "",
        sender=Identifier(sender[0].text or "", sender[0].get("Authority")),
        receiver=Identifier(receiver[0].text or "", receiver[0].get("Authority")),
        standard=about[0].text or "",
        type_version=about[1].text or "",
        instance_identifier=about[2].text or "",
        type=about[3].text or "Bundle",
        multiple_type=None if len(about) == _WITHOUT_MULTIPLE_TYPE else False,
        creation_date_and_time=about[-1].text or "",
        scopes=tuple(map(_read_scope, business)),
        binary_content_mime_type=content.get("mimeType", ""),
        binary_content_encoding=content.get("encoding"),
        binary_content_namespace=namespace,
    )
    _check_ambiguity(header)
    return header


def _read_scope(element: _Element) -> Scope:
    type_, instance, identifier, *information = element
    correlation = service = None
    for child in information:
        if child.tag == _CORRELATION and correlation is None:
            time, asked, *expected = (part.text or "" for part in child)
            correlation = CorrelationInformation(time, asked, expected[0] if expected else None)
        elif child.tag == _SERVICE and service is None:
            name, transaction = child
            service = BusinessService(
                name.text or "",
                ServiceTransaction(*map(transaction.get, _TRANSACTION_ATTRIBUTES.values())),
            )
        else:
            raise SbdRefused("a scope repeats its information", reason="sbd.cardinality")
    return Scope(
        type_.text or "",
        instance.text or "",
        identifier.text or MESSAGING,
        correlation,
        service,
    )


def _check_ambiguity(header: StandardBusinessDocumentHeader) -> None:
    types = [scope.type for scope in header.scopes]
    if len(types) > len(set(types)):
        raise SbdRefused("two scopes of one type", reason="sbd.duplicate-scope")
    identifiers = [
        header.sender.value,
        header.receiver.value,
        header.standard,
        header.type_version,
        header.instance_identifier,
        header.type,
    ]
    for scope in header.scopes:
        if scope.type != ScopeType.XDS_METADATA:
            identifiers.append(scope.instance_identifier)
        if scope.correlation is not None:
            identifiers.append(scope.correlation.requesting_document_instance_identifier)
    if _CONTROL.search("".join(identifiers)):
        raise SbdRefused("control character in an identifier", reason="sbd.identifier")


def _first_violation(schema: etree.XMLSchema, root: _Element) -> str:
    """Name the rule and the element, never the value: values can be a patient's."""
    prefixes = {p: uri for e in root.iter() for p, uri in e.nsmap.items() if p is not None}
    for entry in schema.error_log:
        found = root.getroottree().xpath(entry.path, namespaces=prefixes) if entry.path else None
        if isinstance(found, list) and found and isinstance(found[0], _Element):
            ancestors = [*reversed(list(found[0].iterancestors())), found[0]]
            path = "/".join(str(etree.QName(element).localname) for element in ancestors)
            return f"{entry.type_name} at {path}"
    return "schema violation"
