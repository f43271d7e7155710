"""The self-test of an access point, twelve points, each run anew: a table with result, time and command.

    python tests/selftest.py [--point N ...] [--markdown]

A point is a selection of the project's own tests, on real sockets, stores and processes; where a verb shows
the same to somebody without the tests, it stands beside. A point that was skipped has not passed. The exit
status is 1 when a point does not hold.
"""

# ruff: noqa: T201 (it is a program that prints)

import argparse
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
_COUNT: Final = re.compile(r"(\d+) (passed|failed|errors?|skipped)\b")


@dataclass(frozen=True, slots=True)
class Point:
    """One point: what has to hold, the tests that show it, and the verb that shows it to a user (or empty)."""

    title: str
    tests: tuple[str, ...]
    verb: str = ""

    @property
    def command(self) -> str:
        """What runs the tests of this point by hand."""
        return "python -m pytest -m '' " + " ".join(self.tests)


POINTS: Final = (
    Point(
        "AS4 conformance: the published assertions",
        ("tests/accesspoint/conformance/test_ourselves.py::test_we_are_conformant",),
        "accesspoint conformance run",
    ),
    Point(
        "SMP look-up, with `##`, `::` and `:` in identifiers",
        ("tests/envelope/test_smp_addresses.py", "tests/accesspoint/discovery/test_dynamic.py"),
        "accesspoint lookup GLN",
    ),
    Point(
        "HomeCareObservation, receipt, SBDH acknowledgement, FHIR Acknowledgement and the acknowledgement of that",
        ("tests/e2e/test_exchange.py", "tests/e2e/demo/test_demo.py"),
        "accesspoint demo",
    ),
    Point(
        "All rows of the duplicate table",
        ("tests/envelope/test_duplicates.py", "tests/e2e/test_reliable_messaging.py"),
    ),
    Point(
        "An SBDH that its schema or profile refuses: an AS4 error and no receipt",
        (
            "tests/envelope/test_sbdh_schema.py::test_our_schema_gives_the_expected_verdict",
            "tests/hostile/test_refused_envelope.py",
        ),
    ),
    Point(
        "An unknown receiver",
        (
            "tests/hostile/test_wrong_address.py",
            "tests/accesspoint/inbound/test_receiver.py::test_a_recipient_that_is_not_served_here_is_refused",
        ),
        "accesspoint demo --break participant-unregistered",
    ),
    Point(
        "The peer is down: retries, then outcome 8 at the status component",
        ("tests/accesspoint/outbound/test_sender.py::test_spent_retries_end_honestly",),
        "accesspoint demo --break receiver-down",
    ),
    Point(
        "The status component is offline: the queue drains in order",
        ("tests/accesspoint/delivery/test_outage.py",),
        "accesspoint drill",
    ),
    Point(
        "A token ends while the queue drains",
        (
            "tests/accesspoint/delivery/test_outage.py::test_after_three_days_everything_arrives_once_and_in_order[400]",
            "tests/accesspoint/delivery/test_relay.py::test_a_token_no_longer_taken_is_dropped_and_fetched_anew",
            "tests/accesspoint/delivery/test_token.py::test_a_token_is_kept_until_thirty_seconds_before_it_expires",
        ),
    ),
    Point(
        "A crash between receipt and delivery",
        ("tests/e2e/test_restart.py", "tests/e2e/test_backends_killed.py"),
    ),
    Point(
        "The copy with XDS-METADATA for the document register",
        ("tests/accesspoint/stations/test_sharing.py", "tests/e2e/demo/test_demo_share.py"),
        "accesspoint demo --share",
    ),
    Point(
        "A wrong certificate, one whose CN is another party's, a revoked one",
        ("tests/hostile/test_untrusted_certificate.py", "tests/accesspoint/test_trust.py"),
        "accesspoint demo --break sender-revoked",
    ),
)


@dataclass(frozen=True, slots=True)
class Result:
    """How a point ended: `held` only when something passed and nothing failed, erred or was skipped."""

    held: bool
    counts: str
    seconds: float


def run(point: Point) -> Result:
    """Run the tests of one point in a process of their own."""
    begun = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", "-m", "", "--no-header", *point.tests]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = ended.stdout.strip().splitlines()
    counts = {what: int(number) for number, what in _COUNT.findall(lines[-1] if lines else "")}
    held = ended.returncode == 0 and counts.keys() == {"passed"}
    text = ", ".join(f"{number} {what}" for what, number in counts.items())
    return Result(held, text or f"exit status {ended.returncode}", time.monotonic() - begun)


def main() -> int:
    """Run the points asked for and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--point", type=int, action="append", choices=range(1, len(POINTS) + 1))
    parser.add_argument("--markdown", action="store_true", help="the table as Markdown")
    arguments = parser.parse_args()
    chosen = arguments.point or range(1, len(POINTS) + 1)
    held = True
    if arguments.markdown:
        print("| # | Point | Result | Seconds | Command | For users |\n|---|---|---|---|---|---|")
    for number in chosen:
        point = POINTS[number - 1]
        result = run(point)
        held = held and result.held
        word = "holds" if result.held else "DOES NOT HOLD"
        if arguments.markdown:
            verb = f"`{point.verb}`" if point.verb else ""
            print(
                f"| {number} | {point.title} | {word}: {result.counts} | {result.seconds:.0f} | `{point.command}` | {verb} |"
            )
        else:
            print(f"{number:3}  {word:14} {result.seconds:5.0f} s  {point.title}")
            print(f"                             {result.counts}: {point.command}")
            if point.verb:
                print(f"                             or: {point.verb}")
        sys.stdout.flush()
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
