"""What a test changes in a child of the nursery before it runs, by name; production code has no such switch.

`make(["short-waits", "plant:no-dedupe"])` makes two of them.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any


def short_waits(_: str) -> None:
    """Try again after a moment what production tries again after seconds: delivery events and hand-overs."""
    import accesspoint.app as app
    import accesspoint.delivery.relay as relay
    from accesspoint.retry import RetrySchedule

    back_off = relay.BackOff(first=0.05, longest=0.5)
    relay.BackOff = lambda: back_off  # type: ignore[assignment,misc]
    moment = timedelta(milliseconds=50)
    app.HANDOVER_SCHEDULE = RetrySchedule(moment, 2.0, 10 * moment, timedelta(days=60))  # type: ignore[misc]


def short_memory(_: str) -> None:
    """Remember for half a second what the directory answered, which production remembers for five minutes."""
    from accesspoint.discovery.cache import CachedDirectory

    begin = CachedDirectory.__init__

    def forgetful(self: CachedDirectory, directory: Any, **settings: Any) -> None:
        begin(self, directory, **{**settings, "fresh_for": timedelta(seconds=0.5)})

    CachedDirectory.__init__ = forgetful  # type: ignore[method-assign]


def eager_housekeeping(_: str) -> None:
    """Let go after a moment of what production keeps for a day, and sweep orphans as soon."""
    import accesspoint.store.housekeeping as housekeeping
    import accesspoint.store.orphans as orphans

    housekeeping.EVERY_SECONDS = 0.2  # type: ignore[misc]
    orphans.BETWEEN_SIGHTINGS = timedelta(seconds=0.3)  # type: ignore[misc]
    built = housekeeping.Housekeeper.__init__
    moment = {"delivered": timedelta(seconds=0.5), "orphans": timedelta(seconds=0.5)}

    def eager(self: Any, database: Any, payloads: Any, *, clock: Any, periods: Any) -> None:
        built(self, database, payloads, clock=clock, periods=periods.model_copy(update=moment))

    housekeeping.Housekeeper.__init__ = eager  # type: ignore[method-assign]


def shifted_clock(hours: str) -> None:
    """Let the node live in another hour than its neighbours."""
    from accesspoint.clock import SystemClock

    now = SystemClock.now
    shift = timedelta(hours=float(hours))
    SystemClock.now = lambda self: now(self) + shift  # type: ignore[method-assign]


def plant(name: str) -> None:
    """Break a rule on purpose; see `planted`."""
    import planted

    planted.plant(name)


def power_loss(seed: str) -> None:
    """Let a kill be a power cut; see `storage_faults`."""
    import storage_faults

    storage_faults.power_loss(seed)


def nth_operation(argument: str) -> None:
    """Let an operation of the disk fail; see `storage_faults`."""
    import storage_faults

    storage_faults.nth_operation(argument)


CHANGES: dict[str, Callable[[str], None]] = {
    "short-waits": short_waits,
    "short-memory": short_memory,
    "eager-housekeeping": eager_housekeeping,
    "plant": plant,
    "power-loss": power_loss,
    "nth-operation": nth_operation,
    "shifted-clock": shifted_clock,
}


def make(names: Sequence[str]) -> None:
    """Make the changes with these names; what follows a colon is the argument."""
    for name in names:
        change, _, argument = name.partition(":")
        CHANGES[change](argument)
