"""How the gates are measured: a weak module does not hide behind good ones, and no reason outlives its line."""

import ast
from pathlib import Path

import pytest

from tests.gates import GATES
from tests.gates.equivalent import EQUIVALENT, Change
from tests.gates.mutants import Score, tell, without_equivalent, worth_trying

ROOT = Path(__file__).parents[2]

MUTATED = """
def x_f__mutmut_orig(a):
    if a < 2:
        raise LookupError("few")
    return a
def x_f__mutmut_1(a):
    if a <= 2:
        raise LookupError("few")
    return a
def x_f__mutmut_2(a):
    if a < 2:
        raise LookupError("XXfewXX")
    return a
"""
LESS = Change("f", "if a < 2:", "if a <= 2:")


@pytest.mark.parametrize(
    ("scores", "status"),
    [
        ({"one": Score(10, 9, 0), "two": Score(100, 100, 0)}, 0),
        ({"one": Score(10, 8, 0), "two": Score(100, 100, 0)}, 1),
        ({"one": Score(0, 0, 1), "two": Score(100, 100, 0)}, 1),
    ],
)
def test_every_module_has_to_reach_the_score_alone(
    scores: dict[str, Score], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tell(scores) == status
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_only_what_changes_a_meaning_is_tried() -> None:
    assert worth_trying(MUTATED) == {"x_f__mutmut_1": LESS}


def test_a_reason_for_what_no_mutant_changes_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EQUIVALENT, "module.py", {LESS: "why"})  # type: ignore[arg-type]
    assert without_equivalent("module.py", {"x_f__mutmut_1": LESS}) == {}
    with pytest.raises(LookupError, match=r"module\.py: no mutant is"):
        without_equivalent("module.py", {})


@pytest.mark.parametrize("module", EQUIVALENT)
def test_what_has_a_reason_still_stands_in_its_module(module: str) -> None:
    tree = ast.parse((ROOT / module).read_text("utf-8"))
    lines = {line.strip() for line in ast.unparse(tree).splitlines()}
    assert module in GATES
    assert {change.was for change in EQUIVALENT[module]} <= lines
