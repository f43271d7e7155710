"""Splitting a StandardBusinessDocument while it streams: its header as values, its payload as octets.

The document is one small header and one `BinaryContent` whose text is the payload in base64, perhaps a hundred
megabytes of it, which is never held. Up to and including the start tag of `BinaryContent` the octets go through
libxml2, which builds the header's tree; it is checked against the inbound schema the moment that tag is read. Then
base64 is taken straight from the octets, since character data without `<` and `&` needs no parser. What follows is
two end tags in every document but a strange one, and those are told by their octets; a strange one is read by a
second parser that builds nothing.

Refused is what the pre-scan of `envelope.xml` refuses (DOCTYPE, processing instructions, other encodings, too many
elements, attributes, namespaces or levels), with two differences that published envelopes need: CDATA is read,
because XDS metadata travels in it, and comments may stand *between* elements. A comment next to text is refused:
readers disagree about such text, and disagreement is what an attacker wants.

Spec: ehmiSBDH 2.0 (BinaryContent); decisions D5 and D6.
"""

import binascii
import re
import string
from contextlib import suppress
from enum import Enum
from functools import cached_property
from typing import Any, Final, NoReturn, cast

from lxml import etree
from lxml.etree import _Element

from envelope import names
from envelope.errors import SbdRefused, TransportRefused
from envelope.limits import DEFAULT_LIMITS, KIB, Limits
from envelope.names import q
from envelope.sbdh import read_header
from envelope.sbdh_values import StandardBusinessDocumentHeader
from envelope.xml import scan


class _State(Enum):
    HEAD = "head"
    CONTENT = "content"
    TAIL = "tail"
    DONE = "done"


_PIECE: Final = 64 * KIB


class SbdSplitter:
    """Split one StandardBusinessDocument, fed in pieces of any size, into header and payload octets.

    Memory stays at a few pieces whatever the size of the payload. Without `decode` the payload is judged by the same
    rules and not given: an access point hands the document on as it is.

    Raises SbdRefused (G10, `sbd.*`) as soon as something is wrong; after that the splitter is not to be used.

    Spec: decision D5.
    """

    def __init__(
        self, limits: Limits = DEFAULT_LIMITS, *, allow_bom: bool = False, decode: bool = True
    ) -> None:
        self._limits = limits
        self._decode = decode
        self._head = _Head(limits, allow_bom=allow_bom)
        self._tail: _Tail | None = None
        self._base64 = _Base64Text()
        self._state = _State.HEAD
        self._total = 0
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
                position = self._feed_head(chunk)
            elif self._state is _State.CONTENT:
                position = self._feed_content(chunk, position, octets)
            elif self._tail is not None and self._state is _State.TAIL:
                octets.append(self._base64.update(self._tail.feed(chunk[position:])))
                position = len(chunk)
            else:
                raise SbdRefused("octets after the end of reading", reason="sbd.xml")
        return b"".join(octets)

    def finish(self) -> StandardBusinessDocumentHeader:
        """Check that the document is complete and give its header."""
        self._state = _State.DONE
        if self._header is None or self._tail is None:
            self._head.refuse_incomplete()
        self._tail.finish()
        self._base64.finish()
        return self._header

    def _feed_head(self, chunk: bytes) -> int:
        rest = self._head.feed(chunk)
        if self._head.content is None:
            return len(chunk)
        self._tail = _Tail(self._head, self._limits)
        self._header = self._head.read()
        self._state = _State.TAIL if self._head.empty else _State.CONTENT
        return len(chunk) - rest

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
        if self._decode:
            octets.append(self._base64.update(chunk[position:end]))
        else:
            self._base64.check(chunk[position:end])
        return end


_WHITE_SPACE: Final = b" \t\r\n"
_ALPHABET: Final = (string.ascii_letters + string.digits + "+/").encode()


