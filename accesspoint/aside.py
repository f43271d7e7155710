"""Long work goes into a thread, so that the event loop serves everybody else meanwhile: heartbeats, deadlines, partners.

What a message costs grows with its octets, and how many they are is up to whoever sent it. A small one costs less
than a thread hop.

Spec: hostile input, limits; reliability section 6.6.
"""

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

LARGE_BYTES: Final = 256 * 1024
T = TypeVar("T")


async def aside(work: Callable[[], T], octets: int) -> T:
    """Do work that goes through so many octets: here when they are few, in a thread when they are many."""
    return await asyncio.to_thread(work) if octets > LARGE_BYTES else work()
