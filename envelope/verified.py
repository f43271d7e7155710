"""The evidence types: what is known about an inbound message after each gate, and nothing more.

A value of these types cannot be made outside the gates: every constructor wants the proof object of this
module and refuses anything else, `dataclasses.replace` included. So a function that takes a
`VerifiedUserMessage` need not ask whether a signature was checked.

The order is fixed: `ParsedUserMessage` (G4) → `AuthenticatedUserMessage` (G6) → `DecryptedUserMessage` (G7) →
`VerifiedUserMessage` (G8). A signal goes from `ParsedSignal` (G4) to `AuthenticatedSignal` (G6), a receipt on to
`ReceiptEvidence`.

Only `wsse`, `parts` and `receipts` name the proof.

Spec: decision D1; architecture section 5.2.
"""

from collections.abc import Collection, Mapping
from dataclasses import InitVar, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Self, final

from cryptography.hazmat.primitives.hashes import SHA256

from envelope.errors import LocalProtocolError
from envelope.limits import DEFAULT_LIMITS, Limits
from envelope.messaging import UserMessage, parse_user_message
from envelope.signals import SignalMessage, read_signal

if TYPE_CHECKING:
    from cryptography import x509

    from envelope.lifetime import Lifetime
    from envelope.pmode import Quirk, SecurityPolicy
    from envelope.soap import SoapDocument
    from envelope.xmlenc import EncryptionHeader


@final
class _Proof:
    """What only a gate holds."""

    __slots__ = ()


_PROOF: Final = _Proof()


@lru_cache(maxsize=256)
def _fingerprint(certificate: "x509.Certificate") -> str:
    return certificate.fingerprint(SHA256()).hex()


def _admit(proof: object) -> None:
    if proof is not _PROOF:
        raise LocalProtocolError("evidence comes from a gate; it cannot be made by hand")


@dataclass(frozen=True, slots=True)
class SignedReference:
    """One `ds:Reference` of a signature, as a value that can be stored and compared.

    `xml` is the exclusive canonical form of the element; receipts repeat it.
    """

    uri: str
    digest_algorithm: str
    digest_value: bytes
    transforms: tuple[str, ...]
    xml: bytes


@dataclass(frozen=True, slots=True)
class SignatureRecord:
    """What of a verified signature is worth keeping: with the signer's certificate it verifies again, without the message.

    `signed_info` is the canonical SignedInfo, the octets that `value` was made over by `algorithm`.
    """

    algorithm: str
    signed_info: bytes
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedUserMessage:
    """A UserMessage that is well formed and schema-valid; nothing about it is authentic yet (G4)."""

    user_message: UserMessage
    document: "SoapDocument"
    proof: InitVar[object]

    def __post_init__(self, proof: object) -> None:
        """Refuse values and a document that were not read together."""
        _admit(proof)

    @classmethod
    def read(
        cls,
        document: "SoapDocument",
        limits: Limits = DEFAULT_LIMITS,
        *,
        quirks: "Collection[Quirk]" = (),
    ) -> Self:
        """Gate G4: read the UserMessage of `document`; raises what `messaging.parse_user_message` raises."""
        user_message = parse_user_message(document, limits, quirks=quirks)
        return cls(user_message=user_message, document=document, proof=_PROOF)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthenticatedUserMessage:
    """A UserMessage whose header and Body are signed by the party it names (G6); its parts are still to come.

    `evidence` is what the certificate check returned; `part_digests` maps each content id of the PartInfo
    elements to the reference that covers it.
    """

    user_message: UserMessage
    document: "SoapDocument"
    certificate: "x509.Certificate"
    evidence: object
    references: tuple[SignedReference, ...]
    signature: SignatureRecord
    part_digests: Mapping[str, SignedReference]
    encryption: "EncryptionHeader | None"
    lifetime: "Lifetime | None"
    policy: "SecurityPolicy"
    proof: InitVar[object]

    def __post_init__(self, proof: object) -> None:
        """Refuse to be made outside the gate."""
        _admit(proof)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecryptedUserMessage:
    """An authenticated UserMessage with its content key (G7); None when policy let the parts come in clear."""

    authenticated: AuthenticatedUserMessage
    content_key: bytes | None
    proof: InitVar[object]

    def __post_init__(self, proof: object) -> None:
        """Refuse to be made outside the gate."""
        _admit(proof)

    def __repr__(self) -> str:
        """Show the message, never the key."""
        return f"DecryptedUserMessage({self.authenticated.user_message.message_id!r})"


@dataclass(frozen=True, slots=True)
class VerifiedPart:
    """One payload part whose digest is the signed one; `signed_octets` counts gzip or raw octets."""

    content_id: str
    mime_type: str | None
    compressed: bool
    signed_octets: int
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PartEvidence:
    """Says that the octets one `PartOpener` gave out are the signed ones of that message (G8)."""

    part: VerifiedPart
    message: DecryptedUserMessage
    proof: InitVar[object]

    def __post_init__(self, proof: object) -> None:
        """Refuse to be made outside the gate."""
        _admit(proof)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedUserMessage:
    """A UserMessage of which the header, the Body and every part are what the named party signed (G8)."""

    user_message: UserMessage
    certificate: "x509.Certificate"
    evidence: object
    references: tuple[SignedReference, ...]
    signature: SignatureRecord
    parts: tuple[VerifiedPart, ...]
    proof: InitVar[object]

    def __post_init__(self, proof: object) -> None:
        """Refuse to be made outside the gate."""
        _admit(proof)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedSignal:
    """The only SignalMessage of an envelope, well formed and schema-valid; nothing about it is authentic yet (G4)."""

    signal: SignalMessage
    document: "SoapDocument"
    proof: InitVar[object]

    def __post_init__(self, proof: object) -> None:
        """Refuse values and a document that were not read together."""
        _admit(proof)

    @classmethod
    def read(
        cls,
        document: "SoapDocument",
        limits: Limits = DEFAULT_LIMITS,
        *,
        bare_descriptions: bool = False,
    ) -> Self:
        """Gate G4: read the SignalMessage of `document`; arguments and errors as `signals.read_signal`."""
        signal = read_signal(document, limits, bare_descriptions=bare_descriptions)
        return cls(signal=signal, document=document, proof=_PROOF)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthenticatedSignal:
    """A signal whose Messaging header and Body are signed by the party expected."""

    signal: SignalMessage
    document: "SoapDocument"
    certificate: "x509.Certificate"
    evidence: object
    references: tuple[SignedReference, ...]
    proof: InitVar[object]

    def __post_init__(self, proof: object) -> None:
        """Refuse to be made outside the gate."""
        _admit(proof)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the signer's certificate, in hexadecimal."""
        return _fingerprint(self.certificate)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptEvidence:
    """Proof of receipt: a signed receipt that repeats every digest of the message we sent."""

    message_id: str
    receipt_message_id: str
    timestamp: str
    certificate: "x509.Certificate"
    evidence: object
    references: tuple[SignedReference, ...]
    proof: InitVar[object]

    def __post_init__(self, proof: object) -> None:
        """Refuse to be made outside the gate."""
        _admit(proof)
