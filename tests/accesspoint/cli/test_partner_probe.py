"""The way to a partner over a real network in miniature, every hop broken once: the probe stops there and says whose it is."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from as4_peer import Answers, Arrived, Server, answered
from as4_stage import Pki, Stage
from held_ports import free_ports

from accesspoint.cli import partner_probe as verb
from accesspoint.cli.partner_probe import DOCUMENT, build_probe
from accesspoint.clock import SystemClock
from accesspoint.config import load
from accesspoint.demo.scenery import CLINIC, MUNICIPALITY
from accesspoint.identity import Agreements
from accesspoint.ids import SystemIds
from accesspoint.network.faults import Fault
from accesspoint.network.miniature import MiniatureNetwork
from accesspoint.outbound.probe import Asked, Step
from accesspoint.problems import PROBLEMS, ExitStatus, Whose
from envelope import codes, names
from envelope.pmode import DOMIBUS_LIKE, Generation
from envelope.smp import bdxl_owner_name
from keys.store import write_pair
from keys.tls import server_context

from .conftest import Ended

pytestmark = pytest.mark.asyncio(loop_scope="module")
PARTICIPANT = f"0088:{CLINIC.address.gln}"
ASKED = Asked(PARTICIPANT, DOCUMENT, names.EHMI_PROCESS)
SECONDS = 1.5
Invoke = Callable[..., Ended]
HOPS = [
    "SML",
    "SMP",
    "SMP signature",
    "name",
    "TCP",
    "TLS",
    "mutual TLS",
    "certificate",
    "agreement",
    "ping",
]


@dataclass
class Street:
    """The network, the partner at its end, and the file of the node that looks."""

    pki: Pki
    network: MiniatureNetwork
    server: Server
    config: Path

    def register(self, url: str | None = None, issued: Any = None) -> None:
        """Publish the partner: as it is, or at another address, or with another certificate."""
        certificate = (issued or self.pki.clinic).certificate
        self.network.register(PARTICIPANT, [DOCUMENT], url or self.server.url, certificate)

    async def walk(self, change: Callable[[Any], None] = lambda probe: None) -> list[Step]:
        async with build_probe(load(self.config, {}), seconds=SECONDS) as probe:
            change(probe)
            return await probe.walk(ASKED)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Street]:
    clock = SystemClock()
    network = MiniatureNetwork((), pki.authority, clock=clock, ids=SystemIds(clock))
    _, tls = pki.tls_contexts("clinic")
    async with network, Server.start(pki.clinic.signer(), tls) as server:
        host, port = network.nameserver
        lists = {"revocation": "require", "crl_urls": [network.crl_url, network.root_crl_url]}
        config = Stage(pki, tmp_path_factory.mktemp("probe")).write_node(
            MUNICIPALITY,
            pki.municipality,
            partners={},
            directory={
                "sml": network.zone,
                "nameserver": f"{host}:{port}",
                "networks": ["127.0.0.0/8"],
            },
            trust={
                "message": {**pki.trust, **lists},
                "tls": dict(pki.trust),
                "smp": {**pki.trust, **lists},
            },
        )
        yield Street(pki, network, server, config)


@pytest.fixture
def street(shared: Street) -> Any:
    """The network whole again."""
    shared.network.faults.clear()
    shared.server.behaviour = None
    shared.register()
    return shared


async def test_a_partner_that_works_is_walked_to_the_end(street: Street) -> None:
    steps = await street.walk()
    assert [(step.name, step.problem) for step in steps] == [(name, None) for name in HOPS]
    by_name = {step.name: step for step in steps}
    assert "TLSv1.3" in by_name["TLS"].detail
    assert by_name["TLS"].notes[0].startswith("clinic")
    told = "\n".join(by_name["certificate"].notes)
    for word in ("path: path of 3", "allows encryption", "OCES3 system", "revocation: ", "end: "):
        assert word in told
    assert all(step.milliseconds >= 0 for step in steps)
    assert len(street.server.arrived) >= 1


@pytest.mark.parametrize(
    ("fault", "stop", "slug", "whose"),
    [
        (Fault.LOCATOR_SILENT, "look-up", "lookup-unreachable", Whose.NETWORK),
        (Fault.PARTICIPANT_UNREGISTERED, "SML", "lookup-no-participant", Whose.THEIRS),
        (Fault.DOCUMENT_MISSING, "SMP", "lookup-no-endpoint", Whose.THEIRS),
        (Fault.METADATA_UNSIGNED, "SMP signature", "smp-signature", Whose.THEIRS),
    ],
)
async def test_the_look_up_is_broken(
    street: Street, fault: Fault, stop: str, slug: str, whose: Whose
) -> None:
    street.network.faults.add(fault)
    stopped(await street.walk(), stop, slug, whose)


async def test_the_publisher_is_away(street: Street) -> None:
    (port,) = free_ports(1)
    owner = bdxl_owner_name(PARTICIPANT, street.network.zone)
    street.network._locator.register(owner, f"http://127.0.0.1:{port}")
    stopped(await street.walk(), "SMP", "lookup-unreachable", Whose.NETWORK)


def stopped(steps: list[Step], stop: str, slug: str, whose: Whose | None) -> Step:
    """The last step is the culprit, and all before it hold."""
    last = steps[-1]
    assert (last.name, last.problem) == (stop, slug), last
    assert whose is None or last.whose is whose
    assert all(step.holds for step in steps[:-1])
    if last.whose is not Whose.NETWORK and slug in PROBLEMS:
        assert last.letter.endswith((".", "?"))
        assert "{" not in last.letter
    return last


async def test_the_name_does_not_exist(street: Street) -> None:
    street.register("https://no-such.invalid/as4")
    last = stopped(await street.walk(), "name", "peer-unreachable", None)
    # A machine without a name server cannot know whose it is; one that is told so can.
    assert last.whose in {Whose.THEIRS, Whose.NETWORK}
    assert "no-such.invalid" in last.detail


async def test_the_address_is_outside_the_allowed_networks(street: Street) -> None:
    street.register("https://localhost:8443/as4")

    def change(probe: Any) -> None:
        probe._networks = type(probe._networks)(["10.0.0.0/8"])

    last = stopped(await street.walk(change), "name", "lookup-forbidden-network", Whose.UNKNOWN)
    assert "localhost is" in last.detail


async def test_nobody_listens(street: Street) -> None:
    (port,) = free_ports(1)
    street.register(f"https://127.0.0.1:{port}/as4")
    last = stopped(await street.walk(), "TCP", "peer-unreachable", Whose.THEIRS)
    assert "refused" in last.detail
    assert f"https://127.0.0.1:{port}/as4" in last.letter


async def test_the_tls_certificate_is_of_an_unknown_authority(
    street: Street, tmp_path: Path
) -> None:
    pki = street.pki
    issued = pki.untrusted_authority.issue_tls_certificate(
        "stranger", san=["127.0.0.1"], not_before=pki.now - timedelta(hours=1)
    )
    directory = tmp_path / "tls"
    directory.mkdir(mode=0o700)
    write_pair(directory, "tls", issued)
    context = server_context(directory / "tls.cert.pem", directory / "tls.key.pem")
    async with other_server(street, context):
        last = stopped(await street.walk(), "TLS", "peer-tls", Whose.THEIRS)
    assert "it shows stranger" in last.detail


async def test_the_name_in_the_tls_certificate_is_another(street: Street) -> None:
    port = street.server.url.rpartition(":")[2]
    street.register(f"https://127.0.0.2:{port}")
    last = (await street.walk())[-1]
    # Where only 127.0.0.1 is listened on, the other address ends the walk before TLS.
    assert last.name in {"TCP", "TLS"}
    assert last.whose is Whose.THEIRS


async def test_what_answers_speaks_no_tls(street: Street) -> None:
    street.register(street.network.smp_url.replace("http:", "https:") + "/as4")
    stopped(await street.walk(), "TLS", "peer-tls", Whose.UNKNOWN)


async def test_our_client_certificate_is_refused(street: Street, tmp_path: Path) -> None:
    pki = street.pki
    files = (pki.directory / "tls-clinic" / f"tls.{kind}.pem" for kind in ("cert", "key"))
    context = server_context(*files, pki.untrusted_authority.anchors)
    async with other_server(street, context):
        stopped(await street.walk(), "mutual TLS", "peer-tls", Whose.UNKNOWN)


@asynccontextmanager
async def other_server(street: Street, tls: Any) -> AsyncIterator[None]:
    """The partner is published where another server with these TLS settings listens."""
    async with Server.start(street.pki.clinic.signer(), tls) as server:
        street.register(server.url)
        yield


@pytest.mark.parametrize("kind", ["revoked", "expired", "untrusted"])
async def test_the_certificate_to_encrypt_for_is_not_good(street: Street, kind: str) -> None:
    pki = street.pki
    issued = {
        "revoked": lambda: pki.revoked,
        "expired": lambda: pki.certify(
            "old",
            not_before=pki.now - timedelta(days=9),
            not_after=pki.now - timedelta(days=1),
        ),
        "untrusted": lambda: pki.certify("strange", authority=pki.untrusted_authority),
    }[kind]()
    street.register(issued=issued)
    whose = Whose.OURS if kind == "untrusted" else Whose.THEIRS
    stopped(await street.walk(), "certificate", f"certificate-{kind}", whose)


async def test_no_generation_is_agreed(street: Street) -> None:
    def change(probe: Any) -> None:
        probe._agreements = Agreements(DOMIBUS_LIKE.knowing((Generation.V2_0,)))

    last = stopped(await street.walk(change), "agreement", "generation-not-agreed", Whose.UNKNOWN)
    assert "1.15" in last.letter


@pytest.mark.parametrize(
    ("code", "slug", "whose"),
    [
        (codes.PROCESSING_MODE_MISMATCH, "peer-refused", Whose.UNKNOWN),
        (codes.FAILED_AUTHENTICATION, "peer-refused-signature", Whose.OURS),
    ],
)
async def test_the_ping_is_refused(
    street: Street, code: codes.EbmsCode, slug: str, whose: Whose
) -> None:
    async def refuse(arrived: Arrived, request: web.Request) -> web.StreamResponse:
        return answered(street.server.answers.error(code, message_id=arrived.message_id))

    street.server.behaviour = refuse
    last = stopped(await street.walk(), "ping", slug, whose)
    assert code.code in last.letter
    assert street.server.arrived[-1].message_id in last.letter


async def test_the_receipt_is_signed_by_somebody_else(street: Street) -> None:
    async def lie(arrived: Arrived, request: web.Request) -> web.StreamResponse:
        return answered(Answers(street.pki.third.signer()).receipt(arrived))

    street.server.behaviour = lie
    stopped(await street.walk(), "ping", "receipt-signer", Whose.THEIRS)


@pytest.mark.parametrize("broken", [False, True])
async def test_the_command_ticks_each_hop_and_ends_with_the_status_of_the_culprit(
    street: Street, broken: bool, monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    if broken:
        street.network.faults.add(Fault.DOCUMENT_MISSING)
    steps = await street.walk()
    # The command runs a loop of its own; what it walks is walked above.
    monkeypatch.setattr(verb, "_walk", lambda *_, **__: steps)
    monkeypatch.setattr("asyncio.run", lambda walked: walked)

    def run(*more: str) -> tuple[int, str]:
        ended = invoke("partner", "probe", CLINIC.address.gln, "--config", street.config, *more)
        return ended.status, ended.out

    status, text = run()
    assert status == (ExitStatus.FAILED if broken else ExitStatus.OK)
    assert text.count("✓") == len(steps) - broken
    said = json.loads(run("--format", "json")[1])
    assert [step["name"] for step in said["steps"]] == [step.name for step in steps]
    if broken:
        assert "✗ SMP" in text
        assert "whose it is: the partner's" in text
        assert f"write to the partner:\n  {steps[-1].letter}" in text
        assert (said["stopped_at"], said["whose"]) == ("SMP", "theirs")
    else:
        assert text.endswith("every hop holds\n")
        assert (said["holds"], said["stopped_at"]) == (True, None)


async def test_who_is_no_partner_and_no_gln_is_not_looked_up(
    street: Street, invoke: Invoke
) -> None:
    ended = invoke("partner", "probe", "klinik", "--config", street.config)
    assert (ended.status, ended.out) == (ExitStatus.USAGE, "")
    assert "no partner is called 'klinik'" in ended.err
