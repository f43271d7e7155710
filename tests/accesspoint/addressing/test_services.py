"""Addressing service and endpoint register over mutual TLS with real tokens, judged by another FHIR library as well."""

import base64
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from fhir.resources.R4B import get_fhir_model_class

from accesspoint.addressing.client import AddressingFailed, FhirClient
from accesspoint.addressing.register import EndpointRegister
from accesspoint.addressing.service import AddressingService
from accesspoint.addressing.vocabulary import (
    ADDRESSING_SCOPE,
    CPR,
    EAS_ORGANIZATION_PROFILE,
    GLN,
    PUBLIC_KEY_EXTENSION,
    REGISTER_SCOPE,
    SOR,
)
from accesspoint.clock import SystemClock
from accesspoint.delivery.token import TokenSource
from accesspoint.ids import SystemIds
from accesspoint.network.addressing_service import MiniatureAddressing
from accesspoint.network.authorization import ClientRegistration
from accesspoint.network.listening import Listeners
from accesspoint.network.miniature import MiniatureNetwork
from envelope.ehmi import ACKNOWLEDGEMENT_2_0, HOME_CARE_OBSERVATION_1_1
from keys.certificate import der
from keys.devca import DevelopmentAuthority
from keys.errors import TokenRefused
from keys.jwk import OrganisationContext
from keys.store import write_pair
from keys.tls import client_context, server_context

pytestmark = pytest.mark.asyncio(loop_scope="module")
CLOCK = SystemClock()
CLINIC_SOR, CLINIC_GLN = "900000000000024", "5790000000029"
PATIENT = "2512489996"
NEW_CLINIC_SOR = "900000000000057"
OBSERVATION = HOME_CARE_OBSERVATION_1_1.document_id


class Central:
    """The network, a station that may ask, and raw requests with its tokens."""

    def __init__(self, network: MiniatureNetwork, tls: Any, server: Any, certificate: Any) -> None:
        self.network, self.tls, self.server = network, tls, server
        self.certificate = certificate
        self.session = aiohttp.ClientSession(trust_env=False)
        self.tokens = self.source("station")

    def source(self, client_id: str) -> TokenSource:
        return TokenSource(
            self.network.token_url, client_id=client_id, ssl_context=self.tls,
            session=lambda: self.session, clock=CLOCK,
        )  # fmt: skip

    def client(self, url: str, scope: str, tokens: TokenSource | None = None) -> FhirClient:
        return FhirClient(
            url, scope=scope, tokens=tokens or self.tokens, ssl_context=self.tls,
            session=lambda: self.session,
        )  # fmt: skip

    @property
    def addressing(self) -> AddressingService:
        return AddressingService(
            self.client(self.network.addressing_url, ADDRESSING_SCOPE), clock=CLOCK
        )

    async def ask(
        self, url: str, *, method: str = "GET", json: Any = None, token: str | None = ""
    ) -> tuple[int, Any]:
        """Ask with a token of the addressing service, with another one, or with None."""
        bearer = await self.tokens.for_scope(ADDRESSING_SCOPE) if token == "" else token
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        async with self.session.request(
            method, url, json=json, headers=headers, ssl=self.tls
        ) as answer:
            resource = await answer.json(content_type=None)
            # Whatever is said is FHIR.
            get_fhir_model_class(resource["resourceType"]).model_validate(resource)
            return answer.status, resource


@pytest.fixture(scope="module")
def authority() -> DevelopmentAuthority:
    return DevelopmentAuthority.create(at=CLOCK.now(), name="Test")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def central(
    authority: DevelopmentAuthority, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Central]:
    place: Path = tmp_path_factory.mktemp("station")
    issued = authority.issue_tls_certificate("station", san=["127.0.0.1"], not_before=CLOCK.now())
    write_pair(place, "tls", issued)
    files = (place / "tls.cert.pem", place / "tls.key.pem", authority.anchors)
    async with MiniatureNetwork([], authority, clock=CLOCK, ids=SystemIds(CLOCK)) as network:
        context = OrganisationContext("Eksempel Kommune", "900000000000016", "5790000000012")
        network.register_station(
            issued.certificate, client_id="station", device_id="station", organisations=[context]
        )
        network.register(
            f"0088:{CLINIC_GLN}", [OBSERVATION], "https://127.0.0.1/as4", issued.certificate
        )
        made = Central(network, client_context(*files), server_context(*files), issued.certificate)
        yield made
        await made.session.close()


