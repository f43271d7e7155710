"""Non-repudiation receipts: say what was received, and check what a receiver says it received.

A receipt repeats every `ds:Reference` of the message's signature and is signed by the receiver. The sender
compares decoded values with those it kept: products copy the elements with other prefixes and white space. A
receipt that leaves out, changes or adds one reference proves nothing, and the message stays unacknowledged.

Spec: AS4 Profile 1.0 section 5.1.8; ebMS 3.0 Core section 5.2.3.3; eDelivery AS4 1.15 section 4.4.
"""

from collections.abc import Sequence

from envelope.codes import Severity
from envelope.errors import InvalidReceipt, LocalProtocolError
from envelope.pmode import SecuritySuite
from envelope.signals import build_receipt_messaging
from envelope.verified import (
    _PROOF,
    AuthenticatedSignal,
    AuthenticatedUserMessage,
    ReceiptEvidence,
    SignedReference,
    VerifiedUserMessage,
)
from envelope.wsse import Signer, WireIds, sign_signal


def build_receipt(
    verified: VerifiedUserMessage,
    *,
    message_id: str,
    timestamp: str,
    signer: Signer,
    suite: SecuritySuite,
    ids: WireIds,
) -> bytes:
    """The signed receipt for a message of which every part is verified; the whole SOAP envelope.

    Keep the octets: a duplicate is answered with the same receipt again.

    Spec: AS4 Profile 1.0 section 5.1.8.
    """
    return _build(
        verified, message_id=message_id, timestamp=timestamp, signer=signer, suite=suite, ids=ids
    )


def repeat_receipt(
    repetition: AuthenticatedUserMessage,
    *,
    accepted: Sequence[SignedReference],
    message_id: str,
    timestamp: str,
    signer: Signer,
    suite: SecuritySuite,
    ids: WireIds,
) -> bytes:
    """A receipt for a repetition that its sender signed anew, so that the stored receipt does not answer it.

    `accepted` are the references of the message that was verified and accepted before. Parts with other digests
    than those raise `LocalProtocolError`: nobody has seen their octets.
    """
    earlier = sorted(each.digest_value for each in accepted if each.uri.startswith("cid:"))
    if sorted(each.digest_value for each in repetition.part_digests.values()) != earlier:
        raise LocalProtocolError("not a repetition: the parts are others than those accepted")
    return _build(
        repetition, message_id=message_id, timestamp=timestamp, signer=signer, suite=suite, ids=ids
    )


def _build(
    message: VerifiedUserMessage | AuthenticatedUserMessage,
    *,
    message_id: str,
    timestamp: str,
    signer: Signer,
    suite: SecuritySuite,
    ids: WireIds,
) -> bytes:
    messaging = build_receipt_messaging(
        message_id=message_id,
        timestamp=timestamp,
        ref_to_message_id=message.user_message.message_id,
        references=[reference.xml for reference in message.references],
        messaging_id=ids.messaging,
    )
    return sign_signal(messaging, signer=signer, suite=suite, ids=ids)


def match_receipt(
    authenticated: AuthenticatedSignal,
    *,
    message_id: str,
    expected: Sequence[SignedReference],
) -> ReceiptEvidence:
    """Hold a receipt against the message we sent; the evidence is the only thing that makes it acknowledged.

    `expected` are the references kept when the message was signed; none are a mistake of the caller
    (`LocalProtocolError`). URI, digest algorithm and decoded digest count, order and transforms do not.

    Raises `InvalidReceipt`: `rcp.other` (another message's), `rcp.error` (an error of severity failure beside
    it), `rcp.missing` (no receipt, or a reference left out), `rcp.digest`, `rcp.extra`.

    Spec: AS4 Profile 1.0 section 5.1.8; ebMS 3.0 Core section 5.2.3.3.
    """
    signal = authenticated.signal
    if not expected:
        raise LocalProtocolError("nothing was signed that a receipt could repeat")
    if signal.ref_to_message_id != message_id:
        raise InvalidReceipt("the receipt is for another message", reason="rcp.other")
    if any(error.severity is Severity.FAILURE for error in signal.errors):
        raise InvalidReceipt("a receipt and an error in one signal", reason="rcp.error")
    if signal.receipt is None or not signal.receipt.references:
        raise InvalidReceipt("no non-repudiation information", reason="rcp.missing")
    received = {
        reference.uri: (reference.digest_algorithm, reference.digest_value)
        for reference in signal.receipt.references
    }
    if len(received) != len(signal.receipt.references):
        raise InvalidReceipt("a reference is repeated twice", reason="rcp.extra")
    for reference in expected:
        found = received.pop(reference.uri, None)
        if found is None:
            raise InvalidReceipt("a reference is left out", reason="rcp.missing")
        if found != (reference.digest_algorithm, reference.digest_value):
            raise InvalidReceipt("a digest differs", reason="rcp.digest")
    if received:
        raise InvalidReceipt("a reference that we did not sign", reason="rcp.extra")
    return ReceiptEvidence(
        message_id=message_id,
        receipt_message_id=signal.message_id,
        timestamp=signal.timestamp,
        certificate=authenticated.certificate,
        evidence=authenticated.evidence,
        references=tuple(expected),
        proof=_PROOF,
    )
