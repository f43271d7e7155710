"""Signing in to pages that serve this machine only: a code printed at start, and a role to look as.

Whoever has the code may choose any role: it proves that one sits at the machine, no more, and such pages answer on
loopback only. The roles are those of the access rules: support sees everything, an organisation what it sent and
received, a citizen what is about itself or about somebody who permitted it. Pages for others are entered through the
organisation's issuer (`accesspoint.access.sign_on`). Patient numbers live in the session's memory, never in a cookie,
address or log.

Spec: EHMI delivery status 1.0.2, access rules; user stories P4 and P7; hostile ADM-05, ADM-12.
"""

import hmac
import re
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

_ALPHABET: Final = "23456789BCDFGHJKMNPQRSTVWXYZ"
_CODE_LENGTH: Final = 12
_TRIES: Final = 5
_PAUSE: Final = timedelta(seconds=30)
_MOST_ASKERS: Final = 10_000
_CPR: Final = re.compile(r"([0-9]{6})[- ]?([0-9]{4})", re.ASCII)
_GLN: Final = re.compile(r"[0-9]{13}", re.ASCII)


class WrongCode(Exception):
    """The code is not that of this start."""


class TooManyTries(Exception):
    """Nothing is looked at for so many `seconds`."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"wait {seconds} s")
        self.seconds = seconds


class TryCounter:
    """Counts wrong tries by who tries: after some of them nothing is looked at for a while."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._wrong: dict[str, int] = {}
        self._closed_until: dict[str, datetime] = {}

    def require_open(self, asker: str) -> None:
        """Raise TooManyTries while this one has to wait."""
        until, now = self._closed_until.get(asker), self._now()
        if until is not None and now < until:
            raise TooManyTries(int((until - now).total_seconds()) + 1)

    def count(self, asker: str, *, right: bool) -> None:
        """Remember how a try went."""
        if right:
            self._wrong.pop(asker, None)
            return
        if len(self._wrong) >= _MOST_ASKERS:
            # Whoever has so many addresses gets past any count of them; memory must not grow with it.
            self._wrong.clear()
            self._closed_until.clear()
        self._wrong[asker] = self._wrong.get(asker, 0) + 1
        if self._wrong[asker] >= _TRIES:
            self._wrong[asker], self._closed_until[asker] = 0, self._now() + _PAUSE


class SignIn:
    """The code of this start; it ends with the process."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        letters = [secrets.choice(_ALPHABET) for _ in range(_CODE_LENGTH)]
        self.code = "-".join("".join(letters[n : n + 4]) for n in range(0, _CODE_LENGTH, 4))
        self._tries = TryCounter(now)

    def check(self, code: str) -> None:
        """Compare a code with that of this start; everybody who tries is one, since they all sit at this machine.

        Raises: WrongCode, TooManyTries.
        """
        self._tries.require_open("")
        given = re.sub(r"[^0-9A-Z]", "", code.upper()).encode()
        is_right = hmac.compare_digest(given, self.code.replace("-", "").encode())
        self._tries.count("", right=is_right)
        if not is_right:
            raise WrongCode("the code is not that of this start")


def read_cpr(text: str) -> str | None:
    """The ten digits of a patient number as people write it; None for anything else."""
    match = _CPR.fullmatch(text.strip())
    return None if match is None else match[1] + match[2]


def read_gln(text: str) -> str | None:
    """The thirteen digits of a GLN; None for anything else."""
    text = text.strip().removeprefix("0088:")
    return text if _GLN.fullmatch(text) else None
