"""What belongs to an earlier message at the end-user edge: the same message again, and the answer to one that was sent."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from application_edge import Application, Bundle, header_of, message
from station_parts import AT, BUNDLE, MESSAGE, RECEIVER, SENDER, THIRD, Parts, document

from accesspoint.stations.document import Address, Document
from envelope import fhir

OTHER_BUNDLE = "2c6d8a40-6f1e-4a2c-9c55-7f10c1a9d002"
OTHER_MESSAGE = "2c6d8a40-6f1e-4a2c-9c55-7f10c1a9d001"


def answers(parts: Parts, application: Application) -> list[Bundle]:
    """The FHIR Acknowledgements that went out."""
    return [json.loads(parts.read(item.stored)) for item in application.down.taken]


def said(answer: Bundle) -> tuple[Any, ...]:
    """What an acknowledgement says: identifier and code of its response, and its issues."""
    response = header_of(answer)["response"]
    issues = [issue for entry in answer["entry"] for issue in entry["resource"].get("issue", ())]
    return response["identifier"], response["code"], issues


def sent_again(parts: Parts, change: Callable[[Bundle], None] = lambda bundle: None) -> Document:
    """The message in a Bundle of its own, written a minute later."""

    def anew(bundle: Bundle) -> None:
        bundle["id"] = OTHER_BUNDLE
        bundle["timestamp"] = "2026-11-21T10:31:00+01:00"
        header_of(bundle)["meta"]["lastUpdated"] = "2026-11-21T10:31:00+01:00"
        change(bundle)

    return document(
        parts, message_envelope_identifier=OTHER_BUNDLE, stored=parts.store(message(anew))
    )


def break_status(bundle: Bundle) -> None:
    del header_of(bundle)["definition"]


async def shown(parts: Parts) -> int:
    return len(await parts.rows("SELECT * FROM handovers WHERE target = 'backend'"))


@pytest.mark.parametrize("again", [document, sent_again], ids=["same-bundle", "new-bundle"])
async def test_a_message_that_came_before_is_answered_as_then_and_not_shown_again(
    parts: Parts, receiver: Application, again: Callable[[Parts], Document]
) -> None:
    await receiver.receive(document(parts))
    await receiver.receive(again(parts))
    first, second = answers(parts, receiver)
    assert said(first) == said(second) == (MESSAGE, "ok", [])
    assert first["id"] != second["id"]
    assert await shown(parts) == 1
    assert len(await parts.rows("SELECT * FROM documents WHERE direction = 'in'")) == 1
    assert ("EUA", "resubmitted", None) in await parts.journal()


async def test_a_message_that_was_refused_is_refused_again_in_the_same_words(
    parts: Parts, receiver: Application
) -> None:
    await receiver.receive(document(parts, stored=parts.store(message(break_status))))
    await receiver.receive(sent_again(parts, break_status))
    first, second = answers(parts, receiver)
    assert said(first) == said(second)
    assert said(first)[1] == "fatal-error"
    assert said(first)[2] != []


async def test_other_content_under_a_message_identifier_is_refused_and_the_first_stays(
    parts: Parts, receiver: Application
) -> None:
    def correct(bundle: Bundle) -> None:
        patient = next(
            entry["resource"]
            for entry in bundle["entry"]
            if entry["resource"]["resourceType"] == "Patient"
        )
        patient["name"][0]["family"] = "Rettet"

    await receiver.receive(document(parts))
    await receiver.receive(sent_again(parts, correct))
    assert [said(answer)[1] for answer in answers(parts, receiver)] == ["ok", "fatal-error"]
    assert said(answers(parts, receiver)[1])[2][0]["code"] == "duplicate"
    assert await shown(parts) == 1
    assert ("EUA", "resubmitted", "duplicate-content") in await parts.journal()


async def test_a_bundle_identifier_used_for_another_message_is_refused_and_set_aside(
    parts: Parts, receiver: Application
) -> None:
    def rename(bundle: Bundle) -> None:
        header_of(bundle)["id"] = OTHER_MESSAGE

    await receiver.receive(document(parts))
    await receiver.receive(
        document(parts, message_identifier=OTHER_MESSAGE, stored=parts.store(message(rename)))
    )
    first, second = answers(parts, receiver)
    assert (said(first)[1], said(second)[1]) == ("ok", "fatal-error")
    assert "bundle-identifier-reused" in json.dumps(said(second)[2])
    states = await parts.rows(
        "SELECT state FROM handovers WHERE target = 'backend' ORDER BY created_at, id"
    )
    assert sorted(row["state"] for row in states) == ["set-aside", "waiting"]


async def test_an_answer_names_the_bundle_that_it_answers_whoever_made_it(
    parts: Parts, receiver: Application
) -> None:
    await receiver.receive(document(parts))
    made = fhir.build_acknowledgement(
        fhir.read_message(message()),
        code="ok",
        bundle_id=parts.ids.uuid(),
        message_id=parts.ids.uuid(),
        provenance_id=parts.ids.uuid(),
        outcome_id=parts.ids.uuid(),
        at=AT,
    )
    await receiver.submit(fhir.serialize(made, "json"))
    answered = [item.original_bundle_identifier for item in receiver.down.taken]
    assert answered == [BUNDLE, BUNDLE]


async def test_an_acknowledgement_that_came_before_is_not_shown_again_and_settles_nothing_new(
    parts: Parts, sender: Application
) -> None:
    await sender.submit(message())
    for _ in range(2):
        await sender.receive(acknowledgement(parts, "ok"))
    assert await shown(parts) == 1
    assert [event for _, event, _ in await parts.journal()].count("fhir-acknowledged") == 1
    assert len(sender.down.taken) == 1


# Answers


def acknowledgement(
    parts: Parts, code: str, *, answers: str = MESSAGE, sender: Address = RECEIVER, number: int = 1
) -> Document:
    """The FHIR Acknowledgement that `sender` gives, as it comes up from the message service handler."""
    findings = [fhir.Finding("a-rule", "error", "Bundle", "a text")] if code != "ok" else []
    bundle = fhir.build_acknowledgement(
        fhir.read_message(message()),
        code=code if code in ("ok", "fatal-error", "transient-error") else "ok",  # type: ignore[arg-type]
        findings=findings if code in ("fatal-error", "transient-error") else (),
        bundle_id=parts.ids.uuid(),
        message_id=f"answer-{number}",
        provenance_id=parts.ids.uuid(),
        outcome_id=parts.ids.uuid(),
        at=AT,
    )
    header_of(bundle)["response"] |= {"identifier": answers, "code": code}
    return document(
        parts,
        message_identifier=f"answer-{number}",
        event_code="acknowledgement-message",
        definition_version="2.0",
        sender=sender,
        receiver=SENDER,
        original_message_identifier=answers,
        stored=parts.store(fhir.serialize(bundle, "json")),
    )


async def state(parts: Parts) -> str:
    row = await parts.one(
        "SELECT acknowledgement FROM documents WHERE message_identifier = $1", MESSAGE
    )
    return str(row["acknowledgement"])


@pytest.mark.parametrize(
    ("code", "problem", "said"),
    [
        ("ok", None, "ok"),
        ("fatal-error", "fhir-acknowledgement-negative", "fatal-error (MSG_NO_MATCH)"),
        ("transient-error", "fhir-acknowledgement-negative", "transient-error (MSG_NO_MATCH)"),
    ],
)
async def test_an_acknowledgement_settles_the_message_and_is_never_answered(
    parts: Parts, sender: Application, code: str, problem: str | None, said: str
) -> None:
    await sender.submit(message())
    await sender.receive(acknowledgement(parts, code))
    assert await state(parts) == code
    assert (await parts.journal())[-1] == ("EUA", "fhir-acknowledged", problem)
    # Codes, and not the words, which may be about a patient.
    assert (await parts.rows("SELECT detail FROM journal ORDER BY seq"))[-1]["detail"] == said
    assert len(sender.down.taken) == 1
    # The backend hears of it like of any message.
    assert len(await parts.rows("SELECT * FROM handovers")) == 1


@pytest.mark.parametrize(
    ("first", "second", "stands"),
    [
        ("ok", "fatal-error", "ok"),
        ("fatal-error", "ok", "fatal-error"),
        ("ok", "ok", "ok"),
        ("transient-error", "ok", "ok"),
        ("transient-error", "fatal-error", "fatal-error"),
        ("ok", "transient-error", "ok"),
    ],
)
async def test_only_a_transient_error_may_be_followed_by_another_answer(
    parts: Parts, sender: Application, first: str, second: str, stands: str
) -> None:
    await sender.submit(message())
    await sender.receive(acknowledgement(parts, first))
    await sender.receive(acknowledgement(parts, second, number=2))
    assert await state(parts) == stands
    unexpected = (await parts.journal())[-1][2] == "fhir-acknowledgement-unexpected"
    assert unexpected == (second != stands)


async def test_the_acknowledgement_of_a_stranger_settles_nothing(
    parts: Parts, sender: Application
) -> None:
    await sender.submit(message())
    await sender.receive(acknowledgement(parts, "ok", sender=THIRD))
    assert await state(parts) == "awaited"
    assert (await parts.journal())[-1][2] == "fhir-acknowledgement-unexpected"


async def test_an_acknowledgement_of_what_was_never_sent_is_noted(
    parts: Parts, sender: Application
) -> None:
    await sender.receive(acknowledgement(parts, "ok", answers="never-sent"))
    assert (await parts.journal())[-1] == (
        "EUA",
        "fhir-acknowledged",
        "fhir-acknowledgement-unexpected",
    )


async def test_an_acknowledgement_with_a_code_of_its_own_is_delivered_and_settles_nothing(
    parts: Parts, sender: Application
) -> None:
    await sender.submit(message())
    await sender.receive(acknowledgement(parts, "perhaps"))
    assert await state(parts) == "awaited"
    row = await parts.one("SELECT * FROM documents WHERE direction = 'in'")
    assert row["acknowledgement"] == "none"
    assert len(sender.down.taken) == 1


async def test_an_acknowledgement_in_the_envelope_of_another_message_settles_nothing(
    parts: Parts, sender: Application
) -> None:
    await sender.submit(message())
    await sender.receive(replace(acknowledgement(parts, "ok"), message_identifier="another"))
    assert await state(parts) == "awaited"
    assert (await parts.journal())[-1] == ("EUA", "taken-by-application", "message-invalid")
