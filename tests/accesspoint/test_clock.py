from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accesspoint.clock import ManualClock, SystemClock, from_microseconds, to_microseconds

START = datetime(2026, 11, 21, 12, tzinfo=UTC)


def test_the_system_clock_is_aware_and_does_not_go_back() -> None:
    clock = SystemClock()
    assert clock.now().utcoffset() == timedelta()
    assert clock.monotonic() <= clock.monotonic()


def test_both_clocks_advance_together() -> None:
    clock = ManualClock(START)
    clock.advance(timedelta(hours=72))
    assert clock.now() == START + timedelta(hours=72)
    assert clock.monotonic() == 72 * 3600


def test_setting_the_wall_clock_does_not_move_the_monotonic_one() -> None:
    clock = ManualClock(START)
    clock.advance(timedelta(seconds=5))
    clock.set_wall(START - timedelta(hours=1))
    assert clock.now() == START - timedelta(hours=1)
    assert clock.monotonic() == 5.0


def test_time_does_not_pass_backwards() -> None:
    with pytest.raises(ValueError, match="backwards"):
        ManualClock(START).advance(timedelta(seconds=-1))


def test_naive_times_are_refused() -> None:
    naive = START.replace(tzinfo=None)
    with pytest.raises(ValueError, match="zone"):
        ManualClock(naive)
    with pytest.raises(ValueError, match="zone"):
        to_microseconds(naive)


def test_the_zone_is_turned_into_utc() -> None:
    summer = datetime(2026, 7, 1, 14, 0, 0, 1, tzinfo=timezone(timedelta(hours=2)))
    assert from_microseconds(to_microseconds(summer)) == summer
    assert (
        from_microseconds(to_microseconds(summer)).isoformat() == "2026-07-01T12:00:00.000001+00:00"
    )


@given(
    st.datetimes(
        min_value=datetime(1950, 1, 1),  # noqa: DTZ001 (the strategy wants its bounds naive)
        max_value=datetime(2200, 1, 1),  # noqa: DTZ001
        timezones=st.just(UTC),
    )
)
def test_every_microsecond_survives_the_database_form(moment: datetime) -> None:
    assert from_microseconds(to_microseconds(moment)) == moment
