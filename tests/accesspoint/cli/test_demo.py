"""`accesspoint demo` from outside: wrong words, one broken step, and being interrupted."""

from collections.abc import Callable
from pathlib import Path

import pytest

from accesspoint.demo.stage import BREAKS

from .conftest import Command, Ended, interrupt

Invoke = Callable[..., Ended]


def test_the_breaks_are_listed(invoke: Invoke) -> None:
    ended = invoke("demo", "--list-breaks")
    assert (ended.status, ended.err) == (0, "")
    assert [line.split()[0] for line in ended.out.splitlines()] == [str(step) for step in BREAKS]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--stations", "apartt"], "--stations is `together` or `apart`\n"),
        (["--break", "smp-sig"], "no step is called 'smp-sig'. Did you mean 'smp-signature'?\n"),
        (["--break", "q"], "no step is called 'q'. See accesspoint demo --list-breaks\n"),
        (["--file", "nowhere.json"], "nowhere.json: No such file or directory\n"),
    ],
)
def test_wrong_words(invoke: Invoke, arguments: list[str], told: str) -> None:
    assert invoke("demo", *arguments) == Ended(2, "", told)
    if arguments[0] == "--stations":
        assert invoke("dev", *arguments) == Ended(2, "", told)


def test_a_broken_step_names_its_culprit(command: Command) -> None:
    ended = command.run("demo", "--break", "message-invalid")
    assert (ended.status, ended.err) == (1, "")
    assert "✗ EUA  refused before sending: hco-report-status" in ended.out
    assert "message-invalid" in ended.out.splitlines()[-6]


@pytest.mark.parametrize("arguments", [[], ["--keep"]], ids=["demo", "demo --keep"])
def test_an_interrupted_demo_leaves_nothing(
    command: Command, read_until: Callable[..., list[str]], arguments: list[str], tmp_path: Path
) -> None:
    command.environment["TMPDIR"] = str(tmp_path)
    playing = command.start("demo", *arguments)
    read_until(playing, "EHMI access point", 1)
    ended = interrupt(playing)
    assert (ended.status, ended.err) == (130, "")
    assert ended.out.endswith("interrupted; every process has ended\n")
    assert list(tmp_path.glob("ehmi-*")) == []
    assert list((command.home / "data").glob("*")) == []
