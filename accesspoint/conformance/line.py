"""The kit's own end of the line: it posts what an author wrote, and keeps every octet of request and answer."""

import ssl
from collections.abc import Mapping
from typing import Self

import aiohttp

from accesspoint.bounded import AnswerTooLong, read_bounded
from accesspoint.conformance.author import Request
from accesspoint.conformance.case import Unmet
from accesspoint.conformance.reading import Message
from accesspoint.conformance.recorder import Recorder
from envelope.limits import DEFAULT_LIMITS

SECONDS = 30.0


class Line:
    """Posts to one address over mutual TLS; used as an asynchronous context."""

    def __init__(self, url: str, tls: ssl.SSLContext) -> None:
        self.url = url
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open connections from here on."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._tls),
            timeout=aiohttp.ClientTimeout(total=SECONDS),
            trust_env=False,
            auto_decompress=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    async def post(
        self,
        content_type: str,
        body: bytes,
        recorder: Recorder,
        label: str,
        *,
        fields: Mapping[str, str] | None = None,
    ) -> Message:
        """Post octets and return the answer; raises `Unmet` when none comes."""
        if self._session is None:
            raise RuntimeError("the line is used outside its async with")
        headers = {"Content-Type": content_type, "Accept-Encoding": "identity", **(fields or {})}
        recorder.sent(label, f"POST {self.url}\nContent-Type: {content_type}", body)
        try:
            async with self._session.post(
                self.url, data=body, headers=headers, allow_redirects=False
            ) as response:
                kind = response.headers.get("Content-Type", "")
                body_of_answer = await read_bounded(response, DEFAULT_LIMITS.response_bytes)
                answer = Message(kind, body_of_answer, response.status)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unmet("an HTTP answer", f"{type(error).__name__}: {error}") from error
        except AnswerTooLong as error:
            raise Unmet("an HTTP answer of bounded length", str(error)) from error
        recorder.received(
            f"answer to {label}", f"HTTP {answer.status}\nContent-Type: {kind}", answer.body
        )
        return answer

    async def send(self, request: Request, recorder: Recorder, label: str) -> Message:
        """Post a finished message and return the answer; raises `Unmet` when none comes."""
        return await self.post(request.content_type, request.body, recorder, label)
