"""XML from the network: pre-scan for attacks and sizes, one hardened parse, exact look-ups, canonical form.

Every byte from a peer that becomes a tree goes through `scan`. libxml2 parses a bomb in milliseconds but
canonicalises it in minutes, so the structure is bounded before a tree exists and long before a key is checked.
`scan` first tries to prove the bounds by counting octets, which costs a third of a parse; only a document for
which that is not enough is walked by a parser that builds nothing.

Spec: XML 1.0; Exclusive XML Canonicalization 1.0; decisions D1, D2 (gate G3).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import accumulate
from operator import methodcaller
from typing import Any, NoReturn

from lxml import etree
from lxml.etree import _Element

from envelope.errors import (
    FailedAuthentication,
    Gate,
    InvalidHeader,
    LocalProtocolError,
    TransportRefused,
)
from envelope.limits import DEFAULT_LIMITS, Limits

_BOM = b"\xef\xbb\xbf"
_FOREIGN_ENCODINGS = (b"\xff\xfe", b"\xfe\xff", b"\x00\x3c", b"\x3c\x00", b"\x4c\x6f\xa7\x94")
_DECLARATION = re.compile(
    rb"<\?xml[ \t\r\n]+version[ \t\r\n]*=[ \t\r\n]*(?:\"(?P<v1>[^\"<]*)\"|'(?P<v2>[^'<]*)')"
    rb"(?:[ \t\r\n]+encoding[ \t\r\n]*=[ \t\r\n]*(?:\"(?P<e1>[^\"<]*)\"|'(?P<e2>[^'<]*)'))?"
    rb"(?:[ \t\r\n]+standalone[ \t\r\n]*=[ \t\r\n]*(?:\"(?:yes|no)\"|'(?:yes|no)'))?[ \t\r\n]*\?>"
)
_SPACE = " \t\r\n"
_RESOURCE_ERRORS = frozenset(
    {etree.ErrorTypes.ERR_NAME_TOO_LONG, etree.ErrorTypes.ERR_RESOURCE_LIMIT}
)

_count_equals = methodcaller("count", b"=")
_count_declarations = methodcaller("count", b"xmlns")


@dataclass(frozen=True, slots=True)
class ScannedXml:
    """A document that passed gate G3; `data` is what was parsed (a byte order mark is removed)."""

    data: bytes
    root: _Element


class _PackageResolver(etree.Resolver):
    """Finds schemas of this package by file name and refuses everything else, so nothing is ever fetched."""

    def resolve(self, system_url: str | None, public_id: str | None, context: Any) -> Any:
        name = (system_url or "").rpartition("/")[2]
        resource = resources.files("envelope.schemas").joinpath(name)
        if not name.endswith(".xsd") or not resource.is_file():
            raise OSError("only schemas of this package are read")
        return self.resolve_string(resource.read_bytes(), context, base_url=name)


class _RefusingResolver(etree.Resolver):
    """Answers every look-up of the parser for untrusted documents with a refusal."""

    def resolve(self, system_url: str | None, public_id: str | None, context: Any) -> NoReturn:
        raise OSError("external resources are never read")


def _hardened_parser(resolver: etree.Resolver) -> "etree.XMLParser[_Element]":
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        attribute_defaults=False,
        huge_tree=False,
        strip_cdata=False,
        recover=False,
    )
    parser.resolvers.add(resolver)
    return parser


_UNTRUSTED_PARSER = _hardened_parser(_RefusingResolver())


def _refused(detail: str, reason: str) -> TransportRefused:
    return TransportRefused(detail, reason=reason, gate=Gate.G3)


class _Bounds:
    """A parser target that builds nothing and raises at the first thing over a limit."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._elements = 0
        self._depth = 0
        self._declared = 0
        self._names: set[str] = set()

    def doctype(self, name: str | None, public_id: str | None, system_url: str | None) -> None:
        raise _refused("document type declaration", "xml.doctype")

    def start_ns(self, prefix: str, uri: str) -> None:
        self._declared += 1
        self._names.add(uri)
        if self._declared > self._limits.namespaces:
            raise _refused("too many namespace declarations on one element", "xml.limits")
        if len(self._names) > self._limits.distinct_namespaces:
            raise _refused("too many namespaces", "xml.limits")

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self._elements += 1
        self._depth += 1
        self._declared = 0
        if self._elements > self._limits.elements:
            raise _refused("too many elements", "xml.limits")
        if self._depth > self._limits.depth:
            raise _refused("elements nested too deep", "xml.limits")
        if len(attributes) > self._limits.attributes:
            raise _refused("too many attributes on one element", "xml.limits")

    def end(self, tag: str) -> None:
        self._depth -= 1

    def close(self) -> None:
        return None


