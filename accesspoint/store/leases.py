"""What this process holds, and the heartbeat by which it goes on holding it.

A claimed row belongs to its worker until `lease_until`. Leases are short, so that what a dead node held is taken
up soon; a request may take long, so the node's heartbeat renews the leases of what its workers have in hand,
and of nothing else: a row that nobody works on any more runs out, also when the process lives.

A paused process wakes up as a stranger: its leases have run out, others may have its rows. It may end what it
had begun (with the same MessageId, event id or delivery id as they), but each result is stored only under the
owner and the epoch of its claim, and so changes nothing any more.

Nothing that is promised depends on a clock: a lease that ends too early or too late costs a repetition or a wait.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final

from accesspoint.clock import to_microseconds
from accesspoint.store.database import Transaction

LEASE: Final = timedelta(seconds=30)
BEATS: Final = 3
"""Heartbeats in the length of a lease: two may be late before anything is lost to another node."""
LEASED: Final = ("messages", "handovers")


class Leases:
    """The leases of one process; `owner` is new for every start, so nobody inherits by name."""

    def __init__(self, owner: str, *, duration: timedelta = LEASE) -> None:
        self.owner = owner
        self.duration = duration
        self._in_hand: dict[str, dict[str, int]] = {table: {} for table in LEASED}

    @property
    def beat_seconds(self) -> float:
        """Seconds between two heartbeats."""
        return self.duration.total_seconds() / BEATS

    @contextmanager
    def working_on(self, table: str, id_: str) -> Iterator[None]:
        """Have the lease of this row renewed for the length of the context."""
        rows = self._in_hand[table]
        rows[id_] = rows.get(id_, 0) + 1
        try:
            yield
        finally:
            rows[id_] -= 1
            if rows[id_] == 0:
                del rows[id_]

    def ids(self, table: str) -> tuple[str, ...]:
        """What of a table is in hand now."""
        return tuple(self._in_hand[table])

    async def renew(self, tx: Transaction, *, at: datetime) -> int:
        """Hold what is in hand for another while, as far as it is still ours; answers how many rows."""
        until = to_microseconds(at + self.duration)
        renewed = 0
        for table in LEASED:
            ids = self.ids(table)
            if ids:
                numbers = ", ".join(f"${index}" for index in range(3, len(ids) + 3))
                renewed += await tx.execute(
                    f"UPDATE {table} SET lease_until = $1 WHERE lease_owner = $2 AND id IN ({numbers})",  # noqa: S608
                    until, self.owner, *ids,
                )  # fmt: skip
        return renewed
