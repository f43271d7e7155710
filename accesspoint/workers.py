"""The workers of a node: each runs until the node ends, and when one of them ends the node ends.

A node without one of its workers is not a node: it would accept what nobody carries on. Only where the database
went away for a while does a worker start over, from what the tables say.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

import structlog

from accesspoint.store.database import StorageInterrupted

INTERRUPTED_SECONDS: Final = 1.0
"""How long a worker waits before it starts over."""
Worker: TypeAlias = Callable[[], Awaitable[None]]
_log = structlog.get_logger("accesspoint")


class Workers:
    """Runs workers side by side, and tells what ended one of them."""

    def __init__(self) -> None:
        self._workers: list[Worker] = []
        self._running: list[asyncio.Task[None]] = []
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def add(self, *workers: Worker) -> None:
        """Have these run as well, once all are started."""
        self._workers += workers

    def start(self, *, first: Sequence[Worker] = (), last: Sequence[Worker] = ()) -> None:
        """Start what was added, between those that come first and those that come last."""
        self._running = [
            asyncio.create_task(self.watch(worker)) for worker in (*first, *self._workers, *last)
        ]

    async def wait(self) -> None:
        """Return never, or raise what ended a worker."""
        await asyncio.shield(self._ended)

    async def stop(self) -> None:
        """End all workers, and return when they have ended."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def watch(self, worker: Worker) -> None:
        """Run one worker, and keep what ended it.

        That may also be a cancellation that nobody asked of it, as one that awaits a task which somebody else
        cancelled would get.
        """
        while True:
            try:
                await worker()
                ended: Exception = RuntimeError("a worker came to its end")
            except asyncio.CancelledError:
                if (me := asyncio.current_task()) is None or me.cancelling():
                    raise
                ended = RuntimeError("a worker was cancelled from within")
            except Exception as error:  # noqa: BLE001 - the seam of the workers: whatever else ends one ends the node
                if _is_interruption(error):
                    _log.warning("worker_interrupted", seconds=INTERRUPTED_SECONDS)
                    await asyncio.sleep(INTERRUPTED_SECONDS)
                    continue
                ended = error
            _log.error("worker_ended", error=type(ended).__name__)
            if not self._ended.done():
                self._ended.set_exception(ended)
                # It is told by now; that nobody waits for it, as while the node stops, is nothing to tell again.
                self._ended.exception()
            return


def _is_interruption(error: Exception) -> bool:
    """Whether the database went away for a while, and nothing else happened."""
    if isinstance(error, ExceptionGroup):
        return error.split(StorageInterrupted)[1] is None
    return isinstance(error, StorageInterrupted)
