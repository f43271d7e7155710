"""The database holds every writer to the state tables: its table is theirs, and each pair of states is tried on it."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum

import pytest

import envelope.receiving
import envelope.sending
from accesspoint.store.database import (
    Database,
    IntegrityKind,
    IntegrityViolation,
    Transaction,
)
from accesspoint.store.messages import NewMessage, find_message, insert_message, list_history

AT = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
TABLES: Mapping[str, Mapping[StrEnum, frozenset[StrEnum]]] = {
    "out": envelope.sending.TRANSITIONS,  # type: ignore[dict-item]
    "in": envelope.receiving.TRANSITIONS,  # type: ignore[dict-item]
}
STATES: Mapping[str, list[StrEnum]] = {
    "out": list(envelope.sending.State),
    "in": list(envelope.receiving.State),
}
FIRST = {"out": envelope.sending.FIRST, "in": envelope.receiving.FIRST}
NEW = NewMessage(
    id="M1", direction="out", state="ACCEPTED", message_id="1@a.example", conversation_id="c", party="",
    envelope_id="e", message_identifier="m", standard="s", original_sender="0088:1", final_recipient="0088:2",
    document_id="d", process_id="p", facts="{}", payload=None, payload_bytes=0, payload_sha256="00",
)  # fmt: skip


def walk_to(direction: str, state: StrEnum) -> list[StrEnum]:
    """The shortest walk from the first state, which it leaves out."""
    walks: list[list[StrEnum]] = [[FIRST[direction]]]
    for walk in walks:
        if walk[-1] == state:
            return walk[1:]
        walks += [
            [*walk, to] for to in sorted(TABLES[direction].get(walk[-1], ())) if to not in walk
        ]
    raise AssertionError(f"{state} is not reached")


async def insert(database: Database, id_: str, direction: str, state: str) -> None:
    new = replace(NEW, id=id_, direction=direction, state=state, message_id=f"{id_}@a.example")
    await database.run(lambda tx: insert_message(tx, new, at=AT))


async def write_step(tx: Transaction, id_: str, from_state: str, to_state: str) -> None:
    await tx.execute(
        "INSERT INTO history (message, from_state, to_state, at) VALUES ($1, $2, $3, 0)",
        id_, from_state, to_state,
    )  # fmt: skip


async def set_state(tx: Transaction, id_: str, state: str) -> None:
    assert await tx.execute("UPDATE messages SET state = $1 WHERE id = $2", state, id_) == 1


async def place(database: Database, id_: str, direction: str, state: StrEnum) -> None:
    """A message that came to this state on a legal walk, in one commit and with one change of state."""
    await insert(database, id_, direction, FIRST[direction])

    async def work(tx: Transaction) -> None:
        here: StrEnum = FIRST[direction]
        for there in walk_to(direction, state):
            await write_step(tx, id_, here, there)
            here = there
        await set_state(tx, id_, here)

    await database.run(work)


async def refused(database: Database, rule: str, sql: str, *values: str | None) -> None:
    with pytest.raises(IntegrityViolation) as caught:
        await database.run(lambda tx: tx.execute(sql, *values))
    assert (caught.value.kind, caught.value.rule) == (IntegrityKind.CHECK, rule)


async def test_the_table_of_the_database_is_the_tables_of_the_protocol(packaged: Database) -> None:
    rows = await packaged.fetch("SELECT * FROM transitions")
    assert {(row["direction"], row["from_state"], row["to_state"]) for row in rows} == {
        (direction, str(state), str(to))
        for direction, table in TABLES.items()
        for state, following in table.items()
        for to in following
    }
    assert len(rows) == sum(len(row) for table in TABLES.values() for row in table.values())


@pytest.mark.parametrize("direction", ["out", "in"])
async def test_of_all_pairs_of_states_the_legal_ones_pass_and_no_other(
    packaged: Database, direction: str
) -> None:
    for here in STATES[direction]:
        legal = TABLES[direction].get(here, frozenset())
        for there in STATES[direction]:
            id_ = f"{here}-{there}"
            await place(packaged, id_, direction, here)
            if there is not here:
                # Without its line of history not even a legal step can be written.
                with pytest.raises(IntegrityViolation, match="messages_state"):
                    await packaged.run(lambda tx, id_=id_, to=there: set_state(tx, id_, to))

            async def step(
                tx: Transaction, id_: str = id_, here: str = here, to: str = there
            ) -> None:
                await write_step(tx, id_, here, to)
                await set_state(tx, id_, to)

            if there in legal:
                await packaged.run(step)
            else:
                with pytest.raises(IntegrityViolation, match="history_step"):
                    await packaged.run(step)
            row = await packaged.read(lambda tx, id_=id_: find_message(tx, id_))
            assert row is not None
            assert row["state"] == (there if there in legal else here)
            lines = await packaged.read(lambda tx, id_=id_: list_history(tx, id_))
            assert lines[-1]["to_state"] == row["state"]


async def test_a_line_goes_on_from_the_line_before_it(packaged: Database) -> None:
    await place(packaged, "M1", "out", envelope.sending.State.READY)
    step = "INSERT INTO history (message, from_state, to_state, at) VALUES ('M1', $1, $2, 0)"
    await refused(packaged, "history_step", step, "ACCEPTED", "RESOLVED")
    await refused(packaged, "history_step", step, None, "ACCEPTED")
    await refused(packaged, "history_step", step, "DELIVERED", "PURGED")
    assert len(await packaged.fetch("SELECT * FROM history")) == 3


@pytest.mark.parametrize("direction", ["out", "in"])
async def test_a_message_begins_in_the_first_state(packaged: Database, direction: str) -> None:
    for state in set(STATES[direction]) - {FIRST[direction]}:
        with pytest.raises(IntegrityViolation, match="messages_begin"):
            await insert(packaged, "M1", direction, state)
    await insert(packaged, "M1", direction, FIRST[direction])


async def test_history_is_neither_rewritten_nor_deleted_while_its_message_is_not_purged(
    packaged: Database,
) -> None:
    for state in envelope.sending.State:
        await place(packaged, state, "out", state)
        await refused(
            packaged, "history_written", "UPDATE history SET note = 'x' WHERE message = $1", state
        )
        delete = "DELETE FROM history WHERE message = $1"
        if state is envelope.sending.State.PURGED:
            assert await packaged.run(lambda tx: tx.execute(delete, "PURGED")) > 1  # noqa: B023
        else:
            await refused(packaged, "history_kept", delete, state)


async def test_a_message_with_history_cannot_be_deleted(packaged: Database) -> None:
    await insert(packaged, "M1", "out", "ACCEPTED")
    with pytest.raises(IntegrityViolation):
        await packaged.run(lambda tx: tx.execute("DELETE FROM messages"))
