"""An empty store."""

from collections.abc import AsyncIterator

import pytest

from accesspoint.status_component.store import EventStore


@pytest.fixture
async def store() -> AsyncIterator[EventStore]:
    opened = await EventStore.open()
    yield opened
    await opened.close()
