"""Charts as SVG made here: stacked columns, stacked bars, lines. Classes only, no script; the table stands beside them.

Spec: experience section 6.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from markupsafe import Markup

from accesspoint.status_component.queries import Whereabouts
from accesspoint.tracking.texts import Texts

WIDTH: Final = 1080
_HEIGHT, _LEFT, _BOTTOM, _TOP = 250, 56, 30, 12
_BAR, _NAME = 34, 210
_MOST_LABELS: Final = 16
_STEPS: Final = (4, 8, 20, 40)


def columns(
    rows: Sequence[tuple[str, Mapping[Whereabouts, int]]],
    series: Sequence[Whereabouts],
    texts: Texts,
) -> Markup:
    """Stacked columns, one for each (name, count by series); the first series lies at the bottom."""
    top = _round_up(max((sum(counts.values()) for _, counts in rows), default=0))
    room = _HEIGHT - _TOP - _BOTTOM
    step = (WIDTH - _LEFT) / max(len(rows), 1)
    width = min(step * 0.72, 64)
    every = -(-len(rows) // _MOST_LABELS)
    parts = [*_axis(top, room, texts)]
    for number, (name, counts) in enumerate(rows):
        left = _LEFT + step * number + (step - width) / 2
        y = _TOP + float(room)
        for one in series:
            if not counts.get(one, 0):
                continue
            height = room * counts[one] / top
            y -= height
            parts.append(
                Markup(
                    '<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="1.5"><title>{}: {} {}</title></rect>'
                ).format(
                    one,
                    left,
                    y,
                    width,
                    height,
                    name,
                    texts(f"state.{one}"),
                    texts.number(counts[one]),
                )
            )
        if number % every == 0:
            parts.append(_text("middle", left + width / 2, _HEIGHT - 10, name))
    return _svg(_HEIGHT, parts)


def bars(
    rows: Sequence[tuple[str, Mapping[Whereabouts, int]]],
    series: Sequence[Whereabouts],
    texts: Texts,
) -> Markup:
    """Stacked bars from the left, one for each (name, count by series), the sum behind each."""
    most = max((sum(counts.values()) for _, counts in rows), default=0) or 1
    room = WIDTH - _NAME - 70
    parts = []
    for number, (name, counts) in enumerate(rows):
        y, x = _BAR * number, float(_NAME)
        parts.append(_text("value", 0, y + 21, name))
        for one in series:
            width = room * counts.get(one, 0) / most
            if width:
                parts.append(
                    Markup(
                        '<rect class="{}" x="{:.1f}" y="{}" width="{:.1f}" height="20" rx="1.5"><title>{} {}</title></rect>'
                    ).format(one, x, y + 6, width, texts(f"state.{one}"), texts.number(counts[one]))
                )
            x += width
        parts.append(_text("value", x + 8, y + 21, texts.number(sum(counts.values()))))
    return _svg(_BAR * len(rows) + 4, parts)


def lines(names: Sequence[str], series: Mapping[str, Sequence[float]], texts: Texts) -> Markup:
    """One line of shares in per cent for each series over the same names; each is named where it ends."""
    most = max((share for shares in series.values() for share in shares), default=0)
    top = min(_round_up(most), 100.0)
    room, right = _HEIGHT - _TOP - _BOTTOM, 190
    step = (WIDTH - _LEFT - right) / max(len(names) - 1, 1)
    parts = [*_axis(top, room, texts, unit=" %")]
    taken: list[float] = []
    for number, (name, shares) in enumerate(series.items()):
        points = [
            (_LEFT + 8 + step * n, _TOP + room - room * share / top)
            for n, share in enumerate(shares)
        ]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dots = Markup("").join(
            Markup('<circle cx="{:.1f}" cy="{:.1f}" r="4"><title>{}: {} %</title></circle>').format(
                x, y, name, texts.number(share, 1)
            )
            for (x, y), share in zip(points, shares, strict=True)
        )
        label = points[-1][1] + 4
        while any(abs(label - other) < 16 for other in taken):
            label -= 16
        taken.append(label)
        parts.append(
            Markup('<g class="tone-{}"><polyline points="{}"/>{}</g>').format(
                number % 4, path, dots
            )
        )
        parts.append(_text("value", points[-1][0] + 12, label, name))
    every = -(-len(names) // _MOST_LABELS)
    for n, name in enumerate(names):
        if n % every == 0:
            parts.append(_text("middle", _LEFT + 8 + step * n, _HEIGHT - 10, name))
    return _svg(_HEIGHT, parts)


def track(seen: Sequence[bool], wrong: int | None) -> Markup:
    """Six dots for the six places of a message: filled where it was seen, a cross where it failed or is wanted in vain."""
    parts = [Markup('<line x1="6" x2="96" y1="7" y2="7"/>')]
    for place, is_seen in enumerate(seen):
        x = 6 + 18 * place
        if place == wrong:
            parts.append(Markup('<path class="wrong" d="M{} 3l8 8m0 -8l-8 8"/>').format(x - 4))
        else:
            parts.append(
                Markup('<circle class="{}" cx="{}" cy="7" r="4"/>').format(
                    "seen" if is_seen else "", x
                )
            )
    return Markup('<svg class="track" viewBox="0 0 102 14" aria-hidden="true">{}</svg>').format(
        Markup("").join(parts)
    )


def _round_up(most: float) -> float:
    """The least 4, 8 or 20 times a power of ten that is not below it: a quarter of it is a whole number."""
    size = 1.0
    while size * 40 < most:
        size *= 10
    return next(step * size for step in _STEPS if step * size >= most)


def _axis(top: float, room: int, texts: Texts, unit: str = "") -> Iterator[Markup]:
    for part in range(5):
        y = _TOP + room - room * part / 4
        value = top * part / 4
        yield Markup('<line class="axis" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(
            _LEFT, WIDTH, y, y
        )
        yield _text("end", _LEFT - 8, y + 4, texts.number(value) + unit)


def _text(kind: str, x: float, y: float, text: str) -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}">{}</text>').format(kind, x, y, text)


def _svg(height: float, parts: Sequence[Markup]) -> Markup:
    return Markup('<svg class="bars" viewBox="0 0 {} {}" aria-hidden="true">{}</svg>').format(
        WIDTH, height, Markup("").join(parts)
    )
