"""What kind of bytes a capture is, and its outer layers: an HTTP head, chunks, MIME parts.

A capture may be a whole HTTP request or response as a proxy or a product wrote it (line ends often lost), a bare
multipart, or a bare document. The head of an HTTP message is only shown; what is inside a multipart is the work of
the same parser that receives messages.

Spec: RFC 9112; RFC 2046 section 5.1.
"""

import hashlib
import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from envelope.errors import RemoteProtocolError, TransportRefused
from envelope.events import ContentType, PartData, PartEnded, PartStarted
from envelope.explain.node import Mark, Node, broken, counted
from envelope.limits import Limits
from envelope.mime import MultipartParser, parse_content_type
from envelope.pmode import Quirk
from envelope.soap import MEDIA_TYPE

_HEAD_END: Final = re.compile(rb"\r?\n\r?\n")
_START_LINE: Final = re.compile(rb"(?:[A-Z]{3,7} \S+ HTTP/1\.[01]|HTTP/1\.[01] \d{3}[^\r\n]*)\r?\n")
_FIELD_LINE: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n]*(?:\r?\n|\Z)")
_CHUNK_HEAD: Final = re.compile(rb"([0-9A-Fa-f]{1,8})[^\r\n]{0,200}\r\n")
_BOUNDARY: Final = re.compile(rb"\s*--([0-9A-Za-z'()+_,./:=? -]{1,70})\r?\n")
_HEAD_BYTES: Final = 64 * 1024
# What is told in full about content; of other fields, which products fill with titles, only the length.
_PLAIN_FIELDS: Final = frozenset(
    {
        "content-encoding",
        "content-id",
        "content-length",
        "content-transfer-encoding",
        "content-type",
        "mime-version",
    }
)
_FILE_NAME: Final = re.compile(
    r"""((?:file)?name[*0-9]*\s*=\s*)("(?:[^"\\]|\\.|\\$)*(?:"|$)|[^;]*)""", re.IGNORECASE
)
_SECRET: Final = frozenset(
    {"authorization", "cookie", "set-cookie", "proxy-authorization", "x-api-key"}
)


@dataclass(frozen=True, slots=True)
class Part:
    """One MIME part as it was read; `complete` is False when the body ended or broke inside it."""

    headers: dict[str, str]
    content_id: str | None
    octets: bytes = field(repr=False)
    complete: bool


@dataclass(frozen=True, slots=True)
class Layers:
    """The outer layers of a capture: the node of the HTTP head if there is one, and what is below it."""

    head: Node | None
    content_type: ContentType | None
    body: bytes = field(repr=False)
    problems: tuple[Node, ...] = ()


def peel(data: bytes, content_type: str | None) -> Layers:
    """Take an HTTP head and chunks off; `content_type` is what the person says, and wins."""
    head, body = _split_head(data)
    problems: list[Node] = []
    fields = _fields(head)
    said = content_type or next((v for n, v in fields if n.lower() == "content-type"), None)
    parsed = None
    if said is not None:
        try:
            parsed = parse_content_type(said)
        except TransportRefused as refusal:
            problems.append(broken("Content-Type", refusal))
    transfer = next((v for n, v in fields if n.lower() == "transfer-encoding"), "")
    if "chunked" in transfer.lower():
        body = _without_chunks(body)
    if parsed is None or parsed.media_type != "multipart/related":
        boundary = _BOUNDARY.match(body[:1024])
        if boundary is not None:
            parsed = _related(boundary[1].decode("ascii").rstrip())
        elif parsed is not None and not parsed.media_type.startswith("multipart/"):
            parsed = None
    return Layers(_show_head(head, fields) if head else None, parsed, body, tuple(problems))


def _related(boundary: str) -> ContentType:
    return ContentType(
        "multipart/related", MappingProxyType({"boundary": boundary, "type": MEDIA_TYPE})
    )


