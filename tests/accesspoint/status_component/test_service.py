"""The status component over real mutual TLS: who may report, what is refused, what a station may read."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
import structlog
from cryptography.hazmat.primitives import hashes
from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.capabilitystatement import CapabilityStatement
from fhir.resources.R4B.operationoutcome import OperationOutcome
from status_parts import AT, CPR, FACTS, report

from accesspoint.network.faults import Fault
from accesspoint.status_component.access import SUPPORTER_ROLE
from accesspoint.store.database import StorageFailure
from keys.jwk import OrganisationContext, access_token_claims, sign_access_token

SENDER_SCOPE = "EDS system/AuditEvent.crs SOR:900000000000016 GLN:5790009990010"
RECEIVER_SCOPE = "EDS system/AuditEvent.crs SOR:900000000000024 GLN:5790009990027"


class Client:
    """Calls the status component as one station."""

    def __init__(self, services: Any, session: aiohttp.ClientSession) -> None:
        self.services, self.session = services, session
        self.context = services.station.client()

    async def call(
        self,
        method: str,
        path: str,
        *,
        scope: str = SENDER_SCOPE,
        token: str | None = None,
        context: Any = None,
        content_type: str = "application/fhir+json",
        **sent: Any,
    ) -> tuple[int, Any, Any]:
        bearer = token or await self.services.token(self.session, scope)
        headers = {"Authorization": f"Bearer {bearer}"}
        if "data" in sent and isinstance(sent["data"], (str, bytes)):
            headers["Content-Type"] = content_type
        async with self.session.request(
            method,
            self.services.status_url + path,
            headers=headers,
            ssl=context or self.context,
            **sent,
        ) as answer:
            return answer.status, json.loads(await answer.read() or b"null"), answer.headers

    async def post(self, resource: Any, **rest: Any) -> tuple[int, Any, Any]:
        return await self.call("POST", "/AuditEvent", data=json.dumps(resource), **rest)


@pytest.fixture
def client(central_services: Any, session: aiohttp.ClientSession) -> Client:
    return Client(central_services, session)


async def test_a_report_is_created_at_a_location_where_it_can_be_read(client: Client) -> None:
    status, created, headers = await client.post(report())

    assert status == 201
    assert headers["Location"] == f"/fhir/AuditEvent/{created['id']}"
    status, read, _ = await client.call("GET", f"/AuditEvent/{created['id']}")
    assert (status, read) == (200, created)
    assert {**read, "id": None} == {**report(), "id": None}


async def test_the_receiver_may_report_in_its_own_name(client: Client) -> None:
    assert (await client.post(report(), scope=RECEIVER_SCOPE))[0] == 201


async def test_a_report_repeated_is_stored_once(client: Client) -> None:
    first, second = await client.post(report()), await client.post(report())

    assert (first[0], second[0]) == (201, 200)
    assert first[2]["Location"] == second[2]["Location"]
    assert len(await client.services.store.reports()) == 1


async def test_a_resend_in_a_new_envelope_is_another_report(client: Client) -> None:
    await client.post(report())
    resent = replace(FACTS, transport_envelope_identifier="e-2")

    assert (await client.post(report(resent)))[0] == 201


async def test_a_report_that_breaks_its_profile_is_refused_with_each_element(
    client: Client,
) -> None:
    resource = report() | {"action": "U", "outcome": "4"}

    status, outcome, _ = await client.post(resource)

    assert status == 422
    issues = OperationOutcome.model_validate(outcome).issue
    assert [issue.expression for issue in issues] == [["AuditEvent.action"], ["AuditEvent.outcome"]]
    assert await client.services.store.reports() == []


async def test_a_report_for_another_device_is_refused(client: Client) -> None:
    assert (await client.post(report(device_id="havnegade-ap")))[0] == 403


async def test_a_report_for_other_organisations_is_refused(client: Client) -> None:
    strangers = replace(FACTS, sender_gln="5790009990034", receiver_gln="5790009990041")

    assert (await client.post(report(strangers)))[0] == 403


async def test_the_gln_of_one_party_with_the_sor_of_another_is_refused(client: Client) -> None:
    crossed = replace(FACTS, sender_sor=FACTS.receiver_sor, receiver_sor=FACTS.sender_sor)

    assert (await client.post(report(crossed)))[0] == 403


async def test_a_token_for_searching_does_not_create(client: Client) -> None:
    assert (await client.post(report(), scope="EDS system/AuditEvent.crs"))[0] == 403


def mint(services: Any, scope: str, **changed: Any) -> str:
    """Sign a token with a scope or claims that the authorization server does not grant; None takes a claim out."""
    claims = access_token_claims(
        issuer=services.authorization.issuer,
        audience=services.authorization.audience,
        subject_uuid="u",
        scope=scope,
        certificate=services.station.issued.certificate,
        token_id="t",
        at=services.status._clock.now(),
        device_id="fjordby-ap",
        organisation=OrganisationContext("TEST", FACTS.sender_sor, FACTS.sender_gln),
    )
    claims = {name: value for name, value in (claims | changed).items() if value is not None}
    return sign_access_token(claims, services.authorization._key)


@pytest.mark.parametrize(
    ("scope", "create", "search"),
    [
        ("EDS system/AuditEvent.crs", 201, 200),
        ("EDS system/AuditEvent.rs", 403, 200),
        ("EDS system/AuditEvent.c", 201, 403),
        ("EER system/AuditEvent.crs", 403, 403),
        ("EDS system/Organization.crs", 403, 403),
        ("", 403, 403),
    ],
)
async def test_the_scope_decides_what_a_token_allows(
    client: Client, scope: str, create: int, search: int
) -> None:
    token = mint(client.services, scope)

    assert (await client.post(report(), token=token))[0] == create
    assert (await client.call("GET", "/AuditEvent", token=token))[0] == search


USER = "EDS user/AuditEvent.rs"
SUBSTANTIAL = {
    "acr": "https://data.gov.dk/concept/core/nsis/loa/Substantial",
    "ehmi:eer:device_id": None,
}


async def found(client: Client, token: str, query: str = "") -> list[str]:
    status, bundle, _ = await client.call("GET", f"/AuditEvent?{query}", token=token)
    assert status == 200, bundle
    return [
        entity["what"]["identifier"]["value"]
        for entry in bundle["entry"]
        for entity in entry["resource"]["entity"]
        if entity["type"]["code"] == "ehmiMessage"
    ]


async def reported(client: Client) -> None:
    """One message about the test person, one about somebody else, one between others."""
    store = client.services.store
    for facts in (
        FACTS,
        replace(FACTS, message_identifier="m-2", patient_id="0101010101"),
        replace(FACTS, message_identifier="m-3", patient_id=None, sender_sor="7", receiver_sor="8"),
    ):
        await store.add(report(facts), received_at=AT)


async def test_a_citizen_sees_what_is_about_the_own_number(client: Client) -> None:
    await reported(client)
    token = mint(client.services, USER, cpr=CPR, **SUBSTANTIAL)

    assert await found(client, token) == ["m-1"]
    assert await found(client, token, "cpr=0101010101") == []
    foreign = (await client.services.store.reports())[1].resource["id"]
    assert (await client.call("GET", f"/AuditEvent/{foreign}", token=token))[0] == 404
    assert (await client.post(report(), token=token))[0] == 403


async def test_a_supporter_sees_the_organisations_of_the_own_company(client: Client) -> None:
    await reported(client)
    client.services.status._organisations_of = {"11223344": ["8"]}.__getitem__
    claims = {"cvr": "11223344", "priv": [SUPPORTER_ROLE], **SUBSTANTIAL}

    assert await found(client, mint(client.services, USER, **claims)) == ["m-3"]
    without = mint(client.services, USER, **(claims | {"priv": ["another"]}))
    status, outcome, _ = await client.call("GET", "/AuditEvent", token=without)
    assert (status, outcome["issue"][0]["expression"]) == (403, ["token.priv"])


@pytest.mark.parametrize("acr", [None, "https://data.gov.dk/concept/core/nsis/loa/Low"])
async def test_a_user_of_little_assurance_sees_nothing(client: Client, acr: str | None) -> None:
    token = mint(client.services, USER, cpr=CPR, **(SUBSTANTIAL | {"acr": acr}))

    status, outcome, _ = await client.call("GET", "/AuditEvent", token=token)

    assert (status, outcome["issue"][0]["expression"]) == (403, ["token.acr"])


async def test_a_token_bound_in_plain_base64_is_as_good(client: Client) -> None:
    thumbprint = client.services.station.issued.certificate.fingerprint(hashes.SHA256())
    plain = base64.b64encode(thumbprint).decode()
    token = mint(client.services, SENDER_SCOPE, cnf={"x5t#S256": plain})

    assert (await client.post(report(), token=token))[0] == 201


async def test_pages_follow_each_other_without_the_search_in_their_address(client: Client) -> None:
    for number in range(5):
        await client.post(report(replace(FACTS, message_identifier=f"m-{number}")))
    token = mint(client.services, SENDER_SCOPE)
    pages, path = [], "/AuditEvent?_count=2&cpr=" + CPR
    while path:
        status, bundle, _ = await client.call("GET", path, token=token)
        assert status == 200
        links = {link["relation"]: link["url"] for link in bundle["link"]}
        assert CPR not in json.dumps(links)
        pages.append([entry["resource"]["id"] for entry in bundle["entry"]])
        path = links.get("next", "").removeprefix(client.services.status_url)

    assert [len(page) for page in pages] == [2, 2, 1]
    assert len({one for page in pages for one in page}) == 5


async def test_a_page_is_its_owners_and_no_other(client: Client) -> None:
    for number in range(3):
        await client.post(report(replace(FACTS, message_identifier=f"m-{number}")))
    _, bundle, _ = await client.call("GET", "/AuditEvent?_count=1")
    path = bundle["link"][1]["url"].removeprefix(client.services.status_url)
    another = mint(client.services, SENDER_SCOPE, **{"ehmi:eer:device_id": "another"})

    assert (await client.call("GET", path, token=another))[0] == 403
    assert (await client.call("GET", path[:-4] + "AAA="))[0] == 410
    assert (await client.call("GET", "/AuditEvent?_page=%C3%A6"))[0] == 410


async def test_while_nothing_can_be_stored_nothing_is_promised(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any, **__: Any) -> Any:
        raise StorageFailure("the disk is away")

    monkeypatch.setattr(client.services.store, "add", broken)

    status, outcome, headers = await client.post(report())

    assert (status, headers["Retry-After"]) == (503, "10")
    assert outcome["issue"][0]["code"] == "transient"


async def test_a_stolen_token_is_refused(client: Client, tls_party: Callable[[str], Any]) -> None:
    token = await client.services.token(client.session, SENDER_SCOPE)

    status, outcome, headers = await client.post(
        report(), token=token, context=tls_party("thief").client()
    )

    assert status == 401
    assert headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert OperationOutcome.model_validate(outcome)


@pytest.mark.parametrize("token", ["rubbish", "a.b.c"])
async def test_something_else_than_a_token_is_refused(client: Client, token: str) -> None:
    assert (await client.post(report(), token=token))[0] == 401


async def test_no_token_is_refused(client: Client) -> None:
    url = client.services.status_url + "/AuditEvent"
    async with client.session.post(url, json=report(), ssl=client.context) as answer:
        assert answer.status == 401


async def test_a_body_that_is_not_json_is_refused(client: Client) -> None:
    assert (await client.call("POST", "/AuditEvent", data="<AuditEvent/>"))[0] == 400


async def test_xml_is_not_taken(client: Client) -> None:
    status, _, _ = await client.call(
        "POST", "/AuditEvent", data="<AuditEvent/>", content_type="application/fhir+xml"
    )
    assert status == 415


async def test_a_body_beyond_the_limit_is_refused(client: Client) -> None:
    assert (await client.call("POST", "/AuditEvent", data=b" " * 300_000))[0] == 413


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_reports_are_never_changed_or_deleted(client: Client, method: str) -> None:
    _, created, _ = await client.post(report())

    status, outcome, _ = await client.call(method, f"/AuditEvent/{created['id']}")

    assert status == 405
    assert outcome["resourceType"] == "OperationOutcome"
    assert len(await client.services.store.reports()) == 1


async def test_a_station_reads_only_what_its_own_device_reported(client: Client) -> None:
    foreign, _ = await client.services.store.add(report(device_id="havnegade-ap"), received_at=AT)
    other = foreign.resource["id"]

    assert (await client.call("GET", f"/AuditEvent/{other}"))[0] == 404
    assert (await client.call("GET", "/AuditEvent"))[1]["total"] == 0


@pytest.mark.parametrize("by_post", [False, True])
async def test_search_by_get_and_by_post(client: Client, by_post: bool) -> None:
    await client.post(report())
    await client.post(report(replace(FACTS, message_identifier="m-2")))

    if by_post:
        answer = await client.call("POST", "/AuditEvent/_search", data={"message-id": "m-2"})
    else:
        answer = await client.call("GET", "/AuditEvent?message-id=m-2")

    bundle = Bundle.model_validate(answer[1])
    assert (answer[0], bundle.total) == (200, 1)
    assert answer[1]["entry"][0]["resource"]["entity"][1]["what"]["identifier"]["value"] == "m-2"


async def test_a_search_that_is_not_understood_is_refused(client: Client) -> None:
    assert (await client.call("GET", "/AuditEvent?colour=red"))[0] == 400


@pytest.mark.attack("LOG-03", "LOG-06")
async def test_no_log_line_and_no_link_repeats_what_was_searched_for(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    with structlog.testing.capture_logs() as logged:
        await client.post(report())
        _, bundle, _ = await client.call("GET", f"/AuditEvent?cpr={CPR}")
        await client.call("POST", "/AuditEvent/_search", data={"cpr": CPR})
        await client.call("GET", f"/AuditEvent?{CPR}={CPR}")

    assert bundle["total"] == 1
    assert CPR not in json.dumps(bundle["link"])
    assert CPR not in repr(logged)
    ours = [record for record in caplog.records if not record.name.startswith("aiohttp.client")]
    assert CPR not in "".join(record.getMessage() for record in ours)


async def test_metadata_says_what_can_be_done(client: Client) -> None:
    _, found, _ = await client.call("GET", "/metadata")

    resource = CapabilityStatement.model_validate(found).rest[0].resource[0]
    assert [interaction.code for interaction in resource.interaction] == [
        "create",
        "read",
        "search-type",
    ]
    assert {"cpr", "message-id", "date", "outcome", "senderOrg"} <= {
        parameter.name for parameter in resource.searchParam
    }


async def test_fault_status_down(client: Client) -> None:
    token = await client.services.token(client.session, SENDER_SCOPE)
    client.services.faults.add(Fault.STATUS_DOWN)

    with pytest.raises(aiohttp.ClientError):
        await client.post(report(), token=token)
    assert await client.services.store.reports() == []


async def test_fault_status_refuses(client: Client) -> None:
    client.services.faults.add(Fault.STATUS_REFUSES)

    assert (await client.post(report()))[0] == 422
