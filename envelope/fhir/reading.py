"""Bytes to a FHIR message: JSON and XML read to the same plain dictionaries, within fixed bounds.

The dictionaries have the shape of FHIR JSON, whichever the wire format. A received message is never
written again from them (decimals lose trailing zeros); the bytes are what gets stored and hashed.

Before a tree is built, the bytes are counted: markers that open elements, objects or members, so that a
small file cannot become a large tree. A document type, a processing instruction or an encoding other
than UTF-8 is refused on the bytes; only then may libxml2's own text limit be lifted, which a base64
attachment over 10 MB needs.

Spec: medcom-fhir.md 1, 9, 19, 22; hostile.md on parsers.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import orjson
from lxml import etree

from envelope import names
from envelope.fhir.elements import RESOURCES, TYPES, Element
from envelope.fhir.finding import Finding, Kind, refusal
from envelope.limits import DEFAULT_LIMITS, Limits

Format = Literal["json", "xml"]
Resource = dict[str, Any]

MIME_TYPES: Final[dict[Format, str]] = {
    "json": "application/fhir+json",
    "xml": "application/fhir+xml",
}
"""The form we send, by format; the forms of `_ACCEPTED_MIME_TYPES` are understood."""

_ACCEPTED_MIME_TYPES: Final[dict[str, Format]] = {
    "application/fhir+json": "json",
    "application/json": "json",
    "fhir/json": "json",
    "application/fhir+xml": "xml",
    "application/xml": "xml",
    "text/xml": "xml",
    "fhir/xml": "xml",
}

_MARKERS_PER_ELEMENT: Final = 200  # a bundle may hold this many times the elements of a SOAP part
_BOM: Final = b"\xef\xbb\xbf"
# Of a long string only a piece at once: one match holds up every other thread for as long as it goes on.
_JSON_PIECE: Final = rb'[^"\\]{0,4096}+(?:\\.[^"\\]{0,4096}+){0,64}+(?:"[ \t\r\n]*+(:?))?'
_JSON_STRING: Final = re.compile(rb'"' + _JSON_PIECE, re.DOTALL)
_JSON_REST: Final = re.compile(_JSON_PIECE, re.DOTALL)
_HTML: Final = re.compile(rb"[ \t\r\n]{0,64}<(?:!doctype[ \t\r\n]{1,64}html|html)\b", re.IGNORECASE)
_XML_DECLARATION: Final = re.compile(rb"<\?xml[ \t\r\n][^>]{0,200}\?>")
_XML_ENCODING: Final = re.compile(rb"""encoding[ \t\r\n]*=[ \t\r\n]*["']([A-Za-z0-9._-]+)["']""")
_XML_LONG_TAG: Final = re.compile(
    rb"<[^<]{1024,}+"
)  # shorter ones have no room for many attributes
_XML_ATTRIBUTE: Final = re.compile(rb"""=[ \t\r\n]*+["']""")
_ATTRIBUTES_PER_TAG: Final = 8  # this many times the attributes of a SOAP element
_DECIMAL: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,30})(?:\.[0-9]{1,30})?(?:[eE][+-]?[0-9]{1,3})?")
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,18}")
_INTEGERS: Final = frozenset({"integer", "positiveInt", "unsignedInt"})


@dataclass(frozen=True, slots=True)
class FhirMessage:
    """A bundle as read: its wire format, the plain dictionary, and what the reader itself noticed.

    `findings` are faults of the wire form alone (an element out of order in XML); `rules.validate`
    reports them beside its own. The bundle is left out of the representation: it is patient data.
    """

    format: Format
    bundle: Resource = field(repr=False)
    mime_type: str
    findings: tuple[Finding, ...] = ()


