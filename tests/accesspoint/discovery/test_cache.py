"""The cache: fresh answers from memory, refusals for a while, stale ones only when nobody answers."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from accesspoint.clock import ManualClock
from accesspoint.discovery.cache import CachedDirectory
from accesspoint.discovery.directory import HopKind, LookupFailed, LookupProblem

KEY = ("0088:5790009990027", "document", "process")
Fail = Callable[..., LookupFailed]


@pytest.fixture
def cached(scripted: Any, clock: ManualClock) -> CachedDirectory:
    return CachedDirectory(
        scripted,
        clock=clock,
        fresh_for=timedelta(minutes=5),
        refused_for=timedelta(minutes=1),
        stale_for=timedelta(hours=1),
    )


async def test_a_fresh_answer_comes_from_memory(
    cached: CachedDirectory, scripted: Any, clock: ManualClock
) -> None:
    first = await cached.find_endpoint(*KEY)
    clock.advance(timedelta(seconds=299))
    again = await cached.find_endpoint(*KEY)

    assert again.url == first.url
    assert [hop.kind for hop in first.hops] == [HopKind.SMP]
    assert [hop.kind for hop in again.hops] == [HopKind.CACHE]
    assert len(scripted.asked) == 1


async def test_an_old_answer_is_asked_for_again(
    cached: CachedDirectory, scripted: Any, clock: ManualClock
) -> None:
    first = await cached.find_endpoint(*KEY)
    clock.advance(timedelta(minutes=5))

    assert (await cached.find_endpoint(*KEY)).url != first.url


async def test_no_answer_outlives_its_own_expiry(
    cached: CachedDirectory, scripted: Any, clock: ManualClock, failure: Fail
) -> None:
    scripted.expires_at = clock.now() + timedelta(minutes=1)
    await cached.find_endpoint(*KEY)
    clock.advance(timedelta(minutes=1))
    scripted.failure = failure(LookupProblem.UNREACHABLE, permanent=False)

    with pytest.raises(LookupFailed):
        await cached.find_endpoint(*KEY)


async def test_each_receiver_document_and_process_is_its_own_answer(
    cached: CachedDirectory, scripted: Any
) -> None:
    urls = {
        (await cached.find_endpoint(*key)).url
        for key in [KEY, ("other", *KEY[1:]), (KEY[0], "other", KEY[2]), (*KEY[:2], "other")]
    }
    assert len(urls) == 4


async def test_a_permanent_refusal_is_remembered_for_a_while(
    cached: CachedDirectory, scripted: Any, clock: ManualClock, failure: Fail
) -> None:
    scripted.failure = failure(LookupProblem.NO_PARTICIPANT, permanent=True)
    for _ in range(2):
        with pytest.raises(LookupFailed) as refused:
            await cached.find_endpoint(*KEY)
    assert [hop.kind for hop in refused.value.hops] == [HopKind.CACHE, HopKind.SML]
    assert len(scripted.asked) == 1

    scripted.failure = None
    clock.advance(timedelta(minutes=1))
    assert await cached.find_endpoint(*KEY)


async def test_a_passing_failure_is_not_remembered(
    cached: CachedDirectory, scripted: Any, failure: Fail
) -> None:
    scripted.failure = failure(LookupProblem.UNREACHABLE, permanent=False)
    with pytest.raises(LookupFailed):
        await cached.find_endpoint(*KEY)
    scripted.failure = None

    assert await cached.find_endpoint(*KEY)


async def test_a_stale_answer_stands_in_while_the_directory_is_away(
    cached: CachedDirectory, scripted: Any, clock: ManualClock, failure: Fail
) -> None:
    first = await cached.find_endpoint(*KEY)
    scripted.failure = failure(LookupProblem.UNREACHABLE, permanent=False)
    clock.advance(timedelta(minutes=30))

    stale = await cached.find_endpoint(*KEY)
    assert stale.url == first.url
    assert "does not answer" in stale.hops[0].detail

    clock.advance(timedelta(minutes=30))
    with pytest.raises(LookupFailed):
        await cached.find_endpoint(*KEY)


@pytest.mark.parametrize(
    "slug",
    [slug for slug in LookupProblem if slug is not LookupProblem.UNREACHABLE],
)
async def test_no_stale_answer_covers_any_other_failure(
    cached: CachedDirectory, scripted: Any, clock: ManualClock, failure: Fail, slug: LookupProblem
) -> None:
    await cached.find_endpoint(*KEY)
    scripted.failure = failure(slug, permanent=False)
    clock.advance(timedelta(minutes=5))

    with pytest.raises(LookupFailed) as refused:
        await cached.find_endpoint(*KEY)
    assert refused.value.slug is slug


async def test_many_askers_share_one_look_up(cached: CachedDirectory, scripted: Any) -> None:
    found = await asyncio.gather(*(cached.find_endpoint(*KEY) for _ in range(20)))

    assert len({endpoint.url for endpoint in found}) == len(scripted.asked) == 1


async def test_an_asker_that_gives_up_does_not_end_the_look_up(
    cached: CachedDirectory, scripted: Any
) -> None:
    impatient = asyncio.create_task(cached.find_endpoint(*KEY))
    patient = asyncio.create_task(cached.find_endpoint(*KEY))
    await asyncio.sleep(0)
    impatient.cancel()

    assert (await patient).url
    assert len(scripted.asked) == 1


async def test_the_memory_is_bounded_and_keeps_what_was_used_last(
    scripted: Any, clock: ManualClock
) -> None:
    cached = CachedDirectory(scripted, clock=clock, capacity=2)
    for participant in ("a", "b", "a", "c", "a"):
        await cached.find_endpoint(participant, "d", "p")
    assert len(scripted.asked) == 3

    await cached.find_endpoint("b", "d", "p")
    assert len(scripted.asked) == 4
