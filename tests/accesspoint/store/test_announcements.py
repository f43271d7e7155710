"""What one node commits, the others hear: on a real server, over cut connections too."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from background import background

asyncpg = pytest.importorskip("asyncpg", reason="the extra 'postgres' is not installed")

from accesspoint.store import announcements  # noqa: E402
from accesspoint.store.announcements import Announcements  # noqa: E402


class Listener:
    def __init__(self, url: str, owner: str) -> None:
        self.words: asyncio.Queue[list[str]] = asyncio.Queue()
        self.announcements = Announcements(url, owner=owner, heard=self.words.put_nowait)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Listener"]:
        async with background(self.announcements.run()):
            yield self

    async def hears(self, speaker: "Listener", word: str) -> None:
        """Wait until this one hears the other: what is said before somebody listens is lost, so say it again."""
        async with asyncio.timeout(10):
            while True:
                speaker.announcements.announce([word])
                try:
                    async with asyncio.timeout(0.2):
                        while word not in await self.words.get():
                            pass
                        return
                except TimeoutError:
                    continue


async def test_the_others_hear_and_oneself_does_not(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcements, "RECONNECT_SECONDS", 0.01)
    listeners = [Listener(postgresql_url, owner) for owner in ("one", "two", "three")]
    async with AsyncExitStack() as stack:
        one, two, three = [
            await stack.enter_async_context(listener.running()) for listener in listeners
        ]
        await two.hears(one, "sender")
        await three.hears(one, "sender")
        await one.hears(two, "outbox")
        assert one.words.empty()  # nothing of what it said itself

        # Said within a moment, heard once.
        one.announcements.announce(["relay"])
        one.announcements.announce(["journal", "relay"])
        async with asyncio.timeout(10):
            while "relay" not in (heard := await two.words.get()):
                pass
        assert heard == ["journal", "relay"]

        connection = await asyncpg.connect(postgresql_url)
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '%announcements'"
        )
        await connection.close()
        await two.hears(one, "after")
        await one.hears(three, "after")