def read_message(
    data: bytes, *, mime_type: str | None = None, limits: Limits = DEFAULT_LIMITS
) -> FhirMessage:
    """Read one FHIR bundle from UTF-8 JSON or XML bytes; a byte order mark is skipped.

    `mime_type` is what the envelope declared, if it did; it must not contradict the bytes.
    Raises `MessageRefused` for everything that is not one well-formed Bundle within the limits.
    """
    if len(data) > limits.fhir_bytes:
        raise refusal("message-size", "the message is larger than allowed", kind=Kind.TOO_LONG)
    body = data.removeprefix(_BOM)
    start = body[:64].lstrip(b" \t\r\n")[:1]
    found: Format | None = "json" if start == b"{" else "xml" if start == b"<" else None
    if _HTML.match(body):
        raise refusal("message-format", "the content is a page of HTML", kind=Kind.SYNTAX)
    if found is None:
        raise refusal("message-format", "the content is neither JSON nor XML", kind=Kind.SYNTAX)
    if mime_type is not None and _format_of(mime_type) != found:
        raise refusal("message-format", "the content is not of the declared type", kind=Kind.SYNTAX)
    if found == "json":
        bundle = _read_json(body, limits)
        findings: tuple[Finding, ...] = ()
    else:
        reader = _XmlReader(2 * limits.depth, limits.fhir_bytes)
        bundle = reader.read(_parse_xml(body.lstrip(b" \t\r\n"), limits))
        findings = tuple(reader.findings)
    if bundle.get("resourceType") != "Bundle":
        raise refusal("message-bundle", "the resource is not a Bundle")
    return FhirMessage(found, bundle, MIME_TYPES[found], findings)


def _format_of(mime_type: str) -> Format | None:
    return _ACCEPTED_MIME_TYPES.get(mime_type.partition(";")[0].strip().lower())


# JSON


def _read_json(body: bytes, limits: Limits) -> Resource:
    if body.count(b",") + body.count(b"[") + body.count(b"{") > _marker_limit(limits):
        raise refusal("message-elements", "the message holds too many elements", kind=Kind.TOO_LONG)
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise refusal("json-syntax", _json_fault(error), kind=Kind.SYNTAX) from None
    if not isinstance(value, dict):
        raise refusal("json-syntax", "the JSON is not an object", kind=Kind.SYNTAX)
    if _count_members(value, 2 * limits.depth) != _count_names(body):
        raise refusal(
            "json-duplicate-key", "an object names the same member twice", kind=Kind.SYNTAX
        )
    return value


def _count_names(body: bytes) -> int:
    """Count the strings before a colon in what is JSON."""
    names, at, is_whole = 0, 0, True
    while True:
        for piece in (_JSON_STRING if is_whole else _JSON_REST).finditer(body, at):
            names += bool(piece[1])
            if (piece[1] is not None) is not is_whole:
                at, is_whole = piece.end(), not is_whole
                break
        else:
            return names


def _json_fault(error: orjson.JSONDecodeError) -> str:
    """Say what is wrong and where; octets that are no UTF-8 have no place, since only a whole text is decoded."""
    if "UTF-8" in error.msg:
        return "the JSON is not UTF-8"
    what = "breaks off" if error.pos >= len(error.doc) else "is not well-formed"
    return f"the JSON {what} at line {error.lineno}, column {error.colno}"


def _count_members(value: Resource, depth: int) -> int:
    """Count the members of all objects, refusing what nests deeper than `depth`."""
    members = 0
    level: list[Any] = [value]
    for _ in range(depth):
        deeper: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                members += len(item)
                deeper.extend(child for child in item.values() if isinstance(child, (dict, list)))
            else:
                deeper.extend(child for child in item if isinstance(child, (dict, list)))
        if not deeper:
            return members
        level = deeper
    raise _too_deep()


def _marker_limit(limits: Limits) -> int:
    return limits.elements * _MARKERS_PER_ELEMENT


def _too_deep() -> Exception:
    return refusal("message-depth", "the message nests deeper than allowed", kind=Kind.TOO_LONG)


# XML


