"""One organisation as three nodes over one PostgreSQL behind one address, and a partner with a node and a file of its own.

All are processes as `accesspoint run` starts them. The three share database, payloads, keys and the folder of
their backend, and nothing else. A node can be killed, paused and started again at any moment.
"""

import asyncio
import hashlib
import os
import signal
import time
import tomllib
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
from balancer import Balancer
from command_line import SOURCE
from postgresql_server import PostgresqlServer

from accesspoint.api.client import NodeAddress, NodeClient, NodeUnreachable
from accesspoint.backends.folder import MANIFEST, OUTCOMES
from accesspoint.config import load
from accesspoint.demo.processes import NodeProcess, NotStarted
from accesspoint.demo.scenery import NodePlan
from accesspoint.store.configured import build_columns, build_payload_store, database_url
from accesspoint.store.database import Database, Row, StorageInterrupted
from accesspoint.toml import write_toml
from accesspoint.verification import Comparison, Report, Setting, compare, verify
from keys.tls import server_context
from tests.soak.ledger import Ledger
from tests.soak.scene import RECEIVER as GROUP
from tests.soak.scene import SENDER as PARTNER
from tests.soak.scene import Scene
from tests.soak.status_stub import StatusStub

NODES = ("node-1", "node-2", "node-3")
LEASE_SECONDS = 2
LOOK_SECONDS = 0.2
_OWED = """
SELECT (SELECT count(*) FROM outbox WHERE state = 'waiting') + (SELECT count(*) FROM handovers WHERE state = 'waiting')
  + (SELECT count(*) FROM messages WHERE state NOT IN ('NOTIFIED', 'DELIVERED', 'PURGED')) AS owed
"""


class Node:
    """One process over all its lives."""

    def __init__(self, name: str, plan: NodePlan, balancer: Balancer) -> None:
        self.name = name
        self.plan = plan
        self.kills = 0
        self._balancer = balancer
        self._process = NodeProcess(name, plan.config)
        self._client: NodeClient | None = None

    @property
    def is_up(self) -> bool:
        """Whether it takes submissions."""
        return self._client is not None

    async def submit(self, data: bytes, to: str) -> dict[str, Any]:
        """Submit one message; raises `NodeUnreachable` where it does not run, or ends meanwhile."""
        if self._client is None:
            raise NodeUnreachable(f"{self.name} does not run")
        return await self._client.submit(data, to=to)

    async def start(self) -> float:
        """Start it; returns how long it took until it was ready."""
        began = time.monotonic()
        await self._process.start({"PYTHONPATH": str(SOURCE)})
        host, _, port = self._process.addresses.as4.rpartition(":")
        self._balancer.targets[self.name] = (host, int(port))
        self._client = await NodeClient(NodeAddress.load(self.plan.store)).__aenter__()
        return time.monotonic() - began

    async def kill(self) -> None:
        """End it as a power cut does."""
        pid = self._process.pid
        assert pid is not None, f"{self.name} had ended by itself; see {self._process.log}"
        os.kill(pid, signal.SIGKILL)
        status = await self._process.wait()
        assert status == -signal.SIGKILL, f"{self.name} had ended by itself with {status}"
        self.kills += 1
        await self._leave()

    async def pause(self, seconds: float) -> None:
        """Stop its clock, so to say: nothing of it runs, its connections stay open, and it wakes knowing nothing of that."""
        pid = self._process.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            os.kill(pid, signal.SIGCONT)

    async def stop(self) -> None:
        """End it in order."""
        await self._leave()
        await self._process.stop()

    def log(self) -> list[dict[str, Any]]:
        """What it has logged in all its lives."""
        lines = self._process.log.read_bytes().splitlines() if self._process.log.exists() else []
        return [orjson.loads(line) for line in lines if line.startswith(b"{")]

    async def _leave(self) -> None:
        self._balancer.targets.pop(self.name, None)
        client, self._client = self._client, None
        if client is not None:
            await client.__aexit__(None, None, None)


