"""States, leases and histories: I1, I8, I11 and I14.

What a message is, its row says; how it became so, its history; who has it in hand, its lease. The three must tell
one story, and a stopped node's story must go on at its next start.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

import envelope.receiving
import envelope.sending
from accesspoint.clock import from_microseconds
from accesspoint.store.database import Row
from accesspoint.store.outcomes import outcome_id
from accesspoint.verification.evidence import Evidence, Tally

LATEST_RECLAIM: Final = timedelta(minutes=2)
"""How long after its end a running node has taken up every lease that ran out."""
_ENDED_BADLY: Final = frozenset({"REFUSED", "UNCERTAIN", "EXPIRED", "REJECTED", "FAILED"})
_HELD_UNDER_LEASE: Final = frozenset({"SENDING", "DELIVERING"})
_LEASED: Final[Mapping[str, frozenset[str]]] = {
    "out": frozenset({"ACCEPTED", "RESOLVED", "READY", "SENDING", "RETRY_WAIT", "UNCERTAIN"}),
    "in": frozenset({"RECEIVED", "DELIVERING", "DELIVERY_WAIT"}),
}
"""Where somebody may have a message in hand."""
_FIRST: Final = {"out": str(envelope.sending.FIRST), "in": str(envelope.receiving.FIRST)}
_STEPS: Final = frozenset(
    ("out", str(here), str(there))
    for here, followers in envelope.sending.TRANSITIONS.items()
    for there in followers
) | frozenset(
    ("in", str(here), str(there))
    for here, followers in envelope.receiving.TRANSITIONS.items()
    for there in followers
)


async def check_submissions(evidence: Evidence, tally: Tally) -> None:
    """I1: nothing that was accepted is without a next station, and no bad end is without its reason."""
    async for row in evidence.rows(
        "SELECT id, message_id, state, problem FROM messages WHERE direction = 'out' AND id > $1 ORDER BY id LIMIT $2"
    ):
        tally.count()
        if row["state"] in _ENDED_BADLY and not row["problem"]:
            tally.find("end-without-reason", message=row["id"], message_id=row["message_id"])
    await _check_outcomes(evidence, tally)
    tally.count(
        await evidence.number("SELECT COUNT(*) FROM documents WHERE direction = 'out'")
        + await evidence.number("SELECT COUNT(*) FROM envelopes WHERE direction = 'out'")
    )
    async for row in evidence.rows(
        "SELECT id, message_identifier FROM documents AS d WHERE direction = 'out' AND payload IS NOT NULL AND id > $1"
        " AND NOT EXISTS (SELECT 1 FROM envelopes AS e WHERE e.direction = 'out'"
        " AND e.message_identifier = d.message_identifier)"
        " AND NOT EXISTS (SELECT 1 FROM handovers AS h WHERE h.target = 'down' AND h.kind = 'document'"
        " AND h.message_identifier = d.message_identifier) ORDER BY id LIMIT $2"
    ):
        tally.find(
            "submission-lost", document=row["id"], message_identifier=row["message_identifier"]
        )
    async for row in evidence.rows(
        "SELECT envelope_id AS id, message_identifier FROM envelopes AS e WHERE direction = 'out' AND envelope_id > $1"
        " AND NOT EXISTS (SELECT 1 FROM messages AS m WHERE m.direction = 'out'"
        " AND m.message_identifier = e.message_identifier AND m.envelope_id = e.envelope_id)"
        " AND NOT EXISTS (SELECT 1 FROM handovers AS h WHERE h.target = 'down' AND h.kind = 'envelope'"
        " AND h.message_identifier = e.message_identifier) ORDER BY envelope_id LIMIT $2"
    ):
        tally.find(
            "envelope-lost", envelope=row["id"], message_identifier=row["message_identifier"]
        )


async def _check_outcomes(evidence: Evidence, tally: Tally) -> None:
    """An end that C1 can be told about is owed to it, or was told."""
    ends = ", ".join(f"'{state}'" for state in sorted(envelope.sending.OUTCOMES))
    async for page in evidence.pages(
        f"SELECT id, message_id, state FROM messages WHERE direction = 'out' AND state IN ({ends})"  # noqa: S608 (states of ours)
        " AND standard <> 'ehmisbdh-acknowledgement' AND unasked = 0 AND id > $1 ORDER BY id LIMIT $2"
    ):
        owed = {outcome_id(row["id"], envelope.sending.State(row["state"])): row for row in page}
        known = await evidence.fetch_in("SELECT id FROM handovers WHERE id", list(owed))
        for missing in owed.keys() - {row["id"] for row in known}:
            row = owed[missing]
            tally.find(
                "outcome-missing", message=row["id"], message_id=row["message_id"], outcome=missing
            )


async def check_leases(evidence: Evidence, tally: Tally) -> None:
    """I8: who is held has an owner, an owner has an end, and a running node lets no lease run out."""
    async for row in evidence.rows(
        "SELECT m.id, m.direction, m.state, m.message_id, m.lease_owner, m.lease_until"
        " FROM messages AS m WHERE m.id > $1 AND (m.lease_owner IS NOT NULL"
        " OR m.lease_until IS NOT NULL OR m.state IN ('SENDING', 'DELIVERING')) ORDER BY m.id LIMIT $2"
    ):
        ids = {"message": row["id"], "message_id": row["message_id"], "state": row["state"]}
        held = row["state"] in _HELD_UNDER_LEASE
        _check_lease(evidence, tally, row, ids, held=held)
    async for row in evidence.rows(
        "SELECT id, target, lease_owner, lease_until FROM handovers WHERE state = 'waiting' AND id > $1"
        " AND (lease_owner IS NOT NULL OR lease_until IS NOT NULL) ORDER BY id LIMIT $2"
    ):
        ids = {"handover": row["id"], "target": row["target"]}
        _check_lease(evidence, tally, row, ids, held=False)
    if not evidence.setting.running:
        tally.note("no node runs, so leases wait for its start and are not held against the clock")


def _check_lease(
    evidence: Evidence, tally: Tally, row: Row, ids: Mapping[str, str], *, held: bool
) -> None:
    tally.count()
    owner, until = row["lease_owner"], row["lease_until"]
    if owner is None and (held or until is not None):
        tally.find("lease-without-owner", **ids)
        return
    if until is None:
        tally.find("lease-without-end", **ids)
        return
    if not evidence.setting.running:
        return
    left = timedelta(microseconds=int(until) - evidence.now)
    ends = from_microseconds(int(until)).isoformat()
    if left < -LATEST_RECLAIM:
        tally.find("lease-ran-out", **ids, lease_until=ends)
    elif left > evidence.setting.lease + LATEST_RECLAIM:
        tally.find("lease-too-long", **ids, lease_until=ends)


async def check_history(evidence: Evidence, tally: Tally) -> None:
    """I11: from its first line, along the table, the history of a message ends where the message is."""
    stored = {
        (row["direction"], row["from_state"], row["to_state"])
        for row in await evidence.tx.fetch("SELECT * FROM transitions")
    }
    for direction, here, there in stored ^ _STEPS:
        tally.find("table-differs", direction=direction, step=f"{here} to {there}")
    async for page in evidence.pages(
        "SELECT id, direction, state, message_id FROM messages WHERE id > $1 ORDER BY id LIMIT $2"
    ):
        lines: dict[str, list[Row]] = {row["id"]: [] for row in page}
        for line in await evidence.tx.fetch(
            "SELECT message, from_state, to_state FROM history WHERE message >= $1 AND message <= $2 ORDER BY message, seq",
            page[0]["id"], page[-1]["id"],
        ):  # fmt: skip
            if line["message"] in lines:
                lines[line["message"]].append(line)
        for row in page:
            tally.count()
            _replay(tally, row, lines[row["id"]])


def _replay(tally: Tally, row: Row, lines: list[Row]) -> None:
    ids = {"message": row["id"], "message_id": row["message_id"], "state": row["state"]}
    direction, here = row["direction"], None
    if not lines and row["state"] == "PURGED":
        return
    for line in lines:
        there = line["to_state"]
        allowed = there == _FIRST[direction] if here is None else (direction, here, there) in _STEPS
        if line["from_state"] != here or not allowed:
            tally.find("history-breaks", **ids, step=f"{line['from_state']} to {there}")
            return
        here = there
    if here != row["state"]:
        tally.find("history-ends-elsewhere", **ids, history=here or "empty")


async def check_recovery(evidence: Evidence, tally: Tally) -> None:
    """I14: a start finds only what a start takes up, so a second one finds nothing."""
    async for row in evidence.rows(
        "SELECT id, direction, state, message_id FROM messages WHERE id > $1"
        " AND (lease_owner IS NOT NULL OR lease_until IS NOT NULL) ORDER BY id LIMIT $2"
    ):
        tally.count()
        if row["state"] not in _LEASED[row["direction"]]:
            tally.find(
                "lease-left", message=row["id"], message_id=row["message_id"], state=row["state"]
            )
    async for row in evidence.rows(
        "SELECT id, state FROM handovers WHERE state <> 'waiting' AND id > $1"
        " AND (lease_owner IS NOT NULL OR lease_until IS NOT NULL) ORDER BY id LIMIT $2"
    ):
        tally.count()
        tally.find("lease-left", handover=row["id"], state=row["state"])
    if evidence.setting.running:
        tally.note("a node runs: what it holds is its own")
        return
    died = await evidence.number("SELECT COUNT(*) FROM nodes")
    held = 0
    for table in ("messages", "handovers"):
        async for row in evidence.rows(
            f"SELECT id FROM {table} WHERE lease_owner IS NOT NULL AND id > $1 ORDER BY id LIMIT $2"  # noqa: S608 (names of ours)
        ):
            held += 1
            if not died:
                tally.find("lease-after-stop", **{table: row["id"]})
    stopped = f"{died} nodes did not stop in order" if died else "every node has stopped in order"
    tally.note(f"{stopped}; a start would take up {held} rows")
