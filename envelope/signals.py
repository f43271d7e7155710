"""ebMS 3 SignalMessages: receipts, errors and pull requests as values, read from and built into `eb:Messaging`.

What a receipt proves is decided elsewhere: here its references are only read, with the digests decoded, because
products copy references with other white space and prefixes and only decoded values can be compared.

Spec: ebMS 3.0 Core section 5.2.3 and 6; AS4 Profile 1.0 section 5.1.8; ebBP Signals 2.0.
"""

import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lxml.etree import _Element

from envelope import names
from envelope.canonical import attribute, content
from envelope.codes import CODES, EbmsCode, Severity
from envelope.errors import InvalidHeader, LocalProtocolError
from envelope.limits import DEFAULT_LIMITS, Limits
from envelope.messaging import (
    check_message_id,
    check_schema,
    check_timestamp,
    write_message_info,
)
from envelope.names import q
from envelope.soap import USER_MESSAGE, SoapDocument, write_messaging
from envelope.xml import canonicalize, parse_trusted

_RECEIPT = q(names.EB, "Receipt")
_ERROR = q(names.EB, "Error")
_PULL_REQUEST = q(names.EB, "PullRequest")
_DESCRIPTION = q(names.EB, "Description")
_NON_REPUDIATION = q(names.EBBP, "NonRepudiationInformation")
_PART_INFORMATION = q(names.EBBP, "MessagePartNRInformation")
_REFERENCE = q(names.DS, "Reference")

_REFERENCE_PATH = f"{_PART_INFORMATION}/{_REFERENCE}"
_SPACE = " \t\r\n"
_SIGNAL_ID = re.compile(r"[!-~]{1,255}")
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_TEXT_LENGTH = 1024
_PLAIN_REFERENCE = re.compile(
    rb'<(?:\w+:)?Reference xmlns(?::\w+)?="http://www\.w3\.org/2000/09/xmldsig#" URI='
)
_OURS = re.compile(rb" xmlns:(?:S12|eb|ebbp|wsu)=")
_ERRORS = 32


@dataclass(frozen=True, slots=True)
class ErrorEntry:
    """One `eb:Error`; only `code` and `severity` mean something, the texts are the peer's and for the log.

    `known` is our table's row for the code, or None.
    """

    code: str
    severity: Severity
    category: str | None = None
    origin: str | None = None
    short_description: str | None = None
    ref_to_message_in_error: str | None = None
    description: str | None = None

    @property
    def known(self) -> EbmsCode | None:
        """The row of the error table for this code."""
        return CODES.get(self.code)


@dataclass(frozen=True, slots=True)
class NonRepudiationReference:
    """One `ds:Reference` of a receipt; `digest_value` is decoded."""

    uri: str
    digest_algorithm: str
    digest_value: bytes


@dataclass(frozen=True, slots=True)
class Receipt:
    """An `eb:Receipt`; `references` is empty for a reception-awareness receipt, which proves nothing."""

    references: tuple[NonRepudiationReference, ...] = ()


@dataclass(frozen=True, slots=True)
class SignalMessage:
    """One `eb:SignalMessage`; `pull_request_mpc` is the channel asked for (the default one when unnamed)."""

    message_id: str
    timestamp: str
    ref_to_message_id: str | None = None
    receipt: Receipt | None = None
    errors: tuple[ErrorEntry, ...] = ()
    pull_request_mpc: str | None = None

    @property
    def failures(self) -> tuple[ErrorEntry, ...]:
        """The errors that are no mere warnings."""
        return tuple(error for error in self.errors if error.severity is not Severity.WARNING)


def _signal_id(value: str, where: str) -> str:
    # Products refer to ids of every shape in signals ("1234", a bare UUID): only what could harm is refused.
    if _SIGNAL_ID.fullmatch(value) is None:
        raise InvalidHeader(f"{where} is not a message id", reason="header.messageid")
    return value


def _line(value: str | None) -> str | None:
    """One line for the log: controls become spaces, at most 1,024 characters."""
    return None if value is None else _CONTROLS.sub(" ", value).strip(_SPACE)[:_TEXT_LENGTH]


def decode_base64(value: str, where: str) -> bytes:
    """Decode base64 text strictly after removing XML white space; raises `InvalidHeader` (`header.base64`)."""
    try:
        return binascii.a2b_base64("".join(value.split()).encode("ascii"), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError):
        raise InvalidHeader(f"{where} is not base64", reason="header.base64") from None


