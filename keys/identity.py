"""Whose certificate it is: a trusted path proves that somebody is somebody, not that he is our partner.

OCES subjects carry free text in the common name (some access points write `0088:` and a GLN, some a nickname),
so the safe identities are the pinned fingerprint, which the SMP publishes, and the organisation identifier
or serial number that the authority vouches for. A `PartyIdentity` names what is expected of one ebMS
PartyId; everything it names has to agree. Comparison is octet for octet: no case folding, no Unicode
normalisation, so that look-alike characters stay different (hostile.md PTY-06).

Spec: ehmi.md 3.3, 3.6; hostile.md 1.7 (KEY-08, KEY-17, KEY-18), 1.8 (PTY-03, PTY-06).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cryptography import x509

from keys.certificate import SubjectFacts, describe, fingerprint, parse_fingerprint, subject_facts
from keys.errors import WrongSubject
from keys.name import parse_name, same_name

_PARTY_ID: Final = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)
_ORGANIZATION_IDENTIFIER: Final = re.compile(r"[A-Z]{3}[A-Z]{2}-[A-Z0-9]{1,20}", re.ASCII)


@dataclass(frozen=True, slots=True)
class PartyIdentity:
    """Which certificates may speak for one party.

    Attributes:
        party_id: the ebMS PartyId, visible ASCII.
        fingerprints: SHA-256 of the certificates of the party; more than one while it changes its key. Empty:
            any certificate that agrees with the other fields.
        organization_identifier: for example `NTRDK-12345678`.
        common_name: the subject's CN.
        serial_number: the subject's serialNumber, for example `UI:DK-O:G:<uuid>`.
        issuer: RFC 4514 name of the issuing authority: another authority of the same trust store then
            cannot issue the same subject (KEY-17).

    Raises:
        ValueError: nothing is named, or a field is malformed.
    """

    party_id: str
    fingerprints: frozenset[str] = frozenset()
    organization_identifier: str | None = None
    common_name: str | None = None
    serial_number: str | None = None
    issuer: str | None = None

    def __post_init__(self) -> None:
        if not _PARTY_ID.fullmatch(self.party_id):
            raise ValueError("a party id is visible ASCII of at most 255 characters")
        pins = frozenset(parse_fingerprint(pin) for pin in self.fingerprints)
        object.__setattr__(self, "fingerprints", pins)
        organization = self.organization_identifier
        if organization is not None and not _ORGANIZATION_IDENTIFIER.fullmatch(organization):
            raise ValueError("an organisation identifier looks like NTRDK-12345678")
        if self.issuer is not None:
            parse_name(self.issuer)
        if not (pins or organization or self.common_name or self.serial_number):
            raise ValueError("a party identity names a fingerprint or a field of the subject")

    @classmethod
    def of_certificates(
        cls, party_id: str, certificates: Iterable[x509.Certificate]
    ) -> "PartyIdentity":
        """Return the identity of a party that is known by its certificates."""
        return cls(
            party_id,
            fingerprints=frozenset(fingerprint(certificate) for certificate in certificates),
        )


@dataclass(frozen=True, slots=True)
class PartyEvidence:
    """That a certificate is the one expected of a party.

    Attributes:
        party_id: the party.
        fingerprint: SHA-256 of the certificate, 64 hexadecimal digits.
        facts: the subject's fields.
        agreed: the fields of the identity that were compared.
    """

    party_id: str
    fingerprint: str
    facts: SubjectFacts
    agreed: tuple[str, ...]


def check_party(certificate: x509.Certificate, expected: PartyIdentity) -> PartyEvidence:
    """Check that a certificate may speak for a party. Trust in the certificate is checked elsewhere.

    A subject field that occurs twice in the certificate agrees with nothing.

    Raises:
        WrongSubject: a field of the identity does not agree.
    """
    facts = subject_facts(certificate)
    present = fingerprint(certificate)
    agreed: list[str] = []
    if expected.fingerprints:
        _require(present in expected.fingerprints, "fingerprint", expected, certificate)
        agreed.append("fingerprint")
    for field in ("organization_identifier", "common_name", "serial_number"):
        wanted = getattr(expected, field)
        if wanted is not None:
            _require(getattr(facts, field) == wanted, field, expected, certificate)
            agreed.append(field)
    if expected.issuer is not None:
        _require(same_name(expected.issuer, certificate.issuer), "issuer", expected, certificate)
        agreed.append("issuer")
    return PartyEvidence(expected.party_id, present, facts, tuple(agreed))


def _require(
    agrees: bool, field: str, expected: PartyIdentity, certificate: x509.Certificate
) -> None:
    if not agrees:
        raise WrongSubject(
            f"not the {field} expected of {expected.party_id}: {describe(certificate)}"
        )
