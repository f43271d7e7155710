"""The crash points that are circumstances, or that need more than one message: each is a small play with two nodes.

An act begins with both nodes free to start and ends with everything sent; the walker then waits until nothing
is owed and holds the stores against the promise. A fault that is no death of the process (an exception, an
I/O error, a full disk) happens where code runs; where an act has no such place, the circumstance alone is it.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from command_line import SOURCE
from nursery import Child, Ended
from scene import SENDER, Broken, CrashScene, new_message
from two_organisations import until

from accesspoint.failpoints import Fault
from accesspoint.network.faults import Fault as NetworkFault
from accesspoint.store.database import Dialect
from accesspoint.store.migration import load_migrations
from keys.store import load_certificate_files, write_pair

Sent = dict[str, bytes]
Act = Callable[[CrashScene, str, Fault], Awaitable[Sent]]
"""Plays a circumstance with a node (by name) and a fault; returns the messages it sent."""
STALL_SECONDS = 3.0
"""Longer than the leases of these nodes."""


async def both(scene: CrashScene, **failpoints: str) -> None:
    """Have both nodes running, with these failures armed."""
    for name in scene.plans:
        if name in failpoints or name not in scene.nodes or scene.nodes[name].status is not None:
            with contextlib.suppress(Ended):
                await scene.begin(name, failpoints=failpoints.get(name, ""))


async def strike(node: Child, fault: Fault) -> None:
    """Do to a whole process what its code cannot do to itself: kill it, or let it stand still for a while."""
    if fault is Fault.KILL:
        await node.kill()
    elif fault is Fault.STALL:
        node.signal(signal.SIGSTOP)
        await asyncio.sleep(STALL_SECONDS)
        node.signal(signal.SIGCONT)


def trap(point: str, fault: Fault, when: str = "") -> str:
    """The text that arms a point."""
    seconds = f":{STALL_SECONDS}" if fault is Fault.STALL else ""
    return f"{point}={fault}{seconds}{when}"


async def sent(scene: CrashScene) -> Sent:
    """Send one message."""
    identifier, data = new_message()
    await scene.submit(data)
    return {identifier: data}


async def ended(node: Child) -> int:
    """Wait for the end of a node that was told to end."""
    async with asyncio.timeout(30):
        return await node.wait()


@asynccontextmanager
async def unreachable(scene: CrashScene, name: str) -> AsyncIterator[None]:
    """Let nobody reach a node for a while."""
    scene.doors[name].shut()
    try:
        yield
    finally:
        await scene.doors[name].open()


async def tried(scene: CrashScene, identifier: str) -> None:
    """Wait until the sender has made an image of a message and could not bring it."""

    async def waits() -> bool:
        rows = await scene.rows(
            SENDER, f"SELECT attempt, state FROM messages WHERE message_identifier = '{identifier}'"
        )
        return bool(rows) and rows[0]["state"] == "RETRY_WAIT" and rows[0]["attempt"] > 0

    await until(waits, "an attempt")


# -- the answer on its way ---------------------------------------------------------------------


async def half_an_answer(scene: CrashScene, victim: str, fault: Fault) -> Sent:
    """R14: the receipt is cut in half on its way, and the receiver struck."""
    await both(scene)
    door = scene.doors[victim]
    door.cuts_answer_after = 1_500
    try:
        message = await sent(scene)
        await until(_truth(lambda: door.cuts_answer_after is None), "half an answer")
        await strike(scene.nodes[victim], fault)
    finally:
        door.cuts_answer_after = None
    return message


async def answered(scene: CrashScene, victim: str, fault: Fault) -> Sent:
    """R15: the receipt arrived whole, but the sender dies before it knows; the receiver is struck meanwhile."""
    await both(scene, **{SENDER: "S12=kill"})
    message = await sent(scene)
    await ended(scene.nodes[SENDER])
    await strike(scene.nodes[victim], fault)
    return message


# -- the status component ----------------------------------------------------------------------


async def poison(scene: CrashScene, victim: str, fault: Fault) -> Sent:
    """O6: the status component refuses an event for good; another message's events flow, and the next start tries again."""
    await both(scene)
    faults = scene.around.network.faults
    faults.add(NetworkFault.STATUS_REFUSES)
    try:
        message = await sent(scene)

        async def parked() -> bool:
            return bool(await scene.rows(victim, "SELECT 1 FROM outbox WHERE state = 'parked'"))

        await until(parked, "a refused event")
    finally:
        faults.discard(NetworkFault.STATUS_REFUSES)
    scene.out_of_order |= set(message)
    other = await sent(scene)
    async with scene.supervised():
        await scene.settled()
        await scene.check_events(next(iter(other)))
        await strike(scene.nodes[victim], fault)
    for name in scene.plans:
        await scene.begin(name)
    return message | other


