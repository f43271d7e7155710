"""Signatures: those of senders and of receipts are verified again, offline, from what is stored. I3, I4 and I5.

Nothing that was found before is believed: the stored receipt is parsed, its signature, digests and coverage are
checked as when it came, and it is held against the references that were stored when the message was signed. The
certificate inside must be the one whose fingerprint was stored, and good at the time of the receipt. That of a
receipt is the one that was looked up for the receiver, or one that its issuer gave the same subject. Whether its
authority was trusted then was decided then; lists and anchors of today say nothing about that day.

Spec: AS4 Profile 1.0 section 5.1.8; decision D8.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509

from accesspoint.clock import from_microseconds
from accesspoint.store.database import Row
from accesspoint.store.evidence import content_digest, references_from_json, signed_digest
from accesspoint.verification.evidence import Evidence, Tally, name_message
from envelope.errors import CertificateRefused, EnvelopeError, FailedAuthentication
from envelope.messaging import PartyId
from envelope.pmode import Generation, SecurityPolicy
from envelope.receipts import match_receipt
from envelope.security_header import claimed_algorithm
from envelope.security_token import TokenReference
from envelope.signals import SignalMessage
from envelope.soap import parse_soap
from envelope.verified import (
    AuthenticatedSignal,
    ParsedSignal,
    SignatureRecord,
    SignedReference,
)
from envelope.wsse import authenticate_signal
from envelope.xml import scan
from envelope.xmldsig import verify_record
from keys.certificate import (
    agrees_only,
    fingerprint,
    is_renewal,
    load_certificate,
    subject_facts,
)
from keys.errors import KeysError
from keys.reference import find_certificate


@dataclass(frozen=True, slots=True)
class AsStored:
    """The certificate check of stored evidence: this fingerprint and no other, in its time; a `CertificateCheck`.

    `known` is the certificate that is expected, for receipts that only name it.
    """

    signer: str
    at: int
    known: x509.Certificate | None

    def find(self, reference: TokenReference) -> x509.Certificate | None:
        """The expected certificate, when the reference names it."""
        return None if self.known is None else find_certificate(reference, [self.known])

    def check(
        self,
        certificate: x509.Certificate,
        chain: Sequence[x509.Certificate],
        *,
        party: PartyId | None,
    ) -> str:
        """Hold the certificate against what is stored; raises `CertificateRefused`."""
        if fingerprint(certificate) != self.signer:
            raise CertificateRefused("not the signer that was stored", reason="cert.party")
        if self.known is not None and not _expected(self.known, certificate):
            raise CertificateRefused(
                "not of the receiver whose certificate was looked up", reason="cert.party"
            )
        at = from_microseconds(self.at)
        if not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
            raise CertificateRefused("not valid at the time of the receipt", reason="cert.time")
        return self.signer


def _expected(known: x509.Certificate, certificate: x509.Certificate) -> bool:
    """Whether a signer is the one whom we encrypted for; who agrees on keys signs with another certificate."""
    if agrees_only(known):
        return subject_facts(known).common_name == subject_facts(certificate).common_name
    return known == certificate or is_renewal(known, certificate)


def _policy(evidence: Evidence, party: str, algorithm: str | None) -> SecurityPolicy:
    """The policy of the generation that was signed in: what is agreed now may be another one."""
    mode = evidence.setting.agreements.mode_for(party)
    return mode.knowing(tuple(Generation)).spoken_by(algorithm).policy


async def check_senders(evidence: Evidence, tally: Tally) -> None:
    """I3: what was received, and so what is delivered, was signed by its sender over the digests that are stored."""
    before = 0
    async for row in evidence.rows(
        "SELECT m.id, m.message_id, m.party, s.message, s.signer, s.algorithm, s.signed_info, s.value, s.at,"
        " c.certificate, d.content_digest, d.signed_digest FROM messages AS m"
        " LEFT JOIN signatures AS s ON s.message = m.id LEFT JOIN signers AS c ON c.fingerprint = s.signer"
        " LEFT JOIN duplicates AS d ON d.party = m.party AND d.message_id = m.message_id"
        " WHERE m.direction = 'in' AND m.id > $1 ORDER BY m.id LIMIT $2"
    ):
        tally.count()
        ids = name_message(row)
        if row["message"] is None:
            tally.find("signature-missing", **ids)
        elif row["signer"] is None:
            before += 1
        else:
            _verify_sender(evidence, tally, row, ids)
    if before:
        tally.note(f"{before} came before signatures were kept: verified then, not again now")


def _verify_sender(evidence: Evidence, tally: Tally, row: Row, ids: dict[str, str]) -> None:
    record = SignatureRecord(row["algorithm"], bytes(row["signed_info"]), bytes(row["value"]))
    policy = _policy(evidence, row["party"], record.algorithm)
    try:
        certificate = load_certificate(bytes(row["certificate"]))
        AsStored(row["signer"], int(row["at"]), None).check(certificate, (), party=None)
        references = verify_record(record, certificate, policy)
    except CertificateRefused as refused:
        tally.find("signature-signer", **ids, signer=row["signer"], reason=refused.reason)
    except (EnvelopeError, KeysError) as error:
        reason = getattr(error, "reason", type(error).__name__)
        tally.find("signature-invalid", **ids, reason=reason)
    else:
        if _differ(references, row):
            tally.find("signature-digest", **ids)


async def check_receipts(evidence: Evidence, tally: Tally) -> None:
    """I4: what is acknowledged has a receipt by the expected signer over every digest that we signed."""
    renewed = 0
    async for row in evidence.rows(
        "SELECT m.id, m.message_id FROM messages AS m WHERE m.direction = 'out' AND m.id > $1"
        " AND EXISTS (SELECT 1 FROM history AS h WHERE h.message = m.id AND h.to_state = 'ACKNOWLEDGED')"
        " AND NOT EXISTS (SELECT 1 FROM receipts AS r WHERE r.message = m.id) ORDER BY m.id LIMIT $2"
    ):
        tally.find("receipt-missing", message=row["id"], message_id=row["message_id"])
    async for row in evidence.rows(
        "SELECT r.message AS id, r.body, r.signer, r.at, m.message_id, m.party, w.certificate, w.signed_references"
        " FROM receipts AS r JOIN messages AS m ON m.id = r.message LEFT JOIN wires AS w ON w.message = r.message"
        " WHERE m.direction = 'out' AND r.message > $1 ORDER BY r.message LIMIT $2"
    ):
        tally.count()
        ids = name_message(row)
        if row["signed_references"] is None:
            tally.find("signed-references-missing", **ids)
            continue
        known = load_certificate(bytes(row["certificate"]))
        expected = references_from_json(row["signed_references"])
        found = _verify(evidence, tally, row, ids, known=known, expected=expected)
        if found is not None and found[0] != known and not agrees_only(known):
            renewed += 1
    if renewed:
        tally.note(f"{renewed} signed with a renewed certificate of the same holder")


async def check_own_receipts(evidence: Evidence, tally: Tally) -> None:
    """I5: what we acknowledged is stored, and what we signed are the digests of what is stored."""
    async for row in evidence.rows(
        "SELECT m.id, m.message_id FROM messages AS m WHERE m.direction = 'in' AND m.id > $1"
        " AND NOT EXISTS (SELECT 1 FROM receipts AS r WHERE r.message = m.id) ORDER BY m.id LIMIT $2"
    ):
        tally.find("own-receipt-missing", message=row["id"], message_id=row["message_id"])
    async for row in evidence.rows(
        "SELECT r.message AS id, r.body, r.signer, r.at, m.direction, m.message_id, m.party, d.content_digest,"
        " d.signed_digest FROM receipts AS r LEFT JOIN messages AS m ON m.id = r.message"
        " LEFT JOIN duplicates AS d ON d.party = m.party AND d.message_id = m.message_id"
        " WHERE COALESCE(m.direction, 'in') = 'in' AND r.message > $1 ORDER BY r.message LIMIT $2"
    ):
        tally.count()
        ids = name_message(row)
        if row["direction"] is None:
            tally.find("own-receipt-alone", **ids)
            continue
        found = _verify(evidence, tally, row, ids, known=None, expected=None)
        if found is None:
            continue
        signer, references = found
        name = subject_facts(signer).common_name
        if evidence.setting.party not in (None, name):
            tally.find("own-receipt-signer", **ids, signer=row["signer"])
        if _differ(references, row):
            tally.find("own-receipt-digest", **ids)


def _differ(references: Sequence[SignedReference], row: Row) -> bool:
    """Whether the duplicate key holds other digests; that there is one at all is another invariant's affair."""
    return row["signed_digest"] is not None and (
        content_digest(references) != row["content_digest"]
        or signed_digest(references) != row["signed_digest"]
    )


