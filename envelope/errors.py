"""The exception tree: blame first (local or remote), then the precise violation.

A `RemoteProtocolError` knows the gate that refused (decision D1), a stable `reason` slug for log and
tests, and a `detail` for our own log. What the peer may see is only the constant text of the ebMS code
(or a bare HTTP status at G1 to G3); `detail` never travels.
"""

from enum import StrEnum
from typing import ClassVar

from envelope import codes
from envelope.codes import EbmsCode


class Gate(StrEnum):
    """Where in the fixed order of checks an inbound message stands (decision D1)."""

    G0 = "G0"
    G1 = "G1"
    G2 = "G2"
    G3 = "G3"
    G4 = "G4"
    G5 = "G5"
    G6 = "G6"
    G7 = "G7"
    G8 = "G8"
    G9 = "G9"
    G10 = "G10"
    G11 = "G11"


class EnvelopeError(Exception):
    """Everything this package raises on purpose."""


class LocalProtocolError(EnvelopeError):
    """We, or the backend that called us, asked for something the standards forbid."""


class RemoteProtocolError(EnvelopeError):
    """The peer sent something wrong; `gate` and `reason` say what, `detail` is for our log only."""

    default_gate: ClassVar[Gate] = Gate.G4
    default_reason: ClassVar[str] = "other"

    def __init__(self, detail: str, *, reason: str | None = None, gate: Gate | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.reason = reason or self.default_reason
        self.gate = gate or self.default_gate

    def __str__(self) -> str:
        return f"{self.gate} {self.reason}: {self.detail}"


class TransportRefused(RemoteProtocolError):
    """Refused before an ebMS context exists (G1 to G3): the answer is a bare HTTP status."""

    default_gate = Gate.G2
    default_reason = "http.bad"

    def __init__(
        self, detail: str, *, reason: str | None = None, gate: Gate | None = None, status: int = 400
    ) -> None:
        super().__init__(detail, reason=reason, gate=gate)
        self.status = status


class SmpRefused(RemoteProtocolError):
    """A service metadata answer that does not parse, is for somebody else, or is not signed as it must be."""

    default_reason = "smp.invalid"


class SbdRefused(RemoteProtocolError):
    """A StandardBusinessDocument that cannot be read outside an AS4 exchange (MSH and EUA edges)."""

    default_gate = Gate.G10
    default_reason = "sbd.invalid"


class EbmsError(RemoteProtocolError):
    """A refusal that has an ebMS error code; raise one of the subclasses."""

    ebms: ClassVar[EbmsCode] = codes.OTHER


class ValueNotRecognized(EbmsError):
    """EBMS:0001."""

    ebms = codes.VALUE_NOT_RECOGNIZED
    default_gate = Gate.G10
    default_reason = "pmode.value"


class ValueInconsistent(EbmsError):
    """EBMS:0003."""

    ebms = codes.VALUE_INCONSISTENT
    default_reason = "header.inconsistent"


class OtherError(EbmsError):
    """EBMS:0004."""

    ebms = codes.OTHER


class MimeInconsistency(EbmsError):
    """EBMS:0007."""

    ebms = codes.MIME_INCONSISTENCY
    default_reason = "mime.inconsistent"


class InvalidHeader(EbmsError):
    """EBMS:0009."""

    ebms = codes.INVALID_HEADER
    default_reason = "header.invalid"


class ProcessingModeMismatch(EbmsError):
    """EBMS:0010."""

    ebms = codes.PROCESSING_MODE_MISMATCH
    default_gate = Gate.G10
    default_reason = "pmode.mismatch"


class ExternalPayloadError(EbmsError):
    """EBMS:0011."""

    ebms = codes.EXTERNAL_PAYLOAD
    default_reason = "att.external"


class FailedAuthentication(EbmsError):
    """EBMS:0101; subclasses say what about the signature failed."""

    ebms = codes.FAILED_AUTHENTICATION
    default_gate = Gate.G6
    default_reason = "sig.value"


class SignatureValueInvalid(FailedAuthentication):
    """The signature over SignedInfo does not verify with the certificate named."""


class ReferenceDigestMismatch(FailedAuthentication):
    """A signed reference's digest differs from what was received."""

    default_gate = Gate.G8
    default_reason = "att.digest"


class CoverageIncomplete(FailedAuthentication):
    """The signature does not cover the Messaging header, the Body and every part, each exactly once."""

    default_gate = Gate.G5
    default_reason = "sig.coverage"


class CertificateRefused(FailedAuthentication):
    """The signing certificate is not trusted for this party; `reason` is one of the `cert.*` slugs."""

    default_reason = "cert.untrusted"


class FailedDecryption(EbmsError):
    """EBMS:0102; all causes look alike on the wire."""

    ebms = codes.FAILED_DECRYPTION
    default_gate = Gate.G7
    default_reason = "enc.failed"


class PolicyNoncompliance(EbmsError):
    """EBMS:0103."""

    ebms = codes.POLICY_NONCOMPLIANCE
    default_gate = Gate.G5
    default_reason = "sec.policy"


class DeliveryFailure(EbmsError):
    """EBMS:0202."""

    ebms = codes.DELIVERY_FAILURE
    default_gate = Gate.G11
    default_reason = "store.unavailable"


class InvalidReceipt(EbmsError):
    """EBMS:0302, raised by the sender about an answer to its own message."""

    ebms = codes.INVALID_RECEIPT
    default_gate = Gate.G10
    default_reason = "rcp.invalid"


class DecompressionFailure(EbmsError):
    """EBMS:0303."""

    ebms = codes.DECOMPRESSION_FAILURE
    default_gate = Gate.G9
    default_reason = "gzip.damaged"