async def three_days(scene: CrashScene, victim: str, fault: Fault) -> Sent:
    """O7: 72 hours without the status component; both nodes live through them in one leap of the clock."""
    faults = scene.around.network.faults
    await both(scene, **{victim: trap("O1", fault, "@3")})
    faults.add(NetworkFault.STATUS_DOWN)
    try:
        async with scene.supervised():
            message = await sent(scene)
            await scene.settled(but_events=True)
        for name in scene.plans:
            await scene.begin(name, changes=("shifted-clock:72",))
        await asyncio.sleep(0.3)
    finally:
        faults.discard(NetworkFault.STATUS_DOWN)
    await scene.settled()
    for name in scene.plans:
        await scene.begin(name)
    return message


async def many_at_once(scene: CrashScene, victim: str, fault: Fault) -> Sent:
    """O8: the events of several messages wait together, and the relay fails in the middle of them."""
    faults = scene.around.network.faults
    await both(scene)
    faults.add(NetworkFault.STATUS_DOWN)
    messages: Sent = {}
    try:
        for _ in range(3):
            messages |= await sent(scene)
        await scene.settled(but_events=True)
        with contextlib.suppress(Ended):
            await scene.begin(victim, failpoints=trap("O3", fault, "@7"))
    finally:
        faults.discard(NetworkFault.STATUS_DOWN)
    return messages


# -- letting go --------------------------------------------------------------------------------


async def swept(scene: CrashScene, victim: str) -> None:
    """Wait until no payload is left that no row points at."""

    async def clean() -> bool:
        return scene.nodes[victim].lives and await scene.orphans(victim) == 0

    await until(clean, "the sweeper")


async def _let_go(scene: CrashScene, victim: str, point: str, fault: Fault) -> None:
    begin = len(scene.log(victim))
    node = await scene.begin(victim, failpoints=trap(point, fault), changes=("eager-housekeeping",))

    async def hit() -> bool:
        return node.status is not None or f'"point": "{point}"' in scene.log(victim)[begin:]

    await until(hit, "the purge")
    if fault is not Fault.STALL:
        await scene.begin(victim, changes=("eager-housekeeping",))
    await swept(scene, victim)
    # The next run may want to let go of its own message at the moment of its choice.
    await scene.begin(victim)


def purging(point: str) -> Act:
    """S19 and S20: a payload is let go of, and the node fails between its row and its file, or after both."""

    async def act(scene: CrashScene, victim: str, fault: Fault) -> Sent:
        await both(scene)
        async with scene.supervised():
            message = await sent(scene)
            await scene.settled()
        await _let_go(scene, victim, point, fault)
        return message

    return act


async def sweeping(scene: CrashScene, victim: str, fault: Fault) -> Sent:
    """R16: the sweeper fails over the orphan of an earlier crash, while new messages come in."""
    await both(scene, **{victim: "R8=kill"})
    async with scene.supervised():
        message = await sent(scene)
        await scene.settled()
    if await scene.orphans(victim) == 0:
        raise Broken("there is no orphan to sweep")
    more = asyncio.create_task(sent(scene))
    await _let_go(scene, victim, "R16", fault)
    return message | await more


# -- maintenance -------------------------------------------------------------------------------


