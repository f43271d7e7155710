"""A TCP address on loopback that passes octets on to a target and breaks connections as a seeded script says.

Theory. Between two access points there is TLS, so what can go wrong on the way goes wrong below HTTP: octets
stop, come late, come in crumbs, or the connection ends in one of the ways in which TCP can end. What the
proxy can see is whose turn it is: octets of the client after octets of the server begin a new turn, the first
is the client's hello. A plan acts at the n-th octet of one direction, from a given turn on, so handshakes,
heads, parts and receipts are all met, and a connection that has lived long is met as well as a new one. The
sender's answer to a lost receipt is a repetition: that is how this proxy duplicates requests, whose plain
text it cannot see.

`fired` counts what really happened: a fault that was planned for the octet that never came did not.
"""

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from random import Random

HOST = "127.0.0.1"
CHUNK_BYTES = 64 * 1024
CRUMB_BYTES = 512
HANDSHAKE_BYTES = 4096
"""More than a client sends before its first request on a mutual TLS connection with RSA certificates."""


class Way(StrEnum):
    """The direction whose octets a plan counts."""

    REQUEST = "request"
    ANSWER = "answer"


TYPICAL_BYTES = {Way.REQUEST: 12_000, Way.ANSWER: 5_000}
"""The length of an AS4 message of a few KiB, and of its receipt."""


class Kind(StrEnum):
    """What happens at the n-th octet."""

    CUT = "cut"
    """Both sides see the end of the stream."""
    RESET = "reset"
    """Both sides see the connection broken off."""
    HALF_CLOSE = "half-close"
    """The side that was to receive sees the end of the stream; the other direction goes on."""
    BLACKHOLE = "blackhole"
    """Nothing passes any more in either direction, and nobody is told until the time is over."""
    DELAY = "delay"
    """The rest comes after a time."""
    DRIP = "drip"
    """The rest comes in crumbs for a time."""
    LOSE_ANSWER = "lose-answer"
    """The request passes whole; of its answer nothing does, and the connection breaks off."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One fault of one connection: at octet `after` of this way, in the first turn from number `turn` on that
    has as many; `seconds` for what takes time."""

    kind: Kind
    after: int
    way: Way = Way.REQUEST
    seconds: float = 1.0
    turn: int = 0


Script = Callable[[int], Plan | None]
"""The plan of the connection with this number, counted from 0; None leaves it alone. A connection that has
outlived a fault is given another plan, whose turns count from there."""


def undisturbed(_: int) -> Plan | None:
    """No fault at all."""
    return None


def seeded(seed: int, *, turns: float, seconds: float = 1.0) -> Script:
    """A script that breaks every connection, after `turns` requests on the average, anywhere in a request or answer.

    `seconds` is the longest that a fault lasts.
    """
    random = Random(seed)

    def script(_: int) -> Plan:
        kind = random.choice(list(Kind))
        way = Way.REQUEST if kind is Kind.LOSE_ANSWER else random.choice(list(Way))
        turn = int(random.expovariate(1 / turns))
        after = random.randrange(TYPICAL_BYTES[way])
        if kind is Kind.LOSE_ANSWER and turn < 2:
            after += HANDSHAKE_BYTES  # else it would be the answer to the handshake
        return Plan(kind, after, way, random.uniform(0.05, seconds), turn)

    return script


class _Over(Exception):
    """This connection has met its end."""

    def __init__(self, *, reset: bool) -> None:
        super().__init__()
        self.reset = reset


class FaultProxy:
    """One address in front of `target`, which may move; until `open` and after `close`, connections are refused."""

    def __init__(self, script: Script = undisturbed) -> None:
        self.target = (HOST, 0)
        self.script = script
        self.fired: Counter[Kind] = Counter()
        self.connections = 0
        self.address = ""
        self._server: asyncio.Server | None = None
        self._running: set[asyncio.Task[None]] = set()

    async def open(self) -> str:
        """Take connections from now on; returns `host:port`, which stays the same for good."""
        self._server = await asyncio.start_server(self._accept, HOST, 0)
        host, port = self._server.sockets[0].getsockname()[:2]
        self.address = f"{host}:{port}"
        return self.address

    async def close(self) -> None:
        """Break every connection and take no more."""
        if self._server is not None:
            self._server.close()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        number = self.connections
        self.connections += 1
        try:
            await _Connection(self, number, reader, writer).run()
        except asyncio.CancelledError:
            pass  # the proxy is being closed; asyncio would log the cancellation of a handler
        finally:
            self._running.discard(task)


