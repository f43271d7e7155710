"""The matrix of attacks: what it calls held, and that the page says everything and escapes what it quotes."""

import pytest

from tests.hostile.cases import Case
from tests.hostile.matrix import Collector, report_of
from tests.hostile.matrix_page import Played, Refusal, Removed, Report, write_html
from tests.support.interop_cells import Outcome

CASE = Case("XSW-01", "an <attack>", "G5", "sig.coverage", "EBMS:0101")
HERE = Refusal("tests/t.py::a", "G5", "sig.coverage", "EBMS:0101", 4.0, 10, ("XSW-01",))
ELSEWHERE = Refusal("tests/t.py::a", "G4", "header.schema", "EBMS:0009", 30.0, 10, ("XSW-01",))


def report(outcome: Outcome | None, *refusals: Refusal) -> Report:
    """A run in which one case was played by one test, or by none."""
    collector = Collector()
    if outcome is not None:
        collector.played["XSW-01"].take("tests/t.py::a", outcome, "why & how", refusals)
    collector.refusals += refusals
    return report_of(collector, [CASE])


@pytest.mark.parametrize(
    ("given", "refusals", "expected"),
    [
        (None, (), Outcome.NOT_RUN),
        (Outcome.HELD, (HERE,), Outcome.HELD),
        (Outcome.HELD, (ELSEWHERE, HERE), Outcome.HELD),
        (Outcome.HELD, (ELSEWHERE,), Outcome.FAILED),
        (Outcome.HELD, (), Outcome.HELD),
        (Outcome.FAILED, (HERE,), Outcome.FAILED),
    ],
    ids=["no test", "here", "here too", "elsewhere", "not over a socket", "failed"],
)
def test_a_case_is_held_only_where_the_catalogue_says(
    given: Outcome | None, refusals: tuple[Refusal, ...], expected: Outcome
) -> None:
    assert report(given, *refusals).outcome(CASE) is expected


def test_the_page_says_what_was_seen_and_escapes_what_it_quotes() -> None:
    seen = report(Outcome.HELD, HERE, ELSEWHERE)
    seen.removed.append(Removed("G5", "sig.coverage", ["envelope/coverage.py:1 f"]))
    seen.positives[Outcome.HELD] += 7
    page = write_html(seen)
    assert "an &lt;attack&gt;" in page
    assert "<attack>" not in page
    assert "why &amp; how" in page
    assert page.index("30.0") < page.index("4.0"), "the slowest first"
    assert "22 cases are not written down yet" in page
    for figure in ("1 cases: 1 held", "attacks gone red", "<dd>7</dd>", "<dd>30 ms</dd>"):
        assert figure in page


def test_a_test_counts_as_its_worst_phase() -> None:
    played = Played()
    played.take("a", Outcome.HELD, "")
    played.take("a", Outcome.FAILED, "torn down badly")
    assert played.outcome is Outcome.FAILED


def test_collectors_are_plugins() -> None:
    """pytest keeps plugins in sets."""
    assert len({Collector(), Collector()}) == 2
