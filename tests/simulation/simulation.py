"""One run: two nodes and everybody around them live through the plan of a seed, then everything is held against the promises.

`run_seed` is a function of the seed alone: no wall clock, no thread, no randomness but that of the cipher, which
decides nothing. The same seed tells the same story in every process.
"""

import asyncio
import secrets
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from random import Random
from types import SimpleNamespace
from typing import Any, Final
from unittest.mock import patch
from uuid import UUID

import structlog

import accesspoint.app
from accesspoint.access.caller import OWNER, Caller
from accesspoint.config import Retry
from accesspoint.discovery.cache import CachedDirectory
from accesspoint.drill.redirected import Outside
from envelope.limits import DEFAULT_LIMITS
from keys.certificate import der
from tests.simulation.disk import Disk, simulated_fsync
from tests.simulation.loop import LIFE, Standstill
from tests.simulation.machine import Life, Machine, NodeGone
from tests.simulation.plan import MACHINES, Crash, Plan, Submission, draw_plan
from tests.simulation.stage import ORGANISATIONS, Stage
from tests.simulation.surroundings import (
    Directory,
    Network,
    SimulatedBackend,
    StatusComponent,
)
from tests.simulation.world import World

SETTLES_WITHIN: Final = 2 * 3600.0
"""Virtual seconds after the troubles in which everything that is owed must be done."""
LOOK_EVERY: Final = 5.0
_OWED: Final = """
SELECT EXISTS (SELECT 1 FROM handovers WHERE state = 'waiting')
    OR EXISTS (SELECT 1 FROM outbox WHERE state = 'waiting')
    OR EXISTS (SELECT 1 FROM messages WHERE direction = 'in'
               AND state IN ('RECEIVED', 'DELIVERING', 'DELIVERY_WAIT'))
    OR EXISTS (SELECT 1 FROM messages WHERE direction = 'out'
               AND state IN ('ACCEPTED', 'RESOLVED', 'READY', 'SENDING', 'RETRY_WAIT')) AS owed
"""


@dataclass
class Operation:
    """What a client wanted, and how it ended for the client: ok, fail or unknown."""

    submission: Submission
    identifier: str
    data: bytes
    outcome: str = "fail"


@dataclass
class Report:
    """What is left of a run: broken promises, figures, and the digest of its story."""

    seed: int
    violations: list[str]
    digest: str
    counts: dict[str, int]
    story: list[str]
    virtual_seconds: float
    steps: int


