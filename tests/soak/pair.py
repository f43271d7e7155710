"""Two nodes in processes of their own, each reached through a fault proxy, with backends that take what they are given.

A node can be killed at any moment and is started again; the address by which its partner knows it stays. A
backend takes every file away as soon as it sees it, as a real one does, so a second delivery shows.
"""

import asyncio
import hashlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import apsw
import orjson
from command_line import SOURCE
from fault_proxy import FaultProxy, Script

from accesspoint.api.client import NodeAddress, NodeClient, NodeUnreachable
from accesspoint.backends.folder import MANIFEST, OUTCOMES
from accesspoint.demo.processes import NodeProcess
from accesspoint.demo.scenery import NodePlan
from keys.tls import server_context
from tests.soak.ledger import Ledger
from tests.soak.scene import RECEIVER, SENDER, Scene
from tests.soak.status_stub import StatusStub

PLANTED = Path(__file__).parent / "planted"
LOOK_SECONDS = 0.2
DATABASE = "accesspoint.db"
_OWED = """
SELECT (SELECT count(*) FROM outbox WHERE state = 'waiting') + (SELECT count(*) FROM handovers WHERE state = 'waiting')
  + (SELECT count(*) FROM messages WHERE state NOT IN ('NOTIFIED', 'DELIVERED', 'PURGED'))
"""


class Node:
    """One node over all its lives."""

    def __init__(self, plan: NodePlan, proxy: FaultProxy, environment: Mapping[str, str]) -> None:
        self.plan = plan
        self.proxy = proxy
        self.up = asyncio.Event()
        self.kills = 0
        self._environment = environment
        self._process = NodeProcess(plan.name, plan.config)
        self._client: NodeClient | None = None

    @property
    def pid(self) -> int | None:
        """The process id, while it runs."""
        return self._process.pid

    async def submit(self, data: bytes) -> dict[str, Any]:
        """Submit one message to this life; raises `NodeUnreachable` when it has ended, or ends meanwhile."""
        if self._client is None:
            raise NodeUnreachable(f"{self.plan.name} does not run")
        return await self._client.submit(data, to=None)

    async def start(self) -> None:
        """Start the node and let its partner reach it."""
        await self._process.start(self._environment)
        host, _, port = self._process.addresses.as4.rpartition(":")
        self.proxy.target = (host, int(port))
        self._client = await NodeClient(NodeAddress.load(self.plan.store)).__aenter__()
        self.up.set()

    def rows(self) -> apsw.Connection:
        """The store of this node, to read from while the node runs or not."""
        path = self.plan.store / DATABASE
        return apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)

    def owes(self) -> int:
        """How many messages, hand-overs and events are on their way out of this node."""
        database = self.rows()
        try:
            return int(next(database.execute(_OWED))[0])
        finally:
            database.close()

    async def kill(self) -> None:
        """End it as a power cut does; no handler runs."""
        assert self.pid is not None
        self.up.clear()
        os.kill(self.pid, signal.SIGKILL)
        status = await self._process.wait()
        assert status == -signal.SIGKILL, f"{self.plan.name} had ended by itself with {status}"
        self.kills += 1
        await self._forget_client()

    async def stop(self) -> None:
        """End it in order."""
        self.up.clear()
        await self._forget_client()
        await self._process.stop()

    def rss_mib(self) -> float:
        """Resident memory now; 0 while it does not run."""
        try:
            lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        except OSError:
            return 0.0
        return next((int(one.split()[1]) / 1024 for one in lines if one.startswith("VmRSS")), 0.0)

    async def _forget_client(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.__aexit__(None, None, None)


class Pair:
    """The two nodes of a run, made by `open`; `sender` is submitted to, `receiver` answers."""

    def __init__(self, nodes: Mapping[str, Node], ledger: Ledger, stub: StatusStub) -> None:
        self.nodes = nodes
        self.ledger = ledger
        self.stub = stub
        self.sender, self.receiver = nodes[SENDER], nodes[RECEIVER]

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        base: Path,
        *,
        script: Callable[[str], Script],
        seed: int,
        failing_reports: float,
        workers: int = 8,
        planted: str | None = None,
    ) -> AsyncIterator["Pair"]:
        """Make keys and configurations and start everything; `planted` names a fault in both nodes."""
        scene = await asyncio.to_thread(Scene.make, base)
        paths = [str(PLANTED), str(SOURCE)] if planted else [str(SOURCE)]
        environment = {"PYTHONPATH": os.pathsep.join(paths), "SOAK_PLANTED": planted or ""}
        async with AsyncExitStack() as stack:
            ledger = Ledger(base / "ledger.db")
            stack.callback(ledger.close)
            stub = StatusStub(ledger, seed=seed, share=failing_reports)
            tls = server_context(
                base / "status.cert.pem", base / "status.key.pem", scene.authority.anchors
            )
            status_url = await stub.start(tls)
            stack.push_async_callback(stub.stop)
            nodes: dict[str, Node] = {}
            for name, plan in scene.plans.items():
                proxy = FaultProxy(script(name))
                await proxy.open()
                stack.push_async_callback(proxy.close)
                nodes[name] = Node(plan, proxy, environment)
            for name, node in nodes.items():
                (other,) = (one for one in nodes.values() if one is not node)
                scene.write_config(
                    name,
                    partner_url=f"https://{other.proxy.address}/as4",
                    status_url=status_url,
                    workers=workers,
                )
                stack.push_async_callback(node.stop)
            pair = cls(nodes, ledger, stub)
            await asyncio.gather(*(node.start() for node in nodes.values()))
            backends = asyncio.create_task(pair._take_deliveries())
            try:
                yield pair
            finally:
                backends.cancel()
                await asyncio.gather(backends, return_exceptions=True)

    async def stop(self) -> None:
        """End both nodes in order, and take what they delivered last."""
        await asyncio.gather(*(node.stop() for node in self.nodes.values()))
        self.take_delivered()

    async def _take_deliveries(self) -> None:
        while True:
            self.take_delivered()
            await asyncio.sleep(LOOK_SECONDS)

    def take_delivered(self) -> None:
        """Take everything that stands in a folder of a backend and is whole, and keep what it was."""
        for name, node in self.nodes.items():
            for manifest in _whole(node.plan.inbox):
                if not manifest.name.endswith(MANIFEST):
                    continue
                said = orjson.loads(manifest.read_bytes())
                manifest.unlink()
                file = node.plan.inbox / said["file"]
                digest = _sha256(file) if file.exists() else None
                file.unlink(missing_ok=True)
                self.ledger.deliver(name, said["message_identifier"], said["delivery"], digest)
            for outcome in _whole(node.plan.inbox / OUTCOMES):
                said = orjson.loads(outcome.read_bytes())
                outcome.unlink()
                self.ledger.tell(name, said["message_identifier"], said["id"], said["state"])


def _whole(directory: Path) -> list[Path]:
    """The files of a directory that are not being written; there may be no such directory yet."""
    if not directory.exists():
        return []
    return [path for path in directory.iterdir() if path.is_file() and path.name[0] != "."]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
