"""Why a certificate, a revocation list, a key file or a token is refused.

The class names the violation, `reason` is the stable slug for log, metrics and tests, `detail` is a
sentence for our own log: it names subjects, serial numbers, times and file names, never key material,
token text or patient data. Nothing here travels to a peer.
"""

from typing import ClassVar


class KeysError(Exception):
    """Everything this package raises on purpose."""

    default_reason: ClassVar[str] = "key.invalid"

    def __init__(self, detail: str, *, reason: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.reason = reason or self.default_reason

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


class UntrustedCertificate(KeysError):
    """A certificate may not be relied on for the use asked for; the subclass says why."""

    default_reason = "cert.untrusted"


class UnknownIssuer(UntrustedCertificate):
    """No trusted anchor stands above the certificate, and no pin names it."""


class Expired(UntrustedCertificate):
    """The certificate, or one above it, was no longer valid at the time asked about."""

    default_reason = "cert.time"


class NotYetValid(UntrustedCertificate):
    """The certificate, or one above it, was not yet valid at the time asked about."""

    default_reason = "cert.time"


class Revoked(UntrustedCertificate):
    """The issuer's revocation list names the certificate."""

    default_reason = "cert.revoked"


class RevocationUnknown(UntrustedCertificate):
    """Policy requires a fresh revocation list and none is at hand."""

    default_reason = "cert.revocation-unknown"


class WrongUsage(UntrustedCertificate):
    """The keyUsage extension does not allow what the key was used for."""

    default_reason = "cert.usage"


class WrongPolicy(UntrustedCertificate):
    """extendedKeyUsage excludes the use, or no certificate policy is on the allow-list."""

    default_reason = "cert.policy"


class WrongSubject(UntrustedCertificate):
    """A valid certificate, but of another party than the one expected."""

    default_reason = "cert.party"


class BadPath(UntrustedCertificate):
    """The path breaks RFC 5280: an end entity used as CA, its length, a name constraint, a weak signature."""

    default_reason = "cert.path"


class UnknownExtension(UntrustedCertificate):
    """A critical extension we do not process: RFC 5280 4.2 says refuse."""

    default_reason = "cert.extension"


class UnreadableCertificate(UntrustedCertificate):
    """Not a certificate, more than was asked for, or trailing data after it."""

    default_reason = "cert.parse"


class WeakKey(UntrustedCertificate):
    """An RSA key that is too small, too large or has a strange exponent, or a curve off our list."""

    default_reason = "cert.key"


class AmbiguousReference(KeysError):
    """A token reference names more than one certificate we know."""

    default_reason = "key.ambiguous"


class UnsupportedAlgorithm(KeysError):
    """A signature algorithm that is unknown here or does not fit the key."""

    default_reason = "key.algorithm"


class KeyStoreError(KeysError):
    """A key directory or file is missing, readable by others, or its parts do not belong together."""

    default_reason = "key.store"


class KeyUnavailable(KeysError):
    """A hardware module did not do what it was asked, which says nothing about the message: a fault of ours, for now."""

    default_reason = "key.unavailable"


class BundleRefused(KeysError):
    """A file with certificates and a key cannot be used: its passphrase, its key, or what is in it; `reason` says which."""

    default_reason = "bundle.unreadable"


class CrlRefused(KeysError):
    """A revocation list that is not taken into the store; `reason` is one of the `crl.*` slugs."""

    default_reason = "crl.invalid"


class OcspRefused(KeysError):
    """An answer of an OCSP responder that is not taken into the store; `reason` is one of the `ocsp.*` slugs."""

    default_reason = "ocsp.invalid"


class TokenRefused(KeysError):
    """An access token that does not hold; `reason` is one of the `token.*` slugs."""

    default_reason = "token.invalid"
