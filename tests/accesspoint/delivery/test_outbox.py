"""The outbox: with its cause or not at all, each event once, each message in order, nothing forgotten."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from unreadable_rows import DAMAGED, HOWEVER, spoil

from accesspoint.clock import ManualClock
from accesspoint.delivery.auditevent import build_audit_event
from accesspoint.delivery.events import DeliveryEvent, DeliveryFacts, SubType, event_id
from accesspoint.delivery.outbox import LEASE, ClaimedEvent, Fate, Outbox, Settlement
from accesspoint.problems import PROBLEMS
from accesspoint.stations import Bell, Bells, Commit
from accesspoint.store.database import Database, IntegrityViolation, Transaction, sqlite_url

Make = Callable[..., DeliveryEvent]


async def record(database: Database, outbox: Outbox, *events: DeliveryEvent) -> None:
    async def work(tx: Transaction) -> None:
        for event in events:
            await outbox.record(tx, event)

    await database.run(work)


async def claim(outbox: Outbox, *settlements: Settlement, limit: int = 10) -> list[ClaimedEvent]:
    claimed, _ = await outbox.exchange(settlements, limit=limit)
    return claimed


def sent(event: ClaimedEvent) -> Settlement:
    return Settlement(event, Fate.SENT)


async def test_an_event_is_recorded_with_its_audit_event_and_its_organisation(
    database: Database, outbox: Outbox, event_of: Make
) -> None:
    await record(database, outbox, event_of())

    (claimed,) = await claim(outbox)
    assert claimed.event_id == str(event_id(event_of()))
    assert json.loads(claimed.body) == build_audit_event(event_of())
    assert (claimed.sor, claimed.gln, claimed.attempts) == ("900000000000016", "5790009990010", 1)
    row = await database.fetch_one("SELECT * FROM outbox")
    assert row is not None
    assert (row["station"], row["device_id"], row["subtype"]) == ("AP", "fjordby-ap", "msg-sent")


async def test_the_receivers_node_reports_in_the_receivers_name(
    database: Database, clock: ManualClock, event_of: Make
) -> None:
    outbox = Outbox(database, clock=clock, glns=["5790009990027"])
    await record(database, outbox, event_of())

    (claimed,) = await claim(outbox)
    assert (claimed.sor, claimed.gln) == ("900000000000024", "5790009990027")


async def test_an_event_of_organisations_no_longer_served_is_parked_and_its_cause_stands(
    database: Database, clock: ManualClock, event_of: Make
) -> None:
    outbox = Outbox(database, clock=clock, glns=["5790009990041"])
    await record(database, outbox, event_of())

    assert await claim(outbox) == []
    row = await database.fetch_one("SELECT * FROM outbox")
    assert row is not None
    assert (row["state"], row["problem"]) == ("parked", "sender-not-served")
    assert row["problem"] in PROBLEMS
    assert await outbox.release_parked() == 0
    again = Outbox(database, clock=clock, glns=[row["gln"]])
    assert await again.release_parked() == 1
    assert len(await claim(again)) == 1


@HOWEVER
async def test_an_event_that_does_not_open_stands_in_no_other_ones_way(
    database: Database, clock: ManualClock, outbox: Outbox, event_of: Make, fault: str
) -> None:
    first, other = event_of(), event_of(facts=replace(event_of().facts, message_identifier="x"))
    await record(database, outbox, first, other)
    await spoil(database, "outbox", "body", str(event_id(first)), fault)
    assert [one.event_id for one in await claim(outbox)] == [str(event_id(other))]
    row = await database.fetch_one("SELECT * FROM outbox WHERE event_id = $1", str(event_id(first)))
    assert row is not None
    assert (row["state"], row["problem"]) == (
        ("parked", "payload-damaged") if fault == DAMAGED else ("waiting", "storage-refused")
    )
    # Where another node would have the key it is claimed when its time has come again.
    clock.advance(LEASE)
    again = [one.event_id for one in await claim(outbox)]
    assert str(event_id(first)) not in again


async def test_an_event_goes_back_with_its_cause(
    database: Database, outbox: Outbox, event_of: Make
) -> None:
    async def work(tx: Transaction) -> None:
        await outbox.record(tx, event_of())
        raise RuntimeError("the business change failed")

    with pytest.raises(RuntimeError):
        await database.run(work)

    assert await claim(outbox) == []


async def test_an_event_recorded_twice_is_one(
    database: Database, outbox: Outbox, event_of: Make
) -> None:
    await record(database, outbox, event_of(), event_of())
    await record(database, outbox, event_of())

    assert (await outbox.backlog()).waiting == 1


async def test_an_event_recorded_again_after_it_was_sent_stays_sent(
    database: Database, outbox: Outbox, event_of: Make
) -> None:
    await record(database, outbox, event_of())
    (claimed,) = await claim(outbox)
    await claim(outbox, sent(claimed))

    await record(database, outbox, event_of())

    backlog = await outbox.backlog()
    assert (backlog.sent, backlog.waiting) == (1, 0)


async def test_the_relay_is_woken_after_the_commit_and_not_before(
    database: Database, clock: ManualClock, event_of: Make
) -> None:
    bells = Bells()
    outbox = Outbox(database, clock=clock, glns=["5790009990010"], woken=bells.listen(Bell.OUTBOX))
    woken_early: list[bool] = []

    async def work(tx: Transaction) -> None:
        await outbox.record(tx, event_of())
        woken_early.append(outbox.woken.is_set())

    await bells.run(database, Commit(work, frozenset({Bell.OUTBOX})))
    assert woken_early == [False]
    assert outbox.woken.is_set()


async def test_events_of_one_message_go_one_after_the_other(
    database: Database, outbox: Outbox, event_of: Make, facts: DeliveryFacts
) -> None:
    other = replace(facts, message_identifier="another")
    await record(
        database,
        outbox,
        event_of(subtype=SubType.RECEIVED),
        event_of(subtype=SubType.SENT),
        event_of(facts=other),
    )

    first, beside = await claim(outbox)
    assert json.loads(first.body)["subtype"][0]["code"] == "msg-received"
    assert "another" in beside.body.decode()
    assert await claim(outbox) == []

    (second,) = await claim(outbox, sent(first))
    assert json.loads(second.body)["subtype"][0]["code"] == "msg-sent"


async def test_a_postponed_event_holds_back_the_later_ones_of_its_message(
    database: Database, outbox: Outbox, event_of: Make, clock: ManualClock
) -> None:
    await record(database, outbox, event_of(subtype=SubType.RECEIVED), event_of())
    (first,) = await claim(outbox)
    postponed = Settlement(first, Fate.POSTPONED, "status-unreachable", timedelta(seconds=5))

    claimed, wait = await outbox.exchange([postponed], limit=10)
    assert (claimed, wait) == ([], timedelta(seconds=5))

    clock.advance(timedelta(seconds=5))
    (again,) = await claim(outbox)
    assert (again.event_id, again.attempts) == (first.event_id, 2)


async def test_a_parked_event_lets_the_later_ones_of_its_message_go(
    database: Database, outbox: Outbox, event_of: Make
) -> None:
    await record(database, outbox, event_of(subtype=SubType.RECEIVED), event_of())
    (first,) = await claim(outbox)

    (second,) = await claim(outbox, Settlement(first, Fate.PARKED, "status-refused"))

    assert second.seq > first.seq
    row = await database.fetch_one("SELECT * FROM outbox WHERE seq = $1", first.seq)
    assert row is not None
    assert (row["state"], row["problem"]) == ("parked", "status-refused")


async def test_parked_events_go_again_when_released(
    database: Database, outbox: Outbox, event_of: Make
) -> None:
    await record(database, outbox, event_of())
    (first,) = await claim(outbox)
    assert await claim(outbox, Settlement(first, Fate.PARKED, "status-refused")) == []

    assert await outbox.release_parked() == 1

    assert [event.event_id for event in await claim(outbox)] == [first.event_id]


async def test_a_lease_that_ran_out_gives_the_event_to_the_next(
    database: Database, outbox: Outbox, event_of: Make, clock: ManualClock
) -> None:
    await record(database, outbox, event_of())
    (lost,) = await claim(outbox)
    assert await claim(outbox) == []

    clock.advance(LEASE)

    (again,) = await claim(outbox)
    assert (again.event_id, again.attempts) == (lost.event_id, 2)


async def test_a_sent_event_stays_sent_whatever_a_late_loser_says(
    database: Database, outbox: Outbox, event_of: Make
) -> None:
    await record(database, outbox, event_of())
    (claimed,) = await claim(outbox)
    await claim(outbox, sent(claimed))

    await claim(outbox, Settlement(claimed, Fate.POSTPONED, "status-unreachable"))

    backlog = await outbox.backlog()
    assert (backlog.sent, backlog.waiting) == (1, 0)


async def test_a_restart_goes_on_at_once_with_what_was_under_way(
    database: Database, clock: ManualClock, event_of: Make, tmp_path: Path, outbox: Outbox
) -> None:
    await record(database, outbox, event_of())
    (lost,) = await claim(outbox)
    await database.close()

    reopened = await Database.open(sqlite_url(tmp_path / "store.db"))
    restarted = Outbox(reopened, clock=clock, glns=["5790009990010"])
    await restarted.resume()

    assert [event.event_id for event in await claim(restarted)] == [lost.event_id]
    await reopened.close()


async def test_no_more_than_the_limit_is_claimed(
    database: Database, outbox: Outbox, event_of: Make, facts: DeliveryFacts
) -> None:
    events = [event_of(facts=replace(facts, message_identifier=str(n))) for n in range(5)]
    await record(database, outbox, *events)

    assert len(await claim(outbox, limit=3)) == 3
    assert await claim(outbox, limit=0) == []
    assert len(await claim(outbox, limit=3)) == 2


async def test_the_backlog_counts_states_and_age(
    database: Database, outbox: Outbox, event_of: Make, facts: DeliveryFacts, clock: ManualClock
) -> None:
    empty = await outbox.backlog()
    assert (empty.waiting, empty.sent, empty.parked, empty.oldest_waiting) == (0, 0, 0, None)
    events = [event_of(facts=replace(facts, message_identifier=str(n))) for n in range(3)]
    await record(database, outbox, *events)
    first, second, _ = await claim(outbox)
    await claim(outbox, sent(first), Settlement(second, Fate.PARKED, "status-refused"))
    clock.advance(timedelta(minutes=3))

    backlog = await outbox.backlog()

    assert (backlog.waiting, backlog.sent, backlog.parked) == (1, 1, 1)
    assert backlog.oldest_waiting == timedelta(minutes=3)


async def test_the_table_refuses_a_state_that_does_not_exist(
    database: Database, outbox: Outbox, event_of: Make
) -> None:
    await record(database, outbox, event_of())

    with pytest.raises(IntegrityViolation):
        await database.run(lambda tx: tx.execute("UPDATE outbox SET state = 'lost'"))
