"""Commits that join into one transaction, and bells that are rung only after it."""

import asyncio

import pytest
from station_parts import Parts

from accesspoint.stations import Bell, Bells, Commit, withdrawing
from accesspoint.store.database import StorageFailure, Transaction, Work
from envelope.errors import LocalProtocolError


def noting(parts: Parts, event: str) -> Commit:
    async def work(tx: Transaction) -> None:
        await parts.reporter.note(
            tx, event, station="EUA", message_identifier="m", subject="m", standard="s"
        )

    return Commit(work, frozenset({Bell.RELAY}))


async def refuse(_: Transaction) -> None:
    raise RuntimeError("the second part fails")


async def test_joined_commits_run_in_order_and_ring_for_both(parts: Parts) -> None:
    both = noting(parts, "one").then(Commit(noting(parts, "two").work, frozenset({Bell.OUTBOX})))
    assert both.rings == {Bell.RELAY, Bell.OUTBOX}
    await parts.run(both)
    assert [event for _, event, _ in await parts.journal()] == ["one", "two"]


async def test_a_part_that_fails_undoes_the_other_and_rings_no_bell(parts: Parts) -> None:
    with pytest.raises(RuntimeError):
        await parts.run(noting(parts, "one").then(Commit(refuse)))
    assert await parts.journal() == []
    assert not await rung(parts.bells, Bell.RELAY)
    assert not await rung(parts.bells, Bell.JOURNAL)


async def fail_to_store(_: Transaction) -> None:
    raise StorageFailure("the disk is gone")


@pytest.mark.parametrize(("work", "files"), [(refuse, 1), (fail_to_store, 3)])
async def test_files_of_a_refused_commit_go_unless_it_may_have_become_durable(
    parts: Parts, work: Work[None], files: int
) -> None:
    parts.store(b"of somebody else")
    one, two = (parts.store(data).payload for data in (b"one", b"two"))
    first = noting(parts, "one").publishing(parts.payloads, one)
    both = first.then(Commit(work).publishing(parts.payloads, two))
    with pytest.raises((RuntimeError, StorageFailure)):
        await parts.run(both)
    assert parts.files() == files


async def test_files_of_a_commit_stay_and_one_that_is_gone_hides_no_error(parts: Parts) -> None:
    kept = parts.store(b"one").payload
    await parts.run(noting(parts, "one").publishing(parts.payloads, kept))
    assert parts.files() == 1
    gone = Commit(refuse).publishing(parts.payloads, "no name of ours")
    with pytest.raises(RuntimeError):
        await parts.run(gone)


async def test_a_preparation_that_fails_withdraws_its_file(parts: Parts) -> None:
    file = parts.store(b"one").payload
    with pytest.raises(LocalProtocolError), withdrawing(parts.payloads, file):
        raise LocalProtocolError("the next station does not take it")
    assert parts.files() == 0


async def rung(bells: Bells, bell: Bell) -> bool:
    """Whether waiting for this bell ends without the time being over."""
    before = asyncio.get_running_loop().create_task(bells.wait(bell, at_most_seconds=None))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    done = before.done()
    before.cancel()
    return done


async def test_every_commit_rings_for_the_journal_and_a_ring_counts_once(parts: Parts) -> None:
    await parts.run(noting(parts, "one"))
    assert await rung(parts.bells, Bell.RELAY)
    assert not await rung(parts.bells, Bell.RELAY)
    assert await rung(parts.bells, Bell.JOURNAL)
    assert not await rung(parts.bells, Bell.SENDER)


async def test_a_wait_ends_with_its_time_and_keeps_a_later_ring() -> None:
    bells = Bells()
    await bells.wait(Bell.SENDER, at_most_seconds=0)
    bells.ring(Bell.SENDER)
    assert await rung(bells, Bell.SENDER)


async def test_a_ring_wakes_who_waits() -> None:
    bells = Bells()
    waiting = asyncio.create_task(bells.wait(Bell.DISPATCHER, at_most_seconds=60))
    await asyncio.sleep(0)
    bells.ring(Bell.DISPATCHER)
    async with asyncio.timeout(5):
        await waiting