class Cluster:
    """Made by `open`, with every node running."""

    def __init__(
        self,
        base: Path,
        server: PostgresqlServer,
        scene: Scene,
        ledger: Ledger,
        doors: dict[str, Balancer],
    ) -> None:
        self.server = server
        self.base = base
        self.scene = scene
        self.ledger = ledger
        self.doors = doors
        self.glns = {name: plan.organisation.address.gln for name, plan in scene.plans.items()}
        self.partner = Node(PARTNER, scene.plans[PARTNER], doors[PARTNER])
        self.nodes: dict[str, Node] = {}
        self.stores: dict[str, Database] = {}

    @classmethod
    @asynccontextmanager
    async def open(
        cls, base: Path, server: PostgresqlServer, *, seed: int, nodes: Iterable[str] = NODES
    ) -> AsyncIterator["Cluster"]:
        """Make keys and configurations, start everything, and take what the backends are given."""
        scene = await asyncio.to_thread(Scene.make, base)
        url = await asyncio.to_thread(server.create, f"{GROUP}_{seed}_{time.time_ns()}")
        async with AsyncExitStack() as stack:
            ledger = Ledger(base / "ledger.db")
            stack.callback(ledger.close)
            stub = StatusStub(ledger, seed=seed, share=0.0)
            certificate, key = base / "status.cert.pem", base / "status.key.pem"
            status = await stub.start(server_context(certificate, key, scene.authority.anchors))
            stack.push_async_callback(stub.stop)
            doors = {PARTNER: Balancer(), GROUP: Balancer()}
            for door in doors.values():
                await door.open()
                stack.push_async_callback(door.close)
            for name, other in ((PARTNER, GROUP), (GROUP, PARTNER)):
                scene.write_config(
                    name,
                    partner_url=f"https://{doors[other].address}/as4",
                    status_url=status,
                    workers=4,
                )
            here = cls(base, server, scene, ledger, doors)
            for name in nodes:
                here.nodes[name] = Node(name, here._write_node(name, url), doors[GROUP])
            everybody = [here.partner, *here.nodes.values()]
            for node in everybody:
                stack.push_async_callback(node.stop)
            await asyncio.gather(*(node.start() for node in everybody))
            for name, config in (
                (PARTNER, here.partner.plan.config),
                (GROUP, here.first.plan.config),
            ):
                columns = build_columns(load(config), to_read=True)
                store = await Database.open(
                    database_url(load(config)), read_only=True, columns=columns
                )
                stack.push_async_callback(store.close)
                here.stores[name] = store
            backends = asyncio.create_task(here._take_deliveries())
            try:
                yield here
            finally:
                backends.cancel()
                await asyncio.gather(backends, return_exceptions=True)

    @property
    def first(self) -> Node:
        """The node whose configuration stands for all three."""
        return next(iter(self.nodes.values()))

    def _write_node(self, name: str, url: str) -> NodePlan:
        """The configuration of one of the nodes: as the organisation's, with a directory and a name of its own."""
        whole = self.scene.plans[GROUP]
        sections = tomllib.loads(whole.config.read_text(encoding="utf-8"))
        plan = NodePlan(name, whole.organisation, whole.stations, self.base / name)
        plan.directory.mkdir(mode=0o700)
        sections |= {
            "node": {"name": name, "lease": f"{LEASE_SECONDS} s"},
            "keys": {"directory": str(whole.directory / "keys")},
            "store": {
                "directory": "store",
                "database": url,
                "payloads": str(self.base / "payloads"),
            },
            "backend": {"kind": "folder", "directory": str(whole.inbox)},
        }
        plan.config.write_text(write_toml(sections), encoding="utf-8")
        plan.config.chmod(0o600)
        return plan

    async def rows(self, name: str, sql: str, *values: Any) -> list[Row]:
        """Look into the store of an organisation; a database that is away is waited for."""
        while True:
            try:
                return await self.stores[name].fetch(sql, *values)
            except StorageInterrupted:
                await asyncio.sleep(LOOK_SECONDS)

    async def owed(self) -> int:
        """How many messages, hand-overs and events are on their way anywhere."""
        found = [await self.rows(name, _OWED) for name in self.stores]
        return sum(int(rows[0]["owed"]) for rows in found)

    async def stop(self) -> None:
        """End every node in order and take what was delivered last."""
        await asyncio.gather(*(node.stop() for node in [self.partner, *self.nodes.values()]))
        self.take_delivered()

    async def compare(self) -> list[Comparison]:
        """Hold the two stores against each other, in both directions."""
        one, two = self.stores[PARTNER], self.stores[GROUP]
        return [await compare(one, two), await compare(two, one)]

    async def verify(self) -> list[Report]:
        """Hold each store against the invariants, once everything has stopped."""
        reports = []
        for name, node in ((PARTNER, self.partner), (GROUP, self.first)):
            payloads = build_payload_store(load(node.plan.config))
            try:
                reports.append(
                    await verify(self.stores[name], payloads, setting=Setting(), subject=name)
                )
            finally:
                payloads.close()
        return reports

    def take_delivered(self) -> None:
        """Take away every delivery and every outcome that is whole, and keep what it was."""
        for name in (PARTNER, GROUP):
            inbox = self.scene.plans[name].inbox
            for manifest in _whole(inbox, f"*{MANIFEST}"):
                said = orjson.loads(manifest.read_bytes())
                file = inbox / said["file"]
                # The octets come last in the ledger and first from the disk: a repetition has put them there again.
                data = file.read_bytes() if file.exists() else None
                manifest.unlink()
                file.unlink(missing_ok=True)
                self.ledger.deliver(
                    name, said["message_identifier"], said["delivery"], _digest(data)
                )
            for outcome in _whole(inbox / OUTCOMES, "*.json"):
                said = orjson.loads(outcome.read_bytes())
                outcome.unlink()
                self.ledger.tell(name, said["message_identifier"], said["id"], said["state"])

    async def _take_deliveries(self) -> None:
        while True:
            self.take_delivered()
            await asyncio.sleep(LOOK_SECONDS)


async def start_again(nodes: Iterable[Node]) -> float:
    """Start nodes that were killed, at once; returns how long the slowest took. A busy machine may need a second try."""

    async def start(node: Node) -> float:
        try:
            return await node.start()
        except NotStarted:
            return await node.start()

    return max(await asyncio.gather(*(start(node) for node in nodes)))


def _whole(directory: Path, pattern: str) -> list[Path]:
    return [path for path in directory.glob(pattern) if path.name[0] != "."]


def _digest(data: bytes | None) -> str | None:
    return None if data is None else hashlib.sha256(data).hexdigest()
