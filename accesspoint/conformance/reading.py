"""Reads what crossed the wire, octet by octet and without judging it: a judge has to see also what is wrong.

The gates of the access point refuse at the first fault; a case needs to look at one thing and leave the rest.
So the MIME framing is split by the standard library's parser and the SOAP part is a plain tree.

Spec: RFC 2387; ebMS 3.0 Core 5.2; WSS SwA Profile 1.1.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from email.parser import BytesParser
from email.policy import HTTP
from functools import cached_property
from typing import Any, Final, Self
from urllib.parse import unquote

from cryptography import x509

from accesspoint.conformance.case import NotApplicable, Unmet, counted, expect
from envelope import names
from envelope.codes import CODES
from envelope.compression import Decompressor
from envelope.errors import EbmsError, MimeInconsistency, RemoteProtocolError
from envelope.messaging import UserMessage, parse_user_message
from envelope.parts import PartOpener
from envelope.pmode import EDELIVERY_1_15
from envelope.receipts import match_receipt
from envelope.security_token import TokenReference
from envelope.soap import parse_soap
from envelope.verified import (
    AuthenticatedUserMessage,
    ParsedSignal,
    ParsedUserMessage,
    SignedReference,
)
from envelope.wsse import Decrypter, authenticate, authenticate_signal, decrypt_key
from envelope.xml import scan

Q = names.q
_MEDIA_TYPE: Final = re.compile(r"[a-z]+/[a-z0-9.+-]{1,40}(?=\s*(?:;|\Z))", re.IGNORECASE)


def media_type(field: str) -> str:
    """The media type without its parameters: a boundary or a file name may say whom a message is about."""
    found = _MEDIA_TYPE.match(field.strip())
    return found[0].lower() if found else "no media type"


@dataclass(frozen=True, slots=True)
class Part:
    """One MIME part: its content id without brackets, header fields in lower case, and octets as they travelled."""

    content_id: str
    fields: Mapping[str, str]
    octets: bytes


@dataclass(frozen=True)
class Message:
    """A request or an answer as it crossed the wire; raises `Unmet` for octets that are no AS4 message."""

    content_type: str
    body: bytes = field(repr=False)
    status: int = 0
    """The HTTP status of an answer; 0 for a request."""
    is_lone: bool = False
    """Whether it is a recorded SOAP envelope whose parts were not recorded."""

    @cached_property
    def mime(self) -> Sequence[Part]:
        """Every MIME part; a plain SOAP message is one."""
        if not self.content_type.lower().startswith("multipart/"):
            return (Part("", {"content-type": self.content_type}, self.body),)
        head = f"Content-Type: {self.content_type}\r\n\r\n".encode("latin-1", "replace")
        parsed = BytesParser(policy=HTTP).parsebytes(head + self.body)
        parts = []
        for one in parsed.iter_parts():
            octets = one.get_payload(decode=True)
            content_id = str(one.get("Content-ID", "")).strip().strip("<>")
            fields = {name.lower(): str(value) for name, value in one.items()}
            parts.append(Part(content_id, fields, octets if isinstance(octets, bytes) else b""))
        return tuple(parts)

    @property
    def payloads(self) -> Sequence[Part]:
        """The MIME parts after the SOAP part."""
        return self.mime[1:]

    @cached_property
    def root(self) -> Any:
        """The SOAP envelope as a tree."""
        expect(self.mime, "an AS4 message", "no MIME part")
        try:
            return scan(self.mime[0].octets, allow_bom=True).root
        except RemoteProtocolError as error:
            # What it is instead may be anybody's file, so it is named by type and size and never quoted.
            first = self.mime[0]
            kind = media_type(first.fields.get("content-type", ""))
            raise Unmet(
                "a SOAP envelope", f"{len(first.octets):,} octets of {kind} ({error.reason})"
            ) from error

    def all(self, namespace: str, local: str) -> list[Any]:
        """Every element of this name, in document order."""
        return list(self.root.iter(Q(namespace, local)))

    def texts(self, namespace: str, local: str) -> list[str]:
        """The text of every element of this name."""
        return [(element.text or "").strip() for element in self.all(namespace, local)]

    def text(self, local: str) -> str:
        """The text of the first ebMS element of this name; empty where there is none."""
        return next(iter(self.texts(names.EB, local)), "")

    @property
    def message_id(self) -> str:
        """The MessageId of the first message unit."""
        return self.text("MessageId")

    @property
    def soap_body(self) -> Any:
        """The SOAP body."""
        found = self.all(names.S12, "Body")
        expect(found, "a SOAP body", "none")
        return found[0]

    @property
    def part_infos(self) -> list["PartInfo"]:
        """The PartInfo elements in their order."""
        return [PartInfo.of(element) for element in self.all(names.EB, "PartInfo")]

    def part_of(self, info: "PartInfo") -> Part:
        """The MIME part that a PartInfo names; raises `NotApplicable` where parts were not recorded."""
        if self.is_lone:
            raise NotApplicable("only the SOAP envelope was recorded, its parts were not")
        for part in self.payloads:
            if part.content_id == info.content_id:
                return part
        raise Unmet(f"a MIME part {info.content_id}", f"{[one.content_id for one in self.mime]}")

    @property
    def errors(self) -> list[str]:
        """The codes of the ebMS errors."""
        return [element.get("errorCode", "") for element in self.all(names.EB, "Error")]

    def describe(self) -> str:
        """What the message is, in a few words: for what a case saw."""
        status = f"HTTP {self.status}" if self.status else "a request"
        if not self.body:
            return f"{status} without a body"
        try:
            receipts, errors = self.all(names.EB, "Receipt"), self.errors
        except Unmet:
            return f"{status} with {media_type(self.content_type)}, no SOAP"
        said = [
            f"{code} {CODES[code].short_description if code in CODES else ''}" for code in errors
        ]
        if receipts:
            said.append("a receipt")
        return f"{status} with {' and '.join(one.strip() for one in said) or 'neither receipt nor error'}"


@dataclass(frozen=True, slots=True)
class PartInfo:
    """One PartInfo with its properties as they stand."""

    href: str
    properties: Mapping[str, str]

    @classmethod
    def of(cls, element: Any) -> Self:
        """Read one element."""
        return cls(
            element.get("href", ""),
            {
                one.get("name", ""): (one.text or "").strip()
                for one in element.iter(Q(names.EB, "Property"))
            },
        )

    @property
    def content_id(self) -> str:
        """The content id, percent-decoded; empty where the reference is none."""
        return unquote(self.href[4:]) if self.href.startswith("cid:") else ""


def read_header(message: Message) -> UserMessage:
    """The ebMS header, proven by nobody; raises what reading one raises, and `MimeInconsistency` without any part."""
    if not message.mime:
        raise MimeInconsistency("no SOAP part")
    return parse_user_message(parse_soap(scan(message.mime[0].octets)))


@dataclass(frozen=True)
class SignedBy:
    """A certificate check that knows one certificate: the signer that was agreed."""

    certificate: x509.Certificate

    def find(self, reference: TokenReference) -> x509.Certificate | None:
        """Return the certificate where it is the one referred to."""
        return self.certificate if reference.matches(self.certificate) else None

    def check(
        self, certificate: x509.Certificate, chain: Sequence[x509.Certificate], *, party: object
    ) -> object:
        """Hold the signer against the one agreed; raises `Unmet` for another."""
        expect(
            certificate == self.certificate,
            "a signature by the certificate agreed",
            f"one by {certificate.subject.rfc4514_string()}",
        )
        return "the certificate agreed"


def expect_receipt(
    answer: Message,
    *,
    message_id: str,
    references: Sequence[SignedReference],
    signer: x509.Certificate,
) -> str:
    """Hold an answer against what a non-repudiation receipt must be; raises `Unmet`, returns what was seen.

    Spec: AS4 Profile 1.0 section 5.1.8.
    """
    expected = "a signed non-repudiation receipt in a 2xx response"
    expect(200 <= answer.status < 300, expected, answer.describe())
    expect(answer.all(names.EB, "Receipt"), expected, answer.describe())
    try:
        parsed = ParsedSignal.read(parse_soap(scan(answer.mime[0].octets)))
        authenticated = authenticate_signal(
            parsed, policy=EDELIVERY_1_15, check=SignedBy(signer), party=None
        )
        match_receipt(authenticated, message_id=message_id, expected=references)
    except (EbmsError, RemoteProtocolError) as error:
        raise Unmet(expected, f"{answer.describe()}, but {error}") from error
    return (
        f"HTTP {answer.status} with a signed receipt over {counted(len(references), 'reference')}"
    )


def expect_error(answer: Message, *codes: str, message_id: str) -> str:
    """Hold an answer against a synchronous ebMS error, one of `codes` where they are fixed; raises `Unmet`.

    What the error says it is about has to be this message. It need not say it: a refusal before the sender is known
    does not repeat a stranger's text.

    Spec: ebMS 3.0 Core section 6.2.
    """
    wanted = f"an ebMS error in the answer{': ' + ' or '.join(codes) if codes else ''}"
    expect(not answer.all(names.EB, "Receipt"), wanted, answer.describe())
    severities = {one.get("severity") for one in answer.all(names.EB, "Error")}
    expect("failure" in severities, wanted, answer.describe())
    expect(not codes or set(codes) & set(answer.errors), wanted, answer.describe())
    about = {
        *answer.texts(names.EB, "RefToMessageId"),
        *(one.get("refToMessageInError", "") for one in answer.all(names.EB, "Error")),
    }
    others = about - {"", message_id}
    expect(not others, f"an error about {message_id}", f"one about {', '.join(sorted(others))}")
    return answer.describe()


def authenticate_message(message: Message, signer: x509.Certificate) -> AuthenticatedUserMessage:
    """What of a message is proven to be the signer's, the digests of parts not yet; raises as `authenticate`, or `Unmet`."""
    parsed = ParsedUserMessage.read(parse_soap(scan(message.mime[0].octets)))
    policy = replace(
        EDELIVERY_1_15, encryption_required=bool(message.all(names.XENC, "EncryptedKey"))
    )
    return authenticate(parsed, policy=policy, check=SignedBy(signer))


