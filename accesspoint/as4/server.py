"""POST /as4: HTTP checks (G1), bounded reading of the body, and one answer per request.

The body is read as a raw stream: the MIME parser of `envelope` does the framing. How long it may take is the
business of the connection (see `accesspoint.http_connection`). A refusal in the middle
of a body drains at most 1 MiB or one second, answers, and closes the connection (decision D2). This is one
of the three seams where an unexpected exception is caught: it becomes a bare 500 and an internal problem.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Final

import structlog
from aiohttp import HttpVersion10, HttpVersion11, web

from accesspoint.as4.client import CHUNK_BYTES
from accesspoint.http_connection import BUSY, PLAIN_TYPE
from accesspoint.inbound.receiver import Receiver
from accesspoint.inbound.refusal import Answer, Intake, Refuser
from accesspoint.store.database import StorageFailure
from envelope.errors import Gate, RemoteProtocolError, TransportRefused
from envelope.events import ContentType
from envelope.limits import DEFAULT_LIMITS, MIB, Limits
from envelope.mime import parse_content_type
from keys.errors import KeyUnavailable

PATH: Final = "/as4"
DRAIN_BYTES: Final = 1 * MIB
DRAIN_SECONDS: Final = 1.0
_VERSIONS: Final = frozenset({HttpVersion10, HttpVersion11})
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
        self._telling: set[asyncio.Task[None]] = set()

    def serve(self, router: web.UrlDispatcher) -> None:
        """Answer everything that is asked of this door, so that what is not AS4 is refused and recorded as such."""
        router.add_route("*", "/{path:.*}", self.handle, expect_handler=self._expect)

    def tell_refused(self, error: TransportRefused, peer: str) -> None:
        """Record a refusal that came before there was a request; it is answered already."""
        telling = asyncio.ensure_future(self._record(error, peer))
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)

    async def settle(self) -> None:
        """Wait until what was told is recorded."""
        await asyncio.gather(*self._telling)

    async def _record(self, error: TransportRefused, peer: str) -> None:
        try:
            await self._refuser.refuse(error, Intake(peer=peer))
        except StorageFailure as failure:
            _log.error("as4.in.storage_failure", peer=peer, detail=str(failure))

    async def _expect(self, request: web.Request) -> None:
        """Ask for the body only when the header gives no reason to refuse it."""
        if _wants_to_be_asked(request):
            with contextlib.suppress(TransportRefused):
                self._check_http(request)
                await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one AS4 request."""
        intake = Intake(peer=request.remote or "unknown")
        try:
            self._admit()
            answer = await self._receive(request, intake)
        except StorageFailure as failure:
            # Nothing is promised by an answer that cannot be trusted: the sender retries.
            _log.error("as4.in.storage_failure", peer=intake.peer, detail=str(failure))
            answer = Answer(503, PLAIN_TYPE, BUSY, close=True)
        except KeyUnavailable as failure:
            _log.error("as4.in.key_unavailable", peer=intake.peer, detail=str(failure))
            answer = Answer(503, PLAIN_TYPE, BUSY, close=True)
        except Exception:  # noqa: BLE001 - the seam of the endpoint: a fault of ours is told as one, and retried
            _log.exception("as4.in.internal", peer=intake.peer)
            answer = Answer(500, PLAIN_TYPE, b"Internal error.\n", close=True)
        response = web.Response(
            status=answer.status, body=answer.body, headers={"Content-Type": answer.content_type}
        )
        if answer.close:
            response.force_close()
        return response

    async def _receive(self, request: web.Request, intake: Intake) -> Answer:
        """Let the receiver judge the request; a refusal drains what is left of it and is recorded."""
        coming = False
        try:
            content_type = self._check_http(request)
            coming = True
            return await self._receiver.receive(content_type, self._read(request), intake)
        except RemoteProtocolError as error:
            # Who waits to be asked sends nothing that could be drained.
            if coming or "Expect" not in request.headers:
                await _drain(request)
            return await self._refuser.refuse(error, intake)

    def _check_http(self, request: web.Request) -> ContentType:
        """G1: what the HTTP header alone decides."""
        if request.path != PATH:
            raise TransportRefused("no such path", reason="http.path", gate=Gate.G1, status=404)
        if request.method != "POST":
            raise TransportRefused("not a POST", reason="http.method", gate=Gate.G1, status=405)
        if "Expect" in request.headers and not _wants_to_be_asked(request):
            raise TransportRefused(
                "something else than 100-continue is expected", reason="http.expect", gate=Gate.G1, status=417
            )  # fmt: skip
        if request.version not in _VERSIONS:
            raise TransportRefused(
                "neither HTTP/1.1 nor 1.0", reason="http.version", gate=Gate.G1, status=505
            )
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
                chunk = await request.content.read(CHUNK_BYTES)
            except web.HTTPRequestTimeout as error:
                raise TransportRefused(
                    "the body came too slowly", reason="http.stalled", gate=Gate.G1, status=408
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


def _wants_to_be_asked(request: web.Request) -> bool:
    return request.headers.get("Expect", "").lower() == "100-continue"


async def _drain(request: web.Request) -> None:
    """Read on for a moment so that the peer sees the answer instead of a reset."""
    left = DRAIN_BYTES
    lost = TimeoutError, ConnectionError, web.RequestPayloadError, web.HTTPRequestTimeout
    with contextlib.suppress(*lost):
        async with asyncio.timeout(DRAIN_SECONDS):
            while left > 0:
                chunk = await request.content.read(min(CHUNK_BYTES, left))
                if not chunk:
                    return
                left -= len(chunk)
