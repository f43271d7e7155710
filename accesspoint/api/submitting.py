"""The route by which the organisation's own systems submit a message, once however often they ask.

A request may carry an `Idempotency-Key`, the submitter's own name for it: 1 to 255 visible ASCII characters,
with or without the quotes of a structured field. The key, the digest of the request (receiver and content)
and the answer are stored in the commit that accepts the message. The same request under the same key gets the
stored answer again, across restarts and for at least a week; another request under it is refused (422) and
alarmed. Without a key the message's own identifier does the same: the same bytes are answered as the first
time, other content under a used identifier is refused (409) and alarmed.

Large messages are read only while there is room for them. That room is for this alone: in the one of the node, who
sends slowly would hold up what others sent us. Whoever is inside goes on to ask for that one, and nobody the other way
round.

Spec: reliability section 2.2 (ACCEPTED), points S1 to S3; the Idempotency-Key draft of the HTTP API group.
"""

import hashlib
import json
import re
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

import structlog
from aiohttp import web

from accesspoint.access.caller import OWNER
from accesspoint.addressing.client import AddressingFailed
from accesspoint.addressing.service import AddressingService
from accesspoint.api.answers import problem
from accesspoint.api.queries import Json
from accesspoint.api.recipients import Recipients
from accesspoint.api.rights import CALLER
from accesspoint.aside import LARGE_BYTES, Room, aside
from accesspoint.clock import Clock
from accesspoint.failpoints import failpoint
from accesspoint.problems import PROBLEMS, find_problem
from accesspoint.stations import Bells, Commit
from accesspoint.stations.document import Document
from accesspoint.stations.end_user_application import (
    EndUserApplication,
    Submission,
    SubmissionRefused,
)
from accesspoint.store.database import Database, IntegrityViolation, Row, Transaction
from accesspoint.store.submissions import find_submission, record_submission
from envelope.fhir.remedies import REMEDIES

HEADER: Final = "Idempotency-Key"
_KEY: Final = re.compile(r'"([\x21\x23-\x5b\x5d-\x7e]{1,255})"|([\x21\x23-\x5b\x5d-\x7e]{1,255})')
_log = structlog.get_logger("accesspoint.api")


