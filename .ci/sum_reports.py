# ruff: noqa: INP001
"""Add up JUnit reports and print one line: `N passed, N failed, N skipped`.

A report that is missing (its suite was ended before it could write) counts as one failure, and so does a sum
without a single passed test. The exit status is 1 when anything failed.
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree as ET


def count(reports: Iterable[Path]) -> tuple[int, int, int]:
    """Return the numbers of passed, failed and skipped tests in all reports."""
    passed = failed = skipped = 0
    for report in reports:
        if not report.exists():
            failed += 1
            continue
        for suite in ET.parse(report).getroot().iter("testsuite"):  # noqa: S314 written by our own run
            broken = int(suite.get("failures", "0")) + int(suite.get("errors", "0"))
            left_out = int(suite.get("skipped", "0"))
            passed += max(0, int(suite.get("tests", "0")) - broken - left_out)
            failed += broken
            skipped += left_out
    if passed == 0 and failed == 0:
        failed = 1
    return passed, failed, skipped


def main(arguments: list[str]) -> int:
    """Print the sum; return the exit status."""
    passed, failed, skipped = count(Path(argument) for argument in arguments)
    sys.stdout.write(f"{passed} passed, {failed} failed, {skipped} skipped\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
