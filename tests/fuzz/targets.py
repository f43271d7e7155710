"""What is fuzzed: one function a reader, with the refusals that are right for it; everything else is a defect.

A target calls its reader as the access point does, and asks a little more than that nothing else is raised: what
comes out stays within the limits, and cutting the octets in other places changes neither verdict nor outcome.
Limits are small, so that small inputs reach them.
"""

import functools
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from accesspoint.config import ConfigurationProblem, load
from envelope import fhir, names, wsse
from envelope.acknowledgement import read_acknowledgement
from envelope.compression import CODEC, Decompressor
from envelope.ehmi import is_acknowledgement
from envelope.errors import (
    DecompressionFailure,
    EbmsError,
    FailedAuthentication,
    Gate,
    InvalidReceipt,
    MimeInconsistency,
    RemoteProtocolError,
    SbdRefused,
    SmpRefused,
    TransportRefused,
)
from envelope.events import Event, PartData
from envelope.fhir.duplicates import content_digest
from envelope.fhir.finding import MessageRefused
from envelope.fhir.outcome import read_outcome
from envelope.fhir.rules import validate
from envelope.limits import KIB, Limits
from envelope.messaging import PartyId, parse_user_message
from envelope.mime import MultipartParser, parse_content_type
from envelope.pmode import EDELIVERY_1_15, EDELIVERY_2_0, EDELIVERY_2_0_P256, Quirk, SecurityPolicy
from envelope.receipts import match_receipt
from envelope.sbd_splitter import SbdSplitter
from envelope.security_header import claimed_algorithm, read_signer
from envelope.signals import read_signal
from envelope.smp import (
    NaptrRecord,
    SmpForm,
    SmpIdentifier,
    read_naptr,
    read_service_group,
    read_signed_service_metadata,
)
from envelope.soap import parse_soap, read_fault
from envelope.verified import _PROOF, AuthenticatedSignal, ParsedSignal, ParsedUserMessage
from envelope.wsse import authenticate
from envelope.xml import canonicalize, scan
from envelope.xmldsig import write_signed_reference

if TYPE_CHECKING:
    from cryptography import x509

LIMITS = Limits(
    soap_bytes=64 * KIB,
    elements=500,
    sbd_bytes=256 * KIB,
    sbdh_bytes=32 * KIB,
    fhir_bytes=64 * KIB,
    ratio_grace_bytes=64 * KIB,
)


class Broken(Exception):
    """A reader kept to its errors but not to what it promises."""


@dataclass(frozen=True)
class Target:
    """One reader under attack: `feed` calls it, `refusals` are the only exceptions that it may raise."""

    name: str
    feed: Callable[[bytes], None]
    refusals: tuple[type[Exception], ...]
    kind: str
    """How the octets are built, for the mutator: xml, json, mime, toml or octets."""

    def check(self, data: bytes) -> Exception | None:
        """Feed the octets; the right refusal is returned, everything else goes through."""
        try:
            self.feed(data)
        except self.refusals as refused:
            if isinstance(refused, RemoteProtocolError) and not isinstance(refused.gate, Gate):
                raise Broken("a refusal without a gate") from refused
            return refused
        return None


def pieces(data: bytes, step: int) -> Iterator[bytes]:
    """The octets in pieces of one size."""
    return (data[at : at + step] for at in range(0, len(data), step))


# MIME: the first line is the Content-Type, its first octet says how the rest is cut and which quirks are agreed.


def _events(head: str, body: bytes, step: int, quirks: frozenset[Quirk]) -> list[Event]:
    parser = MultipartParser(parse_content_type(head), LIMITS, quirks)
    found: list[Event] = []
    for piece in pieces(body, step):
        for event in parser.feed(piece):
            if isinstance(event, PartData) and found and isinstance(found[-1], PartData):
                found[-1] = PartData(found[-1].data + event.data)
            else:
                found.append(event)
    parser.close()
    return found


def _verdict(call: Callable[[], Any]) -> tuple[str, Any]:
    try:
        return "", call()
    except RemoteProtocolError as refused:
        return f"{type(refused).__name__} {refused.reason}", None


