"""A run as one HTML page for whoever took part in it: no script of others, no file beside it, light and dark.

The counts by level stand at the top; every assertion is a row that opens to what it asks, why that matters,
what was seen, and what was exchanged, shown where it is text and to be saved in any case; of a recorded message
that is what its parts are, and not their octets.
"""

import base64
from collections.abc import Iterator
from html import escape
from itertools import groupby
from typing import Final

from accesspoint.conformance.assertion import OBLIGING, Level
from accesspoint.conformance.case import Result, Status
from accesspoint.conformance.recorder import Direction, Octets
from accesspoint.conformance.report_json import DISCLAIMER
from accesspoint.conformance.runner import Run

_CLASSES: Final = {
    Status.PASS: "pass",
    Status.FAIL: "fail",
    Status.ERROR: "fail",
    Status.WAITING: "wait",
    Status.NOT_APPLICABLE: "none",
    Status.NOT_TESTABLE: "none",
    Status.NO_CASE: "none",
}
_MARKS: Final = {
    Status.PASS: "✓",
    Status.FAIL: "✗",
    Status.ERROR: "!",
    Status.WAITING: "…",
    Status.NOT_APPLICABLE: "–",
    Status.NOT_TESTABLE: "–",
    Status.NO_CASE: "–",
}
_SHOWN: Final = 20_000
"""Characters of an exchange that are shown; the whole of it can be saved."""

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --paper: #fff; --panel: #f6f8fa;
  --line: #d8dee4; --pass: #1a7f37; --fail: #cf222e; --wait: #9a6700; --none: #6e7781; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9198a1; --paper: #0d1117;
  --panel: #161b22; --line: #30363d; --pass: #3fb950; --fail: #f85149; --wait: #d29922; --none: #8b949e; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 2.5rem 1.5rem 4rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .4rem; letter-spacing: -.01em; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .6rem; }
p { margin: .3rem 0; } .soft { color: var(--soft); }
.verdict { display: inline-block; margin: 1.1rem 0 .3rem; padding: .5rem .9rem; border-radius: .4rem;
  border-left: .35rem solid; background: var(--panel); font-weight: 600; }
.pass { --tone: var(--pass); } .fail { --tone: var(--fail); } .wait { --tone: var(--wait); } .none { --tone: var(--none); }
.verdict { border-color: var(--tone); }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .7rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; } thead th { color: var(--soft); font-weight: 500; }
td b { color: var(--tone); }
.bar { display: flex; height: .55rem; border-radius: .3rem; overflow: hidden; background: var(--line); gap: 1px; }
.bar span { background: var(--tone); }
details { border-bottom: 1px solid var(--line); } section > details:first-of-type { border-top: 1px solid var(--line); }
summary { display: grid; grid-template-columns: 1.6rem 9.5rem 1fr 7rem 11rem; gap: .6rem; padding: .5rem .3rem;
  cursor: pointer; list-style: none; align-items: baseline; }
