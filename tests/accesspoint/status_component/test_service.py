"""The status component over real mutual TLS: who may report, what is refused, what a station may read."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
import structlog
from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.capabilitystatement import CapabilityStatement
from fhir.resources.R4B.operationoutcome import OperationOutcome
from status_parts import AT, CPR, FACTS, report

from accesspoint.network.faults import Fault
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


def mint(services: Any, scope: str) -> str:
    """Sign a token for the station with a scope that the authorization server does not grant."""
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
