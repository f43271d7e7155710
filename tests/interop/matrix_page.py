"""The interop matrix as text: one self-contained HTML page, light and dark, and the same in Markdown.

Peers are tables, cases their rows, profile and direction their columns; a red or grey cell points to its reason.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from html import escape

from accesspoint import __version__
from tests.support.interop_cells import Cell, Direction, Outcome, Verdict

MARKS = {Outcome.HELD: "✓", Outcome.FAILED: "✗", Outcome.NOT_RUN: "–"}
ARROWS = {Direction.TO_US: "{} → us", Direction.FROM_US: "us → {}"}
Column = tuple[str, Direction]


@dataclass(frozen=True)
class Table:
    """One peer: its rows in the order of the tests, its columns, and the reasons its cells point to."""

    peer: str
    fact: str
    cells: dict[Cell, Verdict]

    @property
    def columns(self) -> list[Column]:
        found = {(cell.profile, cell.direction) for cell in self.cells}
        return sorted(found, key=lambda column: (column[0], list(Direction).index(column[1])))

    @property
    def cases(self) -> dict[str, list[str]]:
        """The variants of each case, both in the order of the tests."""
        found: dict[str, dict[str, None]] = {}
        for cell in self.cells:
            found.setdefault(cell.case, {})[cell.variant] = None
        return {case: list(variants) for case, variants in found.items()}

    @property
    def reasons(self) -> list[str]:
        return list(
            dict.fromkeys(why for verdict in self.cells.values() for why in verdict.reasons)
        )

    def verdict(self, column: Column, case: str, variant: str) -> Verdict | None:
        profile, direction = column
        return self.cells.get(Cell(self.peer, profile, direction, case, variant))

    def notes(self, verdict: Verdict) -> list[int]:
        return [self.reasons.index(why) + 1 for why in verdict.reasons]

    def title(self, column: Column) -> str:
        return ARROWS[column[1]].format(self.peer)


@dataclass(frozen=True)
class Matrix:
    """All cells of one run, what was learnt about the peers, and when."""

    cells: dict[Cell, Verdict]
    facts: dict[str, str]
    at: datetime

    def tables(self) -> Iterator[Table]:
        """Peers that judge what we write come first, then those of which only captured messages are known."""
        judges = {cell.peer for cell in self.cells if cell.direction is Direction.FROM_US}
        peers = {cell.peer for cell in self.cells}
        for peer in sorted(peers, key=lambda peer: (peer not in judges, peer.lower())):
            own = {cell: verdict for cell, verdict in self.cells.items() if cell.peer == peer}
            yield Table(peer, self.facts.get(peer, ""), own)

    def summary(self) -> str:
        return count(self.cells.values())

    def made(self) -> str:
        return f"ehmi-accesspoint {__version__}, {self.at:%Y-%m-%d %H:%M} UTC"


def count(verdicts: Iterable[Verdict]) -> str:
    """How many cells held, failed and were not run, in words."""
    found = Counter(verdict.outcome for verdict in verdicts)
    said = [f"{found[outcome]} {outcome.value}" for outcome in Outcome if found[outcome]]
    return ", ".join(said) or "none"


def _sum(table: Table, direction: Direction) -> str:
    cells = [verdict for cell, verdict in table.cells.items() if cell.direction is direction]
    return count(cells) if cells else ""


def write_markdown(matrix: Matrix) -> str:
    """The matrix as GitHub-flavoured Markdown tables."""
    lines = [
        *("# Interop matrix", ""),
        f"{matrix.summary()}. Made by `python -m tests.interop.matrix`: {matrix.made()}.",
        *("", "✓ held · ✗ failed · – not run; a number points to the reason below its table.", ""),
    ]
    lines += ["| peer | peer → us | us → peer |", "|---|---|---|"]
    for table in matrix.tables():
        sums = [_sum(table, direction) for direction in Direction]
        lines.append(f"| {_row([table.peer, *sums])} |")
    for table in matrix.tables():
        lines += ["", f"## {table.peer}", ""]
        lines += [table.fact, ""] if table.fact else []
        heads = [f"{column[0]}: {table.title(column)}" for column in table.columns]
        lines.append(f"| {_row(['case', *heads])} |")
        lines.append("|---|" + ":-:|" * len(heads))
        for case, variants in table.cases.items():
            for variant in variants:
                found = (table.verdict(column, case, variant) for column in table.columns)
                marks = [_mark(table, verdict) for verdict in found]
                lines.append(f"| {_row([f'{case}: {variant}' if variant else case, *marks])} |")
        lines += [""] if table.reasons else []
        lines += [f"{number}. {why}" for number, why in enumerate(table.reasons, 1)]
    return "\n".join(lines) + "\n"


def _row(values: list[str]) -> str:
    return " | ".join(value.replace("|", "\\|") for value in values)


def _mark(table: Table, verdict: Verdict | None) -> str:
    if verdict is None:
        return ""
    notes = " ".join(f"({number})" for number in table.notes(verdict))
    return f"{MARKS[verdict.outcome]} {notes}".strip()


STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5d6878; --line: #d9dee6; --page: #f6f7f9; --card: #fff;
  --held: #1b7f4b; --held-soft: #e3f4ea; --failed: #b3261e; --failed-soft: #fbe5e3; --grey: #5d6878; --grey-soft: #e9ecf1; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --soft: #9aa5b5; --line: #303a48; --page: #12161c;
  --card: #1a2029; --held: #7fd6a5; --held-soft: #16382a; --failed: #ffb0a8; --failed-soft: #4a1f1c; --grey: #a9b3c1;
  --grey-soft: #29313d; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 76rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; margin: 0 0 .25rem; } h2 { font-size: 1.2rem; margin: 0; }
p { margin: .25rem 0; color: var(--soft); }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; margin-top: 1.5rem;
  padding: 1rem 1.25rem 1.25rem; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin-top: .75rem; font-size: .92rem; }
th, td { padding: .35rem .6rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: middle; }
thead th { color: var(--soft); font-weight: 600; font-size: .82rem; } thead th small { display: block; font-weight: 400; }
th.mark, td.mark { text-align: center; width: 9rem; } tbody th { font-weight: 400; }
tbody tr:hover { background: color-mix(in srgb, var(--line) 35%, transparent); }
tbody th[rowspan] { vertical-align: top; max-width: 24rem; } code { color: var(--soft); font-size: .88em; }
.chip { display: inline-block; min-width: 2rem; padding: 0 .5rem; border-radius: 999px; font-weight: 600; text-align: center; }
.held { color: var(--held); background: var(--held-soft); } .failed { color: var(--failed); background: var(--failed-soft); }
.not-run { color: var(--grey); background: var(--grey-soft); } .chip + .chip { margin-left: .3rem; }
sup { margin-left: .2rem; } sup a { color: inherit; text-decoration: none; }
ol { margin: .9rem 0 0; padding-left: 1.4rem; font-size: .88rem; color: var(--soft); }
a { color: inherit; }
"""


