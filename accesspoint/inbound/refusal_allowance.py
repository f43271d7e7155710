"""How many refusals get a row of their own, so that whoever is only refused cannot fill the disk.

A refusal is a commit and some hundred octets for thirty days, and costs a stranger one small request. So each sender
that is known by its certificate, and all strangers together, have an allowance: many at once, for an honest partner
with a wrong configuration, and then as many as time gives. What is beyond is counted, and the next row says how many.

Spec: hostile LOG-02.
"""

from dataclasses import dataclass
from typing import Final

from accesspoint.clock import Clock

AT_ONCE: Final = 10_000
PER_SECOND: Final = 1.0
"""What a flood that never ends leaves in thirty days is about one gigabyte."""


@dataclass(slots=True)
class _Left:
    rows: float
    at: float
    counted: int = 0


class RefusalAllowance:
    """Says of each refusal whether it gets a row; kept in memory, since a restart is no way to fill a disk."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._of: dict[str | None, _Left] = {}

    def take(self, certificate: str | None) -> int | None:
        """How many before this one were only counted, when it gets a row; None when it is only counted, too.

        `certificate` is the fingerprint of an authenticated sender, of whom there is a number; None is any stranger.
        """
        now = self._clock.monotonic()
        left = self._of.setdefault(certificate, _Left(AT_ONCE, now))
        left.rows = min(AT_ONCE, left.rows + (now - left.at) * PER_SECOND)
        left.at = now
        if left.rows < 1:
            left.counted += 1
            return None
        left.rows -= 1
        counted, left.counted = left.counted, 0
        return counted
