"""Time as an argument: the wall clock for stamps, the monotonic clock for how long something took.

The wall clock may jump; nothing measures a duration with it. Everything that is kept is UTC. The
database keeps a time as whole microseconds since the epoch.
"""

from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Final, Protocol

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Clock(Protocol):
    """What a part that needs the time is given."""

    def now(self) -> datetime:
        """Return the wall time as an aware datetime in UTC."""

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start that never go backwards."""


class SystemClock:
    """The clocks of this machine."""

    def now(self) -> datetime:
        """Return the wall time as an aware datetime in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start that never go backwards."""
        return monotonic()


class SteeredClock:
    """A clock that several machines have in common: set now and then to another one's time, it runs on by our own seconds.

    Between two settings the monotonic clock carries it, so a wall clock that jumps here moves nothing.
    """

    def __init__(self, base: Clock) -> None:
        """Begin at the time of `base`, whose monotonic clock it runs by."""
        self._base = base
        self._wall = base.now()
        self._since = base.monotonic()

    def now(self) -> datetime:
        """Return the time that it was set to, plus what has passed since."""
        return self._wall + timedelta(seconds=self._base.monotonic() - self._since)

    def monotonic(self) -> float:
        """Return seconds of the base clock."""
        return self._base.monotonic()

    def steer(self, moment: datetime) -> timedelta:
        """Set it to `moment`; returns how far it had gone astray."""
        astray = _aware(moment) - self.now()
        self._wall, self._since = _aware(moment), self._base.monotonic()
        return astray


class ManualClock:
    """A clock that moves only when told to, for demonstrations, simulation and tests."""

    def __init__(self, start: datetime) -> None:
        """Begin at `start`, which must be aware.

        Raises: ValueError for a naive time.
        """
        self._now = _aware(start)
        self._monotonic = 0.0

    def now(self) -> datetime:
        """Return the wall time as an aware datetime in UTC."""
        return self._now

    def monotonic(self) -> float:
        """Return the seconds that have passed by `advance`."""
        return self._monotonic

    def advance(self, duration: timedelta) -> None:
        """Let time pass on both clocks.

        Raises: ValueError for a negative duration; time passes in one direction.
        """
        if duration < timedelta():
            raise ValueError("time does not pass backwards; use set_wall for a clock that was set")
        self._now += duration
        self._monotonic += duration.total_seconds()

    def set_wall(self, moment: datetime) -> None:
        """Set the wall clock as an administrator or a time server would; the monotonic clock stays."""
        self._now = _aware(moment)


def to_microseconds(moment: datetime) -> int:
    """Return a time as the database keeps it: whole microseconds since the epoch.

    Raises: ValueError for a naive time.
    """
    return (_aware(moment) - _EPOCH) // _MICROSECOND


def from_microseconds(value: int) -> datetime:
    """Return the aware UTC time of a database value."""
    return _EPOCH + timedelta(microseconds=value)


def timestamp(moment: datetime) -> str:
    """Return a time as xs:dateTime in UTC with milliseconds, as ebMS headers carry it."""
    return _aware(moment).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _aware(moment: datetime) -> datetime:
    if moment.tzinfo is UTC:
        return moment
    if moment.utcoffset() is None:
        raise ValueError("a time without a zone is not accepted")
    return moment.astimezone(UTC)
