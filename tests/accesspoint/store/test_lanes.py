"""Outbound messages by destination, on both databases: what is due where, found by the index, and moved for a lane at once."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from accesspoint.clock import to_microseconds
from accesspoint.inbound.dispatch import DUE_STATES as INBOUND
from accesspoint.store.database import Database, Row, Transaction, Value
from accesspoint.store.lanes import (
    DUE_STATES,
    NEVER,
    lane_heads,
    move_lane,
    overdue_in_lane,
    waiting_lanes,
    wake_lane,
)
from accesspoint.store.messages import NewMessage, advance, find_due, find_message, insert_message

AT = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
SECOND = timedelta(seconds=1)
NEW = NewMessage(
    id="M1", direction="out", state="ACCEPTED", message_id="1@a.example", conversation_id="c", party="",
    envelope_id="e", message_identifier="m", standard="s", original_sender="0088:1", final_recipient="0088:2",
    document_id="d", process_id="p", facts="{}", payload=None, payload_bytes=0, payload_sha256="00",
)  # fmt: skip


async def insert(
    database: Database,
    id_: str,
    lane: str,
    *,
    due: datetime = AT,
    state: str = "ACCEPTED",
    **changes: str,
) -> None:
    new = replace(NEW, id=id_, message_id=f"{id_}@a.example", lane=lane, **changes)
    paths: dict[str, list[str]] = {
        "ACCEPTED": [],
        "RETRY_WAIT": ["RESOLVED", "RETRY_WAIT"],
        "UNCERTAIN": ["RESOLVED", "RETRY_WAIT", "UNCERTAIN"],
        "FAILED": ["FAILED"],
    }

    async def work(tx: Transaction) -> None:
        await insert_message(tx, new, at=AT)
        row = {"id": id_, "direction": "out", "state": "ACCEPTED"}
        next_at = NEVER if state == "UNCERTAIN" else to_microseconds(due)
        await advance(
            tx, row, paths[state], at=AT, columns={"next_at": next_at, "party": f"of {lane}"}
        )

    await database.run(work)


async def test_each_lane_shows_its_first_message(packaged: Database) -> None:
    await insert(packaged, "M1", "a", due=AT + 2 * SECOND)
    await insert(packaged, "M2", "a", due=AT + SECOND, state="RETRY_WAIT")
    await insert(packaged, "M3", "b")
    await insert(packaged, "M4", "")
    await insert(packaged, "M5", "c", state="FAILED")
    await insert(packaged, "M6", "d", state="UNCERTAIN")

    async def heads(*busy: str) -> list[tuple[str, datetime]]:
        return await packaged.read(lambda tx: lane_heads(tx, now=AT, busy=busy))

    assert await heads() == [("", AT), ("a", AT + SECOND), ("b", AT)]
    assert await heads("M2", "M3") == [("", AT), ("a", AT + 2 * SECOND)]
    await packaged.run(
        lambda tx: tx.execute(
            "UPDATE messages SET lease_owner = 'x', lease_until = $1 WHERE id = 'M4'", NEVER
        )
    )
    assert await heads() == [("a", AT + SECOND), ("b", AT)]
    # What a person asked for is due like anything else.
    await packaged.run(
        lambda tx: tx.execute(
            "UPDATE messages SET next_at = $1 WHERE id = 'M6'", to_microseconds(AT)
        )
    )
    assert ("d", AT) in await heads()


async def test_after_a_restart_the_rows_say_which_partners_are_waited_for(
    packaged: Database,
) -> None:
    for number, (lane, state) in enumerate(
        [("a", "RETRY_WAIT"), ("a", "RETRY_WAIT"), ("b", "ACCEPTED"), ("c", "UNCERTAIN")]
    ):
        await insert(packaged, f"M{number}", lane, state=state)
    assert await packaged.read(waiting_lanes) == [("a", "of a")]


async def test_a_look_up_moves_everything_that_waited_for_the_same_one(packaged: Database) -> None:
    for number, changes in enumerate([{}, {}, {"final_recipient": "0088:3"}, {"document_id": "x"}]):
        await insert(packaged, f"M{number}", "", **changes)
    await insert(packaged, "M4", "", state="FAILED")
    row = await packaged.read(lambda tx: find_message(tx, "M0"))
    assert row is not None
    assert await packaged.run(lambda tx: move_lane(tx, row, "a")) == 2
    rows = await packaged.fetch("SELECT id, lane FROM messages ORDER BY id")
    assert [row["lane"] for row in rows] == ["a", "a", "", "", ""]


async def test_to_wake_a_lane_brings_only_its_waiting_messages_forward(packaged: Database) -> None:
    later = AT + timedelta(hours=1)
    for number, (lane, state) in enumerate(
        [("a", "RETRY_WAIT"), ("b", "RETRY_WAIT"), ("a", "ACCEPTED"), ("a", "UNCERTAIN")]
    ):
        await insert(packaged, f"M{number}", lane, due=later, state=state)
    assert await packaged.run(lambda tx: wake_lane(tx, "a", now=AT)) == 1
    rows = await packaged.fetch("SELECT next_at FROM messages ORDER BY id")
    times = [to_microseconds(AT), to_microseconds(later), to_microseconds(later), NEVER]
    assert [row["next_at"] for row in rows] == times


async def test_overdue_is_what_nobody_holds_and_was_accepted_too_long_ago(
    packaged: Database,
) -> None:
    for number, state in enumerate(["ACCEPTED", "RETRY_WAIT", "UNCERTAIN", "RETRY_WAIT"]):
        await insert(packaged, f"M{number}", "a", state=state)
    await packaged.run(
        lambda tx: tx.execute("UPDATE messages SET lease_owner = 'x' WHERE id = 'M3'")
    )

    async def overdue(at: datetime, limit: int = 9) -> list[str]:
        rows = await packaged.read(
            lambda tx: overdue_in_lane(tx, "a", accepted_before=at, limit=limit)
        )
        return sorted(row["id"] for row in rows)

    assert await overdue(AT - SECOND) == []
    assert await overdue(AT) == ["M0", "M1"]
    assert len(await overdue(AT, limit=1)) == 1


async def test_what_waits_is_found_by_its_index_and_not_sorted(url: str) -> None:
    """So the work of a look does not depend on how much waits for others, nor on how much was ever sent."""
    database = await Database.open(url)
    plans: list[str] = []

    class Explaining:
        async def fetch(self, sql: str, *values: Value) -> list[Row]:
            plans.extend(
                r["detail"] for r in await database.fetch(f"EXPLAIN QUERY PLAN {sql}", *values)
            )
            return []

        async def execute(self, sql: str, *values: Value) -> int:
            return len(await self.fetch(sql, *values))

    tx: Any = Explaining()
    row = {"lane": "", "final_recipient": "", "document_id": "", "process_id": ""}
    await lane_heads(tx, now=AT, busy=["x"])
    await waiting_lanes(tx)
    await find_due(tx, direction="out", states=DUE_STATES, now=AT, limit=1, lane="a", busy=["x"])
    await move_lane(tx, row, "a")
    await wake_lane(tx, "a", now=AT)
    await overdue_in_lane(tx, "a", accepted_before=AT, limit=1)
    reads = [plan for plan in plans if " messages" in plan]
    assert len(reads) == 8
    assert all("USING INDEX messages_lanes" in plan for plan in reads), plans
    plans.clear()
    await find_due(tx, direction="in", states=INBOUND, now=AT, limit=1)
    assert plans == ["SEARCH messages USING INDEX messages_to_deliver (next_at<?)"]
    await database.close()
