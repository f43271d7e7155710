"""multipart/related: a push parser with bounded memory, and a writer whose length is known beforehand.

The parser knows only what AS4 needs and refuses the rest: a boundary followed by anything but a line end or
`--`, nested multiparts, text after the end. It never holds more than one header block or one boundary back.

Framing that is wrong raises `TransportRefused` (G2, `mime.*`). A part that is framed well but says something
that the ebMS header cannot agree with (no usable Content-ID, the same one twice, a transfer encoding that the
partner has no quirk for, `start` naming another part) raises `MimeInconsistency`. Only the first part, the
SOAP envelope, may do without Content-ID, and only where no `start` asks for one: nothing else refers to it.

Spec: RFC 2046 section 5.1; RFC 2387; SOAP with Attachments; decisions D9; AS4 Profile 1.0 section 2.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from types import MappingProxyType

from envelope.errors import LocalProtocolError, MimeInconsistency, TransportRefused
from envelope.events import ContentType, Event, MessageComplete, PartData, PartEnded, PartStarted
from envelope.limits import DEFAULT_LIMITS, Limits
from envelope.pmode import Quirk
from envelope.soap import MEDIA_TYPE
from envelope.transfer_encoding import IdentityDecoder, TransferDecoder, decoder_for

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105
_MEDIA_TYPE = re.compile(rf"[ \t]*({_TOKEN}/{_TOKEN})[ \t]*")
_PARAMETER = re.compile(
    rf';[ \t]*(?:({_TOKEN})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s";]+)))?[ \t]*'
)
_QUOTED_PAIR = re.compile(r"\\(.)")
_FOLD = re.compile(r"\r?\n[ \t]+")
_STRICT_FOLD = re.compile(r"\r\n[ \t]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]*[0-9A-Za-z'()+_,./:=?-]")
_HEADER_NAME = re.compile(_TOKEN)
_CONTENT_ID = re.compile(r"<([!-;=?-~]+)>")
_BARE_CONTENT_ID = re.compile(r"<?([!-;=?-~]+)>?")
_HEADERS_END = {False: re.compile(rb"\r\n\r\n"), True: re.compile(rb"\r?\n\r?\n")}
_HEADERS = 8
_HEADER_LENGTH = 1_024
_CONTENT_TYPE_LENGTH = 4_096
_UNENCODED = frozenset({"binary", "8bit", "7bit"})


def _refused(detail: str, reason: str, status: int = 400) -> TransportRefused:
    return TransportRefused(detail, reason=reason, status=status)


def parse_content_type(value: str) -> ContentType:
    """Parse a Content-Type as peers write it: any parameter order, quoted or not, any case of names, folded.

    Raises `TransportRefused` (`mime.type`) when it cannot be read in one way only: no media type, a parameter
    twice, control characters, text left over.

    Spec: RFC 2045 section 5.1.
    """
    # Parts name the same few types again and again; what is refused is never remembered.
    if len(value) <= _HEADER_LENGTH:
        return _parse_short_content_type(value)
    return _parse_content_type(value)


def _parse_content_type(value: str) -> ContentType:
    value = _FOLD.sub(" ", value)
    if len(value) > _CONTENT_TYPE_LENGTH or _CONTROL.search(value):
        raise _refused("Content-Type too long or with control characters", "mime.type")
    found = _MEDIA_TYPE.match(value)
    if found is None:
        raise _refused("Content-Type without a media type", "mime.type")
    parameters: dict[str, str] = {}
    at = found.end()
    while at < len(value):
        parameter = _PARAMETER.match(value, at)
        if parameter is None:
            raise _refused("Content-Type parameters not understood", "mime.type")
        at = parameter.end()
        name, quoted, token = parameter.groups()
        if name is None:
            continue
        if name.lower() in parameters:
            raise _refused("Content-Type has a parameter twice", "mime.type")
        parameters[name.lower()] = token if quoted is None else _QUOTED_PAIR.sub(r"\1", quoted)
    return ContentType(found[1].lower(), MappingProxyType(parameters))


_parse_short_content_type = lru_cache(maxsize=64)(_parse_content_type)


def _check_boundary(boundary: str | None, limits: Limits) -> bytes:
    if boundary is None:
        raise _refused("no boundary parameter", "mime.boundary")
    if len(boundary) > limits.boundary_bytes or _BOUNDARY.fullmatch(boundary) is None:
        raise _refused("boundary parameter not allowed", "mime.boundary")
    return boundary.encode("ascii")


def _without_brackets(content_id: str) -> str:
    return content_id[1:-1] if content_id[:1] == "<" and content_id[-1:] == ">" else content_id


class _State(Enum):
    PREAMBLE = 0
    DELIMITER = 1
    HEADERS = 2
    BODY = 3
    EPILOGUE = 4
    DEAD = 5


class MultipartParser:
    """Feeds on the octets of one multipart/related body and reports events.

    After an exception the parser is dead: feeding it again raises `LocalProtocolError`.

    Raises from the constructor and from `feed` `TransportRefused` with reason `mime.type`, `.boundary`,
    `.preamble`, `.delimiter`, `.headers`, `.nested`, `.charset`, `.parts` (413), `.root` (413, the SOAP part is
    too large), `.epilogue`; `MimeInconsistency` with reason `mime.start`, `mime.cte`, `att.cid`, `att.duplicate`.
    """

    def __init__(
        self,
        content_type: ContentType,
        limits: Limits = DEFAULT_LIMITS,
        quirks: frozenset[Quirk] = frozenset(),
    ) -> None:
        if content_type.media_type != "multipart/related":
            raise _refused("not multipart/related", "mime.type")
        if (content_type.parameter("type") or "").lower() != MEDIA_TYPE:
            raise _refused("the type parameter is not application/soap+xml", "mime.type")
        start = content_type.parameter("start")
        self._start = None if start is None else _without_brackets(start.strip())
        self._limits = limits
        self._boundary = b"--" + _check_boundary(content_type.parameter("boundary"), limits)
        self.hold_to(quirks)
        self.met: set[Quirk] = set()
        """The quirks without which what was read so far would have been refused."""
        self._state = _State.PREAMBLE
        # The delimiter includes the line end before it; the first one has none, so the stream gets one.
        self._rest = self._line_end
        self._searched = 0
        self._lead = 0
        self._part = -1
        self._root_bytes = 0
        self._epilogue = 0
        self._content_ids: set[str] = set()
        self._decoder: TransferDecoder = IdentityDecoder()

    def hold_to(self, quirks: frozenset[Quirk]) -> None:
        """Allow these quirks from here on; call it at the start, or when a part has ended."""
        self._quirks = quirks
        self._lenient = Quirk.BARE_LINE_FEEDS in quirks
        self._line_end = b"\n" if self._lenient else b"\r\n"
        self._delimiter = self._line_end + self._boundary

    def feed(self, data: bytes) -> list[Event]:
        """Take the next octets, any number of them, and return what they complete."""
        return list(self.events(data))

    def events(self, data: bytes) -> Iterator[Event]:
        """As `feed`, one event after the other: octets behind an event are not judged before it is handled.

        So what a message is refused for does not depend on how the network cut it. Take all of them.
        """
        if self._state is _State.DEAD:
            raise LocalProtocolError("this multipart parser has ended")
        state: _State = self._state
        self._state = _State.DEAD
        events: list[Event] = []
        rest = self._rest + data if self._rest else data
        while True:
            before = state
            match state:
                case _State.PREAMBLE:
                    state, rest = self._preamble(rest)
                case _State.DELIMITER:
                    state, rest = self._after_delimiter(rest, events)
                case _State.HEADERS:
                    state, rest = self._header_block(rest, events)
                case _State.BODY:
                    state, rest = self._body(rest, events)
                case _:
                    self._check_epilogue(rest)
                    rest = b""
            yield from events
            events.clear()
            if state is before:
                break
        self._rest = rest
        self._state = state

    def close(self) -> list[Event]:
        """End the input; raises `TransportRefused` (`mime.truncated`) when the end boundary has not come."""
        if self._state is _State.DEAD:
            raise LocalProtocolError("this multipart parser has ended")
        state, self._state = self._state, _State.DEAD
        if state is not _State.EPILOGUE:
            raise _refused("body ends before the end boundary", "mime.truncated")
        return []

    def _preamble(self, rest: bytes) -> tuple[_State, bytes]:
        at = rest.find(self._delimiter, self._searched)
        room = self._limits.preamble_bytes + len(self._line_end)
        if at > room or (at < 0 and len(rest) > room + len(self._delimiter)):
            raise _refused("no boundary near the start of the body", "mime.preamble")
        if at < 0:
            self._searched = max(0, len(rest) - len(self._delimiter))
            return _State.PREAMBLE, rest
        if at > 0:
            self._note_line_end(rest, at)
        return _State.DELIMITER, rest[at + len(self._delimiter) :]

    def _after_delimiter(self, rest: bytes, events: list[Event]) -> tuple[_State, bytes]:
        if len(rest) < 2 and not (self._lenient and rest == b"\n"):
            return _State.DELIMITER, rest
        if rest.startswith(b"--"):
            if self._part < 0:
                raise _refused("no part before the end boundary", "mime.delimiter")
            events.append(MessageComplete(self._part + 1))
            return _State.EPILOGUE, rest[2:]
        if not rest.startswith(b"\r\n"):
            if not (self._lenient and rest.startswith(b"\n")):
                raise _refused("boundary not followed by a line end", "mime.delimiter")
            self.met.add(Quirk.BARE_LINE_FEEDS)
        self._part += 1
        if self._part >= self._limits.parts:
            raise _refused("too many parts", "mime.parts", 413)
        self._searched = 0
        # The line end stays: with it an empty header block ends like every other one.
        return _State.HEADERS, rest

    def _header_block(self, rest: bytes, events: list[Event]) -> tuple[_State, bytes]:
        end = _HEADERS_END[self._lenient].search(rest, self._searched)
        if (end.start() if end else len(rest)) > self._limits.part_header_bytes:
            raise _refused("part header too long", "mime.headers")
        if end is None:
            self._searched = max(0, len(rest) - 4)
            return _State.HEADERS, rest
        if self._lenient and b"\n" in rest[: end.end()].replace(b"\r\n", b""):
            self.met.add(Quirk.BARE_LINE_FEEDS)
        events.append(self._start_part(rest[: end.start()]))
        # The blank line's own end may begin the next delimiter: then the part is empty.
        self._lead = 2
        return _State.BODY, rest[end.end() - self._lead :]

    def _body(self, rest: bytes, events: list[Event]) -> tuple[_State, bytes]:
        at = rest.find(self._delimiter)
        if at >= 0:
            self._note_line_end(rest, at)
            end = at
            if self._lenient and rest[at - 1 : at] == b"\r":
                end -= 1
            self._emit(rest[self._lead : end], events)
            last = self._decoder.finish()
            if last:
                events.append(PartData(last))
            events.append(PartEnded(self._part))
            return _State.DELIMITER, rest[at + len(self._delimiter) :]
        keep = self._held_back(rest)
        if keep > self._lead:
            self._emit(rest[self._lead : keep], events)
            self._lead = 0
            return _State.BODY, rest[keep:]
        return _State.BODY, rest

    def _note_line_end(self, rest: bytes, at: int) -> None:
        if self._lenient and rest[at - 1 : at] != b"\r":
            self.met.add(Quirk.BARE_LINE_FEEDS)

    def _held_back(self, rest: bytes) -> int:
        """Where the octets begin that may turn out to be part of a delimiter."""
        # A delimiter has one line end, with which it begins: the last of the octets decides.
        at = rest.rfind(self._line_end[:1], 1 - len(self._delimiter))
        keep = at if at >= 0 and self._delimiter.startswith(rest[at:]) else len(rest)
        if self._lenient and rest[keep - 1 : keep] == b"\r":
            keep -= 1
        return keep

    def _emit(self, data: bytes, events: list[Event]) -> None:
        if self._part == 0:
            self._root_bytes += len(data)
            if self._root_bytes > self._limits.soap_bytes:
                raise _refused("SOAP part too large", "mime.root", 413)
        data = self._decoder.update(data)
        if data:
            events.append(PartData(data))

    def _check_epilogue(self, rest: bytes) -> None:
        self._epilogue += len(rest)
        if self._epilogue > self._limits.preamble_bytes or rest.strip(b" \t\r\n"):
            raise _refused("text after the end boundary", "mime.epilogue")

    def _start_part(self, block: bytes) -> PartStarted:
        headers = self._headers(block)
        transfer_encoding = headers.get("content-transfer-encoding", "binary").lower()
        if transfer_encoding not in _UNENCODED:
            self._meet(
                Quirk.BASE64_PARTS, "Content-Transfer-Encoding not binary", reason="mime.cte"
            )
        self._decoder = decoder_for(transfer_encoding)
        content_type = None
        if "content-type" in headers:
            content_type = parse_content_type(headers["content-type"])
            if content_type.media_type.startswith("multipart/"):
                raise _refused("multipart inside multipart", "mime.nested")
        content_id = self._content_id(headers.get("content-id"))
        if self._part == 0:
            self._check_root(content_type, content_id)
        return PartStarted(
            self._part, MappingProxyType(headers), content_id, content_type, transfer_encoding
        )

    def _meet(self, quirk: Quirk, detail: str, *, reason: str) -> None:
        """Take a form that needs a quirk; raises `MimeInconsistency` without it."""
        if quirk not in self._quirks:
            raise MimeInconsistency(detail, reason=reason)
        self.met.add(quirk)

    def _headers(self, block: bytes) -> dict[str, str]:
        text = block.decode("latin-1")
        if self._lenient:
            text = text.replace("\r\n", "\n").replace("\n", "\r\n")
        lines = _STRICT_FOLD.sub(" ", text.lstrip("\r\n")).split("\r\n")
        if len(lines) > _HEADERS:
            raise _refused("too many part headers", "mime.headers")
        headers: dict[str, str] = {}
        for line in filter(None, lines):
            name, colon, value = line.partition(":")
            if len(line) > _HEADER_LENGTH or not colon or _HEADER_NAME.fullmatch(name) is None:
                raise _refused("part header not understood", "mime.headers")
            if _CONTROL.search(value):
                raise _refused("control character in a part header", "mime.headers")
            if name.lower() in headers:
                raise _refused("part header twice", "mime.headers")
            headers[name.lower()] = value.strip(" \t")
        return headers

    def _content_id(self, value: str | None) -> str | None:
        if value is None:
            if self._part > 0:
                self._meet(Quirk.MISSING_CONTENT_ID, "part without Content-ID", reason="att.cid")
            return None
        found = _CONTENT_ID.fullmatch(value)
        if found is None:
            self._meet(Quirk.BARE_CONTENT_ID, "Content-ID is not <id>", reason="att.cid")
            found = _BARE_CONTENT_ID.fullmatch(value)
        if found is None:
            raise MimeInconsistency("Content-ID is not an id", reason="att.cid")
        if found[1] in self._content_ids:
            raise MimeInconsistency("two parts with one Content-ID", reason="att.duplicate")
        self._content_ids.add(found[1])
        return found[1]

    def _check_root(self, content_type: ContentType | None, content_id: str | None) -> None:
        if self._start is not None and self._start != content_id:
            raise MimeInconsistency("start is not the first part", reason="mime.start")
        if content_type is None or content_type.media_type != MEDIA_TYPE:
            raise _refused("the first part is not application/soap+xml", "mime.type")
        if (content_type.parameter("charset") or "utf-8").lower() != "utf-8":
            raise _refused("the first part is not UTF-8", "mime.charset")


@dataclass(frozen=True, slots=True)
class OutboundPart:
    """What the writer must know of a payload part: its id without brackets, media type and octets on the wire."""

    content_id: str
    content_type: str
    size: int


class MultipartWriter:
    """Writes the octets around the parts, so that a client can stream them with a known Content-Length.

    The body is `opening()`, then for each part `head(part)` and the part's own octets, then `tail()`.
    Raises `LocalProtocolError` when the boundary, an id or a media type would break the framing.

    Spec: RFC 2387; eDelivery AS4 1.15: binary transfer encoding.
    """

    def __init__(self, boundary: str, root_content_id: str, root: bytes) -> None:
        if (
            len(boundary) > DEFAULT_LIMITS.boundary_bytes
            or _BOUNDARY.fullmatch(boundary) is None
            or f"\r\n--{boundary}".encode() in b"\r\n" + root
        ):
            raise LocalProtocolError("boundary cannot be used")
        self._boundary = boundary
        self._root_content_id = root_content_id
        root_type = f"{MEDIA_TYPE}; charset=UTF-8"
        self._opening = self.head(OutboundPart(root_content_id, root_type, len(root)))[2:] + root
        self._tail = f"\r\n--{boundary}--\r\n".encode("ascii")

    def content_type(self) -> str:
        """The Content-Type of the whole message."""
        return (
            f'multipart/related; boundary="{self._boundary}"; type="{MEDIA_TYPE}"; '
            f'start="<{self._root_content_id}>"'
        )

    def opening(self) -> bytes:
        """The first boundary and the complete root part."""
        return self._opening

    def head(self, part: OutboundPart) -> bytes:
        """What stands between the end of the part before and the first octet of `part`."""
        if _CONTENT_ID.fullmatch(f"<{part.content_id}>") is None:
            raise LocalProtocolError("Content-ID cannot be used")
        return (
            f"\r\n--{self._boundary}\r\n"
            f"Content-Type: {_check_media_type(part.content_type)}\r\n"
            "Content-Transfer-Encoding: binary\r\n"
            f"Content-ID: <{part.content_id}>\r\n\r\n"
        ).encode("ascii")

    def tail(self) -> bytes:
        """The end boundary."""
        return self._tail

    def total_length(self, parts: Iterable[OutboundPart]) -> int:
        """The Content-Length of the message with these parts."""
        return (
            len(self._opening)
            + sum(len(self.head(part)) + part.size for part in parts)
            + len(self._tail)
        )


@lru_cache(maxsize=64)
def _check_media_type(value: str) -> str:
    """Return the media type of a part that we write; raises `LocalProtocolError` when it would break the framing."""
    try:
        parse_content_type(value)
        value.encode("ascii")
    except (TransportRefused, UnicodeEncodeError) as error:
        raise LocalProtocolError("media type cannot be used") from error
    return value
