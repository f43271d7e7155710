"""What a refused request leaves behind and gets back: one record, one log line, one constant answer.

Spec: decision D3. Framing and XML that do not hold (G1 to G3) answer a bare status. Other refusals are
an Error signal: unsigned until the sender is authenticated, since no signature is made for strangers,
signed after that, also when it is the framing of a later part that breaks a rule of an earlier gate. The
answer repeats nothing that a stranger sent.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Final

import structlog

from accesspoint.clock import Clock, timestamp
from accesspoint.http_connection import PLAIN_TYPE, REFUSED
from accesspoint.identity import Identity
from accesspoint.ids import Ids
from accesspoint.inbound.refusal_allowance import RefusalAllowance
from accesspoint.log import scrub
from accesspoint.store.database import Database, Transaction
from accesspoint.store.evidence import Refusal, record_refusal
from envelope import soap
from envelope.errors import EbmsError, RemoteProtocolError, TransportRefused
from envelope.pmode import SecuritySuite
from envelope.signals import build_error_messaging
from envelope.wsse import WireIds, sign_signal

SOAP_TYPE: Final = "application/soap+xml; charset=UTF-8"
_log = structlog.get_logger("accesspoint.inbound")


@dataclass(slots=True)
class Intake:
    """What is known of one request while it is being read: for the record if it is refused."""

    peer: str
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    size: int = 0
    message_id: str | None = None
    party: str | None = None
    certificate: str | None = None
    addressed_to: str = ""
    """The party in To, where the sender is known: who answers is whom it wrote to."""
    suite: SecuritySuite | None = None
    """What an answer is signed with, once the generation of the message is known."""

    @property
    def authenticated(self) -> bool:
        """Whether the sender is known: set by gate G6, with `identify`."""
        return self.certificate is not None

    def identify(self, message_id: str, party: str, certificate: str) -> None:
        """Note who signed, by the fingerprint of the certificate, and which message."""
        self.message_id, self.party, self.certificate = message_id, party, certificate

    def take(self, data: bytes) -> None:
        """Count and digest bytes as they arrive."""
        self.digest.update(data)
        self.size += len(data)


@dataclass(frozen=True, slots=True)
class Answer:
    """The HTTP answer to an AS4 request."""

    status: int
    content_type: str
    body: bytes
    close: bool = False


class Refuser:
    """Turns a refusal into its record, its log line and its answer."""

    def __init__(
        self,
        *,
        database: Database,
        identity: Identity,
        suite: SecuritySuite,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._database = database
        self._identity = identity
        self._suite = suite
        self._clock = clock
        self._ids = ids
        self._allowance = RefusalAllowance(clock)

    async def refuse(self, error: RemoteProtocolError, intake: Intake) -> Answer:
        """Record the refusal, log it once, and build the answer the peer gets; in a flood not each has a row."""
        code = error.ebms.code if isinstance(error, EbmsError) else None
        counted = self._allowance.take(intake.certificate)
        more = f" ({counted} before it were only counted)" if counted else ""
        refusal = Refusal(
            gate=error.gate,
            reason=error.reason,
            code=code,
            peer=intake.peer,
            certificate=intake.certificate,
            input_sha256=intake.digest.hexdigest(),
            input_bytes=intake.size,
            detail=scrub(error.detail) + more,
        )

        async def work(tx: Transaction) -> None:
            await record_refusal(tx, refusal, at=self._clock.now())

        if counted is not None:
            await self._database.run(work)
        _log.warning(
            "as4.in.refused",
            stage=str(error.gate),
            reason=error.reason,
            code=code,
            detail=error.detail,
            peer=intake.peer,
            certificate=intake.certificate,
            input_sha256=refusal.input_sha256,
            input_bytes=refusal.input_bytes,
        )
        return self._answer(error, intake)

    def _answer(self, error: RemoteProtocolError, intake: Intake) -> Answer:
        if not isinstance(error, EbmsError):
            status = error.status if isinstance(error, TransportRefused) else 400
            return Answer(status, PLAIN_TYPE, REFUSED, close=True)
        # Until G6 is passed the message id is a stranger's text and is not repeated.
        known = intake.authenticated
        ids = WireIds.new(self._ids.uuid())
        messaging = build_error_messaging(
            message_id=self._ids.message_id("accesspoint.invalid"),
            timestamp=timestamp(self._clock.now()),
            ref_to_message_id=intake.message_id if known else None,
            errors=[error.ebms],
            messaging_id=ids.messaging,
        )
        suite = intake.suite or self._suite
        if known and suite.signed_errors:
            signer = self._identity.named(intake.addressed_to).signer_for(suite)
            body = sign_signal(messaging, signer=signer, suite=suite, ids=ids)
        else:
            body = soap.write_envelope(messaging, soap.write_body(ids.body))
        return Answer(200, SOAP_TYPE, body, close=True)
