"""What was exchanged while a case ran: every octet in both directions, in order, for the report.

The kit sends synthetic content only. What a partner answers, and what it sends as a message of the run, is shown as it
came, and nobody can say what it put there: so reports are files of their own that only their owner reads, and nothing
of them is ever logged. Of a recorded message, which may be real, only types, sizes and digests are noted.
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
