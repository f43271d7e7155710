"""The five scenarios of EHMI's reliable messaging, and every row of both duplicate tables, between two whole nodes.

In front of each node stands a doorway that can be shut: what is lost is lost on the wire.
"""

import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from as4_stage import Node, Pki, Stage
from as4_wire import medcom_message
from exchange import exchange
from two_organisations import Doorway

from accesspoint.api.client import ApiProblem, NodeAddress, NodeClient
from accesspoint.delivery.events import DeliveryFacts
from accesspoint.demo.scenery import CLINIC, MUNICIPALITY
from accesspoint.stations.document import Envelope
from accesspoint.stations.reporting import Act
from accesspoint.stations.sbd_file import header_from_bytes, write_sbd
from envelope.ehmi import envelope_for_message
from envelope.sbdh import StandardBusinessDocumentHeader

QUICK = {"first": "100 ms", "factor": 1.0, "longest": "200 ms", "give_up_after": "24 h"}
IMPATIENT = {"fhir": "automatic", "alert": "1 s"}


@dataclass
class Pair:
    """Municipality and clinic, each behind its doorway."""

    municipality: Node
    clinic: Node
    doors: dict[str, Doorway]

    @asynccontextmanager
    async def client(self, node: Node) -> AsyncIterator[NodeClient]:
        """A client of a node's interface."""
        async with NodeClient(NodeAddress.load(node.home / "store")) as client:
            yield client

    async def submit(self, identifier: str) -> None:
        data, _ = medcom_message(identifier, str(uuid.uuid4()))
        async with self.client(self.municipality) as client:
            await client.submit(data, to=None)

    async def pass_down(self, header: StandardBusinessDocumentHeader, content: bytes) -> None:
        """Let the municipality's access point send an envelope, whatever its handler thinks of it."""
        point = self.municipality.point
        assert point.handler is not None
        sbd = write_sbd(point.payloads, header, content)
        facts = DeliveryFacts.from_header(header, with_envelope=True)
        commit = await point.handler.down.pass_on(
            Envelope(facts.message_identifier, sbd, header),
            act=Act.MSH_PASSED_DOWN,
            facts=facts,
            at=point.clock.now(),
        )
        await point.bells.run(point.database, commit)

    async def envelopes(self, node: Node, identifier: str, direction: str) -> list[dict[str, Any]]:
        return await node.rows(
            "SELECT * FROM envelopes WHERE message_identifier = $1 AND direction = $2 ORDER BY created_at",
            identifier,
            direction,
        )

    async def answers(self, envelope_id: str) -> list[dict[str, Any]]:
        """The SBDH acknowledgements that the clinic made for one envelope."""
        found = await self.clinic.rows(
            "SELECT * FROM envelopes WHERE direction = 'out' AND standard = 'ehmisbdh-acknowledgement'"
            " ORDER BY created_at"
        )
        headers = [(row, header_from_bytes(bytes(row["header"]))) for row in found]
        return [
            {**row, "type": header.type, "identifier": header.scope("MESSAGEIDENTIFIER")}
            for row, header in headers
            if header.scope("ORIGINALENVELOPEIDENTIFIER") == envelope_id
        ]

    async def events(self, node: Node, event: str) -> list[dict[str, Any]]:
        return await node.rows("SELECT * FROM journal WHERE event = $1 ORDER BY seq", event)

    async def until_event(self, node: Node, event: str, times: int = 1) -> None:
        async def happened() -> bool:
            return len(await self.events(node, event)) >= times

        await node.until(happened, f"{event} {times} times")

    async def idle(self) -> None:
        for node in (self.municipality, self.clinic, self.municipality):
            await node.idle()

    def shown(self, identifier: str) -> int:
        """How often the clinic's backend was given a message."""
        return sum(name.startswith(identifier) for name in self.clinic.delivered())


@asynccontextmanager
async def behind_doors(
    pki: Pki, directory: Path, *, give_up_after: str = "24 h", **sections: Any
) -> AsyncIterator[Pair]:
    doors = {MUNICIPALITY.key: Doorway(), CLINIC.key: Doorway()}
    known_at = {key: door.address for key, door in doors.items()}
    try:
        async with Stage(pki, directory).pair(
            known_at=known_at,
            sending={"retry": {**QUICK, "give_up_after": give_up_after}},
            **sections,
        ) as (municipality, clinic):
            for node, key in ((municipality, MUNICIPALITY.key), (clinic, CLINIC.key)):
                host, _, port = node.point.addresses["as4"].rpartition(":")
                doors[key].target = (host, int(port))
                await doors[key].open()
            yield Pair(municipality, clinic, doors)
    finally:
        for door in doors.values():
            door.leave()


@pytest.fixture
async def pair(pki: Pki, tmp_path: Path) -> AsyncIterator[Pair]:
    async with behind_doors(pki, tmp_path, acknowledging=IMPATIENT) as made:
        yield made