def open_payloads(
    message: Message, decrypter: Decrypter, signer: x509.Certificate
) -> Sequence[bytes]:
    """The payloads of a message, decrypted, proven and decompressed, in the order of PartInfo; raises `Unmet`."""
    try:
        decrypted = decrypt_key(authenticate_message(message, signer), decrypter)
        found = []
        for info in message.part_infos:
            opener = PartOpener(decrypted, info.content_id)
            octets = opener.update(message.part_of(info).octets)
            opener.finish()
            if "CompressionType" in info.properties:
                expect(octets[:2] == b"\x1f\x8b", "a gzip stream", "something else")
                decompressor = Decompressor()
                octets = b"".join(decompressor.decompress(octets))
                decompressor.finish()
            found.append(octets)
    except RemoteProtocolError as error:
        raise Unmet("payloads that open and are the signed ones", str(error)) from error
    return found


@dataclass(frozen=True)
class SignedByAnybody:
    """A certificate check for captures: whoever's certificate stands in the message may have signed it."""

    def find(self, reference: TokenReference) -> x509.Certificate | None:
        """Know nobody: the message has to bring its certificate; raises `NotApplicable`."""
        raise NotApplicable("the signer's certificate is not in the message: give --certificate")

    def check(
        self, certificate: x509.Certificate, chain: Sequence[x509.Certificate], *, party: object
    ) -> object:
        """Take any signer; that is what is said of it."""
        return "the certificate in the message"


