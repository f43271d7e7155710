"""The temporary directory of one process, and what an error of the disk below it means.

A process holds a lock on its directory, so that one that starts can tell the leftovers of a dead one from the
open files of a living one.

An input or output error means that nobody knows what reached the disk. The spool then says so by `failure`,
and the node ends, as it does for the database: a start decides what is true. A full disk is no such error:
the file that found no room is dropped, and the next one may find some.

Spec: reliability sections 2.3 (the error rule) and 6.10.
"""

import asyncio
import errno
import fcntl
import os
import secrets
import shutil
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Final

from accesspoint.store.database import StorageFailure, StorageFull, StorageRefused
from accesspoint.store.filesystem import private_directory

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_BROKEN: Final = frozenset(
    {errno.EIO, errno.EROFS, errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.EUCLEAN}
)
"""What an operating system answers when the disk below is not to be trusted any more."""


class Spool:
    """A private directory for files that nobody is to see yet, or ever; `swept` counts the leftovers removed."""

    def __init__(self, parent: Path) -> None:
        """Make a directory of our own in `parent`, and remove those whose process has ended.

        Raises: StorageRefused when `parent` is open to others or on a network file system.
        """
        private_directory(parent)
        self.parent = parent
        self.path, self._lock = _own_directory(parent)
        self.swept = _sweep(parent, keep=self.path.name)
        self.failure: StorageFailure | None = None
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def unnamed_file(self) -> IO[bytes]:
        """Open a file without a name: nothing of it is left after a crash.

        Raises: StorageFailure when there is no room for it.
        """
        try:
            return TemporaryFile(dir=self.path)
        except OSError as error:
            raise self.fail("cannot be made", error) from error

    def fail(self, what: str, error: OSError) -> StorageFailure:
        """Return the error for one of the operating system, without any path; the first that ends all trust is kept."""
        text = f"a payload {what}: {os.strerror(error.errno or 0)}"
        if error.errno in _FULL:
            return StorageFull(text)
        failure = StorageFailure(text)
        if error.errno in _BROKEN and self.failure is None:
            self.failure = failure
            for loop, event in self._waiting:
                # Files are also written in threads.
                loop.call_soon_threadsafe(event.set)
        return failure

    async def wait_failed(self) -> StorageFailure:
        """Return when the disk can no longer be vouched for; the process should then end."""
        waiting = (asyncio.get_running_loop(), asyncio.Event())
        self._waiting.append(waiting)
        try:
            while self.failure is None:
                await waiting[1].wait()
        finally:
            self._waiting.remove(waiting)
        return self.failure

    def close(self) -> None:
        """Remove the directory and let go of its lock."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


class SpoolOfOthers(Spool):
    """The temporary directories of other processes, for one that has none because it only reads."""

    def __init__(self, parent: Path) -> None:
        """Make nothing and remove nothing."""
        self.parent = self.path = parent
        self.swept = 0
        self.failure = None
        self._waiting = []

    def unnamed_file(self) -> IO[bytes]:
        """Refuse: nothing is written here."""
        raise StorageRefused("the store was opened only to read")

    def close(self) -> None:
        """Leave everything as it is."""


def _own_directory(parent: Path) -> tuple[Path, int]:
    """Make and lock a temporary directory of this process; the lock ends with the process."""
    while True:
        own = parent / secrets.token_hex(8)
        own.mkdir(mode=0o700)
        try:
            lock = os.open(own, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # a process that started at the same time took it for a leftover
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.fstat(lock).st_nlink > 0 and own.exists():
            return own, lock
        os.close(lock)


def _sweep(parent: Path, *, keep: str) -> int:
    """Remove the temporary directories whose process has ended; return how many files were in them."""
    files = 0
    for leftover in list(parent.iterdir()):
        if leftover.name == keep:
            continue
        try:
            lock = os.open(leftover, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        except NotADirectoryError:
            # Nothing of ours, unless a power cut made it of something else: nobody is to find a payload here.
            leftover.unlink(missing_ok=True)
            files += 1
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            files += sum(1 for _ in leftover.iterdir())
            shutil.rmtree(leftover, ignore_errors=True)
        finally:
            os.close(lock)
    return files
