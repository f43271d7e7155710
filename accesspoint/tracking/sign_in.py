"""Who looks, until the access control of the real service is there: a code printed at start, and a role to look as.

Whoever has the code may choose any role: it proves that one sits at the machine, no more, and the pages answer on
loopback only. The roles are those of the access rules, so that what each may see is settled and tested now: support
sees everything, an organisation what it sent and received, a citizen what is about itself or about somebody who
permitted it. Patient numbers live in the session's memory, never in a cookie, address or log.

Spec: EHMI delivery status 1.0.2, access rules; user stories P4 and P7.
"""

import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

LIFETIME: Final = timedelta(hours=8)
_ALPHABET: Final = "23456789BCDFGHJKMNPQRSTVWXYZ"
_CODE_LENGTH: Final = 12
_TRIES: Final = 5
_PAUSE: Final = timedelta(seconds=30)
_MOST_SESSIONS: Final = 100
_CPR: Final = re.compile(r"([0-9]{6})[- ]?([0-9]{4})", re.ASCII)
_GLN: Final = re.compile(r"[0-9]{13}", re.ASCII)


class Role(StrEnum):
    """As whom somebody looks."""

    SUPPORT = "support"
    ORGANISATION = "organisation"
    CITIZEN = "citizen"


@dataclass(slots=True)
class Session:
    """One sign-in. `patients` are numbers asked for, by a handle that may stand in addresses."""

    role: Role
    ends_at: datetime
    gln: str | None = None
    cpr: str | None = field(default=None, repr=False)
    patients: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def sees_all(self) -> bool:
        """Whether no message is hidden from this role."""
        return self.role is Role.SUPPORT

    def remember(self, cpr: str) -> str:
        """Return the handle of a patient number, the same one for the same number."""
        for handle, known in self.patients.items():
            if known == cpr:
                return handle
        handle = secrets.token_urlsafe(9)
        self.patients[handle] = cpr
        return handle


class WrongCode(Exception):
    """The code is not that of this start."""


class TooManyTries(Exception):
    """Codes are not looked at for so many `seconds`."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"wait {seconds} s")
        self.seconds = seconds


class SignIn:
    """The code of this start and the sessions that it opened; all of it ends with the process."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        letters = [secrets.choice(_ALPHABET) for _ in range(_CODE_LENGTH)]
        self.code = "-".join("".join(letters[n : n + 4]) for n in range(0, _CODE_LENGTH, 4))
        self._sessions: dict[str, Session] = {}
        self._wrong = 0
        self._closed_until: datetime | None = None

    def open(self, code: str, role: Role, *, gln: str | None, cpr: str | None) -> str:
        """Begin a session and return the secret for its cookie.

        Raises: WrongCode, TooManyTries.
        """
        now = self._now()
        if self._closed_until is not None and now < self._closed_until:
            raise TooManyTries(int((self._closed_until - now).total_seconds()) + 1)
        given = re.sub(r"[^0-9A-Z]", "", code.upper()).encode()
        if not hmac.compare_digest(given, self.code.replace("-", "").encode()):
            self._wrong += 1
            if self._wrong >= _TRIES:
                self._wrong, self._closed_until = 0, now + _PAUSE
            raise WrongCode("the code is not that of this start")
        self._wrong = 0
        self._sessions = {k: s for k, s in self._sessions.items() if s.ends_at > now}
        while len(self._sessions) >= _MOST_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        secret = secrets.token_urlsafe(32)
        self._sessions[secret] = Session(role, now + LIFETIME, gln, cpr)
        return secret

    def find(self, secret: str | None) -> Session | None:
        """The session of a cookie, while it lasts."""
        session = self._sessions.get(secret or "")
        return session if session is not None and session.ends_at > self._now() else None

    def close(self, secret: str | None) -> None:
        """End a session."""
        self._sessions.pop(secret or "", None)


def read_cpr(text: str) -> str | None:
    """The ten digits of a patient number as people write it; None for anything else."""
    match = _CPR.fullmatch(text.strip())
    return None if match is None else match[1] + match[2]


def read_gln(text: str) -> str | None:
    """The thirteen digits of a GLN; None for anything else."""
    text = text.strip().removeprefix("0088:")
    return text if _GLN.fullmatch(text) else None
