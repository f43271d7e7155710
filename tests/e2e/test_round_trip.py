"""Whatever MedCom publishes goes through two access points and arrives octet for octet.

The published examples are used where ACCESSPOINT_FIXTURES names their folder; synthetic messages of
three kinds always. An example's JSON and XML are the same message with the same identifier, which is
sent once and never again, so each format travels between access points that have seen nothing. So do the
examples that share the identifier of a Bundle.
"""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sample_messages import acknowledgement_of, care_communication, home_care_observation
from two_organisations import TwoOrganisations, until

from accesspoint.api.client import ApiProblem, NodeClient
from accesspoint.demo.scenery import CLINIC
from envelope import fhir

pytestmark = pytest.mark.asyncio(loop_scope="module")

AT_ONCE = 8
FOLDER = os.environ.get("ACCESSPOINT_FIXTURES")
EXAMPLES = sorted((Path(FOLDER) / "medcom-fhir").rglob("Bundle-*")) if FOLDER else []
needs_examples = pytest.mark.skipif(
    not EXAMPLES, reason="ACCESSPOINT_FIXTURES names no folder with medcom-fhir examples"
)

EXAMPLES_IN_ALL = 66
REFUSED = {
    f"{name}.{form}": slug
    for name, slug in (
        # An empty-message, of which EHMI has no document type.
        (
            "acknowledgement-2.0.3/Bundle-eb26be85-fdb7-454d-a980-95cba6d1745b",
            "message-not-in-ehmi",
        ),
        # Their Provenance names payloads that are not there: who sends is held to it, who receives is warned.
        (
            "carecommunication-5.0.2/Bundle-gfd00bc2-9c26-4174-934e-f6e4360845de",
            "cc-source-payload",
        ),
        (
            "carecommunication-5.0.2/Bundle-k7bfbc0c-553d-11ed-bdc3-0242ac120002",
            "cc-source-payload",
        ),
    )
    for form in ("json", "xml")
}
"""Published examples that are not sent, and why."""
CARRIED = {
    "acknowledgement-message": 3,
    "care-communication-message": 6,
    "homecareobservation-message": 9,
    "hospital-notification-message": 12,
}
"""How many examples of each event travel in each format."""


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


SYNTHETIC: dict[str, Callable[[], dict[str, Any]]] = {
    "home-care-observation": home_care_observation,
    "with-attachment": lambda: home_care_observation(attachment=bytes(range(256)) * 64),
    "care-communication": care_communication,
    "acknowledgement": lambda: acknowledgement_of(home_care_observation()),
}
"""Messages that need no fixtures; each travels in both formats, under identifiers of its own."""
FORMATS = ("json", "xml")


@dataclass
class Outcome:
    """What became of one message: refused with this problem, or described by both sides and delivered."""

    data: bytes
    facts: fhir.MessageFacts
    refusal: dict[str, Any] | None = None
    sender: dict[str, Any] | None = None
    receiver: dict[str, Any] | None = None
    delivered: bytes | None = None


async def _send(
    network: TwoOrganisations, sender: NodeClient, receiver: NodeClient, data: bytes
) -> Outcome:
    outcome = Outcome(data, fhir.recognise(fhir.read_message(data)))
    identifier = outcome.facts.message_id
    try:
        await sender.submit(data, to=CLINIC.address.gln)
    except ApiProblem as problem:
        outcome.refusal = {"status": problem.status, **problem.body}
        return outcome

    async def ended() -> bool:
        told = await sender.describe(identifier)
        (document,), envelopes = told["documents"], told["envelopes"]
        return document["acknowledgement"] not in {"awaited"} and all(
            one["acknowledgement"] != "awaited" for one in envelopes
        )

    async def in_the_folder() -> bool:
        told = await receiver.describe(identifier)
        return all(one["delivered_at"] for one in told["documents"])

    await until(ended, f"the acknowledgements of {identifier}", seconds=60)
    await until(in_the_folder, f"the delivery of {identifier}", seconds=60)
    outcome.sender = await sender.describe(identifier)
    outcome.receiver = await receiver.describe(identifier)
    found = network.delivered("clinic", f"{identifier}*")
    assert len(found) == 1, f"{identifier} stands in the folder {len(found)} times"
    (outcome.delivered,) = found.values()
    return outcome