class _Base64Text:
    """Decode base64 text that arrives in pieces, white space anywhere, nothing else tolerated."""

    def __init__(self) -> None:
        self._rest = b""
        self._ended = False
        self._empty = True

    def update(self, text: bytes) -> bytes:
        if not self._rest and not self._ended and not len(text) % 4:
            # Nearly always nothing but whole groups; white space among them shows as an error.
            with suppress(binascii.Error):
                return self._decode(text)
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
        try:
            return self._decode(text[:whole])
        except binascii.Error:
            raise SbdRefused("BinaryContent is not base64", reason="sbd.base64") from None

    def _decode(self, text: bytes) -> bytes:
        octets = binascii.a2b_base64(text, strict_mode=True)
        self._empty &= not octets
        self._ended = text.endswith(b"=")
        # Unused bits other than zero would let one payload have several spellings.
        if (
            self._ended
            and binascii.b2a_base64(octets[-(len(octets) % 3) :], newline=False) != text[-4:]
        ):
            raise SbdRefused("base64 padded with bits that are not zero", reason="sbd.base64")
        return octets

    def check(self, text: bytes) -> None:
        """As `update`, for who wants no octets: whole groups between first and last are looked at, not decoded."""
        start = -len(self._rest) % 4
        end = len(text) - 4 - (len(text) - start) % 4
        if self._ended or end <= start or text[start:end].translate(None, _ALPHABET):
            self.update(text)
            return
        self.update(text[:start])
        if self._rest or self._ended:
            # White space or padding was among them.
            self.update(text[start:])
            return
        self._empty = False
        self.update(text[end:])

    def finish(self) -> None:
        if self._rest:
            raise SbdRefused("base64 ends within a group of four", reason="sbd.base64")
        if self._empty:
            raise SbdRefused("BinaryContent is empty", reason="sbd.empty")


# Before the payload

_CONTENT_NAME: Final = b"BinaryContent"
_PROLOG_PIECES: Final = 16
_ROOT: Final = q(names.SBDH, "StandardBusinessDocument")
_CONTENTS: Final = tuple(q(space, "BinaryContent") for space in (names.SBDH, names.PEPPOL_ENVELOPE))
_BOM: Final = b"\xef\xbb\xbf"
_DECLARATION: Final = re.compile(
    rb"<\?xml\s+version\s*=\s*(['\"])1\.0\1"
    rb"(?:\s+encoding\s*=\s*(['\"])(?P<encoding>[A-Za-z0-9._-]+)\2)?"
    rb"(?:\s+standalone\s*=\s*(['\"])(?:yes|no)\4)?\s*\?>"
)
_PLAIN_ROOT: Final = re.compile(
    rb"(?:<\?xml[^<>]*\?>)?\s*<((?:[\w.-]+:)?StandardBusinessDocument)[\s>]"
)
_PLAIN_CONTENT: Final = re.compile(rb"<((?:[\w.-]+:)?BinaryContent)(?:\s[^<>]*)?>")
_SPACE_AND_COMMENTS: Final = re.compile(rb"(?:[ \t\r\n]+|<!--(?:[^-]|-[^-])*-->)*")


