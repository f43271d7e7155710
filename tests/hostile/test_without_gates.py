"""No gate is there for nothing: without the check that refuses it, each kind of attack makes its test red."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile.catalogue import all_cases, marked_files

ROOT = Path(__file__).parents[2]
NOT_TRIED = {
    ("G1", "http.path"),
    ("G1", "http.slow"),
    ("G1", "http.stalled"),
    ("G1", "http.syntax"),
    ("G1", "http.version"),
    ("G6", "cert.revocation-unknown"),
    ("G6", "cert.revoked"),
    ("G10", "rcp.other"),
}
"""The edge of HTTP, whose tests wait for deadlines; ends that tests of other directories play; and revocation, where
a certificate that was once taken is remembered, so that its test is not green again (`test_planted_faults` has it)."""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_without_its_check_each_attack_makes_its_test_red(tmp_path: Path) -> None:
    """One removal for each gate and reason of the catalogue; `--every-place` removes every statement."""
    written = tmp_path / "removed.json"
    plugins = ["-p", "tests.hostile.claims", "-p", "tests.hostile.without_gates"]
    options = ["-m", "attack and not slow", "-q", "-r", "fE", "-p", "no:cacheprovider"]
    files = [
        str(file)
        for file in marked_files()
        if file.parent == Path(__file__).parent and file.name != "test_http_edge.py"
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *plugins, "--removed", str(written), *files],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    removed = {(gate, reason) for gate, reason, _ in json.loads(written.read_text("utf-8"))}
    ends = {(case.gate, case.reason) for case in all_cases() if case.gate}
    assert ends - removed <= NOT_TRIED
    assert {gate for gate, _ in removed} >= {f"G{number}" for number in range(1, 11)}
