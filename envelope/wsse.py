"""WS-Security for AS4 messages: authenticate what came, open its content key, protect what goes out.

Inbound, in the order of decision D1. G5 reads the header (`security_header`). G6 verifies the signature value,
the digests of Messaging and Body, then asks the caller's certificate check about path, revocation and party: so
a stranger never makes the private key work. G7 unwraps the content key. Part digests are `parts`' affair (G8).

Outbound, a UserMessage is signed over Messaging, Body and the digests that its sealed parts bring along, and the
content key is wrapped for the receiver. All of it is written in canonical form, so building is cheap.

Spec: WSS SOAP Message Security 1.1.1; WSS SwA Profile 1.1; eDelivery AS4 1.15 section 4.2.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, Self

from cryptography import x509

from envelope import names
from envelope.errors import (
    CertificateRefused,
    FailedAuthentication,
    FailedDecryption,
    LocalProtocolError,
)
from envelope.key_agreement import agree_content_key
from envelope.limits import DEFAULT_LIMITS, Limits
from envelope.messaging import PartyId, UserMessage, build_messaging, cid_uri
from envelope.pmode import KeyTransport, SecurityPolicy, SecuritySuite
from envelope.security_header import SecurityHeader, read_security, read_signer
from envelope.security_token import (
    TokenReference,
    write_binary_security_token,
    write_token_reference,
)
from envelope.soap import SoapDocument, messaging_start, write_body, write_envelope
from envelope.verified import (
    _PROOF,
    AuthenticatedSignal,
    AuthenticatedUserMessage,
    DecryptedUserMessage,
    ParsedSignal,
    ParsedUserMessage,
    SignatureRecord,
    SignedReference,
)
from envelope.xmldsig import (
    verify_reference,
    verify_signature,
    write_signature,
    write_signed_info,
    write_signed_reference,
)
from envelope.xmlenc import (
    WrappedKey,
    wrap_content_key,
    write_encrypted_data,
    write_encrypted_key,
)

if TYPE_CHECKING:
    from envelope.parts import SealedPart

_IDS: Final = re.compile(r"[A-Za-z_][A-Za-z0-9._-]*(?: [A-Za-z_][A-Za-z0-9._-]*){6}")
_GZIP: Final = "application/gzip"


class Signer(Protocol):
    """Our signing key; where it lives (file, HSM) is the implementation's affair."""

    @property
    def certificate(self) -> x509.Certificate:
        """The certificate of the key."""

    @property
    def chain(self) -> Sequence[x509.Certificate]:
        """The issuers of the certificate, issuing one first."""

    def sign(self, data: bytes, algorithm: str) -> bytes:
        """Sign `data`; `algorithm` is the signature URI and the value is in XML Signature form."""


class Decrypter(Protocol):
    """Our decryption keys."""

    def matches(self, reference: TokenReference) -> bool:
        """Say whether a key of ours belongs to the certificate that the reference names."""

    def unwrap(self, wrapped: WrappedKey) -> bytes:
        """The content key; raises `ValueError` on any failure, the same for all causes."""


class CertificateCheck(Protocol):
    """Which certificates are known, and which are trusted for whom at the instant of this message."""

    def find(self, reference: TokenReference) -> x509.Certificate | None:
        """Look up a certificate named by key identifier or by issuer and serial number."""

    def check(
        self,
        certificate: x509.Certificate,
        chain: Sequence[x509.Certificate],
        *,
        party: PartyId | None,
    ) -> object:
        """Evidence that `certificate` is trusted and is this party's; raises `CertificateRefused`."""


@dataclass(frozen=True, slots=True)
class WireIds:
    """The ids inside one envelope; each a name that XML allows, all different."""

    messaging: str
    body: str
    signature: str
    token: str
    encrypted_key: str
    encryption_token: str
    encrypted_data: str

    def __post_init__(self) -> None:
        """Refuse ids that are no XML names or that meet."""
        values = (
            self.messaging,
            self.body,
            self.signature,
            self.token,
            self.encrypted_key,
            self.encryption_token,
            self.encrypted_data,
        )
        if len(set(values)) != len(values) or _IDS.fullmatch(" ".join(values)) is None:
            raise LocalProtocolError("wire ids must be distinct XML names")

    @classmethod
    def new(cls, unique: str) -> Self:
        """All ids from one string that is unique to the message: letters, digits, dot, hyphen, underscore."""
        return cls(
            messaging=f"id-{unique}-messaging",
            body=f"id-{unique}-body",
            signature=f"SIG-{unique}",
            token=f"X509-{unique}",
            encrypted_key=f"EK-{unique}",
            encryption_token=f"X509-EK-{unique}",
            encrypted_data=f"ED-{unique}",
        )


@dataclass(frozen=True, slots=True)
class SignedEnvelope:
    """A finished SOAP part, and the references to keep until the receipt repeats them."""

    data: bytes
    references: tuple[SignedReference, ...]


