"""From a certificate somebody showed us to a `ValidatedCertificate`, or an exception that says why not.

Order of the questions, all of which must be answered yes:

1. Is the key one we work with (`keys.certificate.check_key`)?
2. Is the leaf valid now, does keyUsage allow the use, does extendedKeyUsage not exclude it, is one of its
   certificate policies on the list (when there is a list)? A leaf without keyUsage passes only when a pin
   is all the trust there is: self-signed certificates of partners without an authority often have none.
3. Does RFC 5280 path building, by `cryptography.x509.verification`, end at an anchor of this store? A store
   without anchors asks instead whether the leaf is pinned.
4. Is the leaf neither an authority nor itself an anchor?
5. Does the revocation policy hold for every certificate below the anchor?

The library's verifier is shaped for the web: its default policy wants a subject alternative name, which
OCES system certificates do not have, and it looks at neither revocation nor the leaf's key. So the leaf's
extensions are ours to judge and the authorities' stay with the library's web policy plus our key rules. Its
interface is documented as unstable and its errors are text; nothing outside this file touches either. When
it refuses, `_diagnose` walks the path again only to choose the name of the refusal. It never accepts.

A party's identity is another question (`keys.identity`), asked afterwards.

Spec: RFC 5280 6; ehmi.md 3.3 (dynamic receiver checks), 3.6; hostile.md 1.7; reliability.md 6.4.
"""

from collections import OrderedDict
from collections.abc import Collection, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, ObjectIdentifier
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from keys.certificate import (
    certificate_policies,
    check_key,
    describe,
    fingerprint,
    is_authority,
    require_readable,
)
from keys.crl import CrlStore
from keys.errors import (
    BadPath,
    Expired,
    NotYetValid,
    UnknownExtension,
    UnknownIssuer,
    UntrustedCertificate,
    WrongPolicy,
    WrongUsage,
)
from keys.ocsp import OcspStore
from keys.revocation import (
    REQUIRE,
    RevocationEvidence,
    RevocationPolicy,
    check_revocation,
    check_revocation_of_pinned,
)
from keys.trust import TrustStore, require_authority

MAX_CHAIN: Final = 8
"""Certificates a peer may send above its own; building paths over more is work for strangers."""

MAX_AUTHORITIES: Final = 4
"""Authorities between leaf and anchor."""


class Usage(StrEnum):
    """What the certificate's key is used for."""

    SIGNING = "signing"
    ENCRYPTION = "encryption"
    TLS_SERVER = "tls-server"
    TLS_CLIENT = "tls-client"


_MESSAGE_PURPOSES: Final = frozenset(
    {
        ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
        ExtendedKeyUsageOID.CLIENT_AUTH,
        ExtendedKeyUsageOID.EMAIL_PROTECTION,
        ObjectIdentifier("1.3.6.1.5.5.7.3.36"),  # document signing, RFC 9336
    }
)
_EXTENDED_USAGES: Final = {
    # No purpose is defined for AS4. Authorities that write one for message certificates write one of these.
    Usage.SIGNING: _MESSAGE_PURPOSES,
    Usage.ENCRYPTION: _MESSAGE_PURPOSES,
    Usage.TLS_SERVER: frozenset({ExtendedKeyUsageOID.SERVER_AUTH}),
    Usage.TLS_CLIENT: frozenset({ExtendedKeyUsageOID.CLIENT_AUTH}),
}
_PROCESSED_EXTENSIONS: Final = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.NAME_CONSTRAINTS,
        ExtensionOID.CERTIFICATE_POLICIES,
    }
)
_PROVEN: Final = object()


