"""Hand-overs are brought until they are taken, reported once they are, and one never stops the others."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from background import background
from station_parts import AT, MESSAGE, RECEIVER, SENDER, Parts, document
from unreadable_rows import DAMAGED, HOWEVER, spoil

from accesspoint.clock import to_microseconds
from accesspoint.delivery.outbox import Outbox
from accesspoint.retry import RetrySchedule
from accesspoint.stations import Bell
from accesspoint.stations.document import Address
from accesspoint.stations.link import Apart, Handover
from accesspoint.stations.relay import HandoverRelay, NotTaken
from accesspoint.stations.reporting import Act, Reporter
from accesspoint.store.database import Row, StorageFailure, StorageFull, Transaction
from accesspoint.store.encryption import PayloadKeyMissing
from accesspoint.store.leases import LEASE, Leases
from accesspoint.store.payloads import PayloadDamaged, PayloadMissing

SCHEDULE = RetrySchedule(
    timedelta(seconds=10), 2.0, timedelta(minutes=5), timedelta(days=60), draw=lambda: 0.5
)
Carry = Callable[[Handover], Awaitable[None]]


class Target:
    """Takes hand-overs, or fails as told."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.failure: BaseException | None = None

    async def __call__(self, handover: Handover) -> None:
        self.seen.append(handover.id)
        if self.failure is not None:
            raise self.failure


@pytest.fixture
def target() -> Target:
    return Target()


def relay_of(parts: Parts, *, owner: str = "one", **carriers: Carry) -> HandoverRelay:
    return HandoverRelay(
        database=parts.database,
        carriers=carriers,
        reporter=parts.reporter,
        bells=parts.bells,
        clock=parts.clock,
        schedule=SCHEDULE,
        leases=Leases(owner),
    )


def running(relay: HandoverRelay) -> AbstractAsyncContextManager[asyncio.Task[None]]:
    return background(relay.run())


async def hand_over(
    parts: Parts, target: str = "down", act: Act = Act.EUA_SENT, message: str = MESSAGE
) -> str:
    item = document(parts, message_identifier=message)
    commit = await Apart(target, parts.ids).pass_on(
        item, act=act, facts=item.delivery_facts(), at=parts.clock.now()
    )
    await parts.run(commit)
    return str(
        (await parts.rows("SELECT id FROM handovers WHERE message_identifier = $1", message))[0][
            "id"
        ]
    )


async def until(parts: Parts, event: str, times: int = 1) -> None:
    """Follow the journal until it has said this so many times."""
    async with asyncio.timeout(10):
        while [name for _, name, _ in await parts.journal()].count(event) < times:
            await parts.bells.wait(Bell.JOURNAL, at_most_seconds=0.2)


async def test_a_hand_over_is_reported_once_the_other_station_has_it(
    apart: Parts, target: Target
) -> None:
    id_ = await hand_over(apart)
    assert await apart.events() == []
    async with running(relay_of(apart, down=target)):
        await until(apart, "handed-over")
    assert target.seen == [id_]
    assert await apart.events() == [("EUA", "msg-created-and-sent")]
    row = await apart.one("SELECT * FROM handovers")
    assert (row["state"], row["done_at"], row["problem"]) == ("done", to_microseconds(AT), None)
    assert await apart.journal() == [("EUA", "handed-over", None)]


async def test_what_the_backend_has_is_marked_delivered_at_the_end_of_the_journey(
    apart: Parts, target: Target
) -> None:
    async def insert(tx: Transaction) -> None:
        for id_, sender in (("x", SENDER.gln), ("y", "5790000000036")):
            await tx.execute(
                "INSERT INTO documents (direction, message_identifier, id, event_code, sender, receiver, media_type,"
                " payload_bytes, payload_sha256, acknowledgement, created_at)"
                " VALUES ('in', $1, $2, 'e', $3, $4, 'm', 0, '', 'ok', 0)",
                MESSAGE, id_, sender, RECEIVER.gln,
            )  # fmt: skip

    await apart.database.run(insert)
    await hand_over(apart, "backend", Act.EUA_FINALIZED)
    async with running(relay_of(apart, backend=target)):
        await until(apart, "delivered")
    assert await apart.events() == [("EUA", "msg-received-and-finalized")]
    # Not the message of somebody else under the same identifier.
    rows = await apart.rows("SELECT id, delivered_at FROM documents ORDER BY id")
    assert [(row["id"], row["delivered_at"]) for row in rows] == [
        ("x", to_microseconds(AT)),
        ("y", None),
    ]


