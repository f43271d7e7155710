"""What every request of the pages passes: the right name, no foreign page behind it, a language, a session, strict headers.

Pages that nobody published refuse whatever comes in over another interface than loopback, and say why; those that are
published have one address, and come with TLS for good. Another name than theirs is refused: a foreign page could have
its own name point here. What changes something comes from a page of ours, which its Origin says, and from a form of
this very session, which the token in it says. No request is logged.

Spec: experience section 5; Content Security Policy Level 3; RFC 6797; hostile ADM-03, ADM-04, ADM-07.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from jinja2 import Environment, PackageLoader, StrictUndefined
from yarl import URL

from accesspoint.config_values import is_loopback, is_this_machine
from accesspoint.shown import shown
from accesspoint.tracking.sessions import Role, Session, Sessions
from accesspoint.tracking.texts import LANGUAGES, Texts, choose_language, texts

SESSION_COOKIE: Final = "tracking"
LANGUAGE_COOKIE: Final = "language"
SESSION: Final = web.RequestKey("session", Session)
TEXTS: Final = web.RequestKey("texts", Texts)
_OPEN: Final = ("/sign-in", "/static/")
_YEAR: Final = 365 * 86_400
_READING: Final = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})
LIVE: Final = "live"
RELOADED: Final = "again"
"""What a page that follows a message asks for when it reloads itself, with nobody there perhaps."""
FORM_TOKEN: Final = "token"  # noqa: S105 - the name of a field
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_NAVIGATION: Final = {
    Role.SUPPORT: ("messages", "overview", "negative", "patient"),
    Role.ORGANISATION: ("messages", "overview", "negative", "patient"),
    Role.CITIZEN: ("mine", "permissions"),
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class NotForThisRole(Exception):
    """The page is not part of what the session may look at."""


class Door:
    """The middleware, and the templates that every answer is made of."""

    def __init__(self, sessions: Sessions, published: URL | None = None) -> None:
        """`published` is the address that people type; None for pages that serve this machine only."""
        self.sessions = sessions
        self.published = published
        self.is_secure = published is not None and published.scheme == "https"
        self._templates = Environment(
            loader=PackageLoader("accesspoint.tracking"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=shown,
        )

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let a request in, or answer it here; every answer gets the same headers."""
        request[TEXTS] = texts(
            choose_language(
                request.cookies.get(self.cookie(LANGUAGE_COOKIE)),
                request.headers.get(hdrs.ACCEPT_LANGUAGE, ""),
            )
        )
        try:
            answer = await self._let_in(request, handler)
        except NotForThisRole:
            answer = self.refused(request, "role")
        except web.HTTPNotFound:
            answer = self.missing(request)
        except web.HTTPException as error:
            # A wrong method or a body too long: what there is to say stands in the status.
            answer = web.Response(status=error.status, text=error.reason)
        answer.headers.update(HEADERS)
        if self.is_secure:
            answer.headers["Strict-Transport-Security"] = f"max-age={2 * _YEAR}; includeSubDomains"
        return answer

    def cookie(self, name: str) -> str:
        """The whole name of a cookie: with TLS one that no other host and no plain connection can set."""
        return f"__Host-{name}" if self.is_secure else name

    def set_cookie(
        self, answer: web.Response, name: str, value: str, *, samesite: str = "Strict", seconds: int | None = None
    ) -> None:  # fmt: skip
        """Give the browser a cookie that no script reads, over TLS only where there is TLS."""
        answer.set_cookie(
            self.cookie(name), value, max_age=seconds, httponly=True, samesite=samesite, secure=self.is_secure
        )  # fmt: skip

    def secret_of(self, request: web.Request) -> str | None:
        """The secret of the session that the browser says it has."""
        return request.cookies.get(self.cookie(SESSION_COOKIE))

    async def _let_in(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self.published is None and not _is_local(request):
            return self.refused(request, "not_loopback")
        if not _is_own(request, self.published):
            return self.refused(request, "origin")
        wish = request.query.get("lang")
        if wish in LANGUAGES and request.method == hdrs.METH_GET:
            query = [(name, value) for name, value in request.query.items() if name != "lang"]
            answer = see_other(_here(request.rel_url.with_query(query)))
            self.set_cookie(answer, LANGUAGE_COOKIE, wish, seconds=_YEAR)
            return answer
        session = self.sessions.find(
            self.secret_of(request), prolong=not _is_of_the_browser(request)
        )
        if session is not None:
            request[SESSION] = session
            if request.method not in _READING and request.path not in _OPEN:
                token = (await request.post()).get(FORM_TOKEN)
                if not isinstance(token, str) or not session.is_form_of(token):
                    return self.refused(request, "form")
        elif not request.path.startswith(_OPEN):
            return see_other("/sign-in")
        return await handler(request)

    def page(
        self,
        request: web.Request,
        template: str,
        *,
        status: int = 200,
        title_path: str | None = None,
        **values: Any,
    ) -> web.Response:
        """Fill a template; `title_path` is the entry of the navigation that is lit, else the path."""
        session = request.get(SESSION)
        text = request[TEXTS]
        defaults: Mapping[str, Any] = {
            "t": text,
            "session": session,
            "published": self.published is not None,
            "who": "" if session is None else _who(session, text),
            "navigation": []
            if session is None
            else [(f"/{name}", name) for name in _NAVIGATION[session.role]],
            "here": title_path or request.path,
            "other_language": _here(
                request.rel_url.update_query(lang=text("page.language_code"))
                if request.method == hdrs.METH_GET
                else request.rel_url.with_query(lang=text("page.language_code"))
            ),
            "refresh": None,
            "onward": None,
        }
        html = self._templates.get_template(template).render({**defaults, **values})
        return web.Response(status=status, text=html, content_type="text/html")

    def refused(self, request: web.Request, reason: str) -> web.Response:
        """Answer that this is not for who asks, and why."""
        text = request[TEXTS]
        return self.page(
            request, "missing.html", status=403, title=text("refused.title"), reason=text(f"refused.{reason}")
        )  # fmt: skip

    def missing(self, request: web.Request) -> web.Response:
        """Answer that there is no such thing, or not for who asks: the two look alike."""
        text = request[TEXTS]
        return self.page(
            request, "missing.html", status=404, title=text("message.missing_title"), reason=text("message.missing")
        )  # fmt: skip


def see_other(location: str) -> web.Response:
    """Send the reader on to an address of ours, with GET."""
    return web.Response(status=303, headers={hdrs.LOCATION: location})


def _here(url: URL) -> str:
    """An address of ours to be sent to: a path that begins `//` or `/\\` would name another host to a browser."""
    return "/" + str(url).lstrip("/\\")


def _who(session: Session, text: Texts) -> str:
    if session.role is Role.ORGANISATION:
        return f"GLN {session.gln}"
    return text(f"sign_in.{session.role}")


def _is_of_the_browser(request: web.Request) -> bool:
    """Whether a browser asks this by itself: a page that it shows anew, or what belongs to one."""
    return request.query.get(LIVE) == RELOADED or request.path.startswith("/static/")


def _is_local(request: web.Request) -> bool:
    name = None if request.transport is None else request.transport.get_extra_info("sockname")
    return is_loopback(name[0]) if isinstance(name, tuple) else False


def _is_own(request: web.Request, published: URL | None) -> bool:
    """Whether the name it asks for is ours, and what it changes is asked for by our own pages."""
    try:
        asked = urlsplit(f"//{request.host}")
        if published is None and not is_this_machine(asked.hostname):
            return False
        if published is not None and request.host != published.authority:
            return False
        if request.method in _READING:
            return True
        origin = request.headers.get(hdrs.ORIGIN)
        if published is not None:
            return origin == str(published.origin())
        return origin is not None and urlsplit(origin).netloc == request.host
    except ValueError:
        # A name that is none, such as `[`.
        return False