@pytest.mark.attack("RPL-05")
async def test_scenario_1_a_message_is_acknowledged_once_in_each_layer(pair: Pair) -> None:
    identifier, _ = await exchange(pair.municipality, pair.clinic)
    (sent,) = await pair.envelopes(pair.municipality, identifier, "out")
    (answer,) = await pair.answers(sent["envelope_id"])
    assert (sent["acknowledgement"], answer["type"]) == ("positive", "ReceiptAcknowledgement")
    assert pair.shown(identifier) == 1
    # Nothing acknowledges the acknowledgement.
    of_answer = await pair.envelopes(pair.municipality, answer["message_identifier"], "out")
    assert of_answer == []


@pytest.mark.attack("RPL-05")
async def test_scenario_2_an_identical_envelope_is_acknowledged_as_before_and_shown_once(
    pair: Pair,
) -> None:
    identifier, data = await exchange(pair.municipality, pair.clinic)
    (sent,) = await pair.envelopes(pair.municipality, identifier, "out")
    await pair.pass_down(header_from_bytes(bytes(sent["header"])), data)
    await pair.until_event(pair.municipality, "duplicate-acknowledgement")
    await pair.idle()
    first, second = await pair.answers(sent["envelope_id"])
    assert first["identifier"] == second["identifier"]
    assert first["type"] == second["type"] == "ReceiptAcknowledgement"
    assert pair.shown(identifier) == 1
    (noted,) = await pair.events(pair.clinic, "duplicate-envelope")
    assert noted["problem"] is None
    assert await pair.events(pair.clinic, "resubmitted") == []


@pytest.mark.slow
async def test_scenario_3_what_never_arrived_is_sent_again_by_a_person(
    pki: Pki, tmp_path: Path
) -> None:
    identifier = str(uuid.uuid4())
    async with behind_doors(pki, tmp_path, give_up_after="500 ms", acknowledging=IMPATIENT) as pair:
        pair.doors[CLINIC.key].shut()
        await pair.submit(identifier)
        await pair.until_event(pair.municipality, "acknowledgement-overdue")
        async with pair.client(pair.municipality) as client:
            (overdue,) = await client.overdue()
            assert overdue["message_identifier"] == identifier
            await pair.doors[CLINIC.key].open()
            told = await client.resend(identifier, reason="no acknowledgement")
            assert len(told["envelopes"]) == 2
            await pair.until_event(pair.municipality, "fhir-acknowledged")
            await pair.idle()
            assert await client.overdue() == []
        assert pair.shown(identifier) == 1
        (arrived,) = await pair.envelopes(pair.clinic, identifier, "in")
        first, second = await pair.envelopes(pair.municipality, identifier, "out")
        assert arrived["envelope_id"] == second["envelope_id"] != first["envelope_id"]
        assert (first["acknowledgement"], second["acknowledgement"]) == ("awaited", "positive")


@pytest.mark.attack("RPL-05")
async def test_scenario_4_a_lost_acknowledgement_is_repeated_for_the_new_envelope(
    pair: Pair,
) -> None:
    pair.doors[MUNICIPALITY.key].shut()
    identifier = str(uuid.uuid4())
    await pair.submit(identifier)
    await pair.until_event(pair.clinic, "delivered")
    await pair.until_event(pair.municipality, "acknowledgement-overdue")
    async with pair.client(pair.municipality) as client:
        await client.resend(identifier, reason="no acknowledgement")
    await pair.until_event(pair.clinic, "duplicate-envelope")
    await pair.doors[MUNICIPALITY.key].open()
    await pair.until_event(pair.municipality, "acknowledged", 2)
    await pair.until_event(pair.municipality, "fhir-acknowledged", 2)
    await pair.idle()
    envelopes = await pair.envelopes(pair.municipality, identifier, "out")
    assert [one["acknowledgement"] for one in envelopes] == ["positive", "positive"]
    (first,), (second,) = [await pair.answers(one["envelope_id"]) for one in envelopes]
    assert first["identifier"] == second["identifier"]
    assert pair.shown(identifier) == 1
    # The acknowledgement came late: whoever was alarmed is told so, and the alarm is over.
    states = [
        json.loads(path.read_text())["state"]
        for path in (pair.municipality.home / "received" / "outcomes").glob(f"{identifier}*")
    ]
    assert {"ACKNOWLEDGEMENT_OVERDUE", "ENVELOPE_ACKNOWLEDGED"} <= set(states)
    async with pair.client(pair.municipality) as client:
        assert await client.overdue() == []


async def test_scenario_5_changed_content_is_a_message_of_its_own(pair: Pair) -> None:
    identifier, data = await exchange(pair.municipality, pair.clinic)
    changed = data.replace(b"2512489996", b"0505209996")
    async with pair.client(pair.municipality) as client:
        with pytest.raises(ApiProblem) as refused:
            await client.submit(changed, to=None)
    assert refused.value.status == 409
    another, _ = await exchange(pair.municipality, pair.clinic)
    assert (pair.shown(identifier), pair.shown(another)) == (1, 1)