async def test_what_is_not_taken_waits_longer_each_time_and_keeps_its_id(
    apart: Parts, target: Target
) -> None:
    id_ = await hand_over(apart)
    target.failure = NotTaken("station-refused", "HTTP 503")
    waits = (5, 10, 20, 40, 80, 150, 150)
    async with running(relay_of(apart, down=target)):
        for number, seconds in enumerate(waits, start=1):
            await until(apart, "not-taken", number)
            row = await apart.one("SELECT * FROM handovers")
            due = apart.clock.now() + timedelta(seconds=seconds)
            assert (row["attempts"], row["next_at"]) == (number, to_microseconds(due))
            assert (row["state"], row["problem"]) == ("waiting", "station-refused")
            apart.clock.advance(timedelta(seconds=seconds))
            apart.bells.ring(Bell.RELAY)
        target.failure = None
        await until(apart, "not-taken", len(waits))
        apart.bells.ring(Bell.RELAY)
        apart.clock.advance(timedelta(minutes=5))
        apart.bells.ring(Bell.RELAY)
        await until(apart, "handed-over")
    assert set(target.seen) == {id_}
    assert len(await apart.events()) == 1
    notes = await apart.rows("SELECT detail FROM journal WHERE event = 'not-taken'")
    assert json.loads(notes[0]["detail"]) == {"target": "down", "attempt_why": "HTTP 503"}


@pytest.mark.parametrize(
    "failure", [PayloadKeyMissing("not configured"), ValueError("x"), RecursionError()]
)
async def test_one_hand_over_that_meets_an_error_of_ours_does_not_stop_the_others(
    apart: Parts, failure: Exception
) -> None:
    poisoned = await hand_over(apart)
    await hand_over(apart, message="other")

    async def carry(handover: Handover) -> None:
        if handover.id == poisoned:
            raise failure

    async with running(relay_of(apart, down=carry)) as task:
        await until(apart, "handed-over")
        await until(apart, "not-taken")
        assert not task.done()
    row = await apart.one("SELECT * FROM handovers WHERE id = $1", poisoned)
    assert (row["state"], row["problem"]) == ("waiting", "internal")


@pytest.mark.parametrize("failure", [PayloadMissing("gone"), PayloadDamaged("chunk 1")])
async def test_a_hand_over_whose_payload_is_damaged_is_kept_and_brought_to_nobody(
    apart: Parts, failure: Exception
) -> None:
    poisoned = await hand_over(apart)

    async def carry(handover: Handover) -> None:
        raise failure

    async with running(relay_of(apart, down=carry)) as task:
        await until(apart, "set-aside")
        assert not task.done()
    row = await apart.one("SELECT * FROM handovers WHERE id = $1", poisoned)
    assert (row["state"], row["problem"], row["payload"] != "") == (
        "set-aside",
        "payload-damaged",
        True,
    )


@HOWEVER
@pytest.mark.parametrize("column", ["item", "facts"])
async def test_a_hand_over_that_does_not_open_stops_neither_the_others_nor_the_relay(
    apart: Parts, target: Target, fault: str, column: str
) -> None:
    poisoned = await hand_over(apart)
    other = await hand_over(apart, message="other")
    await spoil(apart.database, "handovers", column, poisoned, fault)
    async with running(relay_of(apart, down=target)) as task:
        await until(apart, "handed-over")
        await until(apart, "set-aside" if fault == DAMAGED else "not-taken")
        assert not task.done()
    row = await apart.one("SELECT * FROM handovers WHERE id = $1", poisoned)
    assert (row["state"], row["problem"], row["lease_owner"]) == (
        ("set-aside", "payload-damaged", None)
        if fault == DAMAGED
        else ("waiting", "storage-refused", None)
    )
    assert target.seen == [other]


