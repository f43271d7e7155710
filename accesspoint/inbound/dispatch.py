"""From a received message to the next station: leases what waits, opens it there, and marks it delivered in one commit.

The sender has its receipt already, so nothing here may be lost: what fails waits and is tried again, and
what cannot be read at all is kept in quarantine, never deleted.
"""

import asyncio
from typing import Final

import structlog

from accesspoint.clock import Clock, to_microseconds
from accesspoint.retry import RetrySchedule
from accesspoint.stations import Bell, Bells, Commit
from accesspoint.stations.document import Envelope, Stored
from accesspoint.stations.link import Link
from accesspoint.stations.reporting import Act, Reporter, facts_from_json, subject_of
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
from accesspoint.store.messages import StateMoved, advance, claim_due, find_due, next_due_at
from accesspoint.store.payloads import PayloadDamaged, PayloadMissing
from envelope.errors import RemoteProtocolError
from envelope.receiving import State

DUE_STATES: Final = (State.RECEIVED, State.DELIVERY_WAIT)
BATCH: Final = 16
HOLD_AFTER: Final = 10
_log = structlog.get_logger("accesspoint.inbound")


class Dispatcher:
    """Hands received envelopes up; `up` is the message service handler, here or elsewhere."""

    def __init__(
        self,
        *,
        database: Database,
        up: Link[Envelope],
        reporter: Reporter,
        bells: Bells,
        clock: Clock,
        schedule: RetrySchedule,
        leases: Leases,
    ) -> None:
        self._database = database
        self._up = up
        self._reporter = reporter
        self._bells = bells
        self._clock = clock
        self._schedule = schedule
        self._leases = leases

    async def run(self) -> None:
        """Lease and dispatch until cancelled."""
        while True:
            taken = await self._take_due()
            await asyncio.gather(*(self._dispatch(row) for row in taken))
            if not taken:
                await self._bells.wait(Bell.DISPATCHER, at_most_seconds=await self._idle_seconds())

    async def _take_due(self) -> list[Row]:
        """Due messages to hand on now: merely read where one process owns the store, else leased."""
        if self._database.dialect is Dialect.SQLITE:
            now = self._clock.now()
            return await self._database.read(
                lambda tx: find_due(tx, direction="in", states=DUE_STATES, now=now, limit=BATCH)
            )
        # Looking is a read; a claim is a commit, and most rings of the bell bring nothing to claim.
        return await self._claim() if await self._idle_seconds() == 0.0 else []

    async def _idle_seconds(self) -> float | None:
        """How long nothing can fall due: until the next row's time, or without end when none waits."""
        due = await self._database.read(
            lambda tx: next_due_at(tx, direction="in", states=DUE_STATES)
        )
        return None if due is None else max(0.0, (due - self._clock.now()).total_seconds())

    async def _claim(self) -> list[Row]:
        now = self._clock.now()
        return await self._database.run(
            lambda tx: claim_due(
                tx,
                direction="in",
                states=DUE_STATES,
                now=now,
                limit=BATCH,
                owner=self._leases.owner,
                lease=self._leases.duration,
            )
        )

    async def _dispatch(self, row: Row) -> None:
        try:
            with self._leases.working_on("messages", row["id"]):
                await self._deliver(row)
        except StateMoved as moved:
            _log.warning("inbound_fenced", message=row["id"], detail=str(moved))
        except RemoteProtocolError as error:
            await self._set_aside(row, State.QUARANTINED, error.reason)
        except (PayloadDamaged, PayloadMissing, ColumnDamaged) as error:
            # The row, or what it refers to, is not as it was written: a person may restore it and release the message.
            _log.error("payload_damaged", message=row["id"], detail=str(error))
            await self._set_aside(
                row, State.QUARANTINED, type(error).__name__, problem="payload-damaged"
            )
        except StorageBusy as busy:
            # No room, or the object store is away: nothing was written, and that is nobody's attempt.
            await self._set_aside(row, State.DELIVERY_WAIT, str(busy), problem="storage-full")
        except ColumnKeyMissing as missing:
            await self._set_aside(row, State.DELIVERY_WAIT, str(missing), problem=missing.problem)
        except StorageFailure:
            raise
        except Exception as error:  # noqa: BLE001 - the seam of the worker: one message never stops the others
            held = int(row["attempt"]) + 1 >= HOLD_AFTER
            await self._set_aside(
                row, State.HELD if held else State.DELIVERY_WAIT, type(error).__name__
            )

    async def _deliver(self, row: Row) -> None:
        """Let the next station take the envelope, and mark it delivered in the same commit."""
        facts = facts_from_json(row["facts"])
        stored = Stored(row["payload"], int(row["payload_bytes"]), row["payload_sha256"])
        taken = await self._up.pass_on(
            Envelope(row["message_identifier"], stored),
            act=Act.AP_PASSED_UP,
            facts=facts,
            at=self._clock.now(),
        )

        async def work(tx: Transaction) -> None:
            path = [str(State.DELIVERING), str(State.DELIVERED)]
            await advance(
                tx, row, path, at=self._clock.now(), fenced=True, columns={"problem": None}
            )

        await self._bells.run(self._database, Commit(work, frozenset({Bell.OUTBOX})).then(taken))

    async def _set_aside(
        self, row: Row, state: State, reason: str, *, problem: str = "delivery-failed"
    ) -> None:
        attempt = int(row["attempt"]) + 1
        now = self._clock.now()

        async def work(tx: Transaction) -> None:
            await advance(
                tx, row, [str(State.DELIVERING), str(state)], at=now, fenced=True, note=reason,
                columns={"attempt": attempt, "problem": problem,
                         "next_at": to_microseconds(now + self._schedule.ceiling(attempt))},
            )  # fmt: skip
            await self._reporter.note(
                tx,
                "not-delivered",
                station="AP",
                message_identifier=row["message_identifier"],
                subject=subject_of(row),
                standard=row["standard"],
                problem=problem,
                detail={"message": row["id"], "why": reason},
            )

        _log.error("inbound_not_delivered", message=row["id"], state=str(state), reason=reason)
        await self._bells.run(self._database, Commit(work))
