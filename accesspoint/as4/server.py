"""POST /as4: HTTP checks (G1), bounded and timed reading of the body, and one answer per request.

The body is read as a raw stream: the MIME parser of `envelope` does the framing. A refusal in the middle
of a body drains at most 1 MiB or one second, answers, and closes the connection (decision D2). This is one
of the three seams where an unexpected exception is caught: it becomes a bare 500 and an internal problem.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Final

import structlog
from aiohttp import web

from accesspoint.as4.client import CHUNK_BYTES
from accesspoint.inbound.receiver import Receiver
from accesspoint.inbound.refusal import Answer, Intake, Refuser
from accesspoint.store.database import StorageFailure
from envelope.errors import Gate, RemoteProtocolError, TransportRefused
from envelope.events import ContentType
from envelope.limits import DEFAULT_LIMITS, MIB, Limits
from envelope.mime import parse_content_type

IDLE_SECONDS: Final = 30.0
DRAIN_BYTES: Final = 1 * MIB
DRAIN_SECONDS: Final = 1.0
_MEDIA_TYPES: Final = frozenset({"multipart/related", "application/soap+xml"})
_log = structlog.get_logger("accesspoint.as4")


class As4Server:
    """The HTTP handler of the AS4 endpoint."""

    def __init__(
        self,
        receiver: Receiver,
        refuser: Refuser,
        *,
        admit: Callable[[], None] = lambda: None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        """`admit` raises StorageFailure while nothing new may be taken in."""
        self._receiver = receiver
        self._refuser = refuser
        self._admit = admit
        self._limits = limits

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one AS4 request."""
        intake = Intake(peer=request.remote or "unknown")
        try:
            self._admit()
            answer = await self._receive(request, intake)
        except StorageFailure as failure:
            # Nothing is promised by an answer that cannot be trusted: the sender retries.
            _log.error("as4.in.storage_failure", peer=intake.peer, detail=str(failure))
            answer = Answer(503, "text/plain; charset=utf-8", b"Not available.\n", close=True)
        except Exception:  # noqa: BLE001 - the seam of the endpoint: a fault of ours is told as one, and retried
            _log.exception("as4.in.internal", peer=intake.peer)
            answer = Answer(500, "text/plain; charset=utf-8", b"Internal error.\n", close=True)
        response = web.Response(
            status=answer.status, body=answer.body, headers={"Content-Type": answer.content_type}
        )
        if answer.close:
            response.force_close()
        return response

    async def _receive(self, request: web.Request, intake: Intake) -> Answer:
        """Let the receiver judge the request; a refusal drains what is left of it and is recorded."""
        try:
            return await self._receiver.receive(
                self._check_http(request), self._read(request), intake
            )
        except RemoteProtocolError as error:
            await _drain(request)
            return await self._refuser.refuse(error, intake)

    def _check_http(self, request: web.Request) -> ContentType:
        """G1: what the HTTP header alone decides."""
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise TransportRefused(
                "a content encoding is set", reason="http.encoding", gate=Gate.G1, status=415
            )
        if (request.content_length or 0) > self._limits.sbd_bytes + self._limits.soap_bytes:
            raise TransportRefused(
                "the request is too large", reason="http.size", gate=Gate.G1, status=413
            )
        content_type = parse_content_type(request.headers.get("Content-Type", ""))
        if content_type.media_type not in _MEDIA_TYPES:
            raise TransportRefused(
                "not an AS4 media type", reason="http.media-type", gate=Gate.G1, status=415
            )
        return content_type

    async def _read(self, request: web.Request) -> AsyncIterator[bytes]:
        """The body in chunks; a peer that stalls or sends too much is refused."""
        total = 0
        while True:
            try:
                async with asyncio.timeout(IDLE_SECONDS):
                    chunk = await request.content.read(CHUNK_BYTES)
            except TimeoutError as error:
                raise TransportRefused(
                    "the body stalled", reason="http.stalled", gate=Gate.G1, status=408
                ) from error
            except (ConnectionError, web.RequestPayloadError) as error:
                raise TransportRefused(
                    "the body ended before its length", reason="http.lost", gate=Gate.G1
                ) from error
            if not chunk:
                return
            total += len(chunk)
            if total > self._limits.sbd_bytes + self._limits.soap_bytes:
                raise TransportRefused(
                    "the request is too large", reason="http.size", gate=Gate.G1, status=413
                )
            yield chunk


async def _drain(request: web.Request) -> None:
    """Read on for a moment so that the peer sees the answer instead of a reset."""
    left = DRAIN_BYTES
    with contextlib.suppress(TimeoutError, ConnectionError, web.RequestPayloadError):
        async with asyncio.timeout(DRAIN_SECONDS):
            while left > 0:
                chunk = await request.content.read(min(CHUNK_BYTES, left))
                if not chunk:
                    return
                left -= len(chunk)
