from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accesspoint.retry import RetrySchedule, format_duration, parse_duration

START = datetime(2026, 11, 21, 12, tzinfo=UTC)
NEARLY_ONE = 1 - 2**-53
seconds = st.integers(1, 10**6).map(lambda count: timedelta(seconds=count))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10 s", timedelta(seconds=10)),
        ("250 ms", timedelta(milliseconds=250)),
        ("4 min", timedelta(minutes=4)),
        ("1h", timedelta(hours=1)),
        ("24 hours", timedelta(hours=24)),
        ("60 days", timedelta(days=60)),
        ("1 year", timedelta(days=365)),
        (" 1 h  30 min ", timedelta(minutes=90)),
    ],
)
def test_durations_are_read_as_people_write_them(text: str, expected: timedelta) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10",
        "s",
        "10 fortnights",
        "-1 s",
        "1.5 h",
        "0 s",
        "9999999999 s",
        "11 years",
        "10 S",
        "١ s",
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(), "0 s"),
        (timedelta(seconds=-5), "0 s"),
        (timedelta(seconds=250), "4 min 10 s"),
        (timedelta(hours=1), "1 h"),
        (timedelta(hours=1, seconds=5), "1 h"),
        (timedelta(days=1, hours=3, minutes=9), "1 d 3 h"),
    ],
)
def test_durations_are_written_with_two_units(duration: timedelta, text: str) -> None:
    assert format_duration(duration) == text


@given(st.integers(1, 3600).map(lambda count: timedelta(seconds=count)))
def test_what_is_written_can_be_read(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration


def test_ceilings_double_up_to_the_longest() -> None:
    schedule = RetrySchedule()
    ceilings = [schedule.ceiling(attempt).total_seconds() for attempt in range(1, 12)]
    assert ceilings == [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]


def test_a_million_attempts_do_not_overflow() -> None:
    assert RetrySchedule().ceiling(10**6) == timedelta(hours=1)
    assert RetrySchedule(factor=1.0).ceiling(10**6) == timedelta(seconds=10)


def test_full_jitter_uses_the_whole_range() -> None:
    schedule = RetrySchedule()
    at = [
        schedule.next_at(attempt=3, accepted_at=START, now=START, fraction=fraction)
        for fraction in (0.0, 0.5, NEARLY_ONE)
    ]
    assert at[0] == START
    assert at[1] == START + timedelta(seconds=20)
    assert at[2] is not None
    assert timedelta(seconds=39.9) < at[2] - START <= timedelta(seconds=40)


def test_a_delay_is_drawn_from_the_schedules_own_source() -> None:
    assert RetrySchedule(draw=lambda: 0.25).delay(3) == timedelta(seconds=10)
    drawn = {RetrySchedule().delay(5) for _ in range(50)}
    assert len(drawn) > 40
    assert all(timedelta() <= wait < timedelta(seconds=160) for wait in drawn)


def test_the_last_attempt_is_made_at_the_deadline() -> None:
    schedule = RetrySchedule()
    late = START + timedelta(hours=23, minutes=59)
    assert schedule.next_at(
        attempt=30, accepted_at=START, now=late, fraction=0.9
    ) == START + timedelta(days=1)
    assert (
        schedule.next_at(attempt=31, accepted_at=START, now=START + timedelta(days=1), fraction=0.0)
        is None
    )


@given(
    first=seconds,
    factor=st.floats(1.0, 100.0),
    extra=seconds,
    give_up=seconds,
    attempt=st.integers(1, 200),
    waited=st.integers(-(10**6), 10**6),
    fraction=st.floats(0.0, NEARLY_ONE),
)
def test_the_next_attempt_is_between_now_and_the_deadline(
    first: timedelta,
    factor: float,
    extra: timedelta,
    give_up: timedelta,
    attempt: int,
    waited: int,
    fraction: float,
) -> None:
    schedule = RetrySchedule(first, factor, first + extra, give_up)
    now = START + timedelta(seconds=waited)
    at = schedule.next_at(attempt=attempt, accepted_at=START, now=now, fraction=fraction)
    if at is None:
        assert now >= START + give_up
    else:
        assert now <= at <= START + give_up
        assert at - now <= schedule.longest


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_a_fraction_outside_its_range_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match="fraction"):
        RetrySchedule().next_at(attempt=1, accepted_at=START, now=START, fraction=fraction)


@pytest.mark.parametrize(
    "arguments",
    [
        {"first": timedelta()},
        {"first": timedelta(hours=2)},
        {"factor": 0.5},
        {"factor": float("nan")},
        {"give_up_after": timedelta()},
    ],
)
def test_schedules_that_would_not_wait_or_end_are_refused(arguments: dict[str, timedelta]) -> None:
    with pytest.raises(ValueError, match="must be"):
        RetrySchedule(**arguments)  # type: ignore[arg-type]


def test_attempts_are_counted_from_one() -> None:
    with pytest.raises(ValueError, match="from 1"):
        RetrySchedule().ceiling(0)