async def test_the_own_practice_of_a_patient_is_found(central: Central) -> None:
    (found,) = await central.addressing.find_by_patient(PATIENT, [OBSERVATION])

    assert (found.sor, found.name, found.ydernummer) == (CLINIC_SOR, "Lægehuset Eksempel", "099999")
    (endpoint,) = found.takes(OBSERVATION)
    assert endpoint.gln == CLINIC_GLN
    assert ACKNOWLEDGEMENT_2_0.document_id in endpoint.documents


async def test_a_receiver_is_found_by_ydernummer_sor_id_and_postal_code(central: Central) -> None:
    eas = central.addressing
    by_number = await eas.find_by_ydernummer("099999")
    by_sor = await eas.find_by_sor(CLINIC_SOR, "900000000000016")

    assert [one.sor for one in by_number] == [CLINIC_SOR]
    assert {one.sor for one in by_sor} == {CLINIC_SOR, "900000000000016"}
    # The practice that receives nothing is not among those to pick from, nor is the municipality.
    assert [one.sor for one in await eas.list_practices("9990", "8000")] == [CLINIC_SOR]
    assert [one.city for one in await eas.list_practices()] == ["Eksempelby"]


async def test_messages_may_be_asked_for_by_an_older_identifier(central: Central) -> None:
    old = "urn:dk:healthcare:medcom:messaging:fhir:structuredefinition:homecareobservation:1.1"

    assert await central.addressing.find_by_sor(CLINIC_SOR, documents=[old])
    with pytest.raises(AddressingFailed) as failed:
        await central.addressing.find_by_sor(CLINIC_SOR, documents=["urn:dk:unknown::x##y::1.0"])
    assert failed.value.slug == "addressing-not-found"
    assert failed.value.outcomes == ("4b: no endpoint is registered for what was asked",)


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda eas: eas.find_by_patient("0101010101"), "1a: "),
        (lambda eas: eas.find_by_ydernummer("000001"), "2a: "),
        (lambda eas: eas.find_by_ydernummer("099998"), "2c: "),
        (lambda eas: eas.list_practices("0800"), "3a: "),
        (lambda eas: eas.find_by_sor("900000000009999"), "4a: "),
        (lambda eas: eas.find_by_sor(NEW_CLINIC_SOR), "4b: "),
    ],
)
async def test_what_is_missing_is_named_by_the_register_that_lacks_it(
    central: Central, ask: Callable[[AddressingService], Any], said: str
) -> None:
    with pytest.raises(AddressingFailed) as failed:
        await ask(central.addressing)

    assert failed.value.slug == "addressing-not-found"
    assert [text[:4] for text in failed.value.outcomes] == [said]
    assert "0101010101" not in str(failed.value) + "".join(failed.value.outcomes)


async def test_the_answer_has_the_profile_of_the_service(central: Central) -> None:
    status, bundle = await central.ask(
        f"{central.network.addressing_url}/Organization/$getReceivingOrganizationBySORId",
        method="POST",
        json={"resourceType": "Parameters", "parameter": [{"name": "sorId", "valueString": CLINIC_SOR}]},
    )  # fmt: skip

    organization, endpoint = (entry["resource"] for entry in bundle["entry"])
    assert status == 200
    assert organization["meta"]["profile"] == [EAS_ORGANIZATION_PROFILE]
    assert organization["identifier"][0] == {"use": "official", "system": SOR, "value": CLINIC_SOR}
    assert endpoint["identifier"] == [{"use": "official", "system": GLN, "value": CLINIC_GLN}]
    assert endpoint["period"]["start"]
    assert endpoint["address"] == "https://found-inside-the-ap-extension.com"


