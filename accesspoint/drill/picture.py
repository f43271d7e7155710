"""The picture of a drill: what waited over time, and who was away when, as one SVG without script or outside parts."""

from collections.abc import Callable, Iterable
from datetime import timedelta
from html import escape
from math import sqrt
from typing import Final

from accesspoint.drill.plan import DESCRIPTIONS, Outage
from accesspoint.drill.play import Result, Sample

WIDTH: Final = 1000
HEIGHT: Final = 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 20, 70, 60
_LINES: Final[tuple[tuple[str, str, Callable[[Sample], int]], ...]] = (
    ("messages to send", "#1f5fa8", lambda sample: sample.sending),
    ("delivery events to report", "#b3541e", lambda sample: sample.events),
    ("messages to deliver", "#2d7d46", lambda sample: sample.deliveries),
)
_AWAY: Final = "#e9e4d8"
_APART: Final = 14
"""How far apart two lines of the grid are at least."""
_TICKS: Final = (
    1,
    2,
    5,
    10,
    20,
    50,
    100,
    200,
    500,
    1000,
    2000,
    5000,
    10_000,
    20_000,
    50_000,
    100_000,
)


def draw(result: Result) -> str:
    """Return the SVG; its text is selectable, its lines have names for screen readers."""
    samples = result.ledger.samples
    end = max(result.ended_after, samples[-1].at)
    most = max(1, *(get(sample) for sample in samples for _, _, get in _LINES))
    top = next((tick for tick in _TICKS if tick >= most), most)

    def x(at: timedelta) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * (at / end)

    def y(count: int) -> float:
        # The root shows a queue of three beside one of three thousand.
        return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * sqrt(count / top)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        '<g font-family="system-ui, sans-serif" font-size="12">',
        "<title>What waited during the drill</title>",
        f"<desc>{escape(_describe(result))}</desc>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        *_bands(result.plan.outages, x),
        *_grid(top, y),
        *_days(end, x),
    ]
    for number, (name, colour, get) in enumerate(_LINES):
        points = " ".join(f"{x(one.at):.1f},{y(get(one)):.1f}" for one in samples)
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2">'
            f"<title>{name}</title></polyline>"
        )
        left = _LEFT + 210 * number
        parts.append(f'<rect x="{left}" y="14" width="18" height="4" fill="{colour}"/>')
        parts.append(f'<text x="{left + 24}" y="20" fill="#222222">{name}</text>')
    parts.append(f'<rect x="{WIDTH - 150}" y="10" width="18" height="12" fill="{_AWAY}"/>')
    parts.append(f'<text x="{WIDTH - 126}" y="20" fill="#222222">away meanwhile</text>')
    parts.append("</g></svg>")
    return "\n".join(parts) + "\n"


def _describe(result: Result) -> str:
    fullest = max(result.ledger.samples, key=lambda sample: sample.waiting)
    return (
        f"{len(result.ledger.submitted)} messages over {result.ended_after.days} days; "
        f"at most {fullest.waiting} things waited at once."
    )


def _bands(outages: Iterable[Outage], x: Callable[[timedelta], float]) -> Iterable[str]:
    for outage in outages:
        left, right = x(outage.start), x(outage.end)
        middle = (left + right) / 2
        yield (
            f'<rect x="{left:.1f}" y="{_TOP - 14}" width="{right - left:.1f}" height="{HEIGHT - _TOP - _BOTTOM + 14}"'
            f' fill="{_AWAY}"><title>{escape(DESCRIPTIONS[outage.part])}</title></rect>'
        )
        yield f'<text x="{middle:.1f}" y="{_TOP - 20}" text-anchor="middle" fill="#222222">{outage.part}</text>'


def _grid(top: int, y: Callable[[int], float]) -> Iterable[str]:
    last = y(0) + _APART
    for tick in (0, *(tick for tick in _TICKS if tick <= top)):
        height = y(tick)
        if last - height < _APART:
            continue
        last = height
        yield f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{height:.1f}" y2="{height:.1f}" stroke="#cccccc"/>'
        yield f'<text x="{_LEFT - 8}" y="{height + 4:.1f}" text-anchor="end" fill="#444444">{tick}</text>'


def _days(end: timedelta, x: Callable[[timedelta], float]) -> Iterable[str]:
    for day in range(end.days + 1):
        at = x(timedelta(days=day))
        yield f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{HEIGHT - _BOTTOM}" y2="{HEIGHT - _BOTTOM + 6}" stroke="#444444"/>'
        yield f'<text x="{at:.1f}" y="{HEIGHT - _BOTTOM + 22}" text-anchor="middle" fill="#444444">{day}</text>'
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    yield f'<text x="{middle}" y="{HEIGHT - 12}" text-anchor="middle" fill="#222222">days</text>'