def _parse_xml(body: bytes, limits: Limits) -> etree._Element:
    _scan_xml(body, limits)
    parser = etree.XMLParser(
        encoding="utf-8",
        huge_tree=True,
        load_dtd=False,
        no_network=True,
        resolve_entities=False,
        remove_comments=True,
        recover=False,
    )
    try:
        root = etree.fromstring(body, parser)
    except etree.XMLSyntaxError as error:
        line, column = error.position
        text = f"the XML is not well-formed at line {line}, column {column}"
        raise refusal("xml-syntax", text, kind=Kind.SYNTAX) from None
    except ValueError:
        raise refusal("xml-syntax", "the XML is not well-formed", kind=Kind.SYNTAX) from None
    if etree.QName(root).namespace != names.FHIR:
        raise refusal("xml-namespace", "the root is not in the FHIR namespace", kind=Kind.NAMESPACE)
    return root


def _scan_xml(body: bytes, limits: Limits) -> None:
    """Refuse on the bytes what must not reach the parser, before the parser's own limit is lifted."""
    declaration = _XML_DECLARATION.match(body)
    if declaration is not None:
        encoding = _XML_ENCODING.search(declaration[0])
        if encoding is not None and encoding[1].lower() != b"utf-8":
            raise refusal("xml-encoding", "the XML is not UTF-8", kind=Kind.SYNTAX)
    if b"\x00" in body:
        raise refusal("xml-encoding", "the XML is not UTF-8", kind=Kind.SYNTAX)
    if body.find(b"<?", declaration.end() if declaration else 0) >= 0:
        raise refusal(
            "xml-instruction", "a processing instruction is not allowed", kind=Kind.SYNTAX
        )
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        raise refusal("xml-doctype", "a document type is not allowed", kind=Kind.SYNTAX)
    if (
        body.count(b"<") + body.count(b"=") > _marker_limit(limits)
        or body.count(b"xmlns") > limits.elements
    ):
        raise refusal("message-elements", "the message holds too many elements", kind=Kind.TOO_LONG)
    most = limits.attributes * _ATTRIBUTES_PER_TAG
    for tag in _XML_LONG_TAG.finditer(body):
        if sum(1 for _ in _XML_ATTRIBUTE.finditer(body, *tag.span())) > most:
            raise refusal("xml-attributes", "too many attributes in one tag", kind=Kind.TOO_LONG)