class _Connection:
    """One client's connection and ours to the target, with a pump for each way."""

    def __init__(
        self,
        proxy: FaultProxy,
        number: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._proxy = proxy
        self._number = number
        self._plan = proxy.script(number)
        self._turn = 0
        self._passed = dict.fromkeys(Way, 0)
        self._reader = reader
        self._writers = [writer]
        self._is_silent = False
        self._loses_answer = False

    async def run(self) -> None:
        """Pass octets until both sides are done, or the plan ends it."""
        over = _Over(reset=True)
        pumps: list[asyncio.Task[None]] = []
        try:
            inner_reader, inner = await asyncio.open_connection(*self._proxy.target)
            self._writers.append(inner)
            pumps = [
                asyncio.create_task(self._pump(Way.REQUEST, self._reader, inner)),
                asyncio.create_task(self._pump(Way.ANSWER, inner_reader, self._writers[0])),
            ]
            await asyncio.gather(*pumps)
            over = _Over(reset=False)
        except _Over as end:
            over = end
        except OSError:
            pass  # the target is not there, or one side broke off: the other side is told the same
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for writer in self._writers:
                _end(writer, reset=over.reset)

    async def _pump(
        self, way: Way, source: asyncio.StreamReader, sink: asyncio.StreamWriter
    ) -> None:
        while data := await source.read(CHUNK_BYTES):
            if way is Way.REQUEST and self._passed[Way.ANSWER]:
                self._turn += 1
                self._passed = dict.fromkeys(Way, 0)
            if way is Way.ANSWER and self._loses_answer:
                self._proxy.fired[Kind.LOSE_ANSWER] += 1
                raise _Over(reset=True)
            before = self._octets_before_plan(way, len(data))
            self._passed[way] += len(data)
            await self._pass_on(sink, data[:before])
            if before < len(data):
                await self._meet(sink, data[before:])
        with contextlib.suppress(OSError):
            sink.write_eof()

    def _octets_before_plan(self, way: Way, count: int) -> int:
        """How many of the next `count` octets come before the plan acts; all of them where it does not."""
        plan = self._plan
        if plan is None or plan.way is not way or self._turn < plan.turn:
            return count
        return min(count, max(0, plan.after - self._passed[way]))

    async def _pass_on(self, sink: asyncio.StreamWriter, data: bytes) -> None:
        if data and not self._is_silent and not sink.is_closing():
            sink.write(data)
            await sink.drain()

    async def _meet(self, sink: asyncio.StreamWriter, rest: bytes) -> None:
        """Let the plan happen; `rest` are the octets that are here already and come after it."""
        plan, self._plan = self._plan, None
        assert plan is not None
        if plan.kind is Kind.LOSE_ANSWER:
            self._loses_answer = True  # counted when there is an answer to lose
            await self._pass_on(sink, rest)
            return
        self._proxy.fired[plan.kind] += 1
        match plan.kind:
            case Kind.CUT:
                raise _Over(reset=False)
            case Kind.RESET:
                raise _Over(reset=True)
            case Kind.HALF_CLOSE:
                sink.write_eof()
                await asyncio.sleep(plan.seconds)
                raise _Over(reset=False)
            case Kind.BLACKHOLE:
                self._is_silent = True
                await asyncio.sleep(plan.seconds)
                raise _Over(reset=True)
            case Kind.DELAY:
                await asyncio.sleep(plan.seconds)
                await self._pass_on(sink, rest)
            case Kind.DRIP:
                crumbs = [rest[at : at + CRUMB_BYTES] for at in range(0, len(rest), CRUMB_BYTES)]
                for crumb in crumbs:
                    await self._pass_on(sink, crumb)
                    await asyncio.sleep(plan.seconds / len(crumbs))
        self._plan, self._turn = self._proxy.script(self._number), 0


def _end(writer: asyncio.StreamWriter, *, reset: bool) -> None:
    """Close at once: with a reset, or after what is written has gone."""
    if not reset:
        writer.close()
        return
    end = writer.get_extra_info("socket")
    if end is not None:
        with contextlib.suppress(OSError):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
