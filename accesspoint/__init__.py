"""The access point itself: everything that touches sockets, disk, clock, database and people."""

from typing import Final

__version__: Final = "26.11.0"
