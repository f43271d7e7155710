"""A man in the middle: ends the TLS of both sides, so that it sees whole requests, and does to each what a script says.

It drops requests or answers, holds them back, repeats and rewrites them. That takes the keys of the side that it
stands in front of, which the kit has for its own access point and for a throw-away node, and for no other.
"""

import asyncio
import ssl
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Final, Self

import aiohttp
from aiohttp import web

from accesspoint.bounded import AnswerTooLong, read_bounded
from accesspoint.config_values import Address
from accesspoint.conformance.reading import Message
from accesspoint.conformance.recorder import Recorder
from accesspoint.doors import open_door
from accesspoint.network.listening import LOOPBACK
from envelope.limits import DEFAULT_LIMITS

LARGEST: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Act:
    """What happens to one exchange; the default lets it pass.

    `delay` is in seconds and before the request goes on; `repeat` is how often it goes on; of several answers the last counts.
    """

    drop_request: bool = False
    drop_answer: bool = False
    delay: float = 0.0
    repeat: int = 1
    request: Callable[[Message], Message] = lambda request: request
    answer: Callable[[Message, Message], Message] = lambda request, answer: answer


PASS: Final = Act()
DROP_ANSWER: Final = Act(drop_answer=True)
Script = Callable[[int], Act]
"""The act for the n-th request, counted from 0."""


def undisturbed(_number: int) -> Act:
    """Let everything pass."""
    return PASS


Answering = Callable[[Message], Message]
Refusing = Callable[[Message], Message | None]


def refuse_nothing(_request: Message) -> None:
    """Take every request for one of the run."""


class Interceptor:
    """One HTTPS address in front of `target`; requests are noted by what they are to the access point under test."""

    def __init__(
        self,
        target: str | Answering,
        *,
        server: ssl.SSLContext,
        client: ssl.SSLContext,
        from_target: bool,
        refuse: Refusing = refuse_nothing,
        listen: Address = Address(LOOPBACK, 0),  # noqa: B008 - it never changes
    ) -> None:
        """`target` is a URL, or who answers here; `from_target` says that the requests are those of the access point
        under test, not those to it. What `refuse` answers is no request of the run: it is neither noted nor counted.
        """
        self.target = target
        self.url = ""
        self.script: Script = undisturbed
        self.recorder: Recorder | None = None
        self.requests: list[Message] = []
        self._server = server
        self._client = client
        self._from_target = from_target
        self._refuse = refuse
        self._listen = listen
        self._news = asyncio.Event()
        self._stack = AsyncExitStack()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Take connections from here on."""
        self._session = await self._stack.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._client),
                trust_env=False,
                auto_decompress=False,
            )
        )
        application = web.Application(client_max_size=LARGEST)
        application.router.add_post("/as4", self._handle)
        where = await open_door(self._stack, application, self._listen, self._server)
        self.url = f"https://{where}/as4"
        return self

    async def __aexit__(self, *_: object) -> None:
        """Break every connection."""
        await self._stack.aclose()

    def begin(self, recorder: Recorder, script: Script = undisturbed) -> None:
        """Forget what passed, and count requests from 0 again."""
        self.recorder, self.script = recorder, script
        self.requests = []

    async def wait(self, count: int, *, seconds: float) -> None:
        """Wait until so many requests have come; after `seconds` return in any case."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while len(self.requests) < count:
                    self._news.clear()
                    await self._news.wait()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        content_type = request.headers.get("Content-Type", "")
        came = Message(content_type, await request.read())
        refusal = self._refuse(came)
        if refusal is not None:
            return _response(refusal)
        number = len(self.requests)
        act = self.script(number)
        going = act.request(came)
        self.requests.append(going)
        self._news.set()
        self._note(going, f"request {number + 1}", is_request=True)
        if act.delay:
            await asyncio.sleep(act.delay)
        if act.drop_request:
            return _broken_off(request)
        answer = await self._pass_on(going)
        for _ in range(act.repeat - 1):
            answer = await self._pass_on(going)
        answer = act.answer(going, answer)
        words = "dropped on the way" if act.drop_answer else "passed on"
        self._note(answer, f"answer {number + 1}, {words}", is_request=False)
        if act.drop_answer:
            return _broken_off(request)
        return _response(answer)

    async def _pass_on(self, message: Message) -> Message:
        if not isinstance(self.target, str):
            return self.target(message)
        if self._session is None:
            raise RuntimeError("the interceptor is used outside its async with")
        headers = {"Content-Type": message.content_type, "Accept-Encoding": "identity"}
        async with self._session.post(
            self.target, data=message.body, headers=headers, allow_redirects=False
        ) as response:
            kind = response.headers.get("Content-Type", "application/octet-stream")
            try:
                body = await read_bounded(response, DEFAULT_LIMITS.response_bytes)
            except AnswerTooLong as error:
                return Message("text/plain; charset=utf-8", f"{error}\n".encode(), 502)
            return Message(kind, body, response.status)

    def _note(self, message: Message, label: str, *, is_request: bool) -> None:
        if self.recorder is None:
            return
        head = f"POST {self.url}" if is_request else f"HTTP {message.status}"
        note = self.recorder.received if is_request is self._from_target else self.recorder.sent
        note(label, f"{head}\nContent-Type: {message.content_type}", message.body)


def _response(answer: Message) -> web.Response:
    return web.Response(
        status=answer.status, body=answer.body, headers={"Content-Type": answer.content_type}
    )


def _broken_off(request: web.Request) -> web.StreamResponse:
    """End the connection without an answer, as a line does."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)
