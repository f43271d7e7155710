"""Branches of the gates that no mirroring test takes: `python -m tests.gates.branches [MODULE ...]`.

The exit status is 0 only where every module has all of its lines and branches taken.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.gates import GATES

ROOT: Final = Path(__file__).parents[2]


def main(arguments: list[str] | None = None) -> int:
    """The exit status of the tests, then that of the report."""
    parser = argparse.ArgumentParser(prog="python -m tests.gates.branches", description=__doc__)
    parser.add_argument(
        "modules", nargs="*", metavar="MODULE", help="all of the gates unless named"
    )
    modules = parser.parse_args(arguments).modules or list(GATES)
    tests = sorted({path for module in modules for path in GATES[module]})
    with tempfile.TemporaryDirectory(prefix="branches-") as scratch:
        coverage = [sys.executable, "-m", "coverage"]
        data, include = f"--data-file={scratch}/coverage", f"--include={','.join(modules)}"
        played = subprocess.run(
            [*coverage, "run", "--branch", data, include, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
            cwd=ROOT, check=False,
        )  # fmt: skip
        if played.returncode:
            return played.returncode
        return subprocess.run(
            [*coverage, "report", data, include, "--show-missing", "--fail-under=100"],
            cwd=ROOT,
            check=False,
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
