"""Access points as child processes: started from their configuration, told apart by name, and never left behind.

A child says on its standard output, in one JSON line, where it listens. It is asked to end with SIGTERM
and ended with SIGKILL when it does not; on Linux the kernel ends it, too, should this process die first.
"""

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

READY_SECONDS: Final = 30.0
STOP_SECONDS: Final = 8.0
TAIL_LINES: Final = 12
_PR_SET_PDEATHSIG: Final = 1


class NotStarted(Exception):
    """A child ended or stayed silent before it was ready; `log` is where it wrote why, `said` the end of that."""

    def __init__(self, name: str, log: Path, said: str) -> None:
        lines = "".join(f"\n  {line}" for line in said.splitlines())
        super().__init__(f"{name} did not start; its log {log} says{lines or ' nothing'}")
        self.name = name
        self.log = log
        self.said = said


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a node listens; empty text for what it does not serve."""

    as4: str
    api: str
    stations: str


class NodeProcess:
    """One `accesspoint run` in a process of its own."""

    def __init__(self, name: str, config: Path) -> None:
        self.name = name
        self.config = config
        self.log = config.with_name("log.jsonl")
        self.addresses = Addresses("", "", "")
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return (
            self._process.pid
            if self._process is not None and self._process.returncode is None
            else None
        )

    async def start(self, environment: Mapping[str, str] | None = None) -> None:
        """Start the process and wait until it is ready; raises `NotStarted`."""
        with self.log.open("ab") as log:
            begin = log.tell()
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "accesspoint", "run", "--config", str(self.config),
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=log,
                env={**os.environ, **(environment or {})}, start_new_session=True, preexec_fn=_end_with_parent,
            )  # fmt: skip
        assert self._process.stdout is not None  # noqa: S101 - PIPE was asked for
        try:
            async with asyncio.timeout(READY_SECONDS):
                line = await self._process.stdout.readline()
            said = json.loads(line)["ready"]
        except (TimeoutError, ValueError, KeyError) as error:
            await self.stop()
            raise NotStarted(self.name, self.log, self.tail(begin)) from error
        self.addresses = Addresses(
            said.get("as4", ""), said.get("api", ""), said.get("stations", "")
        )

    def tail(self, begin: int = 0) -> str:
        """The last lines that the log has from there on, such as since this start: they outlive its directory."""
        with self.log.open("rb") as log:
            log.seek(begin)
            lines = log.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-TAIL_LINES:])

    async def stop(self) -> None:
        """End the process and wait until it is gone."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def wait(self) -> int:
        """Return the exit status once the process has ended by itself."""
        assert self._process is not None  # noqa: S101 - called after start
        return await self._process.wait()


def _end_with_parent() -> None:
    """Ask the kernel to end this child when its parent dies: a killed demo leaves nothing behind."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