@pytest.mark.parametrize(
    "body",
    [
        {"resourceType": "Patient"},
        {"resourceType": "Parameters"},
        {"resourceType": "Parameters", "parameter": "x"},
        {"resourceType": "Parameters", "parameter": [{"name": "sorId"}]},
        {"resourceType": "Parameters", "parameter": [{"name": "sorId", "valueString": "1"}] * 33},
        [],
    ],
)
@pytest.mark.parametrize(
    "operation",
    ["$getReceivingOrganizationBySORId", "$getReceivingOrganizationByPatientId",
     "$getReceivingOrganizationByGPId"],
)  # fmt: skip
async def test_a_question_without_legal_form_is_refused_with_an_outcome(
    central: Central, body: Any, operation: str
) -> None:
    url = f"{central.network.addressing_url}/Organization/{operation}"
    status, resource = await central.ask(url, method="POST", json=body)

    assert (status, resource["resourceType"]) == (400, "OperationOutcome")


async def test_nobody_is_answered_without_a_token_for_the_service(central: Central) -> None:
    status_token = await central.tokens.token("900000000000016", "5790000000012")
    eas, eer = central.network.addressing_url, central.network.register_url
    url = f"{eas}/Organization/$getReceivingOrganizationBySORId"
    question = {"resourceType": "Parameters", "parameter": []}

    for token in (None, "x.y.z", status_token):
        status, resource = await central.ask(url, method="POST", json=question, token=token)
        assert (status, resource["resourceType"]) == (401, "OperationOutcome")
    # The register is read by the addressing service alone: neither its tokens nor ours open it to a station.
    assert (await central.ask(f"{eer}/Organization"))[0] == 401
    register = EndpointRegister(central.client(eer, REGISTER_SCOPE))
    with pytest.raises(AddressingFailed) as failed:
        await register.find_organization(CLINIC_SOR)
    assert (failed.value.slug, failed.value.detail) == (
        "token-refused", "status 400, error invalid_scope",
    )  # fmt: skip


async def test_a_token_for_addressing_is_for_no_organisation_and_no_other_service(
    central: Central,
) -> None:
    token = await central.tokens.for_scope(ADDRESSING_SCOPE)
    grant = central.network._check_for("EAS")(token, central.certificate)

    assert grant.scope == tuple(ADDRESSING_SCOPE.split())
    assert grant.organisation is None
    for service in ("EDS", "EER"):
        with pytest.raises(TokenRefused) as refused:
            central.network._check_for(service)(token, central.certificate)
        assert refused.value.reason == "token.audience"
    named = f"{ADDRESSING_SCOPE} SOR:900000000000016 GLN:5790000000012"
    with pytest.raises(Exception, match="invalid_scope"):
        await central.tokens.for_scope(named)


async def test_both_services_say_what_they_can_do(central: Central) -> None:
    for url, kinds in (
        (central.network.addressing_url, ["Organization"]),
        (central.network.register_url, ["Organization", "Endpoint", "Device"]),
    ):
        status, resource = await central.ask(f"{url}/metadata", token=None)
        assert (status, resource["resourceType"]) == (200, "CapabilityStatement")
        assert [one["type"] for one in resource["rest"][0]["resource"]] == kinds
        assert (await central.ask(f"{url}/nothing"))[0] == 404
        assert (await central.ask(f"{url}/metadata", method="DELETE"))[0] == 405


@pytest_asyncio.fixture(loop_scope="module")
async def reader(central: Central) -> Any:
    """What the register answers to a reader who may ask."""
    central.network._authorization.register(
        ClientRegistration.of_certificate(
            central.certificate, client_id="reader", device_id="reader", org_context=(),
            services=frozenset({"EER"}),
        )
    )  # fmt: skip
    tokens = central.source("reader")
    token = await tokens.for_scope(REGISTER_SCOPE)

    async def read(path: str, **more: Any) -> tuple[int, Any]:
        return await central.ask(f"{central.network.register_url}/{path}", token=token, **more)

    return read, tokens


