"""A report for a terminal: the verdict first, then the tree, in colour only where somebody looks.

Spec: experience section 6.
"""

import textwrap
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from accesspoint.explain.report import Branch, Broken, Report
from accesspoint.log import without_controls
from envelope.explain import Mark

SIGNS: Final[Mapping[Mark, str]] = MappingProxyType(
    {Mark.PLAIN: "", Mark.HOLDS: "✓ ", Mark.NOTED: "! ", Mark.BROKEN: "✗ ", Mark.UNSEEN: "– "}
)
_COLOURS: Final[Mapping[Mark, str]] = MappingProxyType(
    {Mark.HOLDS: "32", Mark.NOTED: "33", Mark.BROKEN: "31", Mark.UNSEEN: "2"}
)
_LEAST_WIDTH: Final = 40


def render_text(report: Report, *, width: int = 100, colour: bool = False) -> str:
    """The report as lines of at most `width` columns, where single words allow."""
    mark = report.mark
    lines = [paint(f"{SIGNS[mark]}{report.name}: {report.headline}", mark, colour)]
    for name, said in report.lines:
        lines += wrapped(f"  {name}: ", said, width)
    if report.others:
        lines.append("")
        lines.append("also broken")
        for each in report.others:
            lines += _tell(each, width)
    lines.append("")
    lines += _tree(report.tree, width, colour)
    return "\n".join(lines) + "\n"


def _tell(each: Broken, width: int) -> Iterator[str]:
    yield from wrapped("  ✗ ", f"{each.gate} {each.reason}: {each.detail} (at {each.where})", width)
    yield from wrapped("    ", f"{each.whose}; {each.rule.section}; {each.answer}", width)
    yield from wrapped("    ", each.ask, width)


def _tree(root: Branch, width: int, colour: bool) -> Iterator[str]:
    yield from _lines(root, "", "│  ", width, colour)
    yield from _children(root, "", width, colour)


def _children(branch: Branch, indent: str, width: int, colour: bool) -> Iterator[str]:
    for number, child in enumerate(branch.children, 1):
        last = number == len(branch.children)
        below = indent + ("   " if last else "│  ")
        more = "│  " if child.children else "   "
        yield from _lines(child, indent + ("└─ " if last else "├─ "), below + more, width, colour)
        yield from _children(child, below, width, colour)


def _lines(branch: Branch, first: str, rest: str, width: int, colour: bool) -> Iterator[str]:
    text = f"{SIGNS[branch.mark]}{branch.label}"
    if branch.value:
        text += f"  {branch.value}"
    room = max(_LEAST_WIDTH, width - max(len(first), len(rest)))
    wrapped = textwrap.wrap(text, room, break_on_hyphens=False, drop_whitespace=True) or [text]
    for number, line in enumerate(wrapped):
        yield f"{rest if number else first}{paint(line, branch.mark, colour)}"
    if branch.content is not None:
        for line in branch.content.splitlines():
            yield f"{rest}{without_controls(line.expandtabs(4))}"


def wrapped(lead: str, text: str, width: int) -> list[str]:
    """The text behind its lead, in lines of at most `width` columns where single words allow."""
    return textwrap.wrap(
        text,
        max(_LEAST_WIDTH, width),
        initial_indent=lead,
        subsequent_indent=" " * len(lead),
        break_on_hyphens=False,
        break_long_words=False,
    ) or [lead.rstrip()]


def paint(text: str, mark: Mark, colour: bool) -> str:
    """The text in the colour of its mark, or as it is."""
    code = _COLOURS.get(mark) if colour else None
    return text if code is None else f"\x1b[{code}m{text}\x1b[0m"
