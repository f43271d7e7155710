"""The composition root: from a configuration to a running node, and down again in the reverse order.

This is the one place that knows every part. A node runs one station of an organisation or several; those
built together are joined by plain calls inside one commit, the others by sealed hand-overs.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any, Final

import aiohttp
import structlog

from accesspoint.access.issuer import Issuer, build_issuer
from accesspoint.addressing.configured import build_addressing
from accesspoint.addressing.service import AddressingService
from accesspoint.api.client import ADDRESS_FILE, TOKEN_FILE
from accesspoint.api.exchanges import Exchanges
from accesspoint.api.routes import Api
from accesspoint.as4.client import As4Client
from accesspoint.as4.configured import build_client
from accesspoint.as4.server import As4Server
from accesspoint.aside import Room
from accesspoint.backends.base import Backend, backend_carrier
from accesspoint.backends.configured import build_backends
from accesspoint.backends.pull import PullDesk
from accesspoint.clock import Clock, SteeredClock, SystemClock
from accesspoint.config import Configuration, Profile
from accesspoint.config import Station as Runs
from accesspoint.config_trust import TrustPurpose
from accesspoint.delivery.configured import build_relay, devices_of
from accesspoint.delivery.outbox import Outbox
from accesspoint.discovery.configured import build_directory
from accesspoint.discovery.directory import Directory
from accesspoint.discovery.static import StaticDirectory
from accesspoint.evidence.gather import Bundles
from accesspoint.failpoints import failpoint
from accesspoint.ids import Ids, SystemIds, random_fraction
from accesspoint.inbound.consumer import Consumer
from accesspoint.inbound.dispatch import Dispatcher
from accesspoint.inbound.receiver import Receiver
from accesspoint.inbound.refusal import Refuser
from accesspoint.key_watch import KeyWatch, Loaded, load_keys
from accesspoint.node_doors import open_doors
from accesspoint.outbound.lanes import Lanes
from accesspoint.outbound.late_receipts import LateReceipts
from accesspoint.outbound.sender import Sender
from accesspoint.outbound.submit import Submit
from accesspoint.retry import RetrySchedule
from accesspoint.revocation import RevocationRefresher
from accesspoint.stations import Bell, Bells
from accesspoint.stations.awaiting import AcknowledgementWatch, AnswerWatch, Patience
from accesspoint.stations.carrier import StationClient, station_client
from accesspoint.stations.document import Address, Envelope
from accesspoint.stations.end_user_application import EndUserApplication
from accesspoint.stations.judging import open_judge
from accesspoint.stations.link import BACKEND, Apart, Joined, Link, is_backend
from accesspoint.stations.message_service_handler import MessageServiceHandler
from accesspoint.stations.reception import StationServer
from accesspoint.stations.relay import Carrier, HandoverRelay
from accesspoint.stations.reporting import Reporter
from accesspoint.stations.settling import SHARING
from accesspoint.stations.sharing import Sharing
from accesspoint.store.columns import require_readable
from accesspoint.store.configured import build_columns, build_payload_store, database_url
from accesspoint.store.database import Database, Dialect
from accesspoint.store.filesystem import make_directory
from accesspoint.store.heartbeat import Heartbeat
from accesspoint.store.housekeeping import Housekeeper
from accesspoint.store.leases import Leases
from accesspoint.store.messages import release_leases
from accesspoint.store.outcomes import TARGET as SUBMITTER
from accesspoint.store.reserve import Reserve
from accesspoint.store.token_file import load_token
from accesspoint.trust import REVOCATION, MessageTrust, open_validator
from accesspoint.workers import Workers
from keys.path import Validator
from keys.store import load_certificate_files
from keys.tls import client_context, server_context
from keys.trust import Purpose

EVENT_ATTEMPT: Final = 0.7
"""The part of a lease that one attempt with a delivery event may take."""
HANDOVER_SCHEDULE: Final = RetrySchedule(
    timedelta(milliseconds=500), 2.0, timedelta(minutes=5), timedelta(days=60)
)
_log = structlog.get_logger("accesspoint")


class AccessPoint:
    """One running node; made by `start`, which is the only way to get one."""

    def __init__(
        self, configuration: Configuration, *, clock: Clock, ids: Ids, keeps: bool = True
    ) -> None:
        """`keeps` says whether fetched revocation data is written to the store, which is the running node's alone."""
        self.configuration = configuration
        self._keeps = keeps
        self.clock = clock
        self.ids = ids
        self.as4_client: As4Client
        self.station_client: As4Client
        self.bells = Bells()
        self.outbox: Outbox | None = None
        self.desk: PullDesk | None = None
        self.bundles: Bundles | None = None
        self.consumer: Consumer | None = None
        self.directory: Directory | None = None
        self.addressing: AddressingService | None = None
        self.issuer: Issuer | None = None
        self.addresses: dict[str, str] = {}
        self.leases = Leases(ids.ulid(), duration=configuration.node.lease)
        self.workers = Workers()
        self._refreshers: list[RevocationRefresher] = []
        self._on_keys: list[Callable[[Loaded], None]] = [self._take_keystore]

    # What every station needs

    async def open_stores(self, stack: AsyncExitStack) -> None:
        """Open database and payload store, and take up what a stopped process left."""
        store = self.configuration.store
        make_directory(store.directory)
        # First, since opening a database on a full disk needs the room that it then gives up.
        self.reserve = Reserve(store.directory, store.reserve, monotonic=self.clock.monotonic)
        url = database_url(self.configuration)
        self.database = await Database.open(url, columns=build_columns(self.configuration))
        self.database.make_room = self.reserve.release
        stack.push_async_callback(self.database.close)
        await self.database.read(require_readable)
        if self.database.dialect is Dialect.POSTGRESQL:
            self._join_other_nodes(url)
        self.heartbeat = Heartbeat(
            self.database, self.leases, clock=self.clock, name=self.configuration.node_name,
            wake=lambda: self.bells.ring(Bell.SENDER, Bell.DISPATCHER, Bell.RELAY, Bell.BACKEND),
        )  # fmt: skip
        await self.heartbeat.read_clock()
        self.payloads = build_payload_store(self.configuration)
        stack.callback(self.payloads.close)
        self.housekeeper = Housekeeper(
            self.database, self.payloads, clock=self.clock, periods=self.configuration.retention
        )
        now = self.clock.now()
        resumed = await self.database.run(
            lambda tx: release_leases(tx, at=now, sole_node=self.database.dialect is Dialect.SQLITE)
        )
        if resumed:
            _log.info("resumed", messages=resumed)

    def _join_other_nodes(self, url: str) -> None:
        """Be one of several nodes on one database: judge leases by its server's clock, hear what the others commit."""
        from accesspoint.store.announcements import Announcements  # asyncpg is an extra

        self.clock = SteeredClock(self.clock)
        announcements = Announcements(url, owner=self.leases.owner, heard=self._hear)
        self.bells.tell_others = announcements.announce
        self.workers.add(announcements.run)

    def _hear(self, words: list[str]) -> None:
        """Ring what another node rang; one of another version may have bells that we lack."""
        self.bells.ring(*(bell for bell in Bell if bell in words))

    def load_keys(self) -> None:
        """Load our keys and whom we trust."""
        configuration = self.configuration
        self.loaded = loaded = load_keys(configuration, self.clock)
        self.keystore, self.identity = loaded.keystore, loaded.identity
        self.agreements, self.neighbours = loaded.agreements, loaded.neighbours
        self.partner_certificates = loaded.partners
        tls = configuration.trust.tls
        self.tls_anchors = (
            () if tls is None else load_certificate_files((*tls.anchors, *tls.intermediates))
        )
        settings = configuration.tls.settings()
        files, own = self.keystore.tls, self.keystore.tls_client
        self.client_tls = client_context(
            own.certificate_file, own.key_file, self.tls_anchors, settings=settings
        )
        self.server_tls = server_context(
            files.certificate_file, files.key_file, self.tls_anchors, settings=settings
        )

    def _take_keystore(self, new: Loaded) -> None:
        self.keystore = new.keystore

    def build_validator(self, purpose: Purpose, settings: TrustPurpose | None) -> Validator:
        """The certificate rules for one purpose, with its revocation lists kept fresh in the background."""
        cache = self.configuration.store.directory / REVOCATION
        validator, refresher = open_validator(
            purpose, settings, clock=self.clock, cache=cache, keep=self._keeps
        )
        self._refreshers += [refresher] if refresher else []
        return validator

    async def refresh_revocation(self) -> None:
        """Fetch the revocation lists once, without which the first messages would be refused; what lacks comes later."""
        await asyncio.gather(*(refresher.refresh() for refresher in self._refreshers))

    def build_directory(self, stack: AsyncExitStack) -> Directory:
        """Where receivers are looked up, as the configuration says."""
        return build_directory(
            self.configuration,
            stack,
            clock=self.clock,
            publishers=self.build_validator(Purpose.SMP, self.configuration.trust.smp),
            tls=self.client_tls,
        )

    def build_reporting(self, session: Callable[[], aiohttp.ClientSession]) -> None:
        """The reporter, and the relay to the status component where one is configured."""
        configuration = self.configuration
        runs, status = configuration.stations.runs, configuration.delivery_status
        if status is not None:
            glns = [organisation.gln for organisation in configuration.served]
            lease = self.leases.duration
            self.outbox = Outbox(
                self.database, clock=self.clock, glns=glns, lease=lease, woken=self.bells.listen(Bell.OUTBOX)
            )  # fmt: skip
            relay = build_relay(
                configuration,
                status,
                self.outbox,
                tls=self.client_tls,
                session=session,
                clock=self.clock,
                random=lambda: random_fraction(self.ids),
                timeout=min(20.0, EVENT_ATTEMPT * lease.total_seconds()),
            )
            self.workers.add(relay.run)
        devices, own_devices = devices_of(configuration)
        self.reporter = Reporter(
            clock=self.clock,
            outbox=self.outbox,
            device_ids=devices,
            own_devices=own_devices,
            together=Runs.MSH in runs and Runs.AP in runs,
            created_apart=status is not None and status.created_apart,
            node=configuration.node_name,
        )

    # The stations

    def build_stations(self, stack: AsyncExitStack) -> None:
        """Build the stations that run here and join each to the next one, here or elsewhere."""
        configuration = self.configuration
        runs = configuration.stations.runs
        self.carriers: dict[str, Carrier] = {}
        sending = configuration.sending
        self.lanes = Lanes(
            total=sending.workers, per_lane=sending.per_partner, schedule=sending.retry.schedule()
        )
        self.room = Room()
        self.application = self._build_application(stack) if Runs.EUA in runs else None
        self.sharing = Sharing.configured(
            configuration.sharing, database=self.database, payloads=self.payloads, bells=self.bells, clock=self.clock, room=self.room
        )  # fmt: skip
        self.handler = handler = self._build_handler() if Runs.MSH in runs else None
        submit = self._build_submit() if Runs.AP in runs else None
        if self.application is not None:
            self.application.down = (
                Joined(handler.take_document, self.reporter) if handler else Apart("down", self.ids)
            )
        if handler is not None:
            handler.down = (
                Joined(submit.take_envelope, self.reporter) if submit else Apart("down", self.ids)
            )
            handler.up = (
                Joined(self.application.take_document, self.reporter)
                if self.application
                else Apart("up", self.ids)
            )
        if submit is not None:
            up: Link[Envelope] = (
                Joined(handler.take_envelope, self.reporter) if handler else Apart("up", self.ids)
            )
            self._build_access_point(up, stack)
        if handler is not None and self.sharing is not None:
            self.carriers[SHARING] = self.sharing.carrier(handler.copy_document)
        self._build_links(handler, submit)

    def _build_application(self, stack: AsyncExitStack) -> EndUserApplication:
        configuration = self.configuration
        served = {o.gln: Address(o.gln, o.sor, o.name) for o in configuration.served}
        known = {o.gln: Address(o.gln, o.sor, o.name) for o in configuration.addresses} | served
        self._build_backends(stack)
        watch = AnswerWatch(
            self.database, self.reporter, self.bells, self.clock, configuration.acknowledging.answer
        )
        self.workers.add(watch.run)
        return EndUserApplication(
            database=self.database,
            payloads=self.payloads,
            reporter=self.reporter,
            clock=self.clock,
            ids=self.ids,
            organisation=served[configuration.served[0].gln],
            served=served,
            known=known,
            systems={
                gln: [f"{BACKEND}:{name}" for name in names]
                for gln in served
                if (names := configuration.systems_for(gln))
            },
            readdress=configuration.profile is Profile.DEV,
            acknowledge=configuration.acknowledging.fhir == "automatic",
            judge=open_judge(configuration.validation, stack),
            on_demand=configuration.acknowledging.fhir == "on-demand",
            room=self.room,
        )

    def _build_handler(self) -> MessageServiceHandler:
        waiting = self.configuration.acknowledging
        handler = MessageServiceHandler(
            database=self.database, payloads=self.payloads, reporter=self.reporter, clock=self.clock,
            ids=self.ids, peppol_receivers=self.configuration.peppol_receivers,
            sharing=self.sharing, alert=waiting.alert,
        )  # fmt: skip
        watch = AcknowledgementWatch(
            database=self.database, handler=handler, reporter=self.reporter, bells=self.bells, clock=self.clock,
            patience=Patience(waiting.resend, waiting.resends, waiting.alert),
        )  # fmt: skip
        self.workers.add(watch.run)
        return handler

    def _build_submit(self) -> Submit:
        return Submit(
            payloads=self.payloads, reporter=self.reporter, clock=self.clock, ids=self.ids,
            domain=self.domain, lane_of=self.lanes.lane_of,
        )  # fmt: skip

    def _build_access_point(self, up: Link[Envelope], stack: AsyncExitStack) -> None:
        """The access point proper: receiver, dispatcher and sender."""
        configuration = self.configuration
        self.trust = trust = MessageTrust(
            self.build_validator(Purpose.MESSAGE, configuration.trust.message),
            clock=self.clock,
            partners=self.partner_certificates,
            unknown_senders=configuration.trust.lets_unknown_in,
        )
        self.bundles = Bundles(
            database=self.database, payloads=self.payloads, identity=self.identity, trust=trust
        )
        receipts = LateReceipts(
            database=self.database, agreements=self.agreements, trust=trust, reporter=self.reporter,
            bells=self.bells, clock=self.clock,
        )  # fmt: skip
        directory = self.directory = self.build_directory(stack)
        self._on_keys.append(lambda _: trust.take_partners())
        if isinstance(directory, StaticDirectory):
            self._on_keys.append(lambda new: directory.take_partners(new.receivers))
        sender = Sender(
            database=self.database,
            payloads=self.payloads,
            directory=directory,
            client=self.as4_client,
            identity=self.identity,
            agreements=self.agreements,
            trust=trust,
            reporter=self.reporter,
            bells=self.bells,
            clock=self.clock,
            ids=self.ids,
            schedule=configuration.sending.retry.schedule(),
            lanes=self.lanes,
            concurrency=configuration.sending.workers,
            leases=self.leases,
        )
        receiver = Receiver(
            database=self.database,
            payloads=self.payloads,
            identity=self.identity,
            agreements=self.agreements,
            check=trust,
            served={organisation.gln: organisation for organisation in configuration.served},
            reporter=self.reporter,
            bells=self.bells,
            clock=self.clock,
            ids=self.ids,
            domain=self.domain,
            take_receipt=receipts.take,
            heard=sender.heard,
            consumer=self.consumer,
            spool_bytes=configuration.listen.limits.spool,
            remembered=configuration.retention.metadata,
        )
        refuser = Refuser(
            database=self.database, identity=self.identity, suite=self.agreements.default.suite,
            clock=self.clock, ids=self.ids,
        )  # fmt: skip
        self.as4 = As4Server(receiver, refuser, admit=self.reserve.require)
        dispatcher = Dispatcher(
            database=self.database, up=up, reporter=self.reporter, bells=self.bells, clock=self.clock,
            schedule=HANDOVER_SCHEDULE, leases=self.leases,
        )  # fmt: skip
        self.workers.add(dispatcher.run, sender.run)

    def _build_links(self, handler: MessageServiceHandler | None, submit: Submit | None) -> None:
        """Hand-overs to and from the stations that run elsewhere, and the relay that carries them."""
        links = self.configuration.links
        for target, link in (("up", links.up), ("down", links.down)):
            if link is None:
                continue
            client = StationClient(
                link.url, client=self.station_client, signer=self.keystore.signing, payloads=self.payloads,
                clock=self.clock,
            )  # fmt: skip
            self._on_keys.append(partial(_seal_anew, client))
            self.carriers[target] = client.carry
            if target == "up":
                self.carriers[SUBMITTER] = client.carry
        self.station_server = StationServer(
            database=self.database,
            payloads=self.payloads,
            bells=self.bells,
            clock=self.clock,
            neighbours=self.neighbours,
            admit=self.reserve.require,
            take_document={
                **({"down": handler.take_document} if handler else {}),
                **({"up": self.application.take_document} if self.application else {}),
            },
            take_envelope={
                **({"up": handler.take_envelope} if handler else {}),
                **({"down": submit.take_envelope} if submit else {}),
            },
        )
        # A backend that takes its time holds up nobody but itself.
        ours = [target for target in self.carriers if is_backend(target) or target == SUBMITTER]
        others = [target for target in self.carriers if target not in ours]
        by_carrier: dict[Carrier, list[str]] = {}
        for target in ours:
            by_carrier.setdefault(self.carriers[target], []).append(target)
        for targets in by_carrier.values():
            self._relay(targets, Bell.BACKEND)
        self._relay(others, Bell.RELAY)

    def _relay(self, targets: list[str], bell: Bell) -> None:
        """Carry what is due to these targets."""
        if targets:
            relay = HandoverRelay(
                database=self.database, carriers={target: self.carriers[target] for target in sorted(targets)},
                reporter=self.reporter, bells=self.bells, clock=self.clock, schedule=HANDOVER_SCHEDULE,
                leases=self.leases, bell=bell,
            )  # fmt: skip
            self.workers.add(relay.run)

    def build_backends(self) -> dict[str, Backend | None]:
        """The backends by the target of what goes to them."""
        return build_backends(
            self.configuration, tls=self.client_tls, clock=self.clock, load_secret=load_token
        )

    def _build_backends(self, stack: AsyncExitStack) -> None:
        """Let hand-overs be brought to the backends, or be fetched by them."""
        backends = self.build_backends()
        if None in backends.values():
            self.desk = PullDesk(
                database=self.database, payloads=self.payloads, reporter=self.reporter, bells=self.bells,
                clock=self.clock, ids=self.ids, systems=[one.name for one in self.configuration.systems],
            )  # fmt: skip
        for target, backend in backends.items():
            if backend is not None:
                stack.push_async_callback(backend.close)
                self.carriers[target] = backend_carrier(backend, self.payloads)
        first = next(iter(backends))
        if first in self.carriers:
            self.carriers[SUBMITTER] = self.carriers[first]

    # Serving

    async def begin(self, stack: AsyncExitStack) -> None:
        """Bring everything up, in order, until the stack ends."""
        self.load_keys()
        await self.open_stores(stack)
        session = await stack.enter_async_context(aiohttp.ClientSession(trust_env=False))
        self.as4_client = await stack.enter_async_context(
            build_client(self.configuration, self.client_tls)
        )
        self.station_client = await stack.enter_async_context(station_client(self.client_tls))
        self.build_reporting(lambda: session)
        self.addressing = build_addressing(
            self.configuration, self.client_tls, lambda: session, self.clock
        )
        self.issuer = build_issuer(
            self.configuration.access.issuer, lambda: session, self.client_tls, self.clock,
            self.configuration.tls.settings(),
        )  # fmt: skip
        self.build_stations(stack)
        self.key_watch = KeyWatch(
            self.configuration, self.loaded, clock=self.clock, database=self.database,
            client_tls=self.client_tls, server_tls=self.server_tls, taken=self._on_keys,
        )  # fmt: skip
        self.workers.add(self.key_watch.run)
        await self.serve(stack)

    async def serve(self, stack: AsyncExitStack) -> None:
        """Fetch the revocation lists, listen, start the workers, and write down where we are."""
        await self.refresh_revocation()
        token = load_token(self.configuration.store.directory / TOKEN_FILE)
        api = Api(
            database=self.database,
            bells=self.bells,
            application=self.application,
            token=token,
            exchanges=Exchanges(
                database=self.database,
                reporter=self.reporter,
                bells=self.bells,
                clock=self.clock,
                bundles=self.bundles,
            ),
            admit=self.reserve.require,
            desk=self.desk,
            handler=self.handler,
            clock=self.clock,
            directory=self.directory,
            addressing=self.addressing,
            access=self.configuration.access,
            issuer=self.issuer,
            about={
                "label": self.configuration.label,
                "node": self.configuration.node_name,
                "profile": str(self.configuration.profile),
                "gln": self.configuration.served[0].gln,
                "stations": [str(station) for station in self.configuration.stations.runs],
                "party": self.identity.party,
            },
        )
        self.addresses |= await open_doors(
            stack, self.configuration.listen, self.server_tls, api=api, stations=self.station_server,
            as4=self.as4 if Runs.AP in self.configuration.stations.runs else None,
        )  # fmt: skip
        path = self.configuration.store.directory / ADDRESS_FILE
        path.write_text(json.dumps(self.addresses))
        stack.callback(path.unlink, missing_ok=True)
        self.start_workers(stack)

    def start_workers(self, stack: AsyncExitStack) -> None:
        """Start everything that works through the store, until the stack ends."""
        self.workers.start(
            first=[self.heartbeat.run],
            last=[self.housekeeper.run, *(refresher.run for refresher in self._refreshers)],
        )
        stack.push_async_callback(self._stop_workers)

    async def wait(self) -> None:
        """Return never, or raise what ended a store or a worker."""
        stores = [
            asyncio.create_task(self.database.wait_failed()),
            asyncio.create_task(self.payloads.wait_failed()),
        ]
        worker = asyncio.create_task(self.workers.wait())
        try:
            all_: list[asyncio.Future[Any]] = [*stores, worker]
            await asyncio.wait(all_, return_when=asyncio.FIRST_COMPLETED)
            for store in stores:
                if store.done():
                    raise store.result()
            worker.result()
        finally:
            for waiting in all_:
                waiting.cancel()

    @property
    def domain(self) -> str:
        """The right side of our MessageIds."""
        return f"{self.configuration.label}.accesspoint.invalid"

    async def _stop_workers(self) -> None:
        failpoint("M7")
        await self.workers.stop()
        await self.heartbeat.leave()


def _seal_anew(client: StationClient, new: Loaded) -> None:
    client.take_signer(new.keystore.signing)


@asynccontextmanager
async def start(
    configuration: Configuration, *, clock: Clock | None = None, ids: Ids | None = None
) -> AsyncIterator[AccessPoint]:
    """Run a node for the length of the context: everything is up when it begins and gone when it ends."""
    clock = clock or SystemClock()
    async with AsyncExitStack() as stack:
        node = AccessPoint(configuration, clock=clock, ids=ids or SystemIds(clock))
        await node.begin(stack)
        yield node
