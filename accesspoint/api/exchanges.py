"""What a person does with one AS4 exchange: see what stands still, try again, release, withdraw.

Each act is one commit, fenced by the state it was asked in: what a worker has in hand, or has moved on
meanwhile, is not touched, and the answer says so. Nothing here deletes anything.

Spec: reliability section 2.2 (UNCERTAIN, HELD, QUARANTINED, CANCELLED); decision D7.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from accesspoint.api.queries import Json, describe_exchange, time_text
from accesspoint.clock import Clock, to_microseconds
from accesspoint.evidence.gather import EXPORTED, Bundles
from accesspoint.outbound.acknowledging import note
from accesspoint.stations import Bell, Bells
from accesspoint.stations.reporting import Act, Reporter, facts_from_json
from accesspoint.store.audit import record_audit
from accesspoint.store.database import Database, Row, Transaction
from accesspoint.store.lanes import NEVER
from accesspoint.store.messages import StateMoved, advance, find_message
from envelope import receiving, sending

MOST: Final = 500
EVIDENCE_EXPORTED: Final = "evidence.exported"
PAYLOAD_VIEWED: Final = "payload.viewed"
"""What the audit log says of a payload that was handed to a person."""
STANDING: Final = frozenset({sending.State.UNCERTAIN, *receiving.BY_A_PERSON})
"""Where nothing happens until a person acts, or a late receipt comes."""
RETRIED: Final = frozenset(
    {
        sending.State.ACCEPTED,
        sending.State.RETRY_WAIT,
        sending.State.UNCERTAIN,
        receiving.State.DELIVERY_WAIT,
    }
)
_STATES: Final = frozenset(str(s) for s in (*sending.State, *receiving.State))


_ANSWER: Final = (
    "(SELECT acknowledgement FROM documents AS d WHERE d.direction = messages.direction"
    " AND d.message_identifier = messages.message_identifier LIMIT 1) AS answer"
)


class NotPossible(Exception):
    """This act does not fit where the message stands; the text says why."""


class Elsewhere(NotPossible):
    """The station that could do it does not run on this node; the text says whom to ask."""


class UnknownExchange(LookupError):
    """No exchange has this id."""


class Exchanges:
    """The exchanges of one node, for whoever operates it."""

    def __init__(
        self,
        *,
        database: Database,
        reporter: Reporter,
        bells: Bells,
        clock: Clock,
        bundles: Bundles | None = None,
    ) -> None:
        """`bundles` is None where no access point runs, which has the signatures."""
        self._database = database
        self._reporter = reporter
        self._bells = bells
        self._clock = clock
        self._bundles = bundles
        self._acts: Mapping[str, Callable[[Transaction, Row], Awaitable[None]]] = {
            "retry": self._retry,
            "release": self._release,
            "cancel": self._cancel,
        }

    async def list(self, state: str | None, *, everything: bool = False) -> list[Json]:
        """What stands still, or all in one state, or everything that moved last; the oldest first, at most `MOST`.

        Raises: NotPossible for a state that does not exist.
        """
        if state is not None and state not in _STATES:
            known = ", ".join(sorted(_STATES))
            raise NotPossible(f"there is no state {state}; the states are {known}")
        if everything and state is None:
            rows = await self._database.fetch(
                f"SELECT *, {_ANSWER} FROM messages ORDER BY updated_at DESC, id DESC LIMIT $1",  # noqa: S608
                MOST,
            )
            return [_summary(row) for row in reversed(rows)]
        # Written out, so that the index of what waits for a person is used; the names are the tables' own.
        names = [state] if state is not None else sorted(str(one) for one in STANDING)
        listed = ", ".join(f"'{name}'" for name in names)
        rows = await self._database.fetch(
            f"SELECT *, {_ANSWER} FROM messages WHERE state IN ({listed}) ORDER BY updated_at, id LIMIT $1",  # noqa: S608
            MOST,
        )
        return [_summary(row) for row in rows]

    async def describe(self, id_: str) -> Json:
        """One exchange with its history, by any of its ids; raises `UnknownExchange` and `NotPossible`."""

        async def look(tx: Transaction) -> Json:
            return await describe_exchange(tx, await _find_by_any(tx, id_))

        return await self._database.read(look)

    async def evidence(self, id_: str, *, actor: str, reason: str | None = None) -> bytes:
        """The evidence bundle of an exchange, by any of its ids, a ZIP archive, with the payload where there is a reason.

        Journal and audit log say that it was handed out, and to whom, before it is.

        Raises: UnknownExchange; NotPossible where this node has no access point, or several have the id.
        """
        if self._bundles is None:
            raise Elsewhere("no access point runs here; ask the node that signs and receives")
        with_payload = reason is not None
        row = await self._database.read(lambda tx: _find_by_any(tx, id_))
        bundle = await self._bundles.build(row["id"], with_payload=with_payload)
        if bundle is None:
            raise UnknownExchange(id_)

        async def note_export(tx: Transaction) -> None:
            await self._note(tx, row, EXPORTED, with_payload=with_payload)
            await record_audit(
                tx, actor=actor, action=PAYLOAD_VIEWED if with_payload else EVIDENCE_EXPORTED, object=row["id"],
                person=self._bundles.person_in(row) if self._bundles and with_payload else None,
                reason=reason, at=self._clock.now(),
            )  # fmt: skip

        await self._database.run(note_export)
        self._bells.ring(Bell.JOURNAL)
        return bundle

    async def act(self, id_: str, verb: str, *, actor: str, reason: str) -> Json:
        """Do `retry`, `release` or `cancel`, in the name of somebody who says why; the exchange as it is afterwards.

        Raises: UnknownExchange; NotPossible where the act does not fit, or a worker has the message in hand.
        """

        found: list[str] = []

        async def work(tx: Transaction) -> None:
            row = await _find_by_any(tx, id_)
            found.append(row["id"])
            if row["lease_owner"] is not None:
                raise NotPossible("it is being worked on at this moment; ask again")
            await self._acts[verb](tx, row)
            await record_audit(
                tx,
                actor=actor,
                action=f"message.{verb}",
                object=row["id"],
                reason=reason,
                at=self._clock.now(),
            )

        try:
            await self._database.run(work)
        except StateMoved as moved:
            raise NotPossible("it moved on at this moment; look again") from moved
        self._bells.ring(Bell.SENDER, Bell.DISPATCHER, Bell.OUTBOX, Bell.BACKEND)
        return await self.describe(found[-1])

    async def _retry(self, tx: Transaction, row: Row) -> None:
        if row["state"] not in RETRIED:
            again = (
                "; what has ended is sent again by `accesspoint messages resend`"
                if _has_ended(row)
                else ""
            )
            raise NotPossible(f"a message that is {row['state']} is not tried again{again}")
        now = self._clock.now()
        await advance(tx, row, [], at=now, fenced=True, columns={"next_at": to_microseconds(now)})
        await self._note(tx, row, "retry-asked")

    async def _release(self, tx: Transaction, row: Row) -> None:
        if row["state"] not in receiving.BY_A_PERSON:
            raise NotPossible(
                f"only what is HELD or QUARANTINED is released; this is {row['state']}"
            )
        now = self._clock.now()
        columns: dict[str, str | int | None] = {"next_at": to_microseconds(now), "attempt": 0}
        await advance(
            tx,
            row,
            receiving.State.DELIVERY_WAIT,
            at=now,
            fenced=True,
            note="released",
            columns=columns,
        )
        await self._note(tx, row, "released")

    async def _cancel(self, tx: Transaction, row: Row) -> None:
        if row["state"] not in sending.BEFORE_FIRST_ATTEMPT:
            waits = (
                "; it ends by itself when its time is over, and what belongs in its place is a new message"
                if row["state"] == sending.State.RETRY_WAIT
                else ""
            )
            raise NotPossible(
                f"a message that is {row['state']} cannot be withdrawn: it may have been seen{waits}"
            )
        now = self._clock.now()
        await advance(
            tx,
            row,
            sending.State.CANCELLED,
            at=now,
            fenced=True,
            note="cancelled",
            columns={"next_at": NEVER},
        )
        await self._reporter.report(tx, Act.AP_SENT, facts_from_json(row["facts"]), failed=True)
        await self._note(tx, row, "cancelled")

    async def _note(self, tx: Transaction, row: Row, event: str, **detail: object) -> None:
        await note(tx, row, event, reporter=self._reporter, detail=detail)


async def _find_by_any(tx: Transaction, id_: str) -> Row:
    """The exchange with this id of ours, ebMS MessageId, or identifier of the message in it.

    Raises: UnknownExchange; NotPossible where several have it.
    """
    row = await find_message(tx, id_)
    if row is not None:
        return row
    rows = await tx.fetch(
        "SELECT * FROM messages WHERE message_id = $1 OR message_identifier = $1 ORDER BY id DESC LIMIT 9",
        id_,
    )
    if not rows:
        raise UnknownExchange(id_)
    if len(rows) > 1:
        ids = ", ".join(f"{one['id']} ({_way(one)}, {one['state']})" for one in rows)
        raise NotPossible(f"several exchanges have this id; name one of {ids}")
    return rows[0]


def _way(row: Row) -> str:
    return f"to {row['final_recipient']}" if row["direction"] == "out" else "received"


def _has_ended(row: Row) -> bool:
    ends = {*sending.OUTCOMES, sending.State.NOTIFIED} - {sending.State.ACKNOWLEDGED}
    return row["direction"] == "out" and row["state"] in ends


def _summary(row: Row) -> Json:
    return {
        "id": row["id"],
        "direction": row["direction"],
        "state": row["state"],
        "since": time_text(row["updated_at"]),
        "message_identifier": row["message_identifier"],
        "message_id": row["message_id"],
        "party": row["party"],
        "original_sender": row["original_sender"],
        "final_recipient": row["final_recipient"],
        "attempt": row["attempt"],
        "problem": row["problem"],
        "answer": row["answer"],
    }
