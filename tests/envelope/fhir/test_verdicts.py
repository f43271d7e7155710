"""The verdicts are those that somebody looked at; a rule that judges otherwise shows up here, defect by defect."""

from pathlib import Path

import pytest

from .verdicts import GOLDEN, SECTIONS, write

HOW = "look at the difference, then: python -m tests.envelope.fhir.verdicts > tests/envelope/fhir/verdicts.md"


@pytest.mark.parametrize("section", SECTIONS)
def test_the_verdicts_are_those_that_were_looked_at(
    section: str, request: pytest.FixtureRequest
) -> None:
    if section == "Published messages":
        published: list[Path] = request.getfixturevalue("published")
        assert published
    assert write([section]) in GOLDEN.read_text(encoding="utf-8"), HOW
