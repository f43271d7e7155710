"""An empty, short or foreign token file never opens the interface: the node does not start."""

import os
from pathlib import Path

import pytest

from accesspoint.api.client import TOKEN_FILE
from accesspoint.store.database import StorageRefused
from accesspoint.store.token_file import SHORTEST, load_token

GOOD = "t" * SHORTEST


def write(path: Path, text: str | bytes, mode: int = 0o600) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / TOKEN_FILE


def test_a_missing_token_is_made_private_whole_and_kept(path: Path) -> None:
    token = load_token(path)
    assert len(token) == 43
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_token(path) == token
    assert [entry.name for entry in path.parent.iterdir()] == [TOKEN_FILE]


def test_two_nodes_make_two_tokens(tmp_path: Path) -> None:
    assert load_token(tmp_path / "one") != load_token(tmp_path / "two")


def test_a_token_that_somebody_wrote_is_taken(path: Path) -> None:
    assert load_token(write(path, GOOD + "\n")) == GOOD


@pytest.mark.parametrize(
    "content",
    ["", "\n", " " * 64, "short", GOOD[:-1], GOOD + " " + GOOD, GOOD + "\n" + GOOD, b"\xff" * 64, b"\0" * 64],
    ids=["empty", "line-end", "blanks", "word", "one-too-few", "two-words", "two-lines", "not-text", "zeros"],
)  # fmt: skip
def test_a_file_without_a_whole_token_is_refused(path: Path, content: str | bytes) -> None:
    write(path, content)
    with pytest.raises(StorageRefused, match="holds no token of at least 32 characters; remove"):
        load_token(path)
    assert path.read_bytes() == (content if isinstance(content, bytes) else content.encode())


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o601])
def test_sec_01_a_token_that_others_can_reach_is_refused(path: Path, mode: int) -> None:
    with pytest.raises(StorageRefused, match=f"open to others .mode {mode:04o}.") as refused:
        load_token(write(path, GOOD, mode))
    assert GOOD not in str(refused.value)


def test_sec_01_a_token_of_another_user_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(path, GOOD)
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(StorageRefused, match=f"belongs to user {owner}"):
        load_token(path)


@pytest.mark.parametrize("kind", ["link", "dangling", "directory", "pipe"])
def test_fil_02_what_is_not_a_file_of_ours_is_refused(path: Path, kind: str) -> None:
    """A link could lead to a file that somebody else writes; a pipe would keep the start waiting."""
    elsewhere = path.with_name("elsewhere")
    match kind:
        case "link":
            path.symlink_to(write(elsewhere, GOOD))
        case "dangling":
            path.symlink_to(elsewhere)
        case "directory":
            path.mkdir(mode=0o700)
        case _:
            os.mkfifo(path, 0o600)
    with pytest.raises(StorageRefused, match=r"cannot be read|not a regular file"):
        load_token(path)
    assert kind != "dangling" or not elsewhere.exists()


def test_a_directory_that_takes_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageRefused, match="cannot be made: No such file"):
        load_token(tmp_path / "nowhere" / TOKEN_FILE)
