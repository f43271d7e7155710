"""Each planted fault turns a suite red; a suite that would stay green proves nothing.

| planted               | caught by                                                         |
|-----------------------|-------------------------------------------------------------------|
| no-sync               | power cuts (test_power_loss.py)                                   |
| no-dedupe             | the walk of the crash points (test_walk_sqlite.py)                |
| receipt-before-commit | the walk of the crash points                                      |
| mark-before-post      | the walk of the crash points                                      |
| lease-ignored         | the tests of leases (tests/accesspoint/store/test_leases.py)      |
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from scenarios import SCENARIOS

from accesspoint.failpoints import Fault

pytestmark = pytest.mark.slow
walked = pytest.mark.asyncio(loop_scope="module")
ROOT = Path(__file__).parents[2]

CAUGHT = {
    "no-sync": ("S7", "the backend has the message 0 times"),
    "no-dedupe": ("R13", "took"),
    "receipt-before-commit": ("R8", ""),
    "mark-before-post": ("O1", ""),
}


@walked
@pytest.mark.parametrize("fault", CAUGHT)
async def test_a_planted_fault_is_caught(sqlite, fault):
    point, words = CAUGHT[fault]
    await sqlite.start_anew()
    scene, victim = sqlite.scene, SCENARIOS[point].victim
    scene.always = {victim: (f"plant:{fault}",)}
    scene.patience = 8.0
    try:
        result = await sqlite.run(point, Fault.KILL)
    finally:
        scene.always, scene.patience = {}, 45.0
    assert result.broken is not None
    assert words in result.broken


@walked
async def test_the_same_points_hold_when_nothing_is_planted(sqlite):
    for point in sorted({point for point, _ in CAUGHT.values()}):
        assert (await sqlite.run(point, Fault.KILL)).broken is None


def run_leases(*plugin: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *plugin,
         "tests/accesspoint/store/test_leases.py"],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(__file__).parent)])},
    )  # fmt: skip


def test_a_lease_that_is_ignored_is_caught_by_the_tests_of_leases():
    ran = run_leases("-p", "planted_lease")
    assert ran.returncode == 1, ran.stdout
    assert run_leases().returncode == 0
