"""The tests of the gates take every branch, which only a run that counts them can say."""

import pytest

from tests.gates import GATES, branches


@pytest.mark.slow
def test_no_branch_of_the_gates_is_left_out() -> None:
    assert branches.main([]) == 0


@pytest.mark.slow
def test_a_branch_that_no_test_takes_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(GATES, "envelope/xml.py", ["tests/envelope/test_lifetime.py"])  # type: ignore[arg-type]
    assert branches.main(["envelope/xml.py"]) == 2
