"""The way in and out: the code of this start on this machine, else the organisation's issuer, and signing out.

The issuer sends people back here from its own pages, and a browser brings no strict cookie along on such a way. So the
last step is a page of ours, which goes on by itself: from there on the cookie of the session is brought.

Spec: hostile 1.19 (ADM-03 to ADM-06); OpenID Connect Core 1.0 section 3.1.2.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Final

import structlog
from aiohttp import web
from yarl import URL

from accesspoint.access.identification import words_of
from accesspoint.access.issuer import IssuerUnreachable
from accesspoint.access.sign_on import LONGEST, SignOn, SignOnRefused
from accesspoint.clock import Clock
from accesspoint.config_pages import PeopleSignOn, PublishedPages
from accesspoint.tracking.door import SESSION_COOKIE, TEXTS, Door, see_other
from accesspoint.tracking.sessions import Person, Role, Sessions
from accesspoint.tracking.sign_in import (
    SignIn,
    TooManyTries,
    TryCounter,
    WrongCode,
    read_cpr,
    read_gln,
)

DONE_PATH: Final = "/sign-in/done"
ATTEMPT_COOKIE: Final = "sign-on"
_log = structlog.get_logger("accesspoint.tracking")


class Entrance(ABC):
    """Sessions, the door that knows them, and the routes by which they begin and end."""

    def __init__(self, sessions: Sessions, published: URL | None = None) -> None:
        self.door = Door(sessions, published)

    @abstractmethod
    def ways(self) -> list[web.RouteDef]:
        """The routes by which one gets in."""

    def routes(self) -> list[web.RouteDef]:
        """The routes by which one gets in, and out."""
        return [*self.ways(), web.post("/sign-out", self._leave)]

    def begin(self, request: web.Request, answer: web.Response, person: Person) -> None:
        """A session of its own for each sign-in: what the browser had before is worth nothing any more."""
        secret = self.door.sessions.open(person, instead_of=self.door.secret_of(request))
        self.door.set_cookie(answer, SESSION_COOKIE, secret)

    async def _leave(self, request: web.Request) -> web.StreamResponse:
        self.door.sessions.close(self.door.secret_of(request))
        answer = see_other("/sign-in")
        answer.del_cookie(self.door.cookie(SESSION_COOKIE), secure=self.door.is_secure)
        return answer


class CodeEntrance(Entrance):
    """In by the code of this start, on this machine only."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(Sessions(clock.now))
        self._sign_in = SignIn(clock.now)

    @property
    def code(self) -> str:
        """What one signs in with until the process ends."""
        return self._sign_in.code

    def ways(self) -> list[web.RouteDef]:
        """The form, and what it sends."""
        return [web.get("/sign-in", self._offer), web.post("/sign-in", self._enter)]

    async def _offer(self, request: web.Request) -> web.StreamResponse:
        return self._ask(request)

    def _ask(
        self, request: web.Request, wrong: str = "", chosen: str = "support", status: int = 200
    ) -> web.Response:
        return self.door.page(request, "sign_in.html", status=status, wrong=wrong, chosen=chosen)

    async def _enter(self, request: web.Request) -> web.StreamResponse:
        form, text = await read_form(request), request[TEXTS]
        role = Role(form["role"]) if form.get("role") in list(Role) else Role.SUPPORT
        gln = read_gln(form.get("gln", "")) if role is Role.ORGANISATION else None
        cpr = read_cpr(form.get("cpr", "")) if role is Role.CITIZEN else None
        if role is Role.ORGANISATION and gln is None:
            return self._ask(request, text("sign_in.gln_wrong"), role, 400)
        if role is Role.CITIZEN and cpr is None:
            return self._ask(request, text("sign_in.cpr_wrong"), role, 400)
        try:
            self._sign_in.check(form.get("code", ""))
        except TooManyTries as error:
            return self._ask(request, text("sign_in.slow", seconds=error.seconds), role, 429)
        except WrongCode:
            return self._ask(request, text("sign_in.wrong"), role, 403)
        answer = see_other("/")
        self.begin(request, answer, Person(f"code:{role}", role, gln, cpr))
        return answer


