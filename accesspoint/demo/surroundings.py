"""What every access point of the demo finds around it: the authority, its keys, the miniature network, its registration.

Who starts the access points themselves does not matter here: the stage runs them as child processes,
`accesspoint network serve` leaves that to somebody else.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TypeVar

from accesspoint.clock import Clock
from accesspoint.config_pages import PublishedPages
from accesspoint.demo.scenery import ORGANISATIONS, NodePlan, Organisation, Scenery, device_ids
from accesspoint.file_stamp import Stamp, stamp_of
from accesspoint.generation import transport_profile_of
from accesspoint.ids import Ids
from accesspoint.key_watch import LOOK_SECONDS
from accesspoint.network.faults import Fault
from accesspoint.network.miniature import ANY_PORTS, MiniatureNetwork, Ports
from accesspoint.network.organisations import Organisations
from keys.errors import KeysError
from keys.jwk import OrganisationContext
from keys.store import load_certificate_files

T = TypeVar("T")


class Surroundings:
    """The authority's directory and the running network; made by `start`."""

    def __init__(
        self, plans: Iterable[NodePlan], scenery: Scenery, network: MiniatureNetwork
    ) -> None:
        self.plans = tuple(plans)
        self.scenery = scenery
        self.network = network
        self._published: dict[NodePlan, tuple[str, Stamp]] = {}

    @classmethod
    async def start(
        cls,
        base: Path,
        plans: Iterable[NodePlan],
        stack: AsyncExitStack,
        *,
        clock: Clock,
        ids: Ids,
        keep_reports: bool,
        faults: Iterable[Fault] = (),
        ports: Ports = ANY_PORTS,
        organisations: Iterable[Organisation] = ORGANISATIONS,
        registered: Organisations | None = None,
        pages: PublishedPages | None = None,
    ) -> "Surroundings":
        """Make or take up the authority, serve the network until `stack` ends, and issue the keys that are missing.

        `organisations` have access points here; `registered` are all that the network knows, by default those of the
        file that comes with the program.
        """
        plans, organisations = tuple(plans), tuple(organisations)
        scenery = await _in_thread(
            lambda: Scenery.create(base, at=clock.now(), organisations=organisations)
        )
        network = MiniatureNetwork(
            (),
            scenery.authority,
            clock=clock,
            ids=ids,
            directory=base if keep_reports else None,
            faults=faults,
            ports=ports,
            organisations=registered,
            pages=pages,
        )
        # Both make RSA keys, which is what takes time: side by side.
        async with asyncio.TaskGroup() as group:
            group.create_task(_in_thread(lambda: scenery.write_keys(plans)))
            await stack.enter_async_context(network)
        return cls(plans, scenery, network)

    def addresses(self) -> dict[str, str]:
        """What the configuration file of a node says of the network."""
        host, port = self.network.nameserver
        return {
            "zone": self.network.zone,
            "nameserver": f"{host}:{port}",
            "status": self.network.status_url,
            "token": self.network.token_url,
            "addressing": self.network.addressing_url,
            "crl_urls": f"{self.network.crl_url} {self.network.root_crl_url}",
        }

    def register(self, access_points: Mapping[str, str]) -> None:
        """Tell the network who receives what where, and which stations may report.

        `access_points` is `host:port` of each organisation's AS4 endpoint, by the organisation's key.
        """
        for organisation in self.scenery.organisations:
            self.publish(self.plan_of(organisation, "AP"), access_points[organisation.key])
            address = organisation.address
            context = OrganisationContext(name=address.name or "", sor=address.sor, gln=address.gln)
            for station, device in device_ids(organisation).items():
                plan = self.plan_of(organisation, station)
                self.network.register_station(
                    load_certificate_files([plan.tls_certificate])[0],
                    client_id=device,
                    device_id=device,
                    organisations=[context],
                )

    def publish(self, plan: NodePlan, access_point: str) -> None:
        """Tell the network that the organisation of this access point receives what it receives at `host:port`."""
        stamp = stamp_of(plan.published_certificate)
        self.network.register(
            f"0088:{plan.organisation.address.gln}",
            plan.organisation.documents,
            f"https://{access_point}/as4",
            load_certificate_files([plan.published_certificate])[0],
            transport_profile=transport_profile_of(plan.generation),
        )
        self._published[plan] = access_point, stamp

    def follow_keys(self, stack: AsyncExitStack) -> None:
        """Publish what an access point has now, until `stack` ends: after a rotation that is another certificate."""
        watching = asyncio.create_task(self._follow_keys())
        stack.push_async_callback(_end, watching)

    async def _follow_keys(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for plan, (access_point, stamp) in list(self._published.items()):
                # In the middle of a switch there may be none, or an old one: the next look finds it.
                if stamp_of(plan.published_certificate) not in (stamp, ()):
                    with contextlib.suppress(KeysError):
                        self.publish(plan, access_point)

    def plan_of(self, organisation: Organisation, station: str) -> NodePlan:
        """The plan of the node that runs a station of an organisation."""
        return next(
            plan
            for plan in self.plans
            if plan.organisation is organisation and station in plan.stations
        )


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _in_thread(work: Callable[[], T]) -> T:
    """Run `work` in a thread, to its end even when cancelled: it writes files into a directory that is then removed."""
    working = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(working)
    finally:
        while not working.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([working])
