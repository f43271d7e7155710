"""The load program runs, and its tables are complete; what it measures is a report and asserted nowhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
PROGRAM = Path(__file__).with_name("push_ratio.py")


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """The cells of every line that the quick run prints."""
    result = subprocess.run(
        [sys.executable, str(PROGRAM), "--quick", "--key", "2048", "--directory",
         str(tmp_path_factory.mktemp("load"))],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    return [
        [cell.strip() for cell in re.split("[│┃]", line)[1:-1]]
        for line in result.stdout.splitlines()
        if line.startswith(("│", "┃"))
    ]


@pytest.mark.parametrize("name", ["AS4 push, RSA-2048", "whole EHMI exchange, RSA-3072"])
def test_row_is_complete(printed: list[list[str]], name: str) -> None:
    (row,) = [cells for cells in printed if cells[0] == name]
    values = [float(cell) for cell in row[1:]]
    assert len(values) == 10
    assert all(value > 0 for value in values)
    _, sender, receiver, both, floor, ratio, *_ = values
    assert both == pytest.approx(sender + receiver, abs=0.02)
    assert ratio == pytest.approx(floor / both, rel=0.02)


def test_every_step_has_its_cost(printed: list[list[str]]) -> None:
    steps = {cells[1]: cells[2] for cells in printed if cells[0] in {"sender", "receiver", "both"}}
    assert {
        "payload file, durable", "commit: accepted", "commit: claimed", "gzip", "digests of payload and part",
        "encrypt", "wrap key", "commit: image stored, sending", "MIME written", "HTTP and TLS, client",
        "HTTP and TLS, server", "MIME parsed", "scan and parse", "authenticate", "unwrap key",
        "decrypt and digest", "inflate, business header", "build receipt", "commit: received", "verify receipt",
        "commit: acknowledged", "all steps",
    } <= steps.keys()  # fmt: skip
    assert all(float(cost) > 0 for cost in steps.values())
