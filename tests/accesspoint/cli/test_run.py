"""`accesspoint run`: what keeps a node from starting is told with its place and its own exit status."""

import asyncio
import json
import resource
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from as4_stage import Pki, Stage

from accesspoint.api.client import ApiProblem, NodeAddress, NodeClient, NodeUnreachable
from accesspoint.clock import SystemClock
from accesspoint.demo.play import sample_message
from accesspoint.demo.scenery import CLINIC, MUNICIPALITY

from .conftest import Command, Ended, interrupt

Invoke = Callable[..., Ended]
ReadUntil = Callable[[subprocess.Popen[str], str, int], list[str]]


@pytest.fixture
def config(pki: Pki, tmp_path: Path) -> Path:
    return Stage(pki, tmp_path).write_node(MUNICIPALITY, pki.municipality, partners={})


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_line_of_json_says_where_it_listens_and_a_signal_stops_it(
    command: Command, config: Path, read_until: ReadUntil, number: int
) -> None:
    node = command.start("run", "--config", config)
    [line] = read_until(node, "ready", 1)
    said = json.loads(line)
    assert said["label"] == "municipality"
    for address in said["ready"].values():
        host, port = address.split(":")
        socket.create_connection((host, int(port))).close()
    ended = interrupt(node, number)
    assert (ended.status, ended.out) == (0, "")
    assert not (config.parent / "store" / "addresses.json").exists()


def test_every_problem_of_the_file_is_told_with_its_line(invoke: Invoke, config: Path) -> None:
    text = config.read_text()
    config.write_text(
        text.replace("profile =", "profil =").replace("5790000000012", "5790000000013")
    )
    ended = invoke("run", "--config", config)
    assert (ended.status, ended.out) == (3, "")
    lines = ended.err.splitlines()
    assert lines[0] == f'{config}  needs the key "profile"'
    assert lines[1].startswith(f"{config}:1  profil =")
    assert lines[2].endswith('^^^^^^  unknown key. Did you mean "profile"?')
    assert lines[4].endswith("^^^^^^^^^^^^^^^  the GLN's check digit is wrong")
    again = f"check again: accesspoint config check --config {config}"
    assert lines[-1] == f"3 problems. Nothing was started.   {again}"


def test_a_file_that_is_not_there(invoke: Invoke) -> None:
    ended = invoke("run", "--config", "nowhere.toml")
    assert ended.status == 3
    assert ended.err.startswith("nowhere.toml  cannot be read: No such file or directory\n")


