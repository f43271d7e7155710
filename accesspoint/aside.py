"""Long work goes into a thread, so that the event loop serves everybody else meanwhile: heartbeats, deadlines, partners.

What a message costs grows with its octets, and how many they are is up to whoever sent it. A small one costs less
than a thread hop. The threads are for this alone: however much of it waits, names are resolved and files are written
by others. What is read whole is in memory while it waits for its turn, so only so many octets are read at a time.

Spec: hostile input, limits; reliability section 6.6.
"""

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Final, TypeVar

LARGE_BYTES: Final = 256 * 1024
ROOM_BYTES: Final = 128 * 1024 * 1024
T = TypeVar("T")

_DOCUMENTS: Final = ThreadPoolExecutor(2, "document")
_STORES: Final = ThreadPoolExecutor(8, "store")


async def aside(work: Callable[[], T], octets: int) -> T:
    """Do work that goes through so many octets: here when they are few, in a thread when they are many."""
    return await _run(_DOCUMENTS, work) if octets > LARGE_BYTES else work()


async def afar(work: Callable[[], T]) -> T:
    """Do work that waits for a store across a network, in a thread."""
    return await _run(_STORES, work)


async def _run(pool: Executor, work: Callable[[], T]) -> T:
    """As `asyncio.to_thread`, in the threads of `pool`."""
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(pool, context.run, work)


class Room:
    """How many octets of large documents one node holds in memory at a time; whoever comes first is let in first.

    A small document needs none of it, so it never waits for large ones. Whoever is inside must not ask it for more: two
    that did could wait for each other for ever.
    """

    def __init__(self, octets: int = ROOM_BYTES) -> None:
        """Empty, with room for so many octets."""
        self._octets = self._free = octets
        self._turn = asyncio.Lock()
        self._left = asyncio.Event()

    @asynccontextmanager
    async def of(self, octets: int) -> AsyncIterator[None]:
        """Wait until a document of so many octets fits, and hold that room; a larger one than fits is let in alone."""
        if octets <= LARGE_BYTES:
            yield
            return
        octets = min(octets, self._octets)
        async with self._turn:
            while self._free < octets:
                self._left.clear()
                await self._left.wait()
            self._free -= octets
        try:
            yield
        finally:
            self._free += octets
            self._left.set()
