"""What a disk can do to a node, made in a child of the nursery: lose what was not synchronised, or refuse the n-th operation.

`power_loss` lets a kill at a crash point be a power cut: the store then holds what survives one, by chance of a
seed, in a directory that the scene puts in the place of the store before the next start.

`nth_operation` counts every write, synchronisation, truncation, rename and removal in the store once the node is
ready, those of SQLite (through a file layer of our own) and those of payload files (through `os`), and lets the
n-th fail, alone or with all that follow. How many there were stands in a file beside the store.
"""

import errno
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import apsw

CUT = "store.cut"
COUNTED = "operations"
_KEPT: list[Any] = []


def _store() -> Path:
    store = Path(sys.argv[-1]).parent / "store"
    store.mkdir(mode=0o700, exist_ok=True)
    return store


def power_loss(seed: str, *, ignores_sync: bool = False) -> None:
    """Let kills be power cuts."""
    sys.path.append(str(Path(__file__).parents[1] / "simulation"))
    from disk import Disk, simulated_fsync

    from accesspoint import failpoints

    store = _store()
    disk = Disk(store, at_limit=lambda: None, clock=time.time)
    disk.ignores_sync = ignores_sync
    # Kept, because a context that nobody refers to ends.
    _KEPT.append(simulated_fsync(lambda: disk))
    _KEPT[-1].__enter__()
    fail = failpoints._fail

    def cut(name: str, trap: Any) -> None:
        if trap.fault is failpoints.Fault.KILL:
            disk.power_cut(store.with_name(CUT), Random(seed))
        fail(name, trap)

    failpoints._fail = cut  # type: ignore[assignment]


class Counter:
    """Counts operations once `counting`; the one with the number `fails_at` fails, and those after it when `for_good`."""

    def __init__(self, fails_at: int, *, for_good: bool, code: int, report: Path) -> None:
        self.counting = False
        self.number = 0
        self._fails_at = fails_at
        self._for_good = for_good
        self.code = code
        self._report = os.open(report, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def fails(self) -> bool:
        """Count one operation; whether it is to fail."""
        if not self.counting:
            return False
        self.number += 1
        # In one write, for it is read at any moment.
        os.pwrite(self._report, str(self.number).encode(), 0)
        return self.number == self._fails_at or (self._for_good and self.number > self._fails_at)


class _File(apsw.VFSFile):
    def __init__(self, name: Any, flags: list[int], counter: Counter) -> None:
        super().__init__("unix", name, flags)
        self._counter = counter

    def _count(self) -> None:
        if self._counter.fails():
            raise apsw.FullError() if self._counter.code == errno.ENOSPC else apsw.IOError()

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - the name of the interface
        self._count()
        super().xWrite(data, offset)

    def xTruncate(self, size: int) -> None:  # noqa: N802
        self._count()
        super().xTruncate(size)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._count()
        super().xSync(flags)


class _Vfs(apsw.VFS):
    def __init__(self, counter: Counter) -> None:
        super().__init__("counting", "unix", makedefault=True)
        self._counter = counter

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return _File(name, flags, self._counter)


def nth_operation(argument: str) -> None:
    """`N/once` or `N/for-good`, and then perhaps `/enospc` instead of an input/output error."""
    number, *words = argument.split("/")
    code = errno.ENOSPC if "enospc" in words else errno.EIO
    store = _store()
    counter = Counter(
        int(number), for_good="for-good" in words, code=code, report=store.with_name(COUNTED)
    )
    _KEPT.append(_Vfs(counter))
    below = os.fspath(store) + "/"

    def counted(operation: Callable[..., Any]) -> Callable[..., Any]:
        def call(where: Any, *arguments: Any, **options: Any) -> Any:
            path = os.readlink(f"/proc/self/fd/{where}") if isinstance(where, int) else str(where)
            # What SQLite does passes the file layer above; this is everything else in the store.
            if path.startswith(below) and counter.fails():
                raise OSError(code, os.strerror(code))
            return operation(where, *arguments, **options)

        return call

    for name in ("write", "fsync", "rename", "unlink"):
        setattr(os, name, counted(getattr(os, name)))

    import accesspoint.cli.run as run

    def ready(said: Any) -> str:
        counter.counting = True
        return json.dumps(said)

    # The one line that says that the node serves is made here, and nothing else in that module.
    run.json = SimpleNamespace(dumps=ready)  # type: ignore[assignment]


def unsynchronised(seed: str) -> None:
    """A power cut of a disk on which nothing was ever synchronised."""
    power_loss(seed, ignores_sync=True)
