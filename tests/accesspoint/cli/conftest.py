"""The command line in processes of its own, and one miniature network with two access points that it started."""

import gc
import io
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import structlog
from held_ports import free_ports

from accesspoint.cli.main import run_tree
from accesspoint.clock import SystemClock
from accesspoint.demo.play import sample_message

ROOT = Path(__file__).parents[3]
SECONDS = 60


@dataclass
class Ended:
    """What a command left behind."""

    status: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


@dataclass
class Command:
    """Runs `accesspoint` as a person would, with its data below `home`."""

    home: Path
    environment: dict[str, str] = field(default_factory=dict)

    def start(self, *arguments: str | Path, log: Path | None = None) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100", **self.environment}
        with ExitStack() as stack:
            err = subprocess.PIPE if log is None else stack.enter_context(log.open("w"))
            return subprocess.Popen(
                [sys.executable, "-m", "accesspoint", *map(str, arguments)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=err, text=True, cwd=self.home,
                env={**environment, "ACCESSPOINT_HOME": str(self.home / "data")},
            )  # fmt: skip

    def run(self, *arguments: str | Path, stdin: str = "") -> Ended:
        """Run to the end; a stack trace is a failure whatever the test wants."""
        return finish(self.start(*arguments), stdin=stdin)


def finish(process: subprocess.Popen[str], *, stdin: str = "") -> Ended:
    try:
        out, err = process.communicate(stdin, timeout=SECONDS)
    finally:
        process.kill()
    assert "Traceback" not in out + (err or "")
    return Ended(process.returncode, out, err or "")


def interrupt(process: subprocess.Popen[str], number: int = signal.SIGINT) -> Ended:
    process.send_signal(number)
    return finish(process)


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return Command(tmp_path)


@pytest.fixture
def invoke(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Callable[..., Ended]]:
    """Run a command that ends by itself in this process, as the console script does; much faster than another one."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    umask = os.umask(0o022)
    for hook in ("excepthook", "unraisablehook"):
        monkeypatch.setattr(sys, hook, getattr(sys, hook))
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setenv("ACCESSPOINT_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path, stdin: bytes = b"") -> Ended:
        monkeypatch.setattr(sys, "argv", ["accesspoint", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        status = run_tree()
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return Ended(status, out, err)

    # What earlier tests left to be collected does not speak through the log of this command.
    gc.freeze()
    yield run
    gc.unfreeze()
    os.umask(umask)
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


@dataclass
class Network:
    """A network made by `accesspoint network serve`, and the two access points run from what it wrote."""

    directory: Path
    command: Command
    ports: dict[str, int]
    said: list[str]
    ready: list[str]
    serving: subprocess.Popen[str]

    def config(self, key: str) -> Path:
        return self.directory / key / "accesspoint.toml"

    def message(self, name: str) -> Path:
        path = self.command.home / name
        path.write_bytes(sample_message(SystemClock()))
        return path


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """Start the network from a topology, then both access points, each a process of the command line."""
    home = tmp_path_factory.mktemp("network")
    command = Command(home)
    names = ["locator", "publisher", "status", "authorization", "revocation", "pages"]
    names += ["municipality.as4", "municipality.api", "clinic.as4", "clinic.api"]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    topology = home / "network.toml"
    topology.write_text(
        "[network]\n" + "".join(f"{name} = {ports[name]}\n" for name in names[:6])
        + "".join(
            f"[{key}]\nas4 = {ports[f'{key}.as4']}\napi = {ports[f'{key}.api']}\n"
            for key in ("municipality", "clinic")
        )
    )  # fmt: skip
    directory = home / "made"
    started: list[subprocess.Popen[str]] = []
    try:
        serving = command.start(
            "network", "serve", "--directory", directory, "--topology", topology, log=home / "log"
        )
        started.append(serving)
        said = _read_until(serving, "accesspoint run --config", 2)
        ready = []
        for key in ("municipality", "clinic"):
            node = command.start(
                "run", "--config", directory / key / "accesspoint.toml", log=home / f"{key}.log"
            )
            started.append(node)
            ready += _read_until(node, "ready", 1)
        yield Network(directory, command, ports, said, ready, serving)
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            finish(process)


def _read_until(process: subprocess.Popen[str], wanted: str, count: int) -> list[str]:
    lines: list[str] = []
    assert process.stdout is not None
    while sum(wanted in line for line in lines) < count:
        line = process.stdout.readline()
        assert line, f"ended early: {lines}"
        lines.append(line)
    return lines


@pytest.fixture(scope="session")
def read_until() -> Callable[[subprocess.Popen[str], str, int], list[str]]:
    return _read_until
