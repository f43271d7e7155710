"""Every exception becomes words and an exit status: never a stack trace, never a value of the program."""

import errno
from pathlib import Path

import pytest

from accesspoint.api.client import ApiProblem, NodeUnreachable
from accesspoint.cli.failure import explain
from accesspoint.config import ConfigurationProblem, Finding
from accesspoint.demo.processes import NotStarted
from accesspoint.problems import ProblemRaised
from accesspoint.store.database import StorageFailure, StorageRefused
from keys.errors import KeyStoreError

FAILURES = {
    "configuration": (ConfigurationProblem((Finding("a.toml:1", "unknown key."),)), 3, "a.toml:1  unknown key.\n1 problem."),
    "a problem": (ProblemRaised("port-taken", address="127.0.0.1:1"), 3, "127.0.0.1:1 could not be opened"),
    "keys": (KeyStoreError("k.pem is open to others"), 7, "key.store: k.pem is open to others\n  Nothing was started."),
    "store refused": (StorageRefused("in use"), 3, "detail: in use"),
    "store failed": (StorageFailure("fsync"), 70, "storage-failed"),
    "no node": (NodeUnreachable("no network runs"), 5, "no network runs\n  do: accesspoint dev"),
    "not started": (NotStarted("clinic", Path("log"), "one\ntwo"), 8, "clinic did not start; its log log says\n  one\n  two"),
    "api": (ApiProblem(503, {"detail": "later"}), 1, "the node answered 503: later"),
    "a file": (FileNotFoundError(errno.ENOENT, "No such file or directory", "x.pem"), 1, "x.pem: No such file or directory"),
    "an address": (OSError(errno.EADDRNOTAVAIL, "cannot assign requested address"), 1, "cannot assign requested address"),
    "unforeseen": (ValueError("2512489996"), 1, "detail: ValueError at an unknown place"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAILURES)
def test_words_and_status(name: str) -> None:
    error, status, told = FAILURES[name]
    text, got = explain(error)
    assert got == status
    assert told in text
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_inside_groups_is_the_same_failure(name: str) -> None:
    error, _, _ = FAILURES[name]
    assert explain(ExceptionGroup("a", [ExceptionGroup("b", [error])])) == explain(error)


def test_what_is_unforeseen_is_told_by_its_place_and_not_by_its_text() -> None:
    from accesspoint.api.client import NodeAddress

    with pytest.raises(TypeError) as caught:
        NodeAddress.load(None)  # type: ignore[arg-type]
    text, status = explain(caught.value)
    assert status == 1
    assert text.startswith("internal")
    assert "TypeError at client.py:" in text
    assert "NoneType" not in text


def test_who_stops_reading_is_told_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    import os
    import subprocess
    import sys

    from .conftest import ROOT

    program = (
        "import sys\n"
        "sys.argv = ['accesspoint', 'demo', '--list-breaks']\n"
        "from accesspoint.__main__ import main\n"
        "main()\n"
    )
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        [sys.executable, "-u", "-c", program],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (1, "")
