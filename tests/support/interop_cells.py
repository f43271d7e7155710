"""Cells of the interop matrix: what a test claims about a peer, and a pytest plugin that collects what came of it.

A test claims a cell with the marker `matrix`:

    @pytest.mark.matrix(peer="phase4", profile="eDelivery AS4 1.15", direction="us to peer", case="repetition")

Values given on the module, the class, the function and one parameter complete each other, the nearest wins. The case
is the marker's sentence, or the test's name in words; the variant is the id of its parameters without the peer's name.
A test without a direction claims nothing. Nothing is kept by hand: a cell exists because a test of that run claimed it.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import pytest

KEYS = ("peer", "profile", "direction", "case")
CELL = "matrix-cell"


class Direction(StrEnum):
    """Who writes what the other one judges."""

    TO_US = "peer to us"
    FROM_US = "us to peer"


class Outcome(StrEnum):
    """What came of a cell's tests; the later the worse, and the worst one counts."""

    HELD = "held"
    NOT_RUN = "not run"
    FAILED = "failed"


@dataclass(frozen=True)
class Cell:
    """One place of the matrix."""

    peer: str
    profile: str
    direction: Direction
    case: str
    variant: str = ""


@dataclass
class Verdict:
    """What the tests of one cell said: each test by its id, with the reason where it did not hold."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)

    def take(self, test: str, outcome: Outcome, reason: str) -> None:
        self.outcomes[test] = max(
            outcome, self.outcomes.get(test, outcome), key=list(Outcome).index
        )
        if reason and reason not in self.reasons:
            self.reasons.append(reason)

    @property
    def outcome(self) -> Outcome:
        return max(self.outcomes.values(), key=list(Outcome).index)


def cell_of(item: pytest.Item) -> Cell | None:
    """The cell that a test claims; `UsageError` where its markers together leave something open."""
    said: dict[str, str] = {}
    for marker in item.iter_markers("matrix"):
        if unknown := set(marker.kwargs) - set(KEYS):
            raise pytest.UsageError(f"{item.nodeid}: the marker matrix knows no {unknown}")
        said = {**marker.kwargs, **said}
    if "direction" not in said:
        return None
    name = getattr(item, "originalname", None) or item.name
    said.setdefault("case", name.removeprefix("test_").replace("_", " "))
    callspec = getattr(item, "callspec", None)
    ids = callspec.id.split("-") if callspec is not None else []
    variant = "-".join(part for part in ids if part != said.get("peer"))
    missing = [key for key in KEYS if key not in said]
    if missing or said["direction"] not in list(Direction):
        raise pytest.UsageError(f"{item.nodeid}: the marker matrix needs {missing or Direction}")
    return Cell(said["peer"], said["profile"], Direction(said["direction"]), said["case"], variant)


def note_cells(items: Iterable[pytest.Item]) -> None:
    """Write each test's cell into its properties: reports carry them, also out of a worker and into JUnit files."""
    for item in items:
        if cell := cell_of(item):
            item.user_properties.append((CELL, json.dumps(vars(cell))))


class Collector:
    """A pytest plugin that fills `cells` from the reports of a run."""

    def __init__(self) -> None:
        self.cells: dict[Cell, Verdict] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        properties: Mapping[str, Any] = dict(report.user_properties)
        if CELL not in properties or (report.passed and report.when != "call"):
            return
        said = json.loads(properties[CELL])
        cell = Cell(**{**said, "direction": Direction(said["direction"])})
        outcome, reason = judge(report)
        self.cells.setdefault(cell, Verdict()).take(report.nodeid, outcome, reason)


def judge(report: pytest.TestReport) -> tuple[Outcome, str]:
    """A test that is known to fail fills a red cell, though its run is green: the peers do not agree."""
    if hasattr(report, "wasxfail"):
        outcome = Outcome.HELD if report.passed else Outcome.FAILED
        return outcome, report.wasxfail.removeprefix("reason: ")
    if report.passed:
        return Outcome.HELD, ""
    if report.skipped:
        skipped = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        return Outcome.NOT_RUN, skipped.removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash else report.longreprtext
    return Outcome.FAILED, re.sub(r"\s+", " ", text)[:300]
