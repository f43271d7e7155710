"""A capture as target: octets that somebody recorded; what their sender does right or wrong stands in them.

A capture is a whole HTTP message (request or status line, header fields, body) as a proxy or a dump writes it, or
the body alone; its media type then follows from its first line.
"""

import hashlib
import re
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final

from cryptography import x509

from accesspoint.config_trust import Tls
from accesspoint.conformance.case import NotApplicable, Unmet
from accesspoint.conformance.interceptor import Script, undisturbed
from accesspoint.conformance.reading import Message, media_type
from accesspoint.conformance.recorder import Recorder
from accesspoint.conformance.target import Sent, Target
from envelope import names
from keys.store import load_certificate_files

_HEAD: Final = re.compile(
    rb"\A(?:[A-Z]+ \S+ HTTP/1\.[01]|HTTP/1\.[01] ([0-9]{3})[^\r\n]*)\r?\n", re.A
)
_FIELD: Final = re.compile(rb"\A([!-9;-~]+):[ \t]*(.*?)(?:\r?\n(?![ \t]))", re.S)


def read_capture(octets: bytes) -> Message:
    """Split what was recorded into media type and body.

    Chunked bodies have to be recorded decoded, as proxies do.
    """
    head = _HEAD.match(octets)
    fields, body = _fields(octets[head.end() :] if head else octets)
    if head is None and "content-type" not in fields:
        body = octets
        fields = {"content-type": _guess(octets)}
    status = int(head[1]) if head is not None and head[1] else 0
    content_type = fields.get("content-type", _guess(body))
    is_lone = not content_type.lower().startswith("multipart/") and b":PartInfo" in body
    return Message(content_type, body, status, is_lone=is_lone)


def _fields(octets: bytes) -> tuple[Mapping[str, str], bytes]:
    """Header fields up to the empty line, in lower case, and what follows."""
    fields: dict[str, str] = {}
    while (found := _FIELD.match(octets)) is not None:
        value = re.sub(r"\s*\n\s+", " ", found[2].decode("latin-1"))
        fields[found[1].decode("ascii").lower()] = value.strip()
        octets = octets[found.end() :]
    return fields, octets.removeprefix(b"\r\n") if fields else octets


def _guess(body: bytes) -> str:
    """The media type of a bare body: MIME begins with its boundary, SOAP with a bracket, and else it is anything."""
    first = body.lstrip().split(b"\n", 1)[0].strip()
    if first.startswith(b"--"):
        return f'multipart/related; boundary="{first[2:].decode("latin-1")}"'
    is_xml = first.removeprefix(b"\xef\xbb\xbf").startswith(b"<")
    return "application/soap+xml" if is_xml else "application/octet-stream"


def _summary(message: Message) -> bytes:
    """Media type, size in octets and SHA-256 of each part, as text."""
    lines = [f"{len(message.mime)} parts, {len(message.body):,} octets; they are not in the report"]
    for number, part in enumerate(message.mime, 1):
        kind = media_type(part.fields.get("content-type", ""))
        digest = hashlib.sha256(part.octets).hexdigest()
        lines.append(f"part {number}: {kind}, {len(part.octets):,} octets, SHA-256 {digest}")
    return "\n".join(lines).encode()


class CaptureTarget(Target):
    """A file with one recorded message; everything that needs a living access point is not applicable."""

    kind = "a capture"
    is_recorded = True

    def __init__(self, path: Path, certificate: Path | None = None) -> None:
        """Read the file, and the certificate that its sender signs with; raises OSError, `KeysError`."""
        super().__init__(path.name)
        self._message = read_capture(path.read_bytes())
        self._signer = None if certificate is None else load_certificate_files([certificate])[0]

    @property
    def signer(self) -> x509.Certificate | None:
        """The certificate given, if one was."""
        return self._signer

    def reconfigured(self, tls: Tls) -> AbstractAsyncContextManager[str]:
        """There is no server to configure; raises `NotApplicable`."""
        raise NotApplicable(f"there is no connection to {self.kind}")

    def _user_message(self) -> Message:
        """What was recorded; raises `NotApplicable` where it is no user message."""
        try:
            found = self._message.all(names.EB, "UserMessage")
        except Unmet as unmet:
            raise NotApplicable(f"no AS4 message in it: {unmet.seen}") from unmet
        if not found:
            raise NotApplicable(f"no user message in it, but {self._message.describe()}")
        return self._message

    async def send_business(self, recorder: Recorder, script: Script = undisturbed) -> Sent:
        """Show the message that was recorded."""
        message = self._user_message()
        if script is not undisturbed:
            raise NotApplicable("one recorded message does not show what its sender does next")
        # What was recorded may be somebody's real document: its octets stay in the file that was given.
        recorder.received("recorded message", media_type(message.content_type), _summary(message))
        return Sent(message.message_id, (message,))

    async def submit(self, draft: object, recorder: Recorder, script: Script = undisturbed) -> Sent:
        """A recorded message cannot be changed."""
        self._user_message()
        raise NotApplicable("a capture cannot be asked to send something else")