def expect_signed(message: Message, signer: x509.Certificate | None) -> str:
    """Hold the signature of a request against the profile; raises `Unmet`, returns what was seen.

    The digests of the header and the body are recomputed, those of parts are the affair of who can decrypt
    them. Without `signer` the certificate has to stand in the message.

    Spec: eDelivery AS4 1.15, 4.2.
    """
    signatures = message.all(names.DS, "Signature")
    expect(len(signatures) == 1, "exactly one signature", f"{len(signatures)}")
    for name, expected in (("SignatureMethod", names.RSA_SHA256), ("DigestMethod", names.SHA256)):
        found = {
            one.get("Algorithm", "")
            for one in signatures[0].find(Q(names.DS, "SignedInfo")).iter(Q(names.DS, name))
        }
        expect(found == {expected}, f"{name} {expected}", ", ".join(sorted(found)) or "none")
    cited = [one.get("URI", "") for one in signatures[0].iter(Q(names.DS, "Reference"))]
    (messaging,) = message.all(names.EB, "Messaging")
    by_id = {
        "the Messaging header": f"#{messaging.get(Q(names.WSU, 'Id'))}",
        "the body": f"#{message.soap_body.get(Q(names.WSU, 'Id'))}",
    }
    by_id |= {f"part {info.content_id}": info.href for info in message.part_infos}
    for what, uri in by_id.items():
        expect(cited.count(uri) == 1, f"{what} signed once, by its id", f"references to {cited}")
    expect(
        message.is_lone or len(message.payloads) == len(message.part_infos),
        "a PartInfo, and so a reference, for every part",
        f"{counted(len(message.payloads), 'part')}, {len(message.part_infos)} PartInfo",
    )
    try:
        parsed = ParsedUserMessage.read(parse_soap(scan(message.mime[0].octets)))
        policy = replace(EDELIVERY_1_15, encryption_required=False)
        check = SignedByAnybody() if signer is None else SignedBy(signer)
        authenticate(parsed, policy=policy, check=check)
    except (EbmsError, RemoteProtocolError) as error:
        raise Unmet("a signature that holds", str(error)) from error
    whose = "the certificate in the message" if signer is None else "the sender's certificate"
    return (
        f"RSA-SHA256 with {whose}, over the header, the body and {counted(len(cited) - 2, 'part')}"
    )
