"""The end-user edge: what is refused before anything is stored, and what is delivered and answered.

The tests of what belongs to an earlier message stand in `test_correlation.py`.
"""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from application_edge import Application, Bundle, answer_in, header_of, message
from station_parts import BUNDLE, MESSAGE, RECEIVER, SENDER, THIRD, Parts, document

from accesspoint.stations.document import Document
from accesspoint.stations.end_user_application import SubmissionRefused
from accesspoint.stations.reporting import Act
from accesspoint.store.database import IntegrityViolation
from envelope import fhir
from envelope.errors import LocalProtocolError
from envelope.limits import DEFAULT_LIMITS

# Submission


async def test_a_good_message_is_stored_remembered_and_passed_down(
    parts: Parts, sender: Application
) -> None:
    submission = await sender.submit(message())
    ((item, act, facts),) = sender.down.offered
    assert act is Act.EUA_SENT
    assert item == submission.document
    assert parts.read(item.stored) == message()
    assert (item.message_identifier, item.message_envelope_identifier) == (MESSAGE, BUNDLE)
    assert facts.transport_envelope_identifier is None
    assert submission.notes == ()
    row = await parts.one("SELECT * FROM documents")
    assert (row["direction"], row["acknowledgement"], row["payload"]) == (
        "out",
        "awaited",
        item.stored.payload,
    )
    assert await parts.journal() == [("EUA", "created", None)]


async def test_xml_is_as_good_as_json(parts: Parts, sender: Application) -> None:
    bundle = fhir.read_message(message()).bundle
    submission = await sender.submit(fhir.serialize(bundle, "xml"))
    assert submission.document.media_type == "application/fhir+xml"


async def test_the_same_message_is_accepted_once(parts: Parts, sender: Application) -> None:
    await sender.submit(message())
    with pytest.raises(IntegrityViolation):
        await sender.submit(message())
    assert len(sender.down.taken) == 1
    # The second copy names a patient, and no row points at it.
    assert parts.files() == 1


async def test_what_the_next_station_does_not_take_leaves_no_file(
    parts: Parts, sender: Application
) -> None:
    sender.down.failures.append(LocalProtocolError("no document type"))
    with pytest.raises(LocalProtocolError):
        await sender.submit(message())
    assert await parts.is_empty()


def _without_event(bundle: Bundle) -> None:
    del header_of(bundle)["eventCoding"]


def _without_conclusion_status(bundle: Bundle) -> None:
    report = next(
        e["resource"]
        for e in bundle["entry"]
        if e["resource"]["resourceType"] == "DiagnosticReport"
    )
    del report["status"]


def _version_nobody_knows(bundle: Bundle) -> None:
    header = header_of(bundle)
    header["definition"] = header["definition"].rpartition("|")[0] + "|9.9"


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"", "message-not-recognised"),
        (b"not a message", "message-not-recognised"),
        (b"{}", "message-not-recognised"),
        (message(_without_event), "message-not-recognised"),
        (b" " * (DEFAULT_LIMITS.fhir_bytes + 1), "message-too-large"),
    ],
)
async def test_what_is_no_message_is_refused_and_leaves_nothing(
    parts: Parts, sender: Application, data: bytes, rule: str
) -> None:
    with pytest.raises(SubmissionRefused) as refused:
        await sender.submit(data)
    assert refused.value.rule == rule
    assert await parts.is_empty()


async def test_a_broken_rule_is_named_with_its_place_and_without_the_patient(
    parts: Parts, sender: Application
) -> None:
    with pytest.raises(SubmissionRefused) as refused:
        await sender.submit(message(_without_conclusion_status))
    assert refused.value.rule == "structure-required"
    assert refused.value.findings
    told = f"{refused.value!r} {refused.value.detail} {refused.value.findings}"
    assert "Bundle.entry[2].resource.status" in told
    assert "2512489996" not in told
    assert await parts.is_empty()


async def test_a_version_that_ehmi_has_no_row_for_is_refused_and_leaves_nothing(
    parts: Parts, sender: Application
) -> None:
    with pytest.raises(SubmissionRefused) as refused:
        await sender.submit(message(_version_nobody_knows))
    assert refused.value.rule not in ("", "other")
    assert sender.down.offered == []
    assert await parts.is_empty()


async def test_an_address_that_no_envelope_can_name_is_refused_and_leaves_nothing(
    parts: Parts,
) -> None:
    """A neighbour that stands apart could only refuse it again and again."""
    wrong_digit = replace(RECEIVER, gln="5790000000028")
    wrong_sor = replace(RECEIVER, sor="12")
    for known in (wrong_digit, wrong_sor):
        application = Application(parts, SENDER, known={known.gln: known})
        with pytest.raises(SubmissionRefused) as refused:
            await application.submit(message(), to=known.gln)
        assert refused.value.rule == "message-not-in-ehmi"
        assert await parts.is_empty()


