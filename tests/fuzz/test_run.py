"""The fuzzer itself: it finds a planted fault and keeps it, and then finds none in any reader within a second each.

The planted fault ends its run as soon as it is found, so that it may have as long as a busy machine needs.
"""

import importlib.util
import subprocess
import sys

import pytest
from command_line import SOURCE

from tests.fuzz import WHERE_ATHERIS_IS
from tests.fuzz.targets import TARGETS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("atheris") is None,
        reason=f"needs atheris: {WHERE_ATHERIS_IS}",
    ),
]


@pytest.fixture(scope="module")
def crashes(tmp_path_factory):
    return tmp_path_factory.mktemp("crashes")


def fuzzed(crashes, *targets, seconds, status):
    """What one run printed."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.run", *targets, "--seconds", str(seconds), "--at-once", "2",
         "--crashes", str(crashes)],
        cwd=SOURCE, capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    print(ran.stdout)  # noqa: T201 - the table is what one wants to read
    assert ran.returncode == status, ran.stdout + ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def planted(crashes):
    """What the run over the target that breaks printed."""
    return fuzzed(crashes, "planted", seconds=60, status=1)


def test_a_planted_fault_is_found_kept_and_told(planted, crashes):
    (kept,) = (crashes / "planted").iterdir()
    assert kept.read_bytes().startswith(b"FU")
    assert "IndexError: planted" in planted
    assert "1 targets broken" in planted


def test_no_reader_breaks_within_a_second(planted, crashes):
    said = fuzzed(crashes, *TARGETS, seconds=1, status=0)
    assert [path.name for path in crashes.iterdir()] == ["planted"]
    assert said.count(" none\n") == len(TARGETS)
    assert "0 targets broken" in said
