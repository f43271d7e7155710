"""A throw-away authority and a PostgreSQL server for the whole run, and the central services of the status component."""

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from ssl import SSLContext

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from postgresql_server import PostgresqlServer, running

from accesspoint.clock import SystemClock
from accesspoint.ids import SystemIds
from accesspoint.network.authorization import (
    TOKEN_PATH,
    AuthorizationServer,
    ClientRegistration,
    OrganisationContext,
)
from accesspoint.network.faults import Fault, dropping_connections, refusing_reports
from accesspoint.network.listening import Listeners
from accesspoint.status_component.service import StatusService
from accesspoint.status_component.store import EventStore
from keys.devca import DevelopmentAuthority, IssuedCertificate, new_rsa_keys
from keys.store import write_pair
from keys.tls import client_context, server_context

SENDER = OrganisationContext("TEST Fjordby Kommune", "900000000000016", "5790009990010")
RECEIVER = OrganisationContext("TEST Lægerne Havnegade", "900000000000024", "5790009990027")


@pytest.fixture(scope="session")
def authority() -> DevelopmentAuthority:
    """The development authority that everybody in a test trusts; OpenSSL needs it to be valid now."""
    return DevelopmentAuthority.create(at=datetime.now(UTC), name="Test")


@dataclass
class TlsParty:
    """One party's certificate and the files that TLS reads."""

    issued: IssuedCertificate
    certificate_file: Path
    key_file: Path
    authority: DevelopmentAuthority

    def client(self) -> SSLContext:
        return client_context(self.certificate_file, self.key_file, [self.authority.root])

    def server(self) -> SSLContext:
        return server_context(self.certificate_file, self.key_file, [self.authority.root])


@pytest.fixture
def tls_party(authority: DevelopmentAuthority, tmp_path: Path) -> Callable[[str], TlsParty]:
    """Issue a TLS certificate for loopback under this name, with its files."""

    def make(name: str) -> TlsParty:
        issued = authority.issue_tls_certificate(
            name, san=["127.0.0.1"], not_before=datetime.now(UTC) - timedelta(hours=1)
        )
        directory = tmp_path / name
        directory.mkdir(mode=0o700)
        write_pair(directory, "tls", issued)
        return TlsParty(issued, directory / "tls.cert.pem", directory / "tls.key.pem", authority)

    return make


@dataclass
class CentralServices:
    """Authorization server and status component, one registered station and its TLS identity."""

    authorization: AuthorizationServer
    status: StatusService
    store: EventStore
    station: TlsParty
    client_id: str
    device_id: str
    token_url: str = ""
    status_url: str = ""
    faults: set[Fault] = field(default_factory=set)

    async def token(
        self, session: aiohttp.ClientSession, scope: str, *, as_party: TlsParty | None = None
    ) -> str:
        form = {"grant_type": "client_credentials", "client_id": self.client_id, "scope": scope}
        context = (as_party or self.station).client()
        async with session.post(self.token_url, data=form, ssl=context) as answer:
            return str((await answer.json())["access_token"])


@pytest.fixture
async def central_services(
    tls_party: Callable[[str], TlsParty],
) -> AsyncIterator[CentralServices]:
    """Start both services on loopback; the station `fjordby-ap` may act for both organisations."""
    faults: set[Fault] = set()
    clock = SystemClock()
    store = await EventStore.open()
    listeners = Listeners()
    server, station = tls_party("services"), tls_party("station")
    authorization = AuthorizationServer(
        clock=clock, ids=SystemIds(clock), audience="https://eds.test", faults=faults
    )
    authorization.register(
        ClientRegistration.of_certificate(
            station.issued.certificate,
            client_id="fjordby-station",
            device_id="fjordby-ap",
            org_context=(SENDER, RECEIVER),
        )
    )
    status = StatusService(
        store,
        clock=clock,
        check_token=authorization.check,
        organisations_of=authorization.organisations_of,
        check=refusing_reports(faults),
    )
    services = CentralServices(
        authorization, status, store, station, "fjordby-station", "fjordby-ap", faults=faults
    )
    authorization.issuer = await listeners.start(authorization.application(), tls=server.server())
    services.token_url = authorization.issuer + TOKEN_PATH
    application = status.application(dropping_connections(faults))
    services.status_url = await listeners.start(application, tls=server.server()) + "/fhir"
    yield services
    await listeners.stop()
    await store.close()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """One HTTP session without cookies and without proxies from the environment."""
    async with aiohttp.ClientSession(
        trust_env=False, cookie_jar=aiohttp.DummyCookieJar()
    ) as opened:
        yield opened


@pytest.fixture(scope="session")
def rsa_keys() -> list[RSAPrivateKey]:
    """Some RSA keys for whoever needs one that is not checked for being fresh: they take long to make."""
    return new_rsa_keys(4)


_DATABASES = count(1)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgresqlServer]:
    """A real PostgreSQL server of our own on a Unix socket, started once."""
    with running() as server:
        yield server


@pytest.fixture
def postgresql_url(postgresql_server: PostgresqlServer) -> str:
    """The URL of a new, empty database."""
    return postgresql_server.create(f"accesspoint_{next(_DATABASES)}")
