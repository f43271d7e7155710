"""Payload parts as they stream by: sealed on the way out, opened and compared with the signed digest on the way in.

Outbound: gzip, then the digest for the signature, then AES-GCM. Inbound the reverse order, without the gunzip:
`PartOpener` gives out the signed octets (gzip or raw), and only its `finish` says that they are the sender's.
Keep them unpublished until then, and the message until `verify_parts` has seen all its parts.

Which octets a digest is over depends on one documented rule, from signed facts where there are any: a compressed
part counts as it is; else the media type before encryption decides (`EncryptedData/@MimeType`, or the signed
MimeType property). XML is canonicalised, other text gets CRLF line ends, all else counts as it is. MIME part
headers decide nothing, because nobody signed them. A consumer of an XML part gets the octets received, of which
comments are not covered by the canonical form: compress parts, and the question does not arise.

Spec: decision D1 (gate G8); WSS SwA Profile 1.1 section 5.4.4; eDelivery AS4 1.15 sections 3.2, 4.2.
"""

import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final

from envelope import names
from envelope.compression import Compressor
from envelope.errors import (
    FailedAuthentication,
    Gate,
    LocalProtocolError,
    MimeInconsistency,
    ReferenceDigestMismatch,
    TransportRefused,
)
from envelope.limits import DEFAULT_LIMITS, Limits
from envelope.verified import (
    _PROOF,
    DecryptedUserMessage,
    PartEvidence,
    VerifiedPart,
    VerifiedUserMessage,
)
from envelope.xml import canonicalize, scan
from envelope.xmldsig import new_digest
from envelope.xmlenc import GcmDecryption, GcmEncryption

_XML_TYPE: Final = re.compile(r"text/xml|application/xml|(application|image)/[^;\s]*\+xml", re.I)
_TEXT_TYPE: Final = re.compile(r"text/", re.I)
_LINE_END: Final = re.compile(rb"\r\n?|\n")
_LIMITS_FOR_XML: Final = {"elements": 100_000, "depth": 200, "attributes": 256}


class _Form(Enum):
    """Which octets of a part its digest is over."""

    OCTETS = auto()
    TEXT = auto()
    XML = auto()


def _form_of(mime_type: str | None, *, compressed: bool) -> _Form:
    if compressed or mime_type is None:
        return _Form.OCTETS
    if _XML_TYPE.match(mime_type):
        return _Form.XML
    return _Form.TEXT if _TEXT_TYPE.match(mime_type) else _Form.OCTETS


class _ContentDigest:
    """The digest of the Attachment-Content-Signature-Transform's output, streaming where the form allows.

    An XML part has to be held whole; it may be `limits.xml_part_bytes` long.
    """

    def __init__(self, form: _Form, algorithm: str, limits: Limits) -> None:
        self._form = form
        self._digest = new_digest(algorithm)
        self._limits = limits
        self._held = bytearray()
        self._return_pending = False

    def update(self, octets: bytes) -> None:
        """Take in octets of the part; raises `FailedAuthentication` (`att.size`) for too long an XML part."""
        if self._form is _Form.OCTETS:
            self._digest.update(octets)
        elif self._form is _Form.TEXT:
            self._update_text(octets)
        elif len(self._held) + len(octets) > self._limits.xml_part_bytes:
            raise FailedAuthentication(
                "XML part too long to canonicalise", reason="att.size", gate=Gate.G8
            )
        else:
            self._held += octets

    def _update_text(self, octets: bytes) -> None:
        # A carriage return at the end may be the first half of a line end: wait for the next chunk.
        if self._return_pending:
            octets = b"\r" + octets
        self._return_pending = octets.endswith(b"\r")
        if self._return_pending:
            octets = octets[:-1]
        self._digest.update(_LINE_END.sub(b"\r\n", octets))

    def digest(self) -> bytes:
        """The digest of the whole part; raises `FailedAuthentication` (`att.xml`) when XML has no canonical form."""
        if self._return_pending:
            self._digest.update(b"\r\n")
        if self._form is _Form.XML:
            wide = replace(self._limits, **_LIMITS_FOR_XML)
            try:
                scanned = scan(
                    bytes(self._held),
                    wide,
                    payload=True,
                    max_bytes=wide.xml_part_bytes,
                    allow_bom=True,
                )
            except TransportRefused as error:
                raise FailedAuthentication(
                    f"XML part without canonical form: {error.reason}",
                    reason="att.xml",
                    gate=Gate.G8,
                ) from None
            self._digest.update(canonicalize(scanned.root))
        return self._digest.digest()


def digest_content(
    octets: bytes, *, mime_type: str | None, compressed: bool, algorithm: str, limits: Limits
) -> bytes:
    """The digest of one whole part in clear, gzip or raw; `mime_type` is the part's type before encryption.

    Proves nothing by itself. Raises `FailedAuthentication` (`att.size`, `att.xml`), and `KeyError` for an algorithm
    that `check_algorithms` would not have passed.
    """
    content = _ContentDigest(_form_of(mime_type, compressed=compressed), algorithm, limits)
    content.update(octets)
    return content.digest()


@dataclass(frozen=True, slots=True)
class SealedPart:
    """What is known of an outbound part once it is on its way to the wire; `digest` is the one to sign."""

    content_id: str
    mime_type: str
    compressed: bool
    digest: bytes
    wire_bytes: int