def authenticate(
    parsed: ParsedUserMessage,
    *,
    policy: SecurityPolicy,
    check: CertificateCheck,
    limits: Limits = DEFAULT_LIMITS,
) -> AuthenticatedUserMessage:
    """Gates G5 and G6: the header obeys policy, the signature is good, the certificate is the sender's.

    The digests of the parts are still to be compared (`parts.PartOpener`). Raises what
    `security_header.read_security` raises, then `PolicyNoncompliance` (`alg.key`), `SignatureValueInvalid`,
    `ReferenceDigestMismatch` (`sig.digest`), `CertificateRefused` (`cert.*`).

    Spec: decision D1; eDelivery AS4 1.15 section 4.2.
    """
    user_message, document = parsed.user_message, parsed.document
    header = read_security(
        document,
        content_ids=[part.content_id for part in user_message.parts],
        policy=policy,
        limits=limits,
    )
    certificate, evidence, signature = _verify(
        header, document, policy, check, user_message.from_party.party_id
    )
    signed = {id(each): each.signed() for each in header.signature.references}
    return AuthenticatedUserMessage(
        user_message=user_message,
        document=document,
        certificate=certificate,
        evidence=evidence,
        references=tuple(signed.values()),
        signature=signature,
        part_digests={
            content_id: signed[id(reference)]
            for content_id, reference in header.coverage.parts.items()
        },
        encryption=header.encryption,
        lifetime=header.lifetime,
        policy=policy,
        proof=_PROOF,
    )


def authenticate_signal(
    parsed: ParsedSignal,
    *,
    policy: SecurityPolicy,
    check: CertificateCheck,
    party: PartyId | None,
    limits: Limits = DEFAULT_LIMITS,
) -> AuthenticatedSignal:
    """Gates G5 and G6 for a receipt or an error: Messaging and Body signed by `party`, nothing else.

    Raises as `authenticate` does; an unsigned signal raises `PolicyNoncompliance` (`sec.missing`,
    `sig.missing`), which is for the caller to ignore (decision D4).
    """
    document = parsed.document
    header = read_security(document, content_ids=(), policy=policy, limits=limits, signal=True)
    certificate, evidence, _ = _verify(header, document, policy, check, party)
    return AuthenticatedSignal(
        signal=parsed.signal,
        document=document,
        certificate=certificate,
        evidence=evidence,
        references=tuple(reference.signed() for reference in header.signature.references),
        proof=_PROOF,
    )


def find_signer(
    parsed: ParsedSignal, *, check: CertificateCheck, limits: Limits = DEFAULT_LIMITS
) -> x509.Certificate:
    """The certificate that a signal says it is signed with: enough to choose the policy for `authenticate_signal`.

    Nothing about it is authentic yet. Raises as `authenticate_signal` does for the structure of signature and token.
    """
    return _find_certificate(read_signer(parsed.document, limits), check)


def _verify(
    header: SecurityHeader,
    document: SoapDocument,
    policy: SecurityPolicy,
    check: CertificateCheck,
    party: PartyId | None,
) -> tuple[x509.Certificate, object, SignatureRecord]:
    certificate = _find_certificate(header.token, check)
    signature = verify_signature(header.signature, certificate, policy)
    for reference, element in header.coverage.elements:
        verify_reference(reference, element)
    return certificate, check.check(certificate, header.token.chain, party=party), signature


def _find_certificate(token: TokenReference, check: CertificateCheck) -> x509.Certificate:
    if token.certificate is not None:
        return token.certificate
    certificate = check.find(token)
    if certificate is None:
        raise CertificateRefused("the token names no certificate known here")
    if not token.matches(certificate):
        raise FailedAuthentication(
            "the certificate found is not the one named", reason="key.mismatch"
        )
    return certificate


def decrypt_key(
    authenticated: AuthenticatedUserMessage, decrypter: Decrypter
) -> DecryptedUserMessage:
    """Gate G7: unwrap the content key; a message without encryption passes, since G5 let it.

    All failures are one `FailedDecryption` (`enc.failed`): a key that is not ours, padding, a wrong length.

    Spec: XML Encryption 1.1 section 5.5.2.
    """
    content_key = None
    if authenticated.encryption is not None:
        wrapped = authenticated.encryption.wrapped_key
        try:
            if not decrypter.matches(wrapped.token):
                raise ValueError
            content_key = decrypter.unwrap(wrapped)
            if len(content_key) != wrapped.key_octets:
                raise ValueError
        except ValueError:
            raise FailedDecryption("the content key cannot be unwrapped") from None
    return DecryptedUserMessage(authenticated=authenticated, content_key=content_key, proof=_PROOF)


