"""What can be seen of a file without reading it, for those who look at files again and again.

The time of a file's content is not enough: whoever follows the advice to close a file to others changes its mode alone,
and whoever copies one back with its old time may keep everything but the time of the change itself. That time moves
in steps of some milliseconds on most systems, so what may change within one of them stands beside it.
"""

from pathlib import Path

Stamp = tuple[int, ...]


def stamp_of(path: Path) -> Stamp:
    """What changes whenever a file or a directory does, its mode included; empty where none can be seen."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return (
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_mode,
    )
