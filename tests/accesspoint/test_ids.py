import re
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from accesspoint.clock import ManualClock
from accesspoint.ids import SeededIds, SystemIds

START = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


def test_ulids_have_their_shape_and_carry_the_time(clock: ManualClock) -> None:
    ulid = SystemIds(clock).ulid()
    assert re.fullmatch(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", ulid)
    milliseconds = 0
    for character in ulid[:10]:
        milliseconds = milliseconds * 32 + "0123456789ABCDEFGHJKMNPQRSTVWXYZ".index(character)
    assert milliseconds == int(START.timestamp() * 1000)


def test_ulids_rise_within_a_millisecond_and_when_the_clock_is_set_back(clock: ManualClock) -> None:
    ids = SystemIds(clock)
    found = [ids.ulid() for _ in range(500)]
    clock.set_wall(START - timedelta(hours=1))
    found += [ids.ulid() for _ in range(500)]
    clock.set_wall(START + timedelta(seconds=1))
    found.append(ids.ulid())
    assert found == sorted(set(found))


def test_uuids_are_random_version_4(clock: ManualClock) -> None:
    ids = SystemIds(clock)
    found = {ids.uuid() for _ in range(100)}
    assert len(found) == 100
    assert {UUID(text).version for text in found} == {4}
    assert all(text == text.lower() for text in found)


def test_message_ids_are_rfc_2822_shaped(clock: ManualClock) -> None:
    message_id = SystemIds(clock).message_id("ap.example-1.dk")
    left, _, right = message_id.partition("@")
    assert UUID(left).version == 4
    assert right == "ap.example-1.dk"


@pytest.mark.parametrize("domain", ["", "a b", "a@b", "a>", "-a.dk", "a..b", "a\r\nb", "a.dk\n"])
def test_domains_that_would_break_a_header_are_refused(clock: ManualClock, domain: str) -> None:
    with pytest.raises(ValueError, match="not a host name"):
        SystemIds(clock).message_id(domain)


def test_token_bytes_have_the_length_asked_for(clock: ManualClock) -> None:
    ids = SystemIds(clock)
    assert [len(ids.token_bytes(count)) for count in (0, 12, 16)] == [0, 12, 16]
    assert ids.token_bytes(16) != ids.token_bytes(16)


def test_a_seed_repeats_everything_and_another_seed_nothing(clock: ManualClock) -> None:
    def draw(seed: int) -> list[object]:
        ids = SeededIds(ManualClock(START), seed)
        return [ids.ulid(), ids.uuid(), ids.message_id("a.dk"), ids.token_bytes(4)]

    assert draw(1) == draw(1)
    assert not set(draw(1)) & set(draw(2))
