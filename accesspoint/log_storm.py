"""A brake on storms: of one event at most so many lines a second, then one line that says how many more there were.

A stranger can make us refuse ten thousand requests in a second. Refusals have their rows in the store, within an
allowance; the log gets the first lines of each second and a count of the others, so that lines and counts together
are all of them, the disk does not fill, and other events are not drowned: each has a second of its own.

Spec: hostile LOG-02.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from accesspoint.clock import Clock

MOST_LINES: Final = 200
"""How many lines of one event are written in one second."""
WINDOW_SECONDS: Final = 1.0


@dataclass(slots=True)
class _Window:
    began: float
    lines: int = 0
    held: int = 0


class Brake:
    """Says of each line whether it is written, and tells of those that were not."""

    def __init__(self, clock: Clock, tell: Callable[[str, int], None]) -> None:
        """`tell` writes the line that an event was held back so many times; it must not be braked itself."""
        self._clock = clock
        self._tell = tell
        self._lock = threading.Lock()
        self._windows: dict[str, _Window] = {}
        self._timer: threading.Timer | None = None

    def lets_pass(self, event: str) -> bool:
        """Count one line of an event; whether it is to be written."""
        now = self._clock.monotonic()
        held = 0
        with self._lock:
            window = self._windows.get(event)
            if window is None or now - window.began >= WINDOW_SECONDS:
                held = window.held if window is not None else 0
                self._windows[event] = window = _Window(now)
            window.lines += 1
            passes = window.lines <= MOST_LINES
            if not passes:
                window.held += 1
                self._wait()
        if held:
            self._tell(event, held)
        return passes

    def flush(self) -> None:
        """Tell of everything that was held back until now."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            held = [(event, window.held) for event, window in self._windows.items() if window.held]
            for event, _ in held:
                self._windows[event].held = 0
        for event, count in held:
            self._tell(event, count)

    def _wait(self) -> None:
        """Tell of it when the second is over, should no other line come that does."""
        if self._timer is None:
            self._timer = threading.Timer(WINDOW_SECONDS, self.flush)
            self._timer.daemon = True
            self._timer.start()
