"""A file that a command is given, or what stands at standard input for `-`; and how wide what is told of it may be."""

import shutil
import sys
from pathlib import Path


def read_given(file: str, *, most: int) -> bytes:
    """Return its octets, of more than `most` one octet more; raises OSError."""
    if file == "-":
        return sys.stdin.buffer.read(most + 1)
    with Path(file).open("rb") as opened:
        return opened.read(most + 1)


def name_of(file: str) -> str:
    """What a report calls it."""
    return "standard input" if file == "-" else Path(file).name


def find_width() -> tuple[int, bool]:
    """Return the columns of a line and whether colours may be used: those of a terminal, else 100 and none."""
    if sys.stdout.isatty():
        return shutil.get_terminal_size().columns, True
    return 100, False
