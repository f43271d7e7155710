"""The network that commands mean: the latest that runs, and after its end the one before it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from accesspoint.api.client import NodeUnreachable
from accesspoint.cli.current import POINTER, current, current_nodes, load_given
from accesspoint.config import ConfigurationProblem

A, B, C = ([Path(f"/{name}/accesspoint.toml")] for name in "abc")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ACCESSPOINT_HOME", str(tmp_path / "data"))
    return tmp_path / "data"


def test_without_a_network_the_place_is_named_where_none_is_recorded(home: Path) -> None:
    with pytest.raises(NodeUnreachable, match=f"no running network is recorded in {home}"):
        current_nodes()


def test_a_network_is_meant_while_it_runs(home: Path) -> None:
    with current(A) as pointer:
        assert current_nodes() == A
        assert pointer == home / POINTER
    assert list(home.iterdir()) == []


def test_the_network_before_is_meant_again(home: Path) -> None:
    with current(A):
        with current(B):
            assert current_nodes() == B
        assert current_nodes() == A
    assert not (home / POINTER).exists()


def test_of_several_networks_the_one_that_is_meant_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    older, newer = [Path("/older/a/accesspoint.toml")], [Path("/newer/a/accesspoint.toml")]
    with current(older):
        current_nodes()
        assert capsys.readouterr().err == ""
        with current(newer):
            assert current_nodes() == newer
            told = "several networks run; this is about the one in /newer, started last"
            assert capsys.readouterr().err == f"{told} (another: --config FILE)\n"


def test_who_ends_takes_only_itself_out(home: Path) -> None:
    """A network that ends before the one started after it neither ends that one nor comes back."""
    first, second, third = current(A), current(B), current(C)
    for one in (first, second, third):
        one.__enter__()
    second.__exit__(None, None, None)
    assert current_nodes() == C
    first.__exit__(None, None, None)
    assert current_nodes() == C
    third.__exit__(None, None, None)
    assert not (home / POINTER).exists()


def ended_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_network_that_was_killed_is_not_restored(home: Path) -> None:
    home.mkdir()
    dead = {"nodes": [str(path) for path in A], "pid": ended_pid()}
    (home / POINTER).write_text(json.dumps({"networks": [dead]}))
    with current(B):
        assert current_nodes() == B
    assert not (home / POINTER).exists()


def test_a_killed_network_does_not_hide_one_that_runs(home: Path) -> None:
    home.mkdir()
    dead = {"nodes": [str(path) for path in A], "pid": ended_pid()}
    alive = {"nodes": [str(path) for path in B], "pid": os.getpid()}
    (home / POINTER).write_text(json.dumps({"networks": [dead, alive]}))
    assert current_nodes() == B


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"networks": 1}', '{"networks": []}', '{"nodes": []}']
)
def test_an_unusable_file_counts_as_none(home: Path, text: str) -> None:
    home.mkdir()
    (home / POINTER).write_text(text)
    with pytest.raises(NodeUnreachable):
        current_nodes()
    with current(A):
        assert current_nodes() == A
    assert not (home / POINTER).exists()


def test_a_configuration_is_called_what_the_user_called_it(tmp_path: Path) -> None:
    path = tmp_path / "other.toml"
    path.write_text("label = = 2\n")
    with pytest.raises(ConfigurationProblem) as raised:
        load_given(path)
    lines = raised.value.render().splitlines()
    assert lines[0].startswith(f"{path}:1  label = = 2")
    assert lines[-1].endswith(f"check again: accesspoint config check --config {path}")
