"""The routes by which a person, or the organisation's own system, acts on acknowledgements.

`GET /api/v1/overdue` tells of envelopes that nobody has acknowledged in time, and of messages that nobody has answered;
`POST /api/v1/messages/ID/resend` puts a message into another envelope, one that was acknowledged only with `?anyway=1`,
and wants `{"reason": ...}`;
`POST /api/v1/messages/ID/acknowledge` answers one that was received, as JSON
`{"code": "ok" | "fatal-error" | "transient-error", "reason": ..., "details": ..., "sender": ..., "receiver": ...}`.

Spec: ehmiSBDH 2.0, reliable messaging, scenarios 3 and 4; MedCom FHIR Acknowledgement 2.0.
"""

from json import JSONDecodeError
from typing import Final

from aiohttp import web

from accesspoint.api.answers import problem, read_reason
from accesspoint.api.exchanges import Elsewhere, NotPossible
from accesspoint.api.queries import Json, describe_message, time_text
from accesspoint.api.rights import CALLER
from accesspoint.clock import Clock
from accesspoint.stations import Bells, Commit
from accesspoint.stations.answering import NotAnswerable, UnknownMessage, Verdict
from accesspoint.stations.awaiting import NO_ANSWER, PROBLEM
from accesspoint.stations.contents import ContentGone
from accesspoint.stations.end_user_application import EndUserApplication
from accesspoint.stations.message_service_handler import MessageServiceHandler
from accesspoint.store.audit import record_audit
from accesspoint.store.database import Database, Row, Transaction
from envelope.sbdh_values import PARTICIPANT_PREFIX

MOST: Final = 500
_MEMBERS: Final = frozenset({"code", "reason", "details", "sender", "receiver"})
_OVERDUE: Final = (
    "SELECT * FROM envelopes AS e WHERE direction = 'out' AND acknowledgement = 'awaited' AND alerted_at IS NOT NULL"
    " AND NOT EXISTS (SELECT 1 FROM envelopes AS o WHERE o.direction = 'out' AND o.acknowledgement = 'positive'"
    " AND o.message_identifier = e.message_identifier AND o.receiver = e.receiver)"
    " ORDER BY created_at, envelope_id LIMIT $1"
)
_UNANSWERED: Final = (
    "SELECT * FROM documents WHERE direction = 'out' AND acknowledgement = 'awaited' AND alerted_at > created_at"
    " ORDER BY created_at, id LIMIT $1"
)
_SENT: Final = (
    "SELECT * FROM envelopes WHERE direction = 'out' AND acknowledgement <> 'none'"
    " AND (envelope_id = $1 OR message_identifier = $1) ORDER BY created_at DESC, envelope_id"
)
_ARRIVED: Final = (
    "SELECT (SELECT acknowledgement FROM documents WHERE direction = 'out' AND message_identifier = $1 AND receiver = $2)"
    " AS answer, (SELECT COUNT(*) FROM envelopes WHERE direction = 'out' AND message_identifier = $1 AND receiver = $3"
    " AND acknowledgement = 'positive') AS arrived"
)
_STILL_MISSED: Final = frozenset({"awaited", "transient-error"})


class AlreadyAcknowledged(Exception):
    """The receiver has the message and said so: sending it again would change nothing."""