def _split_head(data: bytes) -> tuple[bytes, bytes]:
    end = _HEAD_END.search(data, 0, _HEAD_BYTES)
    if end is None or not (_START_LINE.match(data) or _FIELD_LINE.match(data)):
        return b"", data
    return data[: end.start()], data[end.end() :].lstrip(b"\r\n")


def _fields(head: bytes) -> list[tuple[str, str]]:
    lines = re.sub(r"\r?\n[ \t]+", " ", head.decode("latin-1")).splitlines()
    pairs = (
        line.partition(":")
        for line in lines
        if not _START_LINE.match(line.encode("latin-1") + b"\n")
    )
    return [(name.strip(), value.strip()) for name, colon, value in pairs if colon]


def _show_head(head: bytes, fields: list[tuple[str, str]]) -> Node:
    start = _START_LINE.match(head + b"\n")
    line = start[0].decode("latin-1").strip() if start else f"{len(fields)} header fields"
    return Node(
        "HTTP",
        line,
        children=tuple(
            _show_field(name, value, known=not name.lower().startswith("content-"))
            for name, value in fields
        ),
    )


def _show_field(name: str, value: str, *, known: bool) -> Node:
    """A header field; only the length of its file names, which often name a patient, and of text nobody knows."""
    if name.lower() in _SECRET:
        return Node(name, "(not shown)")
    if not known and name.lower() not in _PLAIN_FIELDS:
        return Node(name, counted(value))
    return Node(name, _FILE_NAME.sub(lambda found: found[1] + counted(found[2].strip('" ')), value))


def _without_chunks(body: bytes) -> bytes:
    """The content of a chunked body, or the body as it is when a tool has joined the chunks already."""
    joined, at = bytearray(), 0
    while found := _CHUNK_HEAD.match(body, at):
        size = int(found[1], 16)
        if size == 0:
            return bytes(joined)
        joined += body[found.end() : found.end() + size]
        at = found.end() + size + 2
    return body


def read_parts(
    content_type: ContentType, body: bytes, limits: Limits, quirks: frozenset[Quirk]
) -> tuple[list[Part], RemoteProtocolError | None]:
    """The parts as far as the parser comes, and what stopped it."""
    boundary = content_type.parameter("boundary") or ""
    refusal: RemoteProtocolError | None = None
    try:
        parser = MultipartParser(content_type, limits, quirks)
    except TransportRefused as refused:
        refusal = refused
        try:
            parser = MultipartParser(_related(boundary), limits, quirks)
        except RemoteProtocolError:
            return [], refusal
    parts: list[Part] = []
    begun: PartStarted | None = None
    octets = bytearray()
    try:
        for event in parser.events(body):
            if isinstance(event, PartStarted):
                begun, octets = event, bytearray()
            elif isinstance(event, PartData):
                octets += event.data
            elif isinstance(event, PartEnded) and begun is not None:
                parts.append(
                    Part(dict(begun.headers), begun.content_id, bytes(octets), complete=True)
                )
                begun = None
        parser.close()
    except RemoteProtocolError as refused:
        refusal = refusal or refused
    if begun is not None:
        parts.append(Part(dict(begun.headers), begun.content_id, bytes(octets), complete=False))
    return parts, refusal


def describe_octets(octets: bytes) -> str:
    """Size and digest of content that is not shown."""
    return f"{len(octets)} octets, SHA-256 {hashlib.sha256(octets).hexdigest()}"


def show_part(part: Part, *, role: str, children: tuple[Node, ...] = ()) -> Node:
    """The node of one MIME part: its header fields, and what it holds by size and digest."""
    fields = tuple(_show_field(name, value, known=False) for name, value in part.headers.items())
    cut = "" if part.complete else "; cut off, the end boundary is missing"
    return Node(
        role,
        f"{part.content_id or '(no Content-ID)'}: {describe_octets(part.octets)}{cut}",
        Mark.PLAIN if part.complete else Mark.NOTED,
        (*fields, *children),
    )
