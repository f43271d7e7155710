"""Each way in which a file can change shows from outside, and what is not there looks like nothing."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from accesspoint.file_stamp import stamp_of


def _replace(path: Path) -> None:
    status = path.stat()
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.chmod(0o640),
        lambda path: path.write_bytes(b"longer"),
        lambda path: os.utime(path, ns=(0, 0)),
        _replace,
        Path.unlink,
    ],
)
def test_a_change_of_any_kind_is_another_stamp(
    tmp_path: Path, change: Callable[[Path], object]
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"short")
    path.chmod(0o600)
    before = stamp_of(path)
    assert stamp_of(path) == before
    change(path)
    assert stamp_of(path) != before


def test_a_file_that_is_not_there_has_an_empty_stamp(tmp_path: Path) -> None:
    assert stamp_of(tmp_path / "nothing") == ()
