"""What the store demands of the directory it lives in: private, local, and synchronised when names change.

Spec: reliability sections 6.10 and 6.11.
"""

import ctypes
import os
import stat
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

from accesspoint.store.database import StorageRefused

NETWORK_FILE_SYSTEMS: Mapping[int, str] = MappingProxyType(
    {
        0x6969: "NFS",
        0x517B: "SMB",
        0xFF534D42: "CIFS",
        0xFE534D42: "SMB2",
        0x01021997: "9P",
        0x00C36400: "Ceph",
        0x0BD00BD0: "Lustre",
        0x47504653: "GPFS",
        0x19830326: "BeeGFS",
        0x01161970: "GFS2",
        0x7461636F: "OCFS2",
        0x5346414F: "AFS",
        0x6B414653: "AFS",
        0x73757245: "Coda",
        # FUSE may be local, but nothing tells: sshfs, GlusterFS and the shared folders of desktop
        # virtual machines all answer with this number, and locks and fsync are not honest there.
        0x65735546: "FUSE",
    }
)
"""`statfs` type numbers (Linux `magic.h` and the products' own headers) where SQLite's locks cannot be trusted."""


def file_system_type(path: Path) -> int | None:
    """Return the `statfs` type number of the file system that holds `path`, or None where it is not told.

    Only Linux has the number in its first field; elsewhere the check is the administrator's.

    Raises: OSError when `path` does not exist.
    """
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(512)
    if libc.statfs(os.fsencode(path), buffer) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(path))
    word = ctypes.sizeof(ctypes.c_long)
    return int.from_bytes(buffer.raw[:word], sys.byteorder) & 0xFFFFFFFF


def refuse_network(kind: int | None, path: Path) -> None:
    """Refuse a file system that is reached over a network.

    Raises: StorageRefused naming the file system.
    """
    name = NETWORK_FILE_SYSTEMS.get(kind) if kind is not None else None
    if name is not None:
        raise StorageRefused(
            f"{path} is on a network file system ({name}); use a local disk, or PostgreSQL"
        )


def private_directory(path: Path) -> None:
    """Make `path` a directory of mode 0700 on a local file system, creating it when it is missing.

    Raises: StorageRefused when it is a link or a file, belongs to somebody else, is open to others, or is remote.
    """
    try:
        make_directory(path)
        facts = path.lstat()
    except OSError as error:
        raise StorageRefused(f"{path} cannot be made: {error.strerror}") from error
    if not stat.S_ISDIR(facts.st_mode):
        raise StorageRefused(f"{path} is not a directory")
    if facts.st_uid != os.geteuid():
        raise StorageRefused(f"{path} belongs to user {facts.st_uid}, not to {os.geteuid()}")
    if stat.S_IMODE(facts.st_mode) & 0o077:
        raise StorageRefused(
            f"{path} is open to others (mode {stat.S_IMODE(facts.st_mode):04o}); use 0700"
        )
    refuse_network(file_system_type(path), path)


def make_directory(path: Path) -> None:
    """Make a directory of mode 0700 and its missing parents, so that their names outlast a power cut.

    The name of `path` is synchronised even when it is there: who made it may have died before doing so.

    Raises: OSError.
    """
    missing = [parent for parent in path.parents if not parent.exists()]
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    for place in (path, *missing):
        # A parent that we may not read is somebody else's, who made what stands in it.
        with suppress(PermissionError):
            fsync_directory(place.parent)


def read_private(
    path: Path,
    *,
    remedy: str = "put another secret into it and use mode 0600",
    is_handed: bool = False,
) -> bytes:
    """Return the octets of a file that holds a secret and that nobody else can read, 4096 at most.

    A file that `is_handed` over by systemd or an orchestrator may be root's, as root may read ours; it may be open to our
    group, since an access list shows as that, and may stand behind a link. `remedy` is what to do about one that others can read.

    Raises: StorageRefused when it is not such a file.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if is_handed else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        raise StorageRefused(f"{path} cannot be read: {error.strerror}") from error
    try:
        facts = os.fstat(descriptor)
        by_root = is_handed and 0 in {facts.st_uid, os.geteuid()}
        if facts.st_uid != os.geteuid() and not by_root:
            raise StorageRefused(f"{path} belongs to user {facts.st_uid}, not to {os.geteuid()}")
        _require_closed(path, facts, 0o037 if is_handed else 0o077, remedy)
        return os.read(descriptor, 4096)
    finally:
        os.close(descriptor)


def private_file(path: Path) -> None:
    """Create `path` empty with mode 0600, or check that an existing one is a private regular file.

    Raises: StorageRefused when it is a link, is not a file, or is open to others.
    """
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageRefused(f"{path} cannot be opened: {error.strerror}") from error
    try:
        _require_closed(path, os.fstat(descriptor), 0o077, "use 0600")
    finally:
        os.close(descriptor)
    fsync_directory(path.parent)


def _require_closed(path: Path, facts: os.stat_result, forbidden: int, remedy: str) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise StorageRefused(f"{path} is not a regular file")
    mode = stat.S_IMODE(facts.st_mode)
    if mode & forbidden:
        raise StorageRefused(f"{path} is open to others (mode {mode:04o}); {remedy}")


def write_once(path: Path, text: str) -> None:
    """Make a file with `text` that only we can read, unless there is one: whole and durable, or not at all.

    Nobody finds less than the whole text under the name, be it a process that starts beside this one or one that
    starts after this one was killed. Of two that write, the first one's text stays, and both go on.

    Raises: StorageRefused when it cannot be made.
    """
    if os.path.lexists(path):
        return
    try:
        descriptor, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(text)
                file.flush()
                os.fsync(descriptor)
            with suppress(FileExistsError):
                os.link(beside, path)
        finally:
            os.unlink(beside)
        fsync_directory(path.parent)
    except OSError as error:
        raise StorageRefused(f"{path} cannot be made: {error.strerror}") from error


def fsync_directory(path: Path | str) -> None:
    """Make the names in a directory durable: a renamed file is safe only after this."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