def build_user_message(
    user_message: UserMessage,
    sealed: Sequence["SealedPart"],
    *,
    signer: Signer,
    suite: SecuritySuite,
    recipient: x509.Certificate | None,
    content_key: bytes | None,
    ids: WireIds,
) -> SignedEnvelope:
    """The SOAP part of a UserMessage: header, signature, and the content key wrapped for `recipient`.

    The same arguments give the same SignedInfo again; a new recipient certificate changes only the EncryptedKey
    (decision D11). Raises `LocalProtocolError` when the sealed parts are not the PartInfo elements of the
    message, or key and recipient do not come together.

    Spec: eDelivery AS4 1.15 section 4.2.
    """
    _check_sealed(user_message, sealed)
    encryption = ""
    if sealed and content_key is not None:
        if recipient is None:
            raise LocalProtocolError("a content key but nobody to wrap it for")
        encryption = _write_encryption(sealed, suite, recipient, content_key, ids)
    elif recipient is not None and sealed:
        raise LocalProtocolError("a recipient but no content key")
    messaging = build_messaging(user_message, messaging_id=ids.messaging)
    return _sign(
        messaging,
        [(cid_uri(part.content_id), part.digest) for part in sealed],
        signer=signer,
        suite=suite,
        ids=ids,
        encryption=encryption,
    )


def sign_signal(messaging: bytes, *, signer: Signer, suite: SecuritySuite, ids: WireIds) -> bytes:
    """A whole signed envelope around the canonical Messaging of a receipt or an error, whose id is `ids.messaging`.

    Spec: AS4 Profile 1.0 section 5.1.8; eDelivery AS4 1.15 section 4.2.
    """
    return _sign(messaging, (), signer=signer, suite=suite, ids=ids).data


def _check_sealed(user_message: UserMessage, sealed: Sequence["SealedPart"]) -> None:
    listed = [
        (part.content_id, part.compression_type == _GZIP, part.mime_type)
        for part in user_message.parts
    ]
    if listed != [(part.content_id, part.compressed, part.mime_type) for part in sealed]:
        raise LocalProtocolError("the sealed parts are not the parts that the message lists")


def _write_encryption(
    sealed: Sequence["SealedPart"],
    suite: SecuritySuite,
    recipient: x509.Certificate,
    content_key: bytes,
    ids: WireIds,
) -> str:
    """BinarySecurityToken (in two forms only), EncryptedKey and EncryptedData, in the order WSS4J writes them."""
    agreement = None
    if suite.key_transport is KeyTransport.RSA_OAEP:
        cipher_value = wrap_content_key(content_key, recipient)
    else:
        cipher_value, agreement = agree_content_key(content_key, recipient, suite.key_transport)
    data_ids = [f"{ids.encrypted_data}-{number}" for number, _ in enumerate(sealed, 1)]
    form = suite.encryption_token
    return (
        write_binary_security_token(form, recipient, (), token_id=ids.encryption_token)
        + write_encrypted_key(
            cipher_value,
            write_token_reference(form, recipient, token_id=ids.encryption_token),
            data_ids,
            key_id=ids.encrypted_key,
            agreement=agreement,
        )
        + "".join(
            write_encrypted_data(
                cid_uri(part.content_id),
                _GZIP if part.compressed else part.mime_type,
                data_id=data_id,
                key_id=ids.encrypted_key,
            )
            for data_id, part in zip(data_ids, sealed, strict=True)
        )
    )


def _sign(
    messaging: bytes,
    parts: Sequence[tuple[str, bytes]],
    *,
    signer: Signer,
    suite: SecuritySuite,
    ids: WireIds,
    encryption: str = "",
) -> SignedEnvelope:
    """Put `messaging` into an envelope and sign it, the Body and the digests of `parts` by URI."""
    if suite.digest_algorithm != names.SHA256:
        raise LocalProtocolError("digests are sent with SHA-256 only")
    if not messaging.startswith(messaging_start(ids.messaging).encode()):
        raise LocalProtocolError("the Messaging header has another id")
    body = write_body(ids.body)
    # Both use S12 at their outermost element, so listing the prefix or not gives the same canonical form.
    prefix = "S12" if suite.inclusive_prefixes else ""
    digests = [
        (f"#{ids.messaging}", hashlib.sha256(messaging).digest()),
        (f"#{ids.body}", hashlib.sha256(body).digest()),
        *parts,
    ]
    references = tuple(
        write_signed_reference(uri, digest, prefixes=prefix) for uri, digest in digests
    )
    signed_info = write_signed_info(references, suite.signature_algorithm, soap_prefix=prefix)
    form = suite.signing_token
    token = write_binary_security_token(form, signer.certificate, signer.chain, token_id=ids.token)
    signature = write_signature(
        signed_info,
        signer.sign(signed_info.encode(), suite.signature_algorithm),
        write_token_reference(form, signer.certificate, token_id=ids.token),
        signature_id=ids.signature,
    )
    security = (
        f'<wsse:Security xmlns:S12="{names.S12}" xmlns:wsse="{names.WSSE}" xmlns:wsu="{names.WSU}"'
        f' xmlns:ds="{names.DS}" xmlns:xenc="{names.XENC}" S12:mustUnderstand="true">'
        f"{encryption}{token}{signature}</wsse:Security>"
    )
    return SignedEnvelope(write_envelope(messaging, body, security=security), references)
