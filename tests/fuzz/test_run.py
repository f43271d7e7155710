"""The fuzzer itself: it finds a planted fault and keeps it, and finds none in any reader within a second each."""

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


@pytest.fixture(scope="module")
def said(crashes):
    """What one run over every reader, and the target that breaks, printed."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.run", "planted", *TARGETS, "--seconds", "1", "--at-once", "2",
         "--crashes", str(crashes)],
        cwd=SOURCE, capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    print(ran.stdout)  # noqa: T201 - the table is what one wants to read
    assert ran.returncode == 1, ran.stdout + ran.stderr
    return ran.stdout


def test_a_planted_fault_is_found_kept_and_told(said, crashes):
    (kept,) = (crashes / "planted").iterdir()
    assert kept.read_bytes().startswith(b"FU")
    assert "IndexError: planted" in said


def test_no_reader_breaks_within_a_second(said, crashes):
    assert [path.name for path in crashes.iterdir()] == ["planted"]
    assert said.count(" none\n") == len(TARGETS)
    assert "1 targets broken" in said
