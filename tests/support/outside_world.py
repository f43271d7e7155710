"""What a message must not reach: a door and a file that references lead to, and files that are not the node's."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class OutsideWorld:
    """Where a reference could lead."""

    port: int
    file: Path
    touched: list[str] = field(default_factory=list)

    def fill(self, reference: str) -> str:
        """A reference with `{port}` and `{file}` replaced."""
        return reference.format(port=self.port, file=self.file)


_watchers: list[Callable[[str, int], None]] = []
_hooks: list[Any] = []


def _tell_watchers(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook stays for the life of the process; it tells something only while somebody watches."""
    if event == "open" and _watchers and not isinstance(arguments[0], int):
        for watcher in _watchers:
            watcher(os.fsdecode(arguments[0]), arguments[2])


@contextmanager
def _watching(watcher: Callable[[str, int], None]) -> Iterator[None]:
    if not _hooks:
        sys.addaudithook(_tell_watchers)
        _hooks.append(_tell_watchers)
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)


@contextmanager
def files_written() -> Iterator[list[str]]:
    """The paths of all files that this process opens for writing meanwhile; what C code opens is not seen."""
    found: list[str] = []

    def watcher(path: str, flags: int) -> None:
        if flags & (os.O_WRONLY | os.O_RDWR):
            found.append(path)

    with _watching(watcher):
        yield found


@asynccontextmanager
async def outside_world(directory: Path) -> AsyncIterator[OutsideWorld]:
    """A listening port and a file; `touched` names every connection to the one and every opening of the other."""

    async def connected(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        world.touched.append("connected")
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    world = OutsideWorld(server.sockets[0].getsockname()[1], directory / "evidence")
    world.file.write_bytes(b"nobody reads this")

    def opened(path: str, _flags: int) -> None:
        if path == str(world.file):
            world.touched.append("opened")

    with _watching(opened):
        try:
            yield world
        finally:
            server.close()
