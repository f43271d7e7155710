"""Two machines, each with a disk and, most of the time, a running node made of the real parts of the access point.

A life is one run of the node's process. It boots as `accesspoint run` does, but for listening; it ends by power
cut or kill, in the middle of whatever it did, and the next life starts from what the disk then holds.
"""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from contextvars import Context
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from accesspoint.api.routes import Api
from accesspoint.config import Configuration
from accesspoint.drill.redirected import Outside, RedirectedNode
from accesspoint.identity import Agreements, Identity
from accesspoint.ids import SeededIds
from accesspoint.store.database import Database, sqlite_url
from keys.trust import Purpose, TrustStore
from tests.simulation.disk import Disk
from tests.simulation.loop import LIFE
from tests.simulation.plan import Crash
from tests.simulation.world import MachineClock, World

T = TypeVar("T")
TOKEN = "token"


class NodeGone(Exception):
    """The node ended before it answered; `silent` when nothing tells the other side."""

    def __init__(self, *, silent: bool) -> None:
        super().__init__("silent" if silent else "reset")
        self.silent = silent


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who a node is, and whom it trusts."""

    identity: Identity
    trust: Callable[[Purpose], TrustStore]


class SimulatedNode(RedirectedNode):
    """An access point whose keys are at hand and whose connections lead into the simulation."""

    identity_at_hand: Identity

    def load_keys(self) -> None:
        """Take the keys that were made once for all runs."""
        self.identity = self.identity_at_hand
        self.agreements, self.partner_certificates, self.neighbours = Agreements(), {}, {}
        self.client_tls = self.server_tls = None  # type: ignore[assignment]


class Life:
    """One process of a node, from its start to its end."""

    def __init__(self, machine: "Machine", number: int, directory: Path) -> None:
        self.machine = machine
        self.number = number
        self.directory = directory
        self.dead = False
        self.disk = Disk(
            directory,
            at_limit=self._at_limit,
            clock=lambda: machine.clock.now().timestamp(),
        )
        self.context = Context()
        self.context.run(LIFE.set, self)
        self.node: SimulatedNode | None = None
        self.api: Api | None = None
        self.outside: Outside = machine.outside(self)
        self.callers: dict[int, asyncio.Future[Any]] = {}
        self._steps_left: int | None = None
        self._crash: Crash | None = None

    @property
    def up(self) -> bool:
        """Whether this node takes requests."""
        return not self.dead and self.api is not None

    def arm(self, crash: Crash) -> None:
        """Let this life end when the count of the crash is reached."""
        self._crash = crash
        self._steps_left = crash.steps
        if crash.operations is not None:
            self.disk.limit = self.disk.operations + crash.operations

    def disarm(self) -> None:
        """Let this life go on."""
        self._crash = self._steps_left = self.disk.limit = None

    def step(self) -> None:
        """Count a step of the loop."""
        if self._steps_left is not None:
            self._steps_left -= 1
            if self._steps_left <= 0:
                self._at_limit()

    def _at_limit(self) -> None:
        if self._crash is not None and not self.dead:
            self.machine.crash(self._crash)

    def spawn(self, coroutine: Any) -> "asyncio.Task[Any]":
        """Run a coroutine as this process."""
        return self.machine.world.loop.create_task(coroutine, context=self.context)


class Machine:
    """One organisation's machine."""

    def __init__(
        self,
        world: World,
        name: str,
        *,
        configuration: Configuration,
        credentials: Credentials,
        outside: Callable[[Life], Outside],
        template: Path,
    ) -> None:
        self.world = world
        self.name = name
        self.configuration = configuration
        self.credentials = credentials
        self.clock = MachineClock(world.loop)
        self.lives: list[Life] = []
        self.outside = outside
        self._template = template
        self._calls = 0
        self._starts_again = 3
        self._chance = world.random(f"disk {name}")

    @property
    def life(self) -> Life | None:
        """The process that runs now, if one does."""
        return self.lives[-1] if self.lives and not self.lives[-1].dead else None

    @property
    def up(self) -> bool:
        """Whether the node takes requests."""
        return self.life is not None and self.life.up

    def start(self) -> None:
        """Start the next life from what the disk holds."""
        number = len(self.lives)
        directory = self._directory(number)
        if number == 0:
            shutil.copytree(self._template, directory)
        life = Life(self, number, directory)
        self.lives.append(life)
        self.world.tell(self.name, f"starts, life {number}")
        self.world.count("lives")
        life.spawn(self._live(life))

    def crash(self, crash: Crash) -> None:
        """End the running process, take its disk away, and start again after a while."""
        life = self.life
        if life is None:
            return
        life.dead = True
        life.disarm()
        target = self._directory(life.number + 1)
        if crash.power:
            life.disk.power_cut(target, self._chance)
        else:
            life.disk.process_killed(target)
        life.disk.forget()
        how = "power cut" if crash.power else "killed"
        self.world.tell(self.name, f"{how} after {life.disk.operations} disk operations")
        self.world.count("power cuts" if crash.power else "kills")
        for caller in life.callers.values():
            if not caller.done():
                caller.set_exception(NodeGone(silent=crash.power))
        self.world.loop.call_later(crash.down, self.start, context=self.world.context)

    def set_clock(self, by: float) -> None:
        """Set the wall clock, as an administrator or a time server would."""
        self.clock.offset += timedelta(seconds=by)

    def arm(self, crash: Crash) -> None:
        """Let the running life end by this crash."""
        if self.life is not None:
            self.life.arm(crash)

    async def ask(self, work: Callable[[Life], Awaitable[T]]) -> T:
        """Let the running process do something for somebody outside; raises `NodeGone` when it ends before."""
        life = self.life
        if life is None or not life.up:
            raise NodeGone(silent=False)
        self._calls += 1
        number = self._calls
        done: asyncio.Future[T] = self.world.loop.create_future()
        life.callers[number] = done

        async def serve() -> None:
            try:
                result = await work(life)
            except Exception as error:  # noqa: BLE001 - the caller's affair
                if not done.done():
                    done.set_exception(error)
            else:
                if not done.done():
                    done.set_result(result)

        life.spawn(serve())
        try:
            return await done
        finally:
            life.callers.pop(number, None)

    async def _live(self, life: Life) -> None:
        """The process: what `accesspoint run` does, without sockets."""
        configuration = self.configuration.model_copy(
            update={
                "store": self.configuration.store.model_copy(
                    update={"directory": life.directory / "store"}
                )
            }
        )
        ids = SeededIds(
            self.clock, Random(f"{self.name} {life.number} {self.world.plan.seed}").getrandbits(64)
        )
        try:
            async with AsyncExitStack() as stack:
                node = SimulatedNode(configuration, life.outside, clock=self.clock, ids=ids)
                node.identity_at_hand = self.credentials.identity
                await node.begin(stack)
                life.node = node
                life.api = Api(
                    database=node.database,
                    bells=node.bells,
                    application=node.application,
                    token=TOKEN,
                    about={},
                    clock=node.clock,
                )
                await node.wait()
        except Exception as error:  # noqa: BLE001 - whatever ends a node is told
            if not life.dead:
                self.world.violate(f"{self.name} ended by itself: {error!r}")
                # Whoever supervises the node starts it again, until it is plain that it cannot run.
                self._starts_again -= 1
                if self._starts_again < 0:
                    life.dead = True
                    return
                self.crash(Crash(self.name, self.world.now, None, None, power=False, down=60.0))

    def _directory(self, number: int) -> Path:
        return self.world.directory / f"{self.name}-{number}"


async def make_template(directory: Path) -> None:
    """Migrate an empty store once, so that no run has to."""
    store = directory / "store"
    store.mkdir(mode=0o700, parents=True)
    database = await Database.open(sqlite_url(store / "accesspoint.db"))
    await database.close()


__all__ = ["Credentials", "Life", "Machine", "NodeGone", "make_template"]
