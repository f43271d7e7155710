"""What a test changes in a child of the nursery before it runs, by name; production code has no such switch.

`make(["short-leases", "plant:no-dedupe"])` makes two of them. Leases are minutes in production, so that
nothing slow is taken away from its owner; here they are a second, so that a test need not wait.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta

SHORT = timedelta(seconds=1.0)


def short_leases(_: str) -> None:
    """Let leases run out after a second, and look for such as often."""
    import accesspoint.app as app
    import accesspoint.delivery.outbox as outbox
    import accesspoint.inbound.dispatch as dispatch
    import accesspoint.outbound.sender as sender
    import accesspoint.stations.relay as relay

    for module in (outbox, dispatch, sender, relay):
        module.LEASE = SHORT  # type: ignore[attr-defined]
    sender.lease_for = lambda part_bytes: SHORT
    app.RECLAIM_SECONDS = 0.3  # type: ignore[misc]


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

    CachedDirectory.__init__.__kwdefaults__["fresh_for"] = timedelta(seconds=0.5)


def shifted_clock(hours: str) -> None:
    """Let the node live in another hour than its neighbours."""
    from accesspoint.clock import SystemClock

    now = SystemClock.now
    shift = timedelta(hours=float(hours))
    SystemClock.now = lambda self: now(self) + shift  # type: ignore[method-assign]


CHANGES: dict[str, Callable[[str], None]] = {
    "short-waits": short_waits,
    "short-memory": short_memory,
    "short-leases": short_leases,
    "shifted-clock": shifted_clock,
}


def make(names: Sequence[str]) -> None:
    """Make the changes with these names; what follows a colon is the argument."""
    for name in names:
        change, _, argument = name.partition(":")
        CHANGES[change](argument)
