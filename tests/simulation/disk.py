"""A disk that loses what nobody synchronised: what stands on it now, and what of that would survive the power.

Real files in a directory hold what the node sees. Beside them the disk remembers what is durable: the octets
of a file at its last fsync, the names of a directory at its own, and for database files every write since
the last sync of SQLite, which reaches the disk through a file layer (VFS) of our own. `power_cut` then builds
the directory as a machine would find it: of what was not synchronised each name, file and sector stays, goes
or is torn as chance has it. `process_killed` builds it as the operating system kept it; that is taken as durable.

A crash point is a number of operations: `limit` ends the life right before the operation of that number.
"""

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Final

import apsw

VFS_NAME: Final = "simulated"
SYSTEM_VFS: Final = "unix"
SECTOR: Final = 512
_DISKS: dict[str, "Disk"] = {}
"""The disks of this process by directory, for the file layer, which is told paths."""


class DatabaseFile:
    """One file that SQLite writes: the octets that are durable, and the writes since."""

    def __init__(self, durable: bytes = b"") -> None:
        self.durable = bytearray(durable)
        self.pending: list[tuple[int, bytes | None]] = []
        """Offset and octets; None for the octets cuts the file there."""

    def sync(self) -> None:
        for offset, octets in self.pending:
            _apply(self.durable, offset, octets)
        self.pending.clear()

    def after_power_cut(self, random: Random) -> bytes:
        """What a machine would find: of the writes since the last sync all, none, some, or torn ones."""
        found = bytearray(self.durable)
        mood = random.choice(["none", "all", "first", "some", "torn"])
        first = random.randrange(len(self.pending) + 1)
        for number, (offset, octets) in enumerate(self.pending):
            if mood == "none" or (mood == "first" and number >= first):
                break
            if mood == "some" and random.random() < 0.5:
                continue
            if mood == "torn" and octets is not None:
                for start in range(0, len(octets), SECTOR):
                    if random.random() < 0.5:
                        _apply(found, offset + start, octets[start : start + SECTOR])
                continue
            _apply(found, offset, octets)
        return bytes(found)


def _apply(content: bytearray, offset: int, octets: bytes | None) -> None:
    if octets is None:
        del content[offset:]
        return
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(octets)] = octets


class Disk:
    """The directory of one life of a node."""

    def __init__(
        self, directory: Path, *, at_limit: Callable[[], None], clock: Callable[[], float]
    ) -> None:
        """Everything that stands in `directory` is durable; `at_limit` is called when operation `limit` begins.

        `clock` is the machine's wall clock in seconds since the epoch: files are as old as it says.
        """
        self._clock = clock
        self.directory = directory
        self.operations = 0
        self.limit: int | None = None
        self.ignores_sync = False
        self._at_limit = at_limit
        self._contents: dict[int, bytes] = {}
        self._names: dict[int, dict[str, int]] = {}
        self._databases: dict[str, DatabaseFile] = {}
        for place, directories, files in os.walk(directory):
            self._names[os.stat(place).st_ino] = {
                name: os.lstat(f"{place}/{name}").st_ino for name in (*directories, *files)
            }
            for name in files:
                path = f"{place}/{name}"
                content = Path(path).read_bytes()
                self._contents[os.stat(path).st_ino] = content
                if _is_database(name):
                    self._databases[path] = DatabaseFile(content)
        _DISKS[str(directory)] = self

    def forget(self) -> None:
        """This disk is no longer written."""
        _DISKS.pop(str(self.directory), None)

    def operate(self) -> None:
        """One operation begins: this may be the moment of a crash."""
        self.operations += 1
        if self.operations == self.limit:
            self._at_limit()

    def fsync(self, descriptor: int) -> None:
        """Make a file or the names of a directory durable."""
        self.operate()
        facts = os.fstat(descriptor)
        if self.ignores_sync:
            return
        if stat.S_ISDIR(facts.st_mode):
            with os.scandir(descriptor) as found:
                self._names[facts.st_ino] = {entry.name: entry.inode() for entry in found}
        else:
            with open(f"/proc/self/fd/{descriptor}", "rb") as file:
                self._contents[facts.st_ino] = file.read()
            os.utime(descriptor, (self._clock(), self._clock()))

    def database(self, path: str) -> DatabaseFile:
        return self._databases.setdefault(path, DatabaseFile())

    def keep_name(self, path: str) -> None:
        """Make the name of a file durable: SQLite synchronises the directory with a log that is new in it."""
        directory, name = os.path.split(path)
        self._names[os.stat(directory).st_ino][name] = os.stat(path).st_ino

    def drop_database(self, path: str) -> None:
        self._databases.pop(path, None)

    def process_killed(self, target: Path) -> None:
        """Write what the operating system holds to `target`."""
        shutil.copytree(self.directory, target, ignore=shutil.ignore_patterns("*.db-shm"))

    def power_cut(self, target: Path, random: Random) -> None:
        """Write what survives the power to `target`."""
        target.mkdir(mode=0o700)
        self._restore(self.directory, target, random)

    def _restore(self, place: Path, target: Path, random: Random) -> None:
        durable = self._names.get(place.stat().st_ino, {})
        current = {entry.name: entry.inode() for entry in os.scandir(place)}
        for name in sorted({*durable, *current}):
            inode = current.get(name)
            if durable.get(name) != inode and random.random() < 0.5:
                inode = durable.get(name)
            path = place / name
            if inode is None or name.endswith("-shm"):
                continue
            there = inode == current.get(name)
            if there and path.is_dir():
                (target / name).mkdir(mode=0o700)
                self._restore(path, target / name, random)
            elif there and str(path) in self._databases:
                _write(target / name, self._databases[str(path)].after_power_cut(random))
            elif there or inode in self._contents:
                content = self._contents.get(inode)
                if there and (now := path.read_bytes()) != content:
                    content = random.choice(
                        [content or b"", now, now[: random.randrange(len(now) + 1)]]
                    )
                _write(target / name, content or b"")
                modified = path.stat().st_mtime if there else self._clock()
                os.utime(target / name, (modified, modified))


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o600)


