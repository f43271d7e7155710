"""What ends one worker ends the node, is told once, and is not told again by the event loop."""

import asyncio
import gc
from typing import Any

import pytest

from accesspoint.store.database import StorageInterrupted
from accesspoint.workers import Workers


class Broken(Exception):
    """What ends a worker here."""


async def break_down() -> None:
    raise Broken


async def go_on() -> None:
    await asyncio.Event().wait()


async def test_what_ended_a_worker_is_raised_to_whoever_waits() -> None:
    workers = Workers()
    workers.add(go_on, break_down)
    workers.start()
    with pytest.raises(Broken):
        await workers.wait()
    await workers.stop()


async def test_a_worker_that_returns_has_ended_too() -> None:
    workers = Workers()
    workers.start(first=[lambda: asyncio.sleep(0)])
    with pytest.raises(RuntimeError, match="came to its end"):
        await workers.wait()
    await workers.stop()


async def test_a_cancellation_from_within_ends_a_worker_and_one_from_outside_is_obeyed() -> None:
    async def await_a_cancelled_one() -> None:
        other = asyncio.ensure_future(go_on())
        other.cancel()
        await other

    workers = Workers()
    workers.start(last=[await_a_cancelled_one, go_on])
    with pytest.raises(RuntimeError, match="cancelled from within"):
        await workers.wait()
    await workers.stop()
    assert [task.cancelled() for task in workers._running] == [False, True]


async def test_what_nobody_waited_for_is_not_told_by_the_loop() -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: told.append(what))
    workers = Workers()
    workers.add(break_down)
    workers.start()
    await asyncio.sleep(0)
    await workers.stop()
    del workers
    gc.collect()
    assert told == []


async def test_a_worker_starts_over_when_the_database_was_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("accesspoint.workers.INTERRUPTED_SECONDS", 0.0)
    runs: list[int] = []

    async def away_twice() -> None:
        runs.append(len(runs))
        if len(runs) == 1:
            raise StorageInterrupted("away")
        if len(runs) == 2:
            raise ExceptionGroup("away", [StorageInterrupted("away")])
        raise Broken

    workers = Workers()
    workers.start(first=[away_twice])
    with pytest.raises(Broken):
        await workers.wait()
    await workers.stop()
    assert runs == [0, 1, 2]