@dataclass(frozen=True, slots=True)
class ValidatedCertificate:
    """Evidence that a certificate was good for a use at a time; only this module makes one.

    Attributes:
        certificate: the leaf.
        path: leaf first, anchor last; the leaf alone when a pin was all the trust there is.
        anchor: where the path ends; None when pinned only.
        usage: the use asked about.
        at: the time asked about; a remembered answer keeps the time it was first given for.
        pinned: a pin of the store names the leaf.
        revocation: one entry for each certificate below the anchor.
        not_before: start of the time in which the answer would be the same, as far as certificates go.
        not_after: its end: the earliest end of a certificate or of a revocation list.
        why: one sentence.
    """

    certificate: x509.Certificate
    path: tuple[x509.Certificate, ...]
    anchor: x509.Certificate | None
    usage: Usage
    at: datetime
    pinned: bool
    revocation: tuple[RevocationEvidence, ...]
    not_before: datetime
    not_after: datetime
    why: str
    proof: object

    def __post_init__(self) -> None:
        if self.proof is not _PROVEN:
            raise TypeError("a ValidatedCertificate comes from keys.path.validate only")

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the leaf, 64 hexadecimal digits."""
        return fingerprint(self.certificate)


def validate(
    certificate: x509.Certificate,
    chain: Sequence[x509.Certificate] = (),
    *,
    trust: TrustStore,
    at: datetime,
    usage: Usage,
    policies: Collection[str] = (),
    revocation: RevocationPolicy = REQUIRE,
    crls: CrlStore | None = None,
    ocsp: OcspStore | None = None,
) -> ValidatedCertificate:
    """Validate a certificate for one use at one time.

    Args:
        certificate: the leaf.
        chain: what the peer sent above it, any order; only helps to build a path.
        trust: anchors, intermediates and pins of the purpose at hand.
        at: the time asked about, aware.
        usage: the use asked about.
        policies: dotted certificate policy identifiers, one of which the leaf must have; empty asks nothing.
        revocation: what revocation lists are worth.
        crls: the lists at hand.
        ocsp: the answers of responders at hand.

    Raises:
        UntrustedCertificate: in one of its subclasses, whose `reason` is the slug of the refusal.
    """
    if len(chain) > MAX_CHAIN:
        raise BadPath(f"{len(chain)} certificates were sent above the leaf")
    for one in (certificate, *chain):
        require_readable(one)
    check_key(certificate)
    _check_time(certificate, at)
    _check_usage(certificate, usage, required=bool(trust.anchors))
    _check_extended_usage(certificate, usage)
    _check_policies(certificate, policies)
    if not trust.anchors:
        return _validate_pinned(certificate, trust, at, usage, revocation)
    path = _build_path(certificate, chain, trust, at)
    if trust.is_anchor(certificate):
        raise UnknownIssuer(f"an anchor does not speak for a party: {describe(certificate)}")
    if is_authority(certificate):
        raise BadPath(
            f"a certificate authority does not speak for a party: {describe(certificate)}"
        )
    evidence = check_revocation(path, policy=revocation, crls=crls, ocsp=ocsp, at=at)
    anchor = path[-1]
    ends = [one.not_valid_after_utc for one in path]
    ends += [entry.valid_until for entry in evidence if entry.valid_until is not None]
    return ValidatedCertificate(
        certificate=certificate,
        path=path,
        anchor=anchor,
        usage=usage,
        at=at,
        pinned=trust.is_pinned(certificate),
        revocation=evidence,
        not_before=max(one.not_valid_before_utc for one in path),
        not_after=min(ends),
        why=f"path of {len(path)} to the {trust.purpose} anchor {anchor.subject.rfc4514_string()}",
        proof=_PROVEN,
    )


def why_not(certificate: x509.Certificate, usage: Usage) -> str | None:
    """Say why a certificate's extensions do not allow a use, or None where they do; asks nothing about trust."""
    try:
        check_key(certificate)
        _check_usage(certificate, usage, required=True)
        _check_extended_usage(certificate, usage)
    except UntrustedCertificate as refused:
        return refused.detail.partition(": ")[0]
    return None