@dataclass
class Simulation:
    """The parts of one run."""

    world: World
    stage: Stage
    machines: dict[str, Machine] = field(default_factory=dict)
    backends: dict[str, SimulatedBackend] = field(default_factory=dict)
    operations: list[Operation] = field(default_factory=list)
    new_key_told: bool = False

    def __post_init__(self) -> None:
        world, plan = self.world, self.world.plan
        self.network = Network(world, self.machines)
        self.directory = Directory(
            world, {ORGANISATIONS[name].address.gln: self._endpoint(name) for name in MACHINES}
        )
        for name in MACHINES:
            self.backends[name] = SimulatedBackend(world, name)
            configuration = self.stage.configurations[name]
            self.machines[name] = Machine(
                world,
                name,
                configuration=configuration.model_copy(
                    update={
                        "sending": configuration.sending.model_copy(
                            update={"workers": plan.workers}
                        ),
                        "acknowledging": configuration.acknowledging.model_copy(
                            update={"fhir": "automatic" if plan.acknowledges else "off"}
                        ),
                    }
                ),
                credentials=self.stage.credentials[name][0],
                outside=self._outside(name),
                template=self.stage.template,
            )
        self.status = StatusComponent(world)
        chance = world.random("client")
        for submission in plan.submissions:
            identifier, bundle = (str(UUID(int=chance.getrandbits(128), version=4)) for _ in "mb")
            data = self.stage.document(
                submission.sender, submission.attachment, message_id=identifier, bundle_id=bundle
            )
            self.operations.append(Operation(submission, identifier, data))

    def _outside(self, name: str) -> Callable[[Life], Outside]:
        def make(life: Life) -> Outside:
            return Outside(
                client=self.network.client_of(life),
                session=self.status,
                directory=CachedDirectory(self.directory, clock=self.machines[name].clock),
                backend=self.backends[name].of_life(life),
                trust=life.machine.credentials.trust,
            )

        return make

    def _endpoint(self, name: str) -> Callable[[], tuple[str, bytes]]:
        def find() -> tuple[str, bytes]:
            new = self.world.plan.new_key
            use_new = new is not None and new[0] == name and self.world.now >= new[2]
            issued = self.stage.certificates[name][int(use_new)]
            return f"https://{name}.invalid/as4", der(issued.certificate)

        return find

    # The run

    async def live(self) -> None:
        """Everything that happens, in virtual time."""
        for machine in self.machines.values():
            machine.start()
        clients = [asyncio.create_task(self._client(operation)) for operation in self.operations]
        events = [asyncio.create_task(self._meet(crash)) for crash in self.world.plan.crashes]
        events += [
            asyncio.create_task(self._set_clock(*jump)) for jump in self.world.plan.clock_jumps
        ]
        if self.world.plan.new_key is not None:
            events.append(asyncio.create_task(self._change_key(*self.world.plan.new_key[:2])))
        await asyncio.sleep(self.world.plan.calm_at)
        for machine in self.machines.values():
            if machine.life is not None:
                machine.life.disarm()
        self.world.tell("world", "calm")
        await asyncio.gather(*clients, *events)
        await self.settle()

    async def settle(self) -> None:
        """Wait until nobody owes anybody anything."""
        limit = self.world.now + SETTLES_WITHIN
        while not await self._is_settled():
            if self.world.now > limit:
                self.world.violate(f"work is left after {SETTLES_WITHIN:.0f} quiet seconds")
                return
            await asyncio.sleep(LOOK_EVERY)

    async def restart(self) -> None:
        """Cut the power of both machines once more, and let them come back."""
        for name in MACHINES:
            self.machines[name].crash(Crash(name, self.world.now, None, None, power=True, down=1.0))
        await asyncio.sleep(LOOK_EVERY)
        await self.settle()

    async def _is_settled(self) -> bool:
        if self.network.copies:
            return False
        for machine in self.machines.values():
            life = machine.life
            if life is None or not life.up or life.node is None:
                return False
            if (await life.node.database.fetch(_OWED))[0]["owed"]:
                return False
        return True

    async def _client(self, operation: Operation) -> None:
        """C1 submits its message, and asks again when it does not know what became of it."""
        world, machine = self.world, self.machines[operation.submission.sender]
        chance = Random(f"client {operation.submission.number} {world.plan.seed}")
        await asyncio.sleep(operation.submission.at)
        while True:
            try:
                status = await machine.ask(lambda life: self._post(life, operation.data))
            except NodeGone:
                if not machine.up:
                    # Either the connection was refused, or it broke with the request under way.
                    operation.outcome = "unknown"
                status = 0
            world.tell("client", f"{operation.identifier}: {status or 'no answer'}")
            if status in (200, 202):
                operation.outcome = "ok"
                return
            if status not in (0, 500, 503):
                world.violate(f"a proper message was answered {status}")
                return
            if status:
                operation.outcome = "unknown"
            if world.now > world.plan.calm_at + SETTLES_WITHIN:
                return
            if not operation.submission.asks_again and operation.outcome == "unknown":
                return
            await asyncio.sleep(chance.uniform(0.5, 20))

    async def _post(self, life: Life, data: bytes) -> int:
        request: Any = Request(headers={}, query={}, content=Body(data), content_length=len(data))
        assert life.api is not None
        response: Any = await life.api._answer(request, life.api._submitting.submit)
        return int(response.status)

    async def _meet(self, crash: Crash) -> None:
        await asyncio.sleep(crash.at)
        if self.world.is_calm:
            return
        self.machines[crash.machine].arm(crash)

    async def _set_clock(self, name: str, at: float, by: float) -> None:
        await asyncio.sleep(at)
        self.world.tell(name, f"wall clock set by {by:+.0f} s")
        self.machines[name].set_clock(by)

    async def _change_key(self, name: str, at: float) -> None:
        """Stop the node and start it with its new key."""
        await asyncio.sleep(at)
        machine = self.machines[name]
        self.world.tell(name, "gets its new key")
        machine.credentials = self.stage.credentials[name][1]
        machine.crash(Crash(name, at, None, None, power=False, down=1.0))


