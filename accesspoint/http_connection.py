"""One HTTP connection with deadlines of its own: for the header, for the body, and for the requests it may bring.

aiohttp parses, and gives up on a connection only while nothing at all is under way; a header or a body that
drips would hold it for ever. So each connection has one timer here. What comes in is only counted; the timer
looks at the count when a peer that is as slow as is allowed would be done, and only what the peer lets us wait
counts, not what we let the peer wait. A body that is too slow ends with 408 in whatever reads it.

Octets that are no HTTP are answered with a constant text: aiohttp would repeat a piece of them.

Spec: decisions D1 to D3 (G0, G1); hostile input: HTTP.
"""

import asyncio
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Any, Final, TypeAlias

from aiohttp import StreamReader, web

from accesspoint.admission import Admission, EdgeLimits
from envelope.errors import Gate, TransportRefused

REFUSED: Final = b"The request is not accepted.\n"
"""What is answered to anybody whose request is refused before there is somebody to attribute it to."""
BUSY: Final = b"Not available.\n"
PLAIN_TYPE: Final = "text/plain; charset=utf-8"
_LOOK_AGAIN_SECONDS: Final = 0.05
SERVER: Final = "accesspoint"
"""What every answer is from: whoever looks for a version with a known fault is not told ours."""
_PLAIN: Final = {"Content-Type": PLAIN_TYPE, "Server": SERVER}
_TOO_SLOW: Final = (
    b"HTTP/1.1 408 Request Timeout\r\nContent-Type: %s\r\nServer: %s\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n%s"
    % (PLAIN_TYPE.encode(), SERVER.encode(), len(REFUSED), REFUSED)
)

Tell: TypeAlias = Callable[[TransportRefused, str], None]
"""Hears of a refusal that no handler sees, and of the address it was for."""


class _Phase(Enum):
    HEADER = 0
    """The first header is awaited, or one has begun to come."""
    BODY = 1
    """A request has begun; its body may still be coming."""
    IDLE = 2
    """The last request is answered and no other has begun."""


class HttpConnection(web.RequestHandler):
    """What aiohttp's connection does, within limits."""

    __slots__ = (
        "_admission", "_ahead", "_body", "_edge", "_last", "_paused_at", "_paused_for", "_phase", "_received",
        "_served", "_since", "_tell", "_timer",
    )  # fmt: skip

    def __init__(
        self,
        server: web.Server,
        limits: EdgeLimits,
        admission: Admission,
        tell: Tell,
        **settings: Any,
    ) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=limits.idle_seconds,
            **settings,
        )
        self._edge = limits
        self._admission = admission
        self._tell = tell
        self._phase = _Phase.HEADER
        self._since = 0.0
        self._received = 0
        self._served = 0
        self._last = False
        self._ahead = False
        self._body: StreamReader | None = None
        self._paused_at: float | None = None
        self._paused_for = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def address(self) -> str:
        """Who is at the other end."""
        return str(self.peername[0]) if self.peername else "unknown"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._begin(_Phase.HEADER)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if data:
            self._received += len(data)
            if self._phase is _Phase.IDLE:
                self._begin(_Phase.HEADER)
            elif self._body is not None and self._body.is_eof():
                self._ahead = True
        super().data_received(data)

    def pause_reading(self) -> None:
        # A peer that may not send is not slow.
        if self._paused_at is None:
            self._paused_at = self._loop.time()
        super().pause_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:
        if self._paused_at is not None:
            self._paused_for += self._loop.time() - self._paused_at
            self._paused_at = None
        super().resume_reading(resume_parser)

    def close(self) -> None:
        """Take no more requests; the answer to the one under way says so."""
        self._last = True
        super().close()

    async def answer(
        self,
        request: web.BaseRequest,
        handler: Callable[[Any], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        """Let `handler` answer a request, if there is room for it."""
        address = self.address
        if not self._admission.begin_request(address):
            busy = web.Response(status=503, body=BUSY, headers={**_PLAIN, "Retry-After": "30"})
            busy.force_close()
            return busy
        self._body, self._ahead = request.content, False
        self._begin(_Phase.BODY)
        self._served += 1
        try:
            response = await handler(request)
        finally:
            self._admission.end_request(address)
            complete, self._body = request.content.is_eof(), None
            # Octets behind a body that had already come are the next header's.
            self._begin(_Phase.HEADER if self._ahead or not complete else _Phase.IDLE)
        if self._last or self._served >= self._edge.requests_per_connection:
            response.force_close()
        return response

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no HTTP, or what a handler of ours failed at; the connection is closed."""
        if status != web.HTTPBadRequest.status_code:
            return super().handle_error(request, status, exc, message)
        self._tell(_refused("not HTTP/1.1 as it is written down", "http.syntax", 400), self.address)
        response = web.Response(status=status, body=REFUSED, headers=_PLAIN)
        response.force_close()
        return response

    def _begin(self, phase: _Phase) -> None:
        """Go to a phase, and have the timer look no later than its first deadline."""
        now = self._loop.time()
        if phase is not _Phase.BODY:
            self._received = 0
        self._phase, self._since = phase, now
        self._paused_for = 0.0
        if self._paused_at is not None:
            self._paused_at = now
        due = self._due()
        if due is None or (self._timer is not None and self._timer.when() <= due):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._look)

    def _due(self) -> float | None:
        """When the peer must have come further than it has; None while nothing is expected of it."""
        match self._phase:
            case _Phase.HEADER:
                return self._since + self._edge.header_seconds
            case _Phase.BODY if self._body is not None and not self._body.is_eof():
                paused = self._paused_for
                if self._paused_at is not None:
                    paused += self._loop.time() - self._paused_at
                earned = self._received / self._edge.body_rate
                return self._since + paused + max(self._edge.body_seconds, earned)
        return None

    def _look(self) -> None:
        self._timer = None
        due = self._due()
        if due is None or self.transport is None or self.transport.is_closing():
            return
        now = self._loop.time()
        if self._paused_at is not None or due > now:
            self._timer = self._loop.call_at(max(due, now + _LOOK_AGAIN_SECONDS), self._look)
        elif self._phase is _Phase.BODY and self._body is not None:
            # Whoever reads the body, now or later, gets the refusal; what still comes is not read.
            self._body.set_exception(web.HTTPRequestTimeout())
            self._body.feed_eof()
            self.close()
        else:
            self._cut_header()

    def _cut_header(self) -> None:
        """End a connection whose header does not come; one that has said nothing is only closed."""
        if self._received and self.transport is not None:
            self.transport.write(_TOO_SLOW)
            self._tell(_refused("the header did not come in time", "http.slow", 408), self.address)
        self.force_close()


def _refused(detail: str, reason: str, status: int) -> TransportRefused:
    return TransportRefused(detail, reason=reason, gate=Gate.G1, status=status)
