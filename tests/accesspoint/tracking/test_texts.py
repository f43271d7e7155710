"""Both languages say everything, with the same places to fill in; numbers, times and durations as each writes them."""

import re
import string
from datetime import UTC, date, datetime, timedelta
from importlib.resources import files

import pytest

from accesspoint.delivery.events import Station, SubType
from accesspoint.status_component.queries import Whereabouts
from accesspoint.tracking.culprit import Case, Remark
from accesspoint.tracking.journey import Kind, Stop
from accesspoint.tracking.texts import choose_language, texts

DANISH, ENGLISH = texts("da"), texts("en")
PACKAGE = files("accesspoint.tracking")


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_both_languages_have_the_same_texts_with_the_same_fields() -> None:
    assert DANISH.entries.keys() == ENGLISH.entries.keys()
    for key, text in DANISH.entries.items():
        # What a sentence leaves out is its language's own affair; it may not ask for what the other does not get.
        assert fields(text) == fields(ENGLISH.entries[key]), key
        assert text.strip() == text != ""


@pytest.mark.parametrize(
    ("prefix", "values"),
    [
        ("finding", Case),
        ("todo", Case),
        ("remark", Remark),
        ("leg", Kind),
        ("subject", Kind),
        ("stop", Stop),
        ("stop_of", Stop),
        ("station", Station),
        ("subtype", SubType),
        ("state", Whereabouts),
        ("citizen", Whereabouts),
    ],
)
def test_every_value_that_is_shown_has_its_text(prefix: str, values: list[str]) -> None:
    for text in (DANISH, ENGLISH):
        assert {f"{prefix}.{value}" for value in values} <= text.entries.keys()


def test_every_text_that_a_page_names_is_there() -> None:
    sources = [
        entry.read_text("utf-8")
        for folder in (PACKAGE / "templates", PACKAGE)
        for entry in folder.iterdir()
        if entry.name.endswith((".html", ".py"))
    ]
    named = set(re.findall(r'\b(?:t|text|texts)\(\s*"([a-z_]+\.[a-z_0-9]+)"', "\n".join(sources)))
    assert len(named) > 100
    assert named <= DANISH.entries.keys()


@pytest.mark.parametrize(
    ("wish", "accepted", "language"),
    [
        (None, "", "da"),
        (None, "en-GB,en;q=0.9,da;q=0.8", "en"),
        (None, "de, da;q=0.5, en;q=0.4", "da"),
        (None, "da;q=0, en;q=0.1", "en"),
        (None, "fr;q=x,;;q=,", "da"),
        ("en", "da", "en"),
        ("xx", "en", "en"),
        (None, "en," * 10_000, "en"),
    ],
)
def test_the_language(wish: str | None, accepted: str, language: str) -> None:
    assert choose_language(wish, accepted) == language


@pytest.mark.parametrize(
    ("span", "danish", "english"),
    [
        (timedelta(milliseconds=71), "71 ms", "71 ms"),
        (timedelta(seconds=1.25), "1,2 s", "1.2 s"),
        (timedelta(seconds=42), "42 s", "42 s"),
        (timedelta(minutes=31), "31 min", "31 min"),
        (timedelta(hours=3, minutes=12), "3 t 12 min", "3 h 12 min"),
        (timedelta(hours=26), "26 t", "26 h"),
        (timedelta(days=4), "4 dage", "4 days"),
    ],
)
def test_durations(span: timedelta, danish: str, english: str) -> None:
    assert (DANISH.duration(span), ENGLISH.duration(span)) == (danish, english)


def test_numbers_days_and_times() -> None:
    at = datetime(2026, 7, 1, 8, 5, 6, 789_000, tzinfo=UTC)
    assert (DANISH.number(1234.5, 1), ENGLISH.number(1234.5, 1)) == ("1.234,5", "1,234.5")
    assert (DANISH.percent(1, 3), ENGLISH.percent(0, 0)) == ("33,3 %", "–")
    assert (DANISH.day(date(2026, 3, 2)), ENGLISH.day(date(2026, 3, 2))) == (
        "2. mar 2026",
        "2 Mar 2026",
    )
    assert re.fullmatch(r"1\. jul 2026 (10|08)\.05\.06", DANISH.time(at))
    assert re.fullmatch(r"(10|08):05:06\.789", ENGLISH.clock(at))
    assert ENGLISH.tick(at, timedelta(hours=2)) == ENGLISH.clock(at)[:8]
    assert ENGLISH.tick(at, timedelta(days=2)).startswith("1.7. ")
