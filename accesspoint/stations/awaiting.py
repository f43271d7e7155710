"""Waiting for acknowledgements: an alert when one is overdue, then perhaps the message in another envelope.

When the next step is due stands in the row of the envelope, so a restart forgets nothing, and of several nodes the
one whose update finds that time unchanged takes the step. An alert is a line in the journal, a line in the log, and
an outcome for whoever submitted the message; an acknowledgement that comes after it is told the same way. Sending again
is a person's decision unless the configuration says otherwise, and waits for as long as the access point itself still
tries: its repetitions are the same AS4 message, ours would be another one.

One layer up the receiving application owes a MedCom Acknowledgement, within half an hour. An alert is all that follows
when it is missing: a message that is sent again in another envelope is answered again.

Spec: ehmiSBDH 2.0, reliable messaging, timers; medcom-fhir.md 14; contradiction C-10.
"""

import asyncio
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import orjson
import structlog

from accesspoint.clock import Clock, from_microseconds, to_microseconds
from accesspoint.problems import Occurrence
from accesspoint.stations import Bell, Bells, Commit
from accesspoint.stations.contents import ContentGone
from accesspoint.stations.reporting import Reporter
from accesspoint.store.columns import ColumnDamaged, ColumnKeyMissing
from accesspoint.store.database import Database, Row, StorageBusy, Transaction
from accesspoint.store.outcomes import insert_outcome
from envelope.ehmi import TIME_TO_ACKNOWLEDGE
from envelope.errors import LocalProtocolError, SbdRefused

if TYPE_CHECKING:
    from accesspoint.stations.message_service_handler import MessageServiceHandler

OVERDUE: Final = "ACKNOWLEDGEMENT_OVERDUE"
ACKNOWLEDGED_LATE: Final = "ENVELOPE_ACKNOWLEDGED"
UNANSWERED: Final = "ANSWER_OVERDUE"
PROBLEM: Final = "acknowledgement-missing"
NO_ANSWER: Final = "fhir-acknowledgement-missing"
LONGEST_NAP: Final = timedelta(seconds=30)
SHORTEST_NAP: Final = timedelta(milliseconds=50)
BATCH: Final = 50

