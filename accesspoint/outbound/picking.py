"""Which messages go next: the rows that are due, by lanes, as many as there is room for.

One read finds the first due message of each lane; the lanes deal the free slots; then each lane's share is
taken, merely read where one process owns the store, else leased. A process remembers how its destinations
behave; what waits, and until when, is only in the rows.
"""

from collections.abc import Collection
from datetime import timedelta
from functools import partial
from typing import Final

from accesspoint.clock import Clock
from accesspoint.outbound.lanes import Lanes
from accesspoint.store.database import Database, Dialect, Row, Transaction
from accesspoint.store.lanes import (
    DUE_STATES,
    lane_heads,
    waiting_lanes,
    wake_lane,
)
from accesspoint.store.leases import Leases
from accesspoint.store.messages import claim_due, find_due

LONGEST_IDLE: Final = timedelta(hours=1)
SHORTEST_IDLE: Final = timedelta(milliseconds=50)
"""How long to wait where another node was faster: what it claimed looks free until it commits."""


class Picking:
    """Takes due outbound messages for one sender."""

    def __init__(self, *, database: Database, lanes: Lanes, clock: Clock, leases: Leases) -> None:
        self._database = database
        self._lanes = lanes
        self._clock = clock
        self._leases = leases

    async def begin(self) -> None:
        """Learn from the rows which partners' messages wait for another attempt."""
        self._lanes.prime(await self._database.read(waiting_lanes))

    async def wake(self) -> None:
        """Let the messages go now whose destination answers again."""
        now = self._clock.now()
        for lane in sorted(self._lanes.take_woken()):
            await self._database.run(partial(wake_lane, lane=lane, now=now))

    async def take(self, free: int, busy: Collection[str]) -> tuple[list[Row], timedelta | None]:
        """Up to `free` messages that are due and not `busy`, and how long nothing more can fall due (None: for ever)."""
        now = self._clock.now()
        heads = await self._database.read(lambda tx: lane_heads(tx, now=now, busy=busy))
        shares = self._lanes.share(heads, now=now, free=free)

        async def collect(tx: Transaction) -> list[Row]:
            rows: list[Row] = []
            for lane, limit in shares.items():
                if tx.dialect is Dialect.SQLITE:
                    rows += await find_due(
                        tx, direction="out", states=DUE_STATES, now=now, limit=limit, busy=busy, lane=lane,
                    )  # fmt: skip
                else:
                    rows += await claim_due(
                        tx, direction="out", states=DUE_STATES, now=now, limit=limit, owner=self._leases.owner, lease=self._leases.duration,
                        lane=lane,
                    )  # fmt: skip
            return rows

        if shares:
            alone = self._database.dialect is Dialect.SQLITE
            rows = await (self._database.read(collect) if alone else self._database.run(collect))
            if rows:
                return rows, None
        next_at = self._lanes.next_at(heads, now=now)
        if shares:
            return [], SHORTEST_IDLE
        return [], None if next_at is None else min(next_at - now, LONGEST_IDLE)
