"""The ebMS error codes that an access point raises or reads, as data.

Those of enhancements that we do not have (split and join, multi-hop, bundling) are never raised: they are here so
that a partner that sends one is understood.

Spec: ebMS 3.0 Core section 6.7, ebMS 3.0 Part 2, AS4 Profile 1.0 section 5.1.
"""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How final an error is for the message it names."""

    FAILURE = "failure"
    WARNING = "warning"


class Category(StrEnum):
    """The stage of processing an error belongs to."""

    CONTENT = "Content"
    COMMUNICATION = "Communication"
    UNPACKAGING = "Unpackaging"
    PROCESSING = "Processing"


class Origin(StrEnum):
    """The module that found the error."""

    EBMS = "ebms"
    SECURITY = "security"
    RELIABILITY = "reliability"


@dataclass(frozen=True, slots=True)
class EbmsCode:
    """One row of the error table; `description` is the constant text that a peer may see."""

    code: str
    short_description: str
    severity: Severity
    category: Category
    origin: Origin
    description: str
    retryable: bool = False


_F, _W = Severity.FAILURE, Severity.WARNING
_CONTENT, _COMM = Category.CONTENT, Category.COMMUNICATION
_UNPACK, _PROC = Category.UNPACKAGING, Category.PROCESSING
_EBMS, _SEC, _REL = Origin.EBMS, Origin.SECURITY, Origin.RELIABILITY

VALUE_NOT_RECOGNIZED = EbmsCode(
    "EBMS:0001",
    "ValueNotRecognized",
    _F,
    _CONTENT,
    _EBMS,
    "A value in the header is not known here.",
)
FEATURE_NOT_SUPPORTED = EbmsCode(
    "EBMS:0002", "FeatureNotSupported", _W, _CONTENT, _EBMS, "An optional feature is not supported."
)
VALUE_INCONSISTENT = EbmsCode(
    "EBMS:0003",
    "ValueInconsistent",
    _F,
    _CONTENT,
    _EBMS,
    "A value in the header contradicts another.",
)
OTHER = EbmsCode("EBMS:0004", "Other", _F, _CONTENT, _EBMS, "The message cannot be processed.")
CONNECTION_FAILURE = EbmsCode(
    "EBMS:0005",
    "ConnectionFailure",
    _F,
    _COMM,
    _EBMS,
    "The receiver cannot be reached.",
    retryable=True,
)
EMPTY_MPC = EbmsCode(
    "EBMS:0006",
    "EmptyMessagePartitionChannel",
    _W,
    _COMM,
    _EBMS,
    "No message waits on this channel.",
)
MIME_INCONSISTENCY = EbmsCode(
    "EBMS:0007", "MimeInconsistency", _F, _UNPACK, _EBMS, "The MIME parts do not match the header."
)
UNSUPPORTED_FEATURE = EbmsCode(
    "EBMS:0008", "FeatureNotSupported", _F, _UNPACK, _EBMS, "A required feature is not supported."
)
INVALID_HEADER = EbmsCode(
    "EBMS:0009", "InvalidHeader", _F, _UNPACK, _EBMS, "The ebMS header is not valid."
)
PROCESSING_MODE_MISMATCH = EbmsCode(
    "EBMS:0010", "ProcessingModeMismatch", _F, _PROC, _EBMS, "No agreement fits this message."
)
EXTERNAL_PAYLOAD = EbmsCode(
    "EBMS:0011", "ExternalPayloadError", _F, _CONTENT, _EBMS, "External payloads are not accepted."
)
FAILED_AUTHENTICATION = EbmsCode(
    "EBMS:0101", "FailedAuthentication", _F, _PROC, _SEC, "The signature is not accepted."
)
FAILED_DECRYPTION = EbmsCode(
    "EBMS:0102", "FailedDecryption", _F, _PROC, _SEC, "The message cannot be decrypted."
)
POLICY_NONCOMPLIANCE = EbmsCode(
    "EBMS:0103",
    "PolicyNoncompliance",
    _F,
    _PROC,
    _SEC,
    "The security of the message does not meet the agreement.",
)
DYSFUNCTIONAL_RELIABILITY = EbmsCode(
    "EBMS:0201", "DysfunctionalReliability", _F, _PROC, _REL, "Reliable messaging failed."
)
DELIVERY_FAILURE = EbmsCode(
    "EBMS:0202", "DeliveryFailure", _F, _COMM, _REL, "The message cannot be delivered now."
)
MISSING_RECEIPT = EbmsCode(
    "EBMS:0301", "MissingReceipt", _F, _COMM, _EBMS, "No receipt came within the agreed time."
)
INVALID_RECEIPT = EbmsCode(
    "EBMS:0302", "InvalidReceipt", _F, _COMM, _EBMS, "The receipt does not match the message."
)
DECOMPRESSION_FAILURE = EbmsCode(
    "EBMS:0303",
    "DecompressionFailure",
    _F,
    _COMM,
    _EBMS,
    "A compressed part cannot be decompressed.",
)


def _read_only(
    number: str, short: str, category: Category = _CONTENT, severity: Severity = _F
) -> EbmsCode:
    text = "An error of an enhancement that is not used here."
    return EbmsCode(f"EBMS:{number}", short, severity, category, _EBMS, text)


_OF_ENHANCEMENTS = (
    _read_only("0020", "RoutingFailure", _PROC),
    _read_only("0021", "MPCCapacityExceeded", _PROC),
    _read_only("0022", "MessagePersistenceTimeout", _PROC),
    _read_only("0023", "MessageExpired", _PROC, _W),
    _read_only("0030", "BundlingError"),
    _read_only("0031", "RelatedMessageFailed", _PROC),
    _read_only("0040", "BadFragmentGroup"),
    _read_only("0041", "DuplicateMessageSize"),
    _read_only("0042", "DuplicateFragmentCount"),
    _read_only("0043", "DuplicateMessageHeader"),
    _read_only("0044", "DuplicateAction"),
    _read_only("0045", "DuplicateCompressionInfo"),
    _read_only("0046", "DuplicateFragment"),
    _read_only("0047", "BadFragmentStructure", _UNPACK),
    _read_only("0048", "BadFragmentNum"),
    _read_only("0049", "BadFragmentCount"),
    _read_only("0050", "FragmentSizeExceeded", _UNPACK, _W),
    _read_only("0051", "ReceiveIntervalExceeded", _UNPACK),
    _read_only("0052", "BadProperties", _UNPACK, _W),
    _read_only("0053", "HeaderMismatch", _UNPACK),
    _read_only("0054", "OutOfStorageSpace", _UNPACK),
    _read_only("0055", "DecompressionError", _PROC),
    _read_only("0060", "ResponseUsing-AlternateMEP", _PROC, _W),
)

CODES: dict[str, EbmsCode] = {
    row.code: row
    for row in (
        VALUE_NOT_RECOGNIZED,
        FEATURE_NOT_SUPPORTED,
        VALUE_INCONSISTENT,
        OTHER,
        CONNECTION_FAILURE,
        EMPTY_MPC,
        MIME_INCONSISTENCY,
        UNSUPPORTED_FEATURE,
        INVALID_HEADER,
        PROCESSING_MODE_MISMATCH,
        EXTERNAL_PAYLOAD,
        FAILED_AUTHENTICATION,
        FAILED_DECRYPTION,
        POLICY_NONCOMPLIANCE,
        DYSFUNCTIONAL_RELIABILITY,
        DELIVERY_FAILURE,
        MISSING_RECEIPT,
        INVALID_RECEIPT,
        DECOMPRESSION_FAILURE,
        *_OF_ENHANCEMENTS,
    )
}
