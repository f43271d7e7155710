"""A whole access point whose connections lead somewhere else: the seams where a drill or a simulation meets a node.

The node and every octet it sends are real. A POST of the AS4 client is handed to the AS4 handler of another
node as the request it would have been; requests of the shared HTTP session are answered by an object.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final, Protocol, Self

import orjson
from aiohttp import HttpVersion11
from multidict import CIMultiDict

from accesspoint.app import AccessPoint
from accesspoint.as4.client import HttpAnswer
from accesspoint.as4.server import PATH, As4Server
from accesspoint.backends.base import Backend
from accesspoint.clock import Clock
from accesspoint.config import Configuration
from accesspoint.discovery.directory import Directory
from accesspoint.ids import Ids
from accesspoint.stations.link import BACKEND
from keys.path import Validator
from keys.revocation import RevocationMode, RevocationPolicy
from keys.trust import Purpose, TrustStore

_NO_LISTS: Final = RevocationPolicy(RevocationMode.OFF, "nobody publishes revocation lists here")


@dataclass(frozen=True, slots=True)
class Outside:
    """What a node is given in place of its connections to others, and whom it trusts."""

    client: Any
    session: Any
    directory: Directory
    backend: Backend
    trust: Callable[[Purpose], TrustStore]


class RedirectedNode(AccessPoint):
    """An access point that listens on nothing and reaches only what is outside of it."""

    def __init__(
        self, configuration: Configuration, outside: Outside, *, clock: Clock, ids: Ids
    ) -> None:
        super().__init__(configuration, clock=clock, ids=ids)
        self.outside = outside

    def build_validator(self, purpose: Purpose, settings: object) -> Validator:
        """Trust what the outside says."""
        return Validator(self.outside.trust(purpose), revocation=_NO_LISTS)

    def build_directory(self, stack: AsyncExitStack) -> Directory:
        """Look receivers up outside."""
        return self.outside.directory

    def build_backends(self) -> dict[str, Backend | None]:
        """Deliver outside."""
        return {BACKEND: self.outside.backend}

    async def begin(self, stack: AsyncExitStack) -> None:
        """As any access point, but for opening doors; raises what it raises."""
        # The keys come second: in a drill the disk may fail for hours, and opening a key takes 0.1 s of work.
        await self.open_stores(stack)
        self.load_keys()
        self.as4_client = self.outside.client
        self.build_reporting(lambda: self.outside.session)
        self.build_stations(stack)
        self.start_workers(stack)


class Reads(Protocol):
    """The body of a request as a server reads it."""

    async def read(self, count: int) -> bytes:
        """As `aiohttp.StreamReader.read`."""


async def read_whole(body: AsyncIterator[bytes] | bytes) -> bytes:
    """What the AS4 client was given to send."""
    return body if isinstance(body, bytes) else b"".join([piece async for piece in body])


async def hand_over(server: As4Server, content_type: str, content: Reads) -> HttpAnswer:
    """Have a node answer one AS4 request."""
    request: Any = SimpleNamespace(
        remote="192.0.2.1",
        method="POST",
        path=PATH,
        version=HttpVersion11,
        headers=CIMultiDict({"Host": "drill.invalid", "Content-Type": content_type}),
        content_length=None,
        content=content,
    )
    response: Any = await server.handle(request)
    return HttpAnswer(response.status, response.headers["Content-Type"], response.body)


class Session(ABC):
    """The shared HTTP session of a node, as far as nodes use it."""

    def post(self, url: str, **options: Any) -> "_Exchange":
        """As `aiohttp.ClientSession.post`."""
        return _Exchange(self, url, options)

    @abstractmethod
    async def answer(self, url: str, options: dict[str, Any]) -> "Response":
        """Answer one request, or fail as a connection does."""


@dataclass(frozen=True, slots=True)
class _Exchange:
    session: Session
    url: str
    options: dict[str, Any]

    async def __aenter__(self) -> "Response":
        return await self.session.answer(self.url, self.options)

    async def __aexit__(self, *_: object) -> None:
        return None


class Response:
    """An answer of the session: its status, and a JSON body."""

    def __init__(self, status: int, body: dict[str, Any] | None = None) -> None:
        self.status = status
        self._body = orjson.dumps(body or {})

    @classmethod
    def of_token(cls, token: str, form: dict[str, str]) -> Self:
        """What an authorization server answers that gives this token for what `form` asks."""
        grant = {"access_token": token, "token_type": "Bearer", "expires_in": 300}
        return cls(200, {**grant, "scope": form["scope"]})

    @property
    def content(self) -> Self:
        """The body as a stream."""
        return self

    async def iter_any(self) -> AsyncIterator[bytes]:
        """The body in one piece."""
        yield self._body

    def close(self) -> None:
        """There is no connection."""
