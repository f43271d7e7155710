"""The surroundings of the demo: made once, taken up again, and whole even when the making is interrupted."""

import asyncio
import base64
import socket
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
from as4_stage import Pki
from cryptography.hazmat.primitives.asymmetric import rsa
from two_organisations import until
from yarl import URL

from accesspoint.clock import SystemClock
from accesspoint.config import load
from accesspoint.demo.processes import NotStarted
from accesspoint.demo.scenery import CLINIC, MUNICIPALITY, Scenery, plan_nodes
from accesspoint.demo.stage import Stage, _station_ports
from accesspoint.demo.surroundings import Surroundings, _in_thread
from accesspoint.discovery.directory import LookupFailed, LookupProblem
from accesspoint.discovery.sml import MetadataLocator
from accesspoint.ids import SystemIds
from accesspoint.network.miniature import ANY_PORTS, ZONE, Ports
from accesspoint.network.publisher import DOCUMENT_SCHEME
from envelope import names
from envelope.smp import SmpIdentifier, metadata_path
from keys.certificate import der
from keys.store import KeyStore, write_authority, write_certificates


@pytest.fixture
def base(pki: Pki, tmp_path: Path) -> Path:
    """A directory whose authority is there already, with smaller keys than it would make."""
    where = tmp_path / "net"
    where.mkdir(mode=0o700)
    write_authority(where / "authority", pki.authority)
    return where


async def start(base: Path, stack: AsyncExitStack, *, ports: Ports = ANY_PORTS) -> Surroundings:
    clock = SystemClock()
    return await Surroundings.start(
        base, plan_nodes(base, apart=False), stack, clock=clock, ids=SystemIds(clock),
        keep_reports=True, ports=ports,
    )  # fmt: skip


async def test_keys_and_authority_are_made_once(base: Path) -> None:
    seen = []
    for _ in range(2):
        async with AsyncExitStack() as stack:
            around = await start(base, stack)
            around.register({"municipality": "127.0.0.1:1", "clinic": "127.0.0.1:2"})
            keys = KeyStore.load(around.plan_of(MUNICIPALITY, "AP").directory / "keys")
            seen.append((keys.signing.certificate, around.scenery.authority.root))
    assert seen[0] == seen[1]


async def test_the_publisher_serves_the_certificate_that_an_access_point_has_now(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accesspoint.demo.surroundings.LOOK_SECONDS", 0.01)
    plan, *_ = plans = plan_nodes(base, apart=False)
    assert plan.organisation is MUNICIPALITY
    key = rsa.generate_private_key(65537, 2048)
    scenery = Scenery.create(base, at=SystemClock().now())
    old, new = (scenery._certify(plan, key).certificate for _ in range(2))
    before, after = der(old), der(new)
    for each in plans:
        each.certificate.parent.mkdir(parents=True)
        for file in (each.certificate, each.tls_certificate):
            write_certificates(file, [old])
    asked = metadata_path(
        SmpIdentifier(names.ISO6523_ACTORID, f"0088:{MUNICIPALITY.address.gln}"),
        SmpIdentifier(DOCUMENT_SCHEME, MUNICIPALITY.documents[0]),
    )
    async with AsyncExitStack() as stack, aiohttp.ClientSession() as session:
        around = await start(base, stack)
        around.register({"municipality": "127.0.0.1:1", "clinic": "127.0.0.1:2"})
        around.follow_keys(stack)

        async def published(certificate: bytes) -> bool:
            url = URL(f"{around.network.smp_url}/{asked}", encoded=True)
            async with session.get(url) as answer:
                return base64.b64encode(certificate) in b"".join((await answer.read()).split())

        assert await published(before)
        plan.certificate.unlink()
        await asyncio.sleep(0.05)
        assert await published(before), "in the middle of a switch"
        write_certificates(plan.certificate, [new])
        await until(lambda: published(after), "the new certificate")


async def test_nobody_is_called_unknown_while_the_nodes_start(base: Path) -> None:
    """What an earlier start left waiting is looked up at once, and an unknown receiver ends it for good."""

    class Watched(Stage):
        said: LookupFailed

        async def _start_nodes(self, around: Surroundings) -> None:
            where = around.network.nameserver
            locator = MetadataLocator(ZONE, nameserver=where, clock=SystemClock())
            with pytest.raises(LookupFailed) as failed:
                await locator.locate(f"0088:{CLINIC.address.gln}")
            self.said = failed.value
            raise NotStarted("clinic", self.base, "enough is seen")

    for plan in plan_nodes(base, apart=False):
        (plan.directory / "keys").mkdir(parents=True)
    clock = SystemClock()
    stage = Watched(base, apart=False, clock=clock, ids=SystemIds(clock))
    with pytest.raises(NotStarted):
        await stage.__aenter__()
    assert (stage.said.slug, stage.said.permanent) == (LookupProblem.UNREACHABLE, False)


async def test_a_taken_port_leaves_no_listener_behind(base: Path) -> None:
    for plan in plan_nodes(base, apart=False):
        (plan.directory / "keys").mkdir(parents=True)
    with socket.socket() as holder, socket.socket() as probe:
        for one in (holder, probe):
            one.bind(("127.0.0.1", 0))
        holder.listen()
        free, taken = probe.getsockname()[1], holder.getsockname()[1]
        probe.close()
        with pytest.raises(ExceptionGroup) as failed:
            async with AsyncExitStack() as stack:
                await start(base, stack, ports=Ports(publisher=free, authorization=taken))
    assert isinstance(failed.value.exceptions[0], OSError)
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", free))


async def test_files_are_written_to_the_end_before_an_interruption_is_felt() -> None:
    """Otherwise a thread would write into a directory that the demo has removed."""
    begun, finished = asyncio.Event(), []
    loop = asyncio.get_running_loop()
    allowed: asyncio.Future[None] = loop.create_future()

    def work() -> None:
        loop.call_soon_threadsafe(begun.set)
        asyncio.run_coroutine_threadsafe(_wait(allowed), loop).result()
        finished.append(True)

    task = asyncio.create_task(_in_thread(work))
    await begun.wait()
    task.cancel()
    task.cancel()
    loop.call_soon(allowed.set_result, None)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert finished == [True]


async def _wait(future: "asyncio.Future[None]") -> None:
    await future


@pytest.mark.parametrize("apart", [False, True], ids=["together", "apart"])
def test_what_is_written_is_a_configuration_without_problems(base: Path, apart: bool) -> None:
    scenery = Scenery.create(base, at=SystemClock().now())
    plans = plan_nodes(base, apart=apart)
    ports = _station_ports(plans)
    network = {"zone": "z", "nameserver": "127.0.0.1:5", "status": "https://127.0.0.1:6/fhir",
               "token": "https://127.0.0.1:7/token", "addressing": "https://127.0.0.1:9/fhir",
               "crl_urls": "http://127.0.0.1:8/a http://127.0.0.1:8/b"}  # fmt: skip
    for plan in plans:
        plan.directory.mkdir(parents=True)
        link = {"url": "https://127.0.0.1:9", "certificate": "x.pem"}
        scenery.write_config(
            plan,
            network=network,
            listen={"as4": "127.0.0.1:0", "api": "127.0.0.1:0", **ports[plan.name]},
            links={"up": link, "down": link} if apart else {},
            give_up_after="24 h",
        )
        configuration = load(plan.config, {})
        assert configuration.label == plan.name
        assert tuple(configuration.stations.runs) == plan.stations
        assert configuration.profile == "dev"
        assert (configuration.listen.stations is None) == (not apart)
