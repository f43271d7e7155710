"""The SMP assertions: our publisher holds each, and for each a publisher that is broken over real HTTP fails it."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web
from aiohttp.typedefs import Middleware

from accesspoint.conformance.case import NotApplicable, Unmet
from accesspoint.conformance.publishing import asking, our_publisher
from accesspoint.conformance.recorder import Recorder
from accesspoint.conformance.smp_rules import MAXIMUM_REFERENCES, RULES, Get, Published
from accesspoint.network.listening import Listeners
from keys.devca import IssuedCertificate

Change = Callable[[web.Request, web.Response], web.Response | None]


@pytest.fixture(scope="module")
def signers(authority: Any, rsa_keys: Any) -> list[IssuedCertificate]:
    return [
        authority.issue_system_certificate(
            name, "TEST", "00000000", uuid=name, not_before=datetime.now(UTC), private_key=key
        )
        for name, key in zip(["signer", "other"], rsa_keys, strict=False)
    ]


@asynccontextmanager
async def published(
    signers: list[IssuedCertificate], *middlewares: Middleware
) -> AsyncIterator[tuple[Published, Get, Recorder]]:
    recorder = Recorder()
    async with (
        our_publisher(*signers, middlewares=middlewares) as what,
        asking(recorder, what) as get,
    ):
        yield what, get, recorder


@pytest.mark.parametrize("id_", RULES)
async def test_our_publisher_holds_it(signers: list[IssuedCertificate], id_: str) -> None:
    async with published(signers) as (what, get, recorder):
        assert await RULES[id_](what, get)
    assert recorder.exchanged


@pytest.mark.parametrize("id_", ["SMP_TA03", "SMP_TA09B", "SMP_TA19", "SMP_TA24", "SMP_TA25"])
async def test_what_is_not_published_is_not_judged(
    signers: list[IssuedCertificate], id_: str
) -> None:
    async with published(signers) as (what, get, _):
        little = Published(what.base_url, what.participant, what.document)
        with pytest.raises(NotApplicable):
            await RULES[id_](little, get)


LINKS = {
    "SMP_TA06": ("Moved", b'(<Redirect[^>]* href=")[^"]*'),
    "SMP_TA05": ("Receiver", b'(<ServiceMetadataReference[^>]* href=")[^"]*'),
}


def where_it_stands(part: str, old: bytes, new: bytes) -> Middleware:
    def change(request: web.Request, answer: web.Response) -> web.Response | None:
        is_here = isinstance(answer.body, bytes) and re.search(old, answer.body)
        return octets(old, new)(request, answer) if is_here else None

    return changed(only(part, change))


def leading_to(id_: str, url: str) -> Middleware:
    part, link = LINKS[id_]
    return where_it_stands(part, link, rb"\1" + url.encode())


@pytest.mark.parametrize("id_", LINKS)
async def test_a_publisher_leads_the_kit_nowhere_else(
    signers: list[IssuedCertificate], id_: str
) -> None:
    asked: list[str] = []

    async def secret(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(text="what only this machine may see")

    application = web.Application()
    application.router.add_get("/{path:.*}", secret)
    listeners = Listeners()
    inside = await listeners.start(application)
    try:
        async with published(signers, leading_to(id_, f"{inside}/x")) as (what, get, recorder):
            with pytest.raises(NotApplicable, match="does not list in hosts"):
                await RULES[id_](what, get)
            assert not any(inside in one.head for one in recorder.exchanged)
            assert asked == []
        async with published(signers, leading_to(id_, "file:///etc/hostname")) as (what, get, _):
            with pytest.raises(Unmet, match="http"):
                await RULES[id_](what, get)
    finally:
        await listeners.stop()


async def test_a_group_of_any_length_has_an_end(signers: list[IssuedCertificate]) -> None:
    link = b"(<ServiceMetadataReference [^>]*/>)"
    many = where_it_stands("Receiver", link, rb"\1" * (MAXIMUM_REFERENCES + 1))
    async with published(signers, many) as (what, get, recorder):
        seen = await RULES["SMP_TA05"](what, get)
    assert seen.startswith(f"{MAXIMUM_REFERENCES} of ")
    assert len(recorder.exchanged) <= 2 * (MAXIMUM_REFERENCES + 2)


# How a publisher is broken. Each takes a request and the honest answer to it, and gives the broken one.


def only(part: str, change: Change) -> Change:
    """Break answers to addresses with this part; `services` is metadata, `Moved` the redirect."""

    def broken(request: web.Request, answer: web.Response) -> web.Response | None:
        return change(request, answer) if part in request.rel_url.raw_path else None

    return broken


def status(number: int) -> Change:
    def change(_request: web.Request, answer: web.Response) -> web.Response:
        return web.Response(status=number, body=answer.body, content_type="text/xml")

    return change


def octets(old: bytes, new: bytes) -> Change:
    def change(_request: web.Request, answer: web.Response) -> web.Response:
        body = answer.body
        assert isinstance(body, bytes)
        assert re.search(old, body), "the fault was not planted"
        return web.Response(
            status=answer.status, body=re.sub(old, new, body), content_type="text/xml"
        )

    return change


def missing(_request: web.Request, _answer: web.Response) -> web.Response:
    return web.Response(status=404)


def deaf_to_case(request: web.Request, answer: web.Response) -> web.Response | None:
    """Knows nothing that is written otherwise than it was registered."""
    return missing(request, answer) if re.search("ONFORMANCE", request.rel_url.raw_path) else None


def upper_hex_only(request: web.Request, answer: web.Response) -> web.Response | None:
    return missing(request, answer) if "%3a" in request.rel_url.raw_path else None


def always(answer: Callable[[web.Request], web.Response]) -> Middleware:
    """A publisher that answers everything alike, whatever it knows."""

    @web.middleware
    async def answering(request: web.Request, _handler: Any) -> web.StreamResponse:
        return answer(request)

    return answering


def changed(change: Change) -> Middleware:
    @web.middleware
    async def changing(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        honest = await handler(request)
        assert isinstance(honest, web.Response)
        return change(request, honest) or honest

    return changing


@web.middleware
async def knows_everything(request: web.Request, handler: Any) -> web.StreamResponse:
    """Answers for what is unknown, too."""
    try:
        found: web.StreamResponse = await handler(request)
    except web.HTTPNotFound:
        found = web.Response(body=b"<x/>", content_type="text/xml")
    return found


@web.middleware
async def speaks_http_1_0(request: web.Request, handler: Any) -> web.StreamResponse:
    answer = await handler(request)
    answer.content_type = "application/octet-stream"
    found: web.StreamResponse = answer
    return found


@web.middleware
async def folds_everything(request: web.Request, handler: Any) -> web.StreamResponse:
    """Ignores case even where the scheme says that it counts."""
    path = request.rel_url.raw_path
    for exact in ("9999%3AExactly", "%3Anames%3Aspecification%3AInvoice-2"):
        path = re.sub(re.escape(exact), exact, path, flags=re.IGNORECASE)
    swapped = path.replace("URN%3ACONFORMANCE%3A", "urn%3Aconformance%3A")
    if swapped != request.rel_url.raw_path:
        return web.Response(body=b"<x/>", content_type="text/xml")
    found: web.StreamResponse = await handler(request)
    return found


SECOND_PROFILE = octets(b"(<Endpoint .*</Endpoint>)", rb"\1\1")
BROKEN: dict[str, Middleware] = {
    "SMP_TA01": changed(only("services", octets(b"SignedServiceMetadata", b"ServiceGroup"))),
    "SMP_TA02": changed(only("Receiver", octets(b"<ServiceMetadataReference [^>]*>", b""))),
    "SMP_TA03": changed(only("Moved", octets(b"<CertificateUID>[^<]*", b"<CertificateUID>"))),
    "SMP_TA04": changed(only("Moved", octets(b'href="([^"]*)/services/[^"]*"', rb'href="\1"'))),
    "SMP_TA05": changed(only("Invoice", octets(b"9999:Receiver", b"9999:Another"))),
    "SMP_TA06": changed(
        only("Moved", octets(b"<ServiceInformation>.*</ServiceInformation>", b'<Redirect href="http://127.0.0.1:1/a"><CertificateUID>x</CertificateUID></Redirect>'))
    ),
    "SMP_TA07": changed(only("Invoice", octets(b"9999:Receiver", b"9999:Another"))),
    "SMP_TA08": changed(only("Invoice", SECOND_PROFILE)),
    "SMP_TA09A": knows_everything,
    "SMP_TA09B": changed(only("Schemeless", octets(b"<ParticipantIdentifier>", b'<ParticipantIdentifier scheme="any">'))),
    "SMP_TA10": changed(deaf_to_case),
    "SMP_TA11": changed(upper_hex_only),
    "SMP_TA12": changed(deaf_to_case),
    "SMP_TA13": changed(only("services", octets(b'scheme="bdx-docid-qns"', b'scheme="not a URI"'))),
    "SMP_TA15": speaks_http_1_0,
    "SMP_TA16": changed(status(203)),
    "SMP_TA17": changed(status(203)),
    "SMP_TA18": knows_everything,
    "SMP_TA19": changed(only("Moved", status(301))),
    "SMP_TA20": changed(octets(rb"<\?xml[^>]*\?>\s*", b"")),
    "SMP_TA21": changed(octets(b"encoding='UTF-8'|encoding=\"UTF-8\"", b"encoding='US-ASCII'")),
    "SMP_TA22": changed(only("services", octets(b"https://127.0.0.1/as4", b"https://127.0.0.2/as4"))),
    "SMP_TA23": changed(only("services", octets(b"http://www.w3.org/2001/04/xmlenc#sha256", b"http://www.w3.org/2000/09/xmldsig#sha1"))),
    "SMP_TA24": folds_everything,
    "SMP_TA25": folds_everything,
}  # fmt: skip


def test_each_rule_has_a_publisher_that_breaks_it() -> None:
    assert set(BROKEN) == set(RULES)


@pytest.mark.parametrize("id_", RULES)
async def test_a_broken_publisher_fails_it(signers: list[IssuedCertificate], id_: str) -> None:
    async with published(signers, BROKEN[id_]) as (what, get, _):
        with pytest.raises(Unmet) as failure:
            await RULES[id_](what, get)
    assert failure.value.expected
    assert failure.value.seen


async def test_no_xml_is_no_answer(signers: list[IssuedCertificate]) -> None:
    garbage = always(
        lambda _request: web.Response(body=b"<!DOCTYPE x><x/>", content_type="text/xml")
    )
    async with published(signers, garbage) as (what, get, _):
        for id_ in ("SMP_TA01", "SMP_TA02", "SMP_TA22"):
            with pytest.raises(Unmet):
                await RULES[id_](what, get)
