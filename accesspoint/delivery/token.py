"""Access tokens for the central services: one per scope, bound to our TLS certificate.

For the status component a token is good for one (SOR, GLN) pair, which the scope names. It is kept until 30 seconds
before it expires; many callers waiting for the same token share one request. A refusal is remembered for a short while,
so that a backlog of events does not hammer the authorization server. A token never enters a log line, an exception or a
`repr`.

Spec: EHMI security architecture 0.98: client_credentials with tls_client_auth, RFC 8705; one token per
SOR and GLN context.
"""

import asyncio
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import aiohttp
import orjson
import structlog

from accesspoint.bounded import AnswerTooLong, read_bounded
from accesspoint.clock import Clock

RENEWAL_MARGIN: Final = 30.0
"""Seconds before its expiry at which a token is no longer used."""
REFUSAL_PAUSE: Final = 10.0
"""Seconds during which a refusal answers for the authorization server."""
ANSWER_LIMIT: Final = 64 * 1024
_ERROR_CODE: Final = re.compile(r"[a-z_]{1,40}", re.ASCII)

log = structlog.get_logger()


class TokenError(Exception):
    """No token to be had; `problem` is the slug, `detail` has facts and never a token."""

    problem = "token-unreachable"

    def __init__(self, detail: str, *, status: int | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status


class TokenRefused(TokenError):
    """The authorization server knows us not, or not for this organisation: a person must act."""

    problem = "token-refused"


class TokenUnreachable(TokenError):
    """The authorization server did not answer, or not in a way that can be used; try again later."""


@dataclass(frozen=True, slots=True)
class _Token:
    value: str = field(repr=False)
    renew_at: float


@dataclass(frozen=True, slots=True)
class _Refusal:
    error: TokenRefused
    until: float


class TokenSource:
    """Gets and keeps access tokens of one client.

    `session` returns the shared HTTP session; `ssl_context` presents the certificate that the tokens
    are bound to, so the same one must be used for the calls that carry them.
    """

    def __init__(
        self,
        token_endpoint: str,
        *,
        client_id: str,
        ssl_context: ssl.SSLContext,
        session: Callable[[], aiohttp.ClientSession],
        clock: Clock,
        timeout: float = 10.0,
    ) -> None:
        self._endpoint = token_endpoint
        self._client_id = client_id
        self._ssl_context = ssl_context
        self._session = session
        self._clock = clock
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._tokens: dict[str, _Token] = {}
        self._refusals: dict[str, _Refusal] = {}
        self._flights: dict[str, asyncio.Task[str]] = {}

    async def token(self, sor: str, gln: str) -> str:
        """Return a token to report for this organisation, fetched if need be.

        Raises: TokenRefused, TokenUnreachable.
        """
        return await self.for_scope(_status_scope(sor, gln))

    async def for_scope(self, key: str) -> str:
        """Return a token for this scope, fetched if need be.

        Raises: TokenRefused, TokenUnreachable.
        """
        now = self._clock.monotonic()
        kept = self._tokens.get(key)
        if kept is not None and now < kept.renew_at:
            return kept.value
        refusal = self._refusals.get(key)
        if refusal is not None and now < refusal.until:
            # A fresh exception: a shared one would gather the tracebacks of all its raisers.
            raise TokenRefused(refusal.error.detail, status=refusal.error.status)
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.create_task(self._fetch(key), name="fetch token")
            self._flights[key] = flight
            flight.add_done_callback(lambda done: self._land(key, done))
        # One waiter that gives up must not take the request from the others.
        return await asyncio.shield(flight)

    def drop(self, sor: str, gln: str) -> None:
        """Forget a token that the resource server no longer takes."""
        self.drop_scope(_status_scope(sor, gln))

    def drop_scope(self, scope: str) -> None:
        """Forget the token for a scope that the resource server no longer takes."""
        self._tokens.pop(scope, None)

    def _land(self, key: str, flight: asyncio.Task[str]) -> None:
        self._flights.pop(key, None)
        if not flight.cancelled() and isinstance(error := flight.exception(), TokenRefused):
            self._refusals[key] = _Refusal(error, self._clock.monotonic() + REFUSAL_PAUSE)

    async def _fetch(self, scope: str) -> str:
        form = {"grant_type": "client_credentials", "scope": scope, "client_id": self._client_id}
        asked_at = self._clock.monotonic()
        try:
            async with self._session().post(
                self._endpoint,
                data=form,
                headers={"Accept": "application/json"},
                ssl=self._ssl_context,
                allow_redirects=False,
                timeout=self._timeout,
            ) as response:
                status = response.status
                body = await read_bounded(response, ANSWER_LIMIT)
        except (aiohttp.ClientError, AnswerTooLong, TimeoutError, OSError) as error:
            log.warning("token_unreachable", scope=scope, error=type(error).__name__)
            raise TokenUnreachable(f"no answer: {type(error).__name__}") from None
        token = self._read_answer(status, body, scope, asked_at)
        self._tokens[scope] = token
        self._refusals.pop(scope, None)
        log.info("token_received", scope=scope)
        return token.value

    def _read_answer(self, status: int, body: bytes, scope: str, asked_at: float) -> _Token:
        try:
            answer = orjson.loads(body)
        except orjson.JSONDecodeError:
            answer = None
        fields = answer if isinstance(answer, dict) else {}
        if status in (400, 401, 403):
            code = fields.get("error")
            known = isinstance(code, str) and _ERROR_CODE.fullmatch(code)
            raise TokenRefused(
                f"status {status}, error {code if known else 'not given'}", status=status
            )
        if status != 200:
            raise TokenUnreachable(f"status {status}", status=status)
        value, kind, lifetime = (
            fields.get(name) for name in ("access_token", "token_type", "expires_in")
        )
        if (
            not isinstance(value, str)
            or not value.isascii()
            or not value.isprintable()
            or not value
        ):
            raise TokenUnreachable("the answer has no usable access_token", status=status)
        if not isinstance(kind, str) or kind.lower() != "bearer":
            raise TokenUnreachable("the answer's token_type is not Bearer", status=status)
        if not isinstance(lifetime, int) or isinstance(lifetime, bool) or lifetime <= 0:
            raise TokenUnreachable("the answer has no usable expires_in", status=status)
        granted = fields.get("scope", scope)
        if not isinstance(granted, str) or not set(scope.split()) <= set(granted.split()):
            raise TokenRefused(
                "the scope granted is narrower than the one asked for", status=status
            )
        # Counted from the question: the token may be as old as the whole exchange.
        return _Token(value, asked_at + lifetime - RENEWAL_MARGIN)


def _status_scope(sor: str, gln: str) -> str:
    return f"EDS system/AuditEvent.crs SOR:{sor} GLN:{gln}"