class Validator:
    """Validates for one purpose and remembers what was good.

    Building a path costs two signature checks; partners show the same certificate with every message. An
    answer is kept with the time window in which it holds and the generation of the revocation lists it was
    made with; a refusal is never kept, so strangers cannot push partners out. Oldest answers go first
    when `capacity` is reached.
    """

    def __init__(
        self,
        trust: TrustStore,
        *,
        policies: Collection[str] = (),
        revocation: RevocationPolicy = REQUIRE,
        crls: CrlStore | None = None,
        ocsp: OcspStore | None = None,
        capacity: int = 1024,
    ) -> None:
        self.trust = trust
        self.policies = frozenset(policies)
        self.revocation = revocation
        self.crls = crls
        self.ocsp = ocsp
        self._capacity = capacity
        self._generation = -1
        self._good: OrderedDict[
            tuple[x509.Certificate, tuple[x509.Certificate, ...], Usage], ValidatedCertificate
        ] = OrderedDict()

    def validate(
        self,
        certificate: x509.Certificate,
        chain: Sequence[x509.Certificate] = (),
        *,
        usage: Usage,
        at: datetime,
    ) -> ValidatedCertificate:
        """Return the evidence for this certificate, chain, use and time; see `validate` of this module.

        Raises:
            UntrustedCertificate: as the function.
        """
        generation = (self.crls.generation if self.crls else 0) + (
            self.ocsp.generation if self.ocsp else 0
        )
        if generation != self._generation:
            self._good.clear()
            self._generation = generation
        key = (certificate, tuple(chain), usage)
        known = self._good.get(key)
        if known is not None and known.not_before <= at <= known.not_after:
            return known
        validated = validate(
            certificate,
            chain,
            trust=self.trust,
            at=at,
            usage=usage,
            policies=self.policies,
            revocation=self.revocation,
            crls=self.crls,
            ocsp=self.ocsp,
        )
        self._good[key] = validated
        if len(self._good) > self._capacity:
            self._good.popitem(last=False)
        return validated

    def under(self, revocation: RevocationPolicy) -> "Validator":
        """The same rules under another revocation policy, with a memory of their own."""
        if revocation == self.revocation:
            return self
        other = copy(self)
        other.revocation, other._good = revocation, OrderedDict()  # noqa: SLF001 (of its own class)
        return other

    def __len__(self) -> int:
        return len(self._good)


def _validate_pinned(
    certificate: x509.Certificate,
    trust: TrustStore,
    at: datetime,
    usage: Usage,
    revocation: RevocationPolicy,
) -> ValidatedCertificate:
    if not trust.is_pinned(certificate):
        raise UnknownIssuer(f"neither anchor nor pin for {trust.purpose}: {describe(certificate)}")
    _check_critical(certificate)
    return ValidatedCertificate(
        certificate=certificate,
        path=(certificate,),
        anchor=None,
        usage=usage,
        at=at,
        pinned=True,
        revocation=check_revocation_of_pinned(certificate, policy=revocation),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        why=f"pinned for {trust.purpose} by its fingerprint",
        proof=_PROVEN,
    )


def _build_path(
    certificate: x509.Certificate,
    chain: Sequence[x509.Certificate],
    trust: TrustStore,
    at: datetime,
) -> tuple[x509.Certificate, ...]:
    candidates = [*chain, *trust.intermediates]
    verifier = (
        PolicyBuilder()
        .store(Store(list(trust.anchors)))
        .time(at)
        .max_chain_depth(MAX_AUTHORITIES)
        .extension_policies(ca_policy=_AUTHORITY_POLICY, ee_policy=ExtensionPolicy.permit_all())
        .build_client_verifier()
    )
    try:
        return tuple(verifier.verify(certificate, candidates).chain)
    except (VerificationError, ValueError) as error:
        raise _diagnose(certificate, candidates, trust, at, error) from error


def _check_authority_key(
    _policy: Policy, certificate: x509.Certificate, _constraints: x509.BasicConstraints
) -> None:
    check_key(certificate)


_AUTHORITY_POLICY: Final = ExtensionPolicy.webpki_defaults_ca().require_present(
    x509.BasicConstraints, Criticality.AGNOSTIC, _check_authority_key
)


