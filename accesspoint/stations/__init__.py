"""The stations of one organisation: end-user application edge, message service handler, and what lies between them.

A station takes something over (`take_…`), prepares files outside any transaction, and returns a
`Commit`: the durable part, to be run inside whoever's transaction. Where two stations are built
together the commit of the next one simply joins; where they stand apart a sealed hand-over row joins
instead, and a relay carries it. So responsibility always passes inside one commit.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar

from accesspoint.store.database import Database, StorageError, StorageFailure, Transaction, Work
from accesspoint.store.payloads import PayloadStore

T = TypeVar("T")


class Bell(StrEnum):
    """Who has work after a commit."""

    SENDER = "sender"
    DISPATCHER = "dispatcher"
    RELAY = "relay"
    BACKEND = "backend"
    OUTBOX = "outbox"
    JOURNAL = "journal"


@dataclass(frozen=True, slots=True)
class Published:
    """A file that was published for a commit, by the id of its payload, and the store it stands in."""

    payloads: PayloadStore
    payload: str

    def delete(self) -> None:
        """Take the file back; one that cannot be deleted now is an orphan, which the sweeper knows."""
        with suppress(StorageError):
            self.payloads.delete(self.payload)


@dataclass(frozen=True, slots=True)
class Commit:
    """The durable part of a step, the bells to ring once it is on disk, and the files to delete when it is refused."""

    work: Work[None]
    rings: frozenset[Bell] = frozenset()
    undo: tuple[Published, ...] = ()

    def then(self, other: "Commit") -> "Commit":
        """Both parts in one transaction, in this order."""

        async def both(tx: Transaction) -> None:
            await self.work(tx)
            await other.work(tx)

        return Commit(both, self.rings | other.rings, self.undo + other.undo)

    def publishing(self, payloads: PayloadStore, payload: str) -> "Commit":
        """The same commit, which now answers for a published file: without it the file goes too."""
        return replace(self, undo=(*self.undo, Published(payloads, payload)))

    def withdraw(self) -> None:
        """Delete the files that were published for this commit, which will not be run or was refused."""
        for published in self.undo:
            published.delete()


@contextmanager
def withdrawing(payloads: PayloadStore, payload: str) -> Iterator[None]:
    """Delete a published file when the preparation that it was made for fails: no commit will ever point at it."""
    try:
        yield
    except BaseException:
        Published(payloads, payload).delete()
        raise


class Bells:
    """Wakes the workers of this process; what they find is in the store, the bell only saves waiting."""

    def __init__(self) -> None:
        self._events = {bell: asyncio.Event() for bell in Bell}
        self._listeners: dict[Bell, list[asyncio.Event]] = {bell: [] for bell in Bell}
        self.tell_others: Callable[[Iterable[str]], None] | None = None
        """Lets other processes on the same store ring these bells, after a commit of ours."""

    def ring(self, *bells: Bell) -> None:
        """Wake who waits for these bells, and whoever follows the journal."""
        for bell in bells:
            for event in (self._events[bell], *self._listeners[bell]):
                event.set()
        self._events[Bell.JOURNAL].set()

    def listen(self, bell: Bell) -> asyncio.Event:
        """An event of one's own that the bell sets and its owner clears: nobody takes the ring of another."""
        event = asyncio.Event()
        self._listeners[bell].append(event)
        return event

    async def wait(self, bell: Bell | asyncio.Event, *, at_most_seconds: float | None) -> None:
        """Return when the bell rings or the time is over; a ring while nobody waited counts."""
        event = self._events[bell] if isinstance(bell, Bell) else bell
        if not event.is_set():
            try:
                async with asyncio.timeout(at_most_seconds):
                    await event.wait()
            except TimeoutError:
                return
        event.clear()

    async def run(self, database: Database, commit: Commit) -> None:
        """Run a commit as one durable unit of work, then ring its bells.

        When the work is refused nothing points at the files that were published for it, and they are deleted.
        After a `StorageFailure`, or when cancelled, nobody knows whether it became durable: then they stay.
        """
        try:
            await database.run(commit.work)
        except StorageFailure:
            raise
        except Exception:
            commit.withdraw()
            raise
        # In one order: what wakes first must not depend on how this process hashes strings.
        self.ring(*sorted(commit.rings))
        if self.tell_others is not None:
            self.tell_others(commit.rings | {Bell.JOURNAL})


__all__ = ["Bell", "Bells", "Commit", "Published", "withdrawing"]
