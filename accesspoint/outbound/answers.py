"""Reading what a partner answered to our push: acknowledged, refused, or try again, with the evidence or the reason.

A message is acknowledged by one thing only: a receipt that its expected signer signed, that names our
MessageId, and that repeats every digest we signed; warnings beside it change nothing. A verified Error of a permanent
class ends it; an unsigned one is recorded and changes nothing, unless this partner is known to send them so.

Spec: decision D4; as4 digest 3 and 4.3.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from accesspoint.as4.client import HttpAnswer
from accesspoint.store.evidence import Wire
from envelope.codes import CODES, FAILED_DECRYPTION, Severity
from envelope.errors import EbmsError, FailedAuthentication, InvalidReceipt, RemoteProtocolError
from envelope.limits import DEFAULT_LIMITS, Limits
from envelope.pmode import PMode, Quirk
from envelope.receipts import match_receipt
from envelope.signals import ErrorEntry
from envelope.soap import parse_soap
from envelope.verified import ParsedSignal
from envelope.wsse import CertificateCheck, authenticate_signal
from envelope.xml import scan

ANSWER_UNREADABLE: Final = "peer-answer"
_SAYS_DUPLICATE: Final = frozenset({"EBMS:0004", "EBMS:4001"})
_RETRYABLE_STATUS: Final = frozenset({408, 429, 500, 502, 503, 504})


class Outcome(StrEnum):
    """What an attempt came to."""

    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    UNCERTAIN = "uncertain"
    RETRY = "retry"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of one attempt; `problem` is a slug of the catalogue, `detail` for our log and timeline.

    `undecipherable` says that the partner could not decrypt: perhaps we encrypted for a certificate that it has replaced.
    `signer` is the fingerprint of who signed the answer, empty where nobody did.
    """

    outcome: Outcome
    problem: str | None = None
    detail: str = ""
    arrival_possible: bool = True
    receipt: bytes | None = None
    signer: str = ""
    undecipherable: bool = False


def judge(
    answer: HttpAnswer,
    *,
    message_id: str,
    wire: Wire,
    mode: PMode,
    check: CertificateCheck,
    arrived_before: bool = False,
    limits: Limits = DEFAULT_LIMITS,
) -> Verdict:
    """Decide what an HTTP answer means for the message; `check` pins the receipt to the expected signer.

    `arrived_before` says that an earlier attempt may have reached the peer. Some products answer a repetition
    with an error instead of the receipt: then the peer has the message and only the receipt is missing.
    """
    media_type = answer.content_type.partition(";")[0].strip().lower()
    if media_type != "application/soap+xml" or not answer.body:
        return _bare(answer)
    try:
        scanned = scan(answer.body, limits, allow_bom=mode.policy.allows(Quirk.BYTE_ORDER_MARK))
        bare = mode.policy.allows(Quirk.BARE_DESCRIPTION)
        parsed = ParsedSignal.read(parse_soap(scanned), limits, bare_descriptions=bare)
    except RemoteProtocolError as error:
        return Verdict(Outcome.RETRY, ANSWER_UNREADABLE, f"{error.reason}, HTTP {answer.status}")
    if parsed.signal.failures or (parsed.signal.errors and parsed.signal.receipt is None):
        verdict = _error(parsed, message_id=message_id, mode=mode, check=check, limits=limits)
        code = verdict.detail.partition(" ")[0]
        if verdict.outcome is Outcome.REFUSED and arrived_before and code in _SAYS_DUPLICATE:
            return Verdict(Outcome.UNCERTAIN, "receipt-missing", verdict.detail)
        return verdict
    try:
        authenticated = authenticate_signal(
            parsed, policy=mode.policy, check=check, party=None, limits=limits
        )
        match_receipt(authenticated, message_id=message_id, expected=wire.references)
    except InvalidReceipt as error:
        return Verdict(
            Outcome.RETRY,
            "receipt-digest" if "digest" in error.reason else "receipt-invalid",
            str(error),
        )
    except FailedAuthentication as error:
        return Verdict(Outcome.RETRY, "receipt-signer", str(error))
    except EbmsError as error:
        return Verdict(Outcome.RETRY, "receipt-invalid", str(error))
    return Verdict(Outcome.ACKNOWLEDGED, receipt=answer.body, signer=authenticated.fingerprint)


def _bare(answer: HttpAnswer) -> Verdict:
    """An answer without ebMS content: never an acknowledgement, whatever its status."""
    if answer.status in _RETRYABLE_STATUS:
        return Verdict(Outcome.RETRY, "peer-unavailable", f"HTTP {answer.status}")
    if 400 <= answer.status < 500:
        return Verdict(Outcome.RETRY, "peer-refused", f"HTTP {answer.status} without an ebMS error")
    return Verdict(Outcome.RETRY, ANSWER_UNREADABLE, f"HTTP {answer.status} without a receipt")


def _error(
    parsed: ParsedSignal,
    *,
    message_id: str,
    mode: PMode,
    check: CertificateCheck,
    limits: Limits,
) -> Verdict:
    """An Error signal: final only when it is permanent, about our message, and verified (or agreed to be unsigned)."""
    signal = parsed.signal
    entry = next((e for e in signal.errors if e.severity != Severity.WARNING), signal.errors[0])
    known = CODES.get(entry.code)
    detail = f"{entry.code} {known.short_description if known else 'unknown code'}"
    about = {signal.ref_to_message_id, entry.ref_to_message_in_error} - {None}
    signer = ""
    try:
        authenticated = authenticate_signal(
            parsed, policy=mode.policy, check=check, party=None, limits=limits
        )
        signer = authenticated.fingerprint
        # A signature lasts: an error that names no message could be an old one about another.
        final = about == {message_id}
    except EbmsError:
        detail += " (unsigned)"
        # Who signs nothing knows no sender yet either, and often names no message.
        final = mode.policy.allows(Quirk.UNSIGNED_ERRORS) and about <= {message_id}
    if not final or _is_retryable(entry):
        return Verdict(Outcome.RETRY, "peer-refused", detail)
    undecipherable = entry.code == FAILED_DECRYPTION.code
    return Verdict(
        Outcome.REFUSED, "peer-refused", detail, signer=signer, undecipherable=undecipherable
    )


def _is_retryable(entry: ErrorEntry) -> bool:
    known = CODES.get(entry.code)
    return entry.severity == Severity.WARNING or (known is not None and known.retryable)
