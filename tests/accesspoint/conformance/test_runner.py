"""The catalogue is whole, a case ends in exactly one way, and what a case raises is never a pass."""

import re
from datetime import UTC, datetime

import pytest

from accesspoint.conformance import report_html, report_markdown
from accesspoint.conformance.assertion import Level, catalogue
from accesspoint.conformance.case import (
    NotApplicable,
    Result,
    Status,
    Unmet,
    Waiting,
    case,
    registered,
)
from accesspoint.conformance.runner import Run, choose, run_one
from accesspoint.conformance.target import Target


def test_common_profile_has_46_assertions() -> None:
    found = [id_ for id_ in catalogue() if id_.startswith("AS4_CP_")]
    assert found == [f"AS4_CP_TA{number:02}" for number in range(1, 47)]


def test_what_cannot_be_tested_says_why() -> None:
    for assertion in catalogue().values():
        assert bool(assertion.untestable) is (assertion.level is Level.NOT_TESTABLE), assertion.id
        assert assertion.text.endswith(".")
        assert assertion.why
        assert assertion.section


def test_short_id_is_one_of_the_common_profile() -> None:
    assert [one.id for one in choose(["TA12"])] == ["AS4_CP_TA12"]
    with pytest.raises(KeyError):
        choose(["TA99"])


def test_two_cases_of_one_assertion_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="two cases"):
        case("AS4_CP_TA01")(lambda _target, _recorder: None)
    with pytest.raises(KeyError):
        case("AS4_CP_TA99")


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        (Unmet("this", "that"), Status.FAIL),
        (NotApplicable("because"), Status.NOT_APPLICABLE),
        (Waiting("for you"), Status.WAITING),
        (RuntimeError("broken"), Status.ERROR),
        (TimeoutError(), Status.ERROR),
    ],
)
async def test_what_a_case_raises_is_never_a_pass(
    raised: Exception, status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_target: Target, _recorder: object) -> str:
        raise raised

    monkeypatch.setitem(registered(), "AS4_CP_TA01", broken)
    result: Result = await run_one(Target("nobody"), catalogue()["AS4_CP_TA01"])
    assert result.status is status
    assert (result.expected, result.seen) == (
        ("this", "that") if status is Status.FAIL else ("", "")
    )
    assert result.reason or status is Status.FAIL


def test_a_partners_words_are_no_markup_in_a_report() -> None:
    words = "![x](http://partner.example/seen) <img src=x> \\[y](z) a|b"
    result = Result(catalogue()["AS4_CP_TA01"], Status.FAIL, expected="this", seen=words)
    finished = Run(words, "<b>kind</b>", datetime(2026, 11, 21, tzinfo=UTC), (result,))
    markdown = report_markdown.write(finished)
    assert re.search(r"(?<!\\)[\[\]]|http://|<img", markdown.partition(".\n")[2]) is None
    assert "![" not in markdown.replace("\\!", "")
    html = report_html.write(finished)
    assert "<b>kind" not in html
    assert "<img" not in html
