"""The heartbeat of a node: holds on to what its workers have in hand, takes up what a dead node holds, says that it lives.

All of it is one commit, three times in the length of a lease. Several machines judge the same leases, so they
need one time: that of the database server. Each beat reads it, and the monotonic clock of the machine carries
it to the next one. A reading that took long is dropped; a machine whose own time was far away is told of in the
log. What holds without any of this is that a result is stored only under the claim it belongs to (`leases.py`).
"""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import structlog

from accesspoint import __version__
from accesspoint.clock import Clock, SteeredClock, from_microseconds
from accesspoint.store.database import Database, StorageError, Transaction
from accesspoint.store.leases import Leases
from accesspoint.store.messages import release_leases
from accesspoint.store.nodes import forget_node, read_clock, record_node

SLOWEST_READING: Final = timedelta(seconds=1)
"""A reading of the server's clock that took longer says too little about now."""
ASTRAY: Final = timedelta(seconds=2)
_log = structlog.get_logger("accesspoint")


class Heartbeat:
    """Beats for one process; `wake` lets its workers look at the tables, which others may have changed."""

    def __init__(
        self,
        database: Database,
        leases: Leases,
        *,
        clock: Clock,
        name: str,
        wake: Callable[[], None],
    ) -> None:
        self._database = database
        self._leases = leases
        self._clock = clock
        self._name = name
        self._wake = wake

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            await self.beat()
            await asyncio.sleep(self._leases.beat_seconds)

    async def beat(self) -> int:
        """Beat once; answers how many messages were taken over from a node that let its leases run out."""
        await self.read_clock()
        taken = await self._database.run(self._work)
        if taken:
            _log.info("taken_over", messages=taken)
        self._wake()
        return taken

    async def _work(self, tx: Transaction) -> int:
        now = self._clock.now()
        # Renewed first: a node that was paused keeps what nobody has taken from it.
        await self._leases.renew(tx, at=now)
        taken = await release_leases(tx, at=now, sole_node=False)
        await record_node(
            tx, owner=self._leases.owner, name=self._name, version=__version__, at=now,
            schema_version=self._database.schema_version, silent_since=now - self._leases.duration,
        )  # fmt: skip
        return taken

    async def read_clock(self) -> None:
        """Set a shared clock to the database server's time."""
        if not isinstance(self._clock, SteeredClock):
            return
        began = self._clock.monotonic()
        moment = await self._database.read(read_clock)
        took = timedelta(seconds=self._clock.monotonic() - began)
        if moment is None or took > SLOWEST_READING:
            return
        astray = self._clock.steer(from_microseconds(moment) + took / 2)
        if abs(astray) > ASTRAY:
            _log.warning("clock_astray", seconds=round(astray.total_seconds(), 3))

    async def leave(self) -> None:
        """Give back at once what this process holds, and say that it is gone: nobody need wait for its leases."""

        async def work(tx: Transaction) -> None:
            owner = self._leases.owner
            await release_leases(tx, at=self._clock.now(), sole_node=False, owner=owner)
            await forget_node(tx, owner=owner)

        with contextlib.suppress(StorageError):
            await self._database.run(work)
