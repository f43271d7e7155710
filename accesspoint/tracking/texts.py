"""The words of the pages in Danish and English, and numbers, times and durations as each language writes them.

A language is one TOML file of this package; both have the same keys and the same places to fill in, which a test
asks. Times are Danish local time wherever the zone's data is at hand, else UTC, and say which.

Spec: experience, web user interface.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import cache
from importlib.resources import files
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

LANGUAGES: Final = ("da", "en")
_LONGEST_HEADER: Final = 1_000
_FINE: Final = timedelta(minutes=1)
_WITHIN_A_DAY: Final = timedelta(hours=20)


def _zone() -> tzinfo:
    try:
        return ZoneInfo("Europe/Copenhagen")
    except ZoneInfoNotFoundError:
        return UTC


ZONE: Final = _zone()


@dataclass(frozen=True, slots=True)
class Texts:
    """One language."""

    language: str
    entries: Mapping[str, str]

    def __call__(self, key: str, **values: object) -> str:
        """The text of a key, filled in; KeyError when there is no such text or a value is missing."""
        return self.entries[key].format(**values)

    def number(self, value: float, decimals: int = 0) -> str:
        """A number with the separators of the language."""
        text = f"{value:,.{decimals}f}"
        return text.translate(str.maketrans(",.", ".,")) if self.language == "da" else text

    def percent(self, part: int, whole: int) -> str:
        """A share of a whole in per cent with one decimal; a dash where there is no whole."""
        return "–" if whole == 0 else f"{self.number(100 * part / whole, 1)} %"

    def duration(self, span: timedelta) -> str:
        """A duration as a person says it: two units at most."""
        seconds = abs(span.total_seconds())
        if seconds < 0.9995:
            return f"{seconds * 1000:.0f} ms"
        if seconds < 10:
            return f"{self.number(seconds, 1)} s"
        if seconds < 60:
            return f"{seconds:.0f} s"
        minutes, hours, days = round(seconds / 60), round(seconds / 3600), seconds / 86_400
        if minutes < 60:
            return f"{minutes} min"
        if hours < 48:
            rest = minutes % 60
            whole = minutes // 60
            return self("unit.hours", n=whole) + (f" {rest} min" if rest and whole < 10 else "")
        return self("unit.days", n=round(days))

    def time(self, at: datetime) -> str:
        """Day and time of day to the second."""
        local = at.astimezone(ZONE)
        return f"{self.day(local.date())} {self._clock(local, '%H:%M:%S')}"

    def clock(self, at: datetime) -> str:
        """Time of day to the millisecond."""
        local = at.astimezone(ZONE)
        point = "," if self.language == "da" else "."
        return f"{self._clock(local, '%H:%M:%S')}{point}{local.microsecond // 1000:03d}"

    def tick(self, at: datetime, span: timedelta) -> str:
        """A time on an axis as long as `span`: as fine as there is a use for, with its day where days pass."""
        local = at.astimezone(ZONE)
        if span < _FINE:
            return self.clock(at)
        if span < _WITHIN_A_DAY:
            return self._clock(local, "%H:%M:%S")
        return f"{local.day}.{local.month}. {self._clock(local, '%H:%M')}"

    def _clock(self, local: datetime, pattern: str) -> str:
        separator = "." if self.language == "da" else ":"
        return local.strftime(pattern.replace(":", separator))

    def day(self, day: date) -> str:
        """A day with the name of its month."""
        month = self(f"month.{day.month}")[:3]
        return (
            f"{day.day}. {month} {day.year}"
            if self.language == "da"
            else f"{day.day} {month} {day.year}"
        )

    def month(self, day: date) -> str:
        """A month with its year."""
        return f"{self(f'month.{day.month}')} {day.year}"

    @property
    def zone(self) -> str:
        """The zone that times are shown in."""
        return self("zone.utc") if ZONE is UTC else self("zone.danish")


@cache
def texts(language: str) -> Texts:
    """The texts of one of `LANGUAGES`."""
    source = files("accesspoint.tracking").joinpath(f"texts/{language}.toml").read_text("utf-8")
    return Texts(language, dict(_flat(tomllib.loads(source))))


def choose_language(wish: str | None, accepted: str) -> str:
    """The language wished for if there is such a one, else the first of an Accept-Language header, else Danish."""
    if wish in LANGUAGES:
        return wish
    ranked = []
    for position, item in enumerate(accepted[:_LONGEST_HEADER].split(",")):
        tag, _, quality = item.strip().partition(";")
        weight = quality.strip().removeprefix("q=")
        try:
            ranked.append((-float(weight or 1), position, tag.split("-")[0].lower()))
        except ValueError:
            continue
    return next((tag for rank, _, tag in sorted(ranked) if tag in LANGUAGES and rank < 0), "da")


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        if isinstance(value, str):
            yield prefix + key, value
        else:
            yield from _flat(value, f"{prefix}{key}.")
