"""Rows of the messages table for tests of the store: made, leased and looked at without the stations around them."""

from dataclasses import replace
from datetime import UTC, datetime

from accesspoint.clock import to_microseconds
from accesspoint.store.database import Database, Row
from accesspoint.store.messages import (
    NewMessage,
    advance,
    find_message,
    insert_message,
    list_history,
)

AT = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
NEW = NewMessage(
    id="M1",
    direction="out",
    state="ACCEPTED",
    message_id="1@a.example",
    conversation_id="c",
    party="",
    envelope_id="e",
    message_identifier="m",
    standard="s",
    original_sender="0088:1",
    final_recipient="0088:2",
    document_id="d",
    process_id="p",
    facts="{}",
    payload="0" * 32,
    payload_bytes=3,
    payload_sha256="00",
)


async def insert(database: Database, *ids: str, direction: str = "out") -> None:
    state = "ACCEPTED" if direction == "out" else "RECEIVED"
    for id_ in ids:
        new = replace(NEW, id=id_, direction=direction, state=state, message_id=f"{id_}@a.example")
        await database.run(lambda tx, new=new: insert_message(tx, new, at=AT, note="first"))


async def find(database: Database, id_: str = "M1") -> Row:
    row = await database.read(lambda tx: find_message(tx, id_))
    assert row is not None
    return row


async def steps(database: Database, id_: str = "M1") -> list[tuple[str | None, str, str | None]]:
    rows = await database.read(lambda tx: list_history(tx, id_))
    return [(row["from_state"], row["to_state"], row["note"]) for row in rows]


async def sending(database: Database, id_: str, owner: str, until: datetime) -> None:
    row = await find(database, id_)
    columns = {"lease_owner": owner, "lease_until": to_microseconds(until)}
    await database.run(
        lambda tx: advance(tx, row, ["RESOLVED", "READY", "SENDING"], at=AT, columns=columns)
    )
