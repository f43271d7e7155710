"""The publisher: signed answers about what is registered, at percent-encoded paths, and its planted faults."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from cryptography import x509
from yarl import URL

from accesspoint.network.faults import Fault
from accesspoint.network.listening import Listeners
from accesspoint.network.publisher import Publisher, Registration
from envelope import names
from envelope.errors import SmpRefused
from envelope.smp import (
    Redirect,
    ServiceMetadata,
    SmpIdentifier,
    read_service_group,
    read_signed_service_metadata,
)
from keys.certificate import der

PARTICIPANT = "0088:5790009990027"
DOCUMENT = "urn:dk:healthcare::observation-message##urn:dk:medcom/fhir::1.1"
SCHEME = "busdox-docid-qns"


@pytest.fixture
def parties(authority: Any, rsa_keys: Any) -> dict[str, Any]:
    """Signer, stranger, somebody else and receiver, each with a certificate."""
    names_and_keys = zip(["signer", "stranger", "somebody", "receiver"], rsa_keys, strict=True)
    return {
        name: authority.issue_system_certificate(
            name, "TEST", "00000000", uuid=name, not_before=datetime.now(UTC), private_key=key
        )
        for name, key in names_and_keys
    }


@pytest.fixture
def faults() -> set[Fault]:
    return set()


@pytest.fixture
def publisher(parties: dict[str, Any], faults: set[Fault]) -> Publisher:
    made = Publisher(
        parties["signer"],
        stranger=parties["stranger"],
        somebody_else=parties["somebody"],
        faults=faults,
    )
    certificate = der(parties["receiver"].certificate)
    made.register(Registration(PARTICIPANT, (DOCUMENT,), "https://127.0.0.1/as4", certificate))
    return made


@pytest.fixture
async def base(publisher: Publisher) -> AsyncIterator[str]:
    listeners = Listeners()
    yield await listeners.start(publisher.application())
    await listeners.stop()


async def get(session: aiohttp.ClientSession, url: str) -> tuple[int, bytes]:
    async with session.get(URL(url, encoded=True)) as answer:
        return answer.status, await answer.read()


def document_url(base: str, document: str = DOCUMENT) -> str:
    participant = quote(f"iso6523-actorid-upis::{PARTICIPANT}", safe="")
    return f"{base}/{participant}/services/{quote(f'{SCHEME}::{document}', safe='')}"


def read(data: bytes, expected: x509.Certificate) -> ServiceMetadata:
    def check(certificate: x509.Certificate, chain: object) -> None:
        assert certificate == expected

    found = read_signed_service_metadata(
        data,
        participant=SmpIdentifier(names.ISO6523_ACTORID, PARTICIPANT),
        document_id=SmpIdentifier(SCHEME, DOCUMENT),
        check=check,
    ).content
    assert isinstance(found, ServiceMetadata)
    return found


async def test_metadata_names_the_endpoint_and_is_signed_by_the_publisher(
    session: aiohttp.ClientSession, base: str, parties: dict[str, Any]
) -> None:
    status, data = await get(session, document_url(base))

    assert status == 200
    (process,) = read(data, parties["signer"].certificate).processes
    (endpoint,) = process.endpoints
    assert process.process_id.value == "urn:ehmi:sdn-emergence"
    assert endpoint.url == "https://127.0.0.1/as4"
    assert endpoint.certificate == der(parties["receiver"].certificate)
    assert endpoint.transport_profile == "bdxr-transport-ebms3-as4-v1p0"


async def test_a_changed_answer_does_not_verify(
    session: aiohttp.ClientSession, base: str, parties: dict[str, Any]
) -> None:
    _, data = await get(session, document_url(base))

    with pytest.raises(SmpRefused) as refused:
        read(data.replace(b"127.0.0.1/as4", b"127.0.0.2/as4"), parties["signer"].certificate)
    assert refused.value.reason == "smp.signature"


async def test_the_service_group_leads_to_the_metadata(
    session: aiohttp.ClientSession, base: str
) -> None:
    url = document_url(base)
    status, data = await get(session, url.partition("/services/")[0])

    group = read_service_group(data)
    assert (status, group.participant.value) == (200, PARTICIPANT)
    assert group.references == (url,)
    assert (await get(session, group.references[0]))[0] == 200


@pytest.mark.parametrize(
    "path", ["/", "/unknown", "/iso6523-actorid-upis%3A%3A0088%3A1/services/x"]
)
async def test_what_is_not_registered_is_not_found(
    session: aiohttp.ClientSession, base: str, path: str
) -> None:
    assert (await get(session, base + path))[0] == 404


async def test_document_identifiers_are_compared_exactly(
    session: aiohttp.ClientSession, base: str
) -> None:
    assert (await get(session, document_url(base, DOCUMENT.upper())))[0] == 404
    assert (await get(session, document_url(base, DOCUMENT.partition("#")[0])))[0] == 404


async def test_participants_are_found_in_any_case(
    session: aiohttp.ClientSession, base: str
) -> None:
    url = document_url(base).replace("iso6523-actorid-upis", "ISO6523-ActorId-UPIS")
    assert (await get(session, url))[0] == 200


async def test_another_document_is_at_another_publisher(
    session: aiohttp.ClientSession, base: str, publisher: Publisher, parties: dict[str, Any]
) -> None:
    (registration,) = publisher._registrations.values()
    redirect = Redirect("https://smp.example/there", "CN=there")
    publisher.register(replace(registration, redirects={"urn:moved": redirect}))

    _, data = await get(session, document_url(base, "urn:moved"))
    found = read_signed_service_metadata(
        data,
        participant=SmpIdentifier(names.ISO6523_ACTORID, PARTICIPANT),
        document_id=SmpIdentifier(SCHEME, "urn:moved"),
        check=lambda certificate, chain: None,
    )
    assert found.content == redirect
    assert found.certificate == parties["signer"].certificate


@pytest.mark.parametrize("path", ["urn%3Aa", "%3A%3Aurn%3Aa", "URN%3AA"])
async def test_a_participant_may_have_no_scheme(
    session: aiohttp.ClientSession, base: str, publisher: Publisher, path: str
) -> None:
    publisher.register(Registration("urn:a", (DOCUMENT,), "https://127.0.0.1", b"", scheme=None))

    _, data = await get(session, f"{base}/{path}")
    assert read_service_group(data).participant == SmpIdentifier(None, "urn:a")


async def test_a_participant_that_left_is_not_found(
    session: aiohttp.ClientSession, base: str, publisher: Publisher
) -> None:
    publisher.unregister(PARTICIPANT)
    assert (await get(session, document_url(base)))[0] == 404


async def test_a_registration_replaces_the_earlier_one(
    session: aiohttp.ClientSession, base: str, publisher: Publisher, parties: dict[str, Any]
) -> None:
    (registration,) = publisher._registrations.values()
    publisher.register(replace(registration, url="https://127.0.0.1/new"))

    _, data = await get(session, document_url(base))
    metadata = read(data, parties["signer"].certificate)
    assert metadata.processes[0].endpoints[0].url == "https://127.0.0.1/new"


async def test_fault_metadata_unsigned(
    session: aiohttp.ClientSession, base: str, parties: dict[str, Any], faults: set[Fault]
) -> None:
    faults.add(Fault.METADATA_UNSIGNED)

    _, data = await get(session, document_url(base))
    assert read(data, parties["stranger"].certificate)


async def test_fault_document_missing(
    session: aiohttp.ClientSession, base: str, faults: set[Fault]
) -> None:
    faults.add(Fault.DOCUMENT_MISSING)

    assert (await get(session, document_url(base)))[0] == 404
    group_url = document_url(base).partition("/services/")[0]
    assert read_service_group((await get(session, group_url))[1]).references == ()


async def test_fault_wrong_certificate(
    session: aiohttp.ClientSession, base: str, parties: dict[str, Any], faults: set[Fault]
) -> None:
    faults.add(Fault.WRONG_CERTIFICATE)

    _, data = await get(session, document_url(base))
    metadata = read(data, parties["signer"].certificate)
    assert metadata.processes[0].endpoints[0].certificate == der(parties["somebody"].certificate)