def _check_encoding(data: bytes) -> int:
    """Refuse everything but UTF-8 and XML 1.0; return the length of the XML declaration, 0 without one."""
    if data.startswith(_FOREIGN_ENCODINGS):
        raise _refused("not UTF-8", "xml.encoding")
    if b"\0" in data:
        raise _refused("NUL octet", "xml.syntax")
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError as error:
            raise _refused(f"not UTF-8 at octet {error.start}", "xml.encoding") from None
    if not data.startswith(b"<?xml") or data[5:6] not in b" \t\r\n":
        return 0
    declaration = _DECLARATION.match(data)
    if declaration is None:
        raise _refused("XML declaration not understood", "xml.syntax")
    if (declaration["v1"] or declaration["v2"]) != b"1.0":
        raise _refused("not XML 1.0", "xml.version")
    encoding = declaration["e1"] if declaration["e1"] is not None else declaration["e2"]
    if encoding is not None and encoding.lower() != b"utf-8":
        raise _refused("declared encoding is not UTF-8", "xml.encoding")
    return declaration.end()


def _check_markup(pieces: Sequence[bytes], heads: Sequence[bytes]) -> None:
    """Refuse DOCTYPE, comments, CDATA and processing instructions by what follows each `<`.

    In well-formed XML without comments and CDATA a `<` is always markup, so looking at octets is exact.
    """
    if b"!" in heads:
        markup = pieces[heads.index(b"!")]
        if markup.startswith(b"!--"):
            raise _refused("comment", "xml.comment")
        if markup.startswith(b"!["):
            raise _refused("CDATA section", "xml.cdata")
        raise _refused("document type declaration", "xml.doctype")
    if b"?" in heads:
        raise _refused("processing instruction", "xml.pi")


def _depth_within(pieces: Sequence[bytes], heads: Sequence[bytes], most: int) -> bool:
    # Quickly first, as if no tag closed itself.
    deepest = max(accumulate([-1 if head == b"/" else 1 for head in heads]), default=0)
    return deepest <= most or _depth_at_most(pieces) <= most


def _depth_at_most(pieces: Sequence[bytes]) -> int:
    depth = deepest = 0
    for piece in pieces:
        if piece.startswith(b"/"):
            depth -= 1
            continue
        depth += 1
        deepest = max(deepest, depth)
        # An attribute value may hold ">" too: only a single one is surely the end of the tag.
        close = piece.find(b">")
        if piece[close - 1 : close] == b"/" and piece.find(b">", close + 1) < 0:
            depth -= 1
    return deepest


def _within_bounds_by_count(
    data: bytes, pieces: Sequence[bytes], heads: Sequence[bytes], limits: Limits
) -> bool:
    """Prove the limits by counting octets; False means not proven, never refused.

    Sound for documents that `_check_markup` let through: every element needs its own `<`, every attribute and
    namespace declaration a `=` before the next `<`, and every element that holds another an end tag. Only a long
    piece has room for more attributes or declarations than one element may have.
    """
    end_tags = heads.count(b"/")
    elements = len(heads) - end_tags
    if elements > limits.elements:
        raise _refused("too many elements", "xml.limits")
    if min(elements - 1, end_tags) >= limits.depth and not _depth_within(
        pieces, heads, limits.depth
    ):
        return False
    if data.count(b"xmlns") > limits.distinct_namespaces:
        return False
    room = min(limits.attributes * len(b" a=''"), limits.namespaces * len(b" xmlns=''"))
    long = [piece for piece in pieces if len(piece) > room]
    return (
        max(map(_count_equals, long), default=0) <= limits.attributes
        and max(map(_count_declarations, long), default=0) <= limits.namespaces
    )


def _syntax(error: etree.XMLSyntaxError) -> TransportRefused:
    # The text of the parser quotes what the peer sent; the position alone is safe to log.
    line, column = error.position
    if error.code in _RESOURCE_ERRORS:
        return _refused(f"over a limit of the parser at line {line}, column {column}", "xml.limits")
    return _refused(f"not well formed at line {line}, column {column}", "xml.syntax")


