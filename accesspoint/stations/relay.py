"""Carries what stations owe each other: durable hand-overs to the next station or to the backend, until they are taken.

A hand-over is brought at least once and taken once: its id is the idempotency key on the other side. The
delivery event of the act is reported in the commit that marks it done, so a station never says "sent"
of something that the next one does not have. A hand-over is leased while it is brought, so that of several
nodes with one store only one brings it; what a dead one held falls due when its lease runs out.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Final

import structlog

from accesspoint.clock import Clock, from_microseconds, to_microseconds
from accesspoint.failpoints import failpoint
from accesspoint.retry import RetrySchedule
from accesspoint.stations import Bell, Bells, Commit
from accesspoint.stations.link import Handover
from accesspoint.stations.reporting import Reporter
from accesspoint.stations.settling import handover_of, note_row, set_aside, settle
from accesspoint.store.columns import ColumnDamaged, ColumnKeyMissing
from accesspoint.store.database import (
    Database,
    Dialect,
    Row,
    StorageBusy,
    StorageFailure,
    Transaction,
)
from accesspoint.store.leases import Leases
from accesspoint.store.outcomes import KIND as OUTCOME
from accesspoint.store.payloads import PayloadDamaged, PayloadMissing

BATCH: Final = 16

_CLAIM: Final = """
WITH due AS MATERIALIZED (
  SELECT id FROM handovers WHERE state = 'waiting' AND target IN ({targets}) AND next_at <= $3
  AND (lease_until IS NULL OR lease_until <= $3)
  ORDER BY next_at, id LIMIT $4 {skip_locked})