_DUE: Final = (
    "SELECT * FROM envelopes WHERE acknowledgement = 'awaited' AND look_at IS NOT NULL AND look_at <= $1"
    " ORDER BY look_at LIMIT $2"
)
_NEXT: Final = "SELECT MIN(look_at) AS due FROM envelopes WHERE acknowledgement = 'awaited' AND look_at IS NOT NULL"
_STEP: Final = (
    "UPDATE envelopes SET look_at = $1, alerted_at = COALESCE(alerted_at, $2) WHERE direction = 'out'"
    " AND envelope_id = $3 AND acknowledgement = 'awaited' AND look_at = $4"
)
_ENVELOPES: Final = "SELECT COUNT(*) AS envelopes FROM envelopes WHERE direction = 'out' AND message_identifier = $1 AND receiver = $2"
_STILL_TRIED: Final = (
    "SELECT 1 AS tried FROM messages WHERE direction = 'out' AND message_identifier = $1"
    " AND state IN ('ACCEPTED', 'RESOLVED', 'READY', 'SENDING', 'RETRY_WAIT')"
    " UNION ALL SELECT 1 AS tried FROM handovers WHERE target = 'down' AND kind = 'envelope'"
    " AND message_identifier = $1 AND state = 'waiting' LIMIT 1"
)
_LATE_ANSWERS: Final = (
    "SELECT * FROM documents WHERE direction = 'out' AND acknowledgement = 'awaited' AND alerted_at IS NULL"
    " AND created_at <= $1 ORDER BY created_at LIMIT $2"
)
_ALERTED: Final = "UPDATE documents SET alerted_at = $1 WHERE id = $2 AND acknowledgement = 'awaited' AND alerted_at IS NULL"
_log = structlog.get_logger("accesspoint.stations")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an acknowledgement is waited for; without `resend_after` nothing is sent again by itself."""

    resend_after: timedelta | None = None
    resends: int = 2
    alert: timedelta = TIME_TO_ACKNOWLEDGE


class AcknowledgementWatch:
    """The worker of one message service handler that takes the steps which fall due."""

    def __init__(
        self,
        *,
        database: Database,
        handler: "MessageServiceHandler",
        reporter: Reporter,
        bells: Bells,
        clock: Clock,
        patience: Patience,
    ) -> None:
        self._database = database
        self._handler = handler
        self._reporter = reporter
        self._bells = bells
        self._clock = clock
        self._patience = patience

    async def run(self) -> None:
        """Look again and again until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(await self._nap())

    async def look(self) -> int:
        """Take every step that is due; answers how many."""
        rows = await self._database.fetch(_DUE, to_microseconds(self._clock.now()), BATCH)
        for row in rows:
            if row["alerted_at"] is None:
                await self._bells.run(self._database, self._alert(row))
            else:
                await self._send_again(row)
        return len(rows)

    async def _nap(self) -> float:
        """Seconds in which nothing falls due: what is sent meanwhile is waited for at least as long as an alert takes."""
        row = await self._database.fetch_one(_NEXT)
        left = longest = min(LONGEST_NAP, self._patience.alert)
        if row is not None and row["due"] is not None:
            left = from_microseconds(int(row["due"])) - self._clock.now()
        return max(SHORTEST_NAP, min(longest, left)).total_seconds()

    def _alert(self, row: Row) -> Commit:
        """Tell of an overdue acknowledgement, once for each envelope."""
        now = self._clock.now()
        after = self._patience.resend_after
        then = None
        if after is not None:
            then = int(row["created_at"]) + after // timedelta(microseconds=1)

        async def work(tx: Transaction) -> None:
            touched = await tx.execute(
                _STEP, then, to_microseconds(now), row["envelope_id"], row["look_at"]
            )
            if touched != 1:
                # Acknowledged meanwhile, or another node was first.
                return
            await self._reporter.note(
                tx, "acknowledgement-overdue", station="MSH", message_identifier=row["message_identifier"],
                subject=row["message_identifier"], standard=row["standard"], problem=PROBLEM,
            )  # fmt: skip
            await _owe_outcome(tx, row, row["standard"], OVERDUE, at=now, problem=PROBLEM)

        _log.warning(
            "acknowledgement_overdue", envelope=row["envelope_id"], message=row["message_identifier"], problem=PROBLEM
        )  # fmt: skip
        return Commit(work, frozenset({Bell.BACKEND}))

    async def _send_again(self, row: Row) -> None:
        """Put the message into another envelope, unless that was done often enough, or the first is still on its way."""
        identifier = row["message_identifier"]
        count = await self._database.fetch_one(_ENVELOPES, identifier, row["receiver"])
        sent = 0 if count is None else int(count["envelopes"])
        if self._patience.resend_after is None or sent > self._patience.resends:
            await self._bells.run(self._database, self._step(row, None))
            return
        if await self._database.fetch_one(_STILL_TRIED, identifier) is not None:
            later = self._clock.now() + self._patience.resend_after
            await self._bells.run(self._database, self._step(row, to_microseconds(later)))
            return
        try:
            commit = await self._handler.resend(row, asked=False)
        except (ContentGone, LocalProtocolError, SbdRefused, ColumnDamaged) as error:
            _log.error("resend_impossible", envelope=row["envelope_id"], error=type(error).__name__)
            await self._bells.run(self._database, self._step(row, None))
            return
        except (StorageBusy, ColumnKeyMissing) as busy:
            _log.warning("resend_postponed", envelope=row["envelope_id"], detail=str(busy))
            later = self._clock.now() + LONGEST_NAP
            await self._bells.run(self._database, self._step(row, to_microseconds(later)))
            return
        try:
            await self._bells.run(self._database, self._step(row, None, fenced=True).then(commit))
        except _Overtaken:
            # Acknowledged meanwhile, or another node was first: nothing of the commit stands.
            commit.withdraw()

    def _step(self, row: Row, then: int | None, *, fenced: bool = False) -> Commit:
        async def work(tx: Transaction) -> None:
            touched = await tx.execute(_STEP, then, None, row["envelope_id"], row["look_at"])
            if fenced and touched != 1:
                raise _Overtaken

        return Commit(work)


