"""One address in front of several: each connection goes to one that takes it, in turn, and is never moved to another."""

import asyncio
import itertools
from collections.abc import Mapping

HOST = "127.0.0.1"
CONNECT_SECONDS = 1.0


class Balancer:
    """A TCP balancer as simple as there is: it knows who listens only by trying. `targets` may change at any time."""

    def __init__(self) -> None:
        self.targets: dict[str, tuple[str, int]] = {}
        self.taken: dict[str, int] = {}
        self._turn = itertools.count()
        self._server: asyncio.Server | None = None
        self._running: set[asyncio.Task[None]] = set()
        self.address = ""

    async def open(self) -> None:
        """Listen on an address that the system gives."""
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        self.address = f"{HOST}:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        """Break every connection and be gone."""
        if self._server is not None:
            self._server.close()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            found = await self._connect(dict(self.targets))
            if found is not None:
                inner_reader, inner = found
                try:
                    # When one side ends, or breaks, so does the other.
                    await asyncio.wait(
                        [
                            asyncio.create_task(_pass_on(reader, inner)),
                            asyncio.create_task(_pass_on(inner_reader, writer)),
                        ],
                        return_when=asyncio.FIRST_COMPLETED,
                    )
                finally:
                    inner.transport.abort()
        except asyncio.CancelledError:
            pass
        finally:
            self._running.discard(task)
            writer.transport.abort()

    async def _connect(
        self, targets: Mapping[str, tuple[str, int]]
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        names = sorted(targets)
        start = next(self._turn)
        for offset in range(len(names)):
            name = names[(start + offset) % len(names)]
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    streams = await asyncio.open_connection(*targets[name])
            except (OSError, TimeoutError):
                continue
            self.taken[name] = self.taken.get(name, 0) + 1
            return streams
        return None


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
