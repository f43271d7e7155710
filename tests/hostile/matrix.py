"""The matrix of attacks: run every test that plays a case, and write what came of it as one HTML page.

    python -m tests.hostile.matrix [--output FOLDER] [--without-gates] [pytest arguments]

With `--without-gates` each statement that refuses an attack is also taken away once, and the page says which
(`without_gates`). Genuine messages, those of other products among them, run too: each must be welcome. The file is
`hostile-matrix.html` in `build/` unless told otherwise; the exit status is that of the tests, or 1 where a case is
open or was refused elsewhere than the catalogue says. A case is held when all tests that play it hold.
"""

import argparse
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.cases import Case
from tests.hostile.catalogue import all_cases, marked_files, positive_files
from tests.hostile.claims import ACCEPTED, CLAIMS, PEAK, POSITIVE, REFUSALS, WITHOUT
from tests.hostile.matrix_page import Played, Refusal, Removed, Report, write_html
from tests.support.interop_cells import Outcome, judge

ROOT = Path(__file__).parents[2]
# Named, so that the workers of pytest-xdist load it too; that it is imported here before is no matter.
PLUGIN = ["-p", "tests.hostile.claims", "-W", "ignore::pytest.PytestAssertRewriteWarning"]


@dataclass(eq=False)
class Collector:
    """A pytest plugin that gathers outcomes and refusals of each case from the reports of a run."""

    played: dict[str, Played] = field(default_factory=lambda: defaultdict(Played))
    refusals: list[Refusal] = field(default_factory=list)
    positives: Counter[Outcome] = field(default_factory=Counter)
    removed: list[Removed] = field(default_factory=list)
    accepted: int = 0
    peak_kib: int = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take one phase of one test; set-up and tear-down count only when they fail or skip."""
        properties: dict[str, Any] = dict(report.user_properties)
        if report.passed and report.when != "call":
            return
        seen = [
            Refusal(report.nodeid, **{**one, "cases": tuple(properties.get(CLAIMS, ()))})
            for one in properties.get(REFUSALS, ())
        ]
        self.refusals += seen
        self.accepted += properties.get(ACCEPTED, 0)
        self.peak_kib = max(self.peak_kib, properties.get(PEAK, 0))
        outcome, reason = judge(report)
        if properties.get(POSITIVE):
            self.positives[outcome] += 1
        if report.passed and WITHOUT in properties:
            self.removed.append(Removed(*properties[WITHOUT]))
        for case in properties.get(CLAIMS, ()):
            self.played[case].take(report.nodeid, outcome, reason, seen)


def report_of(collector: Collector, cases: list[Case]) -> Report:
    """What the page says about one run."""
    return Report(
        cases=cases,
        played=dict(collector.played),
        refusals=collector.refusals,
        positives=collector.positives,
        removed=collector.removed,
        accepted=collector.accepted,
        peak_kib=collector.peak_kib,
        at=datetime.now(UTC),
    )


def main(arguments: list[str]) -> int:
    """Run the tests and write the page."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile.matrix")
    parser.add_argument("--output", type=Path, default=ROOT / "build")
    parser.add_argument("--without-gates", action="store_true")
    known, further = parser.parse_known_args(arguments)
    collector = Collector()
    files = sorted({str(file) for file in [*marked_files(), *positive_files()]})
    options = ["-m", "attack or positive", "-q", "--rootdir", str(ROOT), *PLUGIN]
    if known.without_gates:
        options += ["-p", "tests.hostile.without_gates", "--every-place"]
    status = int(pytest.main([*options, *further, *files], plugins=[collector]))
    report = report_of(collector, all_cases())
    known.output.mkdir(parents=True, exist_ok=True)
    page = known.output / "hostile-matrix.html"
    page.write_text(write_html(report), "utf-8")
    sys.stdout.write(f"{page}: {report.summary()}\n")
    whole = all(report.outcome(case) is Outcome.HELD for case in report.cases)
    return status or int(not whole)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
