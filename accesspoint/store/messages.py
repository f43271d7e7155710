"""The `messages` table: AS4 exchanges in both directions, moved only along the state tables, each step appended to history.

A transition names the state it leaves; the update must touch exactly one row, so a second answer to the
same question changes nothing and is told so. Each claim of a row, and each lease taken away, counts its
`lease_epoch` up; a result is stored only under the owner and the epoch that the worker was given. So a worker
that slept past its lease changes nothing either, whoever has had the row since, its own process included.
All functions take the caller's transaction: what belongs together is committed together (reliability
section 2.2).
The database itself refuses a step that is not in the tables and a state without its line of history
(migration `transitions`).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeAlias

import envelope.receiving
import envelope.sending
from accesspoint.clock import from_microseconds, to_microseconds
from accesspoint.store.database import Row, Transaction
from accesspoint.store.outcomes import OUR_OWN, record_outcome

_ADVANCE: Final = {"out": envelope.sending.advance, "in": envelope.receiving.advance}
_STATE: Final = {"out": envelope.sending.State, "in": envelope.receiving.State}
_COLUMNS: Final = frozenset(
    {
        "party",
        "lane",
        "attempt",
        "arrival_possible",
        "next_at",
        "lease_owner",
        "lease_until",
        "problem",
        "payload",
    }
)


_Step: TypeAlias = tuple[str, str | None, str, int, str | None]
"""One line of history: message, state before, state after, time in microseconds, and note."""


class StateMoved(Exception):
    """Somebody else moved this message meanwhile: the caller's result must not be stored."""


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message as it enters the table; `facts` is JSON text for delivery events; nobody outside submitted an `unasked` one."""

    id: str
    direction: str
    state: str
    message_id: str
    conversation_id: str
    party: str
    envelope_id: str
    message_identifier: str
    standard: str
    original_sender: str
    final_recipient: str
    document_id: str
    process_id: str
    facts: str
    payload: str | None
    payload_bytes: int
    payload_sha256: str
    lane: str = ""
    ref_to_message_id: str | None = None
    unasked: bool = False


async def insert_message(
    tx: Transaction, new: NewMessage, *, at: datetime, note: str | None = None
) -> None:
    """Store a new message in its first state, with the first line of its history."""
    stamp = to_microseconds(at)
    await tx.execute(
        "INSERT INTO messages (id, direction, state, message_id, conversation_id, party, envelope_id,"
        " message_identifier, standard, original_sender, final_recipient, document_id, process_id, facts, payload,"
        " payload_bytes, payload_sha256, lane, next_at, created_at, updated_at, ref_to_message_id, unasked)"
        " VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19,$20,$21,$22,$23)",
        new.id, new.direction, new.state, new.message_id, new.conversation_id, new.party, new.envelope_id,
        new.message_identifier, new.standard, new.original_sender, new.final_recipient, new.document_id,
        new.process_id, tx.sealed("facts", new.id, new.facts), new.payload, new.payload_bytes, new.payload_sha256, new.lane, stamp, stamp, stamp,
        new.ref_to_message_id, int(new.unasked),
    )  # fmt: skip
    await _append_history(tx, [(new.id, None, new.state, stamp, note)])


async def advance(
    tx: Transaction,
    message: Row,
    states: str | Sequence[str],
    *,
    at: datetime,
    fenced: bool = False,
    note: str | None = None,
    detail: str = "",
    columns: Mapping[str, str | int | None] | None = None,
) -> None:
    """Move a message through one state or several in one commit; an end is owed to its submitter by the same commit.

    `message` needs `id`, `direction` and `state`; `fenced` demands that the row is still held by whom
    `message["lease_owner"]` says, nobody included, and was not claimed again since (`lease_epoch`). `detail` tells the
    submitter more of an end, without personal data.
    Raises `LocalProtocolError` for a step that the table does not know, `StateMoved` when the row is no
    longer where the caller saw it.
    """
    direction, current = str(message["direction"]), str(message["state"])
    path = [states] if isinstance(states, str) else list(states)
    changes: dict[str, str | int | None] = {
        "lease_owner": None,
        "lease_until": None,
        **(columns or {}),
    }
    if not _COLUMNS.issuperset(changes):
        raise ValueError(f"unknown columns: {sorted(set(changes) - _COLUMNS)}")
    stamp = to_microseconds(at)
    held_by = [message["lease_owner"], message["lease_epoch"]] if fenced else []
    here = _STATE[direction](current)
    more: list[_Step] = []
    for number, step in enumerate(path):
        there = _ADVANCE[direction](here, _STATE[direction](step))  # type: ignore[operator]
        if number == 0:
            # History comes first, since the database takes a state only from it; so it is fenced as the state is.
            fence = (
                " AND lease_owner IS NOT DISTINCT FROM $6 AND lease_epoch = $7" if fenced else ""
            )
            appended = await tx.execute(
                "INSERT INTO history (message, from_state, to_state, at, note)"  # noqa: S608
                " SELECT id, state, $1, CAST($2 AS BIGINT), $3 FROM messages"
                f" WHERE id = $4 AND state = $5{fence} {tx.for_update}",
                str(there), stamp, note, message["id"], current, *held_by,
            )  # fmt: skip
            if appended != 1:
                raise _moved(message)
        else:
            more.append((message["id"], str(here), str(there), stamp, note))
        here = there
    if more:
        await _append_history(tx, more)
    names = list(changes)
    sets = ", ".join(f"{name} = ${index}" for index, name in enumerate(names, start=3))
    bound = len(names) + 3
    fence = (
        f" AND lease_owner IS NOT DISTINCT FROM ${bound + 2} AND lease_epoch = ${bound + 3}"
        if fenced
        else ""
    )
    touched = await tx.execute(
        f"UPDATE messages SET state = $1, updated_at = $2, {sets} WHERE id = ${bound} AND state = ${bound + 1}{fence}",  # noqa: S608
        str(here), stamp, *changes.values(), message["id"], current, *held_by,
    )  # fmt: skip
    if touched != 1:
        raise _moved(message)
    if path and here in envelope.sending.OUTCOMES and direction == "out":
        await _owe_outcome(tx, str(message["id"]), at=at, detail=detail)


async def _owe_outcome(tx: Transaction, id_: str, *, at: datetime, detail: str) -> None:
    """Let the submitter be told how a message ended; what nobody outside submitted counts as told."""
    message = await find_message(tx, id_)
    if message is None:
        return
    end = envelope.sending.State(message["state"])
    if message["standard"] == OUR_OWN or message["unasked"]:
        if end is not envelope.sending.State.UNCERTAIN:
            await advance(tx, message, envelope.sending.State.NOTIFIED, at=at, note="our own")
    else:
        await record_outcome(tx, message, end, at=at, detail=detail)


def _moved(message: Row) -> StateMoved:
    return StateMoved(f"message {message['id']} is no longer in {message['state']}")


async def claim_due(
    tx: Transaction,
    *,
    direction: str,
    states: Iterable[str],
    now: datetime,
    limit: int,
    owner: str,
    lease: timedelta,
    lane: str | None = None,
) -> list[Row]:
    """Lease up to `limit` due messages to `owner`: rows whose time has come and that nobody holds; of one lane or all.

    What is claimed stands in a CTE that is evaluated once: the planner may run a plain sub-select again for
    each row, and lock more than `limit`.
    """
    stamp = to_microseconds(now)
    return await tx.fetch(
        "WITH due AS MATERIALIZED ("  # noqa: S608
        f"SELECT id FROM messages WHERE {_waiting(direction, states)} AND next_at <= $3"
        f" AND (lease_until IS NULL OR lease_until <= $3){_in_lane(lane, 5)} ORDER BY next_at LIMIT $4"
        f" {tx.skip_locked})"
        " UPDATE messages SET lease_owner = $1, lease_until = $2, lease_epoch = lease_epoch + 1"
        " WHERE id IN (SELECT id FROM due) RETURNING *",
        owner, to_microseconds(now + lease), stamp, limit, *([] if lane is None else [lane]),
    )  # fmt: skip


async def find_due(
    tx: Transaction,
    *,
    direction: str,
    states: Iterable[str],
    now: datetime,
    limit: int,
    busy: Collection[str] = (),
    lane: str | None = None,
) -> list[Row]:
    """Up to `limit` due messages that nobody holds and that are not `busy`, without leasing them; of one lane or all.

    For a store that one process owns: nobody competes for the row, so having it in hand needs no commit.
    """
    of_lane = [] if lane is None else [lane]
    return await tx.fetch(
        f"SELECT * FROM messages WHERE {_waiting(direction, states)} AND next_at <= $1"  # noqa: S608
        f" AND (lease_until IS NULL OR lease_until <= $1){_in_lane(lane, 3)}"
        f"{_not_in(busy, first=3 + len(of_lane))} ORDER BY next_at LIMIT $2",
        to_microseconds(now), limit, *of_lane, *busy,
    )  # fmt: skip


async def next_due_at(
    tx: Transaction, *, direction: str, states: Iterable[str], busy: Collection[str] = ()
) -> datetime | None:
    """When the next waiting message that is not `busy` falls due, or None when none waits."""
    row = await tx.fetch_one(
        "SELECT MIN(CASE WHEN lease_until IS NOT NULL AND lease_until > next_at THEN lease_until ELSE next_at END) AS due"  # noqa: S608
        f" FROM messages WHERE {_waiting(direction, states)}{_not_in(busy, first=1)}",
        *busy,
    )  # fmt: skip
    return None if row is None or row["due"] is None else from_microseconds(int(row["due"]))


async def release_leases(tx: Transaction, *, at: datetime, sole_node: bool, owner: str = "") -> int:
    """Give back what a stopped process held, so that others resume it; answers how many were under way.

    With one process per store every lease found at start is a dead one. With several nodes those whose time is
    over are, and those of `owner`, the caller who is about to stop. Nodes that do this at the same moment
    share the rows out: what one has locked the others skip.
    """
    stamp = to_microseconds(at)
    condition = (
        "lease_owner IS NOT NULL" if sole_node else "(lease_until <= $1 OR lease_owner = $2)"
    )
    arguments: tuple[str | int, ...] = () if sole_node else (stamp, owner)
    rows = await tx.fetch(
        f"SELECT * FROM messages WHERE {condition} ORDER BY id {tx.skip_locked}",  # noqa: S608
        *arguments,
    )
    under_way = [row for row in rows if row["state"] in {"SENDING", "DELIVERING"}]
    for row in under_way:
        if row["direction"] == "out":
            # The request may have reached the peer: the retry carries the same MessageId, the peer dedupes.
            state, more = str(envelope.sending.State.RETRY_WAIT), {"arrival_possible": 1}
        else:
            state, more = str(envelope.receiving.State.DELIVERY_WAIT), {}
        await advance(tx, row, state, at=at, note="restart", columns={"next_at": stamp, **more})
    for row in rows:
        await tx.execute(
            "UPDATE messages SET lease_owner = NULL, lease_until = NULL, lease_epoch = lease_epoch + 1 WHERE id = $1",
            row["id"],
        )
    return len(under_way)


async def find_request(
    tx: Transaction, message_identifier: str, *, sender: str, receiver: str
) -> Row | None:
    """The message that was received from `sender` for `receiver` under this MESSAGEIDENTIFIER, the newest; None for none.

    It is what an answer from `receiver` to `sender` belongs to; `message_id` and `conversation_id` of it are given.
    """
    return await tx.fetch_one(
        "SELECT message_id, conversation_id FROM messages WHERE message_identifier = $1 AND direction = 'in'"
        " AND original_sender = $2 AND final_recipient = $3 ORDER BY created_at DESC, id DESC LIMIT 1",
        message_identifier, sender, receiver,
    )  # fmt: skip


async def find_message(tx: Transaction, id: str) -> Row | None:  # noqa: A002
    """The message with this id of ours, or None."""
    return await tx.fetch_one("SELECT * FROM messages WHERE id = $1", id)


async def find_sent(tx: Transaction, *, party: str, message_id: str) -> Row | None:
    """The message that we sent to this access point under this MessageId, or None."""
    return await tx.fetch_one(
        "SELECT * FROM messages WHERE direction = 'out' AND party = $1 AND message_id = $2",
        party,
        message_id,
    )


async def list_history(tx: Transaction, id: str) -> list[Row]:  # noqa: A002
    """Every transition of one message, oldest first."""
    return await tx.fetch("SELECT * FROM history WHERE message = $1 ORDER BY seq", id)


def _waiting(direction: str, states: Iterable[str]) -> str:
    """The condition of the partial index for these states, written out as the index has it."""
    listed = ", ".join(f"'{_STATE[direction](state)}'" for state in states)
    return f"direction = '{direction}' AND state IN ({listed})"


def _in_lane(lane: str | None, number: int) -> str:
    return "" if lane is None else f" AND lane = ${number}"


def _not_in(ids: Collection[str], *, first: int) -> str:
    """A condition that leaves these ids out, its first parameter numbered `first`."""
    numbers = ", ".join(f"${first + index}" for index in range(len(ids)))
    return f" AND id NOT IN ({numbers})" if ids else ""


async def _append_history(tx: Transaction, steps: Sequence[_Step]) -> None:
    """Append steps in their order, in one statement."""
    firsts = range(1, 5 * len(steps), 5)
    lines = ", ".join(f"(${n}, ${n + 1}, ${n + 2}, ${n + 3}, ${n + 4})" for n in firsts)
    await tx.execute(
        f"INSERT INTO history (message, from_state, to_state, at, note) VALUES {lines}",  # noqa: S608 (numbers)
        *(value for step in steps for value in step),
    )
