"""One request while it is read: the SOAP part is collected, then each payload part goes through its opener as it arrives.

The gates themselves are the receiver's; here is only the order in which the events of the MIME parser meet
them, and what is held meanwhile: a SOAP part of bounded size, and temporary files that nobody else sees.

Spec: decisions D1 and D2.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from accesspoint.failpoints import failpoint
from accesspoint.inbound.refusal import Intake
from accesspoint.store.payloads import TemporaryPayload
from envelope.errors import Gate, MimeInconsistency, TransportRefused
from envelope.events import Event, PartData, PartEnded, PartStarted
from envelope.mime import MultipartParser
from envelope.parts import PartOpener, verify_parts
from envelope.pmode import Quirk
from envelope.verified import (
    AuthenticatedUserMessage,
    DecryptedUserMessage,
    PartEvidence,
    VerifiedUserMessage,
)
from envelope.wsse import CertificateCheck


class DatedCheck(Protocol):
    """Certificate checks, each for one instant: a certificate that runs out meanwhile is judged once."""

    def as_of(self, at: datetime) -> CertificateCheck:
        """The check that asks what was good at `at`."""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A message that was accepted before, with the same content: answer as then."""

    authenticated: AuthenticatedUserMessage
    message: str
    same_signature: bool


class Gates(Protocol):
    """What a request meets on its way in; the receiver."""

    @property
    def soap_bytes(self) -> int:
        """How large a SOAP part may be."""

    def authenticate(
        self, soap_part: bytes, intake: Intake, at: datetime, met: Collection[Quirk]
    ) -> AuthenticatedUserMessage:
        """G3 to G6 on a complete SOAP part of what began `at`, whose framing needed the quirks `met`."""

    async def find_duplicate(self, authenticated: AuthenticatedUserMessage) -> Duplicate | None:
        """Look the authenticated (sender, MessageId) up."""

    def check_lifetime(self, authenticated: AuthenticatedUserMessage, at: datetime) -> None:
        """Refuse a new message whose signed times fit our clock neither `at` its beginning nor now."""

    def decrypt(self, authenticated: AuthenticatedUserMessage) -> DecryptedUserMessage:
        """G7: unwrap the content key."""

    def open_part(self, decrypted: DecryptedUserMessage, content_id: str) -> PartOpener:
        """Begin decrypting and digesting one part."""

    def temporary(self) -> TemporaryPayload:
        """A place for octets that are not verified yet."""


class Reading:
    """One request while it is read: collects the SOAP part, then lets each part through its opener."""

    def __init__(self, receiver: "Gates", intake: Intake, at: datetime) -> None:
        """`at` is when it began: the one instant at which certificates are judged."""
        self._receiver = receiver
        self._intake = intake
        self._at = at
        self._soap: list[bytes] = []
        self._soap_bytes = 0
        self._decrypted: DecryptedUserMessage | None = None
        self._opener: PartOpener | None = None
        self._files: dict[str, TemporaryPayload] = {}
        self._evidence: list[PartEvidence] = []
        self._current: TemporaryPayload | None = None
        self.duplicate: Duplicate | None = None
        self.parser: MultipartParser | None = None
        """The parser whose events are taken; from G6 on it reads as the partner is agreed with."""

    def take_soap(self, data: bytes) -> None:
        """Collect the SOAP part, up to its limit."""
        self._soap_bytes += len(data)
        if self._soap_bytes > self._receiver.soap_bytes:
            raise TransportRefused(
                "the SOAP part is too large", reason="soap.size", gate=Gate.G2, status=413
            )
        self._soap.append(data)

    @property
    def soap(self) -> bytes:
        """What was collected of the SOAP part."""
        return b"".join(self._soap)

    async def finish_soap(self) -> None:
        """G3 to G7, as soon as the SOAP part is complete."""
        met = () if self.parser is None else self.parser.met
        authenticated = self._receiver.authenticate(self.soap, self._intake, self._at, met)
        if self.parser is not None:
            self.parser.hold_to(authenticated.policy.quirks)
        self._soap.clear()
        self.duplicate = await self._receiver.find_duplicate(authenticated)
        if self.duplicate is None:
            self._receiver.check_lifetime(authenticated, self._at)
            self._decrypted = self._receiver.decrypt(authenticated)

    async def take(self, event: Event) -> None:
        """Handle one MIME event."""
        if self.duplicate is not None:
            return
        match event:
            case PartStarted(index=0):
                pass
            case PartStarted():
                self._start_part(event)
            case PartData(data=data):
                if self._opener is None or self._current is None:
                    self.take_soap(bytes(data))
                else:
                    self._current.write(self._opener.update(data))
                    failpoint("R1")
            case PartEnded(index=0):
                await self.finish_soap()
            case PartEnded():
                if self._opener is not None:
                    self._evidence.append(self._opener.finish())
                self._opener = None

    def _start_part(self, event: PartStarted) -> None:
        if self._decrypted is None:
            raise MimeInconsistency(
                "a part came before the SOAP part was complete", reason="mime.order"
            )
        if event.content_id is None:
            raise MimeInconsistency("a part has no Content-ID", reason="att.cid")
        if event.content_id in self._files:
            raise MimeInconsistency(
                "two parts have the same Content-ID", reason="att.duplicate", gate=Gate.G8
            )
        self._opener = self._receiver.open_part(self._decrypted, event.content_id)
        self._current = self._receiver.temporary()
        self._files[event.content_id] = self._current

    def finish(self) -> tuple[VerifiedUserMessage, dict[str, TemporaryPayload]]:
        """All bytes are read: every listed part must have come, and hold."""
        if self._decrypted is None:
            raise MimeInconsistency("there is no SOAP part", reason="mime.start")
        return verify_parts(self._decrypted, self._evidence), self._files

    def close(self) -> None:
        """Drop what was spooled: an accepted payload stands in the store, nothing else may stay."""
        for file in self._files.values():
            file.close()
