"""Tokens go to registered clients over mutual TLS, for their own organisations, and are bound to the certificate."""

from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives import hashes

from accesspoint.network.faults import Fault
from keys.errors import TokenRefused
from keys.jwk import verify_access_token

SENDER_SCOPE = "EDS system/AuditEvent.crs SOR:900000000000016 GLN:5790009990010"


async def ask(services: Any, session: aiohttp.ClientSession, **changes: Any) -> tuple[int, Any]:
    party = changes.pop("party", services.station)
    form = {
        "grant_type": "client_credentials",
        "client_id": services.client_id,
        "scope": SENDER_SCOPE,
        **changes,
    }
    async with session.post(services.token_url, data=form, ssl=party.client()) as answer:
        assert answer.headers["Cache-Control"] == "no-store"
        return answer.status, await answer.json()


async def test_a_registered_client_gets_a_bound_token_for_its_organisation(
    central_services: Any, session: aiohttp.ClientSession
) -> None:
    status, answer = await ask(central_services, session)

    assert (status, answer["token_type"], answer["expires_in"]) == (200, "Bearer", 300)
    certificate = central_services.station.issued.certificate
    token = central_services.authorization.check(answer["access_token"], certificate)
    assert token.device_id == "fjordby-ap"
    assert token.organisation is not None
    assert (token.organisation.sor, token.organisation.gln) == ("900000000000016", "5790009990010")
    assert token.thumbprint == certificate.fingerprint(hashes.SHA256())
    assert token.claims["acr"] == "urn:dk:healthcare:loa:3"


async def test_the_published_key_set_and_metadata_verify_the_token(
    central_services: Any, session: aiohttp.ClientSession
) -> None:
    context = central_services.station.client()
    base = central_services.token_url.removesuffix("/token")
    async with session.get(base + "/.well-known/oauth-authorization-server", ssl=context) as answer:
        metadata = await answer.json()
    async with session.get(metadata["jwks_uri"], ssl=context) as answer:
        keys = await answer.json()
    _, granted = await ask(central_services, session)

    assert metadata["issuer"] == base
    assert metadata["token_endpoint"] == central_services.token_url
    assert metadata["tls_client_certificate_bound_access_tokens"] is True
    assert "d" not in keys["keys"][0]
    verify_access_token(
        granted["access_token"],
        keys=keys,
        issuer=metadata["issuer"],
        audience="https://eds.test",
        certificate=central_services.station.issued.certificate,
        at=central_services.status._clock.now(),
    )


async def test_a_token_of_one_certificate_is_worth_nothing_with_another(
    central_services: Any, session: aiohttp.ClientSession, tls_party: Callable[[str], Any]
) -> None:
    _, granted = await ask(central_services, session)

    with pytest.raises(TokenRefused) as refused:
        central_services.authorization.check(
            granted["access_token"], tls_party("thief").issued.certificate
        )

    assert refused.value.reason == "token.binding"


async def test_another_subject_is_not_the_client(
    central_services: Any, session: aiohttp.ClientSession, tls_party: Callable[[str], Any]
) -> None:
    status, answer = await ask(central_services, session, party=tls_party("stranger"))

    assert (status, answer) == (401, {"error": "invalid_client"})


async def test_nobody_without_a_certificate_is_even_heard(
    central_services: Any, session: aiohttp.ClientSession, authority: Any
) -> None:
    from keys.tls import client_context

    with pytest.raises(aiohttp.ClientError):
        async with session.post(
            central_services.token_url, data={}, ssl=client_context(anchors=[authority.root])
        ) as answer:
            await answer.read()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"client_id": "nobody"}, "invalid_client"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"scope": ""}, "invalid_scope"),
        ({"scope": "EER system/Endpoint.rs"}, "invalid_scope"),
        ({"scope": SENDER_SCOPE.replace("5790009990010", "5790009990027")}, "invalid_scope"),
        ({"scope": SENDER_SCOPE + " GLN:5790009990010"}, "invalid_scope"),
        ({"scope": "EDS system/AuditEvent.crs SOR:900000000000016"}, "invalid_scope"),
    ],
)
async def test_a_request_outside_the_registration_is_denied(
    central_services: Any, session: aiohttp.ClientSession, changes: dict[str, str], error: str
) -> None:
    status, answer = await ask(central_services, session, **changes)

    assert status in (400, 401)
    assert answer == {"error": error}


async def test_a_token_may_be_for_searching_only(
    central_services: Any, session: aiohttp.ClientSession
) -> None:
    _, granted = await ask(central_services, session, scope="EDS system/AuditEvent.crs")

    certificate = central_services.station.issued.certificate
    token = central_services.authorization.check(granted["access_token"], certificate)
    assert token.organisation is None


async def test_fault_token_refused(central_services: Any, session: aiohttp.ClientSession) -> None:
    central_services.faults.add(Fault.TOKEN_REFUSED)

    assert await ask(central_services, session) == (401, {"error": "invalid_client"})


def test_the_registration_is_written_as_the_file_that_is_handed_in(central_services: Any) -> None:
    (registration,) = central_services.authorization._clients.values()
    metadata = registration.metadata()

    assert metadata["token_endpoint_auth_method"] == "tls_client_auth"
    assert metadata["tls_client_auth_subject_dn"].startswith(
        "subject=CN=station,serialNumber=UI:DK"
    )
    assert metadata["ehmi:eer:device_id"] == "fjordby-ap"
    assert metadata["ehmi:org_context"][0]["gln"] == "5790009990010"
