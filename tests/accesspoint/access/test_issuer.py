"""What is believed of an issuer: its own discovery document, safe addresses, young keys, and no more than that."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from issuer_parts import Signer
from joserfc.jwk import RSAKey

from accesspoint.access.issuer import Issuer, IssuerUnreachable
from accesspoint.clock import ManualClock
from accesspoint.network.listening import Listeners
from keys.errors import TokenRefused


@dataclass
class Stage:
    """An issuer, how it is seen, and the time of both."""

    signer: Signer
    issuer: Issuer
    clock: ManualClock
    listeners: Listeners

    async def verify(self, **claims: Any) -> Any:
        return await self.issuer.verify(self.signer.token(**claims), audience="node")


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    signer, listeners, clock = Signer(), Listeners(), ManualClock(datetime.now(UTC))
    signer.now = lambda: clock.now().timestamp()
    signer.url = await listeners.start(signer.application())
    async with aiohttp.ClientSession(trust_env=False) as session:
        issuer = Issuer(signer.url, session=lambda: session, tls=None, clock=clock)
        yield Stage(signer, issuer, clock, listeners)
    await listeners.stop()


async def test_a_new_key_is_fetched_when_a_token_names_it(stage: Stage) -> None:
    assert (await stage.verify())["sub"] == "somebody"
    stage.signer.keys = [RSAKey.import_key(rsa.generate_private_key(65537, 2048))]
    with pytest.raises(TokenRefused):
        await stage.verify()
    stage.clock.advance(timedelta(seconds=31))
    assert (await stage.verify())["sub"] == "somebody"
    assert stage.signer.asked == 2


async def test_a_new_key_counts_for_everybody_who_waits_for_it(stage: Stage) -> None:
    await stage.verify()
    stage.signer.keys = [RSAKey.import_key(rsa.generate_private_key(65537, 2048))]
    stage.clock.advance(timedelta(seconds=31))
    found = await asyncio.gather(*(stage.verify() for _ in range(3)))
    assert [claims["sub"] for claims in found] == ["somebody"] * 3
    assert stage.signer.asked == 2


async def test_a_key_that_was_withdrawn_is_forgotten_in_ten_minutes(stage: Stage) -> None:
    token = stage.signer.token(exp=3_600)
    await stage.issuer.verify(token, audience="node")
    stage.signer.keys = []
    stage.clock.advance(timedelta(minutes=11))
    with pytest.raises(TokenRefused):
        await stage.issuer.verify(token, audience="node")


async def test_an_issuer_that_is_gone_is_believed_for_an_hour(stage: Stage) -> None:
    await stage.verify()
    await stage.listeners.stop()
    stage.clock.advance(timedelta(minutes=59))
    assert (await stage.verify())["sub"] == "somebody"
    stage.clock.advance(timedelta(minutes=2))
    with pytest.raises(IssuerUnreachable):
        await stage.verify()


async def test_a_clock_that_is_set_back_makes_no_key_younger(stage: Stage) -> None:
    await stage.verify()
    stage.clock.set_wall(stage.clock.now() - timedelta(hours=2))
    stage.signer.keys = [RSAKey.import_key(rsa.generate_private_key(65537, 2048))]
    stage.clock.advance(timedelta(seconds=31))
    assert (await stage.verify())["sub"] == "somebody"
    await stage.listeners.stop()
    stage.clock.set_wall(stage.clock.now() - timedelta(hours=2))
    stage.clock.advance(timedelta(minutes=61))
    with pytest.raises(IssuerUnreachable):
        await stage.verify()


WRONG: dict[str, Any] = {
    "another issuer's": {"issuer": "https://elsewhere.example"},
    "with the keys in plain text elsewhere": {"jwks_uri": "http://elsewhere.example/jwks"},
    "with the keys in a file": {"jwks_uri": "file:///etc/passwd"},
    "with the keys at no URL": {"jwks_uri": "https://["},
    "without a token endpoint": {"token_endpoint": None},
    "too long": {"filling": "x" * 300_000},
    "no object": [],
    "of a deep one": "[" * 100_000,
}


@pytest.mark.parametrize("wrong", list(WRONG))
async def test_a_discovery_document_that_does_not_hold_is_none(stage: Stage, wrong: str) -> None:
    change, asked = WRONG[wrong], []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        if isinstance(change, str):
            return web.Response(text=change)
        document = {
            "issuer": url,
            "authorization_endpoint": f"{url}/authorize",
            "token_endpoint": f"{url}/token",
            "jwks_uri": f"{url}/jwks",
        }
        return web.json_response(document | change if isinstance(change, dict) else change)

    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    url = await stage.listeners.start(application)
    stage.issuer.url = url
    with pytest.raises(IssuerUnreachable):
        await stage.issuer.endpoints()
    assert asked == ["/.well-known/openid-configuration"]


async def test_nobody_is_followed_elsewhere(stage: Stage) -> None:
    async def answer(_: web.Request) -> web.Response:
        raise web.HTTPFound(stage.signer.url + "/.well-known/openid-configuration")

    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    stage.issuer.url = await stage.listeners.start(application)
    with pytest.raises(IssuerUnreachable, match="302"):
        await stage.issuer.endpoints()
