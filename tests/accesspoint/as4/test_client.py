"""The client against a real server: what it asks for, and what it makes of what comes back."""

import gzip
import ssl
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from accesspoint.as4.client import As4Client, HttpAnswer, PostFailed
from accesspoint.network.listening import Listeners
from envelope.limits import DEFAULT_LIMITS

SOAP_TYPE = "application/soap+xml; charset=UTF-8"
RECEIPT = b"<receipt/>"


@pytest.fixture
async def server() -> AsyncIterator[tuple[str, list[web.Request]]]:
    """Answers with a receipt, compressed for those who invite it, and keeps the requests."""
    seen: list[web.Request] = []

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        seen.append(request)
        headers = {"Content-Type": SOAP_TYPE}
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            headers["Content-Encoding"] = "gzip"
            return web.Response(body=gzip.compress(RECEIPT), headers=headers)
        return web.Response(body=RECEIPT, headers=headers)

    async def redirect(_request: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": "/as4"})

    async def endless(_request: web.Request) -> web.Response:
        return web.Response(body=bytes(DEFAULT_LIMITS.response_bytes + 1))

    application = web.Application()
    application.router.add_post("/as4", answer)
    application.router.add_post("/redirect", redirect)
    application.router.add_post("/endless", endless)
    listeners = Listeners()
    yield await listeners.start(application), seen
    await listeners.stop()


async def post(url: str) -> HttpAnswer:
    async with As4Client(ssl.create_default_context()) as client:
        return await client.post(url, content_type=SOAP_TYPE, content_length=4, body=b"body")


async def test_answers_are_asked_for_uncompressed(server: tuple[str, list[web.Request]]) -> None:
    """phase4 compresses a receipt for whoever accepts gzip, and the octets would be no XML to us."""
    base, seen = server
    assert await post(f"{base}/as4") == HttpAnswer(200, SOAP_TYPE, RECEIPT)
    [request] = seen
    assert request.headers["Accept-Encoding"] == "identity"
    assert request.headers["Content-Type"] == SOAP_TYPE
    assert request.headers["Content-Length"] == "4"


async def test_a_redirect_is_an_answer_and_not_followed(
    server: tuple[str, list[web.Request]],
) -> None:
    base, seen = server
    assert (await post(f"{base}/redirect")).status == 307
    assert seen == []


async def test_rcp_13_an_answer_beyond_the_limit_is_cut_off(
    server: tuple[str, list[web.Request]],
) -> None:
    base, _ = server
    with pytest.raises(PostFailed) as failed:
        await post(f"{base}/endless")
    assert (failed.value.slug, failed.value.arrival_possible) == ("peer-answer", True)


async def test_nobody_there_means_nothing_arrived(server: tuple[str, list[web.Request]]) -> None:
    with pytest.raises(PostFailed) as failed:
        await post("http://127.0.0.1:1/as4")
    assert (failed.value.slug, failed.value.arrival_possible) == ("peer-unreachable", False)
