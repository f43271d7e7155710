"""The orphan sweeper: removes payloads that no row refers to, and never one that a row is about to refer to.

An orphan is what a crash leaves between publishing a file and committing its row, or between a purge and its
deletion. Just the same looks a file whose row is on its way, so a file goes only when all of this holds:

* it is older than the grace (24 hours), while a commit follows its file within one request;
* it was an orphan already when the sweeper looked 50 minutes before, by the monotonic clock: a wall clock that
  was set forward makes no file old;
* no row refers to it in the transaction that removes it. On SQLite nobody else can commit meanwhile. In an
  object store the removal waits for a network, so there it follows the transaction.

Spec: reliability sections 2.4 point R16 and 6.10.
"""

import asyncio
from datetime import timedelta
from typing import Final

import structlog

from accesspoint.clock import Clock
from accesspoint.failpoints import failpoint
from accesspoint.store.database import Database, Transaction
from accesspoint.store.payloads import PayloadEntry, PayloadStore
from accesspoint.store.references import find_referenced

BATCH: Final = 100
BETWEEN_SIGHTINGS: Final = timedelta(minutes=50)
_log = structlog.get_logger("accesspoint.store")


class OrphanSweeper:
    """Finds and removes the orphans of one payload store; `grace` is how old a file must be."""

    def __init__(
        self, database: Database, payloads: PayloadStore, *, clock: Clock, grace: timedelta
    ) -> None:
        self._database = database
        self._payloads = payloads
        self._clock = clock
        self._grace = grace
        self._sighted: dict[str, float] = {}

    async def find(self) -> list[PayloadEntry]:
        """Return every payload that is old enough and that no row refers to; removes nothing."""
        old = await asyncio.to_thread(self._find_old)
        found: list[PayloadEntry] = []
        for start in range(0, len(old), BATCH):
            batch = {entry.id: entry for entry in old[start : start + BATCH]}
            referenced = await self._database.read(
                lambda tx: find_referenced(tx, list(batch))  # noqa: B023 (awaited here)
            )
            found += [entry for name, entry in batch.items() if name not in referenced]
        return found

    async def sweep(self) -> int:
        """Remove the orphans that were sighted long enough ago, remember the others; return how many went."""
        now = self._clock.monotonic()
        orphans = [entry.id for entry in await self.find()]
        self._sighted = {name: self._sighted.get(name, now) for name in orphans}
        between = BETWEEN_SIGHTINGS / timedelta(seconds=1)
        due = [name for name in orphans if now - self._sighted[name] >= between]
        removed = 0
        for start in range(0, len(due), BATCH):
            removed += await self._remove(due[start : start + BATCH])
        if removed:
            _log.warning("orphans_removed", payloads=removed)
        return removed

    def _find_old(self) -> list[PayloadEntry]:
        before = self._clock.now() - self._grace
        return [entry for entry in self._payloads.entries() if entry.modified_at <= before]

    async def _remove(self, names: list[str]) -> int:
        async def work(tx: Transaction) -> list[str]:
            referenced = await find_referenced(tx, names)
            orphans = [name for name in names if name not in referenced]
            failpoint("R16")
            if not self._payloads.remote:
                # An effect outside the transaction, and a harmless one: an orphan it is, whether this commits or not.
                for name in orphans:
                    self._payloads.delete(name)
            return orphans

        orphans = await self._database.run(work)
        if self._payloads.remote:
            for name in orphans:
                await asyncio.to_thread(self._payloads.delete, name)
        return len(orphans)
