"""The store of the status component: each report once, whole exchanges, waiting, following, restarts."""

import asyncio
import stat
from pathlib import Path

import pytest
from status_parts import AT, chain

from accesspoint.status_component.store import FILE, EventStore


async def test_an_exchange_is_a_message_and_everything_that_answers_it(store: EventStore) -> None:
    for resource in chain():
        await store.add(resource, received_at=AT)

    found = [stored.message_identifier for stored in await store.of_exchange(["m-1"])]

    assert found == ["m-3", "m-1", "m-2"]
    assert [stored.message_identifier for stored in await store.of_exchange(["m-2"])] == [
        "m-3",
        "m-2",
    ]


async def test_waiting_ends_with_the_last_report_expected(store: EventStore) -> None:
    waiting = asyncio.create_task(store.wait_for(["m-1"], 3, seconds=5))
    for resource in chain():
        await asyncio.sleep(0)
        assert not waiting.done()
        await store.add(resource, received_at=AT)

    assert len(await waiting) == 3


async def test_waiting_for_too_many_ends_with_the_time(store: EventStore) -> None:

    with pytest.raises(TimeoutError):
        await store.wait_for(["m-1"], 1, seconds=0.01)


async def test_a_follower_gets_old_and_new_reports_in_order(store: EventStore) -> None:
    resources = chain()
    for resource in resources[:2]:
        await store.add(resource, received_at=AT)
    followed = store.follow(1)
    assert (await anext(followed)).position == 2

    upcoming = asyncio.create_task(anext(followed))
    await asyncio.sleep(0)
    await store.add(resources[2], received_at=AT)

    assert (await upcoming).message_identifier == "x"


async def test_a_restart_brings_the_reports_back(tmp_path: Path) -> None:
    store = await EventStore.open(tmp_path)
    for resource in chain():
        await store.add(resource, received_at=AT)
    await store.add(chain()[0], received_at=AT)
    before = await store.reports()
    await store.close()

    again = await EventStore.open(tmp_path)

    assert await again.reports() == before
    assert (await again.add(chain()[1], received_at=AT))[1] is False
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    await again.close()