def _is_database(name: str) -> bool:
    return name.endswith((".db", ".db-wal", ".db-journal"))


class _File(apsw.VFSFile):
    """A file of SQLite on a simulated disk; reads, locks and shared memory are those of the system."""

    def __init__(self, path: str, flags: list[int], disk: Disk, shadow: DatabaseFile) -> None:
        super().__init__(SYSTEM_VFS, path, flags)
        self._path = path
        self._disk = disk
        self._shadow = shadow

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - the name of the interface
        self._disk.operate()
        self._shadow.pending.append((offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, size: int) -> None:  # noqa: N802
        self._shadow.pending.append((size, None))
        super().xTruncate(size)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._disk.operate()
        if not self._disk.ignores_sync:
            self._shadow.sync()
            self._disk.keep_name(self._path)


class SimulatedVfs(apsw.VFS):
    """The file layer of SQLite for every simulated disk of this process."""

    def __init__(self) -> None:
        super().__init__(VFS_NAME, SYSTEM_VFS)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        path = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        disk = _disk_of(path)
        if disk is None:
            return apsw.VFSFile(SYSTEM_VFS, name, flags)
        return _File(path, flags, disk, disk.database(path))

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        disk = _disk_of(filename)
        if disk is not None:
            disk.drop_database(filename)
        super().xDelete(filename, syncdir)


def _disk_of(path: str) -> Disk | None:
    places = (disk for directory, disk in _DISKS.items() if path.startswith(directory + "/"))
    return next(places, None)


@contextmanager
def simulated_fsync(disk_of_life: Callable[[], Disk | None]) -> Iterator[None]:
    """Let `os.fsync` of a running life reach its disk, and cost nothing otherwise."""

    def fsync(descriptor: Any) -> None:
        disk = disk_of_life()
        if disk is not None:
            number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
            disk.fsync(number)

    originals = os.fsync, os.fdatasync
    os.fsync = os.fdatasync = fsync
    _register_once()
    apsw.set_default_vfs(VFS_NAME)
    try:
        yield
    finally:
        os.fsync, os.fdatasync = originals
        apsw.set_default_vfs(SYSTEM_VFS)
        _DISKS.clear()


@cache
def _register_once() -> SimulatedVfs:
    """A file layer must outlive every connection that uses it, also one that is collected long after its run."""
    return SimulatedVfs()
