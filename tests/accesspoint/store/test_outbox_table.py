"""The outbox table on both databases: order per message, claims of several nodes, and how the rows are found."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from accesspoint.clock import ManualClock
from accesspoint.delivery.events import DeliveryEvent, DeliveryFacts, Station, SubType
from accesspoint.delivery.outbox import LEASE, Fate, Outbox, Settlement
from accesspoint.store.database import Database, Dialect, Transaction

FACTS = DeliveryFacts(
    "1", "5790009990010", None, "2", "3", None, None, "m", "s", "v", "b", "Bundle"
)
AT = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgresql"])
async def packaged(request: pytest.FixtureRequest, url: str) -> AsyncIterator[Database]:
    """The tables of this program in each dialect."""
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql_url")
    database = await Database.open(url)
    yield database
    await database.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(AT)


def node(database: Database, clock: ManualClock) -> Outbox:
    return Outbox(database, clock=clock, glns=[FACTS.sender_gln])


async def record(database: Database, outbox: Outbox, message: str, subtype: SubType) -> None:
    facts = replace(FACTS, message_identifier=message)
    event = DeliveryEvent(Station.AP, "d", subtype, "0", AT, facts)

    async def work(tx: Transaction) -> None:
        await outbox.record(tx, event)
        await outbox.record(tx, event)

    await database.run(work)


async def test_two_nodes_share_the_work_and_keep_the_order(
    packaged: Database, clock: ManualClock
) -> None:
    one, two = node(packaged, clock), node(packaged, clock)
    for message in ("a", "b"):
        await record(packaged, one, message, SubType.RECEIVED)
        await record(packaged, one, message, SubType.SENT)

    (first,), _ = await one.exchange([], limit=1)
    (second,), _ = await two.exchange([], limit=5)
    assert {b'"msg-received"' in event.body for event in (first, second)} == {True}
    assert await one.exchange([], limit=5) == ([], LEASE)

    (after,), _ = await one.exchange([Settlement(first, Fate.SENT)], limit=5)
    assert b'"msg-sent"' in after.body
    later = Settlement(second, Fate.POSTPONED, "status-unreachable", timedelta(seconds=9))
    assert (await two.exchange([later], limit=5))[0] == []

    clock.advance(timedelta(seconds=9))
    (again,), _ = await two.exchange([], limit=5)
    assert (again.event_id, again.attempts) == (second.event_id, 2)
    parked = Settlement(again, Fate.PARKED, "status-refused")
    (last,), _ = await two.exchange([parked], limit=5)
    assert last.seq > again.seq
    backlog = await one.backlog()
    assert (backlog.waiting, backlog.sent, backlog.parked) == (2, 1, 1)
    assert await one.release_parked() == 1


async def test_a_restart_takes_over_leases_only_where_the_table_is_its_own(
    packaged: Database, clock: ManualClock
) -> None:
    outbox = node(packaged, clock)
    await record(packaged, outbox, "a", SubType.SENT)
    await outbox.exchange([], limit=1)

    await node(packaged, clock).resume()

    claimed, _ = await outbox.exchange([], limit=1)
    assert len(claimed) == (1 if packaged.dialect is Dialect.SQLITE else 0)


@pytest.mark.parametrize(
    "fate", [(Fate.SENT, None), (Fate.PARKED, "status-refused"), (Fate.POSTPONED, "late")]
)
async def test_a_node_that_slept_past_its_lease_changes_nothing(
    packaged: Database, clock: ManualClock, fate: tuple[Fate, str | None]
) -> None:
    sleeper, other = node(packaged, clock), node(packaged, clock)
    await record(packaged, sleeper, "a", SubType.SENT)
    (first,), _ = await sleeper.exchange([], limit=1)
    clock.advance(LEASE)
    (second,), _ = await other.exchange([], limit=1)
    # Both may have sent it, and so the component may have it twice: under one id, with one body.
    assert (second.event_id, second.body) == (first.event_id, first.body)
    before = await packaged.fetch("SELECT * FROM outbox")
    await sleeper.exchange([Settlement(first, fate[0], fate[1], timedelta(days=9))], limit=0)
    assert await packaged.fetch("SELECT * FROM outbox") == before
    await other.exchange([Settlement(second, Fate.SENT)], limit=0)
    assert (await other.backlog()).sent == 1