def _reference(element: _Element) -> NonRepudiationReference:
    # The schema has fixed order and number: at the end stand method and value.
    *_, method, value = element
    return NonRepudiationReference(
        uri=element.get("URI", ""),
        digest_algorithm=method.get("Algorithm", ""),
        digest_value=decode_base64(value.text or "", "DigestValue"),
    )


def _receipt(element: _Element, limits: Limits) -> Receipt:
    # Products put marks of their own beside the one element that counts, phase4 its version.
    known = [child for child in element if child.tag in (_NON_REPUDIATION, USER_MESSAGE)]
    if len(known) != 1:
        raise InvalidHeader(f"{len(known)} contents in a receipt", reason="header.cardinality")
    references = known[0].findall(_REFERENCE_PATH)
    if len(references) > limits.references:
        raise InvalidHeader(f"{len(references)} references in a receipt", reason="rcp.limits")
    return Receipt(tuple(map(_reference, references)))


def _error(element: _Element) -> ErrorEntry:
    # as4.net and others write "Failure"; anything that is not a warning counts as final.
    severity = element.get("severity", "").strip(_SPACE).lower()
    reference = element.get("refToMessageInError", "").strip(_SPACE)
    return ErrorEntry(
        code=_line(element.get("errorCode")) or "",
        severity=Severity.WARNING if severity == Severity.WARNING else Severity.FAILURE,
        category=_line(element.get("category")),
        origin=_line(element.get("origin")),
        short_description=_line(element.get("shortDescription")),
        ref_to_message_in_error=_signal_id(reference, "refToMessageInError") if reference else None,
        description=_line(element.findtext(_DESCRIPTION)),
    )


def _signal(element: _Element, limits: Limits) -> SignalMessage:
    # The schema has fixed order and number here, too.
    info, *contents = element
    timestamp, message_id, *reference = ((child.text or "").strip(_SPACE) for child in info)
    found = {child.tag: child for child in contents}
    receipt, pull_request = found.get(_RECEIPT), found.get(_PULL_REQUEST)
    errors = [child for child in contents if child.tag == _ERROR] if _ERROR in found else []
    if len(errors) > _ERRORS:
        raise InvalidHeader(f"{len(errors)} errors in a signal", reason="header.limits")
    mpc = None
    if pull_request is not None:
        mpc = _signal_id(pull_request.get("mpc", names.EB_DEFAULT_MPC).strip(_SPACE), "@mpc")
    return SignalMessage(
        message_id=_signal_id(message_id, "MessageId"),
        timestamp=check_timestamp(timestamp),
        ref_to_message_id=_signal_id(reference[0], "RefToMessageId") if reference else None,
        receipt=None if receipt is None else _receipt(receipt, limits),
        errors=tuple(map(_error, errors)),
        pull_request_mpc=mpc,
    )


def read_signals(
    document: SoapDocument, limits: Limits = DEFAULT_LIMITS, *, bare_descriptions: bool = False
) -> tuple[SignalMessage, ...]:
    """Read every SignalMessage of an envelope, at most one of each kind (gate G4).

    `bare_descriptions` as in `messaging.check_schema`.

    Raises `InvalidHeader` (`header.schema`, `soap.cardinality`, `header.cardinality`, `header.messageid`,
    `header.timestamp`, `header.base64`, `header.limits`, `rcp.limits`).

    Spec: ebMS 3.0 Core section 5.2.3.
    """
    check_schema(document, bare_descriptions=bare_descriptions)
    signals = tuple(_signal(element, limits) for element in document.signal_messages)
    for kind in ("receipt", "errors", "pull_request_mpc"):
        if sum(bool(getattr(signal, kind)) for signal in signals) > 1:
            raise InvalidHeader(f"two signals with {kind}", reason="soap.cardinality")
    return signals


def read_signal(
    document: SoapDocument, limits: Limits = DEFAULT_LIMITS, *, bare_descriptions: bool = False
) -> SignalMessage:
    """Read the only SignalMessage of an envelope; a Receipt with warnings in a second one beside it is one, too.

    Raises what `read_signals` raises, and `InvalidHeader` (`soap.cardinality`) for none or others.

    Spec: ebMS 3.0 Core section 6.3 (a warning does not stop processing, so it may come with the receipt).
    """
    signals = read_signals(document, limits, bare_descriptions=bare_descriptions)
    receipts = [one for one in signals if one.receipt is not None]
    others = [one for one in signals if one.receipt is None]
    if len(receipts) == len(others) == 1 and others[0].errors and not others[0].failures:
        return replace(receipts[0], errors=receipts[0].errors + others[0].errors)
    if len(signals) != 1:
        raise InvalidHeader(f"{len(signals)} SignalMessage", reason="soap.cardinality")
    return signals[0]