async def _send_all(network: TwoOrganisations, messages: dict[str, bytes]) -> dict[str, Outcome]:
    """Send messages, some at a time, through nodes with empty stores."""
    for name in network.plans:
        await network.forget(name)
    await network.start(*network.plans)
    slots = asyncio.Semaphore(AT_ONCE)

    async with network.client("municipality") as sender, network.client("clinic") as receiver:

        async def one(data: bytes) -> Outcome:
            async with slots:
                return await _send(network, sender, receiver, data)

        outcomes = await asyncio.gather(*(one(data) for data in messages.values()))
    return dict(zip(messages, outcomes, strict=True))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def network(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TwoOrganisations]:
    async with TwoOrganisations.open(tmp_path_factory.mktemp("round-trip")) as network:
        yield network


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def synthetic_outcomes(network: TwoOrganisations) -> dict[str, Outcome]:
    """The synthetic messages, sent."""
    messages = {
        f"{name}.{form}": fhir.serialize(make(), form)
        for name, make in SYNTHETIC.items()
        for form in FORMATS
    }
    return await _send_all(network, messages)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def example_outcomes(network: TwoOrganisations) -> dict[str, Outcome]:
    """The published examples, sent; two that share an identifier of their Bundle never meet."""
    waves: list[dict[str, bytes]] = []
    ids: list[set[str]] = []
    for path in EXAMPLES:
        data = path.read_bytes()
        facts = fhir.recognise(fhir.read_message(data))
        seen = {facts.bundle_id, facts.message_id}
        number = next((n for n, used in enumerate(ids) if not used & seen), len(ids))
        if number == len(ids):
            ids.append(set())
            waves.append({})
        ids[number] |= seen
        waves[number][name_of(path)] = data
    outcomes: dict[str, Outcome] = {}
    for wave in waves:
        outcomes |= await _send_all(network, wave)
    return outcomes


def check_arrived(outcome: Outcome) -> None:
    """The message arrived octet for octet, once, and both kinds of acknowledgement say so."""
    assert outcome.refusal is None
    assert outcome.sender is not None
    assert outcome.receiver is not None
    assert outcome.delivered is not None
    digest = hashlib.sha256(outcome.data).hexdigest()
    assert hashlib.sha256(outcome.delivered).hexdigest() == digest
    (sent,), (taken,) = outcome.sender["documents"], outcome.receiver["documents"]
    assert sent["payload_sha256"] == taken["payload_sha256"] == digest
    assert taken["media_type"] == outcome.facts.mime_type
    is_acknowledgement = outcome.facts.event_code == "acknowledgement-message"
    assert sent["acknowledgement"] == ("none" if is_acknowledgement else "ok")
    (wrapped,), (unwrapped,) = outcome.sender["envelopes"], outcome.receiver["envelopes"]
    assert wrapped["acknowledgement"] == "positive"
    assert wrapped["envelope_id"] == unwrapped["envelope_id"]
    (out,), (taken_in,) = outcome.sender["exchanges"], outcome.receiver["exchanges"]
    assert (out["outcome"], taken_in["state"]) == ("ACKNOWLEDGED", "DELIVERED")
    assert out["message_id"] == taken_in["message_id"]
    assert out["payload_sha256"] == taken_in["payload_sha256"]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", SYNTHETIC)
async def test_a_synthetic_message_arrives_octet_for_octet(synthetic_outcomes, name, form):
    check_arrived(synthetic_outcomes[f"{name}.{form}"])


async def test_a_message_that_was_sent_is_not_taken_again(network, synthetic_outcomes):
    data = synthetic_outcomes["care-communication.json"].data
    async with network.client("municipality") as sender:
        with pytest.raises(ApiProblem) as refused:
            await sender.submit(data + b" ", to=CLINIC.address.gln)
        again = await sender.submit(data, to=CLINIC.address.gln)
    assert again["repeated"]
    assert refused.value.status == 409
    assert refused.value.body["title"] == "message-already-submitted"


@pytest.mark.positive
@needs_examples
@pytest.mark.parametrize("name", [name_of(path) for path in EXAMPLES])
async def test_a_published_example_arrives_octet_for_octet_or_is_refused_by_name(
    example_outcomes, name
):
    outcome = example_outcomes[name]
    if name not in REFUSED:
        check_arrived(outcome)
        return
    assert outcome.refusal is not None
    assert outcome.refusal["status"] == 422
    assert outcome.refusal["title"] == REFUSED[name]
    assert outcome.refusal["whose"] == "ours"


@needs_examples
async def test_every_published_example_was_sent_or_refused(example_outcomes):
    assert len(example_outcomes) == EXAMPLES_IN_ALL
    refused = {name for name, outcome in example_outcomes.items() if outcome.refusal is not None}
    assert refused == set(REFUSED)
    for suffix in (".json", ".xml"):
        events = [
            outcome.facts.event_code
            for name, outcome in example_outcomes.items()
            if name.endswith(suffix) and outcome.refusal is None
        ]
        assert {event: events.count(event) for event in set(events)} == CARRIED