class PartSealer:
    """Turns one payload into the octets of its MIME part, chunk by chunk.

    `content_key` None leaves the part in clear (only where the agreement says so); else `iv` must be a vector
    never used with this key.
    """

    def __init__(
        self,
        content_id: str,
        content_key: bytes | None,
        iv: bytes,
        *,
        mime_type: str,
        compress: bool,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._content_id = content_id
        self._mime_type = mime_type
        self._compressor = Compressor() if compress else None
        self._cipher = None if content_key is None else GcmEncryption(content_key, iv)
        form = _form_of(mime_type, compressed=compress)
        self._content = _ContentDigest(form, names.SHA256, limits)
        self._wire_bytes = 0
        self._finished = False

    def update(self, chunk: bytes) -> bytes:
        """Take in payload octets, give out octets for the wire; raises `LocalProtocolError` for too long XML."""
        if self._finished:
            raise LocalProtocolError("the part is sealed already")
        return self._seal(chunk if self._compressor is None else self._compressor.compress(chunk))

    def finish(self) -> tuple[bytes, SealedPart]:
        """The last octets for the wire, and the facts that the header needs."""
        if self._finished:
            raise LocalProtocolError("the part is sealed already")
        last = b"" if self._compressor is None else self._seal(self._compressor.finish())
        if self._cipher is not None:
            tail = self._cipher.finish()
            self._wire_bytes += len(tail)
            last += tail
        self._finished = True
        try:
            digest = self._content.digest()
        except FailedAuthentication as error:
            raise LocalProtocolError(f"the part cannot be signed: {error.detail}") from None
        return last, SealedPart(
            content_id=self._content_id,
            mime_type=self._mime_type,
            compressed=self._compressor is not None,
            digest=digest,
            wire_bytes=self._wire_bytes,
        )

    def _seal(self, octets: bytes) -> bytes:
        try:
            self._content.update(octets)
        except FailedAuthentication as error:
            raise LocalProtocolError(f"{error.detail}: compress it") from None
        if self._cipher is not None:
            octets = self._cipher.update(octets)
        self._wire_bytes += len(octets)
        return octets


class PartOpener:
    """Turns the octets of one MIME part back into the signed octets, and proves at the end that they are.

    Raises `MimeInconsistency` (`att.unlisted`) for a part that no PartInfo names. One opener per part.
    """

    def __init__(
        self, decrypted: DecryptedUserMessage, content_id: str, *, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        authenticated = decrypted.authenticated
        reference = authenticated.part_digests.get(content_id)
        if reference is None:
            raise MimeInconsistency(
                "a MIME part that no PartInfo names", reason="att.unlisted", gate=Gate.G8
            )
        info = next(
            part for part in authenticated.user_message.parts if part.content_id == content_id
        )
        mime_type = info.mime_type
        if authenticated.encryption is not None:
            mime_type = authenticated.encryption.parts[content_id].mime_type or mime_type
        compressed = info.compression_type is not None
        self._decrypted = decrypted
        self._info = info
        self._reference = reference
        self._content = _ContentDigest(
            _form_of(mime_type, compressed=compressed), reference.digest_algorithm, limits
        )
        self._cipher = (
            None if decrypted.content_key is None else GcmDecryption(decrypted.content_key)
        )
        self._signed_octets = 0
        self._finished = False

    def update(self, chunk: bytes | memoryview) -> bytes:
        """Take in octets of the MIME part, give out signed octets that are not proven yet."""
        if self._finished:
            raise LocalProtocolError("the part is finished already")
        octets = bytes(chunk) if self._cipher is None else self._cipher.update(chunk)
        self._content.update(octets)
        self._signed_octets += len(octets)
        return octets

    def finish(self) -> PartEvidence:
        """Check the tag (G7: `FailedDecryption`), then the digest (G8: `ReferenceDigestMismatch`, `att.digest`)."""
        if self._finished:
            raise LocalProtocolError("the part is finished already")
        self._finished = True
        if self._cipher is not None:
            self._cipher.finish()
        digest = self._content.digest()
        if not hmac.compare_digest(digest, self._reference.digest_value):
            raise ReferenceDigestMismatch("the digest of a part differs")
        return PartEvidence(
            part=VerifiedPart(
                content_id=self._info.content_id,
                mime_type=self._info.mime_type,
                compressed=self._info.compression_type is not None,
                signed_octets=self._signed_octets,
                digest=digest,
            ),
            message=self._decrypted,
            proof=_PROOF,
        )


def verify_parts(
    decrypted: DecryptedUserMessage, evidences: Sequence[PartEvidence]
) -> VerifiedUserMessage:
    """Gate G8, the end: every part that the header lists has come, each exactly once, and is the signed one.

    Raises `MimeInconsistency` (`att.duplicate`, `att.missing`). Parts may have come in any order; the evidence
    lists them in the header's. Evidence of another message is a mistake of the caller (`LocalProtocolError`).
    """
    found: dict[str, VerifiedPart] = {}
    for evidence in evidences:
        if evidence.message is not decrypted:
            raise LocalProtocolError("the evidence is of another message")
        if evidence.part.content_id in found:
            raise MimeInconsistency("a MIME part came twice", reason="att.duplicate", gate=Gate.G8)
        found[evidence.part.content_id] = evidence.part
    authenticated = decrypted.authenticated
    missing = [part for part in authenticated.user_message.parts if part.content_id not in found]
    if missing:
        raise MimeInconsistency(
            f"{len(missing)} parts are missing", reason="att.missing", gate=Gate.G8
        )
    return VerifiedUserMessage(
        user_message=authenticated.user_message,
        certificate=authenticated.certificate,
        evidence=authenticated.evidence,
        references=authenticated.references,
        signature=authenticated.signature,
        parts=tuple(found[part.content_id] for part in authenticated.user_message.parts),
        proof=_PROOF,
    )