class _Head:
    """The document up to the start tag of `BinaryContent`: collected, bounded, then parsed into a tree."""

    def __init__(self, limits: Limits, *, allow_bom: bool) -> None:
        self.content: _Element | None = None
        self._limits = limits
        self._allow_bom = allow_bom
        self._octets = bytearray()
        self._parsed = 0
        self._searched = 0
        self._near = False
        self._root: _Element | None = None
        self._elements = 0
        self._declarations = 0
        self._comments: list[_Element] = []
        self._prolog_pieces = 0

    @cached_property
    def _parser(self) -> "etree.XMLPullParser[_Element]":
        return etree.XMLPullParser(
            ("start", "comment", "pi"), encoding="utf-8", resolve_entities=False, no_network=True,
            load_dtd=False, huge_tree=False, recover=False, collect_ids=False,
        )  # fmt: skip

    @property
    def empty(self) -> bool:
        """Whether the content closed itself."""
        return self._octets.endswith(b"/>", 0, self._parsed)

    def feed(self, chunk: bytes) -> int:
        """Take octets; once `content` is there, how many of them lie behind its start tag."""
        octets = self._octets
        octets += chunk
        if not self._near:
            name = octets.find(_CONTENT_NAME, self._searched)
            self._searched = max(0, len(octets) - len(_CONTENT_NAME))
            self._near = name >= 0
            if self._near:
                start = max(0, octets.rfind(b"<", 0, name))
                if self._take_plain(start):
                    return len(octets) - self._parsed
                self._parse(start)
        # The octet after the start tag must be known exactly: from the name on, one tag is parsed at a time.
        while self._near and self.content is None and (end := octets.find(b">", self._parsed)) >= 0:
            self._parse(end + 1)
        if self.content is None:
            self._check_size(len(octets))
        return len(octets) - self._parsed

    def _take_plain(self, start: int) -> bool:
        """Parse a head without comments and CDATA at once; what is strange or wrong is left to the parser by pieces.

        Closed at the end of the start tag, the document is well formed only if that tag opened the root's last child.
        """
        root, content = _PLAIN_ROOT.match(self._octets), _PLAIN_CONTENT.match(self._octets, start)
        if root is None or content is None or content.end() > self._limits.sbdh_bytes:
            return False
        head = bytes(self._octets[: content.end()])
        closed = b"%b</%b></%b>" % (head, content[1], root[1])
        try:
            document = scan(closed, self._limits, max_bytes=len(closed)).root
        except TransportRefused:
            return False
        if document.tag != _ROOT or not len(document) or document[-1].tag not in _CONTENTS:
            return False
        self._root, self.content, self._parsed = document, document[-1], content.end()
        return True

    def read(self) -> StandardBusinessDocumentHeader:
        """The header, held against its schema."""
        if self._root is None or self.content is None:
            raise SbdRefused("the document has no BinaryContent", reason="sbd.content")
        for comment in self._comments:
            parent = comment.getparent()
            if parent is None:
                continue
            beside = parent.text if comment.getprevious() is None else ""
            if len(parent) == 1 or f"{beside or ''}{comment.tail or ''}".strip():
                raise SbdRefused("comment beside text", reason="sbd.comment")
            parent.remove(comment)
        return read_header(self._root, self.content)

    def refuse_incomplete(self) -> NoReturn:
        """Say what is wrong with a document that ended before its content began."""
        if self._octets:
            self._parse(len(self._octets))
        try:
            self._parser.close()
        except etree.XMLSyntaxError:
            raise SbdRefused("the document ends too early", reason="sbd.truncated") from None
        raise SbdRefused("the document has no BinaryContent", reason="sbd.content")

    def start_tags(self) -> bytes:
        """Start tags of the same names, for the parser of what comes after the content."""
        return b"".join(map(_start_tag, self._named()))

    def end_tags(self) -> tuple[bytes, bytes]:
        """How content and document end, spelt as they began and without the `>`."""
        content, root = (b"</" + _spelling(element) for element in reversed(self._named()))
        return content, root

    def _named(self) -> tuple[_Element, _Element]:
        if self._root is None or self.content is None:
            raise SbdRefused("the document has no BinaryContent", reason="sbd.content")
        return self._root, self.content

    def _parse(self, end: int) -> None:
        self._check_size(end)
        piece = bytes(self._octets[self._parsed : end])
        if self._root is None:
            piece = self._check_prolog(piece)
        self._parsed = end
        self._declarations += piece.count(b"xmlns")
        syntax: etree.XMLSyntaxError | None = None
        try:
            self._parser.feed(piece)
        except etree.XMLSyntaxError as error:
            syntax = error
        # What was read before a mistake may be a worse one.
        for event, element in self._parser.read_events():
            if event == "start":
                self._start(element)
            elif event == "comment":
                self._comments.append(element)
            else:
                raise SbdRefused("processing instruction", reason="sbd.pi")
        if syntax is not None:
            raise _malformed(f"near line {syntax.lineno}")
        # Mistakes in the use of namespaces are noted by the parser, and do not stop it.
        if len(self._parser.feed_error_log):
            raise _malformed(f"near line {self._parser.feed_error_log[0].line}")

    def _start(self, element: _Element) -> None:
        limits = self._limits
        self._elements += 1
        if (
            self._elements > limits.elements
            or len(element.attrib) > limits.attributes
            # Only when there are more of them than may be nested or declared can one be nested too deep.
            or (self._elements > limits.depth and _depth(element) > limits.depth)
            or (
                self._declarations > min(limits.namespaces, limits.distinct_namespaces)
                and _declares_too_much(element, limits)
            )
        ):
            raise SbdRefused(
                "too many elements, levels, attributes or namespaces", reason="sbd.limits"
            )
        if self._root is None:
            self._root = element
            if element.tag != _ROOT:
                raise SbdRefused("root is not StandardBusinessDocument", reason="sbd.root")
        elif element.tag in _CONTENTS and element.getparent() is self._root:
            self.content = element

    def _check_size(self, size: int) -> None:
        if size > self._limits.sbdh_bytes:
            raise SbdRefused(f"header over {self._limits.sbdh_bytes} bytes", reason="sbd.limits")

    def _check_prolog(self, piece: bytes) -> bytes:
        """Look at all that is there, before the parser sees any of it; nothing but comments may precede the root.

        Looking again for every `>` of a comment would cost the square of its length.
        """
        self._prolog_pieces += 1
        if self._prolog_pieces > _PROLOG_PIECES:
            raise SbdRefused("too much before the root", reason="sbd.limits")
        start = bytes(self._octets)
        if start.startswith(_BOM):
            if not self._allow_bom:
                raise SbdRefused("byte order mark", reason="sbd.bom")
            start = start[len(_BOM) :]
            piece = piece.removeprefix(_BOM)
        if b"\0" in start[:4] or not start.lstrip(_WHITE_SPACE).startswith(b"<"):
            raise SbdRefused("not XML in UTF-8", reason="sbd.encoding")
        position = 0
        if re.match(rb"\s*<\?xml\s", start):
            declaration = _DECLARATION.match(start)
            encoding = declaration and (declaration["encoding"] or b"UTF-8").upper()
            if declaration is None or encoding not in (b"UTF-8", b"US-ASCII"):
                raise SbdRefused("XML declaration other than 1.0 in UTF-8", reason="sbd.encoding")
            position = declaration.end()
        between = _SPACE_AND_COMMENTS.match(start, position)
        if start.startswith(b"<!DOCTYPE", between.end() if between else position):
            raise SbdRefused("document type declaration", reason="sbd.doctype")
        return piece


