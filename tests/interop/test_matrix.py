"""The matrix itself: a cell is as good as the worst of its tests, and what is not green says why."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.interop.matrix import NOT_TO_BE_HAD, not_to_be_had
from tests.interop.matrix_page import Matrix, write_html, write_markdown
from tests.support.interop_cells import Cell, Direction, Outcome, Verdict

ROOT = Path(__file__).parents[2]
TESTS = """
import pytest
pytestmark = pytest.mark.matrix(peer="p", profile="q", direction="us to peer")

def test_that_holds(): pass

@pytest.mark.parametrize("size", ["p-small"])
@pytest.mark.matrix(direction="peer to us", case="a sentence")
def test_with_parameters(size): pass

@pytest.mark.matrix(case="two tests")
def test_one_of_two(): pass

@pytest.mark.matrix(case="two tests")
def test_other_of_two(): assert 1 == 2, "one is not two"

def test_skipped(): pytest.skip("not to be had")

@pytest.mark.xfail(strict=True, reason="they differ")
def test_known_to_differ(): assert False

@pytest.fixture
def broken(): raise RuntimeError("no peer")

def test_without_its_peer(broken): pass
"""
RUN = """
import json, sys, pytest
from tests.support.interop_cells import Collector, note_cells

class Notes:
    def pytest_configure(self, config): config.addinivalue_line("markers", "matrix: a cell")
    def pytest_collection_modifyitems(self, items): note_cells(items)

collector = Collector()
pytest.main(["-q", "-c", "/dev/null", "-p", "no:cacheprovider", sys.argv[1]], plugins=[collector, Notes()])
found = [
    [cell.direction, cell.case, cell.variant, verdict.outcome, verdict.reasons]
    for cell, verdict in collector.cells.items()
]
print("cells:" + json.dumps(found))
"""


def run(file: Path) -> tuple[list[list[object]], str]:
    """The cells of one file of tests that runs in a process of its own, and what pytest said."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said, _, cells = done.stdout.partition("cells:")
    return json.loads(cells or "[]"), said + done.stderr


def test_cells_are_collected_with_their_reasons(tmp_path: Path) -> None:
    file = tmp_path / "test_cells.py"
    file.write_text(TESTS)
    cells, _ = run(file)
    assert cells == [
        ["us to peer", "that holds", "", "held", []],
        ["peer to us", "a sentence", "small", "held", []],
        ["us to peer", "two tests", "", "failed", ["AssertionError: one is not two assert 1 == 2"]],
        ["us to peer", "skipped", "", "not run", ["not to be had"]],
        ["us to peer", "known to differ", "", "failed", ["they differ"]],
        ["us to peer", "without its peer", "", "failed", ["RuntimeError: no peer"]],
    ]


@pytest.mark.parametrize(
    "marker", ['peer="p", direction="us to peer"', 'peer="p", profile="q", direction="up"', "x=1"]
)
def test_a_marker_that_leaves_something_open_stops_the_run(tmp_path: Path, marker: str) -> None:
    file = tmp_path / "test_cells.py"
    file.write_text(f"import pytest\n@pytest.mark.matrix({marker})\ndef test_nothing(): pass\n")
    cells, said = run(file)
    assert cells == []
    assert "the marker matrix" in said


def test_pages_show_every_cell_and_escape_what_they_quote() -> None:
    verdicts = {}
    for number, outcome in enumerate(Outcome):
        cell = Cell("p<4>", "q", Direction.TO_US, "a | case", f"v{number}")
        verdicts[cell] = Verdict({f"t{number}": outcome}, [f"<why> {number}"] * bool(number))
    matrix = Matrix(verdicts, {"p<4>": "known & old"}, datetime(2026, 11, 21, tzinfo=UTC))
    assert matrix.summary() == "1 held, 1 not run, 1 failed"
    page, text = write_html(matrix), write_markdown(matrix)
    assert page.count('class="chip held"') == page.count('class="chip failed"') == 2
    assert "&lt;why&gt; 1" in page
    assert "<why>" not in page
    assert "known &amp; old" in page
    assert "| a \\| case: v1 | – (1) |" in text
    assert "2. <why> 2" in text


def test_a_peer_that_cannot_be_had_is_grey_in_both_directions_and_says_why() -> None:
    cells = not_to_be_had()
    assert {(cell.peer, cell.direction) for cell in cells} == {
        (peer, direction) for peer in NOT_TO_BE_HAD for direction in Direction
    }
    assert {verdict.outcome for verdict in cells.values()} == {Outcome.NOT_RUN}
    text = write_markdown(Matrix(cells, {}, datetime(2026, 11, 21, tzinfo=UTC)))
    for reason in NOT_TO_BE_HAD.values():
        assert reason.strip()
        assert reason in text
