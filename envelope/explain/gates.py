"""What the gates say about a capture: the very code of the receiving side, run again as often as it takes to learn why.

First the gates run as they would for a partner without quirks. Where one refuses, they run once more under every
generation of the profile and every quirk; if that leads further, quirks are taken away one by one until what is
left is needed. So the answer names the quirks that a partner's agreement would have to list, and no others.

Nothing is decided here: a gate raises as it always does. What the capture or the person did not give (a private
key, the certificate that a key identifier names) ends the course without a refusal.

Spec: decisions D1 and D9.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import Final, Protocol

from cryptography import x509

from envelope.compression import Decompressor
from envelope.errors import Gate, OtherError, RemoteProtocolError, SbdRefused
from envelope.events import ContentType, PartData, PartStarted
from envelope.limits import DEFAULT_LIMITS, Limits
from envelope.messaging import PartyId
from envelope.mime import MultipartParser
from envelope.parts import PartOpener, verify_parts
from envelope.pmode import POLICIES, Quirk, SecurityPolicy
from envelope.receipts import match_receipt
from envelope.sbd_splitter import SbdSplitter
from envelope.security_token import TokenReference
from envelope.soap import HEADER, parse_soap, read_fault
from envelope.verified import (
    DecryptedUserMessage,
    ParsedSignal,
    ParsedUserMessage,
    PartEvidence,
    SignedReference,
)
from envelope.wsse import Decrypter, authenticate, authenticate_signal, decrypt_key
from envelope.xml import scan
from envelope.xmlenc import WrappedKey

_ROOT: Final = re.compile(rb"<(?:[A-Za-z_][\w.-]*:)?([A-Za-z_][\w.-]*)")
PROFILES: Final[Mapping[str, SecurityPolicy]] = MappingProxyType(
    {f"eDelivery AS4 {generation}": policy for generation, policy in POLICIES.items()}
)
EVERY_QUIRK: Final = frozenset(Quirk)


class Trust(Protocol):
    """Which certificates the person gave, and whether one of them was good at a time."""

    def find(self, reference: TokenReference) -> x509.Certificate | None:
        """The certificate that a key identifier or issuer and serial number name, or None."""

    def check(
        self, certificate: x509.Certificate, chain: Sequence[x509.Certificate], at: datetime | None
    ) -> str:
        """One sentence about the path; raises `CertificateRefused`, or `Unseen` when no anchor was given."""


class Unseen(Exception):
    """Something cannot be looked at; the text says because of what."""


@dataclass(frozen=True, slots=True)
class Capture:
    """One HTTP body; `content_type` is None for an envelope that travelled, or was kept, without parts."""

    body: bytes = field(repr=False)
    content_type: ContentType | None = None


@dataclass(frozen=True, slots=True)
class SentMessage:
    """The message that a receipt should answer: its id, and what its signature is over."""

    message_id: str
    references: tuple[SignedReference, ...]


@dataclass(frozen=True, slots=True)
class Means:
    """What a person gave to look with; `policies` are the generations of the profile by name, the usual one first.

    With `keep_payload` the nodes keep content, for a person who asked to see it.
    """

    trust: Trust
    decrypter: Decrypter | None = None
    policies: Mapping[str, SecurityPolicy] = field(default_factory=lambda: PROFILES)
    limits: Limits = DEFAULT_LIMITS
    sent: SentMessage | None = None
    keep_payload: bool = False

    def kept(self, octets: bytes) -> bytes | None:
        """What a node keeps of content."""
        return octets if self.keep_payload else None


@dataclass(frozen=True, slots=True)
class Course:
    """How far a capture came: the gates it passed, then a refusal, or why nobody could look further, or neither."""

    passed: tuple[Gate, ...]
    refusal: RemoteProtocolError | None = None
    unseen: str | None = None

    @property
    def rank(self) -> tuple[bool, int]:
        """Greater for what came further; not to be refused counts most."""
        return self.refusal is None, len(self.passed)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gates say under the `usual` profile, and where another `profile` or quirks lead further, which those are."""

    usual: str
    strict: Course
    lenient: Course
    profile: str
    policy: SecurityPolicy

    @property
    def looking(self) -> SecurityPolicy:
        """The policy to look at single things with: what leads to the end, else everything that anybody may agree on."""
        if self.lenient.refusal is None:
            return self.policy
        return replace(self.policy, quirks=EVERY_QUIRK)

    @property
    def quirks(self) -> tuple[Quirk, ...]:
        """The quirks that are needed, in the order of the table."""
        return tuple(quirk for quirk in Quirk if quirk in self.policy.quirks)


