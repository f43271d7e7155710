"""Ports of loopback that are kept for those who have to know each other's before they start.

A port that was only looked up is anybody's: the next connection of another test may be given it. Here it stays bound
and nobody listens, so who connects is refused; on Linux who is told of it can listen there beside us all the same.
"""

import socket
import sys
from collections import deque

HOST = "127.0.0.1"
KEPT = 64
"""So many of the last ones are kept; the others stand where they were wanted, or are wanted no more."""
_kept: deque[socket.socket] = deque()


def bound(address: tuple[str, int]) -> socket.socket:
    """A socket that has an address and does not listen: who connects is refused."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(address)
    return made


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, and that nobody is given who does not ask for them by number."""
    made = [bound((HOST, 0)) for _ in range(count)]
    ports: list[int] = [one.getsockname()[1] for one in made]
    _kept.extend(made)
    while len(_kept) > (KEPT if sys.platform == "linux" else 0):
        _kept.popleft().close()
    return ports