class _XmlReader:
    """Turns one XML resource into its dictionary, by the element table where it knows the type."""

    def __init__(self, depth: int, narrative: int) -> None:
        self.depth = depth
        self._narrative_left = narrative
        self.findings: list[Finding] = []

    def read(self, root: etree._Element) -> Resource:
        return self._resource(root, "Bundle", 1)

    def _resource(self, node: etree._Element, path: str, depth: int) -> Resource:
        name = etree.QName(node).localname
        elements = TYPES[name] if name in RESOURCES else None
        return {"resourceType": name, **self._content(node, elements, path, depth)}

    def _content(
        self, node: etree._Element, elements: dict[str, Element] | None, path: str, depth: int
    ) -> Resource:
        """Read the child elements of `node`; without a table, repeated names become lists."""
        if depth > self.depth:
            raise _too_deep()
        out: Resource = {}
        position = -1
        for attribute, value in node.attrib.items():
            if attribute in ("id", "url"):
                out[str(attribute)] = str(value)
            elif attribute != "value" and not str(attribute).startswith("{"):
                self._note("xml-attribute", path, "an attribute FHIR does not define")
        for child, name in self._children(node, path):
            element = elements.get(name) if elements is not None else None
            if element is not None:
                if element.position < position:
                    self._note("xml-order", path, "the elements are not in the order of FHIR")
                position = max(position, element.position)
                self._put(out, child, element, path, depth)
            else:
                self._put_open(out, child, name, path, depth)
        return out

    def _children(self, node: etree._Element, path: str) -> Iterator[tuple[etree._Element, str]]:
        stray = node.text is not None and bool(node.text.strip())
        for child in node:
            qualified = etree.QName(child)
            if qualified.namespace not in (names.FHIR, names.XHTML) or (
                qualified.namespace == names.XHTML and qualified.localname != "div"
            ):
                raise refusal(
                    "xml-namespace", "an element of a foreign namespace", kind=Kind.NAMESPACE
                )
            stray = stray or (child.tail is not None and bool(child.tail.strip()))
            yield child, qualified.localname
        if stray:
            self._note("xml-text", path, "text between elements")

    def _put(
        self, out: Resource, child: etree._Element, element: Element, path: str, depth: int
    ) -> None:
        name, here = element.name, f"{path}.{element.name}"
        if element.type == "xhtml":
            out[name] = self._narrative(child)
        elif element.type == "Resource":
            _append(out, name, self._wrapped(child, here, depth + 1), many=element.many)
        elif not element.primitive:
            content = self._content(child, TYPES.get(element.type), here, depth + 1)
            _append(out, name, content, many=element.many)
        else:
            self._put_primitive(out, child, name, element.type, element.many, here, depth)

    def _put_primitive(
        self,
        out: Resource,
        child: etree._Element,
        name: str,
        kind: str,
        many: bool,
        path: str,
        depth: int,
    ) -> None:
        """Read a primitive; what it carries beside its value goes to `_name`, as in JSON."""
        value = child.get("value")
        beside = self._content(child, TYPES["Extension"], path, depth + 1) or None
        shadow = f"_{name}"
        if not many and name not in out and shadow not in out:
            if value is not None:
                out[name] = _typed(value, kind)
            if beside is not None:
                out[shadow] = beside
            if value is None and beside is None:
                self._note("xml-empty", path, "an element without content")
            return
        count = len(_as_list(out.get(name)))
        _append(out, name, None if value is None else _typed(value, kind), many=True)
        if beside is not None or shadow in out:
            aligned = _as_list(out.get(shadow))
            aligned.extend([None] * (count - len(aligned)))
            aligned.append(beside)
            out[shadow] = aligned

    def _put_open(
        self, out: Resource, child: etree._Element, name: str, path: str, depth: int
    ) -> None:
        """Read an element the table does not know; the path stays at its parent, names may be data."""
        if etree.QName(child).namespace == names.XHTML:
            _append(out, name, self._narrative(child), many=name in out)
        elif child.get("value") is not None:
            self._put_primitive(out, child, name, "string", name in out, path, depth)
        elif len(child) == 1 and etree.QName(child[0]).localname in RESOURCES:
            _append(out, name, self._wrapped(child, path, depth + 1), many=name in out)
        else:
            table = TYPES["Extension"] if name in ("extension", "modifierExtension") else None
            if name in ("meta", "text") and len(child):
                table = TYPES["Meta" if name == "meta" else "Narrative"]
            content = self._content(child, table, path, depth + 1)
            _append(out, name, content, many=name in out or table is TYPES["Extension"])

    def _wrapped(self, node: etree._Element, path: str, depth: int) -> Resource:
        inner = [child for child, _ in self._children(node, path)]
        if len(inner) != 1 or depth > self.depth:
            raise refusal("xml-resource", "a resource element holds exactly one resource")
        return self._resource(inner[0], path, depth + 1)

    def _narrative(self, div: etree._Element) -> str:
        """A narrative as text; each repeats the namespaces in sight, so all together may be as long as a message."""
        text = etree.tostring(div, encoding="unicode", with_tail=False)
        self._narrative_left -= len(text)
        if self._narrative_left < 0:
            raise refusal(
                "message-elements", "the narratives are larger than allowed", kind=Kind.TOO_LONG
            )
        return text

    def _note(self, rule: str, path: str, text: str) -> None:
        if all(known.rule != rule or known.path != path for known in self.findings):
            self.findings.append(Finding(rule, "error", path, text, kind=Kind.STRUCTURE))


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _append(out: Resource, name: str, value: Any, *, many: bool) -> None:
    """Put a value; a name that repeats becomes a list even where FHIR allows only one."""
    if many or name in out:
        held = out.get(name)
        if isinstance(held, list):
            held.append(value)
        else:
            out[name] = [value] if held is None else [held, value]
    else:
        out[name] = value


def _typed(value: str, kind: str) -> Any:
    """Give a primitive its JSON type; text that does not fit stays text, for the rules to find."""
    if kind == "boolean" and value in ("true", "false"):
        return value == "true"
    if kind in _INTEGERS and _INTEGER.fullmatch(value):
        return int(value)
    if kind == "decimal" and _DECIMAL.fullmatch(value):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
    return value
