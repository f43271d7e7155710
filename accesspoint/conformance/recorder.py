"""What was exchanged while a case ran: every octet in both directions, in order, for the report.

The kit sends synthetic content only; what a partner answered is shown as it came. That is why reports are
files of their own and nothing of them is ever logged.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum


class Direction(StrEnum):
    """Which way octets went, seen from the access point under test."""

    TO_TARGET = "to the access point under test"
    FROM_TARGET = "from the access point under test"


@dataclass(frozen=True, slots=True)
class Octets:
    """One thing that crossed the wire: `head` is the media type or status line, `seconds` since the case began."""

    label: str
    direction: Direction
    head: str
    body: bytes
    seconds: float


@dataclass(slots=True)
class Recorder:
    """Collects what one case exchanged."""

    monotonic: Callable[[], float] = time.monotonic
    exchanged: list[Octets] = field(default_factory=list)
    _began: float = field(init=False)

    def __post_init__(self) -> None:
        """Start the clock of the case."""
        self._began = self.monotonic()

    def sent(self, label: str, head: str, body: bytes) -> None:
        """Note octets that went to the access point under test."""
        self._note(label, Direction.TO_TARGET, head, body)

    def received(self, label: str, head: str, body: bytes) -> None:
        """Note octets that came from the access point under test."""
        self._note(label, Direction.FROM_TARGET, head, body)

    def _note(self, label: str, direction: Direction, head: str, body: bytes) -> None:
        seconds = self.monotonic() - self._began
        self.exchanged.append(Octets(label, direction, head, bytes(body), seconds))
