import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

import accesspoint
from accesspoint import failpoints
from accesspoint.failpoints import POINTS, VARIABLE, FailpointReached

PACKAGE = Path(accesspoint.__file__).parent
CALL = re.compile(r"\bfailpoint\((.*?)\)")
AWAITED = {}
"""Places whose code does not exist yet, and why: shrinks to nothing."""


@pytest.fixture
def armed():
    yield failpoints.arm
    failpoints.arm("")


def reach(*names):
    for name in names:
        failpoints._reach(name)


def run(program: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_sixty_points_are_all_there():
    expected = [
        f"{letter}{number}"
        for letter, count in (("S", 20), ("R", 16), ("D", 8), ("O", 8), ("M", 8))
        for number in range(1, count + 1)
    ]
    assert list(POINTS) == expected
    assert len(POINTS) == 60
    assert all(point.where and point.holds for point in POINTS.values())


def test_every_call_site_names_a_listed_place_and_every_place_has_one():
    called = Counter(
        argument
        for path in PACKAGE.rglob("*.py")
        if path.name != "failpoints.py"
        for argument in CALL.findall(path.read_text("utf-8"))
    )
    assert all(re.fullmatch(r'"[A-Z]\d+"', argument) for argument in called)
    places = {point.name for point in POINTS.values() if point.line}
    found = {argument.strip('"') for argument in called}
    assert found <= places
    assert places - found == set(AWAITED)


def test_without_the_variable_nothing_can_be_reached():
    program = "from accesspoint import failpoints as f; print(f.is_armed(), f.failpoint.__name__)"
    environment = {k: v for k, v in os.environ.items() if k != VARIABLE}
    told = subprocess.run(
        [sys.executable, "-c", program],
        env={**environment, "PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout == "False _pass\n"


def test_a_point_that_is_off_costs_less_than_a_microsecond():
    def seconds():
        start = time.perf_counter()
        for _ in range(10_000):
            failpoints._pass("R13")
        return time.perf_counter() - start

    assert min(seconds() for _ in range(5)) < 0.01


def test_each_fault_is_what_its_name_says(armed):
    armed("R1=raise;R2=eio;R3=enospc;R4=stall:0.05")
    with pytest.raises(FailpointReached, match="R1"):
        reach("R1")
    with pytest.raises(OSError, match="Input/output") as eio:
        reach("R2")
    assert eio.value.errno == errno.EIO
    with pytest.raises(OSError, match="No space") as full:
        reach("R3")
    assert full.value.errno == errno.ENOSPC
    start = time.monotonic()
    reach("R4")
    assert time.monotonic() - start >= 0.05


def test_a_failure_happens_once_and_says_so_first(armed, capfd):
    armed("R1=raise")
    with pytest.raises(FailpointReached):
        reach("R1")
    reach("R1", "R1")
    told = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert told == [{"event": "failpoint", "point": "R1", "fault": "raise"}]


def test_the_hit_can_be_chosen(armed):
    armed("R1=raise@3")
    reach("R1", "R1")
    with pytest.raises(FailpointReached):
        reach("R1")


def test_a_failure_can_wait_for_another_point(armed):
    armed("R12=raise@R11")
    reach("R12", "R12", "R11")
    with pytest.raises(FailpointReached, match="R12"):
        reach("R12")


def test_other_points_are_not_touched(armed):
    armed("R1=raise")
    reach(*(name for name in POINTS if name != "R1"))


@pytest.mark.parametrize(
    "text",
    ["R99=kill", "R14=kill", "R1=explode", "R1", "R1=kill@soon", "R1=stall:long", "R1=kill@R14"],
)
def test_a_text_that_names_nothing_is_refused(armed, text):
    armed("R1=raise")
    with pytest.raises(ValueError, match="cannot be armed"):
        armed(text)
    with pytest.raises(FailpointReached):
        reach("R1")


def test_kill_ends_the_process_as_a_power_cut_does():
    program = (
        "import atexit; from accesspoint.failpoints import failpoint;"
        " atexit.register(print, 'left in order'); failpoint('S3'); print('lived on')"
    )
    ended = run(program, AP_FAILPOINTS="S3=kill")
    assert ended.returncode == -signal.SIGKILL
    assert ended.stdout == ""
    assert json.loads(ended.stderr)["point"] == "S3"
