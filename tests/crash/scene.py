"""The municipality and the clinic as two nodes of the nursery, and what must be true of both after any crash.

The scene keeps its keys, its network and its stores from one run to the next, so that a run costs little
and also proves that it harms nothing that was there before. Each run sends one new message; the clinic
answers it with both acknowledgements, so that every role is played by both nodes.
"""

import asyncio
import contextlib
import os
import secrets
import shutil
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from background import background
from delivery_rows import expected_rows, rows_by
from nursery import Child, Ended, Nursery
from sample_messages import home_care_observation
from storage_faults import CUT
from two_organisations import TwoOrganisations, until

from accesspoint.api.client import ApiProblem, NodeUnreachable
from accesspoint.config import load
from accesspoint.demo.scenery import ORGANISATIONS, device_ids
from accesspoint.demo.surroundings import Surroundings
from accesspoint.store.configured import build_columns, build_payload_store
from accesspoint.store.database import Database, sqlite_url
from accesspoint.verification import Setting, compare, verify
from envelope import fhir

SENDER, RECEIVER = "municipality", "clinic"
OWNERS = {device: o.key for o in ORGANISATIONS for device in device_ids(o).values()}
SHORT_RETRIES = {
    "ACCESSPOINT__SENDING__RETRY__FIRST": "100 ms",
    "ACCESSPOINT__SENDING__RETRY__LONGEST": "500 ms",
}
OPEN_STATES = "'ACCEPTED', 'RESOLVED', 'READY', 'SENDING', 'RETRY_WAIT', 'RECEIVED', 'DELIVERING', 'DELIVERY_WAIT'"
OUT_ENDS = {"ACKNOWLEDGED", "NOTIFIED", "PURGED"}
IN_ENDS = {"DELIVERED", "PURGED"}
OWED = (
    f"SELECT id FROM messages WHERE state IN ({OPEN_STATES})"
    " UNION ALL SELECT id FROM handovers WHERE state = 'waiting'"
    " UNION ALL SELECT envelope_id FROM envelopes WHERE acknowledgement = 'awaited'"
    " UNION ALL SELECT id FROM documents WHERE acknowledgement = 'awaited' AND direction = 'out'"
)
OWED_EVENTS = " UNION ALL SELECT event_id FROM outbox WHERE state = 'waiting'"


class Broken(AssertionError):
    """A promise that was not kept."""


