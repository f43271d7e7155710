"""The StandardBusinessDocument: header values, writing one around a payload, and splitting one while it streams.

An ehmiSBDH envelope is one XML document: a small header and one `BinaryContent` whose text is the payload in base64,
perhaps a hundred megabytes of it. Neither direction ever holds that text: `build_sbd` gives the octets before and after
it, and `SbdSplitter` is a push parser that takes the document in pieces, gives back payload octets as they come, and
keeps only the header, which it checks against the inbound schema the moment `BinaryContent` opens.

The splitter refuses what the pre-scan of `envelope.xml` refuses (DOCTYPE, processing instructions, other encodings,
too many elements, attributes, namespaces or levels), with two differences that published envelopes need: CDATA is
read, because XDS metadata travels in it, and comments may stand *between* elements. A comment next to text is refused:
readers disagree about such text, and disagreement is what an attacker wants.

Spec: ehmiSBDH 2.0 (header, scopes, BinaryContent); decisions D5 and D6.
"""

import binascii
import re
from dataclasses import dataclass, fields
from enum import Enum
from functools import cache
from typing import Any, Final, cast

from lxml import etree
from lxml.etree import _Element

from envelope import names, xml
from envelope.errors import LocalProtocolError, SbdRefused
from envelope.limits import DEFAULT_LIMITS, KIB, Limits
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
    "BusinessService", "CorrelationInformation", "Identifier", "SbdSplitter", "Scope",
    "ScopeType", "ServiceTransaction", "StandardBusinessDocumentHeader", "build_sbd",
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


# Splitting


class _State(Enum):
    HEAD = "head"
    CONTENT = "content"
    TAIL = "tail"
    DONE = "done"


_PIECE: Final = 64 * KIB
_CONTENT_NAME: Final = b"BinaryContent"
_BOM: Final = b"\xef\xbb\xbf"
_DECLARATION: Final = re.compile(
    rb"<\?xml\s+version\s*=\s*(['\"])1\.0\1"
    rb"(?:\s+encoding\s*=\s*(['\"])(?P<encoding>[A-Za-z0-9._-]+)\2)?"
    rb"(?:\s+standalone\s*=\s*(['\"])(?:yes|no)\4)?\s*\?>"
)