async def test_somebody_else_does_not_speak_through_this_node(parts: Parts) -> None:
    application = Application(parts, THIRD)
    with pytest.raises(SubmissionRefused) as refused:
        await application.submit(message())
    assert refused.value.rule == "sender-not-served"
    assert await parts.is_empty()


async def test_readdressing_is_for_the_development_profile_and_says_so(parts: Parts) -> None:
    application = Application(parts, THIRD, readdress=True)
    submission = await application.submit(message())
    assert submission.document.sender == THIRD
    assert len(submission.notes) == 1
    assert SENDER.gln in submission.notes[0]
    assert THIRD.gln in submission.notes[0]


async def test_the_envelope_may_go_to_another_known_organisation_and_a_note_says_so(
    parts: Parts,
) -> None:
    application = Application(parts, SENDER, known={THIRD.gln: THIRD})
    submission = await application.submit(message(), to=THIRD.gln)
    assert submission.document.receiver == THIRD
    assert RECEIVER.gln in submission.notes[0]


async def test_a_receiver_that_only_the_message_knows_is_addressed_as_it_says(
    parts: Parts,
) -> None:
    application = Application(parts, SENDER, known={})
    submission = await application.submit(message(), to=RECEIVER.gln)
    assert submission.document.receiver == RECEIVER
    assert submission.notes == ()


async def test_an_unknown_receiver_that_the_message_does_not_name_is_refused(
    parts: Parts, sender: Application
) -> None:
    with pytest.raises(SubmissionRefused) as refused:
        await sender.submit(message(), to=THIRD.gln)
    assert refused.value.rule == "receiver-unknown"
    assert await parts.is_empty()


# Reception


async def test_a_good_message_is_owed_to_the_backend_and_answered_ok(
    parts: Parts, receiver: Application
) -> None:
    item = document(parts)
    await receiver.receive(item)
    handover = await parts.one("SELECT * FROM handovers")
    assert (handover["target"], handover["act"]) == ("backend", "eua-finalized")
    assert Document.from_json(handover["item"]) == item
    answer = answer_in(parts, receiver)
    assert answer.response == fhir.Response(MESSAGE, "ok")
    sent = receiver.down.taken[0]
    assert (sent.sender, sent.receiver, sent.patient_id) == (RECEIVER, SENDER, None)
    assert sent.original_message_identifier == MESSAGE
    rows = await parts.rows("SELECT direction, acknowledgement FROM documents ORDER BY direction")
    # A FHIR Acknowledgement is not acknowledged in FHIR again.
    assert [(r["direction"], r["acknowledgement"]) for r in rows] == [("in", "ok"), ("out", "none")]
    # The end event waits for the backend.
    assert await parts.events() == []


async def test_a_broken_message_is_answered_with_a_fatal_error(
    parts: Parts, receiver: Application
) -> None:
    data = message(_without_conclusion_status)
    await receiver.receive(document(parts, stored=parts.store(data)))
    told = answer_in(parts, receiver).response
    why = ("MSG_RESOURCE_REQUIRED", "MSG_Datatype_Wrong")
    assert told == fhir.Response(MESSAGE, "fatal-error", why)
    row = await parts.one("SELECT * FROM documents WHERE direction = 'in'")
    assert row["acknowledgement"] == "fatal-error"


async def test_a_message_answered_with_a_fatal_error_is_kept_and_no_backend_is_given_it(
    parts: Parts, receiver: Application
) -> None:
    data = message(_without_conclusion_status)
    await receiver.receive(document(parts, stored=parts.store(data)))
    row = await parts.one("SELECT * FROM handovers")
    assert (row["target"], row["state"], row["problem"]) == (
        "backend",
        "set-aside",
        "message-invalid",
    )
    assert parts.read(row["payload"]) == data
    assert (await parts.journal())[0] == ("EUA", "set-aside", "message-invalid")
    # The end station has it, so the end event is owed although there is no delivery.
    assert await parts.events() == [("EUA", "msg-received-and-finalized")]
    kept = await parts.one("SELECT * FROM documents WHERE direction = 'in'")
    assert (kept["payload"], kept["delivered_at"]) == (row["payload"], None)


