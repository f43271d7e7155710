"""Sessions of people: kept here and not in the cookie, made anew at each sign-in, ended when idle and after some hours.

The cookie holds a secret of which only the digest is known here, so neither a look into the memory nor the time of a
look-up tells one. Each session has a token that every form of it carries. What a session may see is its role.

Spec: hostile ADM-03, ADM-04, SID-01; EHMI delivery status 1.0.2, access rules.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

LIFETIME: Final = timedelta(hours=8)
IDLE: Final = timedelta(minutes=30)
_MOST: Final = 1_000


class Role(StrEnum):
    """As whom somebody looks."""

    SUPPORT = "support"
    ORGANISATION = "organisation"
    CITIZEN = "citizen"


@dataclass(frozen=True, slots=True)
class Person:
    """Who signed in, as the audit log names them, in which role; `gln` and `cpr` as the role needs."""

    actor: str
    role: Role
    gln: str | None = None
    cpr: str | None = field(default=None, repr=False)


@dataclass(slots=True)
class Session:
    """One sign-in. `patients` are numbers asked for, by a handle that may stand in addresses."""

    person: Person
    ends_at: datetime
    idle_at: datetime
    form_token: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    patients: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def role(self) -> Role:
        """As whom the person looks."""
        return self.person.role

    @property
    def gln(self) -> str | None:
        """The organisation that the person looks for."""
        return self.person.gln

    @property
    def cpr(self) -> str | None:
        """The patient number of a citizen."""
        return self.person.cpr

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

    def is_form_of(self, token: str) -> bool:
        """Whether a form carries the token of this session."""
        return hmac.compare_digest(token.encode(), self.form_token.encode())


class Sessions:
    """The sessions of one process; all of them end with it."""

    def __init__(
        self,
        now: Callable[[], datetime],
        *,
        lifetime: timedelta = LIFETIME,
        idle: timedelta = IDLE,
    ) -> None:
        self._now = now
        self._lifetime = lifetime
        self._idle = idle
        self._sessions: dict[bytes, Session] = {}

    def open(self, person: Person, *, instead_of: str | None) -> str:
        """Begin a session, end the one that the browser had, and return the secret for its cookie."""
        self.close(instead_of)
        now = self._now()
        self._sessions = {k: s for k, s in self._sessions.items() if not _is_over(s, now)}
        while len(self._sessions) >= _MOST:
            del self._sessions[next(iter(self._sessions))]
        secret = secrets.token_urlsafe(32)
        self._sessions[_digest(secret)] = Session(person, now + self._lifetime, now + self._idle)
        return secret

    def find(self, secret: str | None, *, prolong: bool = True) -> Session | None:
        """The session of a cookie, while it lasts; who asks makes it last on, but not past its longest time.

        Without `prolong` nobody asked: a browser did by itself.
        """
        session = self._sessions.get(_digest(secret or ""))
        now = self._now()
        if session is None or _is_over(session, now):
            return None
        if prolong:
            session.idle_at = now + self._idle
        return session

    def close(self, secret: str | None) -> None:
        """End a session."""
        self._sessions.pop(_digest(secret or ""), None)


def _is_over(session: Session, now: datetime) -> bool:
    return now >= min(session.ends_at, session.idle_at)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