class SbdSplitter:
    """Split one StandardBusinessDocument, fed in pieces of any size, into header and payload octets.

    Up to and including the start tag of `BinaryContent` the document goes through an XML parser. Then base64 is taken
    straight from the octets, since character data without `<` and `&` needs no parser, and the rest of the document
    goes through the parser again. Memory stays at a few pieces whatever the size of the payload.

    Raises SbdRefused (G10, `sbd.*`) as soon as something is wrong; after that the splitter is not to be used.

    Spec: decision D5.
    """

    def __init__(self, limits: Limits = DEFAULT_LIMITS, *, allow_bom: bool = False) -> None:
        self._limits = limits
        self._allow_bom = allow_bom
        self._target = _HeaderTarget(limits)
        self._parser = etree.XMLParser(
            target=cast(Any, self._target), encoding="utf-8", resolve_entities=False, no_network=True,
            load_dtd=False, huge_tree=False, recover=False,
        )  # fmt: skip
        self._base64 = _Base64Text()
        self._state = _State.HEAD
        self._prolog: bytearray | None = bytearray()
        self._tag_ended = False
        self._total = 0
        self._head = 0
        self._idle = 0
        self._header: StandardBusinessDocumentHeader | None = None

    @property
    def header(self) -> StandardBusinessDocumentHeader | None:
        """The header, checked, from the moment `BinaryContent` has opened; what follows is still to come."""
        return self._header

    def feed(self, chunk: bytes) -> bytes:
        """Take the next octets of the document and give the payload octets they complete, perhaps none."""
        self._total += len(chunk)
        if self._total > self._limits.sbd_bytes:
            raise SbdRefused(f"document over {self._limits.sbd_bytes} bytes", reason="sbd.size")
        octets: list[bytes] = []
        position = 0
        while position < len(chunk):
            if self._state is _State.HEAD:
                position = self._feed_head(chunk, position)
            elif self._state is _State.CONTENT:
                position = self._feed_content(chunk, position, octets)
            elif self._state is _State.TAIL:
                position = self._feed_tail(chunk, position, octets)
            else:
                raise SbdRefused("octets after the end of reading", reason="sbd.xml")
        return b"".join(octets)

    def finish(self) -> StandardBusinessDocumentHeader:
        """Check that the document is complete and give its header."""
        self._state = _State.DONE
        if not self._target.complete:
            raise SbdRefused("the document ends too early", reason="sbd.truncated")
        try:
            self._parser.close()
        except etree.XMLSyntaxError as error:
            raise _malformed(error) from None
        if self._header is None:
            raise SbdRefused("the document has no BinaryContent", reason="sbd.content")
        self._base64.finish()
        return self._header

    def _feed_head(self, chunk: bytes, position: int) -> int:
        # The octet after the start tag of BinaryContent must be known exactly, so the document is read one tag at a
        # time from the first place where that name stands. What comes before holds no such tag and is read at once,
        # unless the name may have begun in an earlier piece.
        cut = 0
        if self._tag_ended and (name := chunk.find(_CONTENT_NAME, position)) >= 0:
            cut = chunk.rfind(b"<", position, name)
        if cut <= position:
            cut = chunk.find(b">", position) + 1 or len(chunk)
        self._head += cut - position
        if self._head > self._limits.sbdh_bytes:
            raise SbdRefused(f"header over {self._limits.sbdh_bytes} bytes", reason="sbd.limits")
        piece = chunk[position:cut]
        if self._prolog is not None:
            self._prolog += piece
            if not piece.endswith(b">"):
                return cut
            piece = self._check_prolog(bytes(self._prolog))
            self._prolog = None
        self._tag_ended = piece.endswith(b">")
        self._parse(piece)
        if self._target.content is not None:
            self._header = _read_header(self._target)
            self._state = _State.CONTENT if self._target.in_content else _State.TAIL
        return cut

    def _check_prolog(self, start: bytes) -> bytes:
        if start.startswith(_BOM):
            if not self._allow_bom:
                raise SbdRefused("byte order mark", reason="sbd.bom")
            start = start[len(_BOM) :]
        if b"\0" in start or not start.lstrip(_WHITE_SPACE).startswith(b"<"):
            raise SbdRefused("not XML in UTF-8", reason="sbd.encoding")
        if re.match(rb"\s*<\?xml\s", start):
            declaration = _DECLARATION.fullmatch(start)
            encoding = declaration and (declaration["encoding"] or b"UTF-8").upper()
            if encoding not in (b"UTF-8", b"US-ASCII"):
                raise SbdRefused("XML declaration other than 1.0 in UTF-8", reason="sbd.encoding")
        return start

    def _feed_content(self, chunk: bytes, position: int, octets: list[bytes]) -> int:
        end = min(position + _PIECE, len(chunk))
        markup = chunk.find(b"<", position, end)
        if markup >= 0:
            end = markup
        reference = chunk.find(b"&", position, end)
        if reference >= 0:
            end = reference
        if reference >= 0 or markup >= 0:
            self._state = _State.TAIL
        octets.append(self._base64.update(chunk[position:end]))
        return end

    def _feed_tail(self, chunk: bytes, position: int, octets: list[bytes]) -> int:
        cut = min(position + _PIECE, len(chunk))
        self._parse(chunk[position:cut])
        text = self._target.take_content()
        self._idle = 0 if text else self._idle + cut - position
        if self._idle > self._limits.sbdh_bytes:
            raise SbdRefused("too much markup after the header", reason="sbd.limits")
        octets.append(self._base64.update(text))
        return cut

    def _parse(self, piece: bytes) -> None:
        try:
            self._parser.feed(piece)
        except etree.XMLSyntaxError as error:
            raise _malformed(error) from None


_WHITE_SPACE: Final = b" \t\r\n"


class _Base64Text:
    """Decode base64 text that arrives in pieces, white space anywhere, nothing else tolerated."""

    def __init__(self) -> None:
        self._rest = b""
        self._ended = False
        self._empty = True

    def update(self, text: bytes) -> bytes:
        text = text.translate(None, _WHITE_SPACE)
        if not text:
            return b""
        if self._ended:
            raise SbdRefused("base64 goes on after its padding", reason="sbd.base64")
        text = self._rest + text
        whole = len(text) - len(text) % 4
        self._rest = text[whole:]
        if not whole:
            return b""
        text = text[:whole]
        try:
            octets = binascii.a2b_base64(text, strict_mode=True)
        except binascii.Error:
            raise SbdRefused("BinaryContent is not base64", reason="sbd.base64") from None
        self._empty = False
        self._ended = text.endswith(b"=")
        # Unused bits other than zero would let one payload have several spellings.
        if (
            self._ended
            and binascii.b2a_base64(octets[-(len(octets) % 3) :], newline=False) != text[-4:]
        ):
            raise SbdRefused("base64 padded with bits that are not zero", reason="sbd.base64")
        return octets

    def finish(self) -> None:
        if self._rest:
            raise SbdRefused("base64 ends within a group of four", reason="sbd.base64")
        if self._empty:
            raise SbdRefused("BinaryContent is empty", reason="sbd.empty")