def scan(
    data: bytes,
    limits: Limits = DEFAULT_LIMITS,
    *,
    allow_bom: bool = False,
    payload: bool = False,
    max_bytes: int | None = None,
) -> ScannedXml:
    """Parse one untrusted document after its encoding, markup and structure are within bounds.

    `max_bytes` is `limits.soap_bytes` unless told. With `payload` comments, processing instructions and CDATA
    are accepted (business documents may have them); a DOCTYPE never is.

    Raises `TransportRefused` (G3) with reason `xml.encoding`, `.version`, `.doctype`, `.comment`, `.cdata`,
    `.pi`, `.limits` or `.syntax`.

    Spec: decisions D2, D9; the limits table of decisions.
    """
    if len(data) > (limits.soap_bytes if max_bytes is None else max_bytes):
        raise TransportRefused(
            "XML document too large", reason="xml.limits", gate=Gate.G3, status=413
        )
    if data.startswith(_BOM):
        if not allow_bom:
            raise _refused("byte order mark", "xml.encoding")
        data = data[len(_BOM) :]
    start = _check_encoding(data)
    proven = False
    if not payload:
        # Two tags an element: more than that is over the limit before the octets are cut into pieces.
        if data.count(b"<", start) > 2 * limits.elements:
            raise _refused("too many elements", "xml.limits")
        pieces = data[start:].split(b"<")[1:]
        heads = [piece[:1] for piece in pieces]
        _check_markup(pieces, heads)
        proven = _within_bounds_by_count(data, pieces, heads, limits)
    try:
        if not proven:
            target: Any = _Bounds(limits)
            etree.fromstring(
                data, etree.XMLParser(target=target, resolve_entities=False, no_network=True)
            )
        root = etree.fromstring(data, _UNTRUSTED_PARSER)
    except etree.XMLSyntaxError as error:
        raise _syntax(error) from None
    return ScannedXml(data, root)


def parse_trusted(data: bytes) -> _Element:
    """Parse a resource of our own package; raises `LocalProtocolError` when it is broken."""
    try:
        return etree.fromstring(data, _UNTRUSTED_PARSER)
    except etree.XMLSyntaxError as error:
        raise LocalProtocolError(f"own resource is not well formed: {error.msg}") from error


def children(element: _Element) -> list[_Element]:
    """The child elements, without comments and processing instructions."""
    return [child for child in element if isinstance(child.tag, str)]


def find(element: _Element, name: str) -> _Element | None:
    """The only child with this Clark name, or None; two raise `InvalidHeader` (`xml.cardinality`)."""
    found = element.findall(name)
    if len(found) > 1:
        raise InvalidHeader(f"{name} occurs {len(found)} times", reason="xml.cardinality")
    return found[0] if found else None


def one(element: _Element, name: str) -> _Element:
    """The only child with this Clark name; none or two raise `InvalidHeader` (`xml.cardinality`)."""
    found = find(element, name)
    if found is None:
        raise InvalidHeader(f"{name} is missing", reason="xml.cardinality")
    return found


def text(element: _Element) -> str:
    """The text of an element without XML white space at its ends; a child raises `InvalidHeader` (`xml.content`)."""
    if len(element):
        raise InvalidHeader(f"{element.tag!r} holds more than text", reason="xml.content")
    return (element.text or "").strip(_SPACE)


def canonicalize(
    element: _Element, prefixes: Sequence[str] = (), *, comments: bool = False
) -> bytes:
    """Exclusive canonical form, without comments unless told, of `element` where it stands in its tree.

    `prefixes` is the InclusiveNamespaces PrefixList. `#default` is refused because libxml2 drops it silently,
    and so is a list longer than the limit, because the work grows with elements times names. Both, and a tree
    that has no canonical form (relative namespace URI), raise `FailedAuthentication` (`c14n.failed`).

    Spec: Exclusive XML Canonicalization 1.0.
    """
    if "#default" in prefixes:
        raise FailedAuthentication("PrefixList with #default", reason="c14n.failed")
    if len(prefixes) > DEFAULT_LIMITS.prefix_list:
        raise FailedAuthentication("PrefixList too long", reason="c14n.failed")
    try:
        return etree.tostring(
            element,
            method="c14n",
            exclusive=True,
            with_comments=comments,
            inclusive_ns_prefixes=list(prefixes) or None,
        )
    except (etree.C14NError, ValueError) as error:
        raise FailedAuthentication("no canonical form", reason="c14n.failed") from error


@cache
def schema(name: str) -> etree.XMLSchema:
    """The schema `name`.xsd of this package, compiled once; imports resolve inside the package only."""
    resource = resources.files("envelope.schemas").joinpath(f"{name}.xsd")
    if not resource.is_file():
        raise LocalProtocolError(f"no schema named {name}")
    parser = _hardened_parser(_PackageResolver())
    return etree.XMLSchema(etree.fromstring(resource.read_bytes(), parser, base_url=f"{name}.xsd"))