class Submitting:
    """`POST /api/v1/messages`; `application` is None where no end-user edge runs here."""

    def __init__(
        self,
        *,
        database: Database,
        bells: Bells,
        clock: Clock,
        application: EndUserApplication | None,
        admit: Callable[[], None],
        addressing: AddressingService | None = None,
    ) -> None:
        self._database = database
        self._bells = bells
        self._clock = clock
        self._application = application
        self._admit = admit
        self._room = Room()
        self._recipients = None if application is None else Recipients(application, addressing)

    async def submit(self, request: web.Request) -> web.Response:
        """Accept a message for sending: 202, or 200 with `repeated` for a request that was answered before."""
        if self._application is None or self._recipients is None:
            return problem(
                404, "no-end-user-application", "No end-user application runs on this node."
            )
        self._admit()
        key = read_key(request.headers.get(HEADER))
        if key == "":
            return problem(400, "bad-parameter", f"{HEADER} has 1 to 255 visible ASCII characters.")
        caller = request[CALLER]
        if key is not None and caller is not OWNER:
            # Keys are names that a submitter gives; those of two systems have nothing to do with each other.
            key = f"{caller.actor} {key}"
        async with AsyncExitStack() as room:
            data = await self._read(request, room)
            return await self._submit(self._application, self._recipients, request, key, data)

    async def _read(self, request: web.Request, room: AsyncExitStack) -> bytes:
        """The whole body, in `room` from where it shows to be large.

        A body that does not say how long it is may become as long as is allowed.
        """
        body = bytearray()
        async for piece in request.content.iter_any():
            was_small = len(body) <= LARGE_BYTES
            body += piece
            if len(body) > request.client_max_size:
                raise web.HTTPRequestEntityTooLarge(request.client_max_size)
            if was_small and len(body) > LARGE_BYTES:
                octets = request.content_length or request.client_max_size
                await room.enter_async_context(self._room.of(octets))
        return bytes(body)

    async def _submit(
        self,
        application: EndUserApplication,
        recipients: Recipients,
        request: web.Request,
        key: str | None,
        data: bytes,
    ) -> web.Response:
        """Accept the message `data`, which is in memory as a whole."""
        caller, to = request[CALLER], request.query.get("to")
        digest = await aside(partial(_digest, to or "", data), len(data))
        if key is not None and (known := await self._find(key)) is not None:
            return await self._answer_again(application, known, digest)
        try:
            receiver = None if to is None else await recipients.resolve(to, data)
            submission, commit = await application.submit(data, to=receiver)
        except AddressingFailed as failed:
            status = find_problem(failed.slug).http_status
            return problem(status, failed.slug, "; ".join((failed.detail, *failed.outcomes)))
        except SubmissionRefused as refused:
            findings = [
                {
                    "rule": f.rule,
                    "layer": str(f.layer),
                    "severity": str(f.severity),
                    "path": f.path,
                    "text": f.text,
                    "medcom_id": f.medcom_id,
                    "do": REMEDIES.get(f.rule),
                }
                for f in refused.findings
            ]
            entry = PROBLEMS.get(refused.rule)
            status = 422 if entry is None else entry.http_status
            return problem(status, refused.rule, refused.detail, whose="ours", findings=findings)
        if not caller.acts_for(submission.document.sender.gln):
            commit.withdraw()
            return problem(403, "not-allowed", "The sender of the message is not one that this system acts for.")  # fmt: skip
        answer = _answer(submission)
        failpoint("S1")
        try:
            kept = self._keeping(key, digest, answer)
            await self._bells.run(self._database, commit.then(kept))
        except IntegrityViolation:
            return await self._answer_conflict(
                application, submission.document, key, digest, answer
            )
        failpoint("S3")
        return _accepted(answer)

    def _keeping(self, key: str | None, digest: str, answer: Json) -> Commit:
        """The part of the commit that remembers the key."""

        async def work(tx: Transaction) -> None:
            if key is not None:
                await record_submission(
                    tx, key, request_sha256=digest, message_identifier=answer["message_identifier"],
                    answer=json.dumps(answer), at=self._clock.now(),
                )  # fmt: skip

        return Commit(work)

    async def _answer_conflict(
        self,
        application: EndUserApplication,
        document: Document,
        key: str | None,
        digest: str,
        answer: Json,
    ) -> web.Response:
        """Somebody was first: with this key, perhaps at the same moment, or with this message."""
        if key is not None and (known := await self._find(key)) is not None:
            return await self._answer_again(application, known, digest)
        if not await self._was_sent(document):
            _log.error("submission_conflict", message=document.message_identifier)
            await self._bells.run(
                self._database,
                application.note_conflict(
                    document.message_identifier, document.event_code, "message-already-submitted"
                ),
            )
            return problem(
                409,
                "message-already-submitted",
                "A message with this MessageHeader.id was sent before, with other content or to somebody else.",
            )
        # Who got no answer the first time asks again, and is answered as if it had come through.
        try:
            await self._bells.run(self._database, self._keeping(key, digest, answer))
        except IntegrityViolation:
            return await self._answer_conflict(application, document, key, digest, answer)
        return _accepted(answer, repeated=True)

    async def _answer_again(
        self, application: EndUserApplication, known: Row, digest: str
    ) -> web.Response:
        answer = json.loads(known["answer"])
        if known["request_sha256"] == digest:
            return _accepted(answer, repeated=True)
        _log.error("idempotency_key_reused", message=known["message_identifier"])
        await self._bells.run(
            self._database,
            application.note_conflict(
                known["message_identifier"], answer["type"], "idempotency-key-reused"
            ),
        )
        return problem(
            422,
            "idempotency-key-reused",
            "This Idempotency-Key was used for another request; nothing was sent.",
        )

    async def _find(self, key: str) -> Row | None:
        return await self._database.read(lambda tx: find_submission(tx, key))

    async def _was_sent(self, document: Document) -> bool:
        """Whether these very bytes were accepted before, between the same two."""
        row = await self._database.fetch_one(
            "SELECT id FROM documents WHERE direction = 'out' AND message_identifier = $1 AND sender = $2"
            " AND receiver = $3 AND payload_sha256 = $4",
            document.message_identifier, document.sender.gln, document.receiver.gln, document.stored.payload_sha256,
        )  # fmt: skip
        return row is not None


def _digest(to: str, data: bytes) -> str:
    """What a request is known by, beside its key: the receiver it names and the message."""
    digest = hashlib.sha256(to.encode() + b"\0")
    digest.update(data)
    return digest.hexdigest()


def read_key(header: str | None) -> str | None:
    """The key in a header: None without one, an empty text for one of no legal form."""
    if header is None:
        return None
    match = _KEY.fullmatch(header.strip())
    return "" if match is None else match[1] or match[2]


def _answer(submission: Submission) -> Json:
    document = submission.document
    return {
        "message_identifier": document.message_identifier,
        "type": document.event_code,
        "from": document.sender.gln,
        "to": document.receiver.gln,
        "bytes": document.stored.payload_bytes,
        "sha256": document.stored.payload_sha256,
        "warnings": [{"rule": f.rule, "path": f.path, "text": f.text} for f in submission.warnings],
        "notes": list(submission.notes),
    }


def _accepted(answer: Json, *, repeated: bool = False) -> web.Response:
    return web.json_response(
        {**answer, **({"repeated": True} if repeated else {})},
        status=200 if repeated else 202,
        headers={"Location": f"/api/v1/messages/{answer['message_identifier']}"},
    )