class Acknowledging:
    """The routes of one node; `handler` and `application` are None where these stations run elsewhere."""

    def __init__(
        self,
        *,
        database: Database,
        bells: Bells,
        handler: MessageServiceHandler | None,
        application: EndUserApplication | None,
        clock: Clock,
    ) -> None:
        self._clock = clock
        self._database = database
        self._bells = bells
        self._handler = handler
        self._application = application

    def add_to(self, app: web.Application) -> None:
        """Add the routes to the interface."""
        app.router.add_get("/api/v1/overdue", self._list)
        app.router.add_post("/api/v1/messages/{message_identifier}/resend", self._resend)
        app.router.add_post("/api/v1/messages/{message_identifier}/acknowledge", self._answer)

    async def _list(self, _: web.Request) -> web.Response:
        envelopes = await self._database.fetch(_OVERDUE, MOST)
        messages = await self._database.fetch(_UNANSWERED, MOST)
        told = [_overdue(row, row["standard"], PROBLEM) for row in envelopes]
        told += [_overdue(row, row["event_code"], NO_ANSWER) for row in messages]
        return web.json_response({"overdue": told})

    async def _resend(self, request: web.Request) -> web.Response:
        """Answer 202 with what is known of the message now, the new envelope among it."""
        if self._handler is None:
            raise Elsewhere(
                "no message service handler runs here; ask the node that wraps messages"
            )
        reason = await read_reason(request)
        anyway = request.query.get("anyway") == "1"
        try:
            row = await self._find_sent(request.match_info["message_identifier"], anyway=anyway)
        except AlreadyAcknowledged:
            return problem(
                409, "already-acknowledged", "The receiver has acknowledged it: it has the message, and nothing is missing.",
                whose="ours", remedy=["leave it; or ask for it anyway: --anyway, or anyway=1 in the interface"],
            )  # fmt: skip
        if row is None:
            return problem(
                404, "message-unknown", "No envelope with this message was sent from here."
            )
        try:
            commit = await self._handler.resend(row, asked=True)
            audited = self._audited(request, "message.resend", row["envelope_id"], reason)
            await self._bells.run(self._database, commit.then(audited))
        except ContentGone as gone:
            raise NotPossible("its content is not stored any more; send a new message") from gone
        return await self._describe(row["message_identifier"], 202)

    async def _find_sent(self, identifier: str, *, anyway: bool) -> Row | None:
        """The envelope to send again: the newest of a message to its receiver.

        Raises NotPossible for what was refused; AlreadyAcknowledged, unless it is to be sent `anyway`.
        """
        rows = await self._database.fetch(_SENT, identifier)
        if not rows:
            return None
        # A message has one receiver. Its copy goes to another one, after it, and is named by its envelope.
        rows = [row for row in rows if row["receiver"] == rows[-1]["receiver"]]
        receiver = rows[0]["receiver"]
        gln = receiver.removeprefix(PARTICIPANT_PREFIX)
        known = await self._database.fetch_one(
            _ARRIVED, rows[0]["message_identifier"], gln, receiver
        )
        answer, arrived = (known["answer"], known["arrived"]) if known is not None else (None, 0)
        if rows[0]["acknowledgement"] == "negative" or answer == "fatal-error":
            raise NotPossible(
                "the receiver refused it, and would again: correct it and send a new message"
            )
        if arrived and answer not in _STILL_MISSED and not anyway:
            raise AlreadyAcknowledged
        return rows[0]

    async def _answer(self, request: web.Request) -> web.Response:
        """Answer 202, or 200 with `repeated` for what was answered so before."""
        if self._application is None:
            raise Elsewhere(
                "no end-user application runs here; ask the node that delivers messages"
            )
        try:
            body = await request.json()
        except (JSONDecodeError, UnicodeDecodeError):
            body = None
        if not _is_verdict(body):
            return problem(
                400, "bad-parameter", "The body is a JSON object with code, and reason, details, sender and receiver as texts."
            )  # fmt: skip
        identifier = request.match_info["message_identifier"]
        try:
            verdict = Verdict(body["code"], body.get("reason"), body.get("details"))
            commit = await self._application.answer(
                identifier, verdict, sender=body.get("sender"), receiver=body.get("receiver")
            )
            if commit is not None:
                audited = self._audited(request, "message.acknowledge", identifier, verdict.code)
                await self._bells.run(self._database, commit.then(audited))
        except UnknownMessage:
            return problem(404, "message-unknown", "No message with this identifier was received.")
        except NotAnswerable as refused:
            raise NotPossible(str(refused)) from refused
        return await self._describe(identifier, 202 if commit else 200, repeated=commit is None)

    def _audited(self, request: web.Request, action: str, object_: str, reason: str) -> Commit:
        """The part of a commit that says in whose name and why it is done."""
        actor, at = request[CALLER].actor, self._clock.now()

        async def work(tx: Transaction) -> None:
            await record_audit(tx, actor=actor, action=action, object=object_, reason=reason, at=at)

        return Commit(work)

    async def _describe(self, identifier: str, status: int, **more: bool) -> web.Response:
        told = await self._database.read(lambda tx: describe_message(tx, identifier))
        return web.json_response({**(told or {}), **more}, status=status)


def _is_verdict(body: object) -> bool:
    return (
        isinstance(body, dict)
        and "code" in body
        and set(body) <= _MEMBERS
        and all(isinstance(value, str) for value in body.values())
    )


def _overdue(row: Row, standard: str, slug: str) -> Json:
    """What waits too long; a message that nobody has answered has no envelope to name."""
    return {
        "envelope_id": row.get("envelope_id"),
        "message_identifier": row["message_identifier"],
        "standard": standard,
        "sender": row["sender"],
        "receiver": row["receiver"],
        "since": time_text(row["created_at"]),
        "due_at": time_text(row.get("due_at")),
        "alerted_at": time_text(row["alerted_at"]),
        "problem": slug,
    }
