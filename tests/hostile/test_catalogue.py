"""The catalogue is whole: each case is played by a test that exists, and each mark names a case."""

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from envelope.codes import CODES
from envelope.errors import Gate
from tests.hostile.cases import Case
from tests.hostile.catalogue import GROUPS, all_cases, group_of, ids_of, marked_files

ROOT = Path(__file__).parents[2]
CASES = all_cases()
HTTP = re.compile(r"HTTP [2-5]\d\d")


@pytest.fixture(scope="module")
def reasons() -> set[str]:
    """Every text of the product that could be the reason of a refusal."""
    found: set[str] = set()
    for package in ("accesspoint", "envelope", "keys"):
        for file in (ROOT / package).rglob("*.py"):
            found |= set(re.findall(r'"([a-z0-9]+\.[a-z0-9-]+)"', file.read_text("utf-8")))
    return found


def test_there_are_276_attacks() -> None:
    assert sum(group.size for group in GROUPS.values()) == 276


def test_each_case_stands_once() -> None:
    doubled = [case for case, times in Counter(case.id for case in CASES).items() if times > 1]
    assert doubled == []


def test_each_group_has_only_its_own_numbers() -> None:
    strange = [case.id for case in CASES if case.id not in ids_of(group_of(case.id))]
    assert strange == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_case_is_well_formed(case: Case, reasons: set[str]) -> None:
    assert case.attack.strip() == case.attack != ""
    if not case.gate:
        assert case.expected, "neither a gate nor another outcome"
        assert not case.reason
        return
    assert case.gate in {gate.value for gate in Gate}
    assert case.reason in reasons, "the product has no such reason"
    assert case.code in CODES or HTTP.fullmatch(case.code), case.code


@pytest.mark.timeout(240)
def test_every_case_is_played_and_every_mark_names_a_case(tmp_path: Path) -> None:
    """As pytest collects them, the slow tests too; in one test, since to collect them takes a while."""
    written = tmp_path / "claims.json"
    options = ["-p", "tests.hostile.claims", "--claims", str(written), "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "attack", *options]
    done = subprocess.run(
        [*command, *map(str, marked_files())],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    claims: dict[str, list[str]] = json.loads(written.read_text("utf-8"))
    known = {case.id for case in CASES}
    assert {test: ids for test, ids in claims.items() if not known.issuperset(ids)} == {}
    played = {case for ids in claims.values() for case in ids}
    assert sorted(set().union(*map(ids_of, GROUPS)) - played) == []