def judge(capture: Capture, means: Means) -> Verdict:
    """Run the gates over a capture, and again under more lenient agreements where they refuse it."""
    usual, policy = next(iter(means.policies.items()))
    strict = run(capture, policy, means)
    best = Verdict(usual, strict, strict, usual, policy)
    if strict.refusal is None:
        return best
    for name, policy in means.policies.items():
        wide = replace(policy, quirks=EVERY_QUIRK)
        course = run(capture, wide, means)
        if course.rank > best.lenient.rank:
            best = replace(best, lenient=course, profile=name, policy=wide)
    for quirk in best.quirks:
        narrower = replace(best.policy, quirks=best.policy.quirks - {quirk})
        course = run(capture, narrower, means)
        if course.rank >= best.lenient.rank:
            best = replace(best, lenient=course, policy=narrower)
    return best


def run(capture: Capture, policy: SecurityPolicy, means: Means) -> Course:
    """Run the gates once, under one policy with its quirks."""
    passed: list[Gate] = []
    try:
        _pass(capture, policy, means, passed)
    except RemoteProtocolError as refusal:
        return Course(tuple(passed), refusal)
    except Unseen as end:
        return Course(tuple(passed), unseen=str(end))
    return Course(tuple(passed))


def _pass(capture: Capture, policy: SecurityPolicy, means: Means, passed: list[Gate]) -> None:
    """Go from gate to gate and note each that is behind us; raises what the gates raise, and `Unseen`."""
    limits = means.limits
    soap_part, parts = _split(capture, policy, limits)
    passed.append(Gate.G2)
    scanned = scan(soap_part, limits, allow_bom=policy.allows(Quirk.BYTE_ORDER_MARK))
    passed.append(Gate.G3)
    if (fault := read_fault(scanned)) is not None and scanned.root.find(HEADER) is None:
        raise Unseen(
            f"a SOAP Fault ({fault.code}) without an ebMS header is an answer that no gate judges"
        )
    document = parse_soap(scanned)
    if document.signal_messages and not document.user_messages:
        bare = policy.allows(Quirk.BARE_DESCRIPTION)
        signal = ParsedSignal.read(document, limits, bare_descriptions=bare)
        passed.append(Gate.G4)
        unsigned = bool(signal.signal.errors) and document.security is None
        if unsigned and policy.allows(Quirk.UNSIGNED_ERRORS):
            return
        check = _Check(means.trust, time_of(signal.signal.timestamp))
        answer = authenticate_signal(signal, policy=policy, check=check, party=None, limits=limits)
        passed += (Gate.G5, Gate.G6)
        if means.sent is not None and signal.signal.receipt is not None:
            match_receipt(answer, message_id=means.sent.message_id, expected=means.sent.references)
            passed.append(Gate.G10)
        return
    parsed = ParsedUserMessage.read(document, limits, quirks=policy.quirks)
    passed.append(Gate.G4)
    check = _Check(means.trust, time_of(parsed.user_message.timestamp))
    authenticated = authenticate(parsed, policy=policy, check=check, limits=limits)
    passed += (Gate.G5, Gate.G6)
    if capture.content_type is None and parsed.user_message.parts:
        raise Unseen("the MIME parts are not in this capture")
    decrypted = decrypt_key(authenticated, _Opener(means.decrypter))
    passed.append(Gate.G7)
    contents = _open_parts(decrypted, parts, limits)
    passed.append(Gate.G8)
    compressed = {info.content_id for info in parsed.user_message.parts if info.compression_type}
    inflater = Inflater(limits)
    contents = {
        content_id: inflater.inflate(octets) if content_id in compressed else octets
        for content_id, octets in contents.items()
    }
    passed.append(Gate.G9)
    for octets in contents.values():
        if not is_business_document(octets):
            raise Unseen("a payload that is no StandardBusinessDocument is not judged")
        _read_business_document(octets, limits)
    passed.append(Gate.G10)


