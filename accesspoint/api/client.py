"""The interface from outside: how the command line and the demo talk to a node."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

import aiohttp

Json = dict[str, Any]
TOKEN_FILE: Final = "api.token"  # noqa: S105 - the name of a file
ADDRESS_FILE: Final = "addresses.json"
LONGEST_REASON: Final = 500
"""Characters of the reason for an act or a view. It stands here since a command that says it loads no server."""


class ApiProblem(Exception):
    """The node answered with a problem; `body` is the RFC 9457 object."""

    def __init__(self, status: int, body: Json) -> None:
        super().__init__(str(body.get("detail", "")))
        self.status = status
        self.body = body


class NodeUnreachable(Exception):
    """No node answers where one should."""


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """Where a node's interface is, and the token that opens it."""

    url: str
    token: str

    @classmethod
    def load(cls, store: Path) -> "NodeAddress":
        """Read the address of the node that keeps its data in `store`; raises `NodeUnreachable`."""
        try:
            addresses = json.loads((store / ADDRESS_FILE).read_text())
            return cls(f"http://{addresses['api']}", (store / TOKEN_FILE).read_text().strip())
        except (OSError, ValueError, KeyError) as error:
            raise NodeUnreachable(f"no node runs with its data in {store}") from error


class NodeClient:
    """One connection pool to one node."""

    def __init__(self, address: NodeAddress) -> None:
        self._address = address
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {self._address.token}"},
            timeout=aiohttp.ClientTimeout(total=60),
            trust_env=False,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def submit(
        self, data: bytes, *, to: str | None, idempotency_key: str | None = None
    ) -> Json:
        """Submit one MedCom message; raises `ApiProblem` with the rules it breaks."""
        query = {"to": to} if to else {}
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else None
        return await self._call("POST", "/api/v1/messages", query, data, headers)

    async def describe(self, message_identifier: str) -> Json:
        """Everything the node knows of one message."""
        return await self._call("GET", f"/api/v1/messages/{quote(message_identifier, safe='')}", {})

    async def overdue(self) -> list[Json]:
        """The envelopes that nobody has acknowledged in time, then the messages that nobody has answered."""
        found: list[Json] = (await self._call("GET", "/api/v1/overdue", {}))["overdue"]
        return found

    async def resend(self, id_: str, *, reason: str, anyway: bool = False) -> Json:
        """Put a message into another envelope, `anyway` also one that was acknowledged; raises `ApiProblem`."""
        query = {"anyway": "1"} if anyway else {}
        path = f"/api/v1/messages/{quote(id_, safe='')}/resend"
        return await self._call("POST", path, query, _why(reason))

    async def acknowledge(self, message_identifier: str, verdict: dict[str, str]) -> Json:
        """Answer a received message (`code`, `reason`, `details`, `sender`, `receiver`); raises `ApiProblem` where it cannot be."""
        path = f"/api/v1/messages/{quote(message_identifier, safe='')}/acknowledge"
        return await self._call("POST", path, {}, json.dumps(verdict).encode())

    async def exchanges(self, *, state: str | None = None, everything: bool = False) -> list[Json]:
        """The AS4 exchanges that stand still, or all in one state, or those that moved last whatever their state."""
        query = {"state": state} if state else {"all": "1"} if everything else {}
        page = await self._call("GET", "/api/v1/exchanges", query)
        found: list[Json] = page["exchanges"]
        return found

    async def exchange(self, id_: str) -> Json:
        """One exchange with its history; raises `ApiProblem` for none."""
        return await self._call("GET", f"/api/v1/exchanges/{quote(id_, safe='')}", {})

    async def act(self, id_: str, act: str, *, reason: str) -> Json:
        """`retry`, `release` or `cancel` an exchange; raises `ApiProblem` where that does not fit."""
        path = f"/api/v1/exchanges/{quote(id_, safe='')}/{act}"
        return await self._call("POST", path, {}, _why(reason))

    async def evidence(self, id_: str, *, payload_for: str | None = None) -> bytes:
        """The evidence bundle of an exchange, a ZIP archive; with the payload for a reason. Raises `ApiProblem` for none."""
        path = f"/api/v1/exchanges/{quote(id_, safe='')}"
        if payload_for is None:
            return await self._fetch("GET", f"{path}/evidence", {})
        return await self._fetch("POST", f"{path}/payload", {}, _why(payload_for))

    async def look_up(
        self, *, participant: str, document: str, process: str, fresh: bool = False
    ) -> Json:
        """The account of a look-up of a GLN; raises `ApiProblem` where no access point runs."""
        query = {"participant": participant, "document": document, "process": process}
        return await self._call("GET", "/api/v1/lookup", query | ({"fresh": "1"} if fresh else {}))

    async def about(self) -> Json:
        """Who the node is."""
        return await self._call("GET", "/api/v1/about", {})

    async def position(self) -> int:
        """Where the journal ends now: what follows it is news."""
        page = await self._call("GET", "/api/v1/journal", {"last": "0"})
        return int(page["next"])

    async def follow(self, *, after: int = 0) -> AsyncIterator[Json]:
        """Journal entries as they become durable, for ever."""
        while True:
            page = await self._call("GET", "/api/v1/journal", {"after": str(after), "wait": "20"})
            after = page["next"]
            for entry in page["entries"]:
                yield entry

    async def _call(
        self,
        method: str,
        path: str,
        query: dict[str, str],
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Json:
        answer: Json = json.loads(await self._fetch(method, path, query, data, headers))
        return answer

    async def _fetch(
        self,
        method: str,
        path: str,
        query: dict[str, str],
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> bytes:
        """What the node answers; raises `ApiProblem` for a refusal."""
        if self._session is None:
            raise RuntimeError("the client is used outside its async with")
        try:
            async with self._session.request(
                method, self._address.url + path, params=query, data=data, headers=headers,
                allow_redirects=False,
            ) as response:  # fmt: skip
                body = await response.read()
                problem: Json = json.loads(body) if response.status >= 400 else {}
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise NodeUnreachable(
                f"{self._address.url} does not answer: {type(error).__name__}"
            ) from error
        if response.status >= 400:
            raise ApiProblem(response.status, problem)
        return body


def _why(reason: str) -> bytes:
    return json.dumps({"reason": reason}).encode()
