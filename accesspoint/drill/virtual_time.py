"""Virtual time: an event loop that never waits, and the clock that belongs to it.

Where the loop would sleep until its next timer, the time is moved there instead: days pass in seconds, and
every time-out, lease and retry of the nodes falls due exactly when it would. Nothing may wait for anything
outside this process; work for a thread is done at once.
"""

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from datetime import datetime, timedelta
from typing import TypeVar, TypeVarTuple, Unpack

_T = TypeVar("_T")
_Arguments = TypeVarTuple("_Arguments")


class Standstill(RuntimeError):
    """Everybody waits for somebody else, and no timer runs."""


class _NeverWaiting(selectors.SelectSelector):
    """Moves the time of its loop where it would wait."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Pass the time; there are no files to wait for."""
        if timeout is None:
            raise Standstill("nothing is due and nobody can wake anybody")
        self.now += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose `time` is virtual seconds since its start."""

    def __init__(self) -> None:
        self._virtual = _NeverWaiting()
        super().__init__(self._virtual)

    def time(self) -> float:
        """Virtual seconds."""
        return self._virtual.now

    def run_in_executor(
        self,
        executor: Executor | None,
        func: Callable[[Unpack[_Arguments]], _T],
        *args: *_Arguments,
    ) -> "asyncio.Future[_T]":
        """Do it at once: while a thread works, no virtual time may pass."""
        future: asyncio.Future[_T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - handed to whoever awaits it
            future.set_exception(error)
        return future


class VirtualClock:
    """Both clocks of everybody in the drill."""

    def __init__(self, loop: asyncio.AbstractEventLoop, start: datetime) -> None:
        """Begin at the aware time `start`."""
        self._loop = loop
        self._start = start

    def now(self) -> datetime:
        """Return the wall time as an aware datetime in UTC."""
        return self._start + timedelta(seconds=self._loop.time())

    def monotonic(self) -> float:
        """Return virtual seconds since the start."""
        return self._loop.time()
