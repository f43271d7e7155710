"""Tokens: kept while good, one request for many askers, refusals remembered, and never shown."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
import structlog
from aiohttp import web

from accesspoint.clock import ManualClock
from accesspoint.delivery.token import REFUSAL_PAUSE, TokenRefused, TokenSource, TokenUnreachable
from accesspoint.network.faults import Fault
from accesspoint.network.listening import Listeners

SOR, GLN = "900000000000016", "5790009990010"
SECRET = "eyJhbGciOiJFUzI1NiJ9.secret.signature"


class Endpoint:
    """A token endpoint over plain HTTP that answers as a test tells it and counts its requests."""

    def __init__(self) -> None:
        self.forms: list[dict[str, str]] = []
        self.answer: Callable[[], Awaitable[web.StreamResponse]] = self.grant
        self.url = ""

    async def grant(self) -> web.StreamResponse:
        body = {
            "access_token": f"{SECRET}-{len(self.forms)}",
            "token_type": "Bearer",
            "expires_in": 300,
        }
        return web.json_response(body)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.forms.append({name: str(value) for name, value in (await request.post()).items()})
        return await self.answer()


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    listeners, served = Listeners(), Endpoint()
    application = web.Application()
    application.router.add_post("/token", served.handle)
    served.url = await listeners.start(application) + "/token"
    yield served
    await listeners.stop()


@pytest.fixture
def source(
    endpoint: Endpoint, session: aiohttp.ClientSession, clock: ManualClock, tls_party: Any
) -> TokenSource:
    return TokenSource(
        endpoint.url,
        client_id="fjordby-station",
        ssl_context=tls_party("client").client(),
        session=lambda: session,
        clock=clock,
        timeout=5,
    )


async def test_a_token_is_asked_for_with_the_organisation_in_the_scope(
    source: TokenSource, endpoint: Endpoint
) -> None:
    assert await source.token(SOR, GLN) == f"{SECRET}-1"
    assert endpoint.forms == [
        {
            "grant_type": "client_credentials",
            "scope": f"EDS system/AuditEvent.crs SOR:{SOR} GLN:{GLN}",
            "client_id": "fjordby-station",
        }
    ]


async def test_a_token_is_kept_until_thirty_seconds_before_it_expires(
    source: TokenSource, endpoint: Endpoint, clock: ManualClock
) -> None:
    await source.token(SOR, GLN)
    clock.advance(timedelta(seconds=269))
    assert await source.token(SOR, GLN) == f"{SECRET}-1"

    clock.advance(timedelta(seconds=1))
    assert await source.token(SOR, GLN) == f"{SECRET}-2"
    assert len(endpoint.forms) == 2


async def test_each_organisation_has_its_own_token(source: TokenSource, endpoint: Endpoint) -> None:
    assert await source.token(SOR, GLN) != await source.token("900000000000024", "5790009990027")


async def test_many_askers_share_one_request(source: TokenSource, endpoint: Endpoint) -> None:
    tokens = await asyncio.gather(*(source.token(SOR, GLN) for _ in range(20)))

    assert len(set(tokens)) == len(endpoint.forms) == 1


async def test_an_asker_that_gives_up_does_not_take_the_token_from_the_others(
    source: TokenSource, endpoint: Endpoint
) -> None:
    impatient = asyncio.create_task(source.token(SOR, GLN))
    patient = asyncio.create_task(source.token(SOR, GLN))
    await asyncio.sleep(0)
    impatient.cancel()

    assert await patient == f"{SECRET}-1"
    assert len(endpoint.forms) == 1


async def test_a_dropped_token_is_asked_for_again(source: TokenSource, endpoint: Endpoint) -> None:
    await source.token(SOR, GLN)
    source.drop(SOR, GLN)

    assert await source.token(SOR, GLN) == f"{SECRET}-2"


async def test_a_refusal_is_remembered_for_a_while(
    source: TokenSource, endpoint: Endpoint, clock: ManualClock
) -> None:
    async def refuse() -> web.StreamResponse:
        return web.json_response({"error": "invalid_client"}, status=401)

    endpoint.answer = refuse
    for _ in range(3):
        with pytest.raises(TokenRefused, match="invalid_client") as refused:
            await source.token(SOR, GLN)
        assert (refused.value.problem, refused.value.status) == ("token-refused", 401)
    assert len(endpoint.forms) == 1

    endpoint.answer = endpoint.grant
    clock.advance(timedelta(seconds=REFUSAL_PAUSE))
    assert await source.token(SOR, GLN) == f"{SECRET}-2"


ANSWERS: list[tuple[type[Exception], int, Any]] = [
    (TokenRefused, 400, {"error": "invalid_scope"}),
    (TokenRefused, 403, {"error": {"nested": SECRET}}),
    (
        TokenRefused,
        200,
        {"access_token": SECRET, "token_type": "Bearer", "expires_in": 300, "scope": "EDS"},
    ),
    (TokenUnreachable, 500, {}),
    (TokenUnreachable, 429, {}),
    (TokenUnreachable, 302, {}),
    (TokenUnreachable, 200, [SECRET]),
    (TokenUnreachable, 200, {"token_type": "Bearer", "expires_in": 300}),
    (
        TokenUnreachable,
        200,
        {"access_token": SECRET + "\n", "token_type": "Bearer", "expires_in": 300},
    ),
    (TokenUnreachable, 200, {"access_token": SECRET, "token_type": "DPoP", "expires_in": 300}),
    (TokenUnreachable, 200, {"access_token": SECRET, "token_type": "Bearer", "expires_in": "soon"}),
    (TokenUnreachable, 200, {"access_token": SECRET, "token_type": "Bearer", "expires_in": 0}),
    (
        TokenUnreachable,
        200,
        {"access_token": "x" * 70_000, "token_type": "Bearer", "expires_in": 300},
    ),
]


@pytest.mark.parametrize(("error", "status", "body"), ANSWERS)
async def test_an_answer_that_is_no_token_is_an_error_that_shows_none(
    source: TokenSource, endpoint: Endpoint, error: type[Exception], status: int, body: Any
) -> None:
    async def answer() -> web.StreamResponse:
        return web.json_response(body, status=status)

    endpoint.answer = answer
    with structlog.testing.capture_logs() as logged, pytest.raises(error) as raised:
        await source.token(SOR, GLN)

    assert "secret" not in f"{raised.value}{raised.value.__dict__}{logged}"


async def test_rubbish_is_no_token(source: TokenSource, endpoint: Endpoint) -> None:
    async def answer() -> web.StreamResponse:
        return web.Response(text="<html>")

    endpoint.answer = answer
    with pytest.raises(TokenUnreachable):
        await source.token(SOR, GLN)


async def test_nobody_at_home_is_unreachable(source: TokenSource, endpoint: Endpoint) -> None:
    source._endpoint = "http://127.0.0.1:9/token"
    with pytest.raises(TokenUnreachable, match="ClientConnectorError"):
        await source.token(SOR, GLN)


async def test_a_real_authorization_server_over_mutual_tls(
    central_services: Any, session: aiohttp.ClientSession, clock: ManualClock
) -> None:
    source = TokenSource(
        central_services.token_url,
        client_id=central_services.client_id,
        ssl_context=central_services.station.client(),
        session=lambda: session,
        clock=clock,
    )
    token = await source.token(SOR, GLN)
    assert central_services.authorization.check(token, central_services.station.issued.certificate)

    central_services.faults.add(Fault.TOKEN_REFUSED)
    source.drop(SOR, GLN)
    with structlog.testing.capture_logs() as logged, pytest.raises(TokenRefused) as refused:
        await source.token(SOR, GLN)
    assert refused.value.status == 401
    assert token not in repr(logged)
    with pytest.raises(TokenRefused):
        await source.token("900000000000099", GLN)
