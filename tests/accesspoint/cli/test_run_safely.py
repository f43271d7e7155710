"""What a node that holds keys and payloads sees to before it starts: nobody else reads its files, its memory or its keys."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from as4_stage import Pki, Stage

from accesspoint.demo.scenery import MUNICIPALITY

from .conftest import Command, Ended, finish

Invoke = Callable[..., Ended]
ReadUntil = Callable[[subprocess.Popen[str], str, int], list[str]]
KEY = "5f" * 32
PEM = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg5f5f\n-----END PRIVATE KEY-----\n"


@pytest.fixture
def config(pki: Pki, tmp_path: Path) -> Path:
    return Stage(pki, tmp_path).write_node(MUNICIPALITY, pki.municipality, partners={})


@pytest.mark.attack("SEC-04", "SEC-07")
def test_a_node_shuts_others_out_of_its_files_and_its_memory(
    command: Command, config: Path, read_until: ReadUntil, tmp_path: Path
) -> None:
    os.umask(before := os.umask(0o000))
    os.umask(0o000)
    try:
        node = command.start("run", "--config", config)
    finally:
        os.umask(before)
    read_until(node, "ready", 1)
    process = Path(f"/proc/{node.pid}")
    told = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    assert told["Umask"].strip() == "0077"
    [limit] = [
        line for line in (process / "limits").read_text().splitlines() if "core file" in line
    ]
    assert limit.split()[4:6] == ["0", "0"]
    store = config.parent / "store"
    made = [store, *store.rglob("*")]
    assert len(made) > 5
    for path in made:
        assert path.lstat().st_mode & 0o077 == 0, f"{path} is open to others"
    # As the kernel ends a process that broke: with a core file, where one is allowed.
    node.send_signal(signal.SIGABRT)
    finish(node)
    assert list(tmp_path.glob("core*")) == []


@pytest.mark.attack("SEC-04")
@pytest.mark.parametrize("mode", [0o755, 0o640])
@pytest.mark.parametrize("name", ["payloads", "payloads/tmp", "accesspoint.db"])
def test_a_store_that_others_may_read_keeps_the_node_from_starting(
    invoke: Invoke, config: Path, name: str, mode: int
) -> None:
    path = config.parent / "store" / name
    path.parent.mkdir(parents=True, mode=0o700)
    if name.endswith(".db"):
        path.touch()
    else:
        path.mkdir()
    for parent in path.relative_to(config.parent).parents:
        (config.parent / parent).chmod(0o700)
    path.chmod(mode)
    ended = invoke("run", "--config", config)
    assert ended.status == 3
    assert f"is open to others (mode {mode:04o})" in ended.err


@pytest.mark.attack("SEC-01")
@pytest.mark.parametrize(
    ("which", "mode"),
    # The key of payloads may be read by its group, which is how systemd hands a credential to a service.
    [
        ("own", 0o640),
        ("own", 0o604),
        ("own", 0o660),
        ("payload.key", 0o604),
        ("payload.key", 0o660),
    ],
)
def test_a_key_that_others_may_read_keeps_the_node_from_starting(
    invoke: Invoke, config: Path, which: str, mode: int
) -> None:
    keys = config.parent / "keys"
    if which == "own":
        path = next(path for path in sorted(keys.iterdir()) if b"PRIVATE KEY" in path.read_bytes())
    else:
        path = keys / which
        path.write_text(KEY)
    path.chmod(mode)
    ended = invoke("run", "--config", config)
    assert ended.status in (3, 7)
    assert f"{path.name}" in ended.err
    assert "is open to others" in ended.err
    assert KEY not in ended.text


@pytest.mark.attack("SEC-02")
@pytest.mark.parametrize("secret", [KEY, PEM, KEY.upper()])
def test_a_key_in_the_environment_is_refused_and_not_shown(
    invoke: Invoke, config: Path, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCESSPOINT__STORE__ENCRYPTION_KEY", secret)
    monkeypatch.setenv("ACCESSPOINT__KEYS__DIRECTORY", secret)
    ended = invoke("run", "--config", config)
    assert ended.status == 3
    assert ended.err.count("a key itself is read from its file only") == 2
    assert "5f5f" not in ended.text.lower()


@pytest.mark.attack("SEC-02")
@pytest.mark.parametrize("secret", [KEY, PEM])
def test_a_key_in_the_configuration_is_refused_and_not_shown(
    invoke: Invoke, config: Path, secret: str
) -> None:
    text = config.read_text()
    written = "\\n".join(secret.splitlines())
    config.write_text(text.replace("[store]", f'[store]\nencryption_key = "{written}"'))
    ended = invoke("run", "--config", config)
    assert ended.status == 3
    assert "encryption_key = …" in ended.err
    assert "a key itself is read from its file only" in ended.err
    assert "5f5f" not in ended.text


@pytest.mark.attack("SEC-02")
def test_a_key_among_the_arguments_is_refused_and_not_shown(invoke: Invoke, config: Path) -> None:
    ended = invoke("run", "--config", PEM)
    assert ended.status == 2
    assert "do not use it any more" in ended.err
    assert "5f5f" not in ended.text


@pytest.mark.attack("SEC-03")
def test_the_key_of_payloads_comes_from_a_credential_of_systemd(
    command: Command, config: Path, tmp_path: Path, read_until: ReadUntil
) -> None:
    """systemd gives a credential as a file in a directory of its own, readable by the service and root alone."""
    credentials = tmp_path / "credentials"
    credentials.mkdir(mode=0o700)
    (credentials / "payload.key").write_text(KEY)
    (credentials / "payload.key").chmod(0o440)
    command.environment["ACCESSPOINT__STORE__ENCRYPTION_KEY"] = str(credentials / "payload.key")
    node = command.start("run", "--config", config)
    read_until(node, "ready", 1)
    node.send_signal(signal.SIGTERM)
    assert finish(node).status == 0
    assert not (config.parent / "keys" / "payload.key").exists()
