"""The audit log: who looked at what and who did what, in lines that nobody can take out unseen.

A line is committed in the transaction of what it tells of, so neither is there without the other. It says when,
who, what was done, to which object, which person was looked for, and why; never what was seen. A person is a
digest under a key from outside the database: with the ten digits of a patient number and the key the lines about
one person are found, and without the key nobody finds out whom a line is about.

Each line holds the digest of the line before it, over all its fields: a line that was changed, moved, or taken
out breaks the chain behind it. What retention deletes is a line too, with the ids and digests of what went: the
proof that it is gone, and when. `audit_head` knows the last line, so that the end cannot be cut off, and the tables
themselves refuse an UPDATE, and a DELETE of what is not over. Whoever can rewrite the whole database can also
compute the chain anew; against that an export kept elsewhere is compared with it.

Lines are over after six months. They go oldest first, and a line says so before: up to which number, and the
digest of the last of them, which the first line that is left must name as the one before it.

Spec: decisions, row Retention; hostile LOG-07 and LOG-08.
"""

import hashlib
import hmac
import json
import re
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self

from accesspoint.clock import from_microseconds, to_microseconds
from accesspoint.log import scrub
from accesspoint.store.database import Row, StorageError, Transaction

FIRST: Final = "0" * 64
"""What the first line of all says is the digest before it."""
EXPIRED: Final = "audit.expired"
"""The action of a line that says which lines were over."""
DELETED: Final = "retention.deleted"
"""The action of a line that proves what retention let go of: by id and digest in its detail, never by content."""
OVER: Final = "seq < COALESCE((SELECT MIN(seq) FROM audit WHERE at > $1), 9223372036854775807)"
"""Which lines are over when those until the time $1 are: up to the first young one, so that a clock that was set back
leaves no gap and takes no young line along."""
_BATCH: Final = 500
_PERSON: Final = re.compile(r"[0-9a-f]{64}")

_NEXT: Final = "UPDATE audit_head SET seq = seq + 1 WHERE one = 1 RETURNING seq, digest"
_INSERT: Final = """
INSERT INTO audit (seq, at, actor, action, object, person, reason, detail, previous, digest)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""


class AuditBroken(StorageError):
    """The audit log is not what was written; the text says where."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line as it is exported; `at` has microseconds and an offset, `person` and both digests are hex."""

    seq: int
    at: str
    actor: str
    action: str
    object: str
    person: str | None
    reason: str | None
    detail: str | None
    previous: str
    digest: str

    @classmethod
    def from_row(cls, row: Row) -> Self:
        """The line that a row holds."""
        at = from_microseconds(row["at"]).isoformat(timespec="microseconds")
        return cls(**{**row, "at": at})

    def computed(self) -> str:
        """The digest that the fields give: SHA-256 of all but it as a JSON array in their order, without spaces."""
        fields = [
            self.seq, self.at, self.actor, self.action, self.object, self.person, self.reason, self.detail,
            self.previous,
        ]  # fmt: skip
        text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Verified:
    """What a whole chain told: its first and last number (0 and 0 for an empty one) and the digest of the last."""

    first: int
    last: int
    digest: str


async def record_audit(
    tx: Transaction,
    *,
    at: datetime,
    actor: str,
    action: str,
    object: str,  # noqa: A002 (the word of the agreement)
    person: str | None = None,
    reason: str | None = None,
    detail: str | None = None,
) -> int:
    """Write one line in this transaction; return its number.

    `actor` is the identity that was proved (`subject@issuer`, a certificate's name, or `system`), `action` a
    fixed dotted word of ours such as `payload.viewed`, `object` an id of ours such as a message's, `person` what
    `person_digest` returned. Texts are scrubbed: a patient number typed as a reason is not kept.

    Raises: ValueError when `person` is no digest.
    """
    if person is not None and not _PERSON.fullmatch(person):
        raise ValueError("a person is written down by digest only")
    head = await tx.fetch_one(_NEXT)
    if head is None:
        raise AuditBroken("the audit log has lost its head")
    line = Line(
        seq=head["seq"],
        at=from_microseconds(to_microseconds(at)).isoformat(timespec="microseconds"),
        actor=scrub(actor), action=action, object=scrub(object), person=person,
        reason=None if reason is None else scrub(reason), detail=detail, previous=head["digest"], digest="",
    )  # fmt: skip
    digest = line.computed()
    await tx.execute(
        _INSERT, line.seq, to_microseconds(at), line.actor, line.action, line.object, line.person,
        line.reason, line.detail, line.previous, digest,
    )  # fmt: skip
    await tx.execute("UPDATE audit_head SET digest = $1 WHERE one = 1", digest)
    return line.seq


