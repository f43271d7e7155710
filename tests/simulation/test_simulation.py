"""No seed breaks a promise, and a seed is the same run wherever and whenever it is run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.run import command, main, run_seeds
from tests.simulation.simulation import run_seed
from tests.simulation.stage import Stage

ROOT = Path(__file__).parents[2]
FEW, MANY = 8, 2_000
BUSY_SEED = 6
"""A run with messages both ways, crashes and repetitions."""


@pytest.mark.parametrize("seed", range(FEW))
def test_seed_breaks_no_promise(stage: Stage, seed: int) -> None:
    report = run_seed(seed, stage)
    assert not report.violations, f"{report.violations[0]}\nreproduce: {command(seed)}"


def test_same_seed_tells_the_same_story(stage: Stage) -> None:
    first, second = run_seed(BUSY_SEED, stage, tells=True), run_seed(BUSY_SEED, stage, tells=True)
    assert first.story == second.story
    assert first.digest == second.digest
    assert first.digest != run_seed(BUSY_SEED + 1, stage).digest


def test_same_seed_tells_the_same_story_in_every_process(stage: Stage) -> None:
    digest = run_seed(BUSY_SEED, stage).digest
    told = subprocess.run(
        [sys.executable, "-m", "tests.simulation.run", "--seed", str(BUSY_SEED)],
        cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=100, check=True,
    )  # fmt: skip
    assert told.stdout.split()[-1] == digest


def test_trace_tells_the_story_of_one_seed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seed", "2", "--trace"]) == 0
    *story, last = capsys.readouterr().out.splitlines()
    assert last.startswith("seed 2: 0 broken promises")
    assert any("starts, life 0" in line for line in story)
    assert [line for line in story if "backend takes" in line]


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_two_thousand_seeds_break_no_promise() -> None:
    failed = [
        f"{report.violations[0]} - {command(report.seed)}"
        for chunk in run_seeds(0, MANY, processes=os.cpu_count() or 1)
        for report in chunk
        if report.violations
    ]
    assert not failed, "\n".join(failed[:20])
