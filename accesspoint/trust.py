"""Trust at work: joins the certificate rules of `keys` to what the AS4 gates of `envelope` ask for.

For a message the signing certificate must lead to an anchor, be good now, and belong to the party that
the header names: the configured certificate of a known partner, else a certificate whose common name is
the party id. A party that nothing in the configuration names is let in only where `unknown_senders` says so.
For a receipt it must be the very certificate that discovery gave for the receiver, or one that its issuer gave the
same subject, which is how a renewed one looks.
Revocation lists are fetched in the background; a request never waits for one.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

from cryptography import x509

from accesspoint.clock import Clock
from accesspoint.config_trust import TrustPurpose
from accesspoint.revocation import RevocationRefresher, recall_answer
from envelope.errors import CertificateRefused
from envelope.messaging import PartyId
from envelope.security_token import TokenReference
from keys.certificate import agrees_only, is_renewal, load_certificate, subject_facts
from keys.crl import CrlStore
from keys.errors import AmbiguousReference, KeysError
from keys.identity import PartyIdentity, check_party
from keys.ocsp import OcspStore
from keys.path import Usage, ValidatedCertificate, Validator, validate
from keys.reference import find_certificate
from keys.revocation import RevocationMode, RevocationPolicy
from keys.store import load_certificate_files
from keys.trust import Purpose, TrustStore

REVOCATION: Final = "revocation"
"""The directory below that of the store where fetched lists and answers are kept for the next start."""
_PARTY: Final = re.compile(r"[!-~]{1,255}", re.ASCII)
_UNASKED: Final = RevocationPolicy(RevocationMode.OFF, "evidence holds the lists themselves")


def common_name(certificate: x509.Certificate) -> str:
    """The subject's common name, by which access points name each other; raises `CertificateRefused` without one."""
    name = subject_facts(certificate).common_name
    if not name or not _PARTY.fullmatch(name):
        raise CertificateRefused(
            "the certificate's common name is no party id", reason="cert.party"
        )
    return name


class MessageTrust:
    """The certificate check of the AS4 gates; `partners` maps party ids to the certificates agreed with them."""

    def __init__(
        self,
        validator: Validator,
        *,
        clock: Clock,
        partners: Mapping[str, Sequence[x509.Certificate]],
        unknown_senders: bool = False,
    ) -> None:
        """A partner without certificates is known and has one of its name; `unknown_senders` lets others in."""
        self._validator = validator
        self._strict = validator.under(validator.revocation.for_strangers)
        self._clock = clock
        self._partners = partners
        self._unknown_senders = unknown_senders
        self.take_partners()

    def take_partners(self) -> None:
        """Take up the certificates agreed with partners; again whenever they have changed."""
        self._known = [one for several in self._partners.values() for one in several]
        self._identities: dict[str, PartyIdentity] = {}

    def is_of_same_holder(self, one: x509.Certificate, other: x509.Certificate) -> bool:
        """Whether two certificates are of one party while it changes its key: agreed both, or renewed by their issuer.

        A certificate of the same subject from another issuer says nothing (hostile KEY-17).
        """
        if is_renewal(one, other):
            return True
        return any(one in several and other in several for several in self._partners.values())

    def find(self, reference: TokenReference) -> x509.Certificate | None:
        """The partner certificate that a key identifier or issuer and serial number name, or None."""
        return find_named(reference, self._known)

    def check(
        self,
        certificate: x509.Certificate,
        chain: Sequence[x509.Certificate],
        *,
        party: PartyId | None,
    ) -> ValidatedCertificate:
        """Validate a signing certificate and hold it against the party; raises `CertificateRefused`."""
        return self.as_of(self._clock.now()).check(certificate, chain, party=party)

    def as_of(self, at: datetime) -> "DatedTrust":
        """The same check for one instant, whatever the clock does meanwhile."""
        return DatedTrust(self, at)

    def check_at(
        self,
        certificate: x509.Certificate,
        chain: Sequence[x509.Certificate],
        at: datetime,
        party: PartyId | None,
    ) -> ValidatedCertificate:
        """Validate a signing certificate as at `at` and hold it against the party; raises `CertificateRefused`.

        Leniency of the revocation policy is for those that we agreed with: strangers are held to fresh answers.
        """
        known = party is None or party.value in self._partners
        validator = self._validator if known else self._strict
        try:
            validated = validator.validate(certificate, chain, usage=Usage.SIGNING, at=at)
            if party is not None:
                check_party(certificate, self._identity_of(party))
                self._check_known(party)
        except (KeysError, ValueError) as error:
            reason = error.reason if isinstance(error, KeysError) else "cert.party"
            raise CertificateRefused(str(error), reason=reason) from error
        return validated

    def pinned(self, certificate: bytes) -> "PinnedTrust":
        """The check for a receipt of whom we encrypted for with this certificate (DER)."""
        return PinnedTrust(self, load_certificate(certificate))

    def require_party(self, certificate: x509.Certificate, party: str) -> None:
        """Hold a certificate against the party alone, trusted or not; raises `CertificateRefused`."""
        try:
            check_party(certificate, self._identity_of(PartyId(party, None)))
        except (KeysError, ValueError) as error:
            raise CertificateRefused(str(error), reason="cert.party") from error

    def validate_recipient(self, certificate: bytes) -> ValidatedCertificate:
        """Validate the certificate we are about to encrypt for; raises `CertificateRefused`."""
        try:
            return self._validator.validate(
                load_certificate(certificate), usage=Usage.ENCRYPTION, at=self._clock.now()
            )
        except KeysError as error:
            raise CertificateRefused(str(error), reason=error.reason) from error

    @property
    def authorities(self) -> tuple[x509.Certificate, ...]:
        """Anchors and intermediates, as configured."""
        return self._validator.trust.authorities

    def issuers(
        self, certificate: x509.Certificate, chain: Sequence[x509.Certificate], at: datetime
    ) -> tuple[x509.Certificate, ...]:
        """The authorities above a certificate as at `at`, the anchor last; what was sent with it where no path holds.

        For evidence, which is judged by whoever reads it: revocation is not asked.
        """
        try:
            found = validate(
                certificate,
                chain,
                trust=self._validator.trust,
                at=at,
                usage=Usage.SIGNING,
                revocation=_UNASKED,
            )
        except KeysError:
            return tuple(chain)
        return found.path[1:]

    def revocation_lists(self, issuer: x509.Certificate) -> tuple[bytes, ...]:
        """The revocation lists of an authority that are at hand, DER."""
        crls = self._validator.crls
        return () if crls is None else crls.lists_of(issuer)

    def _check_known(self, party: PartyId) -> None:
        """The dynamic receiver: a P-Mode whose initiator is open is an agreement with whoever passed everything else.

        Spec: eDelivery AS4 1.15, dynamic receiver.
        """
        if party.value not in self._partners and not self._unknown_senders:
            raise CertificateRefused("the sender is not configured here", reason="cert.unknown")

    def _identity_of(self, party: PartyId) -> PartyIdentity:
        identity = self._identities.get(party.value)
        if identity is None:
            agreed = self._partners.get(party.value)
            if not agreed:
                return PartyIdentity(party.value, common_name=party.value)
            identity = PartyIdentity.of_certificates(party.value, agreed)
            # Those of partners only, of whom there is a number: strangers choose their names themselves.
            self._identities[party.value] = identity
        return identity


