"""Signing people in through an OpenID Connect issuer: the Authorization Code flow with PKCE.

Each attempt has a state, a nonce and a code verifier of its own. They stand sealed in a cookie of the browser that began
it and nowhere here, so that however many begin push nobody out; an attempt is good for ten minutes, for one answer, and
while this process lives. The answer counts when state and issuer are those of the attempt, when
the code is exchanged over our own connection to the issuer, and when the ID token is signed by the issuer for us, is
fresh, and carries the nonce; where a level of assurance is wanted, when it names one that is.

Spec: OpenID Connect Core 1.0, sections 3.1.2 and 3.1.3.7; RFC 7636; RFC 9207; RFC 9700 section 2.1; hostile ADM-04, ADM-06.
"""

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

from cryptography.fernet import Fernet, InvalidToken
from yarl import URL

from accesspoint.access.issuer import Issuer, IssuerUnreachable
from accesspoint.clock import Clock
from keys.errors import TokenRefused

LONGEST: Final = timedelta(minutes=10)
_MOST_SPENT: Final = 10_000
"""So many answered attempts are remembered; who gets past that meets the issuer, for whom a code is good once."""


class SignOnRefused(Exception):
    """The answer of the issuer, or what stands for one, opens nothing; `reason` is for the log."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Attempt:
    """One sign-in that was begun."""

    state: str
    nonce: str
    verifier: str
    began_at: datetime


class SignOn:
    """One client of one issuer; `redirect_uri` is where the issuer sends people back to."""

    def __init__(
        self,
        issuer: Issuer,
        *,
        client_id: str,
        client_secret: str | None,
        redirect_uri: str,
        clock: Clock,
        scope: str = "openid",
        acr_values: Sequence[str] = (),
    ) -> None:
        """`client_secret` is None for a public client, whom PKCE alone protects."""
        self._issuer = issuer
        self._client_id = client_id
        self._client_secret = client_secret
        self._redirect_uri = redirect_uri
        self._clock = clock
        self._scope = scope
        self._acr_values = tuple(acr_values)
        self._seal = Fernet(Fernet.generate_key())
        self._spent: dict[str, datetime] = {}

    async def begin(self) -> tuple[str, str]:
        """Return the sealed attempt for the browser's cookie, and where the browser goes. Raises: IssuerUnreachable."""
        endpoint = (await self._issuer.endpoints()).authorization
        attempt = Attempt(
            state=secrets.token_urlsafe(32),
            nonce=secrets.token_urlsafe(32),
            verifier=secrets.token_urlsafe(32),
            began_at=self._clock.now(),
        )
        asked = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": self._redirect_uri,
            "scope": self._scope,
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": _challenge(attempt.verifier),
            "code_challenge_method": "S256",
        }
        if self._acr_values:
            asked["acr_values"] = " ".join(self._acr_values)
        return self._sealed(attempt), str(URL(endpoint).update_query(asked))

    async def finish(self, sealed: str | None, answer: Mapping[str, str]) -> Mapping[str, Any]:
        """Return the claims of the person whom the issuer's answer is about.

        Raises: SignOnRefused; IssuerUnreachable.
        """
        attempt = self._spend(sealed or "")
        if not _same(answer.get("state", ""), attempt.state):
            raise SignOnRefused("sign-on.state")
        if answer.get("iss", self._issuer.url) != self._issuer.url:
            raise SignOnRefused("sign-on.issuer")
        code = answer.get("code")
        if not code or "error" in answer:
            raise SignOnRefused("sign-on.denied")
        token = await self._exchange(code, attempt)
        try:
            claims = await self._issuer.verify(token, audience=self._client_id)
        except TokenRefused as refused:
            raise SignOnRefused(refused.reason) from None
        self._check(claims, attempt)
        return claims

    def _sealed(self, attempt: Attempt) -> str:
        facts = [attempt.state, attempt.nonce, attempt.verifier, attempt.began_at.isoformat()]
        return self._seal.encrypt(json.dumps(facts).encode()).decode()

    def _spend(self, sealed: str) -> Attempt:
        """Open the attempt of a cookie, which is then good for nothing any more. Raises: SignOnRefused."""
        try:
            state, nonce, verifier, began_at = json.loads(self._seal.decrypt(sealed.encode()))
        except (InvalidToken, UnicodeEncodeError):
            raise SignOnRefused("sign-on.attempt") from None
        attempt, now = (
            Attempt(state, nonce, verifier, datetime.fromisoformat(began_at)),
            self._clock.now(),
        )
        if now - attempt.began_at >= LONGEST or state in self._spent:
            raise SignOnRefused("sign-on.attempt")
        self._spent = {one: began for one, began in self._spent.items() if now - began < LONGEST}
        while len(self._spent) >= _MOST_SPENT:
            del self._spent[next(iter(self._spent))]
        self._spent[state] = attempt.began_at
        return attempt

    async def _exchange(self, code: str, attempt: Attempt) -> str:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "code_verifier": attempt.verifier,
        }
        headers = {}
        if self._client_secret is None:
            form["client_id"] = self._client_id
        else:
            # RFC 6749 2.3.1: each half is form-encoded first.
            pair = f"{quote(self._client_id, safe='')}:{quote(self._client_secret, safe='')}"
            headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        endpoint = (await self._issuer.endpoints()).token
        answered = await self._issuer.fetch("POST", endpoint, data=form, headers=headers)
        token = answered.get("id_token")
        if not isinstance(token, str):
            raise IssuerUnreachable("the issuer gave no ID token")
        return token

    def _check(self, claims: Mapping[str, Any], attempt: Attempt) -> None:
        if not _same(claims.get("nonce"), attempt.nonce):
            raise SignOnRefused("sign-on.nonce")
        audiences, party = claims.get("aud"), claims.get("azp")
        is_shared = isinstance(audiences, list) and len(audiences) > 1
        if (party is not None or is_shared) and party != self._client_id:
            raise SignOnRefused("sign-on.party")
        if claims["iat"] < (attempt.began_at - timedelta(minutes=1)).timestamp():
            raise SignOnRefused("sign-on.old")
        if self._acr_values and claims.get("acr") not in self._acr_values:
            raise SignOnRefused("sign-on.level")
        if not isinstance(claims.get("sub"), str) or not claims["sub"]:
            raise SignOnRefused("token.claims")


def _challenge(verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _same(given: object, expected: str) -> bool:
    return isinstance(given, str) and hmac.compare_digest(given.encode(), expected.encode())