async def test_a_hand_over_that_finds_no_room_waits(apart: Parts) -> None:
    poisoned = await hand_over(apart)

    async def carry(handover: Handover) -> None:
        raise StorageFull("no space left")

    async with running(relay_of(apart, down=carry)) as task:
        await until(apart, "not-taken")
        assert not task.done()
    row = await apart.one("SELECT * FROM handovers WHERE id = $1", poisoned)
    assert (row["state"], row["problem"]) == ("waiting", "storage-full")


async def test_an_organisation_that_is_not_served_any_more_ends_nothing(
    apart: Parts, target: Target
) -> None:
    """Its hand-over is brought and done; the event is parked, for nobody may report it."""
    stranger = Address("5790000000036", "900000000000032")
    item = replace(document(apart), sender=stranger, receiver=stranger)
    commit = await Apart("down", apart.ids).pass_on(
        item, act=Act.EUA_SENT, facts=item.delivery_facts(), at=AT
    )
    await apart.run(commit)
    async with running(relay_of(apart, down=target)) as task:
        await until(apart, "handed-over")
        assert not task.done()
    assert len(target.seen) == 1
    row = await apart.one("SELECT * FROM outbox")
    assert (row["state"], row["problem"]) == ("parked", "sender-not-served")


async def test_a_report_that_fails_postpones_its_hand_over_and_stops_no_other(
    apart: Parts, target: Target
) -> None:
    """The configuration may have lost the device of a station that handed over before."""
    reported = await hand_over(apart)
    await hand_over(apart, message="other")
    reporter = Reporter(
        clock=apart.clock,
        outbox=Outbox(apart.database, clock=apart.clock, glns=[SENDER.gln]),
        device_ids={"MSH": "msh-1"},
        together=False,
    )
    await apart.database.run(
        lambda tx: tx.execute(
            "UPDATE handovers SET act = 'msh-taken' WHERE message_identifier = 'other'"
        )
    )
    async with running(relay_of(replace(apart, reporter=reporter), down=target)) as task:
        await until(apart, "handed-over")
        await until(apart, "not-taken")
        assert not task.done()
        # Brought once, not again and again: it waits its turn.
        assert target.seen.count(reported) == 1
    row = await apart.one("SELECT * FROM handovers WHERE id = $1", reported)
    due = to_microseconds(AT + timedelta(seconds=5))
    assert (row["state"], row["problem"], row["next_at"]) == ("waiting", "internal", due)


async def test_what_is_set_aside_is_brought_to_nobody(apart: Parts, target: Target) -> None:
    aside = await hand_over(apart, "backend", Act.EUA_FINALIZED)
    await apart.database.run(
        lambda tx: tx.execute(
            "UPDATE handovers SET state = 'set-aside', problem = 'message-invalid' WHERE id = $1",
            aside,
        )
    )
    after = await hand_over(apart, "backend", Act.EUA_FINALIZED, message="after")
    async with running(relay_of(apart, backend=target)):
        await until(apart, "delivered")
    assert target.seen == [after]


async def test_a_relay_without_work_sleeps_until_the_bell(apart: Parts, target: Target) -> None:
    async with running(relay_of(apart, down=target)):
        await asyncio.sleep(0)
        await hand_over(apart)
        await until(apart, "handed-over")
    assert len(target.seen) == 1


async def test_a_target_that_is_not_configured_any_more_keeps_what_it_is_owed(
    apart: Parts, target: Target
) -> None:
    """It waits until somebody is there for it; a relay looks after its own targets only."""
    owed = await hand_over(apart, "up", Act.MSH_PASSED_UP)
    await lease(apart, "whoever", AT + timedelta(minutes=5))
    await hand_over(apart, message="other")
    async with running(relay_of(apart, down=target)):
        await until(apart, "handed-over")
    row = await apart.one("SELECT * FROM handovers WHERE id = $1", owed)
    assert (row["state"], row["attempts"], row["lease_owner"]) == ("waiting", 0, "whoever")
    assert owed not in target.seen


async def test_a_store_that_fails_ends_the_relay(apart: Parts, target: Target) -> None:
    await hand_over(apart)
    target.failure = StorageFailure("the disk is gone")
    async with running(relay_of(apart, down=target)) as task:
        with pytest.raises(StorageFailure):
            async with asyncio.timeout(10):
                await task


async def idle(*relays: asyncio.Task[None]) -> None:
    """Let relays that were just started come to where they wait for work."""
    for _ in range(20):
        await asyncio.sleep(0)
    assert not any(task.done() for task in relays)