def _write_info(*, timestamp: str, message_id: str, ref_to_message_id: str | None) -> str:
    try:
        check_message_id(message_id)
        check_timestamp(timestamp)
        if ref_to_message_id is not None:
            _signal_id(ref_to_message_id, "RefToMessageId")
    except InvalidHeader as error:
        raise LocalProtocolError(f"signal cannot be built: {error}") from error
    return write_message_info(
        timestamp=timestamp, message_id=message_id, ref_to_message_id=ref_to_message_id
    )


def build_receipt_messaging(
    *,
    message_id: str,
    timestamp: str,
    ref_to_message_id: str,
    references: Sequence[bytes],
    messaging_id: str,
) -> bytes:
    """The canonical `eb:Messaging` of a non-repudiation receipt: every `ds:Reference`, in the order given.

    `references` are the exclusive canonical forms of the elements. Prefixes that only a PrefixList names are not
    declared again, because nobody canonicalises by them: the sender compares decoded digests.
    Raises `LocalProtocolError` when there is no reference, or an id or time is not well shaped.

    Spec: AS4 Profile 1.0 section 5.1.8; eDelivery AS4 1.15: no MessagePartIdentifier.
    """
    info = _write_info(
        timestamp=timestamp, message_id=message_id, ref_to_message_id=ref_to_message_id
    )
    plain = all(map(_stands_anywhere, references))
    if not references or not (plain or all(map(_is_reference, references))):
        raise LocalProtocolError("receipt cannot be built: it needs ds:Reference elements")
    parts = "".join(
        f"<ebbp:MessagePartNRInformation>{reference.decode()}</ebbp:MessagePartNRInformation>"
        for reference in references
    )
    messaging = write_messaging(
        f"<eb:SignalMessage>{info}<eb:Receipt>"
        f'<ebbp:NonRepudiationInformation xmlns:ebbp="{names.EBBP}">{parts}'
        "</ebbp:NonRepudiationInformation></eb:Receipt></eb:SignalMessage>",
        messaging_id=messaging_id,
    )
    return messaging if plain else canonicalize(parse_trusted(messaging))


def _stands_anywhere(reference: bytes) -> bool:
    """Say whether this surely is a `ds:Reference` that has the same canonical form inside our Messaging as alone.

    It has unless it declares one of our prefixes: what an element around it declares alike is left out.
    """
    return _PLAIN_REFERENCE.match(reference) is not None and _OURS.search(reference) is None


def _is_reference(reference: bytes) -> bool:
    return parse_trusted(reference).tag == _REFERENCE


def build_error_messaging(
    *,
    message_id: str,
    timestamp: str,
    ref_to_message_id: str | None,
    errors: Sequence[EbmsCode],
    messaging_id: str,
) -> bytes:
    """The canonical `eb:Messaging` of an Error signal with the constant texts of the error table and nothing else.

    `ref_to_message_id` is None when the message in error could not be read that far.
    Raises `LocalProtocolError` when there is no error, or an id or time is not well shaped.

    Spec: ebMS 3.0 Core section 6.2; decision D3.
    """
    if not errors:
        raise LocalProtocolError("error signal cannot be built without an error")
    info = _write_info(
        timestamp=timestamp, message_id=message_id, ref_to_message_id=ref_to_message_id
    )
    about = ""
    if ref_to_message_id is not None:
        about = f" refToMessageInError={attribute(ref_to_message_id)}"
    written = "".join(
        f"<eb:Error category={attribute(row.category)} errorCode={attribute(row.code)}"
        f" origin={attribute(row.origin)}{about} severity={attribute(row.severity)}"
        f" shortDescription={attribute(row.short_description)}>"
        f'<eb:Description xml:lang="en">{content(row.description)}</eb:Description></eb:Error>'
        for row in errors
    )
    return write_messaging(
        f"<eb:SignalMessage>{info}{written}</eb:SignalMessage>", messaging_id=messaging_id
    )
