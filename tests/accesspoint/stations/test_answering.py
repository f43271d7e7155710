"""How a received message may be answered by somebody's decision, and in what words."""

from typing import Any

import pytest
from application_edge import Application
from as4_wire import medcom_message
from station_parts import BUNDLE, MESSAGE, RECEIVER, SENDER, THIRD, Parts, document

from accesspoint.stations.answering import (
    DETAILS,
    NotAnswerable,
    Verdict,
    findings_from_json,
    findings_to_json,
    is_answered_so,
)
from envelope import fhir
from envelope.fhir.acknowledgement import ISSUES

GOOD = fhir.read_message(medcom_message(MESSAGE, BUNDLE)[0])


def broken() -> fhir.FhirMessage:
    data, _ = medcom_message(MESSAGE, BUNDLE)
    message = fhir.read_message(data)
    del message.bundle["entry"][0]["resource"]["definition"]
    return message


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"code": "AA"}, "the codes are"),
        ({"code": "ok", "reason": "fint"}, "an ok has no reason"),
        ({"code": "ok", "details": "MSG_NO_MATCH"}, "an ok has no reason"),
        ({"code": "fatal-error", "details": "MSG_UNHEARD_OF"}, "the details are one of"),
        ({"code": "fatal-error", "reason": "om 251248-9996"}, "patient number"),
        ({"code": "fatal-error", "reason": "  "}, "1 to 1000"),
        ({"code": "fatal-error", "reason": "x" * 1001}, "1 to 1000"),
    ],
)
def test_a_verdict_that_must_not_go_out_is_none(given: dict[str, Any], why: str) -> None:
    with pytest.raises(NotAnswerable, match=why):
        Verdict(**given)


def test_the_words_of_whoever_decided_are_what_is_told() -> None:
    (found,) = Verdict("fatal-error", "forkert afdeling").findings(GOOD)
    assert (found.severity, found.text) == ("error", "forkert afdeling")
    assert ISSUES[found.kind][2] == "MSG_NO_MATCH"
    (found,) = Verdict("transient-error", "lukket", "MSG_Mailbox_Out_Of_Operation").findings(GOOD)
    assert ISSUES[found.kind][2] == "MSG_Mailbox_Out_Of_Operation"


def test_without_words_the_broken_rules_are_told_and_there_must_be_some() -> None:
    assert Verdict("ok").findings(broken()) == ()
    assert Verdict("transient-error").findings(broken()) == ()
    told = Verdict("fatal-error").findings(broken())
    assert told
    assert all(found.severity == "error" for found in told)
    with pytest.raises(NotAnswerable, match="needs a reason"):
        Verdict("fatal-error").findings(GOOD)


def test_every_code_of_details_that_we_write_can_be_named() -> None:
    assert set(DETAILS) == {details for _, _, details in ISSUES.values()}
    assert all(ISSUES[kind][2] == details for details, kind in DETAILS.items())


@pytest.mark.parametrize(
    ("first", "second", "allowed"),
    [
        ("awaited", "ok", True),
        ("none", "fatal-error", True),
        ("transient-error", "ok", True),
        ("transient-error", "fatal-error", True),
        ("ok", "fatal-error", False),
        ("ok", "transient-error", False),
        ("fatal-error", "ok", False),
    ],
)
def test_only_a_transient_error_may_be_followed_by_another_answer(
    first: str, second: Any, allowed: bool
) -> None:
    row = {"acknowledgement": first, "event_code": "homecareobservation-message"}
    if allowed:
        assert is_answered_so(row, second) is False
    else:
        with pytest.raises(NotAnswerable, match="stands"):
            is_answered_so(row, second)
    assert is_answered_so({**row, "acknowledgement": second}, second) is True


def test_an_acknowledgement_is_never_answered() -> None:
    with pytest.raises(NotAnswerable, match="never"):
        is_answered_so({"acknowledgement": "none", "event_code": "acknowledgement-message"}, "ok")


def test_what_was_told_is_kept_as_it_was() -> None:
    told = Verdict("fatal-error").findings(broken())
    assert findings_from_json(findings_to_json(told)) == told
    assert findings_from_json(findings_to_json(())) == ()


async def test_of_two_organisations_that_got_one_message_each_answers_for_itself(
    parts: Parts,
) -> None:
    served = {one.gln: one for one in (RECEIVER, THIRD)}
    application = Application(
        parts, RECEIVER, served=served, known=served, acknowledge=False, on_demand=True
    )
    for one in (RECEIVER, THIRD):
        await application.receive(document(parts, receiver=one))

    with pytest.raises(NotAnswerable, match=f"{SENDER.gln} to receiver {THIRD.gln}"):
        await application.station.answer(MESSAGE, Verdict("ok"), sender=SENDER.gln)
    commit = await application.station.answer(MESSAGE, Verdict("ok"), receiver=THIRD.gln)
    assert commit is not None
    await parts.run(commit)

    rows = await parts.rows(
        "SELECT receiver, acknowledgement FROM documents WHERE direction = 'in'"
    )
    assert {row["receiver"]: row["acknowledgement"] for row in rows} == {
        RECEIVER.gln: "awaited",
        THIRD.gln: "ok",
    }
    assert [answer.sender.gln for answer in application.down.taken] == [THIRD.gln]
