"""An OpenID Connect issuer from outside: its discovery document, its keys, and what it signed.

Only the configured issuer is asked, at addresses that its own discovery document names and that are as safe as its
own: https, or this machine where the issuer itself is there. Redirections are not followed and answers are bounded.
Keys are kept for a while; an unknown key has them fetched again, but not more often than every half minute, so that
tokens made up by somebody cannot make us ask all the time. Without keys of at most an hour nothing is believed, an
hour that no wall clock which is set back makes longer.

Spec: OpenID Connect Discovery 1.0, sections 3 and 4; RFC 8414; RFC 7517.
"""

import asyncio
import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import structlog

from accesspoint.bounded import AnswerTooLong, read_bounded
from accesspoint.clock import Clock
from accesspoint.config_access import Issuer as Settings
from accesspoint.config_values import is_this_machine
from keys.errors import TokenRefused
from keys.jwk import ISSUER_ALGORITHMS, verify_claims
from keys.store import load_certificate_files
from keys.tls import TlsSettings, client_context

DISCOVERY_PATH: Final = "/.well-known/openid-configuration"
FRESH: Final = timedelta(minutes=10)
LONGEST: Final = timedelta(hours=1)
PAUSE: Final = timedelta(seconds=30)
_LIMIT: Final = 256 * 1024
_TIMEOUT: Final = aiohttp.ClientTimeout(total=5)
_log = structlog.get_logger("accesspoint.access")


class IssuerUnreachable(Exception):
    """The issuer does not answer, or not as an issuer does; the text names no token."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where the issuer is asked for what."""

    authorization: str
    token: str
    keys: str


class Issuer:
    """One issuer, by the URL that its tokens name as `iss`."""

    def __init__(
        self,
        url: str,
        *,
        session: Callable[[], aiohttp.ClientSession],
        tls: ssl.SSLContext | None,
        clock: Clock,
    ) -> None:
        """`tls` says whose TLS certificates are believed; with None, for an issuer on this machine without TLS, nobody's."""
        self.url = url
        self._session = session
        # A new context has no anchors; without one aiohttp would take those of the system.
        self._tls = tls or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._clock = clock
        self._lock = asyncio.Lock()
        self._endpoints: Endpoints | None = None
        self._keys: Mapping[str, Any] = {"keys": []}
        # Both by the monotonic clock.
        self._keys_at: float | None = None
        self._asked_at: float | None = None

    async def endpoints(self) -> Endpoints:
        """What the discovery document says, fetched once. Raises: IssuerUnreachable."""
        if self._endpoints is None:
            found = await self.fetch("GET", self.url.rstrip("/") + DISCOVERY_PATH)
            if found.get("issuer") != self.url:
                raise IssuerUnreachable("the discovery document is another issuer's")
            self._endpoints = Endpoints(
                self._address(found, "authorization_endpoint"),
                self._address(found, "token_endpoint"),
                self._address(found, "jwks_uri"),
            )
        return self._endpoints

    async def verify(self, token: str, *, audience: str) -> Mapping[str, Any]:
        """Return the claims of a token that this issuer signed for an audience and that holds now.

        Raises: keys.errors.TokenRefused; IssuerUnreachable where its keys cannot be had.
        """
        keys = await self._known_keys()
        try:
            return self._verified(token, keys, audience)
        except TokenRefused as refused:
            if refused.reason != "token.key":
                raise
            # Keys change: whoever signs with a new one has published it.
            await self._refresh()
            if self._keys is keys:
                raise
        return self._verified(token, self._keys, audience)

    async def fetch(self, method: str, url: str, **more: Any) -> dict[str, Any]:
        """Ask the issuer and return the JSON object it answers with 200. Raises: IssuerUnreachable."""
        try:
            async with self._session().request(
                method, url, ssl=self._tls, timeout=_TIMEOUT,
                allow_redirects=False, **more,
            ) as answer:  # fmt: skip
                if answer.status != 200:
                    raise IssuerUnreachable(f"the issuer answered {answer.status}")
                found = json.loads(await read_bounded(answer, _LIMIT))
        except (aiohttp.ClientError, AnswerTooLong, OSError, ValueError, RecursionError) as error:
            raise IssuerUnreachable(
                f"the issuer does not answer: {type(error).__name__}"
            ) from error
        if not isinstance(found, dict):
            raise IssuerUnreachable("the issuer answered with no JSON object")
        return found

    def _verified(self, token: str, keys: Mapping[str, Any], audience: str) -> Mapping[str, Any]:
        claims, _, _ = verify_claims(
            token, keys=keys, issuer=self.url, audience=audience, at=self._clock.now(),
            algorithms=ISSUER_ALGORITHMS,
        )  # fmt: skip
        return claims

    async def _known_keys(self) -> Mapping[str, Any]:
        if self._age() > FRESH:
            await self._refresh()
        if self._age() > LONGEST:
            raise IssuerUnreachable("there are no keys of the issuer that are young enough")
        return self._keys

    def _age(self) -> timedelta:
        if self._keys_at is None:
            return timedelta.max
        return timedelta(seconds=self._clock.monotonic() - self._keys_at)

    async def _refresh(self) -> None:
        """Fetch the keys, unless that was done a moment ago, perhaps by somebody who waits with us."""
        async with self._lock:
            now = self._clock.monotonic()
            if self._asked_at is not None and now - self._asked_at < PAUSE.total_seconds():
                return
            self._asked_at = now
            try:
                keys = await self.fetch("GET", (await self.endpoints()).keys)
            except IssuerUnreachable as error:
                _log.warning("issuer_unreachable", error=str(error))
                return
            self._keys, self._keys_at = keys, now

    def _address(self, found: Mapping[str, Any], name: str) -> str:
        value = found.get(name)
        if not isinstance(value, str) or not self._is_safe(value):
            raise IssuerUnreachable(f"the discovery document has no usable {name}")
        return value

    def _is_safe(self, url: str) -> bool:
        try:
            parts = urlsplit(url)
        except ValueError:
            # No URL at all, such as `https://[`.
            return False
        return parts.scheme == "https" or (
            is_this_machine(parts.hostname) and is_this_machine(urlsplit(self.url).hostname)
        )


def build_issuer(
    settings: Settings | None,
    session: Callable[[], aiohttp.ClientSession],
    tls: ssl.SSLContext,
    clock: Clock,
    spoken: TlsSettings,
) -> Issuer | None:
    """The issuer that the configuration names, if any; `tls` is used where it says nothing of anchors of its own.

    With anchors of its own the TLS is `spoken` to it, as to everybody else.

    Raises: KeyStoreError where an anchor cannot be read.
    """
    if settings is None:
        return None
    if settings.anchors:
        tls = client_context(anchors=load_certificate_files(settings.anchors), settings=spoken)
    return Issuer(settings.url, session=session, tls=tls, clock=clock)
