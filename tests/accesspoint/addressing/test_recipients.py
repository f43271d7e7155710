"""A receiver in a person's words: a GLN stays, a name and a SOR id are looked up, and what is not sure is refused."""

from typing import Any

import pytest
from sample_messages import care_communication, home_care_observation

from accesspoint.addressing.client import AddressingFailed
from accesspoint.addressing.receivers import Receiver, ReceivingEndpoint, read_receivers
from accesspoint.api.recipients import Recipients
from accesspoint.clock import SystemClock
from accesspoint.demo.scenery import CLINIC, MUNICIPALITY
from accesspoint.network.endpoint_register import describe
from accesspoint.network.organisations import read_organisations
from accesspoint.stations.document import Address
from accesspoint.stations.end_user_application import EndUserApplication, SubmissionRefused
from envelope import fhir
from envelope.ehmi import ACKNOWLEDGEMENT_2_0, CARE_COMMUNICATION_5_0, HOME_CARE_OBSERVATION_1_1

DATA = fhir.serialize(home_care_observation(), "json")
UNKNOWN_SOR, NEW_GLN = "900000000000081", "5790000000074"
OBSERVATION = HOME_CARE_OBSERVATION_1_1.document_id


class Service:
    """An addressing service that knows one organisation with these endpoints."""

    def __init__(self, *endpoints: ReceivingEndpoint) -> None:
        self.asked: list[tuple[str, list[str]]] = []
        self._found = Receiver(UNKNOWN_SOR, "Lægerne Ny", endpoints)

    async def find_by_sor(self, sor: str, *, documents: list[str]) -> tuple[Receiver, ...]:
        self.asked.append((sor, documents))
        return (self._found,)


def application(*more: Address) -> EndUserApplication:
    """The application's address book alone: nothing is stored here."""
    nothing: Any = None
    known = {one.gln: one for one in (MUNICIPALITY.address, CLINIC.address, *more)}
    return EndUserApplication(
        database=nothing, payloads=nothing, reporter=nothing, clock=nothing, ids=nothing,
        organisation=MUNICIPALITY.address, served={MUNICIPALITY.address.gln: MUNICIPALITY.address},
        known=known, readdress=False, acknowledge=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    "wanted", [CLINIC.address.gln, CLINIC.address.sor, "Lægehuset Eksempel", " LÆGEHUSET eksempel "]
)
async def test_who_is_known_is_asked_of_nobody(wanted: str) -> None:
    service: Any = Service()
    assert await Recipients(application(), service).resolve(wanted, DATA) == CLINIC.address.gln
    assert service.asked == []


async def test_a_sor_id_is_asked_for_the_message_and_known_from_then_on() -> None:
    book = application()
    service: Any = Service(
        ReceivingEndpoint(NEW_GLN, (OBSERVATION,)),
        ReceivingEndpoint("5790000000067", (ACKNOWLEDGEMENT_2_0.document_id,)),
    )
    recipients = Recipients(book, service)

    for _ in range(2):
        assert await recipients.resolve(UNKNOWN_SOR, DATA) == NEW_GLN
    assert service.asked == [(UNKNOWN_SOR, [OBSERVATION])]
    facts = fhir.recognise(fhir.read_message(DATA))
    _, receiver, _ = book._address(facts, NEW_GLN)
    assert receiver == Address(NEW_GLN, UNKNOWN_SOR, "Lægerne Ny")


async def test_another_kind_of_message_is_asked_for_by_itself() -> None:
    """An organisation may take one kind at one GLN and another kind at another."""
    service: Any = Service(
        ReceivingEndpoint("5790000000067", (CARE_COMMUNICATION_5_0.document_id,)),
        ReceivingEndpoint(NEW_GLN, (OBSERVATION,)),
    )
    recipients = Recipients(application(), service)
    letter = fhir.serialize(care_communication(), "json")

    assert await recipients.resolve(UNKNOWN_SOR, DATA) == NEW_GLN
    assert await recipients.resolve(UNKNOWN_SOR, letter) == "5790000000067"


async def test_no_wish_is_nobody_whatever_was_learnt() -> None:
    book = application()
    book.learn(Address(NEW_GLN, UNKNOWN_SOR, ""))

    with pytest.raises(SubmissionRefused):
        await Recipients(book, None).resolve("", DATA)


@pytest.mark.parametrize("count", [0, 2])
async def test_one_endpoint_has_to_take_the_message(count: int) -> None:
    endpoints = [ReceivingEndpoint(NEW_GLN, (OBSERVATION,))] * count
    service: Any = Service(*endpoints)

    with pytest.raises(AddressingFailed) as failed:
        await Recipients(application(), service).resolve(UNKNOWN_SOR, DATA)

    assert failed.value.slug == "addressing-not-found"


async def test_a_name_is_no_guess() -> None:
    twin = Address(NEW_GLN, UNKNOWN_SOR, "Lægehuset Eksempel")
    for recipients, wanted in (
        (Recipients(application(twin), None), "Lægehuset Eksempel"),
        (Recipients(application(), None), UNKNOWN_SOR),
        (Recipients(application(), None), "Lægehuset"),
    ):
        with pytest.raises(SubmissionRefused) as refused:
            await recipients.resolve(wanted, DATA)
        assert refused.value.rule == "receiver-unknown"


def _bundle(**endpoint: Any) -> dict[str, Any]:
    organization, found, *_ = describe(
        read_organisations().of_key("clinic"), url=None, certificate=None
    )
    resources = [organization, found | endpoint]
    return {"resourceType": "Bundle", "entry": [{"resource": one} for one in resources]}


@pytest.mark.parametrize(
    ("change", "reached"),
    [
        ({}, True),
        ({"status": "off"}, False),
        ({"period": {"start": "2999-01-01"}}, False),
        ({"period": {"start": "2020", "end": "2021"}}, False),
        ({"period": {"start": "2020-01-01", "end": "2999-12-31T00:00:00Z"}}, True),
        ({"period": {"start": "2020-01-01T00:00:00Z", "end": "2021-01-01T00:00:00Z"}}, False),
        ({"connectionType": {"system": "x", "code": "vansMessaging"}}, False),
    ],
)
def test_only_endpoints_in_force_over_edelivery_count(
    change: dict[str, Any], reached: bool
) -> None:
    (found,) = read_receivers(_bundle(**change), at=SystemClock().now())

    assert bool(found.endpoints) is reached


@pytest.mark.parametrize(
    "answer",
    [
        [], {"resourceType": "Patient"}, {"resourceType": "Bundle", "entry": [{}]},
        {"resourceType": "Bundle", "entry": [{"resource": {"resourceType": "Organization"}}]},
        _bundle(identifier=[{"system": "http://www.gs1.org/gln", "value": "1"}]),
        _bundle(payloadType="x"), _bundle(period={"start": "never-ever-at-all"}),
    ],
)  # fmt: skip
def test_an_answer_of_another_form_is_told_as_that(answer: Any) -> None:
    with pytest.raises(ValueError, match=r"the answer|an organisation|an endpoint"):
        read_receivers(answer, at=SystemClock().now())