def person_digest(key: bytes, number: str) -> str:
    """Return how a person is written down: HMAC-SHA-256 of the patient number without hyphen and spaces, in hex.

    Raises: ValueError for no number at all.
    """
    bare = re.sub(r"[-\s]", "", number).upper()
    if not bare:
        raise ValueError("there is no patient number")
    return hmac.digest(key, bare.encode(), "sha256").hex()


async def expire_audit(tx: Transaction, *, up_to: int, at: datetime) -> None:
    """Let go of the oldest lines, up to the one with this number, and say so in a new one.

    Raises: AuditBroken when there is no such line.
    """
    last = await tx.fetch_one("SELECT digest FROM audit WHERE seq = $1", up_to)
    if last is None:
        raise AuditBroken(_missing(up_to, up_to))
    await record_audit(
        tx, actor="system", action=EXPIRED, object=str(up_to), detail=last["digest"], at=at
    )
    await tx.execute("UPDATE audit_head SET expired = $1 WHERE one = 1", up_to)
    await tx.execute("DELETE FROM audit WHERE seq <= $1", up_to)


async def read_audit(
    tx: Transaction, *, since: datetime | None = None, until: datetime | None = None
) -> AsyncIterator[Line]:
    """Give out the lines in their order, those at or after `since` and before `until`."""
    earliest = -1 if since is None else to_microseconds(since)
    latest = 1 << 62 if until is None else to_microseconds(until)
    last = 0
    while True:
        rows = await tx.fetch(
            "SELECT * FROM audit WHERE seq > $1 AND at >= $2 AND at < $3 ORDER BY seq LIMIT $4",
            last, earliest, latest, _BATCH,
        )  # fmt: skip
        for row in rows:
            yield Line.from_row(row)
        if len(rows) < _BATCH:
            return
        last = rows[-1]["seq"]


async def verify_chain(lines: AsyncIterable[Line]) -> tuple[Verified, Line | None]:
    """Hold lines that follow each other to their chain; return what they span, and the newest expiry among them.

    The lines may begin anywhere, as those of an export do.

    Raises: AuditBroken with the number of the line that does not fit.
    """
    first: Line | None = None
    before: Line | None = None
    expiry: Line | None = None
    async for line in lines:
        if before is not None and line.seq != before.seq + 1:
            raise AuditBroken(_missing(before.seq + 1, line.seq - 1))
        if before is not None and line.previous != before.digest:
            raise AuditBroken(f"line {line.seq} does not follow line {before.seq} as written")
        if line.computed() != line.digest:
            raise AuditBroken(f"line {line.seq} was changed")
        first, before = first or line, line
        expiry = line if line.action == EXPIRED else expiry
    if first is None or before is None:
        return Verified(0, 0, FIRST), None
    return Verified(first.seq, before.seq, before.digest), expiry


async def verify_audit(tx: Transaction, exported: Iterable[Line] = ()) -> Verified:
    """Hold the whole log to its chain, its head and its expiries, and to lines exported from it earlier.

    Raises: AuditBroken.
    """
    earlier = {line.seq: line.digest for line in exported}
    head = await tx.fetch_one("SELECT seq, digest FROM audit_head")
    if head is None:
        raise AuditBroken("the audit log has lost its head")

    async def compared() -> AsyncIterator[Line]:
        async for line in read_audit(tx):
            if earlier.get(line.seq, line.digest) != line.digest:
                raise AuditBroken(f"line {line.seq} is not the one that was exported")
            yield line

    chain, expiry = await verify_chain(compared())
    if chain.last < head["seq"]:
        raise AuditBroken(_missing(chain.last + 1, head["seq"]))
    if earlier and chain.last < max(earlier):
        raise AuditBroken(_missing(chain.last + 1, max(earlier)))
    if chain.digest != head["digest"]:
        raise AuditBroken(f"line {chain.last} is not the last one that was written")
    if chain.last:
        await _check_beginning(tx, chain, expiry)
    return chain


async def _check_beginning(tx: Transaction, chain: Verified, expiry: Line | None) -> None:
    """What is missing in front must have been let go of, and a line must have said so."""
    over = int(expiry.object) if expiry is not None else 0
    if chain.first > over + 1:
        raise AuditBroken(_missing(over + 1, chain.first - 1))
    row = await tx.fetch_one("SELECT previous FROM audit WHERE seq = $1", over + 1)
    if row is not None and row["previous"] != (expiry.detail if expiry is not None else FIRST):
        raise AuditBroken(f"line {over + 1} does not follow the lines that were over")


def _missing(first: int, last: int) -> str:
    return f"line {first} is missing" if first == last else f"lines {first} to {last} are missing"