def write_html(matrix: Matrix) -> str:
    """The matrix as one page that needs nothing else."""
    tables = list(matrix.tables())
    body = [
        "<h1>Interop matrix</h1>",
        f"<p>{escape(matrix.summary())} · {escape(matrix.made())}</p>",
        "<p>Each cell is the result of tests that ran against the peer; a number points to a reason.</p>",
        _overview(tables),
        *(_section(table) for table in tables),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Interop matrix</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body><main>\n"
        + "\n".join(body)
        + "\n</main></body></html>\n"
    )


def _overview(tables: list[Table]) -> str:
    rows = []
    for table in tables:
        cells = "".join(
            f'<td class="mark">{_chips(table, direction)}</td>' for direction in Direction
        )
        rows.append(
            f'<tr><th><a href="#{_anchor(table)}">{escape(table.peer)}</a></th>{cells}</tr>'
        )
    heads = '<th>peer</th><th class="mark">peer → us</th><th class="mark">us → peer</th>'
    return f"<section><table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></section>"


def _chips(table: Table, direction: Direction) -> str:
    found = Counter(
        verdict.outcome for cell, verdict in table.cells.items() if cell.direction is direction
    )
    return "".join(
        _chip(outcome, f"{found[outcome]} {MARKS[outcome]}")
        for outcome in Outcome
        if found[outcome]
    )


def _section(table: Table) -> str:
    heads = "".join(
        f'<th class="mark">{escape(table.title(column))}<small>{escape(column[0])}</small></th>'
        for column in table.columns
    )
    rows = "".join(
        _html_row(table, case, variants, at)
        for case, variants in table.cases.items()
        for at in range(len(variants))
    )
    anchor = _anchor(table)
    reasons = "".join(
        f'<li id="{anchor}-{number}">{escape(why)}</li>'
        for number, why in enumerate(table.reasons, 1)
    )
    return (
        f'<section id="{anchor}"><h2>{escape(table.peer)}</h2><p>{escape(table.fact)}</p>'
        f'<table><thead><tr><th colspan="2">case</th>{heads}</tr></thead><tbody>{rows}</tbody></table>'
        + (f"<ol>{reasons}</ol>" if reasons else "")
        + "</section>"
    )


def _html_row(table: Table, case: str, variants: list[str], at: int) -> str:
    """One variant; the first one carries the sentence for all of its case."""
    heads = [f"<th><code>{escape(variants[at])}</code></th>"]
    if at == 0:
        heads.insert(0, f'<th rowspan="{len(variants)}">{escape(case)}</th>')
    marks = []
    for column in table.columns:
        verdict = table.verdict(column, case, variants[at])
        if verdict is None:
            marks.append('<td class="mark"></td>')
            continue
        notes = "".join(
            f'<sup><a href="#{_anchor(table)}-{number}">{number}</a></sup>'
            for number in table.notes(verdict)
        )
        title = "; ".join([f"{len(verdict.outcomes)} test(s) {verdict.outcome}", *verdict.reasons])
        chip = _chip(verdict.outcome, MARKS[verdict.outcome] + notes, title)
        marks.append(f'<td class="mark">{chip}</td>')
    return f"<tr>{''.join(heads)}{''.join(marks)}</tr>"


def _chip(outcome: Outcome, content: str, title: str = "") -> str:
    said = f' title="{escape(title)}"' if title else ""
    return f'<span class="chip {outcome.replace(" ", "-")}"{said}>{content}</span>'


def _anchor(table: Table) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in table.peer.lower())
