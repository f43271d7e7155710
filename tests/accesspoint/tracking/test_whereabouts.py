"""Lists and counts say by SQL where a message is; the page of one message says it by reading its reports. They agree."""

from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from journeys import (
    ANNA,
    CARE,
    FHIR_ACK,
    FJORDBY,
    HCO,
    HOSPITAL,
    SBDH_ACK,
    WALK,
    Resource,
    Story,
    crowd,
    samples,
)

from accesspoint.status_component.access import Seen
from accesspoint.status_component.queries import (
    Filters,
    Whereabouts,
    count_answers,
    count_whereabouts,
    find_root,
    list_messages,
    list_standards,
)
from accesspoint.status_component.resource import Verdict
from accesspoint.status_component.store import EventStore
from accesspoint.tracking.culprit import PATIENCE, find_culprit
from accesspoint.tracking.journey import build_exchange
from accesspoint.tracking.report import read_report

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.fixture
async def stories() -> list[Story]:
    return [*samples(NOW).values(), *crowd(NOW, days=8, a_day=12)]


@pytest.fixture
async def filled(stories: list[Story]) -> AsyncIterator[EventStore]:
    store = await EventStore.open()
    await store.add_all((one for story in stories for one in story.reports), received_at=NOW)
    yield store
    await store.close()


def state_of(story: Story) -> Whereabouts:
    """As the page of one message finds it."""
    reports = [report for one in story.reports if (report := read_report(one))]
    exchange = build_exchange(reports)
    assert exchange is not None
    return find_culprit(exchange, NOW).state


async def test_a_list_by_whereabouts_holds_the_messages_whose_pages_say_so(
    filled: EventStore, stories: list[Story]
) -> None:
    told = {story.message: state_of(story) for story in stories}
    assert set(told.values()) == set(Whereabouts)

    for place in Whereabouts:
        filters = Filters(whereabouts=place, silent_since=NOW - PATIENCE, limit=500)
        found = await filled.database.read(lambda tx, f=filters: list_messages(tx, f))
        assert {m.identifier for m in found} == {m for m, state in told.items() if state is place}


async def test_counts_by_hour_add_up_to_the_pages(filled: EventStore, stories: list[Story]) -> None:
    filters = Filters(silent_since=NOW - PATIENCE)
    counts = await filled.database.read(lambda tx: count_whereabouts(tx, filters))

    expected = Counter((story.standard, state_of(story)) for story in stories)
    summed: Counter[tuple[str, Whereabouts]] = Counter()
    for count in counts:
        summed[count.standard, count.whereabouts] += count.messages
        assert count.hour.minute == 0
    assert summed == expected
    mine = await filled.database.read(
        lambda tx: count_whereabouts(tx, filters, seen=Seen(organisations=(FJORDBY.sor,)))
    )
    assert sum(count.messages for count in mine) == sum(
        FJORDBY in (story.sender, story.receiver) for story in stories
    )


async def test_where_something_is_depends_on_how_long_it_has_been_silent(
    filled: EventStore,
) -> None:
    with pytest.raises(ValueError, match="silent_since"):
        await filled.database.read(lambda tx: count_whereabouts(tx, Filters()))
    patient = Filters(
        patient=ANNA, silent_since=NOW - timedelta(days=30), whereabouts=Whereabouts.UNDERWAY
    )
    found = await filled.database.read(lambda tx: list_messages(tx, patient))
    assert samples(NOW)["silent"].message in {message.identifier for message in found}


async def test_acknowledgements_are_counted_by_what_they_say(filled: EventStore) -> None:
    filters = Filters(start=NOW - timedelta(hours=5), end=NOW)
    counts = await filled.database.read(lambda tx: count_answers(tx, filters))

    care = [count for count in counts if count.verdict is Verdict.FATAL]
    assert {(count.standard, count.by) for count in care} >= {
        ("carecommunication-message", "acknowledgement-message")
    }
    assert all(count.standard not in ("acknowledgement-message",) for count in counts)


def unknowing(story: Story) -> list[Resource]:
    """Its reports, those of answers saying `unknown` for the type answered, as a FHIR Acknowledgement must."""
    for report in story.reports:
        for entity in report["entity"]:
            if entity["type"]["code"] == "ehmiOrigMessage":
                entity["detail"][0]["valueString"] = "unknown"
    return story.reports


async def test_what_an_answer_answered_is_read_off_the_message_itself() -> None:
    store = await EventStore.open()
    refused = Story("refused", NOW, standard=CARE).send().receive().answer("fatal-error")
    unseen = Story("unseen", NOW, standard=HOSPITAL).send().answer()
    half = len(WALK)
    await store.add_all(unknowing(refused) + unknowing(unseen)[half:], received_at=NOW)

    counts = await store.database.read(lambda tx: count_answers(tx, Filters()))
    types = await store.database.read(list_standards)
    await store.close()

    by_system = {(count.standard, count.verdict) for count in counts if count.by == FHIR_ACK}
    assert by_system == {(CARE, Verdict.FATAL), ("unknown", Verdict.POSITIVE)}
    assert types == [FHIR_ACK, CARE, SBDH_ACK]


async def test_the_root_of_an_answer_is_the_message(filled: EventStore) -> None:
    story = samples(NOW)["good"]
    last = story.reports[-1]["entity"][0]["what"]["identifier"]["value"]
    assert last != story.message

    assert await filled.database.read(lambda tx: find_root(tx, last)) == story.message
    assert await filled.database.read(lambda tx: find_root(tx, "nobody's")) is None


def test_a_story_is_a_whole_exchange_of_32_reports() -> None:
    story = Story("x", NOW).whole()
    assert (len(story.reports), story.standard) == (32, HCO)
