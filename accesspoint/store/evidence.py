"""Tables that prove things: signed wire images, receipts, signatures of senders, duplicate keys and refusal records.

A receipt is stored as it was sent or received and replayed byte for byte; a duplicate key is
(authenticated sender, MessageId) with the digest of what was signed (decision D8).
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from accesspoint.clock import to_microseconds
from accesspoint.store.database import Row, Transaction
from envelope.verified import SignatureRecord, SignedReference


@dataclass(frozen=True, slots=True)
class Wire:
    """The signed image of an outbound message: SOAP part, ciphertext, and what the receipt must repeat.

    A small ciphertext is `part_octets`; a large one is the file `part` in the payload store.
    """

    url: str
    certificate: bytes
    signed_at: str
    soap: bytes
    part: str | None
    part_content_id: str | None
    part_bytes: int
    references: tuple[SignedReference, ...]
    part_octets: bytes | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """What is kept of a refused message: facts about it, nothing of it; `detail` is our own sentence, scrubbed."""

    gate: str
    reason: str
    code: str | None
    peer: str
    certificate: str | None
    input_sha256: str
    input_bytes: int
    detail: str | None = None


def content_digest(references: Sequence[SignedReference]) -> str:
    """One digest over the signed parts of a message.

    A partner that signs its retries anew gives the header new ids and so new digests; the parts stay the
    same. Only other parts make another message.
    """
    return _digest(sorted(r.digest_value for r in references if r.uri.startswith("cid:")))


def signed_digest(references: Sequence[SignedReference]) -> str:
    """One digest over everything that was signed: equal only for a repetition that our stored receipt answers."""
    return _digest([r.uri.encode() + b" " + r.digest_value for r in references])


def references_to_json(references: Sequence[SignedReference]) -> str:
    """The references of a signature as JSON text."""
    return json.dumps(
        [
            [r.uri, r.digest_algorithm, r.digest_value.hex(), list(r.transforms), r.xml.decode()]
            for r in references
        ]
    )


def references_from_json(text: str) -> tuple[SignedReference, ...]:
    """The references that `references_to_json` wrote."""
    return tuple(
        SignedReference(uri, algorithm, bytes.fromhex(value), tuple(transforms), xml.encode())
        for uri, algorithm, value, transforms, xml in json.loads(text)
    )


async def record_wire(tx: Transaction, message: str, wire: Wire) -> None:
    """Store the signed image of a message, in the place of an earlier one made for another certificate."""
    await tx.execute(
        "INSERT INTO wires (message, url, certificate, signed_at, soap, part, part_content_id, part_bytes,"
        " signed_references, part_octets) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10)"
        " ON CONFLICT (message) DO UPDATE SET url = excluded.url, certificate = excluded.certificate,"
        " signed_at = excluded.signed_at, soap = excluded.soap, part = excluded.part,"
        " part_content_id = excluded.part_content_id, part_bytes = excluded.part_bytes,"
        " signed_references = excluded.signed_references, part_octets = excluded.part_octets",
        message, wire.url, wire.certificate, wire.signed_at, wire.soap, wire.part, wire.part_content_id,
        wire.part_bytes, references_to_json(wire.references), wire.part_octets,
    )  # fmt: skip


async def find_wire(tx: Transaction, message: str) -> Wire | None:
    """The stored image of a message, or None when none was built yet."""
    row = await tx.fetch_one("SELECT * FROM wires WHERE message = $1", message)
    if row is None:
        return None
    octets = row["part_octets"]
    return Wire(
        url=row["url"], certificate=bytes(row["certificate"]), signed_at=row["signed_at"], soap=bytes(row["soap"]),
        part=row["part"], part_content_id=row["part_content_id"], part_bytes=int(row["part_bytes"]),
        references=references_from_json(row["signed_references"]),
        part_octets=None if octets is None else bytes(octets),
    )  # fmt: skip


async def record_receipt(
    tx: Transaction, message: str, body: bytes, *, signer: str, at: datetime
) -> None:
    """Store a receipt beside its message; `signer` is the certificate's SHA-256 fingerprint."""
    await tx.execute(
        "INSERT INTO receipts (message, body, signer, at) VALUES ($1,$2,$3,$4)",
        message,
        body,
        signer,
        to_microseconds(at),
    )


async def find_receipt(tx: Transaction, message: str) -> bytes | None:
    """The stored receipt of a message, byte for byte, or None."""
    row = await tx.fetch_one("SELECT body FROM receipts WHERE message = $1", message)
    return None if row is None else bytes(row["body"])


async def record_duplicate_key(
    tx: Transaction,
    *,
    party: str,
    message_id: str,
    references: Sequence[SignedReference],
    message: str,
    at: datetime,
) -> None:
    """Remember an accepted message for duplicate detection."""
    await tx.execute(
        "INSERT INTO duplicates (party, message_id, content_digest, signed_digest, message, at)"
        " VALUES ($1,$2,$3,$4,$5,$6)",
        party, message_id, content_digest(references), signed_digest(references), message, to_microseconds(at),
    )  # fmt: skip


async def record_signature(
    tx: Transaction,
    message: str,
    signature: SignatureRecord,
    *,
    certificate: bytes,
    at: datetime,
) -> None:
    """Keep what proves that the sender signed a received message: it verifies again without the message.

    `certificate` is the signer's, DER; each is stored once.
    """
    signer = hashlib.sha256(certificate).hexdigest()
    await tx.execute(
        "INSERT INTO signers (fingerprint, certificate) VALUES ($1, $2) ON CONFLICT (fingerprint) DO NOTHING",
        signer, certificate,
    )  # fmt: skip
    await tx.execute(
        "INSERT INTO signatures (message, signer, algorithm, signed_info, value, at) VALUES ($1,$2,$3,$4,$5,$6)",
        message, signer, signature.algorithm, signature.signed_info, signature.value, to_microseconds(at),
    )  # fmt: skip


async def find_duplicate(tx: Transaction, *, party: str, message_id: str) -> Row | None:
    """What is remembered of this sender's MessageId: digests and our message, or None."""
    return await tx.fetch_one(
        "SELECT content_digest, signed_digest, message FROM duplicates WHERE party = $1 AND message_id = $2",
        party,
        message_id,
    )


async def record_refusal(tx: Transaction, refusal: Refusal, *, at: datetime) -> None:
    """Store that something was refused, and why."""
    await tx.execute(
        "INSERT INTO refusals (at, gate, reason, code, peer, certificate, input_sha256, input_bytes, detail)"
        " VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9)",
        to_microseconds(at), refusal.gate, refusal.reason, refusal.code, refusal.peer, refusal.certificate,
        refusal.input_sha256, refusal.input_bytes, refusal.detail,
    )  # fmt: skip


def _digest(lines: Sequence[bytes]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(len(line).to_bytes(4, "big") + line)
    return digest.hexdigest()
