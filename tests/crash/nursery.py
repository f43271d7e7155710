"""Nodes that start in a tenth of a second: one process imports everything once and forks a child for each.

    python tests/crash/nursery.py        reads requests from standard input until it ends

A child is `accesspoint run` in every other respect: own session, own standard streams, own environment, the
exit status of the command. Before it runs, the failures of its environment are armed and the changes that
its request names are made (see `changes`), which is how a test alters a child without a switch in the
access point. Requests and answers are lines of JSON, told apart by the number of the child.
"""

import asyncio
import contextlib
import ctypes
import json
import os
import selectors
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
READY_SECONDS = 30.0
STOP_SECONDS = 20.0
PR_SET_PDEATHSIG = 1

# -- the side of the tests -------------------------------------------------------------------


class Ended(Exception):
    """The child ended before it was ready; `status` is negative when a signal ended it."""

    def __init__(self, name: str, status: int) -> None:
        super().__init__(f"{name} ended with {status} before it was ready")
        self.status = status


class Child:
    """One node of the nursery."""

    def __init__(self, nursery: "Nursery", number: int, name: str) -> None:
        self._nursery = nursery
        self._number = number
        self.name = name
        self.pid: int | None = None
        loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[dict[str, str]] = loop.create_future()
        self._ended: asyncio.Future[int] = loop.create_future()
        self.addresses: dict[str, str] = {}

    @property
    def status(self) -> int | None:
        """The exit status, or None while it lives."""
        return self._ended.result() if self._ended.done() else None

    @property
    def lives(self) -> bool:
        """Whether it serves now."""
        return bool(self.addresses) and not self._ended.done()

    def tell(self, answer: Mapping[str, Any]) -> None:
        """Take an answer of the nursery."""
        if "pid" in answer:
            self.pid = answer["pid"]
        elif "said" in answer:
            if not self._ready.done():
                self._ready.set_result(json.loads(answer["said"])["ready"])
        else:
            self._ended.set_result(answer["status"])

    async def ready(self) -> None:
        """Wait until it serves; raises `Ended`."""
        both = {self._ready, self._ended}
        await asyncio.wait(both, timeout=READY_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if not self._ready.done():
            raise Ended(self.name, await self.kill())
        self.addresses = self._ready.result()

    async def wait(self) -> int:
        """The exit status, once it has ended."""
        return await asyncio.shield(self._ended)

    def signal(self, number: int) -> None:
        """Send a signal, if it still lives."""
        if self.pid is not None and not self._ended.done():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def kill(self) -> int:
        """End it as a power cut does."""
        self.signal(signal.SIGKILL)
        return await self.wait()

    async def stop(self) -> int:
        """Ask it to end, and end it when it does not."""
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                return await self.wait()
        except TimeoutError:
            return await self.kill()


class Nursery:
    """The forking process; made by `open`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._children: dict[int, Child] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator["Nursery"]:
        """Start it, and end it with all its children."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ACCESSPOINT_")}
        if "ACCESSPOINT_CI_RUN" in os.environ:
            environment["ACCESSPOINT_CI_RUN"] = os.environ["ACCESSPOINT_CI_RUN"]
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(HERE / "nursery.py"),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 20,
            env={**environment, "PYTHONPATH": str(ROOT), "AP_FAILPOINTS": ""},
        )  # fmt: skip
        nursery = cls(process)
        listening = asyncio.create_task(nursery._listen())
        try:
            yield nursery
        finally:
            assert process.stdin is not None
            process.stdin.close()
            await process.wait()
            listening.cancel()

    def start(
        self,
        config: Path,
        *,
        failpoints: str = "",
        changes: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> Child:
        """Begin to start a node; `changes` are names in `changes`, with an argument after a colon."""
        number = len(self._children) + 1
        child = self._children[number] = Child(self, number, config.parent.name)
        request = {
            "child": number,
            "config": str(config),
            "log": str(config.with_name("log.jsonl")),
            "changes": list(changes),
            "environment": {**(environment or {}), "AP_FAILPOINTS": failpoints},
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        return child

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            answer = json.loads(line)
            self._children[answer["child"]].tell(answer)


# -- the forking side ------------------------------------------------------------------------


def serve() -> None:
    """Fork a child for each line of standard input; at its end, end them all."""
    import accesspoint.app
    import accesspoint.cli.main
    import accesspoint.cli.run
    import accesspoint.store.sqlite

    with contextlib.suppress(ImportError):
        import accesspoint.store.postgresql  # noqa: F401

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    reading, waking = os.pipe()
    os.set_blocking(waking, False)
    signal.set_wakeup_fd(waking, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    selector = selectors.DefaultSelector()
    selector.register(reading, selectors.EVENT_READ, "ended")
    selector.register(0, selectors.EVENT_READ, "asked")
    numbers: dict[int, int] = {}
    text = b""
    while True:
        for key, _ in selector.select():
            if key.data == "ended":
                os.read(reading, 4096)
                _reap(numbers)
            elif key.data == "asked":
                data = os.read(0, 1 << 16)
                if not data:
                    for pid in numbers:
                        os.kill(pid, signal.SIGKILL)
                    return
                *lines, text = (text + data).split(b"\n")
                for line in lines:
                    request = json.loads(line)
                    pid, output = _fork(request)
                    numbers[pid] = request["child"]
                    _say(child=request["child"], pid=pid)
                    selector.register(output, selectors.EVENT_READ, request["child"])
            else:
                said = os.read(key.fd, 1 << 16)
                selector.unregister(key.fd)
                os.close(key.fd)
                if said:
                    _say(child=key.data, said=said.decode())


def _reap(numbers: dict[int, int]) -> None:
    while numbers:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        _say(child=numbers.pop(pid), status=os.waitstatus_to_exitcode(status))


def _say(**answer: Any) -> None:
    os.write(1, json.dumps(answer).encode() + b"\n")


def _fork(request: Mapping[str, Any]) -> tuple[int, int]:
    """Fork; return the child's process id and the reading end of its standard output."""
    output, its_output = os.pipe()
    pid = os.fork()
    if pid:
        os.close(its_output)
        return pid, output
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        log = os.open(request["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for ours, its in ((nothing, 0), (its_output, 1), (log, 2)):
            os.dup2(ours, its)
        os.closerange(3, 256)
        status = _run(request)
    finally:
        os._exit(status)


def _run(request: Mapping[str, Any]) -> int:
    """Be the node."""
    from accesspoint import failpoints
    from accesspoint.cli.main import run_tree

    os.environ.update(request["environment"])
    failpoints.arm(os.environ[failpoints.VARIABLE])
    sys.argv = ["accesspoint", "run", "--config", request["config"]]
    if request["changes"]:
        import changes

        changes.make(request["changes"])
    status = run_tree()
    sys.stdout.flush()
    return status


if __name__ == "__main__":
    serve()
