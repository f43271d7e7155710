"""Identifiers and random octets as an argument, so that a run can be repeated exactly.

Rows are named by ULIDs: they sort by time, which keeps an index compact and a list in order. What goes
on the wire is a random UUID, which tells nobody how many messages there were.

Spec: ebMS 3.0 Core section 5.2.2.1 (MessageId is an RFC 2822 `id-left@id-right` without brackets).
"""

import re
import secrets
from random import Random
from typing import Final, Protocol
from uuid import UUID

from accesspoint.clock import Clock

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS: Final = [first + second for first in _ALPHABET for second in _ALPHABET]
_RANDOM_BITS: Final = 80
_DOMAIN: Final = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*"
)


class Ids(Protocol):
    """What a part that names things is given."""

    def ulid(self) -> str:
        """Return 26 characters that sort by time, for rows."""

    def uuid(self) -> str:
        """Return a random UUID (version 4) in lower case, for the wire."""

    def message_id(self, domain: str) -> str:
        """Return a new ebMS MessageId, `uuid@domain`."""

    def token_bytes(self, count: int) -> bytes:
        """Return `count` octets that nobody can guess, for keys and initialisation vectors."""


class SystemIds:
    """Identifiers from the operating system's random source and a clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = 0

    def ulid(self) -> str:
        """Return a ULID greater than every one this object returned before, even if the clock was set back."""
        milliseconds = int(self._clock.now().timestamp() * 1000)
        number = (milliseconds << _RANDOM_BITS) | int.from_bytes(
            self.token_bytes(_RANDOM_BITS // 8)
        )
        if number <= self._last:
            number = self._last + 1
        self._last = number
        return _crockford(number)

    def uuid(self) -> str:
        """Return a random UUID (version 4) in lower case."""
        return str(UUID(bytes=self.token_bytes(16), version=4))

    def message_id(self, domain: str) -> str:
        """Return a new ebMS MessageId.

        Raises: ValueError when `domain` is not a host name.
        """
        if _DOMAIN.fullmatch(domain) is None:
            raise ValueError(f"{domain!r} is not a host name")
        return f"{self.uuid()}@{domain}"

    def token_bytes(self, count: int) -> bytes:
        """Return `count` octets from the operating system."""
        return secrets.token_bytes(count)


class SeededIds(SystemIds):
    """The same identifiers in the same order for the same seed; only for simulation and tests."""

    def __init__(self, clock: Clock, seed: int) -> None:
        super().__init__(clock)
        self._random = Random(seed)  # noqa: S311 (repeatable on purpose)

    def token_bytes(self, count: int) -> bytes:
        """Return the next `count` octets of the seeded sequence, which anybody can guess."""
        return self._random.randbytes(count)


def random_fraction(ids: Ids) -> float:
    """Return a random number in [0, 1), for jitter."""
    return int.from_bytes(ids.token_bytes(4), "big") / 2**32


def _crockford(number: int) -> str:
    """Write 130 bits (two of them zero) in Crockford's base 32."""
    return "".join([_PAIRS[number >> shift & 1023] for shift in range(120, -1, -10)])