async def migration(scene: CrashScene, victim: str, fault: Fault) -> Sent:
    """M1: a store is made from nothing, and fails at its first, a middle and a late statement."""
    for hit in (1, 12, 33):
        await scene.forget_all()
        with contextlib.suppress(Ended):
            await scene.begin(victim, failpoints=trap("M1", fault, f"@{hit}"))
        if scene.nodes[victim].status is None and fault is not Fault.STALL:
            raise Broken("the migration did not fail")
        await schema_is_whole(scene, victim)
    await both(scene)
    return await sent(scene)


async def schema_is_whole(scene: CrashScene, name: str) -> None:
    """The tables are exactly those of the version that the store says it has."""
    try:
        rows = await scene.rows(name, "SELECT max(version) AS version FROM schema_version")
        version = rows[0]["version"] or 0
    except Exception as error:
        if "schema_version" not in str(error) and "unable to open" not in str(error):
            raise
        version = 0
    with contextlib.closing(sqlite3.connect(":memory:")) as reference:
        for step in load_migrations(files("accesspoint.store") / "migrations")[:version]:
            for statement in step.statements(Dialect.SQLITE):
                reference.execute(statement)
        listing = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        expected = {row[0] for row in reference.execute(listing)}
    if name in scene.databases:
        listing = "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'"
    try:
        found = {row["name"] for row in await scene.rows(name, listing)}
    except sqlite3.OperationalError:
        found = set()
    if found - {"schema_version"} != expected:
        raise Broken(f"schema {version} has other tables: {sorted(found ^ expected)}")


async def checkpoint(scene: CrashScene, victim: str, fault: Fault) -> Sent:
    """M2: the node stops in order and fails as it is about to fold its log into the file."""
    await both(scene, **{victim: trap("M2", fault)})
    message = await sent(scene)
    await scene.settled()
    scene.nodes[victim].signal(signal.SIGTERM)
    await ended(scene.nodes[victim])
    return message


BACK_UP = """
import asyncio, sys
from datetime import UTC, datetime
from pathlib import Path
from accesspoint.store.backup import back_up
from accesspoint.store.payload_directory import DirectoryPlace
store, target = map(Path, sys.argv[1:])
place = DirectoryPlace(store / "payloads")
asyncio.run(back_up(store / "accesspoint.db", place, target, at=datetime.now(UTC)))
place.close()
"""


async def backup(scene: CrashScene, victim: str, fault: Fault) -> Sent:
    """M3: beside the running node one backup is made, the next one fails, and the first is whole."""
    await both(scene)
    message = await sent(scene)
    await scene.settled()
    store = scene.plans[victim].store
    targets = [store.with_name(f"backup-{word}") for word in ("whole", "failed")]
    ends = []
    for target, armed in zip(targets, ("", trap("M3", fault)), strict=True):
        shutil.rmtree(target, ignore_errors=True)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", BACK_UP, str(store), str(target),
            env={**os.environ, "PYTHONPATH": str(SOURCE), "AP_FAILPOINTS": armed},
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, said = await process.communicate()
        ends.append((process.returncode, said))
    if ends[0][0] != 0 or b'"M3"' not in ends[1][1]:
        raise Broken(f"the backups ended with {[status for status, _ in ends]}")
    if (targets[1] / "backup.json").exists() != (fault is Fault.STALL):
        raise Broken("a backup that failed looks like a whole one")
    files = json.loads((targets[0] / "backup.json").read_text())["files"]
    for name, facts in files.items():
        octets = (targets[0] / "payloads" / name[:2] / name).read_bytes()
        if hashlib.sha256(octets).hexdigest() != facts["sha256"]:
            raise Broken("the whole backup has another payload")
    database = sqlite3.connect(f"file:{targets[0] / 'accesspoint.db'}?mode=ro", uri=True)
    with contextlib.closing(database):
        if database.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
            raise Broken("the whole backup has a damaged database")
    return message


async def stopping(scene: CrashScene, victim: str, fault: Fault) -> Sent:
    """M7: the node is asked to stop while a message is on its way, and fails while it stops."""
    await both(scene, **{victim: trap("M7", fault)})
    message = await sent(scene)
    scene.nodes[victim].signal(signal.SIGTERM)
    await ended(scene.nodes[victim])
    return message