def test_a_taken_port_is_named(invoke: Invoke, config: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        config.write_text(
            config.read_text().replace('as4 = "127.0.0.1:0"', f'as4 = "127.0.0.1:{port}"')
        )
        ended = invoke("run", "--config", config)
    assert (ended.status, ended.out) == (3, "")
    assert ended.err.startswith("port-taken")
    assert f"127.0.0.1:{port} could not be opened for listening" in ended.err


@pytest.mark.parametrize(
    ("name", "mode", "told"),
    [
        ("message.key.pem", 0o644, "is open to others (0644); make it 0600: chmod 600"),
        ("tls.key.pem", 0o640, "is open to others (0640); make it 0600: chmod 600"),
        ("message.next.at", 0o644, "is open to others (0644); make it 0600: chmod 600"),
        (".", 0o755, "is open to others (0755); make it 0700: chmod 700"),
    ],
)
def test_keys_that_others_can_read(
    invoke: Invoke, config: Path, name: str, mode: int, told: str
) -> None:
    """The same words and a line to paste wherever it is noticed: at the start, before it, and by who waits for it."""
    key = config.parent / "keys" / name
    key.touch()
    key.chmod(mode)
    told = f"{key} {told} {key}\n"
    ended = invoke("run", "--config", config)
    assert (ended.status, ended.out) == (7, "")
    assert told in ended.err
    assert "PRIVATE KEY" not in ended.err
    checked = invoke("config", "check", "--config", config)
    assert (checked.status, checked.out) == (3, "")
    assert checked.err.startswith(f"{config}:")
    assert told in checked.err
    ready = invoke("ready", "--config", config)
    assert ready.status == 8
    assert ready.err.endswith(f"  {told}")


def test_a_key_directory_that_others_can_read_is_told_where_it_was_named(
    invoke: Invoke, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = config.parent / "others"
    others.mkdir(mode=0o755)
    text = config.read_text()
    lines = text.replace("[organisation]", f'[organisation]\nkeys = "{others}"').splitlines()
    config.write_text("\n".join(lines))
    line = 1 + lines.index(f'keys = "{others}"')
    checked = invoke("config", "check", "--config", config)
    assert checked.status == 3
    assert checked.err.startswith(f"{config}:{line}  [organisation] keys =")
    config.write_text(text)
    monkeypatch.setenv("ACCESSPOINT__KEYS__DIRECTORY", str(others))
    checked = invoke("config", "check", "--config", config)
    assert checked.status == 3
    assert checked.err.startswith("environment ACCESSPOINT__KEYS__DIRECTORY  ")


def test_a_key_that_is_missing(invoke: Invoke, config: Path) -> None:
    (config.parent / "keys" / "tls.key.pem").unlink()
    ended = invoke("run", "--config", config)
    assert ended.status == 7
    assert "tls.key.pem cannot be read: No such file or directory" in ended.err


@pytest.mark.parametrize(("token", "mode"), [("", 0o600), ("short", 0o600), ("t" * 43, 0o644)])
def test_a_token_file_that_would_open_the_interface(
    invoke: Invoke, config: Path, token: str, mode: int
) -> None:
    store = config.parent / "store"
    store.mkdir(mode=0o700)
    (store / "api.token").write_text(token)
    (store / "api.token").chmod(mode)
    ended = invoke("run", "--config", config)
    assert (ended.status, ended.out) == (3, "")
    assert ended.err.startswith("storage-refused")
    assert "remove the file and start again" in ended.err


def test_a_store_that_another_process_has(
    command: Command, invoke: Invoke, config: Path, read_until: ReadUntil
) -> None:
    first = command.start("run", "--config", config)
    read_until(first, "ready", 1)
    ended = invoke("run", "--config", config)
    assert ended.status == 3
    assert ended.err.startswith("storage-in-use")
    assert "another process has" in ended.err
    assert "  do: end the process that has it, or use another --directory" in ended.err
    assert interrupt(first).status == 0


def test_a_store_that_fails_ends_the_node_with_70(
    command: Command, pki: Pki, tmp_path: Path, read_until: ReadUntil
) -> None:
    """The log of the database may not grow any more, as on a full disk: a commit fails, and only a start decides."""
    clinic = CLINIC.address
    config = Stage(pki, tmp_path).write_node(
        MUNICIPALITY,
        pki.municipality,
        partners={},
        addresses=[{"name": clinic.name, "gln": clinic.gln, "sor": clinic.sor}],
    )
    node = command.start("run", "--config", config)
    read_until(node, "ready", 1)
    store = config.parent / "store"
    written = (store / "accesspoint.db-wal").stat().st_size
    resource.prlimit(node.pid, resource.RLIMIT_FSIZE, (written, written))

    async def submit() -> None:
        async with NodeClient(NodeAddress.load(store)) as client:
            await client.submit(sample_message(SystemClock()), to=None)

    # A write of the node's own may have been the first to fail: then it is gone before we ask.
    with pytest.raises((ApiProblem, NodeUnreachable)) as refused:
        asyncio.run(submit())
    assert getattr(refused.value, "status", 503) == 503
    out, err = node.communicate(timeout=20)
    assert (node.returncode, out) == (70, "")
    assert "storage-failed" in err
    assert "Traceback" not in err
    assert not (store / "addresses.json").exists()


def test_the_environment_overrides_the_file(
    invoke: Invoke, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCESSPOINT__LISTEN__AS4", "nowhere")
    ended = invoke("run", "--config", config)
    assert ended.status == 3
    assert ended.err.startswith(
        "environment ACCESSPOINT__LISTEN__AS4  write an address as host:port"
    )


def test_config_check_says_what_the_file_makes_and_starts_nothing(
    invoke: Invoke, config: Path
) -> None:
    ended = invoke("config", "check", "--config", config)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out == (
        f"{config}: no problems. municipality runs EUA+MSH+AP for GLN 5790000000012 in profile test.\n"
    )
    assert not (config.parent / "store").exists()
    assert invoke("config", "check").status == 3


def test_a_node_that_was_told_to_fail_starts_in_the_profile_dev_only(
    command: Command, config: Path, read_until: ReadUntil, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AP_FAILPOINTS", "R13=kill")
    ended = command.run("run", "--config", config)
    assert (ended.status, ended.out) == (3, "")
    assert ended.err.startswith("failpoints-armed")
    config.write_text(config.read_text().replace('profile = "test"', 'profile = "dev"'))
    node = command.start("run", "--config", config)
    read_until(node, "ready", 1)
    assert interrupt(node).status == 0
