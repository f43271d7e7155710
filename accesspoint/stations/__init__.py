"""The stations of one organisation: end-user application edge, message service handler, and what lies between them.

A station takes something over (`take_…`), prepares files outside any transaction, and returns a
`Commit`: the durable part, to be run inside whoever's transaction. Where two stations are built
together the commit of the next one simply joins; where they stand apart a sealed hand-over row joins
instead, and a relay carries it. So responsibility always passes inside one commit.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from accesspoint.store.database import Database, Transaction

T = TypeVar("T")


class Bell(StrEnum):
    """Who has work after a commit."""

    SENDER = "sender"
    DISPATCHER = "dispatcher"
    RELAY = "relay"
    OUTBOX = "outbox"
    JOURNAL = "journal"


@dataclass(frozen=True, slots=True)
class Commit:
    """The durable part of a step, and the bells to ring once it is on disk."""

    work: Callable[[Transaction], Awaitable[None]]
    rings: frozenset[Bell] = frozenset()

    def then(self, other: "Commit") -> "Commit":
        """Both parts in one transaction, in this order."""

        async def both(tx: Transaction) -> None:
            await self.work(tx)
            await other.work(tx)

        return Commit(both, self.rings | other.rings)


class Bells:
    """Wakes the workers of this process; what they find is in the store, the bell only saves waiting."""

    def __init__(self) -> None:
        self._events = {bell: asyncio.Event() for bell in Bell}

    def ring(self, *bells: Bell) -> None:
        """Wake who waits for these bells, and whoever follows the journal."""
        for bell in bells:
            self._events[bell].set()
        self._events[Bell.JOURNAL].set()

    async def wait(self, bell: Bell, *, at_most_seconds: float | None) -> None:
        """Return when the bell rings or the time is over; a ring while nobody waited counts."""
        event = self._events[bell]
        try:
            async with asyncio.timeout(at_most_seconds):
                await event.wait()
        except TimeoutError:
            return
        event.clear()

    async def run(self, database: Database, commit: Commit) -> None:
        """Run a commit as one durable unit of work, then ring its bells."""

        async def work(tx: Transaction) -> None:
            await commit.work(tx)

        await database.run(work)
        self.ring(*commit.rings)


__all__ = ["Bell", "Bells", "Commit"]
