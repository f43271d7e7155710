"""Access points as children: told when they are ready, why they are not, and never left behind."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from as4_stage import Pki, Stage

from accesspoint.demo import processes
from accesspoint.demo.processes import NodeProcess, NotStarted
from accesspoint.demo.scenery import MUNICIPALITY


@pytest.fixture
def config(pki: Pki, tmp_path: Path) -> Path:
    return Stage(pki, tmp_path).write_node(MUNICIPALITY, pki.municipality, partners={})


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_child_says_where_it_listens_and_is_gone_when_stopped(config: Path) -> None:
    child = NodeProcess("municipality", config)
    assert child.pid is None
    await child.start()
    pid = child.pid
    assert pid is not None
    for address in (child.addresses.as4, child.addresses.api):
        host, _, port = address.partition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.close()
    assert child.addresses.stations == ""
    await child.stop()
    assert child.pid is None
    assert not is_running(pid)
    assert await child.wait() == 0
    await child.stop()


async def test_a_child_that_does_not_start_names_its_log_and_what_it_says(config: Path) -> None:
    config.write_text(config.read_text().replace("profile", "profil"))
    child = NodeProcess("municipality", config)
    child.log.write_text("what an earlier start said\n")
    with pytest.raises(NotStarted) as failed:
        await child.start()
    assert failed.value.log == config.with_name("log.jsonl")
    assert str(failed.value).startswith(f"municipality did not start; its log {child.log} says\n  ")
    assert 'Did you mean "profile"?' in str(failed.value)
    assert "earlier" not in str(failed.value)
    assert child.pid is None


async def test_a_child_that_stays_silent_is_ended(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No start takes less than this long: as seen from outside the child is silent."""
    monkeypatch.setattr(processes, "READY_SECONDS", 0.01)
    child = NodeProcess("municipality", config)
    with pytest.raises(NotStarted):
        await child.start()
    assert child.pid is None


async def test_a_child_that_ignores_being_asked_is_killed(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "STOP_SECONDS", 0.05)
    child = NodeProcess("municipality", config)
    await child.start()
    pid = child.pid
    assert pid is not None
    # A stopped process takes no other signal than the one nobody can refuse.
    os.kill(pid, signal.SIGSTOP)
    await child.stop()
    assert await child.wait() == -signal.SIGKILL
    assert not is_running(pid)


async def test_a_child_does_not_outlive_its_parent(config: Path) -> None:
    """Even a parent that is killed leaves nothing: the kernel ends the child."""
    program = (
        "import asyncio, os, signal, sys\n"
        "from pathlib import Path\n"
        "from accesspoint.demo.processes import NodeProcess\n"
        "async def main():\n"
        "    child = NodeProcess('n', Path(sys.argv[1]))\n"
        "    await child.start()\n"
        "    print(child.pid, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(config), stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )  # fmt: skip
    out, _ = await parent.communicate()
    pid = int(out)
    async with asyncio.timeout(10):
        while is_running(pid) and "Z" not in state_of(pid):
            await asyncio.sleep(0.01)


def state_of(pid: int) -> str:
    """The state letter of a process; a zombie of the system's first process counts as gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return "Z"
