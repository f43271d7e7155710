"""What to do with what revocation lists and OCSP responders say: the policy, and the evidence that it was followed.

`require` refuses when no fresh list covers a certificate; `prefer` refuses only what is known to be
revoked; `off` asks nothing and has to say why. A revoked certificate is refused under both policies that
ask, whenever the revocation is dated: a date in a list is the issuer's claim, its presence is the fact.

Spec: hostile.md 1.7 (KEY-04, KEY-05); reliability.md 6.5.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from cryptography import x509

from keys.certificate import describe
from keys.crl import CrlFacts, CrlStore
from keys.errors import RevocationUnknown, Revoked
from keys.ocsp import OcspFacts, OcspStore


class RevocationMode(StrEnum):
    """How much a revocation list is worth; the words of the configuration file."""

    REQUIRE = "require"
    PREFER = "prefer"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class RevocationPolicy:
    """How revocation is checked.

    Attributes:
        mode: require, prefer or off.
        why_off: one sentence; needed when, and only when, `mode` is off.
        grace: how long past its `nextUpdate` a list still counts as fresh. A bounded soft failure for
            the hours when an issuer is late; nothing by default.

    Raises:
        ValueError: off without a reason, a reason without off, or a negative grace.
    """

    mode: RevocationMode = RevocationMode.REQUIRE
    why_off: str | None = None
    grace: timedelta = timedelta(0)

    def __post_init__(self) -> None:
        if (self.mode is RevocationMode.OFF) != bool(self.why_off and self.why_off.strip()):
            raise ValueError("revocation checking that is off, and only that, needs a reason")
        if self.grace < timedelta(0):
            raise ValueError("grace is not negative")

    @property
    def for_strangers(self) -> "RevocationPolicy":
        """The same without leniency: an answer is required, and none counts past its end; what is off stays off."""
        return self if self.mode is RevocationMode.OFF else REQUIRE


REQUIRE = RevocationPolicy()
PREFER = RevocationPolicy(RevocationMode.PREFER)


class RevocationStatus(StrEnum):
    """What is known about one certificate of a path that was accepted."""

    GOOD = "good"
    UNKNOWN = "unknown"
    NOT_CHECKED = "not-checked"


@dataclass(frozen=True, slots=True)
class RevocationEvidence:
    """Why one certificate of the path counts as not revoked.

    Attributes:
        subject: the certificate's subject.
        serial: its serial number.
        status: good, unknown (policy prefers only) or not checked (policy off).
        this_update: of the list that answered; None when none did.
        valid_until: when the answer has to be asked for again (nextUpdate plus grace); None when it never has.
        why: a sentence.
    """

    subject: str
    serial: int
    status: RevocationStatus
    this_update: datetime | None
    valid_until: datetime | None
    why: str


def check_revocation(
    path: Sequence[x509.Certificate],
    *,
    policy: RevocationPolicy,
    crls: CrlStore | None,
    at: datetime,
    ocsp: OcspStore | None = None,
) -> tuple[RevocationEvidence, ...]:
    """Ask about every certificate of a path but the anchor.

    Args:
        path: leaf first, anchor last.
        policy: what to do with the answers.
        crls: the lists at hand; None counts as none.
        ocsp: the answers of responders at hand. Either source may say that a certificate is revoked; the
            fresher one says that it is good.
        at: the time now, aware.

    Raises:
        Revoked: a list names one of the certificates.
        RevocationUnknown: the policy requires an answer and there is no fresh one.
    """
    pairs = itertools.pairwise(path)
    return tuple(
        _check(certificate, issuer, policy, crls, ocsp, at) for certificate, issuer in pairs
    )


def check_revocation_of_pinned(
    certificate: x509.Certificate, *, policy: RevocationPolicy
) -> tuple[RevocationEvidence, ...]:
    """Say that a certificate without any authority above it is revoked by removing its pin.

    There is nobody who could publish a list, so the policy cannot ask for one.
    """
    reason = policy.why_off or "trusted by its pin alone; revoked by removing the pin"
    return (_evidence(certificate, RevocationStatus.NOT_CHECKED, reason),)


def _check(
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    policy: RevocationPolicy,
    crls: CrlStore | None,
    ocsp: OcspStore | None,
    at: datetime,
) -> RevocationEvidence:
    if policy.mode is RevocationMode.OFF:
        return _evidence(certificate, RevocationStatus.NOT_CHECKED, policy.why_off or "")
    facts = _asked(certificate, issuer, crls, ocsp)
    if facts is None:
        missing = f"no revocation list of the issuer is at hand: {describe(certificate)}"
        if policy.mode is RevocationMode.REQUIRE:
            raise RevocationUnknown(missing)
        return _evidence(certificate, RevocationStatus.UNKNOWN, missing)
    valid_until = facts.next_update + policy.grace
    if at > valid_until:
        stale = (
            f"the issuer's {_named(facts)} ran out at {facts.next_update}: {describe(certificate)}"
        )
        if policy.mode is RevocationMode.REQUIRE:
            raise RevocationUnknown(stale)
        return _evidence(certificate, RevocationStatus.UNKNOWN, stale, facts.this_update)
    why = (
        f"not on the list of {facts.this_update} with {facts.entries} entries"
        if isinstance(facts, CrlFacts)
        else f"the responder said good at {facts.this_update}"
    )
    return _evidence(certificate, RevocationStatus.GOOD, why, facts.this_update, valid_until)


def _asked(
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    crls: CrlStore | None,
    ocsp: OcspStore | None,
) -> CrlFacts | OcspFacts | None:
    """What is known that ends last, or None when nobody speaks for the certificate; raises Revoked."""
    known: list[CrlFacts | OcspFacts] = []
    for answer in (
        crls.ask(certificate, issuer) if crls else None,
        ocsp.ask(certificate, issuer) if ocsp else None,
    ):
        if answer is not None and answer.revoked_at is not None:
            raise Revoked(f"revoked at {answer.revoked_at}: {describe(certificate)}")
        if answer is not None and answer.facts is not None:
            known.append(answer.facts)
    return max(known, key=lambda facts: facts.next_update, default=None)


def _named(facts: CrlFacts | OcspFacts) -> str:
    return "revocation list" if isinstance(facts, CrlFacts) else "OCSP answer"


def _evidence(
    certificate: x509.Certificate,
    status: RevocationStatus,
    why: str,
    this_update: datetime | None = None,
    valid_until: datetime | None = None,
) -> RevocationEvidence:
    return RevocationEvidence(
        certificate.subject.rfc4514_string(),
        certificate.serial_number,
        status,
        this_update,
        valid_until,
        why,
    )
