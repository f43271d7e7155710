"""`accesspoint` as a person runs it: processes of their own, with a home and a place for temporary files of their own."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import accesspoint

SOURCE = Path(accesspoint.__file__).parents[1]
HANG_SECONDS = 60.0
"""After this a command counts as hanging. It says nothing about how fast commands are."""


def until_true(condition, what: str, *, seconds: float = 30.0) -> None:
    """Look again and again until `condition()` is true; fail loudly when it never is."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, f"waited in vain: {what}"
        time.sleep(0.02)


@dataclass
class Command:
    """A command that was started; its output is read from files, so nothing is lost when it is killed."""

    process: subprocess.Popen
    directory: Path
    started: float = field(default_factory=time.monotonic)

    @property
    def out(self) -> str:
        return (self.directory / "out").read_text(encoding="utf-8")

    @property
    def err(self) -> str:
        return (self.directory / "err").read_text(encoding="utf-8")

    def until_said(self, text: str, *, seconds: float = HANG_SECONDS) -> None:
        """Wait until the command has written this to its standard output."""

        def said() -> bool:
            assert text in self.out or self.process.poll() is None, self.out + self.err
            return text in self.out

        until_true(said, f"{text!r} in {self.out}{self.err}", seconds=seconds)

    def send_signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> int:
        """Wait for the end; the exit status, negative when a signal ended it."""
        return self.process.wait(HANG_SECONDS)

    def interrupt(self) -> int:
        """Press Ctrl-C and wait for the end."""
        self.send_signal(signal.SIGINT)
        return self.end()


@dataclass
class Home:
    """One user's surroundings; `leave` ends what is left of them."""

    directory: Path
    commands: list[Command] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.data = self.directory / "home"
        self.temporary = self.directory / "tmp"
        for place in (self.data, self.temporary):
            place.mkdir(mode=0o700, parents=True)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the commands; ACCESSPOINT_HOME also tells their processes from all others."""
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith("ACCESSPOINT_")
        }
        mark = {"ACCESSPOINT_HOME": str(self.data), "TMPDIR": str(self.temporary)}
        if "ACCESSPOINT_CI_RUN" in os.environ:
            mark["ACCESSPOINT_CI_RUN"] = os.environ["ACCESSPOINT_CI_RUN"]
        return {**inherited, **mark, "PYTHONPATH": str(SOURCE), "NO_COLOR": "1"}

    def start(self, *arguments: str | Path) -> Command:
        """Start `accesspoint` with these arguments."""
        place = self.directory / f"command-{len(self.commands)}"
        place.mkdir()
        with (place / "out").open("wb") as out, (place / "err").open("wb") as err:
            process = subprocess.Popen(
                [sys.executable, "-m", "accesspoint", *(str(one) for one in arguments)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=self.environment,
                cwd=self.directory,
            )
        command = Command(process, place)
        self.commands.append(command)
        return command

    def run(self, *arguments: str | Path) -> tuple[int, Command]:
        """Run `accesspoint` with these arguments to its end; the exit status and the command."""
        command = self.start(*arguments)
        return command.end(), command

    def processes(self) -> dict[int, str]:
        """The processes that run in this home now, by process id, with their command lines."""
        mark = f"ACCESSPOINT_HOME={self.data}".encode()
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    found[int(entry.name)] = line
            except OSError:
                continue  # it ended meanwhile, or is somebody else's
        return found

    def until_empty(self) -> None:
        """Wait until no process runs in this home."""
        until_true(lambda: not self.processes(), f"{self.processes()} still run", seconds=15)

    def nodes(self) -> list[Path]:
        """The configuration files of the network that other commands find."""
        pointer = json.loads((self.data / "current.json").read_text())
        return [Path(path) for path in pointer["networks"][0]["nodes"]]

    @property
    def is_clean(self) -> bool:
        """Whether no temporary file is left, and no pointer to a network that is gone."""
        return not any(self.temporary.iterdir()) and not (self.data / "current.json").exists()

    def leave(self) -> None:
        """End every command of this home and what it has left."""
        for command in self.commands:
            if command.process.poll() is None:
                command.process.kill()
                command.process.wait()
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
