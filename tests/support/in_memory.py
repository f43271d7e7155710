"""Where tests keep what they write: in memory, where this machine has plenty of it.

A run makes hundreds of stores and databases, each of which asks the disk to keep every commit, and removes them again.
What tests stop are processes, never the machine, so nothing that they hold depends on what the disk keeps.
"""

import shutil
from pathlib import Path
from typing import Final

_PLENTY: Final = 6 << 30
"""Octets of free memory from which on the files of a run stand there."""
_MEMORY: Final = Path("/dev/shm")


def place() -> Path | None:
    """The directory for what tests write; None for the system's own choice."""
    return _MEMORY if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free >= _PLENTY else None
