import os
import sys
from pathlib import Path

import pytest

from accesspoint.store.database import StorageRefused
from accesspoint.store.filesystem import (
    NETWORK_FILE_SYSTEMS,
    file_system_type,
    private_directory,
    private_file,
    refuse_network,
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
