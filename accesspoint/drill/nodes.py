"""The two organisations of a drill: whole nodes on disk, ended by a failing disk and started again until it is back."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from accesspoint.app import AccessPoint
from accesspoint.clock import Clock
from accesspoint.config import Configuration, load
from accesspoint.demo.scenery import NodePlan, Scenery, plan_nodes
from accesspoint.discovery.cache import CachedDirectory
from accesspoint.drill.redirected import Outside, RedirectedNode
from accesspoint.drill.surroundings import DrillBackend, Publisher, StatusComponent, Wire
from accesspoint.ids import SystemIds
from accesspoint.store.database import StorageError
from keys.certificate import der
from keys.store import load_certificate_files
from keys.trust import Purpose, TrustStore

RESTART_SECONDS: Final = 30.0
"""How long after its end a supervisor starts a node again."""


class Machine:
    """One organisation's machine: while its disk works, a node runs on it."""

    def __init__(
        self,
        plan: NodePlan,
        configuration: Configuration,
        outside: Callable[[], Outside],
        *,
        clock: Clock,
        wire: Wire,
        backend: DrillBackend,
    ) -> None:
        """`outside` is made anew for each life of the node: what it remembers ends with it."""
        self.name = plan.organisation.key
        self.backend = backend
        self.node: AccessPoint | None = None
        self.starts = 0
        self._configuration = configuration
        self._outside = outside
        self._clock = clock
        self._wire = wire

    async def run(self) -> None:
        """Run the node, again and again, until cancelled."""
        while True:
            try:
                await self._live()
            except StorageError:
                # As accesspoint run ends with an exit status, and its supervisor tries again.
                await asyncio.sleep(RESTART_SECONDS)

    async def _live(self) -> None:
        async with AsyncExitStack() as stack:
            node = RedirectedNode(
                self._configuration, self._outside(), clock=self._clock, ids=SystemIds(self._clock)
            )
            await node.begin(stack)
            self.starts += 1
            self.node = node
            self._wire.servers[self.name] = node.as4
            try:
                await node.wait()
            finally:
                self.node = None
                self._wire.servers.pop(self.name, None)


def build_machines(
    base: Path, *, clock: Clock, wire: Wire, status: StatusComponent, is_away: Callable[[Any], bool]
) -> dict[str, Machine]:
    """Make authority, keys and configurations below `base`, and a machine for each organisation."""
    scenery = Scenery.create(base, at=clock.now())
    plans = plan_nodes(base, apart=False)
    scenery.write_keys(plans)
    nowhere = {
        "zone": "drill.invalid", "nameserver": "127.0.0.1:53", "crl_urls": "http://crl.invalid/",
        "status": "https://status.invalid/fhir", "token": "https://status.invalid/token", "addressing": "https://eas.invalid/fhir",
    }  # fmt: skip
    listen = {"as4": "127.0.0.1:0", "api": "127.0.0.1:0"}

    def trusted(purpose: Purpose) -> TrustStore:
        return TrustStore(purpose, scenery.authority.anchors, scenery.authority.intermediates)

    publisher = Publisher(
        is_away,
        {
            plan.organisation.address.gln: (
                f"https://{plan.organisation.key}/as4",
                der(load_certificate_files([plan.certificate])[0]),
            )
            for plan in plans
        },
    )
    machines = {}
    for number, plan in enumerate(plans):
        # Time is hours here: the waits are those of a node in operation, not of the demo.
        scenery.write_config(plan, network=nowhere, listen=listen, links={}, give_up_after="24 h")
        made = load(plan.config, {})
        configuration = made.model_copy(
            update={
                "sending": type(made.sending)(),
                # One node has its database to itself: days need no heartbeat every few seconds.
                "node": made.node.model_copy(update={"lease": timedelta(minutes=10)}),
            }
        )
        backend = DrillBackend(is_away if number else (lambda _: False))

        def outside(backend: DrillBackend = backend) -> Outside:
            return Outside(
                client=wire,
                session=status,
                directory=CachedDirectory(publisher, clock=clock),
                backend=backend,
                trust=trusted,
            )

        machines[plan.organisation.key] = Machine(
            plan, configuration, outside, clock=clock, wire=wire, backend=backend
        )
    return machines
