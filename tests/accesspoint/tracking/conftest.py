"""Pages over a store with the fixed journeys, served on loopback, and a client that signs in as somebody."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import aiohttp
import pytest
from journeys import samples
from tracking_parts import Served, Visitor

from accesspoint.clock import SystemClock
from accesspoint.network.listening import Listeners
from accesspoint.status_component.store import EventStore
from accesspoint.tracking.entrance import CodeEntrance
from accesspoint.tracking.pages import Pages


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    store, listeners = await EventStore.open(), Listeners()
    stories = samples(datetime.now(UTC))
    for story in stories.values():
        await store.add_all(story.reports, received_at=story.now)
    entrance = CodeEntrance(SystemClock())
    pages = Pages(store, clock=SystemClock(), entrance=entrance)
    url = await listeners.start(pages.application())
    yield Served(pages, url, store, stories, entrance.code)
    await listeners.stop()
    await store.close()


@pytest.fixture
async def visitor(served: Served) -> AsyncIterator[Visitor]:
    jar = aiohttp.CookieJar(unsafe=True)
    headers = {"Accept-Language": "en"}
    async with aiohttp.ClientSession(trust_env=False, cookie_jar=jar, headers=headers) as session:
        yield Visitor(served, session)