async def test_a_broken_message_that_nobody_is_told_about_goes_to_the_backend(
    parts: Parts,
) -> None:
    application = Application(parts, RECEIVER, acknowledge=False)
    data = message(_without_conclusion_status)
    await application.receive(document(parts, stored=parts.store(data)))
    assert (await parts.one("SELECT * FROM handovers"))["state"] == "waiting"
    assert (await parts.one("SELECT * FROM documents"))["acknowledgement"] == "none"
    assert await parts.journal() == [("EUA", "taken-by-application", "message-invalid")]


@pytest.mark.parametrize(
    "data",
    [
        b"not a message",
        b'{"resourceType": "Bundle", "type": "message"}',
        b'{"resourceType": "Bundle", "type": "message", "entry": []}',
        b'{"resourceType": "Patient"}',
    ],
)
async def test_what_cannot_be_answered_is_still_delivered(
    parts: Parts, receiver: Application, data: bytes
) -> None:
    await receiver.receive(document(parts, stored=parts.store(data)))
    assert receiver.down.taken == []
    row = await parts.one("SELECT * FROM documents")
    # No acknowledgement went out, so none is written down.
    assert row["acknowledgement"] == "none"
    assert (await parts.one("SELECT * FROM handovers"))["state"] == "waiting"


def _receiver_without(value: str) -> Callable[[Bundle], None]:
    """The receiving organisation of the message loses this identifier."""

    def change(bundle: Bundle) -> None:
        for entry in bundle["entry"]:
            organisation = entry["resource"]
            if organisation["resourceType"] != "Organization":
                continue
            if not any(i.get("value") == RECEIVER.gln for i in organisation["identifier"]):
                continue
            organisation["identifier"] = [
                i for i in organisation["identifier"] if i["value"] != value
            ]
            return
        raise AssertionError("the message names no receiver")

    return change


@pytest.mark.parametrize("lacking", [RECEIVER.sor, RECEIVER.gln], ids=["SOR", "GLN"])
async def test_a_message_whose_receiver_lacks_an_identifier_is_taken_and_answered(
    parts: Parts, receiver: Application, lacking: str
) -> None:
    """The answer repeats the organisations of the message, so it cannot be recognised either: it need not be."""
    data = message(_receiver_without(lacking))
    assert data != message()
    await receiver.receive(document(parts, stored=parts.store(data)))
    (sent,) = receiver.down.taken
    assert (sent.sender, sent.receiver) == (RECEIVER, SENDER)
    assert (sent.event_code, sent.definition_version) == ("acknowledgement-message", "2.0")
    assert sent.original_message_identifier == MESSAGE
    bundle = json.loads(parts.read(sent.stored))
    assert bundle["id"] == sent.message_envelope_identifier
    assert header_of(bundle)["id"] == sent.message_identifier
    assert header_of(bundle)["response"]["code"] == "fatal-error"


async def test_an_answer_in_xml_says_so(parts: Parts, receiver: Application) -> None:
    data = fhir.serialize(fhir.read_message(message()).bundle, "xml")
    await receiver.receive(document(parts, stored=parts.store(data)))
    (sent,) = receiver.down.taken
    assert sent.media_type == "application/fhir+xml"
    assert fhir.read_message(parts.read(sent.stored)).format == "xml"


async def test_no_answer_leaves_where_answers_are_off(parts: Parts) -> None:
    application = Application(parts, RECEIVER, acknowledge=False)
    await application.receive(document(parts))
    assert application.down.taken == []
    assert (await parts.one("SELECT * FROM documents"))["acknowledgement"] == "none"
    assert len(await parts.rows("SELECT * FROM handovers")) == 1


async def test_an_envelope_that_names_another_message_is_answered_with_a_fatal_error(
    parts: Parts, receiver: Application
) -> None:
    await receiver.receive(document(parts, message_identifier="another"))
    (sent,) = receiver.down.taken
    answer = fhir.read_message(parts.read(sent.stored))
    # The answer names the message that was read, as its sender knows it.
    told = fhir.recognise(answer).response
    assert told == fhir.Response(MESSAGE, "fatal-error", ("MSG_NO_MATCH",))
    assert "envelope-message-identifier" in json.dumps(answer.bundle)
    assert (await parts.one("SELECT * FROM handovers"))["state"] == "set-aside"


async def test_the_identifier_of_one_sender_does_not_block_that_of_another(
    parts: Parts, receiver: Application
) -> None:
    await receiver.receive(document(parts, sender=THIRD))
    await receiver.receive(document(parts))
    rows = await parts.rows("SELECT sender FROM documents WHERE direction = 'in'")
    assert {row["sender"] for row in rows} == {THIRD.gln, SENDER.gln}
