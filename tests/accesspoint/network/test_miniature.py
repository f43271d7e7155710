"""The whole network in one object: found, tokened, reported, revoked; and one planted fault per step."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography import x509
from held_ports import free_ports
from issuer_parts import Signer

from accesspoint.clock import SystemClock
from accesspoint.config_pages import PublishedPages
from accesspoint.config_values import Address
from accesspoint.delivery.events import DeliveryEvent, DeliveryFacts, Station, SubType
from accesspoint.delivery.outbox import Outbox
from accesspoint.delivery.relay import Relay
from accesspoint.delivery.token import TokenSource
from accesspoint.discovery.directory import LookupFailed
from accesspoint.discovery.dynamic import DynamicDirectory
from accesspoint.discovery.sml import MetadataLocator
from accesspoint.discovery.smp import MetadataPublisher
from accesspoint.ids import SystemIds
from accesspoint.network.faults import Fault
from accesspoint.network.listening import Listeners
from accesspoint.network.miniature import MiniatureNetwork
from accesspoint.network.publisher import DOCUMENT_SCHEME, Registration
from accesspoint.networks import AllowedNetworks
from accesspoint.status_component.store import EventStore
from accesspoint.store.database import Database, sqlite_url
from envelope import names
from keys.certificate import der
from keys.crl import CrlStore
from keys.jwk import OrganisationContext
from keys.path import Usage, Validator
from keys.revocation import RevocationMode, RevocationPolicy
from keys.tls import client_context
from keys.trust import Purpose, TrustStore

CLOCK = SystemClock()
DOCUMENT = "urn:dk:healthcare::observation-message##urn:dk:medcom::1.1"
SENDER = OrganisationContext("TEST Fjordby Kommune", "900000000000016", "5790009990010")
KEY = ("0088:5790009990010", DOCUMENT, names.EHMI_PROCESS)
EVENT = DeliveryEvent(
    Station.AP,
    "fjordby-ap",
    SubType.SENT,
    "0",
    datetime(2026, 11, 21, tzinfo=UTC),
    DeliveryFacts(
        SENDER.sor,
        SENDER.gln,
        None,
        "2",
        "5790009990027",
        None,
        None,
        "m-1",
        "s",
        "v",
        "b-1",
        "Bundle",
    ),
)


class Node:
    """What one access point has: a TLS identity, a directory, an outbox with its relay."""

    def __init__(self, network: MiniatureNetwork, station: Any, database: Database) -> None:
        self.network, self.station = network, station
        self.session = aiohttp.ClientSession(trust_env=False)
        self.outbox = Outbox(database, clock=CLOCK, glns=[SENDER.gln])
        self.database = database
        context = station.client()
        tokens = TokenSource(
            network.token_url,
            client_id="fjordby",
            ssl_context=context,
            session=lambda: self.session,
            clock=CLOCK,
        )
        self.relay = Relay(
            self.outbox,
            endpoint=network.status_url,
            tokens={"fjordby-ap": tokens},
            ssl_context=context,
            session=lambda: self.session,
            clock=CLOCK,
            random=lambda: 0.0,
        )
        trust = TrustStore(Purpose.SMP, network.authority.anchors, network.authority.intermediates)
        validator = Validator(trust, revocation=RevocationPolicy(RevocationMode.OFF, "test"))

        def check(certificate: x509.Certificate, chain: Sequence[x509.Certificate]) -> object:
            return validator.validate(certificate, chain, usage=Usage.SIGNING, at=CLOCK.now())

        networks = AllowedNetworks(["127.0.0.0/8"])
        self.directory = DynamicDirectory(
            publisher=MetadataPublisher(
                networks=networks, check=check, clock=CLOCK, document_scheme=DOCUMENT_SCHEME
            ),
            networks=networks,
            clock=CLOCK,
            locator=MetadataLocator(
                network.zone, clock=CLOCK, nameserver=network.nameserver, seconds=0.5
            ),
        )

    async def report(self, event: DeliveryEvent = EVENT) -> None:
        await self.database.run(lambda tx: self.outbox.record(tx, event))
        await self.relay.drain()

    async def close(self) -> None:
        await self.directory.close()
        await self.session.close()
        await self.database.close()


@pytest.fixture
async def network(authority: Any, tmp_path: Path) -> AsyncIterator[MiniatureNetwork]:
    made = MiniatureNetwork([], authority, clock=CLOCK, ids=SystemIds(CLOCK), directory=tmp_path)
    async with made:
        yield made


@pytest.fixture
async def node(
    network: MiniatureNetwork, tls_party: Callable[[str], Any], tmp_path: Path
) -> AsyncIterator[Node]:
    station = tls_party("station")
    network.register_station(
        station.issued.certificate,
        client_id="fjordby",
        device_id="fjordby-ap",
        organisations=[SENDER],
    )
    network.register(KEY[0], [DOCUMENT], "https://127.0.0.1/as4", station.issued.certificate)
    made = Node(network, station, await Database.open(sqlite_url(tmp_path / "node.db")))
    yield made
    await made.close()


async def test_everything_works_when_nothing_is_broken(
    network: MiniatureNetwork, node: Node
) -> None:
    endpoint = await node.directory.find_endpoint(*KEY)
    await node.report()

    assert endpoint.certificate == der(node.station.issued.certificate)
    assert [report.message_identifier for report in await network.status.reports()] == ["m-1"]


async def test_participants_given_at_first_are_published(
    network: MiniatureNetwork, node: Node, authority: Any
) -> None:
    given = Registration("0088:5790009990034", (DOCUMENT,), "https://127.0.0.1/given", b"")
    certificate = der(node.station.issued.certificate)
    second = MiniatureNetwork(
        [replace(given, certificate=certificate)], authority, clock=CLOCK, ids=SystemIds(CLOCK)
    )
    async with second:
        other = Node(second, node.station, node.database)
        endpoint = await other.directory.find_endpoint("0088:5790009990034", *KEY[1:])
        await other.directory.close()
        await other.session.close()

    assert endpoint.url == "https://127.0.0.1/given"


LOOKUP_FAULTS = {
    Fault.LOCATOR_SILENT: "lookup-unreachable",
    Fault.PARTICIPANT_UNREGISTERED: "lookup-no-participant",
    Fault.DOCUMENT_MISSING: "lookup-no-endpoint",
    Fault.METADATA_UNSIGNED: "smp-signature",
}
REPORT_FAULTS = {
    Fault.TOKEN_REFUSED: ("waiting", "token-refused"),
    Fault.STATUS_DOWN: ("waiting", "status-unreachable"),
    Fault.STATUS_REFUSES: ("parked", "status-refused"),
}


@pytest.mark.parametrize("fault", Fault)
async def test_each_fault_breaks_its_step_and_no_other(
    network: MiniatureNetwork, node: Node, fault: Fault
) -> None:
    network.faults.add(fault)
    await node.report()
    row = await node.database.fetch_one("SELECT state, problem FROM outbox")
    try:
        endpoint = await node.directory.find_endpoint(*KEY)
        found: str | bytes = endpoint.certificate
    except LookupFailed as failed:
        found = failed.slug

    assert row is not None
    assert (row["state"], row["problem"]) == REPORT_FAULTS.get(fault, ("sent", None))
    if fault is Fault.WRONG_CERTIFICATE:
        certificate = x509.load_der_x509_certificate(found) if isinstance(found, bytes) else None
        assert certificate is not None
        assert "test-somebody" in certificate.subject.rfc4514_string()
    else:
        mine = der(node.station.issued.certificate)
        assert found == LOOKUP_FAULTS.get(fault, mine)


async def test_a_revoked_certificate_is_on_the_list_that_is_served(
    network: MiniatureNetwork, node: Node, authority: Any
) -> None:
    async with node.session.get(network.crl_url) as answer:
        assert answer.content_type == "application/pkix-crl"
        before = x509.load_der_x509_crl(await answer.read())
    revoked = authority.issue_tls_certificate(
        "revoked", san=["127.0.0.1"], not_before=CLOCK.now() - timedelta(hours=1)
    ).certificate
    authority.revoke(revoked, at=CLOCK.now())
    async with node.session.get(network.crl_url) as answer:
        body = await answer.read()
        after = x509.load_der_x509_crl(body)

    assert before.get_revoked_certificate_by_serial_number(revoked.serial_number) is None
    assert after.get_revoked_certificate_by_serial_number(revoked.serial_number) is not None
    CrlStore((authority.root, authority.issuing)).add(body, at=CLOCK.now() + timedelta(seconds=5))


async def test_reports_survive_a_restart_of_the_network(
    network: MiniatureNetwork, node: Node, authority: Any, tmp_path: Path
) -> None:
    await node.report()
    await network.stop()

    again = await EventStore.open(tmp_path)

    assert [report.message_identifier for report in await again.reports()] == ["m-1"]
    await again.close()


async def test_two_networks_do_not_meet(
    network: MiniatureNetwork, node: Node, authority: Any
) -> None:
    async with MiniatureNetwork([], authority, clock=CLOCK, ids=SystemIds(CLOCK)) as second:
        urls = {network.smp_url, network.status_url, network.token_url, network.crl_url}
        assert urls.isdisjoint(
            {second.smp_url, second.status_url, second.token_url, second.crl_url}
        )
        assert second.nameserver != network.nameserver


def test_a_participant_before_the_start_is_refused(authority: Any) -> None:
    idle = MiniatureNetwork([], authority, clock=CLOCK, ids=SystemIds(CLOCK))

    with pytest.raises(RuntimeError):
        idle.register(KEY[0], [DOCUMENT], "https://127.0.0.1/as4", authority.root)


@pytest.mark.attack("ADM-01", "ADM-07")
async def test_published_pages_have_tls_a_way_in_and_no_code(
    authority: Any, tls_party: Callable[[str], Any], session: aiohttp.ClientSession
) -> None:
    signer, listeners, party = Signer(), Listeners(), tls_party("pages")
    signer.url = await listeners.start(signer.application())
    (port,) = free_ports(1)
    published = PublishedPages.model_validate(
        {
            "url": f"https://127.0.0.1:{port}",
            "listen": Address("127.0.0.1", port),
            "certificate": str(party.certificate_file),
            "key": str(party.key_file),
            "sign_on": {"issuer": signer.url, "client_id": "pages", "acr_values": ["high"]},
        }
    )
    tls = client_context(anchors=[authority.root])
    async with MiniatureNetwork(
        [], authority, clock=CLOCK, ids=SystemIds(CLOCK), pages=published
    ) as network:
        assert (network.pages_url, network.pages_code) == (published.url, "")
        async with session.get(network.pages_url + "/messages", ssl=tls) as answer:
            assert answer.url.path == "/sign-in"
            assert "Strict-Transport-Security" in answer.headers
        form = {"code": "", "role": "support"}
        async with session.post(network.pages_url + "/sign-in", data=form, ssl=tls) as answer:
            assert answer.status in {403, 405}
        async with session.get(network.pages_url + "/sign-in/start", ssl=tls, allow_redirects=False) as answer:  # fmt: skip
            assert answer.headers["Location"].startswith(signer.url)
    await listeners.stop()
