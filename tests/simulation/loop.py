"""An asyncio event loop without a clock, a socket or a thread: time jumps to the next timer, chance picks the next step.

Which of several ready steps runs next is drawn from the seed, as on a real machine it depends on what the
network and the disk do first. Each step belongs to the life of a node (a context variable, which tasks
inherit) or to the world around them. A life that has ended takes no further step: its steps are kept, so
that no clean-up of Python runs on behalf of a machine without power, until `bury` lets them unwind.
"""

import asyncio
import heapq
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from random import Random
from typing import Any, Protocol


class Mortal(Protocol):
    """A life as the loop sees it."""

    dead: bool

    def step(self) -> None:
        """One more step of this life begins; it may end here."""


LIFE: ContextVar[Mortal | None] = ContextVar("LIFE", default=None)


class Standstill(RuntimeError):
    """Nothing is ready and no timer runs: everybody waits for somebody else."""


class NumberedTask(asyncio.Task[Any]):
    """A task whose hash is its number, so that sets of tasks have the same order in every run."""

    def __init__(self, number: int, *arguments: Any, **options: Any) -> None:
        self.number = number
        super().__init__(*arguments, **options)

    def __hash__(self) -> int:
        return self.number


class SimulatedLoop(asyncio.BaseEventLoop):
    """One thread of steps in an order that the seed decides; `time` is virtual seconds from 0."""

    def __init__(self, random: Random, *, shuffles: bool) -> None:
        super().__init__()
        self._random = random
        self._shuffles = shuffles
        self._now = 0.0
        self._tasks = 0
        self._kept: list[asyncio.Handle] = []
        self._burying = False
        self.lives: list[tuple[Mortal | None, NumberedTask]] = []
        self.steps = 0
        self.set_task_factory(self._make_task)

    def time(self) -> float:
        """Virtual seconds since the start."""
        return self._now

    def run_in_executor(
        self, executor: Any, func: Callable[..., Any], *arguments: Any
    ) -> asyncio.Future[Any]:
        """Call at once: another thread would bring chance that no seed decides."""
        future = self.create_future()
        try:
            future.set_result(func(*arguments))
        except Exception as error:  # noqa: BLE001 - the caller's affair, as from a thread
            future.set_exception(error)
        return future

    def bury(self, work: Awaitable[Any]) -> None:
        """Let the tasks of all lives unwind; what they do now is seen by nobody."""
        self._burying = True
        self.set_exception_handler(lambda *_: None)
        self._ready.extend(self._kept)
        self._kept.clear()
        for _, task in self.lives:
            task.cancel()
        self.run_until_complete(work)
        self.run_until_complete(
            asyncio.gather(*(task for _, task in self.lives), return_exceptions=True)
        )

    def _make_task(
        self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any
    ) -> NumberedTask:
        self._tasks += 1
        task = NumberedTask(self._tasks, coroutine, loop=loop, **options)
        if not self._burying:
            self.lives.append((LIFE.get(), task))
        return task

    def _run_once(self) -> None:
        """Let time pass if nothing is ready, then run one step."""
        ready, timers = self._ready, self._scheduled
        if not ready and not self._stopping:
            while timers and timers[0]._cancelled:
                heapq.heappop(timers)._scheduled = False
            if not timers:
                raise Standstill("nothing is ready and no timer runs")
            self._now = max(self._now, timers[0]._when)
        while timers and (timers[0]._cancelled or timers[0]._when <= self._now):
            timer = heapq.heappop(timers)
            timer._scheduled = False
            ready.append(timer)
        if not ready:
            return
        if self._shuffles and len(ready) > 1:
            place = self._random.randrange(len(ready))
            ready.rotate(-place)
            handle = ready.popleft()
            ready.rotate(place)
        else:
            handle = ready.popleft()
        if handle._cancelled:
            return
        life = handle._context.get(LIFE)
        if life is not None and not self._burying:
            if not life.dead:
                life.step()
            if life.dead:
                self._kept.append(handle)
                return
        self.steps += 1
        handle._run()

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Nothing to count: cancelled timers are dropped when their time comes."""

    def _write_to_self(self) -> None:
        """Nobody calls from another thread."""

    def _process_events(self, event_list: Any) -> None:
        """There are no sockets."""
