"""The threat model says what is tested, and by what: each case is part of a threat, and no threat is tested by nothing."""

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.hostile.catalogue import all_cases

ROOT = Path(__file__).parents[2]
PAGE = ROOT / ".github" / "THREAT-MODEL.md"
STATES = frozenset({"tested", "built", "not built", "assumed"})


class Threat(NamedTuple):
    threat: str
    answer: str
    state: str
    shown_by: str

    def cases(self) -> set[str]:
        """Every id that is named, those of ranges written out."""
        ids = set()
        for group, first, last in re.findall(
            r"([A-Z0-9]{3})-(\d\d)(?: to \1-(\d\d))?", self.shown_by
        ):
            ids |= {f"{group}-{number:02}" for number in range(int(first), int(last or first) + 1)}
        return ids

    def tests(self) -> set[str]:
        return set(re.findall(r"`(tests/[a-z_/]+)`", self.shown_by))


def threats() -> list[Threat]:
    table = PAGE.read_text("utf-8").partition("## Defences")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    return [Threat(*(cell.strip() for cell in row.strip("|").split("|"))) for row in rows]


def test_there_are_threats_of_every_state_that_is_known() -> None:
    assert len(threats()) > 20
    assert {threat.state for threat in threats()} <= STATES


@pytest.mark.parametrize("threat", threats(), ids=lambda threat: threat.threat[:40])
def test_what_shows_it_is_there(threat: Threat) -> None:
    known = {case.id for case in all_cases()}
    assert threat.cases() - known == set()
    assert [path for path in threat.tests() if not any((ROOT / path).rglob("test_*.py"))] == []
    assert (threat.state == "tested") == bool(threat.cases() | threat.tests())


def test_every_case_is_part_of_a_threat() -> None:
    tied = set().union(*(threat.cases() for threat in threats()))
    assert {case.id for case in all_cases()} - tied == set()
