"""The worker that lets go of what is over: retention first, then the orphans that a crash left, once an hour."""

import asyncio
from typing import Final

import structlog

from accesspoint.clock import Clock
from accesspoint.config import Retention
from accesspoint.store.database import Database, StorageBusy
from accesspoint.store.orphans import OrphanSweeper
from accesspoint.store.payloads import PayloadStore
from accesspoint.store.retention import RetentionKeeper

EVERY_SECONDS: Final = 3600.0
_log = structlog.get_logger("accesspoint.store")


class Housekeeper:
    """Keeps one store in order; `retention` and `orphans` can also be asked what they would do."""

    def __init__(
        self, database: Database, payloads: PayloadStore, *, clock: Clock, periods: Retention
    ) -> None:
        self.retention = RetentionKeeper(database, payloads, clock=clock, periods=periods)
        self.orphans = OrphanSweeper(database, payloads, clock=clock, grace=periods.orphans)

    async def run(self) -> None:
        """Keep order until cancelled."""
        while True:
            try:
                await self.retention.apply()
                await self.orphans.sweep()
            except StorageBusy as busy:
                _log.warning("housekeeping_postponed", detail=str(busy))
            await asyncio.sleep(EVERY_SECONDS)
