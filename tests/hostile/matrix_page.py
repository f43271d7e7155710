"""The matrix of attacks as one self-contained HTML page, light and dark: a table for each group, figures above."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from html import escape

from accesspoint import __version__
from tests.hostile.cases import Case
from tests.hostile.catalogue import GROUPS, group_of
from tests.interop.matrix_page import MARKS, STYLE
from tests.support.interop_cells import Outcome, Verdict

SLOWEST = 5
INTRODUCTION = (
    "Each row is the result of tests that ran. Where a gate is named, a genuine message was changed and sent over a"
    " socket with TLS; the refusal was held to nine things, and the message without the attack was accepted right"
    " afterwards."
)
OWN_STYLE = """
td.id, td.where { white-space: nowrap; } td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
details summary { cursor: pointer; color: var(--soft); } details ul { margin: .3rem 0 0; padding-left: 1.1rem; font-size: .85em;
  overflow-wrap: anywhere; } .figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(10rem, 1fr)); gap: .75rem;
  margin: 0; } .figures div { border-left: 3px solid var(--line); padding-left: .75rem; } .figures dt { color: var(--soft);
  font-size: .82rem; } .figures dd { margin: 0; font-size: 1.35rem; font-weight: 600; } small { color: var(--soft); }
td.tests { max-width: 22rem; } summary { white-space: nowrap; } nav { columns: 3 16rem; margin-top: .75rem; } nav a { display: block; }
"""


@dataclass(frozen=True)
class Refusal:
    """One refusal over a socket that held all nine things, and what it cost."""

    test: str
    gate: str
    reason: str
    answer: str
    cpu_ms: float
    memory_kib: int
    cases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Removed:
    """Statements that were taken away together until the test of an attack went red."""

    gate: str
    reason: str
    places: Sequence[str]


@dataclass
class Played(Verdict):
    """What the tests of one case said, and the refusals that they saw."""

    refusals: list[Refusal] = field(default_factory=list)

    def take(self, test: str, outcome: Outcome, reason: str, seen: Iterable[Refusal] = ()) -> None:
        super().take(test, outcome, reason)
        self.refusals += seen


@dataclass(frozen=True)
class Report:
    """One run: the catalogue, what its tests said, and what the refusals cost."""

    cases: list[Case]
    played: dict[str, Played]
    refusals: list[Refusal]
    positives: Counter[Outcome]
    removed: list[Removed]
    accepted: int
    peak_kib: int
    at: datetime

    def outcome(self, case: Case) -> Outcome:
        """A case without a test was not run; one that was refused elsewhere than it says has failed."""
        if (played := self.played.get(case.id)) is None:
            return Outcome.NOT_RUN
        return Outcome.FAILED if self.elsewhere(case) else played.outcome

    def elsewhere(self, case: Case) -> bool:
        """Whether refusals of a case were seen, and none at its gate for its reason with its code."""
        played = self.played.get(case.id)
        if not case.gate or played is None or not played.refusals:
            return False
        said = (case.gate, case.reason, case.code)
        return said not in {(one.gate, one.reason, one.answer) for one in played.refusals}

    def summary(self) -> str:
        """The verdicts in words."""
        found = Counter(self.outcome(case) for case in self.cases)
        said = ", ".join(f"{found[one]} {one.value}" for one in Outcome if found[one])
        return f"{len(self.cases)} cases: {said or 'none'}"

    def made(self) -> str:
        """Of which version, and when."""
        return f"ehmi-accesspoint {__version__}, {self.at:%Y-%m-%d %H:%M} UTC"

    def group(self, name: str) -> list[Case]:
        """The cases of one group."""
        return [case for case in self.cases if group_of(case.id) == name]


def write_html(report: Report) -> str:
    """The report as one page that needs nothing else."""
    body = [
        "<h1>Attacks and what came of them</h1>",
        f"<p>{escape(report.summary())} · {escape(report.made())}</p>",
        f"<p>{INTRODUCTION}</p>",
        _figures(report),
        _contents(report),
        _slowest(report),
        _removed(report),
        *(_group(report, name) for name in GROUPS),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Attacks</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}{OWN_STYLE}</style></head><body><main>\n"
        + "\n".join(body)
        + "\n</main></body></html>\n"
    )


def _figures(report: Report) -> str:
    worst = max((one.cpu_ms for one in report.refusals), default=0.0)
    growth = max((one.memory_kib for one in report.refusals), default=0)
    figures = {
        "refused over a socket": f"{len(report.refusals):,}",
        "twins of them and legal variants accepted": f"{report.accepted:,}",
        "tests of genuine messages passed": f"{report.positives[Outcome.HELD]:,}",
        "false refusals": f"{report.positives[Outcome.FAILED]:,}",
        "worst CPU of a refusal (limit 200 ms)": f"{worst:.0f} ms",
        "most memory for a refusal (limit 32 MiB)": f"{growth / 1024:.1f} MiB",
        "peak of the process, node and attacker": f"{report.peak_kib / 1024:.0f} MiB",
    }
    shown = "".join(
        f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in figures.items()
    )
    return f'<section><dl class="figures">{shown}</dl></section>'


def _contents(report: Report) -> str:
    links = []
    for name, group in GROUPS.items():
        cases = report.group(name)
        held = sum(report.outcome(case) is Outcome.HELD for case in cases)
        links.append(
            f'<a href="#{name}">{name} {escape(group.title)} <small>{held} of {group.size}</small></a>'
        )
    return f"<section><h2>Groups</h2><nav>{''.join(links)}</nav></section>"


def _slowest(report: Report) -> str:
    found = sorted(report.refusals, key=lambda one: -one.cpu_ms)[:SLOWEST]
    rows = "".join(
        f'<tr><td class="number">{one.cpu_ms:.1f}</td><td class="where">{_where(one)}</td>'
        f'<td class="id">{", ".join(one.cases)}</td><td>{escape(_short(one.test))}</td></tr>'
        for one in found
    )
    heads = "<th>CPU ms</th><th>refused</th><th>cases</th><th>test</th>"
    return (
        f"<section><h2>The five slowest refusals</h2><table><thead><tr>{heads}</tr></thead>"
        f"<tbody>{rows}</tbody></table></section>"
    )


def _removed(report: Report) -> str:
    """For each gate the statements that were taken away; every one made a test red."""
    if not report.removed:
        return ""
    rows = []
    for gate in sorted({one.gate for one in report.removed}, key=lambda gate: int(gate[1:])):
        found = [one for one in report.removed if one.gate == gate]
        places = {place for one in found for place in one.places}
        reasons = Counter(one.reason for one in found)
        said = ", ".join(
            f"<code>{escape(reason)}</code>{f' × {times}' if times > 1 else ''}"
            for reason, times in sorted(reasons.items())
        )
        rows.append(
            f'<tr><td class="id">{gate}</td><td class="number">{len(places)}</td>'
            f'<td class="number">{len(found)}</td><td>{said}</td></tr>'
        )
    heads = "<th>gate</th><th>statements taken away</th><th>attacks gone red</th><th>reasons</th>"
    return (
        "<section><h2>Without its check each attack makes its test red</h2><p>The statement that refuses is removed"
        " from the running code, and the test must fail; put back, it must hold again.</p>"
        f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></section>"
    )


def _group(report: Report, name: str) -> str:
    group, cases = GROUPS[name], report.group(name)
    heads = (
        "<th>id</th><th>attack</th><th>expected</th><th>tests</th>"
        '<th class="mark">verdict</th><th>worst CPU ms</th>'
    )
    rows = "".join(_row(report, case) for case in cases)
    missing = group.size - len(cases)
    note = f"<p>{missing} cases are not written down yet.</p>" if missing else ""
    return (
        f'<section id="{name}"><h2>{name} · {escape(group.title)} ({group.size})</h2>{note}'
        f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></section>"
    )


def _row(report: Report, case: Case) -> str:
    played = report.played.get(case.id, Played())
    outcome = report.outcome(case)
    expected = []
    if case.gate:
        expected.append(f"<code>{escape(f'{case.gate} {case.reason} {case.code}')}</code>")
    if case.expected:
        expected.append(escape(case.expected))
    worst = max((one.cpu_ms for one in played.refusals), default=None)
    why = [*played.reasons]
    if report.elsewhere(case):
        why.append("refused elsewhere than the catalogue says")
    if not played.outcomes:
        why.append("no test plays this case")
    chip = (
        f'<span class="chip {outcome.replace(" ", "-")}" title="{escape("; ".join(why))}">'
        f"{MARKS[outcome]}</span>"
    )
    said = "".join(f"<br><small>{escape(one)}</small>" for one in why)
    return (
        f'<tr id="{case.id}"><td class="id">{case.id}</td><td>{escape(case.attack)}</td>'
        f"<td>{'<br>'.join(expected)}</td>"
        f'<td class="tests">{_tests(played)}</td><td class="mark">{chip}{said}</td>'
        f'<td class="number">{"" if worst is None else f"{worst:.1f}"}</td></tr>'
    )


def _tests(played: Played) -> str:
    count = len(played.outcomes)
    if not count:
        return ""
    seen = Counter(_where(one) for one in played.refusals)
    refused = "".join(f"<li>{where} × {times}</li>" for where, times in seen.most_common())
    names = Counter(_short(test).partition("[")[0] for test in played.outcomes)
    tests = "".join(
        f"<li>{escape(name)}{f' × {times}' if times > 1 else ''}</li>"
        for name, times in names.items()
    )
    return (
        f"<details><summary>{count} test{'s' if count > 1 else ''}</summary>"
        f"<ul>{tests}{refused}</ul></details>"
    )


def _where(one: Refusal) -> str:
    return f"<code>{escape(f'{one.gate} {one.reason} {one.answer}')}</code>"


def _short(test: str) -> str:
    return test.removeprefix("tests/")
