"""Every web application of the program knows who asks; none can be added without saying how."""

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from accesspoint.clock import SystemClock
from accesspoint.network.addressing_service import MiniatureAddressing
from accesspoint.network.endpoint_register import EndpointRegisterService
from accesspoint.network.listening import Listeners
from accesspoint.network.organisations import read_organisations
from keys.jwk import access_token_claims, sign_access_token
from keys.tls import client_context

ROOT = Path(__file__).parents[2] / "accesspoint"
KNOWN_BY = {
    "api/routes.py": "the table of rights, see api/test_rights.py",
    "conformance/drivers.py": "a test tool on loopback",
    "conformance/interceptor.py": "a test tool on loopback",
    "conformance/ourselves.py": "a test tool on loopback",
    "conformance/test_service.py": "a test tool on loopback",
    "node_doors.py": "AS4 by the signature of the message, stations by certificate and sealed manifest",
    "network/addressing_service.py": "certificate and token, see below",
    "network/authorization.py": "certificate, see below",
    "network/document_sharing.py": "a stand-in on loopback, in the demo only",
    "network/endpoint_register.py": "certificate and token, see below",
    "network/publisher.py": "nobody: service metadata are public, and signed",
    "network/revocation_point.py": "nobody: revocation lists are public, and signed",
    "status_component/service.py": "certificate and token, see below",
    "tracking/pages.py": "a session, see tracking/test_pages.py and tracking/test_entrance.py",
}
CERTIFICATE_ALONE = {
    "/fhir/metadata",
    "/jwks",
    "/token",
    "/.well-known/oauth-authorization-server",
}
"""What tells nothing but what the service can do, and where tokens come from."""


def test_no_application_is_without_an_answer() -> None:
    makes = re.compile(r"web\.Application\(")
    found = {
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*.py")
        if makes.search(path.read_text("utf-8"))
    }
    assert found == set(KNOWN_BY)


@dataclass
class Service:
    """One application over mutual TLS, and its routes with their placeholders filled."""

    url: str
    routes: list[tuple[str, str]]


@pytest.fixture
async def services(
    central_services: Any, tls_party: Callable[[str], Any]
) -> AsyncIterator[list[Service]]:
    clock, listeners, server = SystemClock(), Listeners(), tls_party("others")
    check = central_services.authorization.check
    register = EndpointRegisterService(clock=clock, check_token=check)
    addressing = MiniatureAddressing(
        read_organisations(), clock=clock, check_token=check, register=lambda: None  # type: ignore[arg-type, return-value]
    )  # fmt: skip
    applications = register.application(), addressing.application()
    served = [
        (central_services.status_url, central_services.status.application()),
        (central_services.token_url, central_services.authorization.application()),
        *[(await listeners.start(one, tls=server.server()), one) for one in applications],
    ]
    yield [Service(str(URL(url).origin()), routes_of(application)) for url, application in served]
    await listeners.stop()


def routes_of(application: web.Application) -> list[tuple[str, str]]:
    """Method and path of each route."""
    return [
        (route.method, re.sub(r"\{kind\}", "Endpoint", route.resource.canonical).replace("{id}", "x"))
        for route in application.router.routes()
        if route.resource is not None and route.method != "HEAD"
    ]  # fmt: skip


@pytest.mark.attack("ADM-01")
async def test_no_central_service_answers_without_certificate_and_token(
    services: list[Service], central_services: Any, session: aiohttp.ClientSession
) -> None:
    station = central_services.station
    known, bare = station.client(), client_context(anchors=[station.authority.root])
    asked = 0
    for service in services:
        for method, path in service.routes:
            with pytest.raises((aiohttp.ClientError, ConnectionError)):
                async with session.request(method, service.url + path, ssl=bare) as answer:
                    await answer.read()
            async with session.request(method, service.url + path, ssl=known) as answer:
                if path not in CERTIFICATE_ALONE:
                    assert answer.status == 401, path
            asked += 1
    assert asked >= 20


@pytest.mark.attack("ADM-02")
async def test_no_central_service_answers_a_token_without_its_scope(
    services: list[Service], central_services: Any, session: aiohttp.ClientSession
) -> None:
    station, authorization = central_services.station, central_services.authorization
    claims = access_token_claims(
        issuer=authorization.issuer, audience="https://eds.test", subject_uuid="x", scope="EDS system/Other.crs",
        certificate=station.issued.certificate, token_id="x", at=SystemClock().now(), device_id="fjordby-ap",
    )  # fmt: skip
    headers = {"Authorization": f"Bearer {sign_access_token(claims, authorization._key)}"}
    for service in services:
        for method, path in service.routes:
            if path in CERTIFICATE_ALONE:
                continue
            async with session.request(
                method, service.url + path, ssl=station.client(), headers=headers
            ) as answer:
                assert answer.status == 403, path