class IssuerEntrance(Entrance):
    """In through the organisation's issuer, for people elsewhere."""

    def __init__(self, clock: Clock, published: PublishedPages, sign_on: SignOn) -> None:
        super().__init__(
            Sessions(clock.now, lifetime=published.longest, idle=published.idle), URL(published.url)
        )
        self._published = published
        self._sign_on = sign_on
        self._tries = TryCounter(clock.now)

    def ways(self) -> list[web.RouteDef]:
        """The offer, the way to the issuer, and the way back from it."""
        return [
            web.get("/sign-in", self._offer),
            web.get("/sign-in/start", self._start),
            web.get(DONE_PATH, self._finish),
        ]

    async def _offer(self, request: web.Request) -> web.StreamResponse:
        return self._tell(request)

    def _tell(self, request: web.Request, wrong: str = "", status: int = 200) -> web.Response:
        return self.door.page(request, "sign_on.html", status=status, wrong=wrong)

    async def _start(self, request: web.Request) -> web.StreamResponse:
        try:
            secret, address = await self._sign_on.begin()
        except IssuerUnreachable as error:
            return self._unreachable(request, error)
        answer = see_other(address)
        # It has to be there when the issuer sends the browser back, which is no way of ours.
        self.door.set_cookie(
            answer, ATTEMPT_COOKIE, secret, samesite="Lax", seconds=int(LONGEST.total_seconds())
        )
        return answer

    async def _finish(self, request: web.Request) -> web.StreamResponse:
        asker, text = self._asker(request), request[TEXTS]
        try:
            self._tries.require_open(asker)
            claims = await self._sign_on.finish(
                request.cookies.get(self.door.cookie(ATTEMPT_COOKIE)), dict(request.query)
            )
            person = person_of(claims, self._published.sign_on)
        except TooManyTries as error:
            return self._tell(request, text("sign_in.slow", seconds=error.seconds), 429)
        except SignOnRefused as refused:
            self._tries.count(asker, right=False)
            _log.warning("sign_on_refused", reason=refused.reason)
            return self._tell(request, text("sign_in.refused"), 403)
        except IssuerUnreachable as error:
            return self._unreachable(request, error)
        self._tries.count(asker, right=True)
        answer = self.door.page(request, "sign_on.html", wrong="", onward="/")
        answer.del_cookie(self.door.cookie(ATTEMPT_COOKIE), secure=self.door.is_secure)
        self.begin(request, answer, person)
        return answer

    def _asker(self, request: web.Request) -> str:
        """Whose tries are counted together: an address, which a proxy on this machine tells of whom it serves."""
        told = request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()
        return told[:45] if self._published.is_local and told else request.remote or ""

    def _unreachable(self, request: web.Request, error: IssuerUnreachable) -> web.Response:
        _log.warning("issuer_unreachable", error=str(error))
        return self._tell(request, request[TEXTS]("sign_in.unreachable"), 503)


def person_of(claims: Mapping[str, Any], settings: PeopleSignOn) -> Person:
    """Who a person is to these pages, by the claims of an ID token. Raises: SignOnRefused for nobody."""
    actor = f"{claims['sub']}@{claims['iss']}"
    roles = words_of(claims.get(settings.roles_claim))
    if settings.support in roles:
        return Person(actor, Role.SUPPORT)
    if settings.organisation in roles:
        gln = read_gln(str(claims.get(settings.gln_claim, "")))
        if gln is None:
            raise SignOnRefused("sign-on.organisation")
        return Person(actor, Role.ORGANISATION, gln=gln)
    cpr = None if settings.cpr_claim is None else read_cpr(str(claims.get(settings.cpr_claim, "")))
    if cpr is None:
        raise SignOnRefused("sign-on.role")
    return Person(actor, Role.CITIZEN, cpr=cpr)


async def read_form(request: web.Request) -> dict[str, str]:
    """The texts of a form."""
    return {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