@pytest.mark.attack("RPL-05")
async def test_an_envelope_identifier_used_twice_gets_a_negative_acknowledgement(
    pair: Pair,
) -> None:
    identifier, _ = await exchange(pair.municipality, pair.clinic)
    (sent,) = await pair.envelopes(pair.municipality, identifier, "out")
    other = str(uuid.uuid4())
    data, facts = medcom_message(other, str(uuid.uuid4()))
    header = envelope_for_message(
        facts, instance_identifier=sent["envelope_id"], created_at=datetime.now(UTC)
    )
    await pair.pass_down(header, data)
    await pair.until_event(pair.municipality, "not-acknowledged")
    first, second = await pair.answers(sent["envelope_id"])
    assert (first["type"], second["type"]) == ("ReceiptAcknowledgement", "ReceiptException")
    assert pair.shown(other) == 0
    # The first answer stands.
    (still,) = await pair.envelopes(pair.municipality, identifier, "out")
    assert still["acknowledgement"] == "positive"


async def test_a_message_in_a_new_bundle_is_answered_as_the_first_time_and_shown_once(
    pair: Pair,
) -> None:
    """Another product's application sends its message again: MessageHeader.id the same, Bundle.id new."""
    identifier, data = await exchange(pair.municipality, pair.clinic)
    _, facts = medcom_message(identifier, str(uuid.uuid4()))
    bundle = json.loads(data)
    bundle["id"] = facts.bundle_id
    bundle["timestamp"] = datetime.now(UTC).isoformat(timespec="seconds")
    header = envelope_for_message(
        facts, instance_identifier=str(uuid.uuid4()), created_at=datetime.now(UTC)
    )
    await pair.pass_down(header, json.dumps(bundle).encode())
    await pair.until_event(pair.municipality, "fhir-acknowledged", 2)
    await pair.idle()
    (answer,) = await pair.answers(header.instance_identifier)
    assert answer["type"] == "ReceiptAcknowledgement"
    again = await pair.events(pair.municipality, "fhir-acknowledged")
    assert [(one["subject"], one["detail"], one["problem"]) for one in again] == [
        (identifier, "ok", None)
    ] * 2
    assert pair.shown(identifier) == 1


async def test_the_receiver_answers_when_somebody_decides_and_its_answer_stands(
    pki: Pki, tmp_path: Path
) -> None:
    settings = {"fhir": "on-demand", "answer": "500 ms"}
    async with behind_doors(pki, tmp_path, acknowledging=settings) as pair:
        identifier = str(uuid.uuid4())
        await pair.submit(identifier)
        await pair.until_event(pair.clinic, "delivered")
        async with (
            pair.client(pair.clinic) as clinic,
            pair.client(pair.municipality) as municipality,
        ):

            async def state() -> str:
                (sent,) = (await municipality.describe(identifier))["documents"]
                return str(sent["acknowledgement"])

            assert await state() == "awaited"
            await pair.until_event(pair.municipality, "answer-overdue")
            (overdue,) = await municipality.overdue()
            assert (overdue["message_identifier"], overdue["problem"]) == (
                identifier,
                "fhir-acknowledgement-missing",
            )
            for times, code in enumerate(("transient-error", "fatal-error"), start=1):
                await clinic.acknowledge(
                    identifier, {"code": code, "reason": "postkassen er lukket"}
                )
                await pair.until_event(pair.municipality, "fhir-acknowledged", times)
                assert await state() == code
            assert await municipality.overdue() == []
            repeated = await clinic.acknowledge(
                identifier, {"code": "fatal-error", "reason": "igen"}
            )
            assert repeated["repeated"]
            with pytest.raises(ApiProblem) as refused:
                await clinic.acknowledge(identifier, {"code": "ok"})
            assert refused.value.status == 409
        await pair.idle()
        answers = [
            json.loads((pair.municipality.home / "received" / name).read_bytes())
            for name in pair.municipality.delivered()
        ]
        outcomes = [
            entry["resource"]["issue"][0]
            for answer in answers
            for entry in answer["entry"]
            if entry["resource"]["resourceType"] == "OperationOutcome"
        ]
        assert len(outcomes) == 2
        assert all("postkassen er lukket" in one["details"]["text"] for one in outcomes)


@pytest.mark.slow
async def test_by_itself_a_message_goes_out_again_and_its_receiver_shows_it_once(
    pki: Pki, tmp_path: Path
) -> None:
    settings = {"fhir": "off", "alert": "300 ms", "resend": "600 ms"}
    async with behind_doors(pki, tmp_path, acknowledging=settings) as pair:
        pair.doors[MUNICIPALITY.key].shut()
        identifier = str(uuid.uuid4())
        await pair.submit(identifier)
        await pair.until_event(pair.municipality, "resent", 2)
        await pair.until_event(pair.municipality, "acknowledgement-overdue", 3)
        await pair.doors[MUNICIPALITY.key].open()
        await pair.until_event(pair.municipality, "acknowledged", 3)
        assert len(await pair.envelopes(pair.municipality, identifier, "out")) == 3
        assert pair.shown(identifier) == 1
