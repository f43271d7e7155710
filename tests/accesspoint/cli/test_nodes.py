"""`accesspoint nodes`: who is there, who fell silent, and who took another one's name."""

from datetime import UTC, datetime, timedelta

from accesspoint.cli.nodes import render
from accesspoint.clock import to_microseconds

NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
LEASE = timedelta(seconds=30)


def row(name: str, seen: timedelta, leases: int = 0) -> dict[str, object]:
    return {
        "owner": f"{name}-{seen}", "name": name, "version": "26.11.0", "schema_version": 7, "leases": leases,
        "started_at": to_microseconds(NOW - timedelta(hours=2)), "seen_at": to_microseconds(NOW - seen),
    }  # fmt: skip


def test_the_living_and_the_silent_are_told_apart() -> None:
    rows = [row("node-1", timedelta(seconds=4), leases=3), row("node-2", timedelta(minutes=5))]
    head, one, two = render(rows, now=NOW, lease=LEASE).splitlines()
    assert head.split()[0] == "node"
    assert one.split() == ["node-1", "2026-11-21", "07:30:00", "4", "s", "ago", "26.11.0", "7", "3"]
    assert "300 s ago, silent" in two


def test_two_of_one_name_are_a_mistake_only_while_both_live() -> None:
    living, other = row("node-1", timedelta(0)), row("node-1", timedelta(seconds=9))
    dead = row("node-1", timedelta(minutes=9))
    assert "2 living nodes are called node-1" in render([living, other], now=NOW, lease=LEASE)
    assert "living nodes are called" not in render([living, dead], now=NOW, lease=LEASE)


def test_nobody_is_there() -> None:
    assert render([], now=NOW, lease=LEASE) == "no node runs, and none was killed\n"
