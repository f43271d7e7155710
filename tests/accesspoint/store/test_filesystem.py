import os
import sys
import threading
from pathlib import Path

import pytest

from accesspoint.store.database import StorageRefused
from accesspoint.store.filesystem import (
    NETWORK_FILE_SYSTEMS,
    file_system_type,
    private_directory,
    private_file,
    refuse_network,
    write_once,
)


@pytest.mark.parametrize("kind", sorted(NETWORK_FILE_SYSTEMS))
def test_network_file_systems_are_refused(kind: int, tmp_path: Path) -> None:
    with pytest.raises(StorageRefused, match=NETWORK_FILE_SYSTEMS[kind]):
        refuse_network(kind, tmp_path)


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="only Linux tells the type by number"
)
def test_the_type_number_is_the_kernels() -> None:
    assert file_system_type(Path("/proc")) == 0x9FA0


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="only Linux tells the type by number"
)
def test_a_missing_place_has_no_type(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        file_system_type(tmp_path / "missing")


def test_a_local_directory_is_made_private(tmp_path: Path) -> None:
    private_directory(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    private_directory(tmp_path / "a" / "b")


def test_a_directory_open_to_others_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a").chmod(0o750)
    with pytest.raises(StorageRefused, match="0750"):
        private_directory(tmp_path / "a")


def test_a_linked_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(StorageRefused, match="not a directory"):
        private_directory(tmp_path / "link")


def test_a_file_in_the_place_of_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(StorageRefused):
        private_directory(tmp_path / "a")


def test_a_pipe_in_the_place_of_a_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(StorageRefused, match="not a regular file"):
        private_file(tmp_path / "pipe")


# -- a file that is made once ---------------------------------------------------------------


def test_a_file_is_made_once_and_for_us_alone(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    write_once(path, "first")
    write_once(path, "second")
    assert path.read_text() == "first"
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["secret"]


def test_nobody_finds_half_a_file_that_is_being_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "secret"
    begun, go_on = threading.Event(), threading.Event()
    fsync = os.fsync

    def hold(descriptor: int) -> None:
        if threading.current_thread() is slow:
            begun.set()
            assert go_on.wait(20)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", hold)
    slow = threading.Thread(target=write_once, args=(path, "of the slow one"))
    slow.start()
    assert begun.wait(20)
    write_once(path, "of the quick one")
    assert path.read_text() == "of the quick one"
    go_on.set()
    slow.join(20)
    assert path.read_text() == "of the quick one"
    assert os.listdir(tmp_path) == ["secret"]


def test_a_file_that_cannot_be_made_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(StorageRefused, match="missing/secret cannot be made: No such file"):
        write_once(tmp_path / "missing" / "secret", "text")