class AnswerWatch:
    """The worker of one end-user application that tells of messages which nobody has answered within `time`."""

    def __init__(
        self, database: Database, reporter: Reporter, bells: Bells, clock: Clock, time: timedelta
    ) -> None:
        self._database = database
        self._reporter = reporter
        self._bells = bells
        self._clock = clock
        self._time = time

    async def run(self) -> None:
        """Look again and again until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(max(SHORTEST_NAP, min(LONGEST_NAP, self._time)).total_seconds())

    async def look(self) -> int:
        """Tell of every message whose time is over, once; answers how many."""
        latest = to_microseconds(self._clock.now() - self._time)
        rows = await self._database.fetch(_LATE_ANSWERS, latest, BATCH)
        for row in rows:
            await self._bells.run(self._database, self._alert(row))
        return len(rows)

    def _alert(self, row: Row) -> Commit:
        now = self._clock.now()

        async def work(tx: Transaction) -> None:
            touched = await tx.execute(_ALERTED, to_microseconds(now), row["id"])
            if touched != 1:
                # Answered meanwhile, or another node was first.
                return
            await self._reporter.note(
                tx, "answer-overdue", station="EUA", message_identifier=row["message_identifier"],
                subject=row["message_identifier"], standard=row["event_code"], problem=NO_ANSWER,
            )  # fmt: skip
            await _owe_outcome(tx, row, row["event_code"], UNANSWERED, at=now, problem=NO_ANSWER)

        _log.warning("answer_overdue", message=row["message_identifier"], problem=NO_ANSWER)
        return Commit(work, frozenset({Bell.BACKEND}))


class _Overtaken(Exception):
    """The envelope is not waited for any more."""


async def tell_if_late(tx: Transaction, row: Row, *, at: datetime) -> None:
    """Tell whoever was told that an acknowledgement is overdue that it came after all, in the commit that settles it."""
    if row["alerted_at"] is None:
        return
    await _owe_outcome(
        tx, row, row["standard"], ACKNOWLEDGED_LATE, at=at, supersedes=_outcome_id(row, OVERDUE)
    )


def _outcome_id(row: Row, state: str) -> str:
    waited_for = (
        f"envelope:{row['envelope_id']}" if "envelope_id" in row else f"document:{row['id']}"
    )
    name = f"urn:ehmi-accesspoint:{waited_for}:{state}"
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))


async def _owe_outcome(
    tx: Transaction,
    row: Row,
    standard: str,
    state: str,
    *,
    at: datetime,
    problem: str | None = None,
    supersedes: str | None = None,
) -> None:
    """Owe an outcome of an envelope or a message, of the shape that those of AS4 exchanges have, without an exchange."""
    met = None if problem is None else Occurrence.of(problem)
    told = {
        "id": _outcome_id(row, state),
        "state": state,
        "at": at.isoformat().replace("+00:00", "Z"),
        "message_identifier": row["message_identifier"],
        "standard": standard,
        "sender": row["sender"],
        "receiver": row["receiver"],
        "exchange": None,
        "message_id": None,
        "envelope_id": row.get("envelope_id"),
        "attempts": 1,
        "error": None,
        "problem": None
        if met is None
        else met.problem.to_json(given_up=True, message=row["message_identifier"]),
        "supersedes": supersedes,
    }
    await insert_outcome(tx, orjson.dumps(told), at=at)