def _verify(
    evidence: Evidence,
    tally: Tally,
    row: Row,
    ids: dict[str, str],
    *,
    known: x509.Certificate | None,
    expected: Sequence[SignedReference] | None,
) -> tuple[x509.Certificate, tuple[SignedReference, ...]] | None:
    """Verify a stored receipt; its signer and what it repeats, or None when a finding says why not."""
    own = "own-" if expected is None else ""
    try:
        authenticated = _authenticate(evidence, row, known)
        repeated = _repeated(authenticated.signal)
        match_receipt(authenticated, message_id=row["message_id"], expected=expected or repeated)
    except CertificateRefused as refused:
        tally.find(f"{own}receipt-signer", **ids, signer=row["signer"], reason=refused.reason)
    except FailedAuthentication as failed:
        tally.find(f"{own}receipt-signature", **ids, reason=failed.reason)
    except (EnvelopeError, KeysError) as error:
        reason = str(getattr(error, "reason", type(error).__name__))
        slug = "receipt-digest" if reason in _OTHER_REFERENCES else "receipt-invalid"
        tally.find(f"{own}{slug}", **ids, reason=reason)
    else:
        return authenticated.certificate, repeated
    return None


_OTHER_REFERENCES = frozenset({"rcp.digest", "rcp.missing", "rcp.extra"})


def _authenticate(
    evidence: Evidence, row: Row, known: x509.Certificate | None
) -> AuthenticatedSignal:
    document = parse_soap(scan(bytes(row["body"])))
    return authenticate_signal(
        ParsedSignal.read(document),
        policy=_policy(evidence, row["party"], claimed_algorithm(document)),
        check=AsStored(row["signer"], int(row["at"]), known),
        party=None,
    )


def _repeated(signal: SignalMessage) -> tuple[SignedReference, ...]:
    """What a receipt repeats, as values that digests are made over."""
    references = () if signal.receipt is None else signal.receipt.references
    return tuple(
        SignedReference(r.uri, r.digest_algorithm, r.digest_value, (), b"") for r in references
    )
