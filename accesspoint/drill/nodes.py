"""The two organisations of a drill: whole nodes on disk, ended by a failing disk and started again until it is back."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from accesspoint.app import AccessPoint
from accesspoint.backends.base import Backend
from accesspoint.clock import Clock
from accesspoint.config import Configuration, load
from accesspoint.demo.scenery import ORGANISATIONS, NodePlan, Scenery, plan_nodes
from accesspoint.discovery.cache import CachedDirectory
from accesspoint.discovery.directory import Directory
from accesspoint.drill.surroundings import DrillBackend, Publisher, StatusComponent, Wire
from accesspoint.ids import SystemIds
from accesspoint.store.database import StorageError
from keys.path import Validator
from keys.revocation import RevocationMode, RevocationPolicy
from keys.store import load_certificate_files
from keys.trust import Purpose, TrustStore

RESTART_SECONDS: Final = 30.0
"""How long after its end a supervisor starts a node again."""
_NO_LISTS: Final = RevocationPolicy(RevocationMode.OFF, "a drill has no revocation lists")


class _Node(AccessPoint):
    """An access point whose connections lead into the drill."""

    wire: Wire
    publisher: Directory
    status: StatusComponent
    backend: DrillBackend
    trusted: Callable[[Purpose], TrustStore]

    def build_validator(self, purpose: Purpose, settings: object) -> Validator:
        """Trust the authority of the drill; it publishes no revocation lists."""
        return Validator(self.trusted(purpose), revocation=_NO_LISTS)

    def build_directory(self, stack: AsyncExitStack) -> Directory:
        """The drill's publisher, remembered as a real one is."""
        return CachedDirectory(self.publisher, clock=self.clock)

    def _build_backend(self) -> Backend:
        return self.backend


class Machine:
    """One organisation's machine: while its disk works, a node runs on it."""

    def __init__(
        self,
        plan: NodePlan,
        configuration: Configuration,
        *,
        clock: Clock,
        wire: Wire,
        publisher: Publisher,
        status: StatusComponent,
        trusted: Callable[[Purpose], TrustStore],
        backend: DrillBackend,
    ) -> None:
        self.name = plan.organisation.key
        self.backend = backend
        self.node: AccessPoint | None = None
        self.starts = 0
        self._configuration = configuration
        self._clock = clock
        self._wire = wire
        self._publisher = publisher
        self._status = status
        self._trusted = trusted

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
            node = _Node(self._configuration, clock=self._clock, ids=SystemIds(self._clock))
            node.wire, node.publisher, node.status = self._wire, self._publisher, self._status
            node.backend, node.trusted = self.backend, self._trusted
            client: Any = self._wire
            session: Any = self._status
            node.as4_client = client
            await node.open_stores(stack)
            node.load_keys()
            node.build_reporting(lambda: session)
            node.build_stations(stack)
            node.start_workers(stack)
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
        "status": "https://status.invalid/fhir", "token": "https://status.invalid/token",
    }  # fmt: skip
    listen = {"as4": "127.0.0.1:0", "api": "127.0.0.1:0"}

    def trusted(purpose: Purpose) -> TrustStore:
        return TrustStore(purpose, scenery.authority.anchors, scenery.authority.intermediates)

    publisher = Publisher(
        is_away,
        {
            plan.organisation.address.gln: (
                f"https://{plan.organisation.key}/as4",
                _der(plan.certificate),
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
        away = is_away if number else (lambda _: False)
        machines[plan.organisation.key] = Machine(
            plan, configuration, clock=clock, wire=wire, publisher=publisher, status=status,
            trusted=trusted, backend=DrillBackend(away),
        )  # fmt: skip
    return machines


def _der(path: Path) -> bytes:
    from keys.certificate import der

    return der(load_certificate_files([path])[0])


__all__ = ["ORGANISATIONS", "Machine", "build_machines"]