def _diagnose(
    certificate: x509.Certificate,
    candidates: Sequence[x509.Certificate],
    trust: TrustStore,
    at: datetime,
    error: Exception,
) -> UntrustedCertificate:
    """Name the reason of a refusal: the first thing wrong on the way from the leaf up.

    The verifier has refused already; this only chooses the exception.
    """
    try:
        _check_critical(certificate)
        current = certificate
        for below in range(MAX_AUTHORITIES + 2):
            if below and trust.is_anchor(current):
                break
            parent = find_issuer(current, [*trust.anchors, *candidates])
            if parent is None:
                return UnknownIssuer(f"no trusted issuer for {trust.purpose}: {describe(current)}")
            require_authority(parent)
            check_key(parent)
            _check_time(parent, at)
            _check_critical(parent)
            _check_path_length(parent, below)
            current = parent
    except UntrustedCertificate as found:
        return found
    return BadPath(f"{describe(certificate)}: {error}")


def find_issuer(
    certificate: x509.Certificate, candidates: Sequence[x509.Certificate]
) -> x509.Certificate | None:
    """Return the first of the candidates whose key signed the certificate, None where there is none.

    A name is not enough: an authority that changed its key has several certificates of one name.
    """
    for candidate in candidates:
        if candidate.subject != certificate.issuer or candidate == certificate:
            continue
        try:
            certificate.verify_directly_issued_by(candidate)
        except (InvalidSignature, TypeError, ValueError, UnsupportedAlgorithm):
            continue
        return candidate
    return None


def _check_path_length(authority: x509.Certificate, below: int) -> None:
    constraints = authority.extensions.get_extension_for_class(x509.BasicConstraints).value
    if constraints.path_length is not None and below > constraints.path_length:
        raise BadPath(f"too many authorities below {describe(authority)}")


def _check_time(certificate: x509.Certificate, at: datetime) -> None:
    if at < certificate.not_valid_before_utc:
        raise NotYetValid(f"valid from {certificate.not_valid_before_utc}: {describe(certificate)}")
    if at > certificate.not_valid_after_utc:
        raise Expired(f"valid until {certificate.not_valid_after_utc}: {describe(certificate)}")


def _check_usage(certificate: x509.Certificate, usage: Usage, *, required: bool) -> None:
    """Refuse a certificate whose keyUsage lacks the bit for this use of this kind of key, or is absent."""
    try:
        bits = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        if not required:
            return
        raise WrongUsage(f"no keyUsage: {describe(certificate)}") from None
    is_rsa = isinstance(certificate.public_key(), rsa.RSAPublicKey)
    encrypts = bits.key_encipherment if is_rsa else bits.key_agreement
    allowed = {
        Usage.SIGNING: bits.digital_signature,
        Usage.ENCRYPTION: encrypts,
        Usage.TLS_SERVER: bits.digital_signature or encrypts,
        Usage.TLS_CLIENT: bits.digital_signature,
    }[usage]
    if not allowed:
        raise WrongUsage(f"keyUsage does not allow {usage}: {describe(certificate)}")


def _check_extended_usage(certificate: x509.Certificate, usage: Usage) -> None:
    try:
        purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    if not _EXTENDED_USAGES[usage] & frozenset(purposes):
        raise WrongPolicy(f"extendedKeyUsage excludes {usage}: {describe(certificate)}")


def _check_policies(certificate: x509.Certificate, policies: Collection[str]) -> None:
    if not policies:
        return
    present = certificate_policies(certificate)
    if not present:
        raise WrongPolicy(f"no certificate policy: {describe(certificate)}")
    if not set(present) & set(policies):
        raise WrongPolicy(f"no certificate policy on the list: {describe(certificate)}")


def _check_critical(certificate: x509.Certificate) -> None:
    for extension in certificate.extensions:
        if extension.critical and extension.oid not in _PROCESSED_EXTENSIONS:
            raise UnknownExtension(
                f"critical extension {extension.oid.dotted_string}: {describe(certificate)}"
            )