class CrashScene(TwoOrganisations):
    """Two organisations whose nodes are children of a nursery; made by `open_scene`."""

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self.nursery: Nursery
        self.nodes: dict[str, Child] = {}
        self.databases: dict[str, str] = {}
        self.leases = "30 s"
        self.patience = 45.0
        self.environment: dict[str, str] = {}
        """What the environment of both nodes has besides, in every life."""
        self.always: dict[str, tuple[str, ...]] = {}
        """Changes that are made in every life of a node."""
        self.forgotten = 0
        """The position of the last report before the scene began anew."""
        self.out_of_order: set[str] = set()
        """Messages with an event that was refused for a while: it came after later ones."""
        self._postgresql: Any = None

    # -- nodes

    async def begin(self, name: str, *, failpoints: str = "", changes: Sequence[str] = ()) -> Child:
        """Start a node and wait until it serves; raises `Ended`."""
        if name in self.nodes:
            await self.kill(name)
        self._after_power_cut(name)
        environment = {**self.environment, **SHORT_RETRIES, "ACCESSPOINT__NODE__LEASE": self.leases}
        if name in self.databases:
            environment["ACCESSPOINT__STORE__DATABASE"] = self.databases[name]
        node = self.nodes[name] = self.nursery.start(
            self.plans[name].config,
            failpoints=failpoints,
            changes=("short-waits", *self.always.get(name, ()), *changes),
            environment=environment,
        )
        await node.ready()
        host, _, port = node.addresses["as4"].rpartition(":")
        self.doors[name].target = (host, int(port))
        await self.doors[name].open()
        return node

    async def stop(self, name: str) -> None:
        """End a node in order, if it runs."""
        if name in self.nodes and self.nodes[name].status is None:
            await self.nodes[name].stop()

    async def kill(self, name: str) -> int:
        """End a node as a power cut does."""
        return await self.nodes[name].kill()

    def _after_power_cut(self, name: str) -> None:
        """Let the next life of a node find what a power cut left, if there was one."""
        plan = self.plans[name]
        cut = plan.directory / CUT
        if cut.exists():
            shutil.rmtree(plan.store)
            cut.rename(plan.store)

    @asynccontextmanager
    async def supervised(self) -> AsyncIterator[None]:
        """Start a node that ends by itself again, without failures, as a service manager does."""
        async with background(self._supervise()):
            yield

    async def _supervise(self) -> None:
        while True:
            for name in self.plans:
                if name in self.nodes and self.nodes[name].status is not None:
                    with contextlib.suppress(Ended):
                        await self.begin(name)
            await asyncio.sleep(0.005)

    # -- one message

    async def submit(self, data: bytes) -> int:
        """Hand a message in at the sender as an application does that gets no answer: again. How often it asked."""
        for asked in range(1, 200):
            try:
                async with self.client(SENDER) as client:
                    await client.submit(data, to=None)
            except (NodeUnreachable, FileNotFoundError, ValueError):
                pass
            except ApiProblem as problem:
                # Behind the address of a dead node there may stand another one by now: 401.
                if problem.status < 500 and problem.status != 401:
                    raise
            else:
                return asked
            await asyncio.sleep(0.03)
        raise Broken("a message was never accepted")

    # -- what is in the stores

    async def rows(self, name: str, sql: str) -> list[dict[str, Any]]:
        """Read the database of a node, whether it runs or not."""
        if name in self.databases:
            import asyncpg

            connection = await asyncpg.connect(self.databases[name])
            try:
                return [dict(record) for record in await connection.fetch(sql)]
            finally:
                await connection.close()
        path = self.plans[name].store / "accesspoint.db"
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(sql)]

    async def settled(self, *, but_events: bool = False) -> None:
        """Wait until nobody owes anybody anything, delivery events perhaps excepted."""
        seconds = self.patience
        owed = OWED + ("" if but_events else OWED_EVENTS)

        async def nothing_is_owed() -> bool:
            for name in self.plans:
                try:
                    if not self.nodes[name].lives or await self.rows(name, owed):
                        return False
                except sqlite3.OperationalError:
                    return False
            return True

        try:
            await until(nothing_is_owed, "the end of the exchange", seconds=seconds)
        except AssertionError as error:
            left = {name: await self._owed(name) for name in self.plans}
            raise Broken(f"after {seconds:g} s something is still owed: {left}") from error

    async def _owed(self, name: str) -> list[Any]:
        messages = await self.rows(
            name,
            f"SELECT direction, state, problem, attempt FROM messages WHERE state IN ({OPEN_STATES})",
        )
        others = await self.rows(
            name,
            "SELECT 'handover' AS what, problem FROM handovers WHERE state = 'waiting'"
            " UNION ALL SELECT subtype, problem FROM outbox WHERE state = 'waiting'",
        )
        return [tuple(row.values()) for row in (*messages, *others)]

    # -- what must be true

    async def check(self, sent: dict[str, bytes]) -> None:
        """Hold everything that was ever sent against the promise; raises `Broken`."""
        await self._check_exchanges()
        await self._verify()
        for name in self.plans:
            await self._check_files(name)
            await self._check_deliveries(name)
            await self._check_order(name)
        for identifier, data in sent.items():
            self._check_backend(identifier, data)
            await self.check_events(identifier)

    async def _verify(self) -> None:
        """Let the operator's own tool look at both stores, and hold each against the other."""
        async with AsyncExitStack() as stack:
            databases = {}
            for name, plan in self.plans.items():
                configuration = load(plan.config)
                url = self.databases.get(name) or sqlite_url(plan.store / "accesspoint.db")
                columns = build_columns(configuration, to_read=True)
                database = await Database.open(url, read_only=True, columns=columns)
                databases[name] = database
                stack.push_async_callback(database.close)
                payloads = build_payload_store(configuration)
                stack.callback(payloads.close)
                setting = Setting(
                    running=True,
                    party=plan.organisation.access_point,
                    reports=True,
                    together=True,
                    logs=[plan.config.with_name("log.jsonl")],
                )
                report = await verify(database, payloads, setting=setting, subject=name)
                if report.broken:
                    raise Broken(report.render())
            for here, there in ((SENDER, RECEIVER), (RECEIVER, SENDER)):
                comparison = await compare(databases[here], databases[there])
                if not comparison.held:
                    raise Broken(comparison.render())

    async def _check_exchanges(self) -> None:
        """Each message has one row at each end, the same id, the same payload, and the same receipt to the byte."""
        sql = (
            "SELECT m.direction, m.message_id, m.state, m.payload_sha256, r.body,"
            " (SELECT count(*) FROM history h WHERE h.message = m.id AND h.from_state IS NULL) AS starts"
            " FROM messages m LEFT JOIN receipts r ON r.message = m.id"
        )
        tables = {name: await self.rows(name, sql) for name in self.plans}
        for here, there in ((SENDER, RECEIVER), (RECEIVER, SENDER)):
            out = [row for row in tables[here] if row["direction"] == "out"]
            taken = [row for row in tables[there] if row["direction"] == "in"]
            ids = [row["message_id"] for row in out]
            if len(set(ids)) < len(ids) or sorted(ids) != sorted(r["message_id"] for r in taken):
                raise Broken(f"{here} sent {len(ids)} messages, {there} took {len(taken)}")
            by_id = {row["message_id"]: row for row in taken}
            for row in out:
                other = by_id[row["message_id"]]
                if row["state"] not in OUT_ENDS or other["state"] not in IN_ENDS:
                    raise Broken(f"{here}: {row['state']}, {there}: {other['state']}")
                if row["starts"] != 1 or other["starts"] != 1:
                    raise Broken("a message began twice")
                if row["payload_sha256"] != other["payload_sha256"]:
                    raise Broken("the payload is another one")
                if row["body"] is None or row["body"] != other["body"]:
                    raise Broken("the receipt is another one")

    async def _check_files(self, name: str) -> None:
        """No row without its file; what lies aside belongs to the process that runs."""
        store = self.plans[name].store / "payloads"
        rows = await self.rows(
            name,
            "SELECT payload FROM messages WHERE payload IS NOT NULL"
            " UNION SELECT payload FROM documents WHERE payload IS NOT NULL"
            " UNION SELECT payload FROM handovers WHERE state = 'waiting' AND payload IS NOT NULL"
            " UNION SELECT part FROM wires WHERE part IS NOT NULL",
        )
        named = {row["payload"] for row in rows}
        found = {path.name for path in store.glob("??/*")}
        if named - found:
            raise Broken(f"{name}: {len(named - found)} rows point at no file")

        # A directory may outlast the first start after a power cut; what was in it may not.
        async def nothing_beside() -> bool:
            return not any(path.is_file() for path in (store / "tmp").rglob("*"))

        await until(nothing_beside, f"temporary files of {name} to go", seconds=3)

    async def orphans(self, name: str) -> int:
        """How many payload files no row points at."""
        rows = await self.rows(
            name,
            "SELECT payload FROM messages UNION SELECT payload FROM documents"
            " UNION SELECT payload FROM handovers UNION SELECT part FROM wires",
        )
        named = {row["payload"] for row in rows}
        return sum(p.name not in named for p in (self.plans[name].store / "payloads").glob("??/*"))

    async def _check_deliveries(self, name: str) -> None:
        """One delivery id for each message, and each of them done."""
        sql = "SELECT message_identifier, count(*) AS n FROM handovers WHERE kind = 'document' GROUP BY 1"
        doubled = [row for row in await self.rows(name, sql) if row["n"] != 1]
        if doubled:
            raise Broken(f"{name}: {len(doubled)} messages have several delivery ids")

    async def _check_order(self, name: str) -> None:
        """The status component first saw the events of each message in the order in which they were recorded."""
        order: dict[str, list[tuple[str, str]]] = {}
        for row in await self.rows(
            name, "SELECT aggregate, device_id, subtype FROM outbox ORDER BY seq"
        ):
            order.setdefault(row["aggregate"], []).append((row["device_id"], row["subtype"]))
        seen: dict[str, list[tuple[str, str]]] = {}
        for report in await self.status.reports(self.forgotten):
            resource = report.resource
            device = str(resource["source"]["observer"]["identifier"]["value"])
            if OWNERS[device] == name:
                event = (device, resource["subtype"][0]["code"])
                seen.setdefault(report.message_identifier, []).append(event)
        for aggregate, events in order.items():
            if aggregate in self.out_of_order:
                events.sort()
                seen.get(aggregate, []).sort()
            if seen.get(aggregate, []) != events:
                raise Broken(
                    f"{name}: {len(events)} events, seen {len(seen.get(aggregate, []))} or in another order"
                )

    def _check_backend(self, identifier: str, data: bytes) -> None:
        """The receiver's backend has these bytes once."""
        found = [body for name, body in self.delivered(RECEIVER).items() if identifier in name]
        if found != [data]:
            raise Broken(f"the backend has the message {len(found)} times, or other bytes")

    async def check_events(self, identifier: str) -> None:
        """The status component has the sixteen events of the exchange, each once."""
        reports = await self.status.of_exchange([identifier])
        if rows_by((r.resource for r in reports), OWNERS) != expected_rows("together"):
            raise Broken(f"{len(reports)} delivery events instead of 16, or others")

    async def forget_all(self) -> None:
        """Begin anew with empty stores."""
        for name in self.plans:
            await self.stop(name)
            await self.forget(name)
            self.plans[name].config.with_name("log.jsonl").unlink(missing_ok=True)
            if name in self.databases:
                self.databases[name] = self._new_database()
        self.forgotten = max((r.position for r in await self.status.reports()), default=0)

    def _new_database(self) -> str:
        # The server outlives the scene, and a database that exists would bring the rows of another one along.
        name = f"crash_{secrets.token_hex(8)}"
        self._postgresql.psql(f"CREATE DATABASE {name}")
        return str(self._postgresql.get_uri(name))


@asynccontextmanager
async def open_scene(
    base: Path, nursery: Nursery, *, postgresql: Any = None
) -> AsyncIterator[CrashScene]:
    """Make keys and configurations, and serve the network; `postgresql` is a server for both stores."""
    async with CrashScene.open(base) as scene:
        assert isinstance(scene, CrashScene)
        scene.nursery = nursery
        if postgresql is not None:
            scene._postgresql = postgresql
            scene.databases = {name: scene._new_database() for name in scene.plans}
            scene.leases = "2 s"
        try:
            yield scene
        finally:
            for name in scene.plans:
                await scene.stop(name)


def new_message(*, large: bool = False) -> tuple[str, bytes]:
    """A message from the municipality to the clinic: its identifier and its bytes."""
    attachment = os.urandom(200_000) if large else None
    data = fhir.serialize(home_care_observation(attachment=attachment), "json")
    return fhir.recognise(fhir.read_message(data)).message_id, data
