"""A door and a file that nobody should touch, and a record of who did: for references that must not be followed."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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


_watched: list[OutsideWorld] = []
_hooks: list[Any] = []


def _note_opening(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook stays for the life of the process; it notes something only while somebody watches."""
    if event == "open" and _watched:
        for world in _watched:
            if str(arguments[0]) == str(world.file):
                world.touched.append(f"opened {world.file}")


@asynccontextmanager
async def outside_world(directory: Path) -> AsyncIterator[OutsideWorld]:
    """A listening port and a file; `touched` names every connection to the one and every opening of the other."""
    if not _hooks:
        sys.addaudithook(_note_opening)
        _hooks.append(_note_opening)

    async def connected(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        world.touched.append("connected")
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    world = OutsideWorld(server.sockets[0].getsockname()[1], directory / "evidence")
    world.file.write_bytes(b"nobody reads this")
    _watched.append(world)
    try:
        yield world
    finally:
        _watched.remove(world)
        server.close()