class _HeaderTarget:
    """Receives parser events: builds the header's small tree, collects text of BinaryContent, refuses the rest."""

    def __init__(self, limits: Limits) -> None:
        self.root: _Element | None = None
        self.content: _Element | None = None
        self.content_namespace = names.SBDH
        self.in_content = False
        self.complete = False
        self._limits = limits
        self._builder: Any = etree.TreeBuilder()
        self._elements = 0
        self._namespaces: set[str] = set()
        self._open: list[_OpenElement] = []
        self._content_text: list[str] = []

    def start(self, tag: str, attributes: dict[str, str], nsmap: dict[str, str]) -> None:
        self._check_limits(attributes, nsmap)
        if self.in_content:
            raise SbdRefused("element inside BinaryContent", reason="sbd.content")
        if not self._open and tag != q(names.SBDH, "StandardBusinessDocument"):
            raise SbdRefused("root is not StandardBusinessDocument", reason="sbd.root")
        if self._open:
            self._open[-1].has_child = True
        if len(self._open) == 1:
            if self.content is not None:
                raise SbdRefused("element after BinaryContent", reason="sbd.content")
            namespace, _, local = tag[1:].partition("}")
            if local == "BinaryContent" and namespace in (names.SBDH, names.PEPPOL_ENVELOPE):
                self.content_namespace = namespace
                self.in_content = True
                tag = q(names.SBDH, local)
        self._open.append(_OpenElement())
        try:
            # Few elements declare a namespace; the others come with a view that is slow to look into.
            declared = {prefix or None: uri for prefix, uri in nsmap.items()} if nsmap else {}
            element = self._builder.start(tag, attributes, declared)
        except ValueError:
            # The parser reports names that break Namespaces in XML only after it has passed them on.
            raise SbdRefused("name or namespace of no legal form", reason="sbd.xml") from None
        if self.root is None:
            self.root = element
        if self.in_content:
            self._builder.end(tag)
            self.content = element

    def end(self, tag: str) -> None:
        closed = self._open.pop()
        if closed.has_comment and not closed.has_child:
            raise SbdRefused("comment beside text", reason="sbd.comment")
        if self.in_content:
            self.in_content = False
        else:
            self._builder.end(tag)
        self.complete = not self._open

    def data(self, text: str) -> None:
        if self.in_content:
            self._content_text.append(text)
        elif self.content is None:
            self._builder.data(text)
        elif text.strip():
            raise SbdRefused("text after BinaryContent", reason="sbd.content")

    def comment(self, text: str) -> None:
        if self.in_content:
            raise SbdRefused("comment inside BinaryContent", reason="sbd.comment")
        if self._open:
            self._open[-1].has_comment = True

    def pi(self, target: str, data: str | None = None) -> None:
        raise SbdRefused("processing instruction", reason="sbd.pi")

    def doctype(self, name: str | None, public: str | None, system: str | None) -> None:
        raise SbdRefused("document type declaration", reason="sbd.doctype")

    def close(self) -> None:
        return None

    def take_content(self) -> bytes:
        """Give the text of BinaryContent that the parser has passed on since the last time."""
        text = "".join(self._content_text)
        self._content_text.clear()
        try:
            return text.encode("ascii")
        except UnicodeEncodeError:
            raise SbdRefused("BinaryContent is not base64", reason="sbd.base64") from None

    def _check_limits(self, attributes: dict[str, str], nsmap: dict[str, str]) -> None:
        limits = self._limits
        self._elements += 1
        if nsmap:
            self._namespaces.update(nsmap.values())
        if (
            self._elements > limits.elements
            or len(self._open) >= limits.depth
            or len(attributes) > limits.attributes
            or len(nsmap) > limits.namespaces
            or len(self._namespaces) > limits.distinct_namespaces
        ):
            raise SbdRefused(
                "too many elements, levels, attributes or namespaces", reason="sbd.limits"
            )


