"""All of the network in one object: starts the servers, registers participants and stations, breaks on demand.

The demo, development and the tests use the same network. Every server is on loopback and on a port that
was free; the addresses are known after `start`. Certificates of the servers come from the development
authority that the participants use too.

Spec: decisions D13; EHMI security architecture 0.98.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Final, Self

import aiohttp
from cryptography import x509

from accesspoint.addressing.client import FhirClient
from accesspoint.addressing.register import EndpointRegister
from accesspoint.addressing.vocabulary import REGISTER_SCOPE
from accesspoint.clock import Clock
from accesspoint.config_pages import PublishedPages
from accesspoint.delivery.token import TokenSource
from accesspoint.doors import DEFAULT_EDGE, open_door
from accesspoint.ids import Ids
from accesspoint.network.addressing_service import MiniatureAddressing
from accesspoint.network.authorization import (
    ADDRESSING_SERVICE,
    REGISTER_SERVICE,
    TOKEN_LIFETIME,
    TOKEN_PATH,
    AuthorizationServer,
    ClientRegistration,
)
from accesspoint.network.endpoint_register import EndpointRegisterService
from accesspoint.network.faults import Fault, dropping_connections, refusing_reports
from accesspoint.network.fhir_service import TokenCheck
from accesspoint.network.listening import LOOPBACK, Listeners
from accesspoint.network.locator import Locator
from accesspoint.network.organisations import Organisations, read_organisations
from accesspoint.network.publisher import Publisher, Registration
from accesspoint.network.revocation_point import PATH as REVOCATION_PATH
from accesspoint.network.revocation_point import ROOT_PATH as REVOCATION_ROOT_PATH
from accesspoint.network.revocation_point import RevocationPoint
from accesspoint.status_component.service import StatusService
from accesspoint.status_component.store import EventStore
from accesspoint.tracking.configured import build_pages, server_tls
from accesspoint.tracking.entrance import CodeEntrance
from accesspoint.tracking.pages import Pages
from envelope import names
from envelope.smp import bdxl_owner_name, busdox_owner_name
from keys.certificate import der
from keys.devca import DevelopmentAuthority, new_rsa_keys
from keys.jwk import AccessToken, OrganisationContext
from keys.store import write_pair
from keys.tls import client_context, server_context

ZONE: Final = "sml.ehmi.test"
PUBLISHER_HOST: Final = "smp"
SERVICES: Final = ("Meta:SMP", "oasis-bdxr-smp-2")
AUDIENCE: Final = "https://eds.ehmi.test"
AUDIENCES: Final = {
    ADDRESSING_SERVICE: "https://eas.ehmi.test",
    REGISTER_SERVICE: "https://eer.ehmi.test",
}
_ADDRESSING_CLIENT: Final = "00000000-0000-4000-8000-00000000000e"
_BACKDATED: Final = timedelta(hours=1)
_CVR: Final = "00000000"
_UUIDS: Final = {
    "publisher": "00000000-0000-4000-8000-00000000000a",
    "stranger": "00000000-0000-4000-8000-00000000000b",
    "somebody": "00000000-0000-4000-8000-00000000000c",
    "services": "00000000-0000-4000-8000-00000000000d",
}


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the servers listen; 0 is any free port."""

    locator: int = 0
    publisher: int = 0
    status: int = 0
    authorization: int = 0
    revocation: int = 0
    endpoint_register: int = 0
    addressing: int = 0
    pages: int = 0


ANY_PORTS: Final = Ports()