class DatedTrust:
    """The certificate check of the AS4 gates at one instant."""

    def __init__(self, trust: MessageTrust, at: datetime) -> None:
        self._trust = trust
        self._at = at

    def find(self, reference: TokenReference) -> x509.Certificate | None:
        """As `MessageTrust.find`."""
        return self._trust.find(reference)

    def check(
        self,
        certificate: x509.Certificate,
        chain: Sequence[x509.Certificate],
        *,
        party: PartyId | None,
    ) -> ValidatedCertificate:
        """As `MessageTrust.check`, at this instant."""
        return self._trust.check_at(certificate, chain, self._at, party)


def find_named(
    reference: TokenReference, known: Sequence[x509.Certificate]
) -> x509.Certificate | None:
    """The one known certificate that a reference names, or None; raises `CertificateRefused` when it names several."""
    try:
        return find_certificate(reference, known)
    except AmbiguousReference as error:
        raise CertificateRefused(error.detail, reason="key.ambiguous") from error


class PinnedTrust:
    """Accepts one certificate only, and that only while it is good; while its holder changes its key, the other one too.

    Directory and holder do not change at one moment, and a stored receipt stays signed with the key of its day.

    A certificate for key agreement signs nothing: then what is accepted is a signing certificate of the same party,
    the configured one where the party is configured. A directory of version 1.0 names no other.
    """

    def __init__(self, trust: MessageTrust, expected: x509.Certificate) -> None:
        self._trust = trust
        self._expected = expected

    def find(self, reference: TokenReference) -> x509.Certificate | None:
        """The expected certificate, when the reference names it."""
        if agrees_only(self._expected):
            return self._trust.find(reference)
        return find_certificate(reference, [self._expected])

    def require(self, certificate: x509.Certificate) -> None:
        """Refuse every certificate but the expected one; raises `CertificateRefused`."""
        if agrees_only(self._expected):
            self._trust.require_party(certificate, common_name(self._expected))
        elif certificate != self._expected and not self._trust.is_of_same_holder(
            certificate, self._expected
        ):
            raise CertificateRefused(
                "not the certificate that discovery gave for the receiver", reason="cert.party"
            )

    def check(
        self,
        certificate: x509.Certificate,
        chain: Sequence[x509.Certificate],
        *,
        party: PartyId | None,
    ) -> ValidatedCertificate:
        """Refuse every certificate but the expected one, good now; raises `CertificateRefused`."""
        self.require(certificate)
        return self._trust.check(certificate, chain, party=None)


def open_validator(
    purpose: Purpose,
    settings: TrustPurpose | None,
    *,
    clock: Clock,
    cache: Path | None = None,
    keep: bool = True,
) -> tuple[Validator, RevocationRefresher | None]:
    """The certificate rules for one purpose, and what keeps its revocation lists fresh where there are any.

    `cache` is a directory where what is fetched is kept for the next start; without `keep` it is only read.
    Raises: KeysError for a certificate that cannot be read, or is no authority.
    """
    if settings is None:
        return Validator(TrustStore(purpose)), None
    trust = TrustStore(
        purpose,
        load_certificate_files(settings.anchors),
        load_certificate_files(settings.intermediates),
    )
    crls = CrlStore(trust.authorities)
    answers = OcspStore(recall=None if cache is None else partial(recall_answer, cache))
    policy = RevocationPolicy(
        settings.revocation, settings.revocation_reason, settings.revocation_grace
    )
    refresher = None
    if settings.crl_urls or settings.ocsp_urls or settings.revocation_files:
        refresher = RevocationRefresher(
            crls, settings.crl_urls, clock=clock, answers=answers, responders=settings.ocsp_urls,
            files=settings.revocation_files, networks=settings.revocation_networks, cache=cache,
            keep=keep,
        )  # fmt: skip
        refresher.recall()
    asked = answers if settings.ocsp_urls or settings.revocation_files else None
    validator = Validator(
        trust, revocation=policy, crls=crls, ocsp=asked, policies=settings.policies
    )
    return validator, refresher