UPDATE handovers SET lease_owner = $1, lease_until = $2, lease_epoch = lease_epoch + 1
WHERE id IN (SELECT id FROM due) RETURNING *
"""
_NEXT_DUE: Final = """
SELECT MIN(CASE WHEN lease_until IS NOT NULL AND lease_until > next_at THEN lease_until ELSE next_at END) AS due
FROM handovers WHERE state = 'waiting' AND target IN ({targets})
"""
_RELEASE: Final = (
    "UPDATE handovers SET lease_owner = NULL, lease_until = NULL"
    " WHERE state = 'waiting' AND target IN ({targets}) AND lease_owner IS NOT NULL"
)
_LATER: Final = (
    "UPDATE handovers SET attempts = $1, next_at = $2, problem = $3, lease_owner = NULL, lease_until = NULL"
    " WHERE id = $4 AND state = 'waiting' AND lease_owner = $5 AND lease_epoch = $6"
)
DAMAGED: Final = "payload-damaged"
_log = structlog.get_logger("accesspoint.stations")

Carrier = Callable[[Handover], Awaitable[None]]
"""Brings one hand-over to its target; returns when the target has taken it for good."""


class NotTaken(Exception):
    """The target did not take the hand-over now; `slug` names the problem."""

    def __init__(self, slug: str, detail: str) -> None:
        super().__init__(detail)
        self.slug = slug
        self.detail = detail


class NeverTaken(NotTaken):
    """No repetition helps: the hand-over is set aside for a person."""


class HandoverRelay:
    """Brings due hand-overs to their targets, and none to any other; `carriers` by target name.

    Targets that must not wait for each other have a relay each.
    """

    def __init__(
        self,
        *,
        database: Database,
        carriers: Mapping[str, Carrier],
        reporter: Reporter,
        bells: Bells,
        clock: Clock,
        schedule: RetrySchedule,
        leases: Leases,
        bell: Bell = Bell.RELAY,
    ) -> None:
        self._database = database
        self._carriers = carriers
        self._reporter = reporter
        self._bells = bells
        self._clock = clock
        self._schedule = schedule
        self._leases = leases
        self._woken = bells.listen(bell)
        # Names of our own, so that they may stand in the statement.
        self._targets = ", ".join(f"'{target}'" for target in carriers)

    async def run(self) -> None:
        """Carry due hand-overs until cancelled."""
        if self._database.dialect is Dialect.SQLITE:
            # One process owns the store: a lease found at the start is that of a dead one.
            await self._database.run(lambda tx: tx.execute(_RELEASE.format(targets=self._targets)))
        while True:
            # Looking is a read; a claim is a commit, and most rings of the bell bring nothing to claim.
            seconds = await self._idle_seconds()
            rows = await self._claim() if seconds == 0.0 else []
            await asyncio.gather(*(self._carry(row) for row in rows))
            if not rows:
                await self._bells.wait(self._woken, at_most_seconds=seconds)

    async def _claim(self) -> list[Row]:
        """Lease due hand-overs that nobody holds, so that of several nodes one brings each."""
        now = self._clock.now()
        return await self._database.run(
            lambda tx: tx.fetch(
                _CLAIM.format(targets=self._targets, skip_locked=tx.skip_locked),
                self._leases.owner, to_microseconds(now + self._leases.duration), to_microseconds(now), BATCH,
            )
        )  # fmt: skip

    async def _idle_seconds(self) -> float | None:
        """How long nothing can fall due: until the next hand-over's time, or without end when none waits."""
        row = await self._database.fetch_one(_NEXT_DUE.format(targets=self._targets))
        if row is None or row["due"] is None:
            return None
        return max(
            0.0, (from_microseconds(int(row["due"])) - self._clock.now()) / timedelta(seconds=1)
        )

    async def _carry(self, row: Row) -> None:
        """Bring one hand-over and mark it done; whatever fails on the way, it waits and is tried again."""
        is_outcome = row["kind"] == OUTCOME
        try:
            failpoint("S15") if is_outcome else failpoint("D1")
            handover = handover_of(row)
            with self._leases.working_on("handovers", handover.id):
                await self._carriers[handover.target](handover)
            failpoint("S16") if is_outcome else failpoint("D3")
            await self._bells.run(self._database, self._done(handover))
            failpoint("D4")
        except NeverTaken as refused:
            await self._bells.run(
                self._database, self._set_aside(row, refused.detail, refused.slug)
            )
        except NotTaken as refused:
            await self._bells.run(self._database, self._later(row, refused))
        except (PayloadDamaged, PayloadMissing, ColumnDamaged) as error:
            # The row, or what it refers to, is not as it was written: kept for a person, and brought to nobody.
            _log.error("payload_damaged", handover=row["id"], detail=str(error))
            await self._bells.run(self._database, self._set_aside(row, type(error).__name__))
        except StorageBusy as busy:
            # No room, or the object store is away: nothing was written, and it is tried again.
            await self._bells.run(
                self._database, self._later(row, NotTaken("storage-full", str(busy)))
            )
        except ColumnKeyMissing as missing:
            await self._bells.run(
                self._database, self._later(row, NotTaken(missing.problem, str(missing)))
            )
        except StorageFailure:
            raise
        except Exception as error:  # noqa: BLE001 - the seam of the worker: one hand-over never stops the others
            _log.error("handover_failed", handover=row["id"], error=type(error).__name__)
            unexpected = NotTaken("internal", type(error).__name__)
            await self._bells.run(self._database, self._later(row, unexpected))

    def _done(self, handover: Handover) -> Commit:
        async def work(tx: Transaction) -> None:
            await settle(tx, handover, reporter=self._reporter, at=self._clock.now())

        return Commit(work, frozenset({Bell.OUTBOX}))

    def _set_aside(self, row: Row, why: str, problem: str = DAMAGED) -> Commit:
        async def work(tx: Transaction) -> None:
            await set_aside(tx, row, problem=problem, why=why, reporter=self._reporter)

        return Commit(work)

    def _later(self, row: Row, refused: NotTaken) -> Commit:
        attempts = int(row["attempts"]) + 1
        due = to_microseconds(self._clock.now() + self._schedule.delay(attempts))

        async def work(tx: Transaction) -> None:
            touched = await tx.execute(
                _LATER,
                attempts,
                due,
                refused.slug,
                row["id"],
                self._leases.owner,
                row["lease_epoch"],
            )
            if touched != 1:
                # Done, or in another's hands, since our lease ran out: that one's word counts.
                return
            await note_row(
                tx, row, "not-taken",
                reporter=self._reporter, problem=refused.slug, why=refused.detail,
            )  # fmt: skip

        _log.warning(
            "handover_not_taken", handover=row["id"], target=row["target"], problem=refused.slug
        )
        return Commit(work)
