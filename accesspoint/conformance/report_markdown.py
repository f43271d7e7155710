"""A run as Markdown: the counts, what failed and why, and one row per assertion."""

import re
from typing import Final

from accesspoint.conformance.assertion import Level
from accesspoint.conformance.case import Result, Status
from accesspoint.conformance.report_json import DISCLAIMER
from accesspoint.conformance.runner import Run

_MARKUP: Final = re.compile(r"([\\`\[\]!|])")


def write(run: Run) -> str:
    """Return the run as Markdown text."""
    at = run.at.strftime("%Y-%m-%d %H:%M UTC")
    lines = [
        f"# Conformance of {_cell(run.target)}",
        "",
        f"Run at {at} with accesspoint {run.version}. {DISCLAIMER}",
        "",
        *counts(run),
        "",
    ]
    for result in run.results:
        if result.status in (Status.FAIL, Status.ERROR):
            lines += [f"* **{result.assertion.id}**: {_cell(said(result))}"]
    lines += [
        "",
        "| Assertion | Level | Result | Requirement | What was seen |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {result.assertion.id} | {result.assertion.level} | {result.status}"
        f" | {_cell(result.assertion.text)} | {_cell(said(result))} |"
        for result in run.results
    ]
    return "\n".join(lines) + "\n"


def counts(run: Run) -> list[str]:
    """The table of counts by level."""
    table = run.counts()
    head = " | ".join(status.value for status in Status)
    rows = [f"| Level | {head} |", "|---" * (len(Status) + 1) + "|"]
    for level in Level:
        cells = " | ".join(str(table[level][status] or "") for status in Status)
        rows.append(f"| {level} | {cells} |")
    return rows


def said(result: Result) -> str:
    """In one line, what a result says beside its status."""
    if result.status is Status.FAIL:
        return f"expected {result.expected}; seen {result.seen}"
    return result.seen or result.reason


def _cell(text: str) -> str:
    """Text that stays in its cell and is no markup: a partner's words load no picture and link nowhere."""
    plain = "".join(one if one.isprintable() else " " for one in text)
    return _MARKUP.sub(r"\\\1", plain.replace("<", "&lt;")).replace("://", ":&#47;/")
