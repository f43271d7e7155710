"""The messages table on both databases: only legal steps, fenced by state and lease, each with its line of history."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from message_rows import AT, NEW, find, insert, sending, steps

import envelope.receiving
import envelope.sending
from accesspoint.clock import to_microseconds
from accesspoint.store.database import (
    Database,
    IntegrityKind,
    IntegrityViolation,
    Row,
    Transaction,
    sqlite_url,
)
from accesspoint.store.messages import (
    StateMoved,
    advance,
    claim_due,
    find_due,
    find_message,
    insert_message,
    next_due_at,
    release_leases,
)
from envelope.errors import LocalProtocolError

LEASE = timedelta(minutes=5)
OUT = ("ACCEPTED", "RETRY_WAIT")


async def claim(
    database: Database,
    *,
    owner: str,
    at: datetime = AT,
    limit: int = 10,
    direction: str = "out",
    states: tuple[str, ...] = OUT,
) -> list[str]:
    rows = await database.run(
        lambda tx: claim_due(
            tx, direction=direction, states=states, now=at, limit=limit, owner=owner, lease=LEASE
        )
    )
    return sorted(row["id"] for row in rows)


async def test_a_new_message_is_due_at_once_and_has_its_first_line_of_history(
    packaged: Database,
) -> None:
    await insert(packaged, "M1")
    row = await find(packaged)
    assert (row["state"], row["attempt"], row["arrival_possible"]) == ("ACCEPTED", 0, 0)
    assert row["next_at"] == row["created_at"] == row["updated_at"] == to_microseconds(AT)
    assert await steps(packaged) == [(None, "ACCEPTED", "first")]
    assert await packaged.read(lambda tx: find_message(tx, "M2")) is None


async def test_a_path_of_states_is_one_commit_with_a_line_for_each_step(packaged: Database) -> None:
    await insert(packaged, "M1")
    row = await find(packaged)
    later = AT + timedelta(seconds=3)
    await packaged.run(
        lambda tx: advance(
            tx, row, ["RESOLVED", "READY", "SENDING"], at=later, note="go", columns={"attempt": 1}
        )
    )
    after = await find(packaged)
    assert (after["state"], after["attempt"]) == ("SENDING", 1)
    assert after["updated_at"] == to_microseconds(later)
    assert await steps(packaged) == [
        (None, "ACCEPTED", "first"),
        ("ACCEPTED", "RESOLVED", "go"),
        ("RESOLVED", "READY", "go"),
        ("READY", "SENDING", "go"),
    ]


async def test_a_step_that_the_table_does_not_know_changes_nothing(packaged: Database) -> None:
    await insert(packaged, "M1")
    row = await find(packaged)
    with pytest.raises(LocalProtocolError):
        await packaged.run(lambda tx: advance(tx, row, ["RESOLVED", "ACKNOWLEDGED"], at=AT))
    with pytest.raises(ValueError, match="NOWHERE"):
        await packaged.run(lambda tx: advance(tx, row, "NOWHERE", at=AT))
    assert (await find(packaged)) == row
    assert await steps(packaged) == [(None, "ACCEPTED", "first")]


async def test_a_column_that_is_not_on_the_list_is_refused(packaged: Database) -> None:
    await insert(packaged, "M1")
    row = await find(packaged)
    with pytest.raises(ValueError, match="message_id"):
        await packaged.run(
            lambda tx: advance(tx, row, "RESOLVED", at=AT, columns={"message_id": "2@b"})
        )
    assert (await find(packaged)) == row


async def test_the_second_of_two_answers_to_the_same_question_changes_nothing(
    packaged: Database,
) -> None:
    await insert(packaged, "M1")
    row = await find(packaged)
    await packaged.run(lambda tx: advance(tx, row, "RESOLVED", at=AT))
    with pytest.raises(StateMoved):
        await packaged.run(lambda tx: advance(tx, row, "FAILED", at=AT))
    assert (await find(packaged))["state"] == "RESOLVED"
    assert len(await steps(packaged)) == 2


async def test_a_worker_whose_lease_was_taken_over_is_fenced(packaged: Database) -> None:
    await insert(packaged, "M1")
    assert await claim(packaged, owner="one") == ["M1"]
    first = await find(packaged)
    assert await claim(packaged, owner="two", at=AT + LEASE) == ["M1"]
    second = await find(packaged)
    with pytest.raises(StateMoved):
        await packaged.run(lambda tx: advance(tx, first, "RESOLVED", at=AT, fenced=True))
    await packaged.run(lambda tx: advance(tx, second, "RESOLVED", at=AT, fenced=True))
    after = await find(packaged)
    assert (after["state"], after["lease_owner"], after["lease_until"]) == ("RESOLVED", None, None)


async def test_a_row_in_hand_without_a_lease_is_fenced_by_whoever_leases_it(
    packaged: Database,
) -> None:
    await insert(packaged, "M1")
    in_hand = await packaged.read(
        lambda tx: find_due(tx, direction="out", states=["ACCEPTED"], now=AT, limit=5)
    )
    assert [row["id"] for row in in_hand] == ["M1"]
    assert await claim(packaged, owner="two") == ["M1"]
    with pytest.raises(StateMoved):
        await packaged.run(lambda tx: advance(tx, in_hand[0], "RESOLVED", at=AT, fenced=True))


async def test_what_is_busy_is_neither_found_nor_waited_for(packaged: Database) -> None:
    await insert(packaged, "M1")
    await insert(packaged, "M2")
    found = await packaged.read(
        lambda tx: find_due(tx, direction="out", states=["ACCEPTED"], now=AT, limit=5, busy=["M1"])
    )
    assert [row["id"] for row in found] == ["M2"]
    nothing = await packaged.read(
        lambda tx: next_due_at(tx, direction="out", states=["ACCEPTED"], busy=["M1", "M2"])
    )
    assert nothing is None


async def test_a_lease_keeps_others_away_until_its_time_is_over(packaged: Database) -> None:
    await insert(packaged, "M1", "M2", "M3")
    assert await claim(packaged, owner="one", limit=2) == ["M1", "M2"]
    assert await claim(packaged, owner="two") == ["M3"]
    assert await claim(packaged, owner="three") == []
    just_before = AT + LEASE - timedelta(microseconds=1)
    assert await claim(packaged, owner="three", at=just_before) == []
    assert await claim(packaged, owner="three", at=AT + LEASE) == ["M1", "M2", "M3"]


async def test_only_due_rows_of_the_direction_and_the_states_are_claimed(
    packaged: Database,
) -> None:
    await insert(packaged, "M1", "M2")
    await insert(packaged, "M3", direction="in")
    row = await find(packaged, "M2")
    await packaged.run(lambda tx: advance(tx, row, "FAILED", at=AT))
    assert await claim(packaged, owner="one", at=AT - timedelta(seconds=1)) == []
    assert await claim(packaged, owner="one") == ["M1"]
    received = ("RECEIVED",)
    assert await claim(packaged, owner="one", direction="in", states=received) == ["M3"]


async def test_the_next_due_time_counts_leases_and_forgets_ended_messages(
    packaged: Database,
) -> None:
    async def due() -> datetime | None:
        return await packaged.read(lambda tx: next_due_at(tx, direction="out", states=OUT))

    assert await due() is None
    await insert(packaged, "M1")
    assert await due() == AT
    await claim(packaged, owner="one")
    assert await due() == AT + LEASE
    # At the time that it names there is something to claim, or a worker would spin.
    assert await claim(packaged, owner="two", at=AT + LEASE) == ["M1"]
    row = await find(packaged)
    await packaged.run(lambda tx: advance(tx, row, "FAILED", at=AT))
    assert await due() is None


async def test_a_restart_of_the_only_process_takes_up_every_lease(packaged: Database) -> None:
    await insert(packaged, "M1", "M2")
    await insert(packaged, "M3", direction="in")
    await sending(packaged, "M1", "dead", AT + LEASE)
    await claim(packaged, owner="dead")
    inbound = await find(packaged, "M3")
    await packaged.run(
        lambda tx: advance(
            tx, inbound, "DELIVERING", at=AT, columns={"lease_owner": "dead", "lease_until": 1}
        )
    )
    later = AT + timedelta(seconds=30)
    assert await packaged.run(lambda tx: release_leases(tx, at=later, sole_node=True)) == 2
    first, second, third = [await find(packaged, id_) for id_ in ("M1", "M2", "M3")]
    # What was on its way may have arrived; what had only been leased was not.
    assert (first["state"], first["arrival_possible"]) == ("RETRY_WAIT", 1)
    assert (second["state"], second["arrival_possible"]) == ("ACCEPTED", 0)
    assert third["state"] == "DELIVERY_WAIT"
    assert first["next_at"] == third["next_at"] == to_microseconds(later)
    assert {row["lease_owner"] for row in (first, second, third)} == {None}
    assert (await steps(packaged, "M1"))[-1] == ("SENDING", "RETRY_WAIT", "restart")
    # Recovery is idempotent: a second restart finds nothing to do.
    assert await packaged.run(lambda tx: release_leases(tx, at=later, sole_node=True)) == 0
    assert await find(packaged, "M1") == first


async def test_a_restart_beside_other_nodes_leaves_their_leases_alone(packaged: Database) -> None:
    await insert(packaged, "M1", "M2")
    await sending(packaged, "M1", "alive", AT + LEASE)
    await sending(packaged, "M2", "dead", AT - timedelta(seconds=1))
    assert await packaged.run(lambda tx: release_leases(tx, at=AT, sole_node=False)) == 1
    assert (await find(packaged, "M1"))["lease_owner"] == "alive"
    assert (await find(packaged, "M1"))["state"] == "SENDING"
    assert (await find(packaged, "M2"))["state"] == "RETRY_WAIT"


async def test_the_tables_refuse_a_state_of_the_other_direction(packaged: Database) -> None:
    with pytest.raises(IntegrityViolation) as refused:
        await packaged.run(lambda tx: insert_message(tx, replace(NEW, state="RECEIVED"), at=AT))
    assert refused.value.kind is IntegrityKind.CHECK


_TABLES = {"out": envelope.sending, "in": envelope.receiving}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), direction=st.sampled_from(["out", "in"]))
def test_any_walk_along_the_table_is_taken_and_replays_from_history(
    data: st.DataObject, direction: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """I11: history replays to the state the row is in, whichever way the message went."""
    table = _TABLES[direction]
    walk = [str(table.FIRST)]
    for _ in range(data.draw(st.integers(0, 6))):
        followers = sorted(map(str, table.TRANSITIONS.get(table.State(walk[-1]), ())))
        if not followers:
            break
        walk.append(data.draw(st.sampled_from(followers)))

    async def scenario() -> None:
        path = tmp_path_factory.mktemp("walk") / "store.db"
        database = await Database.open(sqlite_url(path))
        try:
            await insert(database, "M1", direction=direction)
            for step in walk[1:]:
                row = await find(database)

                async def work(tx: Transaction, row: Row = row, step: str = step) -> None:
                    await advance(tx, row, step, at=AT)

                await database.run(work)
            assert (await find(database))["state"] == walk[-1]
            taken = await steps(database)
            assert [to for _, to, _ in taken] == walk
            assert [start for start, _, _ in taken] == [None, *walk[:-1]]
        finally:
            await database.close()

    asyncio.run(scenario())
