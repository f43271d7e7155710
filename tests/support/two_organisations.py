"""The municipality and the clinic, each as a process of `accesspoint run`, with the network around them in this process.

Each access point is known to the world by a doorway in front of it, whose address survives every restart
of the process behind it, and which can be closed or can keep answers back.
"""

import asyncio
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from command_line import SOURCE
from held_ports import HOST, bound

from accesspoint.api.client import ApiProblem, NodeAddress, NodeClient
from accesspoint.backends.folder import MANIFEST
from accesspoint.clock import SystemClock
from accesspoint.config import Acknowledge
from accesspoint.demo.processes import NodeProcess
from accesspoint.demo.scenery import NodePlan, plan_nodes
from accesspoint.demo.surroundings import Surroundings
from accesspoint.ids import SystemIds

CLIENT_HANDSHAKE_BYTES = 2048
"""A client that has sent more than this has answered the server's part of a TLS 1.3 handshake.

Its first flight is one short record; the second holds its certificates, which are longer."""


async def until(condition: Callable[[], Any], what: str, *, seconds: float = 40) -> Any:
    """Look again and again until `condition()`, awaited, is true, and return what it said."""
    limit = time.monotonic() + seconds
    while not (found := await condition()):
        assert time.monotonic() < limit, f"waited in vain: {what}"
        await asyncio.sleep(0.005)
    return found


async def troubles(stores: Iterable[Path]) -> list[str]:
    """What the journals of these nodes hold against anybody: for the words of a failed wait."""
    found: list[str] = []
    for store in stores:
        async with NodeClient(NodeAddress.load(store)) as client:
            end = await client.position()
            async for entry in client.follow():
                if entry["problem"]:
                    found.append(
                        f"{store.parent.name}: {entry['event']} {entry['problem']} {entry['detail']}"
                    )
                if entry["seq"] >= end:
                    break
    return found


