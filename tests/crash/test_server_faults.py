"""Faults of what lies below: a PostgreSQL server that stops without a word, connections it ends, and a full disk."""

import asyncio
import contextlib
import subprocess
import time

import acts
import pytest
from scene import RECEIVER

from accesspoint.api.client import ApiProblem

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]
SMALL = "6m"


def restart_immediately(server) -> None:
    """Stop the server as a power cut does, without a word to anybody, and start it as it was."""
    command = [
        str(server.bin_path / "pg_ctl"),
        "-D",
        str(server.pgdata),
        "restart",
        "-m",
        "immediate",
    ]
    for _ in range(10):
        done = subprocess.run(
            [*command, "-w", "-l", str(server.log)],
            stdout=subprocess.DEVNULL, check=False, user=server.system_user, cwd=server.pgdata,
        )  # fmt: skip
        if done.returncode == 0:
            return
        # A backend of the stopped server may still hold its memory: then the new one waits for its end.
        time.sleep(0.2)
    raise AssertionError("the server does not start again")


async def three_messages(walker, fault) -> None:
    """Send three messages while something below the nodes fails again and again."""
    scene = walker.scene
    await acts.both(scene)
    failing = asyncio.create_task(fault())
    async with scene.supervised():
        for _ in range(3):
            walker.sent.update(await acts.sent(scene))
        await failing
        await scene.settled()
        await scene.check(walker.sent)


async def test_a_server_that_ends_its_connections(postgresql, server):
    async def end_connections() -> None:
        for _ in range(6):
            await asyncio.sleep(0.15)
            server.psql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND datname LIKE 'crash%'"
            )

    await three_messages(postgresql, end_connections)


async def test_a_server_that_stops_immediately(postgresql, server):
    async def restart() -> None:
        for _ in range(2):
            await asyncio.sleep(0.3)
            await asyncio.to_thread(restart_immediately, server)

    await three_messages(postgresql, restart)


async def test_a_full_disk_loses_nothing_that_was_answered_for(sqlite):
    scene = sqlite.scene
    await sqlite.start_anew()
    store = scene.plans[RECEIVER].store
    store.mkdir(mode=0o700, exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SMALL},mode=700", "tmpfs", str(store)],
        capture_output=True, check=False,
    )  # fmt: skip
    if mounted.returncode != 0:
        pytest.skip("a file system of its own can be mounted by root only")
    scene.environment = {"ACCESSPOINT__STORE__RESERVE": "1 MiB"}
    try:
        await acts.both(scene)
        ballast = store / "ballast"
        async with scene.supervised():
            walker_sent = await acts.sent(scene)
            await scene.settled()
            with contextlib.suppress(OSError), ballast.open("wb") as file:
                while True:
                    file.write(bytes(4096))
                    file.flush()
            with contextlib.suppress(ApiProblem):
                walker_sent |= await acts.sent(scene)
            await asyncio.sleep(1.0)
            assert len(scene.delivered(RECEIVER)) == 1
            ballast.unlink()
            await scene.settled()
            sqlite.sent.update(walker_sent)
            await scene.check(sqlite.sent)
    finally:
        await scene.stop(RECEIVER)
        scene.environment = {}
        subprocess.run(["umount", "-l", str(store)], check=False)
        sqlite.sent.clear()
        await sqlite.start_anew()