class MiniatureNetwork:
    """Locator, publisher, status component with its pages, authorization server, revocation point, endpoint register
    and addressing service on loopback.

    `faults` may be changed at any time; the servers look at it with every request. `status` holds the
    reports that were taken, from `start` to `stop`: `wait_for`, `follow`, `of_exchange`. The pages at `pages_url`
    ask for `pages_code`.
    """

    def __init__(
        self,
        participants: Iterable[Registration],
        authority: DevelopmentAuthority,
        *,
        clock: Clock,
        ids: Ids,
        directory: Path | None = None,
        faults: Iterable[Fault] = (),
        token_lifetime: timedelta = TOKEN_LIFETIME,
        ports: Ports = ANY_PORTS,
        organisations: Organisations | None = None,
        pages: PublishedPages | None = None,
    ) -> None:
        """`directory` keeps the reports over restarts; without it they live as long as this object.

        `organisations` are those of the endpoint register; None takes the file that comes with the program. `pages` says
        where others than this machine reach the pages, and through which issuer.
        """
        self.authority = authority
        self.faults = set(faults)
        self.zone = ZONE
        self._directory = directory
        self._status: EventStore | None = None
        self.nameserver = (LOOPBACK, 0)
        self.smp_url = self.status_url = self.token_url = self.crl_url = self.root_crl_url = ""
        self.register_url = self.addressing_url = ""
        self.organisations = organisations or read_organisations()
        self._session: aiohttp.ClientSession | None = None
        self._doors = AsyncExitStack()
        self.pages_url = self.pages_code = ""
        self._participants = tuple(participants)
        self._clock = clock
        self._ports = ports
        self._published = pages
        self._listeners = Listeners()
        self._locator = Locator(self.zone, faults=self.faults, port=ports.locator)
        self._authorization = AuthorizationServer(
            clock=clock,
            ids=ids,
            audience=AUDIENCE,
            audiences=AUDIENCES,
            lifetime=token_lifetime,
            faults=self.faults,
        )
        self._register = EndpointRegisterService(
            clock=clock, check_token=self._check_for(REGISTER_SERVICE)
        )
        for organisation in self.organisations.organisation:
            self._register.put(organisation)
        self._publisher: Publisher | None = None
        self.publisher_certificate: x509.Certificate | None = None

    @property
    def status(self) -> EventStore:
        """The reports that were taken. Raises RuntimeError before `start`."""
        if self._status is None:
            raise RuntimeError("the network has not been started")
        return self._status

    async def start(self) -> Self:
        """Make the servers' certificates, listen, and register the participants given at first."""
        self._status = await EventStore.open(self._directory)
        # Key generation takes seconds and lets go of the interpreter lock.
        self._publisher = await asyncio.to_thread(self._make_publisher)
        self.nameserver = (await self._locator.start()).address
        self.smp_url = await self._listeners.start(
            self._publisher.application(), port=self._ports.publisher
        )
        revocation = RevocationPoint(
            {
                REVOCATION_PATH: lambda: self.authority.crl(self._clock.now()),
                REVOCATION_ROOT_PATH: lambda: self.authority.root_crl(self._clock.now()),
            }
        )
        point = await self._listeners.start(revocation.application(), port=self._ports.revocation)
        self.crl_url, self.root_crl_url = point + REVOCATION_PATH, point + REVOCATION_ROOT_PATH
        with TemporaryDirectory(prefix="ehmi-network-") as place:
            tls, client = self._tls(Path(place))
        self._authorization.issuer = await self._listeners.start(
            self._authorization.application(), tls=tls, port=self._ports.authorization
        )
        self.token_url = self._authorization.issuer + TOKEN_PATH
        status = StatusService(
            self.status,
            clock=self._clock,
            check_token=self._authorization.check,
            organisations_of=self._authorization.organisations_of,
            check=refusing_reports(self.faults),
        )
        base = await self._listeners.start(
            status.application(dropping_connections(self.faults)), tls=tls, port=self._ports.status
        )
        self.status_url = base + "/fhir"
        await self._start_addressing(tls, client)
        await self._start_pages()
        for participant in self._participants:
            self._publish(self._publisher, participant)
        return self

    async def stop(self) -> None:
        """Close every listener, and the store of what was reported."""
        await self._listeners.stop()
        await self._locator.stop()
        await self._doors.aclose()
        if self._session is not None:
            await self._session.close()
        if self._status is not None:
            await self._status.close()

    async def __aenter__(self) -> Self:
        try:
            return await self.start()
        except BaseException:
            await self.stop()
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    @contextlib.contextmanager
    def registering(self) -> Iterator[None]:
        """Say that not everybody is registered before the context ends: no node takes a silence for an answer."""
        self._locator.is_complete = False
        try:
            yield
        finally:
            self._locator.is_complete = True

    def register(
        self,
        participant: str,
        documents: Sequence[str],
        url: str,
        certificate: x509.Certificate,
        *,
        transport_profile: str = names.TRANSPORT_AS4_V1,
    ) -> None:
        """Publish where a participant (`0088:` and GLN) takes these documents, in locator and publisher.

        Raises: RuntimeError before `start`.
        """
        if self._publisher is None:
            raise RuntimeError("the network has not been started")
        self._publish(
            self._publisher,
            Registration(
                participant,
                tuple(documents),
                url,
                der(certificate),
                transport_profile=transport_profile,
            ),
        )
        for organisation in self.organisations.organisation:
            if participant == f"0088:{organisation.gln}":
                self._register.put(organisation, url=url, certificate=der(certificate))

    def register_station(
        self,
        certificate: x509.Certificate,
        *,
        client_id: str,
        device_id: str,
        organisations: Sequence[OrganisationContext],
    ) -> None:
        """Let the station with this TLS certificate report for these organisations."""
        self._authorization.register(
            ClientRegistration.of_certificate(
                certificate,
                client_id=client_id,
                device_id=device_id,
                org_context=tuple(organisations),
            )
        )

    def _check_for(self, service: str) -> TokenCheck:
        def check(token: str, certificate: x509.Certificate) -> AccessToken:
            return self._authorization.check(token, certificate, service=service)

        return check

    async def _start_addressing(self, tls: ssl.SSLContext, client: ssl.SSLContext) -> None:
        """Serve the endpoint register and the addressing service, which reads the former with tokens of its own."""
        url = await self._listeners.start(
            self._register.application(), tls=tls, port=self._ports.endpoint_register
        )
        self.register_url = url + "/fhir"
        session = self._session = aiohttp.ClientSession(trust_env=False)
        tokens = TokenSource(
            self.token_url, client_id=_ADDRESSING_CLIENT, ssl_context=client,
            session=lambda: session, clock=self._clock,
        )  # fmt: skip
        register = EndpointRegister(
            FhirClient(
                self.register_url, scope=REGISTER_SCOPE, tokens=tokens, ssl_context=client,
                session=lambda: session,
            )
        )  # fmt: skip
        addressing = MiniatureAddressing(
            self.organisations,
            clock=self._clock,
            check_token=self._check_for(ADDRESSING_SERVICE),
            register=lambda: register,
        )
        url = await self._listeners.start(
            addressing.application(), tls=tls, port=self._ports.addressing
        )
        self.addressing_url = url + "/fhir"

    async def _start_pages(self) -> None:
        """Serve the pages: with a code on this machine, or published as configured."""
        published = self._published
        if published is None:
            entrance = CodeEntrance(self._clock)
            pages = Pages(self.status, clock=self._clock, entrance=entrance)
            self.pages_code = entrance.code
            self.pages_url = await self._listeners.start(
                pages.application(), port=self._ports.pages
            )
            return
        session = await self._doors.enter_async_context(aiohttp.ClientSession(trust_env=False))
        pages = build_pages(self.status, published, session=lambda: session, clock=self._clock)
        # Behind a proxy on this machine everybody has one address, which must not use up what one may have.
        limits = DEFAULT_EDGE.for_one_address() if published.is_local else DEFAULT_EDGE
        await open_door(
            self._doors, pages.application(), published.listen, server_tls(published), limits=limits
        )
        self.pages_url = published.url

    def _publish(self, publisher: Publisher, registration: Registration) -> None:
        publisher.register(registration)
        # Whichever way a client looks participants up: by record, for each version, and by alias.
        participant, host = registration.participant, f"{PUBLISHER_HOST}.{self.zone}"
        self._locator.register(
            bdxl_owner_name(participant, self.zone), self.smp_url, services=SERVICES
        )
        self._locator.register_alias(busdox_owner_name(participant, self.zone), host)
        self._locator.register_host(host, LOOPBACK)

    def _make_publisher(self) -> Publisher:
        """Make the publisher with its own certificate and those that planted faults need."""
        # One key is enough for both planted faults: nobody is meant to trust what it signs or opens.
        key, spare = new_rsa_keys(2)
        at = self._clock.now()
        stranger = DevelopmentAuthority.create(at=at, name="Stranger", private_keys=[spare, spare])
        mine, strange, other = (
            issuer.issue_system_certificate(
                f"test-{name}",
                "TEST network",
                _CVR,
                uuid=_UUIDS[name],
                not_before=at - _BACKDATED,
                private_key=private_key,
            )
            for name, issuer, private_key in [
                ("publisher", self.authority, key),
                ("stranger", stranger, spare),
                ("somebody", self.authority, spare),
            ]
        )
        self.publisher_certificate = mine.certificate
        return Publisher(mine, stranger=strange, somebody_else=other, faults=self.faults)

    def _tls(self, place: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        """The central services as servers, and the addressing service as a client, with one certificate."""
        issued = self.authority.issue_tls_certificate(
            "TEST central services",
            san=[LOOPBACK, "localhost"],
            not_before=self._clock.now() - _BACKDATED,
            uuid=_UUIDS["services"],
        )
        write_pair(place, "tls", issued)
        self._authorization.register(
            ClientRegistration.of_certificate(
                issued.certificate, client_id=_ADDRESSING_CLIENT, device_id="eas", org_context=(),
                services=frozenset({REGISTER_SERVICE}),
            )
        )  # fmt: skip
        files = (place / "tls.cert.pem", place / "tls.key.pem", self.authority.anchors)
        return server_context(*files), client_context(*files)
