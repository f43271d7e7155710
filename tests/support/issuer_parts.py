"""An issuer for tests: a key set over HTTP, tokens and sign-ins that are right or wrong in one thing."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from functools import cache
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc import jws
from joserfc.jwk import RSAKey
from yarl import URL


@cache
def _key() -> RSAKey:
    """One key for every issuer of a run: making them is what takes time."""
    return RSAKey.import_key(rsa.generate_private_key(65537, 2048))


class Signer:
    """Publishes one RSA key; `asked` counts how often its key set was fetched.

    `claims` are those of whoever signs in next; what stands there changes the ID token otherwise right.
    """

    def __init__(self) -> None:
        self.url = ""
        self.asked = 0
        self.claims: dict[str, Any] = {}
        self.wanted: dict[str, str] = {}
        self.exchanged: list[dict[str, str]] = []
        self.keys = [_key()]
        self.now: Callable[[], float] = time.time

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_get("/.well-known/openid-configuration", self._metadata)
        application.router.add_get("/jwks", self._jwks)
        application.router.add_get("/authorize", self._authorize)
        application.router.add_post("/token", self._exchange)
        return application

    def token(self, *, algorithm: str = "RS256", kid: str | None = None, **claims: Any) -> str:
        """A token that holds for a minute, but for these claims; None leaves one out, `exp` and `nbf` are relative."""
        now = int(self.now())
        said = {"iss": self.url, "aud": "node", "sub": "somebody", "iat": now, "exp": 60, **claims}
        said = {name: value for name, value in said.items() if value is not None}
        for name in {"exp", "nbf"} & set(said):
            said[name] += now
        key = self.keys[-1]
        header = {"alg": algorithm, "kid": kid or key.thumbprint(), "typ": "at+jwt"}
        if algorithm in ("none", "HS256"):
            # Signed with what everybody knows: the public key as if it were a shared secret, or with nothing.
            parts = b".".join(_b64(json.dumps(one).encode()) for one in (header, said))
            mac = hmac.new(key.as_pem(private=False), parts, hashlib.sha256).digest()
            return (parts + b"." + (b"" if algorithm == "none" else _b64(mac))).decode()
        return jws.serialize_compact(header, json.dumps(said).encode(), key, [algorithm])

    async def _metadata(self, _: web.Request) -> web.Response:
        return web.json_response(
            {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/jwks",
            }
        )

    async def _authorize(self, request: web.Request) -> web.Response:
        """Everybody is let in at once."""
        self.wanted = dict(request.query)
        back = URL(self.wanted["redirect_uri"]).update_query(
            code="once", state=self.wanted["state"], iss=self.url
        )
        return web.Response(status=303, headers={"Location": str(back)})

    async def _exchange(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.exchanged.append(form)
        verifier = hashlib.sha256(form["code_verifier"].encode()).digest()
        if _b64(verifier).decode() != self.wanted["code_challenge"]:
            return web.json_response({"error": "invalid_grant"}, status=400)
        said = {"aud": self.wanted["client_id"], "nonce": self.wanted["nonce"], **self.claims}
        return web.json_response({"id_token": self.token(**said), "token_type": "Bearer"})

    async def _jwks(self, _: web.Request) -> web.Response:
        self.asked += 1
        keys = [
            {**key.as_dict(private=False), "kid": key.thumbprint(), "use": "sig"}
            for key in self.keys
        ]
        return web.json_response({"keys": keys})


def _b64(octets: bytes) -> bytes:
    return base64.urlsafe_b64encode(octets).rstrip(b"=")
