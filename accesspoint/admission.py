"""G0: how many connections and requests there may be at once, in all and from one address, counted from `accept` on.

A connection counts from the moment the kernel hands it over until its socket is closed, so one that never
begins its TLS handshake counts as well. One that is too many is closed before a byte of it is read. A share for
each address keeps one peer from taking the room of all others; of IPv6 a whole /64 is one address, because
whoever has one of it has all. How many connections an address opens in a while counts too: each costs us a TLS
handshake, which is the dearest thing that a stranger can ask for, and it costs as much when it fails.

What was turned away is told in one line a second at most: a flood is not to become a flood of the log as well.

Spec: decisions D1 (G0); hostile input: HTTP.
"""

import ipaddress
import resource
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, Final, Self

import structlog

TELL_SECONDS: Final = 1.0
"""How long what is turned away is only counted after it was told."""
OPENING_SECONDS: Final = 10.0
"""The while in which the connections that an address opens are counted together."""
_WAITING: Final = 1_024
"""How many connections the kernel holds that nobody has accepted yet."""
_TURNS: Final = 64
"""How many are turned away in a row before the event loop goes on with other work."""
_log = structlog.get_logger("accesspoint.as4")


@dataclass(frozen=True, slots=True)
class EdgeLimits:
    """What a door allows; times in seconds, rates in octets a second, the rest counts.

    A header has to be complete `header_seconds` after its first octet. For a body the peer may be waited for
    `body_seconds`, or longer as long as it sends at least `body_rate`. A connection that asks nothing is closed
    after `idle_seconds`, and any after `requests_per_connection`; an address opens `openings_per_address` in
    `OPENING_SECONDS`. Requests under way get `drain_seconds` at the end. `doors` is how many doors the process has.
    """

    header_seconds: float = 10.0
    body_seconds: float = 30.0
    body_rate: int = 8 * 1024
    idle_seconds: float = 75.0
    drain_seconds: float = 5.0
    connections: int = 2_048
    connections_per_address: int = 512
    openings_per_address: int = 1_000
    requests: int = 1_024
    requests_per_address: int = 256
    requests_per_connection: int = 1_000
    doors: int = 1

    @property
    def affordable_connections(self) -> int:
        """As many as are allowed, but at all doors together no more than half of the files that this process may open.

        Each door has its part, so that nobody shuts one by filling another.
        """
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        part = max(1, files // 2 // self.doors)
        return self.connections if files < 0 else min(self.connections, part)

    def for_one_address(self) -> Self:
        """The same for a door to this machine only, where everybody has the same address."""
        return replace(
            self,
            connections_per_address=self.connections,
            openings_per_address=sys.maxsize,
            requests_per_address=self.requests,
        )


class Admission:
    """Counts what one door has let in."""

    def __init__(
        self, limits: EdgeLimits, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits = limits
        self._most_connections = limits.affordable_connections
        self._monotonic = monotonic
        self.connections = 0
        """How many connections are open."""
        self.requests = 0
        """How many requests are being answered."""
        self._connections_of: Counter[str] = Counter()
        self._requests_of: Counter[str] = Counter()
        self._openings_of: Counter[str] = Counter()
        self._count_anew_at = 0.0
        self._turned_away = 0
        self._tell_again_at = 0.0

    def enter(self, address: str) -> bool:
        """Count one more connection, or answer False when it is too many."""
        if self.connections >= self._most_connections:
            return self._turn_away("connections", address)
        share = _share(address)
        if self._connections_of[share] >= self._limits.connections_per_address:
            return self._turn_away("connections of one address", address)
        now = self._monotonic()
        if now >= self._count_anew_at:
            self._count_anew_at = now + OPENING_SECONDS
            self._openings_of.clear()
        if self._openings_of[share] >= self._limits.openings_per_address:
            return self._turn_away("new connections of one address", address)
        self._openings_of[share] += 1
        self.connections += 1
        self._connections_of[share] += 1
        return True

    def leave(self, address: str) -> None:
        """A connection that was let in is closed."""
        self.connections -= 1
        _count_down(self._connections_of, _share(address))

    def begin_request(self, address: str) -> bool:
        """Count one more request, or answer False when it is too many."""
        if self.requests >= self._limits.requests:
            return self._turn_away("requests", address)
        share = _share(address)
        if self._requests_of[share] >= self._limits.requests_per_address:
            return self._turn_away("requests of one address", address)
        self.requests += 1
        self._requests_of[share] += 1
        return True

    def end_request(self, address: str) -> None:
        """A request that was let in is answered."""
        self.requests -= 1
        _count_down(self._requests_of, _share(address))

    def _turn_away(self, what: str, address: str) -> bool:
        self._turned_away += 1
        now = self._monotonic()
        if now >= self._tell_again_at:
            self._tell_again_at = now + TELL_SECONDS
            _log.warning("as4.in.turned_away", peer=address, detail=what, count=self._turned_away)
            self._turned_away = 0
        return False


class Listener(socket.socket):
    """A listening socket whose `accept` gives only what `admission` lets in; the others are closed at once.

    The event loop calls `accept` whenever somebody waits, and closes what it got from it at the end of the
    connection, also where a TLS handshake fails: so these two are where a connection can be counted.
    """

    admission: Admission

    def listen(self, backlog: int = 0, /) -> None:
        """Let the kernel hold as many as wait, whatever number the event loop accepts at once and says here."""
        super().listen(max(backlog, _WAITING))

    def accept(self) -> tuple[socket.socket, Any]:
        """Return the next connection that is let in; raise BlockingIOError when there is none."""
        for _ in range(_TURNS):
            connection, address = super().accept()
            if self.admission.enter(address[0]):
                admitted = _Admitted(
                    connection.family, connection.type, connection.proto, connection.detach()
                )
                admitted.leave = partial(self.admission.leave, address[0])
                return admitted, address
            connection.close()
        raise BlockingIOError


class _Admitted(socket.socket):
    """A connection that is counted until it is closed."""

    leave: Callable[[], None] | None = None

    def close(self) -> None:
        leave, self.leave = self.leave, None
        try:
            super().close()
        finally:
            if leave is not None:
                leave()


def listen(host: str, port: int, admission: Admission) -> list[Listener]:
    """Open a listening socket for every address of `host`; without a host, for all of this machine's.

    Raises: OSError when one of them cannot be opened.
    """
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    listeners: list[Listener] = []
    try:
        for family, _, _, _, address in dict.fromkeys(found):
            plain = socket.create_server(address[:2], family=family, backlog=_WAITING)
            listener = Listener(plain.family, plain.type, plain.proto, plain.detach())
            listener.admission = admission
            listener.setblocking(False)
            listeners.append(listener)
    except OSError:
        for listener in listeners:
            listener.close()
        raise
    return listeners


@lru_cache(maxsize=1_024)
def _share(address: str) -> str:
    """What an address is counted under."""
    return str(ipaddress.ip_network((address, 64), strict=False)) if ":" in address else address


def _count_down(counter: Counter[str], address: str) -> None:
    counter[address] -= 1
    if not counter[address]:
        del counter[address]
