"""Certificate revocation lists: checked once when they come in, then asked by serial number.

The lists are handed in by whoever fetches them, in the background and never while a message waits. A
list is taken only if an authority we already know signed it (PKCS #1 v1.5, PSS or ECDSA), it is complete
for its scope, it is fresh, and it is not older than the one we have: replaying last month's list would
un-revoke a certificate. A list outlives its `nextUpdate` in the store, so that policy can decide about
stale answers; what it names as revoked stays revoked.

Spec: RFC 5280 5, 6.3; hostile.md 1.7 (KEY-04, KEY-05); reliability.md 6.5.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, cast

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keys.certificate import check_key, is_authority
from keys.errors import CrlRefused, WeakKey

MAX_CRL_BYTES: Final = 32 * 1024 * 1024
CLOCK_SKEW: Final = timedelta(minutes=5)
"""How far a list's `thisUpdate` may lie ahead of our clock."""

_KNOWN_CRITICAL: Final = frozenset({x509.IssuingDistributionPoint.oid})

_Authority = tuple[bytes, bytes]
_Scope = tuple[frozenset[str], bool, bool]


@dataclass(frozen=True, slots=True)
class CrlFacts:
    """What a list in the store says about itself.

    `place` tells by 32 hexadecimal digits whose list it is and about what: a newer one takes the place of this one
    only where they are the same.
    """

    issuer: str
    number: int | None
    this_update: datetime
    next_update: datetime
    entries: int
    place: str


@dataclass(frozen=True, slots=True)
class CrlAnswer:
    """What the lists in the store say about one certificate.

    Attributes:
        revoked_at: the revocation time when a list names the certificate, else None.
        facts: the list that answered, else None: no list covers the certificate.
    """

    revoked_at: datetime | None
    facts: CrlFacts | None


@dataclass(frozen=True, slots=True)
class _Held:
    facts: CrlFacts
    octets: bytes = field(repr=False)
    revoked: dict[int, datetime]


class CrlStore:
    """The revocation lists at hand, of the authorities named at construction.

    Lists of an authority that is only met in a message's chain are not taken: configure it as an
    intermediate. `generation` counts accepted lists, so that cached decisions know when to ask again.
    One thread may add while others ask: what is held is replaced, never changed.
    """

    def __init__(self, authorities: Iterable[x509.Certificate]) -> None:
        self._authorities = tuple(authorities)
        self._held: dict[_Authority, dict[_Scope, _Held]] = {}
        self.generation = 0

    def add(self, der: bytes, *, at: datetime | None) -> CrlFacts:
        """Check a list (DER, or PEM) and take it in place of an older one of the same authority and scope.

        Args:
            der: the list as fetched.
            at: the time now, aware; None for a list that was taken before and kept, which may be stale.

        Raises:
            CrlRefused: crl.parse, crl.issuer, crl.signature, crl.delta, crl.scope, crl.extension,
                crl.future, crl.stale or crl.older.
        """
        crl = _load(der)
        authority = self._signer(crl)
        key, scope = _authority_key(authority), _scope(crl)
        facts = _facts(crl, _place(key, scope))
        if at is not None and facts.this_update > at + CLOCK_SKEW:
            raise CrlRefused(
                f"the list of {facts.issuer} is from the future: {facts.this_update}",
                reason="crl.future",
            )
        if at is not None and facts.next_update < at:
            raise CrlRefused(
                f"the list of {facts.issuer} ran out at {facts.next_update}", reason="crl.stale"
            )
        of_authority = self._held.get(key, {})
        held = of_authority.get(scope)
        if held is not None:
            if held.facts == facts:
                return facts
            if _older(facts, held.facts):
                raise CrlRefused(
                    f"the list of {facts.issuer} from {facts.this_update} is older than the one at hand",
                    reason="crl.older",
                )
        taken = _Held(
            facts,
            crl.public_bytes(Encoding.DER),
            {entry.serial_number: entry.revocation_date_utc for entry in crl},
        )
        self._held = {**self._held, key: {**of_authority, scope: taken}}
        self.generation += 1
        return facts

    def ask(self, certificate: x509.Certificate, issuer: x509.Certificate) -> CrlAnswer:
        """Look a certificate up in the lists of its issuer; the freshest list that covers it answers.

        A list that names the certificate wins over one that does not, fresh or stale.
        """
        best: _Held | None = None
        for scope, held in self._held.get(_authority_key(issuer), {}).items():
            if not _covers(scope, certificate):
                continue
            if certificate.serial_number in held.revoked:
                return CrlAnswer(held.revoked[certificate.serial_number], held.facts)
            if best is None or held.facts.next_update > best.facts.next_update:
                best = held
        return CrlAnswer(None, best.facts if best else None)

    def lists_of(self, issuer: x509.Certificate) -> tuple[bytes, ...]:
        """The lists at hand of one authority (DER), to be kept as evidence of what was known."""
        return tuple(held.octets for held in self._held.get(_authority_key(issuer), {}).values())

    def facts(self) -> list[CrlFacts]:
        """List what is held, for people and gauges, ordered by issuer."""
        found = [held.facts for lists in self._held.values() for held in lists.values()]
        return sorted(found, key=lambda facts: (facts.issuer, facts.this_update))

    def _signer(self, crl: x509.CertificateRevocationList) -> x509.Certificate:
        named = [authority for authority in self._authorities if authority.subject == crl.issuer]
        if not named:
            raise CrlRefused("the list's issuer is no authority known here", reason="crl.issuer")
        for authority in named:
            if _may_sign_lists(authority) and _signed_by(crl, authority):
                return authority
        raise CrlRefused(
            f"no key of {crl.issuer.rfc4514_string()} made the list's signature",
            reason="crl.signature",
        )