summary::-webkit-details-marker { display: none; } summary:hover { background: var(--panel); }
summary:focus-visible { outline: 2px solid var(--wait); }
summary .mark, summary .status { color: var(--tone); font-weight: 600; } summary code { font-size: .85rem; }
summary .level, summary .status { font-size: .85rem; } summary .status { text-align: right; }
.open { padding: .3rem .3rem 1.2rem 2.5rem; } dl { display: grid; grid-template-columns: 8.5rem 1fr; gap: .25rem .8rem; margin: 0 0 .8rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
figure { margin: .8rem 0 0; border: 1px solid var(--line); border-radius: .4rem; overflow: hidden; }
figcaption { display: flex; flex-wrap: wrap; gap: .3rem 1rem; padding: .35rem .7rem; background: var(--panel); font-size: .85rem; }
figcaption a { margin-left: auto; color: inherit; }
pre { margin: 0; padding: .7rem; max-height: 24rem; overflow: auto; font: .78rem/1.45 ui-monospace, monospace;
  white-space: pre-wrap; overflow-wrap: anywhere; }
footer { margin-top: 3rem; color: var(--soft); font-size: .9rem; }
@media (max-width: 50rem) { summary { grid-template-columns: 1.4rem 1fr; } summary .text { grid-column: 2; } summary .status { text-align: left; } }
@media print { body { max-width: none; padding: 0; } summary { break-inside: avoid; } }
"""


def write(run: Run) -> str:
    """Return the page."""
    title = f"Conformance of {escape(run.target)}"
    groups = "".join(
        f"<section><h2>{escape(group)}</h2>{''.join(_row(result) for result in results)}</section>"
        for group, results in groupby(run.results, key=lambda result: result.assertion.group)
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body>"
        f"<header><h1>{title}</h1>"
        f'<p class="soft">{escape(run.kind)}, {run.at:%d %B %Y, %H:%M} UTC, '
        f"kit {escape(run.version)}, {len(run.results)} assertions</p>"
        f"{_verdict(run)}{_counts(run)}</header>"
        f'<p class="soft">Each row opens to what the assertion asks, why it matters, and what was exchanged.</p>'
        f"<main>{groups}</main><footer><p>{escape(DISCLAIMER)}</p></footer></body></html>\n"
    )


def _verdict(run: Run) -> str:
    table = run.counts()
    counted = [table[level] for level in OBLIGING]
    if run.broken or not run.is_judged:
        kind = "fail"
    elif all(set(counts) <= {Status.PASS, Status.NOT_APPLICABLE} for counts in counted):
        kind = "pass"
    else:
        kind = "wait"
    return f'<p class="verdict {kind}">{escape(run.verdict)}</p>'


def _counts(run: Run) -> str:
    table = run.counts()
    used = [status for status in Status if any(table[level][status] for level in Level)]
    head = "".join(f"<th>{status}</th>" for status in used)
    rows = []
    for level in Level:
        counts = table[level]
        if not counts:
            continue
        cells = "".join(
            f'<td class="{_CLASSES[status]}">{f"<b>{counts[status]}</b>" if counts[status] else ""}</td>'
            for status in used
        )
        spans = "".join(
            f'<span class="{_CLASSES[status]}" style="flex:{counts[status]}" title="{status}"></span>'
            for status in used
            if counts[status]
        )
        rows.append(
            f'<tr><td>{level}</td><td><div class="bar">{spans}</div></td>{cells}<td>{counts.total()}</td></tr>'
        )
    return (
        f'<table><thead><tr><th>Level</th><th style="width:30%"></th>{head}<th>in all</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _row(result: Result) -> str:
    assertion = result.assertion
    facts = [
        ("Why it matters", assertion.why),
        ("Stands in", assertion.section),
        ("About", f"the {assertion.role}"),
        ("Expected", result.expected),
        ("Seen", result.seen),
        ("Reason", result.reason),
        ("Took", f"{result.seconds:.2f} s" if result.exchanged else ""),
    ]
    listed = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in facts if value)
    exchanged = "".join(_figures(result))
    return (
        f'<details id="{assertion.id}"{" open" if result.status in (Status.FAIL, Status.ERROR) else ""}>'
        f'<summary class="{_CLASSES[result.status]}"><span class="mark">{_MARKS[result.status]}</span>'
        f'<code>{assertion.id}</code><span class="text">{escape(assertion.text)}</span>'
        f'<span class="level soft">{assertion.level}</span><span class="status">{result.status}</span></summary>'
        f'<div class="open"><dl>{listed}</dl>{exchanged}</div></details>'
    )


def _figures(result: Result) -> Iterator[str]:
    for number, one in enumerate(result.exchanged, 1):
        arrow = "→" if one.direction is Direction.TO_TARGET else "←"
        data = base64.b64encode(one.body).decode()
        name = f"{result.assertion.id}-{number}.bin"
        yield (
            f"<figure><figcaption><b>{arrow} {escape(one.label)}</b><span class=soft>{one.direction}</span>"
            f"<span class=soft>after {one.seconds:.2f} s, {len(one.body):,} octets</span>"
            f'<a download="{name}" href="data:application/octet-stream;base64,{data}">save</a></figcaption>'
            f"<pre>{escape(_shown(one))}</pre></figure>"
        )


def _shown(one: Octets) -> str:
    """The head and as much of the octets as a person reads; elements begin new lines, what is no text shows as dots."""
    text = one.body.decode("utf-8", errors="replace")[:_SHOWN]
    clean = "".join(letter if letter.isprintable() or letter in "\n\t" else "·" for letter in text)
    clean = clean.replace("·\n", "\n").replace("\ufffd", "·").replace("><", ">\n<")
    return f"{one.head}\n\n{clean}{'' if len(text) < _SHOWN else ' …'}"
