"""One message's journey as a picture: stations stand below each other, time runs to the right, as in a timetable.

A thick stroke is the time inside a station, a slanting one the way to the next. Long waits are folded: the axis grows
with the logarithm of a pause, and a pause that would dwarf the rest is shaded and says how long it was. What should
come next is dashed. Shapes tell what colours tell. No script, no style: classes only.

Spec: experience section 5.2.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import log1p
from statistics import median
from typing import Final

from markupsafe import Markup

from accesspoint.status_component.queries import Whereabouts
from accesspoint.tracking.culprit import Case, Finding
from accesspoint.tracking.journey import LAST_PLACE, Exchange, Leg, Stop, Visit, covers
from accesspoint.tracking.texts import Texts

WIDTH: Final = 1080
_LEFT, _RIGHT, _TOP, _EMPTY_TOP = 228, 34, 44, 2
_LANE, _HEAD, _GAP, _FOOT = 42, 30, 14, 30
_FOLDED: Final = 12.0
"""A pause this many times the usual one is shaded."""
_LEAST_FOLDED: Final = 46
_TICK_APART: Final = 92
_SILENT: Final = "?"
"""Stands for the device of a station that said nothing."""
_CIRCLED: Final = "①②③④⑤⑥⑦⑧⑨"
_SHOWN_NOW: Final = frozenset({Whereabouts.STOPPED, Whereabouts.UNDERWAY})


@dataclass(frozen=True, slots=True)
class _Row:
    """A lane of the picture, or one that is missing there: where it lies and what stands before it."""

    y: float
    label: str
    note: str = ""


def draw(exchange: Exchange, finding: Finding, now: datetime, texts: Texts, summary: str) -> Markup:
    """Return the SVG; `summary` is what a screen reader says of it."""
    shows_now = finding.state in _SHOWN_NOW and finding.case is not Case.GAVE_UP
    scale = _Scale([r.recorded_at for r in exchange.reports] + ([now] if shows_now else []))
    rows, frames, height = _layout(
        exchange, finding, texts, _TOP if shows_now or scale.folds else _EMPTY_TOP
    )
    parts = [
        Markup(
            '<svg class="journey" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" role="img" '
            'aria-labelledby="journey-title journey-desc" preserveAspectRatio="xMinYMin meet">'
            '<title id="journey-title">{}</title><desc id="journey-desc">{}</desc>'
        ).format(WIDTH, height, texts("picture.title"), summary),
        *frames,
        *_folds(scale, height, texts),
        *(_lane(row) for row in rows.values()),
        *_ticks(scale, height, texts),
    ]
    if shows_now:
        parts.append(_now(scale.x(now), height, texts))
        parts += _ghost(exchange, finding, now, scale, rows)
    for leg in exchange.legs:
        parts += _leg(leg, len(exchange.of(leg.kind)) > 1, scale, rows, texts)
    return Markup("\n").join([*parts, Markup("</svg>")])


class _Scale:
    """From time to place on the paper, with long pauses folded."""

    def __init__(self, times: Sequence[datetime]) -> None:
        self.times = sorted(set(times))
        self.span = self.times[-1] - self.times[0]
        gaps = [
            (after - before).total_seconds()
            for before, after in zip(self.times, self.times[1:], strict=False)
        ]
        usual = max(median(gaps), 0.001) if gaps else 1.0
        weights = [log1p(gap / usual) for gap in gaps]
        room = WIDTH - _LEFT - _RIGHT - 24
        unit = room / (sum(weights) or 1.0)
        self._places = [_LEFT + 12.0]
        for weight in weights:
            self._places.append(self._places[-1] + weight * unit)
        self.folds = [
            (self._places[n], self._places[n + 1], timedelta(seconds=gap))
            for n, gap in enumerate(gaps)
            if gap > _FOLDED * usual and self._places[n + 1] - self._places[n] > _LEAST_FOLDED
        ]

    def x(self, at: datetime) -> float:
        """Where a time lies; between two known ones by proportion."""
        after = bisect_right(self.times, at)
        if after == 0:
            return self._places[0]
        if after == len(self.times):
            return self._places[-1]
        before, following = self.times[after - 1], self.times[after]
        share = (at - before) / (following - before)
        return self._places[after - 1] + share * (self._places[after] - self._places[after - 1])


def _layout(
    exchange: Exchange, finding: Finding, texts: Texts, top: float
) -> tuple[dict[str, _Row], list[Markup], int]:
    """The lanes by device from above, the frames of their owners, and the height of it all."""
    owners = {(lane.role, lane.owner.key): lane.owner for lane in exchange.lanes}
    entries: list[tuple[int, str, float, str, str]] = [
        (
            lane.role,
            lane.owner.key,
            float(lane.place),
            texts(f"station.{lane.station}"),
            lane.device,
        )
        for lane in exchange.lanes
    ]
    if _missing(exchange, finding):
        owner = finding.organisation
        role = 0 if owner.key == exchange.sender.key else 1
        depth = list(Stop).index(finding.stop)
        place = float(depth if role == 0 else LAST_PLACE - depth)
        owners.setdefault((role, owner.key), owner)
        entries.append((role, owner.key, place + 0.5, texts(f"stop.{finding.stop}"), _SILENT))
    is_due = finding.state is Whereabouts.UNDERWAY
    absent = "picture.awaited" if is_due else "picture.silent"
    # Who was perhaps never found or asked is not silent.
    awaited = texts("picture.not_handed" if finding.case is Case.GAVE_UP else absent)
    rows: dict[str, _Row] = {}
    frames = []
    y = top
    for (role, key), owner in sorted(owners.items(), key=lambda item: item[0]):
        above, y = y, y + _HEAD
        for _, _, _, label, device in sorted(one for one in entries if one[:2] == (role, key)):
            rows[device] = _Row(y + _LANE / 2, label, awaited if device == _SILENT else "")
            y += _LANE
        frames.append(_group(above, y + 4, texts(f"role.{role}"), owner.shown))
        y += _GAP
    return rows, frames, int(y + _FOOT)


def _missing(exchange: Exchange, finding: Finding) -> bool:
    """Whether what the finding is about is a station that reported nothing of this exchange."""
    return finding.case is not Case.COMPLETE and not any(
        lane.owner.key == finding.organisation.key and covers(lane.station, finding.stop)
        for lane in exchange.lanes
    )


def _row_of(exchange: Exchange, finding: Finding, rows: Mapping[str, _Row]) -> _Row | None:
    for lane in exchange.lanes:
        if lane.owner.key == finding.organisation.key and covers(lane.station, finding.stop):
            return rows[lane.device]
    return rows.get(_SILENT)


def _group(top: float, bottom: float, role: str, name: str) -> Markup:
    return Markup(
        '<g class="owner"><rect x="0.5" y="{}" width="{}" height="{}" rx="8"/>'
        '<text x="14" y="{}"><tspan class="name">{}</tspan> <tspan class="role" dx="6">{}</tspan></text></g>'
    ).format(top, WIDTH - 1, bottom - top, top + 21, name, role)


def _lane(row: _Row) -> Markup:
    kind = "lane silent" if row.note else "lane"
    note = Markup('<tspan class="role" dx="6">{}</tspan>').format(row.note)
    return Markup(
        '<g class="{}"><line x1="{}" x2="{}" y1="{}" y2="{}"/><text x="26" y="{}">{}{}</text></g>'
    ).format(kind, _LEFT, WIDTH - _RIGHT + 14, row.y, row.y, row.y + 4.5, row.label, note)


def _folds(scale: _Scale, height: int, texts: Texts) -> Iterator[Markup]:
    for left, right, span in scale.folds:
        yield Markup(
            '<g class="fold"><rect x="{:.1f}" y="{}" width="{:.1f}" height="{}"/>'
            '<text x="{:.1f}" y="{}">{}</text></g>'
        ).format(
            left + 4, _TOP - 6, right - left - 8, height - _TOP - _FOOT + 2,
            (left + right) / 2, _TOP - 14, texts.duration(span),
        )  # fmt: skip


def _ticks(scale: _Scale, height: int, texts: Texts) -> Iterator[Markup]:
    """As many times below the picture as there is room for: the first, the last, and between them what fits."""
    last = float(-_TICK_APART)
    final = scale.x(scale.times[-1])
    for at in scale.times:
        x = scale.x(at)
        if at != scale.times[-1] and (x - last < _TICK_APART or final - x < _TICK_APART):
            continue
        last = x
        yield Markup(
            '<g class="tick"><line x1="{:.1f}" x2="{:.1f}" y1="{}" y2="{}"/><text x="{:.1f}" y="{}">{}</text></g>'
        ).format(
            x, x, height - _FOOT - 2, height - _FOOT + 3, x, height - 10, texts.tick(at, scale.span)
        )


def _now(x: float, height: int, texts: Texts) -> Markup:
    return Markup(
        '<g class="now"><line x1="{:.1f}" x2="{:.1f}" y1="{}" y2="{}"/><text x="{:.1f}" y="{}">{}</text></g>'
    ).format(x, x, _TOP - 8, height - _FOOT, x, _TOP - 14, texts("picture.now"))


def _ghost(
    exchange: Exchange, finding: Finding, now: datetime, scale: _Scale, rows: Mapping[str, _Row]
) -> Iterator[Markup]:
    """What should have come: dashed from where it was last seen to where it is due."""
    due = _row_of(exchange, finding, rows)
    if due is None:
        return
    start = due
    if finding.before is not None and finding.before_owner is not None:
        before = replace(finding, stop=finding.before, organisation=finding.before_owner)
        start = _row_of(exchange, before, rows) or due
    left, right = scale.x(finding.since), scale.x(now)
    yield Markup(
        '<g class="ghost {}"><path d="M{:.1f} {} L{:.1f} {}"/><circle cx="{:.1f}" cy="{}" r="9"/>'
        '<text x="{:.1f}" y="{}">?</text></g>'
    ).format(finding.state, left, start.y, right, due.y, right, due.y, right, due.y + 4.5)


def _leg(
    leg: Leg, counted: bool, scale: _Scale, rows: Mapping[str, _Row], texts: Texts
) -> Iterator[Markup]:
    yield Markup('<g class="leg {}">').format(leg.kind)
    before: Visit | None = None
    for visit in leg.visits:
        y = rows[visit.device].y
        times = visit.times
        if before is not None and before.left is not None:
            # The receipt comes after the arrival: sending often ends when the next station already has it.
            left_at = min(before.left, times[0])
            start, arrived = scale.x(left_at), scale.x(times[0])
            span = texts.duration(times[0] - left_at)
            yield Markup(
                '<path class="hop" d="M{:.1f} {} L{:.1f} {}"><title>{}</title></path>'
            ).format(start, rows[before.device].y, arrived, y, texts("picture.hop", span=span))
        left, right = scale.x(min(times)), scale.x(max(times))
        title = texts(
            "picture.stay", stop=texts(f"station.{visit.station}"), owner=visit.owner.shown,
            leg=texts(f"leg.{leg.kind}"), time=texts.clock(min(times)), span=texts.duration(max(times) - min(times)),
        )  # fmt: skip
        yield Markup('<path class="stay" d="M{:.1f} {} H{:.1f}"><title>{}</title></path>').format(
            left, y, max(right, left + 0.5), title
        )
        yield from _marks(visit, scale, y)
        before = visit
    if counted:
        first = leg.visits[0]
        yield Markup('<text class="attempt" x="{:.1f}" y="{}">{}</text>').format(
            scale.x(leg.started), rows[first.device].y - 11, _CIRCLED[min(leg.attempt, 9) - 1]
        )
    yield Markup("</g>")


def _marks(visit: Visit, scale: _Scale, y: float) -> Iterator[Markup]:
    """A diamond where it was made, a square with a tick where it ended, a cross where it failed, dots between."""
    for at in visit.times:
        x = scale.x(at)
        if at == visit.failed:
            shape = '<path class="failed" d="M{0:.1f} {1:.1f}m-6 -6l12 12m0 -12l-12 12"/>'
        elif at == visit.ended:
            shape = (
                '<path class="ended" d="M{0:.1f} {1:.1f}m-7 -7h14v14h-14z"/>'
                '<path class="check" d="M{0:.1f} {1:.1f}m-3.6 0l2.6 2.8l4.6 -5.4"/>'
            )
        elif at == visit.arrived and visit.created:
            shape = '<path class="made" d="M{0:.1f} {1:.1f}m0 -7l7 7l-7 7l-7 -7z"/>'
        else:
            shape = '<circle class="dot" cx="{0:.1f}" cy="{1:.1f}" r="3.6"/>'
        yield Markup(shape).format(x, y)  # noqa: S704 – one of the four constants above