def _load(data: bytes) -> x509.CertificateRevocationList:
    if len(data) > MAX_CRL_BYTES:
        raise CrlRefused(f"a revocation list of {len(data)} octets", reason="crl.parse")
    try:
        if data.lstrip()[:11] == b"-----BEGIN ":
            crl = x509.load_pem_x509_crl(data)
        else:
            crl = x509.load_der_x509_crl(data)
        _ = crl.issuer, crl.extensions, crl.signature_algorithm_parameters
    except (
        ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.InvalidVersion
    ) as error:  # fmt: skip
        raise CrlRefused("not a readable revocation list", reason="crl.parse") from error
    return crl


def _facts(crl: x509.CertificateRevocationList, place: str) -> CrlFacts:
    issuer = crl.issuer.rfc4514_string()
    next_update = crl.next_update_utc
    if next_update is None:
        raise CrlRefused(f"the list of {issuer} does not say when it runs out", reason="crl.stale")
    number: int | None = None
    for extension in crl.extensions:
        if isinstance(extension.value, x509.DeltaCRLIndicator):
            raise CrlRefused(f"the list of {issuer} is a delta list", reason="crl.delta")
        if isinstance(extension.value, x509.CRLNumber):
            number = extension.value.crl_number
        if extension.critical and extension.oid not in _KNOWN_CRITICAL:
            raise CrlRefused(
                f"the list of {issuer} has the unknown critical extension {extension.oid.dotted_string}",
                reason="crl.extension",
            )
    return CrlFacts(issuer, number, crl.last_update_utc, next_update, len(crl), place)


def _scope(crl: x509.CertificateRevocationList) -> _Scope:
    """Read which certificates the list speaks about: (distribution points, users only, authorities only)."""
    try:
        point = crl.extensions.get_extension_for_class(x509.IssuingDistributionPoint).value
    except x509.ExtensionNotFound:
        return frozenset(), False, False
    if (
        point.indirect_crl
        or point.only_some_reasons
        or point.only_contains_attribute_certs
        or point.relative_name
    ):
        raise CrlRefused(
            "the list is indirect, about some reasons only, or about attribute certificates",
            reason="crl.scope",
        )
    names = frozenset(
        name.value
        for name in point.full_name or ()
        if isinstance(name, x509.UniformResourceIdentifier)
    )
    if point.full_name and not names:
        raise CrlRefused("the list's distribution point has no address", reason="crl.scope")
    return names, point.only_contains_user_certs, point.only_contains_ca_certs


def _covers(scope: _Scope, certificate: x509.Certificate) -> bool:
    """Tell whether a list of this scope would name the certificate if it were revoked (RFC 5280 6.3.3 b)."""
    names, users_only, authorities_only = scope
    if (users_only and is_authority(certificate)) or (
        authorities_only and not is_authority(certificate)
    ):
        return False
    return not names or not names.isdisjoint(distribution_points(certificate))


def distribution_points(certificate: x509.Certificate) -> tuple[str, ...]:
    """Return the addresses where the issuer says its list is found, of whatever scheme, in its order."""
    try:
        points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(
        name.value
        for point in points
        for name in point.full_name or ()
        if isinstance(name, x509.UniformResourceIdentifier)
    )


def _signed_by(crl: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    try:
        check_key(authority)
        public_key = cast(CertificateIssuerPublicKeyTypes, authority.public_key())
        return crl.is_signature_valid(public_key)
    except (WeakKey, TypeError, ValueError, UnsupportedAlgorithm):
        return False


def _may_sign_lists(authority: x509.Certificate) -> bool:
    try:
        return authority.extensions.get_extension_for_class(x509.KeyUsage).value.crl_sign
    except x509.ExtensionNotFound:
        return False


def _authority_key(authority: x509.Certificate) -> _Authority:
    """Name and key together: two authorities of the same name never answer for each other."""
    spki = authority.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return authority.subject.public_bytes(), spki


def _place(authority: _Authority, scope: _Scope) -> str:
    """The same in every process, so that a file may be named by it."""
    names, users_only, authorities_only = scope
    told = repr((authority, sorted(names), users_only, authorities_only))
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def _older(new: CrlFacts, held: CrlFacts) -> bool:
    if new.this_update != held.this_update:
        return new.this_update < held.this_update
    return (new.number or 0) < (held.number or 0)