async def test_the_register_is_searched(central: Central, reader: Any) -> None:
    read, _ = reader

    def found(bundle: Any) -> list[str]:
        return [entry["resource"]["id"] for entry in bundle.get("entry", [])]

    clinic, gln = f"sor-{CLINIC_SOR}", f"gln-{CLINIC_GLN}"
    for query, ids in (
        (f"Organization?identifier={SOR}|{CLINIC_SOR}", [clinic]),
        (f"Organization?identifier={SOR}|{CLINIC_SOR}&_include=Organization:endpoint", [clinic, gln]),
        ("Organization?name=lægehuset", [clinic]),
        ("Organization?name=nobody", []),
        (f"Organization?identifier={CLINIC_SOR},900000000000016", ["sor-900000000000016", clinic]),
        ("Organization?address-postalcode=9991", ["sor-900000000000040"]),
        (f"Endpoint?identifier={GLN}|{CLINIC_GLN}", [gln]),
        (f"Endpoint?organization=Organization/{clinic}", [gln]),
        (f"Endpoint?payload-type={OBSERVATION.replace('#', '%23')}&identifier={CLINIC_GLN}", [gln]),
    ):  # fmt: skip
        status, bundle = await read(query)
        assert (status, found(bundle)) == (200, ids), query
    status, bundle = await read(f"Device?organization=Organization/{clinic}")
    assert {one["resource"]["type"]["coding"][0]["code"] for one in bundle["entry"]} == {"EUA", "MSH", "AP"}  # fmt: skip
    for query in ("Organization?colour=red", "Organization?_include=Organization:partOf", "Endpoint?_include=Organization:endpoint"):  # fmt: skip
        assert (await read(query))[0] == 400
    assert (await read("Organization/sor-1"))[0] == 404
    assert (await read(f"Organization/{clinic}"))[1]["name"] == "Lægehuset Eksempel"


async def test_the_register_knows_the_access_point_and_its_certificate(
    central: Central, reader: Any
) -> None:
    device = central.network.organisations.of_key("clinic").device_ids()["AP"]
    client = central.client(central.network.register_url, REGISTER_SCOPE, reader[1])
    register = EndpointRegister(client)

    (entry,) = (await register.find_device(device))["entry"]

    assert entry["resource"]["url"] == "https://127.0.0.1/as4"
    (extension,) = entry["resource"]["extension"]
    assert extension["url"] == PUBLIC_KEY_EXTENSION
    content = base64.b64decode(extension["extension"][0]["valueBase64Binary"])
    assert content == der(central.certificate)


async def test_a_register_that_gives_no_answer_is_no_missing_receiver(central: Central) -> None:
    # An addressing service that may not read the register.
    register = EndpointRegister(central.client(central.network.register_url, REGISTER_SCOPE))
    service = MiniatureAddressing(
        central.network.organisations,
        clock=CLOCK,
        check_token=central.network._check_for("EAS"),
        register=lambda: register,
    )
    listeners = Listeners()
    url = await listeners.start(service.application(), tls=central.server)
    try:
        lame = AddressingService(central.client(f"{url}/fhir", ADDRESSING_SCOPE), clock=CLOCK)
        with pytest.raises(AddressingFailed) as failed:
            await lame.find_by_sor(CLINIC_SOR)
    finally:
        await listeners.stop()

    assert failed.value.slug == "addressing-unreachable"
    assert failed.value.outcomes == ("the endpoint register gave no answer",)


async def test_a_service_that_is_away_is_told_as_that(central: Central) -> None:
    away = AddressingService(
        central.client("https://127.0.0.1:9/fhir", ADDRESSING_SCOPE), clock=CLOCK
    )
    with pytest.raises(AddressingFailed) as failed:
        await away.find_by_patient(PATIENT)

    assert failed.value.slug == "addressing-unreachable"
    assert PATIENT not in str(failed.value) + repr(failed.value.__cause__)


async def test_a_patient_number_is_nowhere_but_in_the_body(
    central: Central, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    await central.addressing.find_by_patient(PATIENT)

    told = capfd.readouterr()
    assert PATIENT not in caplog.text + told.out + told.err
    assert CPR not in caplog.text