def feed_mime(data: bytes) -> None:
    """G2: a body under its Content-Type, whole and in pieces."""
    first, _, body = data.partition(b"\n")
    how = first[0] if first else 0
    quirks = frozenset(
        quirk
        for bit, quirk in enumerate((Quirk.BARE_LINE_FEEDS, Quirk.BASE64_PARTS))
        if how >> bit & 1
    )
    head = first[1:].decode("latin-1")
    whole = _verdict(lambda: _events(head, body, len(body) or 1, quirks))
    step = max(1 + (how >> 2), len(body) // 200)
    if _verdict(lambda: _events(head, body, step, quirks)) != whole:
        raise Broken("the verdict depends on where the network cuts")
    events = _events(head, body, len(body) or 1, quirks)
    if sum(len(each.data) for each in events if isinstance(each, PartData)) > len(body):
        raise Broken("more octets out than in")


# XML and the headers in it.


def feed_scan(data: bytes) -> None:
    """G3: the pre-scan; what passes has a canonical form or a refusal of it."""
    for payload in (True, False):
        scanned = scan(data, LIMITS, payload=payload)
        if sum(1 for _ in scanned.root.iter()) > LIMITS.elements * (10 if payload else 1):
            raise Broken("more elements than allowed")
    with suppress(FailedAuthentication):
        canonicalize(scanned.root)


def feed_ebms(data: bytes) -> None:
    """G4: the envelope and the ebMS header, as a message and as a signal."""
    scanned = scan(data, LIMITS)
    with suppress(TransportRefused):
        read_fault(scanned)
    document = parse_soap(scanned)
    with suppress(EbmsError):
        read_signal(document, LIMITS)
    message = parse_user_message(document, LIMITS)
    if len(message.parts) > LIMITS.parts:
        raise Broken("more parts than allowed")


class Anybody:
    """Trusts every certificate: what is fuzzed comes before and beside trust."""

    def find(self, reference: object) -> None:
        """Know nobody by a name alone."""

    def check(self, certificate: "x509.Certificate", chain: object, *, party: object) -> object:
        """Let everybody pass."""
        return certificate.serial_number


POLICIES: tuple[SecurityPolicy, ...] = (
    EDELIVERY_1_15,
    EDELIVERY_2_0,
    EDELIVERY_2_0_P256,
    replace(EDELIVERY_1_15, quirks=frozenset(Quirk)),
)


def feed_security(data: bytes) -> None:
    """G5 and G6: the Security header under each policy, then its signature."""
    document = parse_soap(scan(data, LIMITS))
    claimed_algorithm(document)
    with suppress(EbmsError):
        read_signer(document, LIMITS)
    parsed = ParsedUserMessage.read(document, LIMITS, quirks=frozenset(Quirk))
    refusal: EbmsError | None = None
    for policy in POLICIES:
        try:
            authenticated = authenticate(parsed, policy=policy, check=Anybody(), limits=LIMITS)
        except EbmsError as error:
            refusal = error
            continue
        if set(authenticated.part_digests) != {
            part.content_id for part in parsed.user_message.parts
        }:
            raise Broken("a part that no digest covers")
    if refusal is not None:
        raise refusal


# Receipts: to a message whose references are known.

SENT_ID = "sent@fuzz.example"
SENT = tuple(
    write_signed_reference(uri, bytes([number]) * 32)
    for number, uri in enumerate(("#messaging", "#body", "cid:part@fuzz.example"))
)


def feed_receipt(data: bytes) -> None:
    """A signal that answers our message: read, authenticated, and held against what was signed."""
    document = parse_soap(scan(data, LIMITS))
    parsed = ParsedSignal.read(document, LIMITS)
    with suppress(EbmsError):
        wsse.authenticate_signal(
            parsed,
            policy=EDELIVERY_1_15,
            check=Anybody(),
            party=PartyId("beta", names.PARTY_UNREGISTERED),
            limits=LIMITS,
        )
    # As if its signature held, since a changed one never does: what the signed text may say is fuzzed here.
    authentic = AuthenticatedSignal(
        signal=parsed.signal,
        document=document,
        certificate=None,  # type: ignore[arg-type]
        evidence=None,
        references=(),
        proof=_PROOF,
    )
    evidence = match_receipt(authentic, message_id=SENT_ID, expected=SENT)
    said = parsed.signal.receipt
    if said is None or {each.digest_value for each in said.references} != {
        each.digest_value for each in evidence.references
    }:
        raise Broken("a receipt for something else was taken")


# What is inside.


def _inflate(data: bytes, step: int, codec: ModuleType) -> bytes:
    stream = Decompressor(LIMITS, codec=codec)
    out = bytearray()
    for piece in pieces(data, step):
        for octets in stream.decompress(piece):
            out += octets
    stream.finish()
    return bytes(out)


def feed_gzip(data: bytes) -> None:
    """G9: one member, by both codecs, whole and in pieces."""
    verdicts = []
    for codec in (CODEC, zlib):
        whole = _verdict(lambda codec=codec: _inflate(data, len(data) or 1, codec))
        cut = _verdict(
            lambda codec=codec: _inflate(data, max(1 + len(data) % 97, len(data) // 200), codec)
        )
        if bool(whole[0]) != bool(cut[0]) or whole[1] != cut[1]:
            raise Broken(f"the verdict depends on where the network cuts: {whole[0]}, {cut[0]}")
        verdicts.append(whole)
    if verdicts[0][1] != verdicts[1][1]:
        raise Broken("the codecs disagree")
    if len(_inflate(data, len(data) or 1, CODEC)) > LIMITS.sbd_bytes:
        raise Broken("more octets than allowed")


def _split(data: bytes, step: int) -> tuple[Any, bytes]:
    splitter = SbdSplitter(LIMITS)
    payload = b"".join(splitter.feed(piece) for piece in pieces(data, step))
    return splitter.finish(), payload


def feed_sbdh(data: bytes) -> None:
    """G10: a StandardBusinessDocument, whole and in pieces, and the acknowledgement that it may be."""
    whole = _verdict(lambda: _split(data, len(data) or 1))
    cut = _verdict(lambda: _split(data, max(1 + len(data) % 61, len(data) // 200)))
    if bool(whole[0]) != bool(cut[0]) or whole[1] != cut[1]:
        raise Broken(f"the verdict depends on where the network cuts: {whole[0]}, {cut[0]}")
    header, payload = _split(data, len(data) or 1)
    if is_acknowledgement(header):
        read_acknowledgement(header, payload)


PARTICIPANT = SmpIdentifier(names.ISO6523_ACTORID, "0088:5790000201389")
DOCUMENT = SmpIdentifier("bdx-docid-qns", "urn:example::message##urn:example:message::1.0")


def _trust_everybody(*_: object, **__: object) -> object:
    return None


def feed_smp(data: bytes) -> None:
    """A publisher's answer in every form, the group beside it, and the locator's record."""
    if data[:1] not in (b"<", b"\xef"):
        read_naptr([NaptrRecord(100, 10, "U", "Meta:SMP", data.decode("latin-1"))])
        return
    with suppress(SmpRefused):
        read_service_group(data, limits=LIMITS)
    read_signed_service_metadata(
        data,
        participant=PARTICIPANT,
        document_id=DOCUMENT,
        check=_trust_everybody,
        forms=frozenset(SmpForm),
        limits=LIMITS,
    )


def feed_fhir(data: bytes) -> None:
    """A MedCom message: read, judged by every rule, recognised; and the answer of a FHIR server."""
    with suppress(ValueError):
        read_outcome(data)
    message = fhir.read_message(data, limits=LIMITS)
    for strict in (True, False):
        validate(message, strict=strict)
    content_digest(message)
    fhir.recognise(message)


@functools.cache
def _file() -> Path:
    return Path(tempfile.mkdtemp(prefix="fuzz-")) / "accesspoint.toml"


def feed_configuration(data: bytes) -> None:
    """A configuration file: taken, or told what is wrong with it, line by line."""
    path = _file()
    path.write_bytes(data)
    try:
        load(path, {})
    except ConfigurationProblem as problem:
        if not problem.render().strip():
            raise Broken("a problem that says nothing") from problem
        raise


_HEADER = (TransportRefused, EbmsError)

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("mime", feed_mime, (TransportRefused, MimeInconsistency), "mime"),
        Target("scan", feed_scan, (TransportRefused,), "xml"),
        Target("ebms", feed_ebms, _HEADER, "xml"),
        Target("security", feed_security, _HEADER, "xml"),
        Target("receipt", feed_receipt, (*_HEADER, InvalidReceipt), "xml"),
        Target("gzip", feed_gzip, (DecompressionFailure,), "octets"),
        Target("sbdh", feed_sbdh, (SbdRefused,), "xml"),
        Target("smp", feed_smp, (SmpRefused,), "xml"),
        Target("fhir", feed_fhir, (MessageRefused,), "json"),
        Target(
            "configuration",
            feed_configuration,
            (ConfigurationProblem,),
            "toml",
        ),
    )
}