@dataclass(slots=True)
class _OpenElement:
    has_child: bool = False
    has_comment: bool = False


def _malformed(error: etree.XMLSyntaxError) -> SbdRefused:
    # The parser's own text may quote the document; the line is all that may be logged.
    return SbdRefused(f"not well-formed near line {error.lineno}", reason="sbd.xml")


# Reading the header's tree

_DATE_TIMES: Final = tuple(
    q(names.SBDH, local) for local in ("CreationDateAndTime", _REQUESTING_TIME, _EXPECTED_TIME)
)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def _read_header(target: _HeaderTarget) -> StandardBusinessDocumentHeader:
    root, content = target.root, target.content
    if root is None or content is None:
        raise SbdRefused("the document has no BinaryContent", reason="sbd.content")
    for element in root.iter(*_DATE_TIMES):
        # White space around a dateTime is legal, but libxml2 calls it invalid.
        element.text = (element.text or "").strip(" \t\r\n")
    schema = xml.schema("ehmi-sbdh-inbound")
    if not schema.validate(root):
        raise SbdRefused(_first_violation(schema, root), reason="sbd.schema")
    head = root[0]
    multiple = head.find(_path("DocumentIdentification", "MultipleType"))
    header = StandardBusinessDocumentHeader(
        header_version=_text(head, "HeaderVersion"),
        sender=_read_partner(head, "Sender"),
        receiver=_read_partner(head, "Receiver"),
        standard=_text(head, "DocumentIdentification", "Standard"),
        type_version=_text(head, "DocumentIdentification", "TypeVersion"),
        instance_identifier=_text(head, "DocumentIdentification", "InstanceIdentifier"),
        type=_text(head, "DocumentIdentification", "Type") or "Bundle",
        multiple_type=None if multiple is None else False,
        creation_date_and_time=_text(head, "DocumentIdentification", "CreationDateAndTime"),
        scopes=tuple(_read_scope(element) for element in head[-1]),
        binary_content_mime_type=content.get("mimeType", ""),
        binary_content_encoding=content.get("encoding"),
        binary_content_namespace=target.content_namespace,
    )
    _check_ambiguity(header)
    return header


def _read_partner(head: _Element, role: str) -> Identifier:
    element = head.find(_path(role, "Identifier"))
    authority = None if element is None else element.get("Authority")
    return Identifier(_text(head, role, "Identifier"), authority)


def _read_scope(element: _Element) -> Scope:
    information = [str(etree.QName(child).localname) for child in element[3:]]
    if len(information) > len(set(information)):
        raise SbdRefused("a scope repeats its information", reason="sbd.cardinality")
    correlation = service = None
    if "CorrelationInformation" in information:
        expected = element.find(_path("CorrelationInformation", _EXPECTED_TIME))
        correlation = CorrelationInformation(
            _text(element, "CorrelationInformation", _REQUESTING_TIME),
            _text(element, "CorrelationInformation", _REQUESTING_ID),
            None if expected is None else expected.text or "",
        )
    transaction = element.find(_path("BusinessService", "ServiceTransaction"))
    if transaction is not None:
        service = BusinessService(
            _text(element, "BusinessService", "BusinessServiceName"),
            ServiceTransaction(
                **{field: transaction.get(name) for field, name in _TRANSACTION_ATTRIBUTES.items()}
            ),
        )
    return Scope(
        _text(element, "Type"),
        _text(element, "InstanceIdentifier"),
        _text(element, "Identifier") or MESSAGING,
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
    if any(_CONTROL.search(identifier) for identifier in identifiers):
        raise SbdRefused("control character in an identifier", reason="sbd.identifier")


@cache
def _path(*locals_: str) -> str:
    return "/".join(q(names.SBDH, local) for local in locals_)


def _text(parent: _Element, *locals_: str) -> str:
    return parent.findtext(_path(*locals_)) or ""


def _first_violation(schema: etree.XMLSchema, root: _Element) -> str:
    """Name the rule and the element, never the value: values can be a patient's."""
    for entry in schema.error_log:
        found = root.getroottree().xpath(entry.path) if entry.path else None
        if isinstance(found, list) and found and isinstance(found[0], _Element):
            ancestors = [*reversed(list(found[0].iterancestors())), found[0]]
            path = "/".join(str(etree.QName(element).localname) for element in ancestors)
            return f"{entry.type_name} at {path}"
    return "schema violation"