async def new_keys(scene: CrashScene, victim: str, fault: Fault) -> Sent:
    """M4: the receiver changes its keys while a message sealed for the old ones waits at the sender."""
    await both(scene)
    await scene.begin(SENDER, changes=("short-memory",))
    plan = scene.plans[victim]
    async with unreachable(scene, victim):
        message = await sent(scene)
        await tried(scene, next(iter(message)))
        await scene.kill(victim)
        keys = plan.directory / "keys"
        for kind in ("key", "cert"):
            (keys / f"message.{kind}.pem").rename(keys / f"message.previous.{kind}.pem")
        scenery, organisation = scene.around.scenery, plan.organisation
        issued = scenery.authority.issue_system_certificate(
            organisation.access_point, organisation.address.name or "", organisation.cvr,
            uuid=os.urandom(8).hex(), not_before=scenery._at,
        )  # fmt: skip
        write_pair(keys, "message", issued)
        await scene.begin(victim)
    scene.doors[victim].cut()

    async def taken() -> bool:
        sql = f"SELECT 1 FROM messages WHERE message_identifier = '{next(iter(message))}'"
        return bool(await scene.rows(victim, sql))

    await until(taken, "the message sealed for the old key")
    await strike(scene.nodes[victim], fault)
    certificate = load_certificate_files([plan.certificate])[0]
    assert (
        certificate.serial_number
        == load_certificate_files([keys / "message.cert.pem"])[0].serial_number
    )
    scene.around.register({name: door.address for name, door in scene.doors.items()})
    async with scene.supervised():
        await scene.settled()
    for kind in ("key", "cert"):
        (keys / f"message.previous.{kind}.pem").unlink()
    return message


async def new_configuration(scene: CrashScene, victim: str, fault: Fault) -> Sent:
    """M5: the node starts again with another configuration while a message is on its way."""
    await both(scene)
    config = scene.plans[victim].config
    before = config.read_text()
    message = await sent(scene)
    config.write_text(before.replace("[sending]", "[sending]\nworkers = 1", 1))
    if config.read_text() == before:
        config.write_text(before + "\n[sending]\nworkers = 1\n")
    try:
        if fault is Fault.KILL:
            await scene.nodes[victim].kill()
        else:
            await scene.nodes[victim].stop()
        await scene.begin(victim)
        message |= await sent(scene)
        async with scene.supervised():
            await scene.settled()
    finally:
        config.write_text(before)
    return message


async def log_rotation(scene: CrashScene, victim: str, fault: Fault) -> Sent:
    """M6: the log is moved away under the running node, twice, while messages are on their way."""
    await both(scene)
    log = scene.plans[victim].config.with_name("log.jsonl")
    message: Sent = {}
    for number in (1, 2):
        rotated = log.with_name(f"log.{number}.jsonl")
        rotated.unlink(missing_ok=True)
        if log.exists():
            log.rename(rotated)
        message |= await sent(scene)
    await strike(scene.nodes[victim], fault)
    return message


async def out_of_memory(scene: CrashScene, victim: str, fault: Fault) -> Sent:
    """M8: the kernel ends the node for its memory in the middle of a large message; without control groups, SIGKILL does."""
    await both(scene)
    node = scene.nodes[victim]
    group = Path("/sys/fs/cgroup/memory") / f"crash-{os.getpid()}"
    identifier, data = new_message(large=True)
    limited = False
    if fault is Fault.KILL:
        with contextlib.suppress(OSError):
            group.mkdir()
            (group / "memory.limit_in_bytes").write_text(str(2 << 20))
            (group / "cgroup.procs").write_text(str(node.pid))
            limited = True
    try:
        await scene.submit(data)
        if fault is Fault.KILL:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(3 if limited else 0.05):
                    await node.wait()
        await strike(node, fault)
        async with scene.supervised():
            await scene.settled()
    finally:
        with contextlib.suppress(OSError):
            group.rmdir()
    return {identifier: data}


def _truth(condition: Any) -> Any:
    async def asked() -> bool:
        return bool(condition())

    return asked
