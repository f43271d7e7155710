"""What becomes true in the commit that a hand-over is confirmed in, whoever confirms it and however.

A hand-over that somebody has taken for good is done once; who says so again changes nothing. With it go, in
the same commit: the delivery event that was owed, the time of delivery for what the backend has, NOTIFIED for
a message whose outcome its submitter now knows, and the line in the journal.
"""

from datetime import datetime
from typing import Final

import orjson

import envelope.sending
from accesspoint.clock import to_microseconds
from accesspoint.stations.document import Stored
from accesspoint.stations.link import BACKEND, Handover, is_backend
from accesspoint.stations.reporting import Act, Reporter, facts_from_json, station_of
from accesspoint.store.columns import fault_of
from accesspoint.store.database import Row, Transaction
from accesspoint.store.messages import advance
from accesspoint.store.outcomes import KIND as OUTCOME

SHARING: Final = "sharing"
"""The target of what waits to be copied to the document register."""
_DONE: Final = (
    "UPDATE handovers SET state = 'done', done_at = $1, problem = NULL, lease_owner = NULL, lease_until = NULL"
    " WHERE id = $2 AND state = 'waiting'"
)
_SET_ASIDE: Final = (
    "UPDATE handovers SET state = 'set-aside', problem = $1, lease_owner = NULL, lease_until = NULL"
    " WHERE id = $2 AND state = 'waiting' AND lease_owner = $3 AND lease_epoch = $4"
)


async def settle(tx: Transaction, handover: Handover, *, reporter: Reporter, at: datetime) -> bool:
    """Mark a hand-over done, with all that follows from it; False when it was done before.

    Whoever holds the lease by now: the target has it, and one who brings it again changes nothing.
    """
    if await tx.execute(_DONE, to_microseconds(at), handover.id) != 1:
        return False
    if handover.kind == OUTCOME:
        await _notify(tx, handover, at=at)
        return True
    if handover.target == SHARING:
        # The copy has told of itself, in the commit that made it.
        return True
    to_backend = is_backend(handover.target)
    if not to_backend or handover.target == BACKEND or await _is_last(tx, handover):
        facts = facts_from_json(handover.facts)
        await reporter.report(tx, Act(handover.act), facts)
        if to_backend:
            await tx.execute(
                "UPDATE documents SET delivered_at = $1 WHERE direction = 'in' AND message_identifier = $2"
                " AND sender = $3 AND receiver = $4",
                to_microseconds(at), handover.message_identifier, facts.sender_gln, facts.receiver_gln,
            )  # fmt: skip
    await note(tx, handover, "delivered" if to_backend else "handed-over", reporter=reporter)
    return True


async def set_aside(
    tx: Transaction, row: Row, *, problem: str, why: str, reporter: Reporter
) -> None:
    """Keep a hand-over for a person, and bring it to nobody; `row` is as it was leased, and changes only by that lease."""
    held_by = row["lease_owner"], row["lease_epoch"]
    if await tx.execute(_SET_ASIDE, problem, row["id"], *held_by) == 1:
        await note_row(tx, row, "set-aside", reporter=reporter, problem=problem, why=why)


async def _is_last(tx: Transaction, handover: Handover) -> bool:
    """Whether every other system of the same address has this message: with the last one its journey ends.

    Two that are confirmed at the same moment meet at the row of the document, and one of them comes after the other.
    """
    await tx.fetch(
        f"SELECT id FROM documents WHERE direction = 'in' AND message_identifier = $1 {tx.for_update}",  # noqa: S608
        handover.message_identifier,
    )
    others = await tx.fetch_one(
        "SELECT id FROM handovers WHERE message_identifier = $1 AND payload = $2 AND state <> 'done'"
        " AND target LIKE 'backend%' AND id <> $3 LIMIT 1",
        handover.message_identifier, handover.stored.payload, handover.id,
    )  # fmt: skip
    return others is None


async def note(
    tx: Transaction,
    handover: Handover,
    event: str,
    *,
    reporter: Reporter,
    problem: str | None = None,
    why: str = "",
) -> None:
    """Append what happened to a hand-over to the journal."""
    if handover.kind == OUTCOME:
        station, subject = "AP", handover.message_identifier
        standard = orjson.loads(handover.item)["standard"]
    else:
        facts = facts_from_json(handover.facts)
        station, standard = station_of(Act(handover.act)), facts.standard
        subject = facts.orig_message_identifier or handover.message_identifier
    await reporter.note(
        tx,
        event,
        station=station,
        message_identifier=handover.message_identifier,
        subject=subject,
        standard=standard,
        problem=problem,
        detail=_detail(handover.target, why),
    )


async def note_row(
    tx: Transaction, row: Row, event: str, *, reporter: Reporter, problem: str, why: str
) -> None:
    """The same of a row of the table, which may be one that does not open: then less is told, and it is told."""
    if fault_of(row) is None:
        await note(tx, handover_of(row), event, reporter=reporter, problem=problem, why=why)
        return
    await reporter.note(
        tx,
        event,
        station="AP" if row["kind"] == OUTCOME else station_of(Act(row["act"])),
        message_identifier=row["message_identifier"],
        subject=row["message_identifier"],
        standard="",
        problem=problem,
        detail=_detail(row["target"], why),
    )


def _detail(target: str, why: str) -> dict[str, object]:
    return {"target": target, **({"attempt_why": why} if why else {})}


async def _notify(tx: Transaction, handover: Handover, *, at: datetime) -> None:
    """Make a message NOTIFIED, unless it has come to another end since, which is told by itself."""
    outcome = orjson.loads(handover.item)
    message = await tx.fetch_one(
        f"SELECT * FROM messages WHERE id = $1 {tx.for_update}",  # noqa: S608
        outcome["exchange"],
    )
    if message is not None and message["state"] == outcome["state"]:
        await advance(tx, message, envelope.sending.State.NOTIFIED, at=at, note=handover.id)


def handover_of(row: Row) -> Handover:
    """The hand-over that a row of the table is."""
    return Handover(
        id=row["id"], target=row["target"], kind=row["kind"], message_identifier=row["message_identifier"],
        item=row["item"], act=row["act"], facts=row["facts"], media_type=row["media_type"],
        stored=Stored(row["payload"] or "", int(row["payload_bytes"]), row["payload_sha256"]),
    )  # fmt: skip
