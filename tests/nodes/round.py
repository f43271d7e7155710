"""One round: load in both directions while nodes are killed two at a time, and paused past their leases; then the account of it."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from accesspoint.api.client import ApiProblem, NodeUnreachable
from accesspoint.store.database import Row
from tests.nodes.cluster import GROUP, LEASE_SECONDS, PARTNER, Cluster, Node, start_again
from tests.soak.ledger import short_digest
from tests.soak.scene import SMALL_ONLY, Messages

SUBMITTERS = 2
OPEN_AT_MOST = 24
PATIENCE_SECONDS = 45.0
_HELD = """
SELECT (SELECT count(*) FROM messages WHERE lease_owner = $1) + (SELECT count(*) FROM handovers
  WHERE lease_owner = $1 AND state = 'waiting') AS held
"""


@dataclass
class Account:
    """What happened in a round, and what is wrong after it: no fault is a round that held."""

    seed: int
    story: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    submitted: int = 0
    kills: int = 0
    pauses: int = 0
    outages: int = 0
    fenced: int = 0
    takeovers: list[float] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)
    seconds: float = 0.0


class Round:
    """Plays one round on a cluster whose nodes run."""

    def __init__(self, cluster: Cluster, *, seed: int) -> None:
        self._cluster = cluster
        self._random = Random(seed)
        self._messages = Messages(seed, SMALL_ONLY)
        self._began = time.monotonic()
        self._going = True
        self._expected: dict[tuple[str, str], str] = {}
        """What was answered ok, by receiving organisation and message, with the digest that was accepted."""
        self.account = Account(seed)

    async def play(self, *, moments: int) -> Account:
        """Load, kill, pause, drain, stop, and hold everything against what was promised."""
        account = self.account
        async with asyncio.TaskGroup() as group:
            for _ in range(SUBMITTERS):
                group.create_task(self._submit([self._cluster.partner], to=GROUP))
                group.create_task(self._submit(list(self._cluster.nodes.values()), to=PARTNER))
            # Each kind in every round; which nodes, and when, is the seed's.
            kinds = (self._kill_two, self._kill_two, self._pause_one, self._stop_database)
            for number in range(moments):
                await asyncio.sleep(self._random.uniform(0.2, 1.5))
                await kinds[number % len(kinds)]()
            self._going = False
        if not await self._drained():
            account.faults += await self._stuck()
        await self._cluster.stop()
        account.submitted = len(self._expected)
        account.seconds = time.monotonic() - self._began
        await self._check()
        await self._tell()
        return account

    # What happens

    async def _submit(self, nodes: Sequence[Node], *, to: str) -> None:
        """Submit to any node that runs, again and again until one of them says that it has the message."""
        cluster = self._cluster
        while self._going:
            if len(self._expected) - cluster.ledger.delivered // 2 >= OPEN_AT_MOST:
                await asyncio.sleep(0.05)
                continue
            identifier, data = self._messages.draw()
            cluster.ledger.submit(identifier, data)
            while True:
                node = self._random.choice(nodes)
                try:
                    async with asyncio.timeout(
                        10
                    ):  # a paused node takes connections and says nothing
                        said = await node.submit(data, cluster.glns[to])
                except (NodeUnreachable, TimeoutError):
                    await asyncio.sleep(0.05)
                except ApiProblem as problem:
                    if problem.status != 503:
                        raise
                    await asyncio.sleep(0.05)
                else:
                    break
            self._expected[to, said["message_identifier"]] = said["sha256"]
            cluster.ledger.answer(identifier)

    async def _kill_two(self) -> None:
        chosen = self._random.sample(list(self._cluster.nodes.values()), 2)
        living = next(node for node in self._cluster.nodes.values() if node not in chosen)
        owners = [await self._owner(node) for node in chosen]
        await asyncio.gather(*(node.kill() for node in chosen))
        self.account.kills += len(chosen)
        began = time.monotonic()
        held = sum([await self._held(owner) for owner in owners])
        # Started again late enough that the living one has to do their work, and meanwhile all of the traffic.
        while sum([await self._held(owner) for owner in owners]) and time.monotonic() - began < 30:
            await asyncio.sleep(0.05)
        took = time.monotonic() - began
        names = " and ".join(node.name for node in chosen)
        if held:
            self.account.takeovers.append(took)
            self._say(
                f"{names} die holding {held} leases; {took:.1f} s later {living.name} has taken over"
            )
        else:
            self._say(f"{names} die holding nothing; {living.name} goes on alone")
        self.account.starts.append(await start_again(chosen))

    async def _pause_one(self) -> None:
        node = self._random.choice(list(self._cluster.nodes.values()))
        owner = await self._owner(node)
        seconds = self._random.uniform(1.5, 2.5) * LEASE_SECONDS
        pausing = asyncio.create_task(node.pause(seconds))
        await asyncio.sleep(0)
        held = await self._held(owner)
        await pausing
        self.account.pauses += 1
        self._say(f"{node.name} sleeps {seconds:.1f} s with {held} leases and wakes past them")

    async def _stop_database(self) -> None:
        """The server ends without a checkpoint, in the middle of whatever it was doing, and comes back soon."""
        server = self._cluster.server
        await asyncio.to_thread(server.stop_at_once)
        await asyncio.sleep(self._random.uniform(0.2, 1.0))
        await asyncio.to_thread(server.start_again)
        self.account.outages += 1
        self._say("PostgreSQL stops at once and comes back")

    async def _owner(self, node: Node) -> str:
        sql = "SELECT owner FROM nodes WHERE name = $1 ORDER BY started_at DESC LIMIT 1"
        rows = await self._cluster.rows(GROUP, sql, node.name)
        return str(rows[0]["owner"]) if rows else ""

    async def _held(self, owner: str) -> int:
        return int((await self._cluster.rows(GROUP, _HELD, owner))[0]["held"])

    async def _drained(self) -> bool:
        """Wait until nobody owes anything; False when nothing has moved for too long."""
        seen, since = -1, time.monotonic()
        while owed := await self._cluster.owed():
            if owed != seen:
                seen, since = owed, time.monotonic()
            elif time.monotonic() - since > PATIENCE_SECONDS:
                return False
            await asyncio.sleep(0.2)
        return True

    async def _stuck(self) -> list[str]:
        """What is still owed although nothing moves, row by row."""
        found = []
        for name in self._cluster.stores:
            for table, condition in (
                ("messages", "state NOT IN ('NOTIFIED', 'DELIVERED', 'PURGED')"),
                ("handovers", "state = 'waiting'"),
                ("outbox", "state = 'waiting'"),
            ):
                rows = await self._cluster.rows(name, f"SELECT * FROM {table} WHERE {condition}")
                columns = ("direction", "target", "state", "attempt", "attempts", "next_at", "lease_owner", "lease_until",
                           "problem", "lane", "updated_at", "created_at")  # fmt: skip
                found += [
                    f"not drained: {name} {table} { {key: row[key] for key in columns if key in row} }"
                    for row in rows
                ]
        return found

    def _say(self, line: str) -> None:
        self.account.story.append(f"{time.monotonic() - self._began:5.1f} s  {line}")

    # What must hold then

    async def _check(self) -> None:
        faults, cluster = self.account.faults, self._cluster
        delivered = cluster.ledger.deliveries()
        for (to, message), digest in self._expected.items():
            found = {d for (node, one, _), d in delivered.items() if (node, one) == (to, message)}
            if found != {digest}:
                faults.append(f"{'lost' if not found else 'altered'}: {message} for {to}")
        times = Counter((node, message) for node, message, _ in delivered)
        faults += [f"two delivery ids: {key}" for key, count in times.items() if count > 1]
        owed = set()
        for name in cluster.stores:
            rows = await cluster.rows(name, "SELECT event_id, body, aggregate FROM outbox")
            owed |= {short_digest(row["body"]) for row in rows}
            documents = await cluster.rows(name, "SELECT message_identifier FROM documents")
            faults += _count_events(rows, {row["message_identifier"] for row in documents})
        reported = cluster.ledger.events()
        faults += ["events missing at the status component"] * len(owed - reported)
        faults += ["events that nobody owes"] * len(reported - owed)
        for comparison in await cluster.compare():
            faults += [finding.render() for finding in comparison.findings]
        for report in await cluster.verify():
            if not report.held:
                faults.append(report.render())
        for node in [cluster.partner, *cluster.nodes.values()]:
            lines = node.log()
            self.account.fenced += sum("fenced" in str(line.get("event")) for line in lines)
            faults += [
                f"{node.name}: {line['event']} {line.get('error', '')}"
                for line in lines
                if line.get("event") in {"worker_ended", "as4.in.internal", "api_internal"}
            ]

    async def _tell(self) -> None:
        """Who received, who died, who took over: the lines about the nodes, then one message that outlived its node."""
        rows = await self._cluster.rows(
            GROUP,
            "SELECT node, event, count(*) AS times FROM journal WHERE event IN ('received', 'receipt', 'delivered')"
            " GROUP BY node, event ORDER BY node, event",
        )
        did: dict[str, list[str]] = {}
        words = {"received": "received", "receipt": "sent", "delivered": "delivered"}
        for row in rows:
            did.setdefault(row["node"], []).append(f"{words[row['event']]} {row['times']}")
        several = await self._cluster.rows(
            GROUP,
            "SELECT message_identifier FROM journal WHERE event = 'sending' GROUP BY message_identifier"
            " HAVING count(DISTINCT node) > 1 ORDER BY message_identifier LIMIT 1",
        )
        self.account.story += [f"{node}: {', '.join(what)}" for node, what in sorted(did.items())]
        for row in several:
            lines = await self._cluster.rows(
                GROUP,
                "SELECT node, event FROM journal WHERE message_identifier = $1 ORDER BY seq",
                row["message_identifier"],
            )
            told = ", ".join(f"{line['event']} by {line['node']}" for line in lines)
            self.account.story.append(f"message {row['message_identifier'][:8]}: {told}")


def _count_events(rows: Sequence[Row], documents: set[str]) -> list[str]:
    """Of each message three events stand in each store, of each envelope acknowledgement one (decision D13)."""
    per_message = Counter(row["aggregate"] for row in rows)
    owed = {
        aggregate: 3 if aggregate in documents else 1 for aggregate in [*documents, *per_message]
    }
    return [
        f"{per_message[aggregate]} events of {aggregate} in one store, not {count}"
        for aggregate, count in owed.items()
        if per_message[aggregate] != count
    ]
