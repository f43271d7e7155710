"""Everybody the two nodes of a drill speak to, each at the seam where a node meets it: present, or away by the plan.

The nodes are whole and real, and so is every octet between them: signed, encrypted, receipted. Only the
connections are short: a POST of one node is handed to the AS4 handler of the other, a look-up and a
delivery event are answered here.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import apsw

from accesspoint.as4.client import HttpAnswer, PostFailed
from accesspoint.as4.server import As4Server
from accesspoint.backends.base import DeliveryRefused
from accesspoint.delivery.auditevent import check_audit_event
from accesspoint.discovery.directory import Endpoint, LookupFailed, LookupProblem
from accesspoint.drill.plan import Part
from accesspoint.drill.redirected import Response, Session, hand_over, read_whole
from accesspoint.stations.document import Document
from accesspoint.status_component.resource import Resource, event_key
from accesspoint.store.payloads import PayloadStore
from envelope.names import TRANSPORT_AS4_V1

HOP_SECONDS = 0.02
"""How long anything takes on its way."""
IsAway = Callable[[Part], bool]


@dataclass
class _Body:
    """A request body that has arrived whole."""

    data: bytes

    async def read(self, count: int) -> bytes:
        """As `aiohttp.StreamReader.read`."""
        piece, self.data = self.data[:count], self.data[count:]
        return piece


@dataclass
class Wire:
    """The network between access points; `servers` are those that listen, by host name."""

    is_away: IsAway
    peer: str
    servers: dict[str, As4Server] = field(default_factory=dict)

    async def post(
        self,
        url: str,
        *,
        content_type: str,
        content_length: int,
        body: AsyncIterator[bytes] | bytes,
    ) -> HttpAnswer:
        """As `As4Client.post`; raises PostFailed where nobody listens."""
        data = await read_whole(body)
        await asyncio.sleep(HOP_SECONDS)
        host = url.split("/")[2]
        server = self.servers.get(host)
        if server is None or (host == self.peer and self.is_away(Part.PEER)):
            raise PostFailed("peer-unreachable", f"{host}: refused", arrival_possible=False)
        answer = await hand_over(server, content_type, _Body(data))
        await asyncio.sleep(HOP_SECONDS)
        return answer


@dataclass(frozen=True, slots=True)
class Publisher:
    """Locator and publisher: addresses and certificates (DER) by GLN."""

    is_away: IsAway
    endpoints: dict[str, tuple[str, bytes]]

    async def find_endpoint(self, participant: str, document_id: str, process_id: str) -> Endpoint:
        """As any `Directory`."""
        await asyncio.sleep(HOP_SECONDS)
        if self.is_away(Part.PUBLISHER):
            raise LookupFailed(LookupProblem.UNREACHABLE, "away", permanent=False)
        url, certificate = self.endpoints[participant.partition(":")[2]]
        return Endpoint(
            participant, document_id, process_id, url, certificate, TRANSPORT_AS4_V1, None
        )


class StatusComponent(Session):
    """The status component with its authorization server, as a node's HTTP session reaches them."""

    def __init__(self, is_away: IsAway) -> None:
        self.reports: dict[tuple[str, ...], Resource] = {}
        """What was reported, each once, in the order of arrival."""
        self.repeated = 0
        self._is_away = is_away

    async def answer(self, url: str, options: dict[str, Any]) -> Response:
        """Answer one request; raises `aiohttp.ClientConnectionError` while away."""
        await asyncio.sleep(HOP_SECONDS)
        if self._is_away(Part.STATUS):
            raise aiohttp.ClientConnectionError
        if url.endswith("/token"):
            return Response.of_token("drill", options["data"])
        resource = json.loads(options["data"])
        if violations := check_audit_event(resource):
            raise AssertionError(f"a delivery event breaks its profile: {violations[0]}")
        is_new = self.reports.setdefault(event_key(resource), resource) is resource
        self.repeated += not is_new
        return Response(201 if is_new else 200)


@dataclass
class DrillBackend:
    """The system behind a node: remembers what it confirmed, in its order."""

    is_away: IsAway
    taken: list[tuple[str, str]] = field(default_factory=list)
    """Message identifier and SHA-256 (hex) of each delivery."""
    outcomes: list[str] = field(default_factory=list)

    async def deliver(self, delivery_id: str, document: Document, payloads: PayloadStore) -> None:
        """Take the message, or raise `DeliveryRefused` while away."""
        await asyncio.sleep(HOP_SECONDS)
        if self.is_away(Part.BACKEND):
            raise DeliveryRefused("not now")
        # Reading to the end holds the octets against the digest of the row.
        with payloads.open(
            document.stored.payload, sha256=document.stored.payload_sha256
        ) as reader:
            while reader.read():
                pass
        self.taken.append((document.message_identifier, document.stored.payload_sha256))

    async def tell(self, outcome_id: str, message_identifier: str, outcome: bytes) -> None:
        """Take an outcome, or raise `DeliveryRefused` while away."""
        await asyncio.sleep(HOP_SECONDS)
        if self.is_away(Part.BACKEND):
            raise DeliveryRefused("not now")
        self.outcomes.append(outcome_id)

    async def close(self) -> None:
        """Nothing is open."""


class FailingDisk(apsw.VFS):
    """SQLite's way to the disk: every access to a database below `directory` fails while it is away."""

    NAME = "accesspoint-drill"

    def __init__(self, directory: str, is_away: IsAway) -> None:
        self.directory = directory
        self.is_away = is_away
        self.system = apsw.vfs_names()[0]
        super().__init__(self.NAME, self.system, makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> "_FailingFile":  # noqa: N802 - apsw's name
        """Open one file of a database."""
        return _FailingFile(self, name, flags)

    def check(self, path: str) -> None:
        """Raise the I/O error of a disk that is gone."""
        if path.startswith(self.directory) and self.is_away(Part.DATABASE):
            raise apsw.IOError("the disk is away")


class _FailingFile(apsw.VFSFile):
    def __init__(self, disk: FailingDisk, name: Any, flags: list[int]) -> None:
        self._disk = disk
        self._path = str(name.filename() if isinstance(name, apsw.URIFilename) else name or "")
        disk.check(self._path)
        super().__init__(disk.system, name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - apsw's name
        self._disk.check(self._path)
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802 - apsw's name
        # What outlives power is proved elsewhere; here nothing outlives the drill, and days should pass quickly.
        self._disk.check(self._path)
