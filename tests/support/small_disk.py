"""A real file system of a few mebibytes, which a test can fill to its last block; it takes root to mount one."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(where: Path, mebibytes: int) -> Iterator[Path]:
    """Mount a tmpfs of this size at `where` for the length of the context, or skip the test with the reason."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("mounting a small file system takes root on Linux")
    libc = ctypes.CDLL(None, use_errno=True)
    where.mkdir(mode=0o700)
    options = f"size={mebibytes}m,mode=0700".encode()
    if libc.mount(b"none", os.fsencode(where), b"tmpfs", 0, options) != 0:
        pytest.skip(f"no file system can be mounted here: {os.strerror(ctypes.get_errno())}")
    try:
        yield where
    finally:
        # Lazily: what a test left open must not keep it mounted.
        libc.umount2(os.fsencode(where), 2)


def free(where: Path) -> int:
    facts = os.statvfs(where)
    return facts.f_bavail * facts.f_frsize


def fill(where: Path, *, leave: int = 0) -> Path:
    """Fill the disk until `leave` octets are left; what fills it is one file, whose path is returned."""
    filler = where / "filler"
    descriptor = os.open(filler, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    try:
        while (left := free(where) - leave) > 0:
            os.write(descriptor, bytes(min(left, 1 << 16)))
    except OSError:
        pass
    finally:
        os.close(descriptor)
    return filler
