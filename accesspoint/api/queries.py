"""What the interface tells about a message: read from the tables in one consistent view, as plain values.

No payload and no patient appears here: identifiers, states, times, digests and problems only.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from accesspoint.clock import from_microseconds
from accesspoint.store.audit import Line
from accesspoint.store.database import Row, Transaction
from envelope.sending import OUTCOMES, State

Json = dict[str, Any]
_WAITING: Final = frozenset({State.ACCEPTED, State.RETRY_WAIT})


def time_text(stored: int | None) -> str | None:
    """A stored time as RFC 3339 text, UTC."""
    return (
        None
        if stored is None
        else from_microseconds(int(stored))
        .isoformat(timespec="microseconds")
        .replace("+00:00", "Z")
    )


async def list_journal(tx: Transaction, *, after: int, limit: int) -> list[Json]:
    """Journal entries after a position, oldest first."""
    rows = await tx.fetch(
        "SELECT * FROM journal WHERE seq > $1 ORDER BY seq LIMIT $2", after, limit
    )
    return [journal_entry(row) for row in rows]


async def list_audit(tx: Transaction, *, after: int, limit: int) -> list[Json]:
    """Lines of the audit log after a number, oldest first, as they are exported."""
    rows = await tx.fetch("SELECT * FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2", after, limit)
    return [asdict(Line.from_row(row)) for row in rows]


async def find_position(tx: Transaction, *, last: int) -> int:
    """The position that has at most `last` entries behind it: 0 is the end of the journal."""
    row = await tx.fetch_one("SELECT COALESCE(MAX(seq), 0) AS seq FROM journal")
    end = 0 if row is None else int(row["seq"])
    return max(0, end - last)


def journal_entry(row: Row) -> Json:
    """One journal entry: when, which station, what, about which message."""
    detail = row["detail"]
    return {
        "seq": row["seq"],
        "at": time_text(row["at"]),
        "node": row["node"],
        "station": row["station"],
        "event": row["event"],
        "message_identifier": row["message_identifier"],
        "subject": row["subject"],
        "standard": row["standard"],
        "problem": row["problem"],
        "detail": json.loads(detail) if detail.startswith("{") else detail,
    }


async def describe_message(
    tx: Transaction, message_identifier: str, *, acts_for: Callable[[str], bool] = lambda gln: True
) -> Json | None:
    """Everything known of one MedCom message or acknowledgement, or None when it was never here.

    What no organisation that the asker acts for sent or received is as if it were not here.
    """
    documents = await tx.fetch(
        "SELECT * FROM documents WHERE message_identifier = $1", message_identifier
    )
    envelopes = await tx.fetch(
        "SELECT * FROM envelopes WHERE message_identifier = $1 ORDER BY created_at",
        message_identifier,
    )
    exchanges = await tx.fetch(
        "SELECT * FROM messages WHERE message_identifier = $1 ORDER BY created_at",
        message_identifier,
    )
    documents = _between(documents, acts_for, "sender", "receiver")
    envelopes = _between(envelopes, acts_for, "sender", "receiver")
    exchanges = _between(exchanges, acts_for, "original_sender", "final_recipient")
    if not (documents or envelopes or exchanges):
        return None
    return {
        "message_identifier": message_identifier,
        "documents": [_document(row) for row in documents],
        "envelopes": [_envelope(row) for row in envelopes],
        "exchanges": [await describe_exchange(tx, row) for row in exchanges],
        "events": await _events(tx, message_identifier),
    }


def _between(rows: Sequence[Row], acts_for: Callable[[str], bool], *parties: str) -> list[Row]:
    return [row for row in rows if any(acts_for(str(row[name])) for name in parties)]


def _document(row: Row) -> Json:
    picked = _pick(row, "direction", "event_code", "sender", "receiver", "media_type", "payload_bytes", "payload_sha256",
                   "acknowledgement")  # fmt: skip
    return picked | {
        "created_at": time_text(row["created_at"]),
        "delivered_at": time_text(row["delivered_at"]),
        "acknowledged_at": time_text(row["acknowledged_at"]),
    }


def _envelope(row: Row) -> Json:
    picked = _pick(
        row, "direction", "envelope_id", "standard", "sender", "receiver", "acknowledgement"
    )
    return picked | {
        "due_at": time_text(row["due_at"]),
        "acknowledged_at": time_text(row["acknowledged_at"]),
    }


async def describe_exchange(tx: Transaction, row: Row) -> Json:
    """One AS4 exchange: where it stands, its receipt, and every step."""
    history = await tx.fetch("SELECT * FROM history WHERE message = $1 ORDER BY seq", row["id"])
    receipt = await tx.fetch_one("SELECT signer, at FROM receipts WHERE message = $1", row["id"])
    picked = _pick(row, "id", "direction", "state", "message_id", "message_identifier", "conversation_id", "ref_to_message_id", "party",
                   "envelope_id", "standard", "original_sender", "final_recipient", "payload_bytes", "payload_sha256",
                   "attempt", "problem")  # fmt: skip
    return picked | {
        "waiting": await _waiting(tx, row),
        "receipt": None
        if receipt is None
        else {"signer": receipt["signer"], "at": time_text(receipt["at"])},
        "outcome": next(
            (step["to_state"] for step in reversed(history) if step["to_state"] in OUTCOMES), None
        ),
        "history": [
            {
                "from": step["from_state"],
                "to": step["to_state"],
                "at": time_text(step["at"]),
                "note": step["note"],
            }
            for step in history
        ],
    }


async def _waiting(tx: Transaction, row: Row) -> Json | None:
    """Why a message that we owe is not through yet, when it is tried next, and until when; None where it waits for nothing.

    The time of the next attempt is in its row, where a person may have changed it, the rest in the journal.
    """
    if row["direction"] != "out" or row["state"] not in _WAITING or not row["problem"]:
        return None
    noted = await tx.fetch(
        "SELECT detail FROM journal WHERE message_identifier = $1 AND event = 'waiting' ORDER BY seq DESC LIMIT 20",
        row["message_identifier"],
    )
    details = [json.loads(one["detail"]) for one in noted if one["detail"].startswith("{")]
    last: Json = next((one for one in details if one.get("message") == row["id"]), {})
    return {
        "next_at": time_text(row["next_at"]),
        "until": last.get("until", "").replace("+00:00", "Z") or None,
        "why": last.get("why"),
    }


async def _events(tx: Transaction, message_identifier: str) -> list[Json]:
    rows = await tx.fetch(
        "SELECT station, subtype, state, attempts, problem, detail FROM outbox WHERE aggregate = $1 ORDER BY seq",
        message_identifier,
    )
    return [dict(row) for row in rows]


def _pick(row: Mapping[str, Any], *names: str) -> Json:
    return {name: row[name] for name in names}