async def test_of_two_relays_one_brings_a_hand_over(apart: Parts) -> None:
    brought: list[tuple[str, str]] = []
    held = asyncio.Event()

    def carry_as(owner: str) -> Carry:
        async def carry(handover: Handover) -> None:
            brought.append((owner, handover.id))
            await held.wait()

        return carry

    one = relay_of(apart, owner="one", down=carry_as("one"))
    two = relay_of(apart, owner="two", down=carry_as("two"))
    async with running(one) as first, running(two) as second:
        await idle(first, second)
        await hand_over(apart)
        async with asyncio.timeout(10):
            while not brought:
                await apart.bells.wait(Bell.JOURNAL, at_most_seconds=0.05)
        # The other one looks as well, and finds nothing that it may bring.
        apart.bells.ring(Bell.RELAY)
        await idle(first, second)
        held.set()
        await until(apart, "handed-over")
    assert len(brought) == 1
    assert len(await apart.events()) == 1


async def test_what_a_dead_relay_held_is_brought_once_its_lease_is_over(
    apart: Parts, target: Target
) -> None:
    id_ = await hand_over(apart)
    async with running(relay_of(apart, down=target)) as task:
        await idle(task)
        target.seen.clear()
        await lease(apart, "dead", apart.clock.now() + LEASE)
        await apart.database.run(
            lambda tx: tx.execute("UPDATE handovers SET state = 'waiting', done_at = NULL")
        )
        apart.bells.ring(Bell.RELAY)
        await idle(task)
        assert target.seen == []
        apart.clock.advance(LEASE)
        apart.bells.ring(Bell.RELAY)
        await until(apart, "handed-over", 2)
    assert target.seen == [id_]


async def lease(parts: Parts, owner: str, until_: datetime) -> None:
    await parts.database.run(
        lambda tx: tx.execute(
            "UPDATE handovers SET lease_owner = $1, lease_until = $2",
            owner,
            to_microseconds(until_),
        )
    )


async def test_a_restart_takes_up_at_once_what_the_dead_process_held(
    apart: Parts, target: Target
) -> None:
    await hand_over(apart)
    await lease(apart, "dead", AT + LEASE)
    async with running(relay_of(apart, down=target)):
        await until(apart, "handed-over")
    row = await apart.one("SELECT * FROM handovers")
    assert (row["lease_owner"], row["lease_until"]) == (None, None)


@pytest.mark.parametrize("since", ["done", "taken over"])
async def test_a_late_loser_changes_nothing(apart: Parts, target: Target, since: str) -> None:
    """Its lease ran out while it tried; what another one made of the hand-over since then stands."""
    await hand_over(apart)
    before: list[Row] = []

    async def carry(handover: Handover) -> None:
        target.seen.append(handover.id)
        sql = (
            "UPDATE handovers SET state = 'done', done_at = 1"
            if since == "done"
            else "UPDATE handovers SET lease_owner = 'other', next_at = next_at + 60000000"
        )
        await apart.database.run(lambda tx: tx.execute(sql))
        before.append(await apart.one("SELECT * FROM handovers"))
        raise NotTaken("peer-timeout", "no answer")

    async with running(relay_of(apart, down=carry)) as task:
        async with asyncio.timeout(10):
            while not before:
                await apart.bells.wait(Bell.JOURNAL, at_most_seconds=0.05)
        await idle(task)
    assert len(target.seen) == 1
    assert await apart.one("SELECT * FROM handovers") == before[0]
    assert await apart.journal() == []


async def test_the_subject_of_an_answer_is_what_it_answers(apart: Parts, target: Target) -> None:
    item = replace(
        document(apart),
        event_code="acknowledgement-message",
        definition_version="2.0",
        original_message_identifier="answered",
    )
    await apart.run(
        await Apart("down", apart.ids).pass_on(
            item, act=Act.EUA_SENT, facts=item.delivery_facts(), at=AT
        )
    )
    async with running(relay_of(apart, down=target)):
        await until(apart, "handed-over")
    row = await apart.one("SELECT * FROM journal")
    assert (row["subject"], row["message_identifier"]) == ("answered", MESSAGE)