class Doorway:
    """A TCP address that passes octets on to `target`; until it is opened, connections to it are refused."""

    def __init__(self) -> None:
        self.target = (HOST, 0)
        self.keeps_answers = False
        self.cuts_answer_after: int | None = None
        """After so many octets of the next answer everything is cut, and this is None again."""
        self._socket = bound((HOST, 0))
        self.address = f"{HOST}:{self._socket.getsockname()[1]}"
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def open(self) -> None:
        """Take connections from now on."""
        if self._server is None:
            self._server = await asyncio.start_server(self._pass_through, sock=self._socket)

    def cut(self) -> None:
        """Break every connection that is open."""
        for writer in self._writers:
            writer.transport.abort()

    def shut(self) -> None:
        """Refuse connections until it is opened again; the port stays ours."""
        self.cut()
        if self._server is not None:
            place = self._socket.getsockname()
            self._server.close()
            self._server = None
            self._socket = bound(place)

    def leave(self) -> None:
        """Be gone for good."""
        self.shut()
        self._socket.close()

    async def _pass_through(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._writers.add(writer)
        try:
            inner_reader, inner = await asyncio.open_connection(*self.target)
        except OSError:
            writer.transport.abort()
            return
        self._writers.add(inner)
        sent = 0

        async def requests() -> None:
            nonlocal sent
            while data := await reader.read(65536):
                sent += len(data)
                inner.write(data)
                await inner.drain()
            inner.close()

        async def answers() -> None:
            while data := await inner_reader.read(65536):
                if self.keeps_answers and sent > CLIENT_HANDSHAKE_BYTES:
                    continue
                limit = self.cuts_answer_after
                if limit is not None and sent > CLIENT_HANDSHAKE_BYTES:
                    self.cuts_answer_after = None
                    writer.write(data[:limit])
                    await writer.drain()
                    self.cut()
                    return
                writer.write(data)
                await writer.drain()
            writer.close()

        async def until_broken(one_way: Coroutine[Any, Any, None]) -> None:
            try:
                await one_way
            except OSError:
                # A node that is killed in the middle of a request resets the connection; pass that on, too.
                writer.transport.abort()
                inner.transport.abort()

        try:
            await asyncio.gather(
                until_broken(requests()), until_broken(answers()), return_exceptions=True
            )
        finally:
            self._writers -= {writer, inner}
            writer.transport.abort()
            inner.transport.abort()


class TwoOrganisations:
    """Made by `open`; `start`, `stop` and `kill` act on the nodes, which keep their data over all of that."""

    def __init__(self, around: Surroundings) -> None:
        self.around = around
        self.status = around.network.status
        self.plans: dict[str, NodePlan] = {plan.name: plan for plan in around.plans}
        self.doors = {name: Doorway() for name in self.plans}
        self.processes: dict[str, NodeProcess] = {}

    @classmethod
    @asynccontextmanager
    async def open(
        cls, base: Path, *, acknowledge: Acknowledge = "automatic"
    ) -> AsyncIterator["TwoOrganisations"]:
        """Make keys and configurations, and serve the network; no node runs yet."""
        clock = SystemClock()
        async with AsyncExitStack() as stack:
            plans = plan_nodes(base, apart=False)
            around = await Surroundings.start(
                base, plans, stack, clock=clock, ids=SystemIds(clock), keep_reports=False
            )
            here = cls(around)
            for name, plan in here.plans.items():
                around.scenery.write_config(
                    plan,
                    network=around.addresses(),
                    listen={"as4": f"{HOST}:0", "api": f"{HOST}:0"},
                    links={},
                    give_up_after="24 h",
                    acknowledge=acknowledge,
                )
                stack.callback(here.doors[name].leave)
                stack.push_async_callback(here.stop, name)
            around.register({name: door.address for name, door in here.doors.items()})
            yield here

    async def start(self, *names: str, doors: bool = True, failpoints: str = "") -> None:
        """Start nodes, armed with these failures, and open their doorways unless told otherwise."""
        armed = {"AP_FAILPOINTS": failpoints} if failpoints else {}
        await asyncio.gather(*(self._start(name, armed, door=doors) for name in names))

    async def _start(self, name: str, environment: dict[str, str], *, door: bool) -> None:
        process = NodeProcess(name, self.plans[name].config)
        self.processes[name] = process
        await process.start({"PYTHONPATH": str(SOURCE), **environment})
        host, _, port = process.addresses.as4.rpartition(":")
        self.doors[name].target = (host, int(port))
        if door:
            await self.doors[name].open()

    async def stop(self, name: str) -> None:
        """End a node in order, if it runs."""
        if name in self.processes:
            await self.processes[name].stop()

    async def kill(self, name: str) -> int:
        """End a node as a power cut does: no handler runs; its exit status."""
        process = self.processes[name]
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        return await process.wait()

    async def forget(self, name: str) -> None:
        """Stop a node and remove what it has stored and delivered."""
        await self.stop(name)
        for place in (self.plans[name].store, self.plans[name].inbox):
            shutil.rmtree(place, ignore_errors=True)

    @asynccontextmanager
    async def client(self, name: str) -> AsyncIterator[NodeClient]:
        """A client of a node's interface, for as long as the node runs."""
        async with NodeClient(NodeAddress.load(self.plans[name].store)) as client:
            yield client

    def delivered(self, name: str, pattern: str = "*") -> dict[str, bytes]:
        """The messages that the backend of a node holds, by file name: those that have their manifest."""
        found = self.plans[name].inbox.glob(pattern + MANIFEST)
        paths = [path.with_name(path.name.removesuffix(MANIFEST)) for path in found]
        return {path.name: path.read_bytes() for path in paths}

    async def until_delivered(self, name: str, count: int) -> None:
        """Wait until the backend of a node holds so many messages, or more."""

        async def stand() -> bool:
            return len(self.delivered(name)) >= count

        await until(stand, f"{count} messages at the backend of {name}")

    def log(self, name: str) -> str:
        """What a node has logged in all its lives."""
        return self.plans[name].config.with_name("log.jsonl").read_text(encoding="utf-8")


async def describe(client: NodeClient, message_identifier: str) -> dict[str, Any] | None:
    """What a node knows of a message; None when it knows nothing."""
    try:
        return await client.describe(message_identifier)
    except ApiProblem as problem:
        if problem.status != 404:
            raise
        return None
