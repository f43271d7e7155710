"""Mutants that no test can find, since they change nothing that can be seen; each with its reason.

A line is named as Python itself would write it, not as it is laid out in the file.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple


class Change(NamedTuple):
    """One thing that mutmut changes: in which function (`Class.method`), the lines before, and after."""

    function: str
    was: str
    becomes: str


_DEFAULT: Final = "so the parser is made unless told"
_FALSE: Final = "None is as false"
_FROM_THE_START: Final = "where a search begins is what it costs, not what it finds"
_NO_DOCTYPE: Final = "refused is the document type declaration, with or without what it declares"
_NOT_FIRST: Final = "a document that begins so is no XML, for which it is refused"
_LONGER_WAY: Final = "what is not proven by counting is walked, to the same verdict"

_REASONS: Final[Mapping[str, Sequence[tuple[str, str, str, str, str]]]] = {
    "accesspoint/inbound/reading.py": (
        ("Reading.__init__", "self._current: TemporaryPayload | None = None", "None = None", "None = ''",
         "asked for only where there is an opener, with which it is set"),
        ("Reading.take", "self._opener = None", "None", "''",
         "between the end of a part and the start of the next there is no event"),
    ),
    "envelope/mime.py": (
        ("MultipartParser.__init__", "self._searched = 0", "0", "None", _FROM_THE_START),
        ("MultipartParser._header_block", "end = _HEADERS_END[self._lenient].search(rest, self._searched)",
         ", self._searched", "", _FROM_THE_START),
    ),
    "envelope/security_token.py": (
        ("_element_end", "if end - start < 2 or der[start] != _SEQUENCE:", "<", "<=",
         "two octets are a sequence of nothing, refused for the same reason"),
    ),
    "envelope/sbd_splitter.py": (
        ("SbdSplitter.finish", "if self._header is None or self._tail is None:", "or", "and",
         "both are set in one step, or reading has ended with an error"),
        ("_Head.__init__", "self._searched = 0", "0", "1", _NOT_FIRST),
        ("_Head.__init__", "self._searched = 0", "0", "None", _FROM_THE_START),
        ("_Head.feed", "name = octets.find(_CONTENT_NAME, self._searched)", "self._searched", "None", _FROM_THE_START),
        ("_Head.feed", "self._near = name >= 0", ">= 0", ">= 1", _NOT_FIRST),
        ("_Head.feed", ("while self._near and self.content is None and ((end := octets.find(b'>', self._parsed)) >= 0):"),
         ">= 0", "> 0", _NOT_FIRST),
        ("_start_tag", "declared = b'xmlns' if element.prefix is None else b'xmlns:' + element.prefix.encode()",
         "b'xmlns'", "b'XMLNS'", "after the content only the spelling of names counts, not their namespaces"),
        ("_start_tag", "declared = b'xmlns' if element.prefix is None else b'xmlns:' + element.prefix.encode()",
         "b'xmlns:'", "b'XMLNS:'", "after the content only the spelling of names counts, not their namespaces"),
        ("_spelling", "local = str(element.tag).rpartition('}')[2]", "rpartition", "partition",
         "the two namespaces hold no brace"),
        ("_Tail._read", ("self._parser = etree.XMLParser(target=cast(Any, self._target), encoding='utf-8', "
         "resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, recover=False)"),
         "load_dtd=False", "load_dtd=None", _FALSE),
        ("_Head._check_prolog", "piece = piece.removeprefix(_BOM)", "prefix", "suffix",
         "a parser that is told UTF-8 skips the mark itself"),
        ("_Tail._read", ("self._parser = etree.XMLParser(target=cast(Any, self._target), encoding='utf-8', "
         "resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, recover=False)"),
         "huge_tree=False", "huge_tree=True", "the limit of octets without text is far below those of the parser"),
        ("_Head._parse", "syntax = error", "error", "None", "the log of the parser, asked next, holds the same error"),
        ("_Head._start", ("if self._elements > limits.elements or len(element.attrib) > limits.attributes or "
         "(self._elements > limits.depth and _depth(element) > limits.depth) or (self._declarations > "
         "min(limits.namespaces, limits.distinct_namespaces) and _declares_too_much(element, limits)):"),
         "elements > limits.depth", "elements >= limits.depth", "no element is deeper than there are elements"),
        ("_Tail.feed", "if ending and (not self._empty) and (len(self._octets) <= _PLAIN_BYTES):", "<=", "<",
         _LONGER_WAY),
        ("_Tail.feed", "ending = self._octets.startswith(b'</') or self._octets == b'<'", "b'<'", "b'XX<XX'",
         _LONGER_WAY),
    ),
    "envelope/xml.py": (
        ("_hardened_parser", ("parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, "
         "dtd_validation=False, attribute_defaults=False, huge_tree=False, strip_cdata=False, recover=False)"),
         "recover=False", "recover=None", _FALSE),
        ("_hardened_parser", ("parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, "
         "dtd_validation=False, attribute_defaults=False, huge_tree=False, strip_cdata=False, recover=False)"),
         "load_dtd=False, ", "", _DEFAULT),
        ("_hardened_parser", ("parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, "
         "dtd_validation=False, attribute_defaults=False, huge_tree=False, strip_cdata=False, recover=False)"),
         "resolve_entities=False", "resolve_entities=None", _FALSE),
        ("_hardened_parser", ("parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, "
         "dtd_validation=False, attribute_defaults=False, huge_tree=False, strip_cdata=False, recover=False)"),
         "dtd_validation=False", "dtd_validation=None", _FALSE),
        ("_PackageResolver.resolve", "return self.resolve_string(resource.read_bytes(), context, base_url=name)",
         "context", "None", "the parser knows its own context"),
        ("_depth_at_most", "if piece[close - 1:close] == b'/' and piece.find(b'>', close + 1) < 0:", "< 0", "<= 0",
         "what follows another is never the first"),
        ("_within_bounds_by_count", "long = [piece for piece in pieces if len(piece) > room]", "> room", ">= room",
         _LONGER_WAY),
        ("scan", "etree.fromstring(data, etree.XMLParser(target=target, resolve_entities=False, no_network=True))",
         "resolve_entities=False", "resolve_entities=None", _FALSE),
        ("_depth_within", "deepest = max(accumulate([-1 if head == b'/' else 1 for head in heads]), default=0)",
         "else 1", "else 2", _LONGER_WAY),
        ("_within_bounds_by_count", ("return max(map(_count_equals, long), default=0) <= limits.attributes and "
         "max(map(_count_declarations, long), default=0) <= limits.namespaces"), "default=0", "default=1",
         "an element may have an attribute"),
        ("scan", "etree.fromstring(data, etree.XMLParser(target=target, resolve_entities=False, no_network=True))",
         "resolve_entities=False", "resolve_entities=True", _NO_DOCTYPE),
        ("scan", "etree.fromstring(data, etree.XMLParser(target=target, resolve_entities=False, no_network=True))",
         ", no_network=True", "", _DEFAULT),
        ("scan", "proven = False", "False", "None", _FALSE),
    ),
}  # fmt: skip
"""By module: function, line, what is changed in it, to what, and why that is nothing."""

EQUIVALENT: Final[Mapping[str, Mapping[Change, str]]] = {
    module: {
        Change(function, line, line.replace(was, becomes, 1)): why
        for function, line, was, becomes, why in reasons
    }
    for module, reasons in _REASONS.items()
}
