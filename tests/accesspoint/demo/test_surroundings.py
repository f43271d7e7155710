"""The surroundings of the demo: made once, taken up again, and whole even when the making is interrupted."""

import asyncio
import socket
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from as4_stage import Pki

from accesspoint.clock import SystemClock
from accesspoint.config import load
from accesspoint.demo.scenery import MUNICIPALITY, Scenery, plan_nodes
from accesspoint.demo.stage import _station_ports
from accesspoint.demo.surroundings import Surroundings, _in_thread
from accesspoint.ids import SystemIds
from accesspoint.network.miniature import ANY_PORTS, Ports
from keys.store import KeyStore, write_authority


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
