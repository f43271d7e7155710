"""The unit of the service, read: every directive, and the system calls that are left of its filter."""

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "compose" / "accesspoint.service"


def directives(unit: Path = UNIT) -> dict[str, list[str]]:
    """What stands below [Service], every value of a key in its order."""
    found: dict[str, list[str]] = {}
    service = unit.read_text("utf-8").partition("[Service]\n")[2].partition("\n[Install]")[0]
    for key, value in re.findall(r"^([A-Za-z]+)=(.*)$", service, re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


@cache
def _members(group: str) -> frozenset[str]:
    said = subprocess.run(
        ["systemd-analyze", "--no-pager", "syscall-filter", group],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    names = {line.strip() for line in said.stdout.splitlines()[1:]} - {""}
    return frozenset(_calls(name for name in names if not name.startswith("#")))


def _calls(names: Iterator[str]) -> Iterator[str]:
    for name in names:
        if name.startswith("@"):
            yield from _members(name)
        else:
            yield name


def allowed_calls(values: list[str]) -> frozenset[str]:
    """The system calls that `SystemCallFilter=` leaves: the first line allows, those that begin with ~ take away."""
    allowed = set(_members("@default"))
    for value in values:
        named = set(_calls(iter(value.removeprefix("~").split())))
        allowed = allowed - named if value.startswith("~") else allowed | named
    return frozenset(allowed | _members("@default"))