def _depth(element: _Element) -> int:
    return 1 + sum(1 for _ in element.iterancestors())


def _declares_too_much(element: _Element, limits: Limits) -> bool:
    parent = element.getparent()
    known = set() if parent is None else set(parent.nsmap.items())
    # Those of earlier siblings are not in sight here: counted as if each declaration were another namespace.
    return len(element.nsmap.items() - known) > limits.namespaces


def _spelling(element: _Element) -> bytes:
    local = str(element.tag).rpartition("}")[2]
    return (local if element.prefix is None else f"{element.prefix}:{local}").encode()


def _start_tag(element: _Element) -> bytes:
    namespace = str(element.tag)[1:].partition("}")[0].encode()
    declared = b"xmlns" if element.prefix is None else b"xmlns:" + element.prefix.encode()
    return b"<%b %b='%b'>" % (_spelling(element), declared, namespace)


def _malformed(where: str) -> SbdRefused:
    # The parser's own text may quote the document; the line is all that may be logged.
    return SbdRefused(f"not well-formed {where}", reason="sbd.xml")


# After the payload

_PLAIN_BYTES: Final = 1 * KIB


class _Tail:
    """What follows the base64 octets: nearly always two end tags; else read by a parser that builds nothing."""

    def __init__(self, head: _Head, limits: Limits) -> None:
        self._limits = limits
        # Now: reading the header renames content of another namespace for the schema.
        self._start_tags = head.start_tags()
        self._end_tags = head.end_tags()
        self._empty = head.empty
        self._octets = bytearray()
        self._target: _TailTarget | None = None
        self._parser: Any = None
        self._idle = 0

    def feed(self, piece: bytes) -> bytes:
        """Take octets and give what they hold of the content's text, which stands behind a reference or in CDATA."""
        if self._target is None:
            self._octets += piece
            ending = self._octets.startswith(b"</") or self._octets == b"<"
            if ending and not self._empty and len(self._octets) <= _PLAIN_BYTES:
                return b""
            piece = bytes(self._octets)
        return self._read(piece)

    def finish(self) -> None:
        """Check that the document is complete."""
        if self._target is None:
            if self._is_plain():
                return
            self._read(bytes(self._octets))
        if self._target is None or not self._target.complete:
            raise SbdRefused("the document ends too early", reason="sbd.truncated")
        try:
            self._parser.close()
        except etree.XMLSyntaxError:
            raise _malformed("after BinaryContent") from None

    def _is_plain(self) -> bool:
        content, _, rest = bytes(self._octets).partition(b">")
        root, _, rest = rest.strip(_WHITE_SPACE).partition(b">")
        found = (content.rstrip(_WHITE_SPACE), root.rstrip(_WHITE_SPACE))
        return not rest and found == self._end_tags and self._octets.count(b">") == 2

    def _read(self, octets: bytes) -> bytes:
        if self._target is None:
            self._target = _TailTarget()
            self._parser = etree.XMLParser(
                target=cast(Any, self._target), encoding="utf-8", resolve_entities=False, no_network=True,
                load_dtd=False, huge_tree=False, recover=False,
            )  # fmt: skip
            self._parser.feed(self._start_tags)
            self._target.begun = True
            if self._empty:
                self._parser.feed(self._end_tags[0] + b">")
        text: list[bytes] = []
        for at in range(0, len(octets), _PIECE):
            piece = octets[at : at + _PIECE]
            try:
                self._parser.feed(piece)
            except etree.XMLSyntaxError:
                raise _malformed("after BinaryContent") from None
            found = self._target.take()
            self._idle = 0 if found else self._idle + len(piece)
            if self._idle > self._limits.sbdh_bytes:
                raise SbdRefused("too much markup after the header", reason="sbd.limits")
            text.append(found)
        return b"".join(text)


class _TailTarget:
    """Receives parser events: collects text of BinaryContent, refuses everything but its end and the document's."""

    def __init__(self) -> None:
        self.begun = False
        self.complete = False
        self._in_content = True
        self._text: list[str] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if self.begun:
            where = "inside" if self._in_content else "after"
            raise SbdRefused(f"element {where} BinaryContent", reason="sbd.content")

    def end(self, tag: str) -> None:
        self.complete = not self._in_content
        self._in_content = False

    def data(self, text: str) -> None:
        if self._in_content:
            self._text.append(text)
        elif text.strip():
            raise SbdRefused("text after BinaryContent", reason="sbd.content")

    def comment(self, text: str) -> None:
        if self._in_content:
            raise SbdRefused("comment inside BinaryContent", reason="sbd.comment")

    def pi(self, target: str, data: str | None = None) -> None:
        raise SbdRefused("processing instruction", reason="sbd.pi")

    def close(self) -> None:
        return None

    def take(self) -> bytes:
        """Give the text of BinaryContent that the parser has passed on since the last time."""
        text = "".join(self._text)
        self._text.clear()
        try:
            return text.encode("ascii")
        except UnicodeEncodeError:
            raise SbdRefused("BinaryContent is not base64", reason="sbd.base64") from None