def _split(
    capture: Capture, policy: SecurityPolicy, limits: Limits
) -> tuple[bytes, Sequence[tuple[str | None, bytes]]]:
    """The SOAP part, and the other parts with their content ids."""
    if capture.content_type is None:
        return capture.body, ()
    parser = MultipartParser(capture.content_type, limits, policy.quirks)
    parts: list[tuple[str | None, bytearray]] = []
    for event in parser.events(capture.body):
        if isinstance(event, PartStarted):
            parts.append((event.content_id, bytearray()))
        elif isinstance(event, PartData):
            parts[-1][1].extend(event.data)
    parser.close()
    (_, root), *others = parts
    return bytes(root), [(content_id, bytes(octets)) for content_id, octets in others]


def _open_parts(
    decrypted: DecryptedUserMessage, parts: Sequence[tuple[str | None, bytes]], limits: Limits
) -> dict[str, bytes]:
    evidences: list[PartEvidence] = []
    contents: dict[str, bytes] = {}
    for content_id, octets in parts:
        opener = PartOpener(decrypted, content_id or "", limits=limits)
        contents[content_id or ""] = opener.update(octets)
        evidences.append(opener.finish())
    verify_parts(decrypted, evidences)
    return contents


class Inflater:
    """Gate G9 for the parts of one capture: each within its limits, and all of them in the memory of one."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._left = limits.sbd_bytes

    def inflate(self, octets: bytes) -> bytes:
        """What a compressed part holds; raises `DecompressionFailure`, and `Unseen` when the parts are too much together."""
        decompressor = Decompressor(self._limits)
        pieces = []
        for piece in decompressor.decompress(octets):
            self._left -= len(piece)
            if self._left < 0:
                raise Unseen(f"the parts inflate to more than {self._limits.sbd_bytes} octets")
            pieces.append(piece)
        decompressor.finish()
        return b"".join(pieces)


def is_business_document(octets: bytes) -> bool:
    """Whether these octets begin like a StandardBusinessDocument; what it says is another matter."""
    found = _ROOT.search(octets[:4096])
    return found is not None and found[1] == b"StandardBusinessDocument"


def _read_business_document(octets: bytes, limits: Limits) -> None:
    splitter = SbdSplitter(limits)
    try:
        splitter.feed(octets)
        splitter.finish()
    except SbdRefused as refused:
        raise OtherError(refused.detail, reason=refused.reason, gate=Gate.G10) from refused


def time_of(text: str) -> datetime | None:
    """The instant that an xs:dateTime of a header names, or None when it names none in one time zone."""
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return at if at.tzinfo is not None else None


@dataclass(frozen=True, slots=True)
class _Check:
    """The certificate check of the gates, at the time that the message names."""

    trust: Trust
    at: datetime | None

    def find(self, reference: TokenReference) -> x509.Certificate:
        """The certificate named; raises `Unseen` when nobody gave it."""
        found = self.trust.find(reference)
        if found is None:
            raise Unseen("the signer's certificate is named, not sent, and nobody gave it")
        return found

    def check(
        self,
        certificate: x509.Certificate,
        chain: Sequence[x509.Certificate],
        *,
        party: PartyId | None,
    ) -> str | None:
        """Ask for the path, where anchors were given; which party it is for depends on configuration."""
        try:
            return self.trust.check(certificate, chain, self.at)
        except Unseen:
            return None


@dataclass(frozen=True, slots=True)
class _Opener:
    """The decrypter of the gates; a key that is not here is nobody's fault."""

    decrypter: Decrypter | None

    def matches(self, reference: TokenReference) -> bool:
        """Whether the key for this certificate was given; raises `Unseen` when not."""
        if self.decrypter is None or not self.decrypter.matches(reference):
            raise Unseen("the parts are encrypted and the receiver's private key was not given")
        return True

    def unwrap(self, wrapped: WrappedKey) -> bytes:
        """The content key; raises `ValueError`."""
        assert self.decrypter is not None  # noqa: S101 - `matches` comes first
        return self.decrypter.unwrap(wrapped)