@dataclass(frozen=True, slots=True)
class Body:
    """What a request brings, all of it at once."""

    data: bytes

    async def iter_any(self) -> AsyncIterator[bytes]:
        yield self.data


class Request(SimpleNamespace):
    """A request to submit as a route sees it, of the holder of the node's own token."""

    client_max_size = DEFAULT_LIMITS.fhir_bytes

    def __getitem__(self, _key: Any) -> Caller:
        return OWNER


@contextmanager
def installed(world: World) -> Iterator[None]:
    """Let everything that asks the process for chance, time or durability ask the world instead."""
    chance = world.random("secrets")

    def disk_of_life() -> Disk | None:
        life: Any = LIFE.get()
        return None if life is None or life.dead else life.disk

    def listen(_: object, method: str, event: dict[str, Any]) -> dict[str, Any]:
        life: Any = LIFE.get()
        if world.tells and life is not None and not life.dead:
            words = " ".join(f"{key}={value}" for key, value in event.items() if key != "event")
            world.whisper(life.machine.name, f"[{method}] {event['event']} {words}"[:200])
        raise structlog.DropEvent

    draw = world.random("schedules").random
    handovers = replace(accesspoint.app.HANDOVER_SCHEDULE, draw=draw)
    schedule = Retry.schedule
    configured = structlog.get_config()
    with (
        patch.object(secrets, "token_bytes", chance.randbytes),
        patch.object(accesspoint.app, "HANDOVER_SCHEDULE", handovers),
        patch.object(Retry, "schedule", lambda self: replace(schedule(self), draw=draw)),
        simulated_fsync(disk_of_life),
    ):
        structlog.configure(
            processors=[listen],
            wrapper_class=structlog.BoundLogger
            if world.tells
            else structlog.make_filtering_bound_logger(50),
            cache_logger_on_first_use=False,
        )
        try:
            yield
        finally:
            structlog.configure(**configured)


def run_seed(seed: int | Plan, stage: Stage, *, tells: bool = False) -> Report:
    """Live through one seed and check it."""
    from tests.simulation.checker import check  # which names this module's classes

    plan = draw_plan(seed) if isinstance(seed, int) else seed
    directory = stage.directory / f"seed-{plan.seed}"
    directory.mkdir(mode=0o700)
    world = World(plan, directory, tells=tells)
    loop = world.loop
    try:
        with installed(world):
            asyncio.set_event_loop(loop)
            try:
                loop.run_until_complete(_whole(world, stage, check))
            except Standstill as error:
                world.violate(str(error))
            digest, steps, now = world.digest, loop.steps, world.now
            loop.bury(_nothing())
    finally:
        asyncio.set_event_loop(None)
        loop.close()
        shutil.rmtree(directory, ignore_errors=True)
    return Report(plan.seed, world.violations, digest, world.counts, world.story, now, steps)


async def _nothing() -> None:
    """Nothing to do."""


async def _whole(world: World, stage: Stage, check: Any) -> None:
    simulation = Simulation(world, stage)
    await simulation.live()
    await check(simulation)


__all__ = ["Operation", "Report", "Simulation", "run_seed"]
