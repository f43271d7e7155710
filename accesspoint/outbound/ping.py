"""The test service: a signed message without payload that a partner receipts and nobody is handed.

A ping shows that address, TLS, certificates and agreement hold before anything real is sent. It is no owed
message: it is posted once, stored nowhere, and what it came to is told to whoever asked.

Spec: ebMS 3.0 Core section 5.2.2 (test service); eDelivery AS4 1.15 section 3.2.5.
"""

from dataclasses import dataclass

from accesspoint.as4.client import As4Client, HttpAnswer, PostFailed
from accesspoint.clock import Clock, timestamp
from accesspoint.identity import Identity
from accesspoint.ids import Ids
from accesspoint.outbound.answers import Outcome, Verdict, judge
from accesspoint.store.evidence import Wire
from accesspoint.trust import MessageTrust, common_name
from envelope import names
from envelope.messaging import AgreementRef, CollaborationInfo, Service, UserMessage
from envelope.pmode import PMode
from envelope.wsse import WireIds, build_user_message
from keys.certificate import load_certificate

SOAP_TYPE = "application/soap+xml; charset=UTF-8"


@dataclass(frozen=True, slots=True)
class Ping:
    """What one ping came to; `answer` is None when none came, `milliseconds` count from before the connection."""

    message_id: str
    url: str
    verdict: Verdict
    milliseconds: float
    answer: HttpAnswer | None

    @property
    def answered(self) -> bool:
        """Whether the partner receipted it, verified."""
        return self.verdict.outcome is Outcome.ACKNOWLEDGED


async def ping(
    url: str,
    certificate: bytes,
    *,
    identity: Identity,
    mode: PMode,
    trust: MessageTrust,
    client: As4Client,
    clock: Clock,
    ids: Ids,
    domain: str,
) -> Ping:
    """Ping the access point at `url`, whose receipt must be signed by `certificate` (DER).

    Raises `CertificateRefused` when the certificate is not good now; nothing is sent then. Whatever happens on
    the way is the verdict of what is returned.
    """
    trust.validate_recipient(certificate)
    partner = common_name(load_certificate(certificate))
    message_id = ids.message_id(domain)
    now = timestamp(clock.now())
    signed = build_user_message(
        UserMessage(
            message_id=message_id,
            timestamp=now,
            from_party=identity.from_party(mode),
            to_party=identity.to_party(mode, partner),
            collaboration_info=CollaborationInfo(
                service=Service(names.EB_TEST_SERVICE),
                action=names.EB_TEST_ACTION,
                conversation_id=ids.uuid(),
                agreement_ref=None
                if mode.agreement is None
                else AgreementRef(mode.agreement, mode.agreement_type),
            ),
        ),
        [],
        signer=identity.signer_for(mode.suite),
        suite=mode.suite,
        recipient=None,
        content_key=None,
        ids=WireIds.new(ids.uuid()),
    )
    wire = Wire(url, certificate, now, signed.data, None, None, 0, signed.references)
    started = clock.monotonic()
    answer = None
    try:
        answer = await client.post(
            url, content_type=SOAP_TYPE, content_length=len(wire.soap), body=wire.soap
        )
    except PostFailed as failed:
        verdict = Verdict(
            Outcome.RETRY, failed.slug, failed.detail, arrival_possible=failed.arrival_possible
        )
    else:
        check = trust.pinned(certificate)
        verdict = judge(answer, message_id=message_id, wire=wire, mode=mode, check=check)
    milliseconds = round((clock.monotonic() - started) * 1000, 1)
    return Ping(message_id, url, verdict, milliseconds, answer)
