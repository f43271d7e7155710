"""Everybody that the two nodes speak to: the network between them, the directory, the status component, the backends.

Each answers as its real counterpart would as far as the node can tell, at the same seams: a POST of the AS4
client, a look-up, a request of the shared HTTP session, a delivery. What goes wrong is drawn when it is asked.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import aiohttp

from accesspoint.as4.client import HttpAnswer, PostFailed
from accesspoint.backends.base import DeliveryRefused
from accesspoint.delivery.auditevent import check_audit_event
from accesspoint.discovery.directory import Endpoint, LookupFailed, LookupProblem
from accesspoint.drill.redirected import Response, Session, hand_over, read_whole
from accesspoint.stations.document import Document
from accesspoint.status_component.resource import Resource, event_key
from accesspoint.store.payloads import PayloadStore
from envelope.names import TRANSPORT_AS4_V1
from tests.simulation.machine import Life, Machine, NodeGone
from tests.simulation.plan import Upheaval
from tests.simulation.world import World

CLIENT_SECONDS = 40.0
"""How long a sender waits for its answer."""
HTML = b"<html><body>Bad Gateway</body></html>"


@dataclass
class _Stream:
    """The body of a request as the receiving server reads it: pieces with pauses, and maybe a sudden end."""

    pieces: list[tuple[float, bytes]]
    cut: bool
    sender: Life
    rest: bytes = b""

    async def read(self, count: int) -> bytes:
        if not self.rest:
            if not self.pieces:
                if self.cut:
                    raise ConnectionResetError("cut")
                return b""
            pause, self.rest = self.pieces.pop(0)
            await asyncio.sleep(pause)
            if self.sender.dead:
                raise ConnectionResetError("the sender is gone")
        piece, self.rest = self.rest[:count], self.rest[count:]
        return piece


@dataclass
class Network:
    """Carries AS4 requests from node to node."""

    world: World
    machines: dict[str, Machine]
    random: Random = field(init=False)
    in_flight: dict[tuple[str, int, str], int] = field(default_factory=dict)
    earlier_answers: dict[str, HttpAnswer] = field(default_factory=dict)
    numbers: int = 0
    copies: int = 0
    """How many copies of requests are still on their way."""

    def __post_init__(self) -> None:
        self.random = self.world.random("network")

    def client_of(self, life: Life) -> "SimulatedClient":
        return SimulatedClient(self, life)

    async def post(self, life: Life, url: str, content_type: str, data: bytes) -> HttpAnswer:
        """Carry one request and its answer; raises `PostFailed` as the client does."""
        world, rates, random = self.world, self.world.plan.rates, self.random
        target = self.machines[url.split("/")[2].partition(".")[0]]
        self.numbers += 1
        name = f"request {self.numbers} to {target.name}"
        troubled = not world.is_calm
        await asyncio.sleep(random.uniform(0.001, 0.05))
        outage = world.out("network")
        if outage == "refuses" or not target.up or (troubled and random.random() < rates.refused):
            world.tell("network", f"{name}: refused")
            raise PostFailed("peer-unreachable", "refused", arrival_possible=False)
        if outage == "hangs" or (troubled and random.random() < rates.lost):
            world.tell("network", f"{name}: lost on its way")
            await asyncio.sleep(CLIENT_SECONDS)
            raise PostFailed("peer-timeout", "no answer in time", arrival_possible=True)
        answer: asyncio.Future[HttpAnswer] = world.loop.create_future()
        world.loop.create_task(
            self._carry(name, life, target, content_type, data, answer), context=world.context
        )
        if troubled and random.random() < rates.duplicated:
            later = random.choice([0.0, random.uniform(0, 1), random.uniform(0, 120)])
            self.copies += 1
            world.loop.create_task(
                self._repeat(name, later, life, target, content_type, data), context=world.context
            )
        try:
            async with asyncio.timeout(CLIENT_SECONDS):
                return await answer
        except TimeoutError as error:
            raise PostFailed("peer-timeout", "no answer in time", arrival_possible=True) from error
        except ConnectionResetError as error:
            raise PostFailed(
                "peer-timeout", "ConnectionResetError", arrival_possible=True
            ) from error

    async def _carry(
        self,
        name: str,
        life: Life,
        target: Machine,
        content_type: str,
        data: bytes,
        answer: "asyncio.Future[HttpAnswer]",
    ) -> None:
        """Bring the octets to the receiver and its answer back."""
        rates, random, troubled = self.world.plan.rates, self.random, not self.world.is_calm
        cut = random.random() if troubled and random.random() < rates.cut else None
        drips = troubled and random.random() < rates.drip
        loses = troubled and random.random() < rates.answer_lost
        strange = troubled and random.random() < rates.answer_strange
        self.world.tell("network", f"{name}: on its way{', cut' if cut is not None else ''}")
        try:
            given = await self._deliver(life, target, content_type, data, cut, drips)
        except NodeGone as gone:
            self.world.tell("network", f"{name}: the receiver is gone")
            if not gone.silent and not answer.done():
                answer.set_exception(ConnectionResetError())
            return
        self.world.tell("network", f"{name}: answered {given.status}")
        if cut is not None:
            if not answer.done():
                answer.set_exception(ConnectionResetError())
            return
        before, self.earlier_answers[target.name] = self.earlier_answers.get(target.name), given
        await asyncio.sleep(random.uniform(0.001, 0.05))
        if loses:
            self.world.tell("network", f"{name}: answer lost")
            if random.random() < 0.5 and not answer.done():
                answer.set_exception(ConnectionResetError())
            return
        if strange:
            given = random.choice(
                [
                    before or given,
                    HttpAnswer(502, "text/html", HTML),
                    HttpAnswer(200, "application/soap+xml", b""),
                    HttpAnswer(202, "", b""),
                    HttpAnswer(400, "text/plain", b"no"),
                ]
            )
            self.world.tell("network", f"{name}: somebody answers {given.status} instead")
        if not answer.done():
            answer.set_result(given)

    async def _repeat(
        self, name: str, later: float, life: Life, target: Machine, content_type: str, data: bytes
    ) -> None:
        """Bring the same octets once more; nobody waits for the answer."""
        await asyncio.sleep(later)
        try:
            answer = await self._deliver(life, target, content_type, data, None, False)
        except NodeGone:
            return
        finally:
            self.copies -= 1
        self.world.tell("network", f"{name}: came twice, answered {answer.status}")

    async def _deliver(
        self,
        life: Life,
        target: Machine,
        content_type: str,
        data: bytes,
        cut: float | None,
        drips: bool,
    ) -> HttpAnswer:
        if cut is not None:
            data = data[: int(len(data) * cut)]
        count = self.random.randint(1, 4)
        ends = sorted(int(len(data) * self.random.random()) for _ in range(count - 1))
        longest = 15.0 if drips else 0.02
        pieces = [
            (self.random.uniform(0, longest), data[start:end])
            for start, end in zip([0, *ends], [*ends, len(data)], strict=True)
            if end > start
        ]
        stream = _Stream(pieces, cut is not None, life)

        async def serve(receiver: Life) -> HttpAnswer:
            assert receiver.node is not None
            return await hand_over(receiver.node.as4, content_type, stream)

        return await target.ask(serve)


@dataclass
class SimulatedClient:
    """The AS4 client of one life."""

    network: Network
    life: Life

    async def post(
        self,
        url: str,
        *,
        content_type: str,
        content_length: int,
        body: AsyncIterator[bytes] | bytes,
    ) -> HttpAnswer:
        """As `As4Client.post`."""
        data = await read_whole(body)
        world = self.network.world
        if len(data) != content_length:
            world.violate(f"a request has {len(data)} octets and claims {content_length}")
        machine = self.life.machine.name
        key = (machine, self.life.number, content_type)
        flying = self.network.in_flight
        flying[key] = flying.get(key, 0) + 1
        if flying[key] > 1:
            world.violate(f"{machine} has one message under way twice at the same time")
        world.count("pushes")
        try:
            return await self.network.post(self.life, url, content_type, data)
        finally:
            flying[key] -= 1


class Directory:
    """Locator and publisher: where each organisation is reached, and with which certificate."""

    def __init__(self, world: World, endpoints: dict[str, Callable[[], tuple[str, bytes]]]) -> None:
        """`endpoints` tell address and certificate (DER) by GLN."""
        self._world = world
        self._endpoints = endpoints
        self._random = world.random("directory")

    async def find_endpoint(self, participant: str, document_id: str, process_id: str) -> Endpoint:
        """As a live directory: answers, is away, hangs, or (after an upheaval) denies to know the receiver."""
        world, random = self._world, self._random
        await asyncio.sleep(random.uniform(0.001, 0.1))
        outage = world.out("directory")
        troubled = not world.is_calm
        if outage == "hangs" or (troubled and random.random() < world.plan.rates.directory / 3):
            await asyncio.sleep(10)
            outage = "refuses"
        if outage or (troubled and random.random() < world.plan.rates.directory):
            world.tell("directory", "does not answer")
            raise LookupFailed(LookupProblem.UNREACHABLE, "away", permanent=False)
        if troubled and Upheaval.UNLISTED in world.plan.upheavals and random.random() < 0.2:
            world.tell("directory", "knows no such receiver")
            raise LookupFailed(LookupProblem.NO_PARTICIPANT, "unlisted", permanent=True)
        url, certificate = self._endpoints[participant.partition(":")[2]]()
        return Endpoint(
            participant, document_id, process_id, url, certificate, TRANSPORT_AS4_V1, None
        )


class StatusComponent(Session):
    """The status component with its authorization server, as the shared HTTP session of a node reaches them."""

    def __init__(self, world: World) -> None:
        self.reports: dict[tuple[str, ...], Resource] = {}
        """What was reported, each once, in the order of arrival."""
        self._world = world
        self._random = world.random("status")
        self._tokens = 0

    async def answer(self, url: str, options: dict[str, Any]) -> Response:
        """Answer one request, or fail as a connection does."""
        world, random = self._world, self._random
        what = "token" if url.endswith("/token") else "status"
        outage = world.out(what)
        troubled = not world.is_calm and random.random() < world.plan.rates.status
        await asyncio.sleep(random.uniform(0.001, 0.05))
        trouble = (
            random.choice(["refuses", "hangs", "500", "503", "401", "lost"]) if troubled else None
        )
        trouble = outage or trouble
        if trouble == "refuses":
            raise aiohttp.ClientConnectionError
        if trouble == "hangs":
            await asyncio.sleep(options["timeout"].total)
            raise TimeoutError
        if trouble in ("500", "503", "401"):
            return Response(int(trouble))
        if what == "token":
            answer = self._token(options["data"])
        else:
            answer = await self._take(options["data"])
        if trouble == "lost":
            raise aiohttp.ServerDisconnectedError
        return answer

    def _token(self, form: dict[str, str]) -> Response:
        self._tokens += 1
        return Response.of_token(f"t{self._tokens}", form)

    async def _take(self, body: bytes) -> Response:
        resource = json.loads(body)
        violations = check_audit_event(resource)
        if violations:
            self._world.violate(f"a delivery event breaks its profile: {violations[0]}")
            return Response(422)
        new = self.reports.setdefault(event_key(resource), resource) is resource
        self._world.count("events" if new else "events again")
        return Response(201 if new else 200)


@dataclass
class Delivery:
    """One time that a backend took a message."""

    machine: str
    life: int
    id: str
    message_identifier: str
    sha256: str
    confirmed: bool


class SimulatedBackend:
    """The backend of one organisation; what it takes is never forgotten, whether or not it said so."""

    def __init__(self, world: World, name: str) -> None:
        self.deliveries: list[Delivery] = []
        self.outcomes: list[tuple[str, bytes]] = []
        """Id and text of each outcome that was told."""
        self._world = world
        self._name = name
        self._random = world.random(f"backend {name}")

    def of_life(self, life: Life) -> "BackendOfLife":
        """The backend as one life of the node reaches it."""
        return BackendOfLife(self, life)

    async def take(
        self, life: Life, delivery_id: str, document: Document, payloads: PayloadStore
    ) -> None:
        """Take a message, refuse it, or take it and be gone before that is said."""
        world = self._world
        await self._open()
        with payloads.open(document.stored.payload) as reader:
            digest = hashlib.sha256()
            while octets := reader.read():
                digest.update(octets)
        delivery = Delivery(
            self._name, life.number, delivery_id, document.message_identifier, digest.hexdigest(), False
        )  # fmt: skip
        self.deliveries.append(delivery)
        world.tell(self._name, f"backend takes {document.message_identifier}")
        await self._confirm()
        delivery.confirmed = True

    async def hear(self, outcome_id: str, message_identifier: str, outcome: bytes) -> None:
        """Take an outcome, as a message."""
        await self._open()
        self.outcomes.append((outcome_id, outcome))
        self._world.tell(self._name, f"submitter hears of {message_identifier}")
        await self._confirm()

    async def _open(self) -> None:
        world, random = self._world, self._random
        await asyncio.sleep(random.uniform(0.001, 0.1))
        troubled = not world.is_calm
        if world.out("backend") or (troubled and random.random() < world.plan.rates.backend):
            world.tell(self._name, "backend refuses")
            raise DeliveryRefused("not now")

    async def _confirm(self) -> None:
        world, random = self._world, self._random
        await asyncio.sleep(random.uniform(0.001, 0.05))
        if not world.is_calm and random.random() < world.plan.rates.backend:
            world.tell(self._name, "backend is gone before it confirms")
            raise ConnectionResetError


@dataclass
class BackendOfLife:
    """Remembers for which life of the node a delivery was."""

    backend: SimulatedBackend
    life: Life

    async def deliver(self, delivery_id: str, document: Document, payloads: PayloadStore) -> None:
        """As `Backend.deliver`."""
        await self.backend.take(self.life, delivery_id, document, payloads)

    async def tell(self, outcome_id: str, message_identifier: str, outcome: bytes) -> None:
        """As `Backend.tell`."""
        await self.backend.hear(outcome_id, message_identifier, outcome)

    async def close(self) -> None:
        """As `Backend.close`."""
