"""Each check of the demo can fail: for every planted fault exactly the checks it breaks go red, and name the culprit."""

import copy
import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from accesspoint.demo.verification import EVENTS_TOGETHER, Copy, Exchange, Result, verify
from accesspoint.problems import PROBLEMS, ExitStatus

MESSAGE, ANSWER, SIGNER = "message-1", "answer-1", "ab" * 32
CONTENT = b"a MedCom message"
Plant = Callable[[dict[str, Any]], None]

RECEIPT = "AS4: the sender holds a verified non-repudiation receipt"
RECEIPT_SIGNER = f"AS4: the receipt was signed by the certificate the SMP named ({SIGNER[:16]}…)"
STORED_ONCE = "AS4: the receiver stored the message once and handed it on"
SAME_ENVELOPE = "AS4: the envelope arrived byte for byte"
SAME_MESSAGE = "EUA: the receiver's backend has the message byte for byte (SHA-256"
ANSWERED = "EUA: the sender's backend has the FHIR Acknowledgement"
POSITIVE = "MSH: the SBDH acknowledgement of the message is positive"
ANSWER_POSITIVE = "MSH: the SBDH acknowledgement of the FHIR Acknowledgement is positive"
SAYS_OK = "EUA: the FHIR Acknowledgement says ok"
ALL_EVENTS = "EDS: "
ELEMENTS = "EDS: every event holds element by element"
SUCCESS = "EDS: every event says success"


def perfect(report: dict[str, Any]) -> dict[str, Any]:
    """The facts of an exchange in which every step held, as plain values that a fault may change."""
    out = {
        "direction": "out", "outcome": "ACKNOWLEDGED", "payload_sha256": "e1", "receipt": {"signer": SIGNER},
    }  # fmt: skip
    taken = {"direction": "in", "state": "DELIVERED", "payload_sha256": "e1", "receipt": None}
    return {
        "message_identifier": MESSAGE,
        "sent": CONTENT,
        "received": CONTENT,
        "answered": b"ok",
        "sender": {
            MESSAGE: {
                "exchanges": [out],
                "envelopes": [{"direction": "out", "acknowledgement": "positive"}],
                "documents": [{"direction": "out", "acknowledgement": "ok"}],
            }
        },
        "receiver": {
            MESSAGE: {"exchanges": [taken], "envelopes": [], "documents": []},
            ANSWER: {
                "exchanges": [],
                "envelopes": [{"direction": "out", "acknowledgement": "positive"}],
                "documents": [],
            },
        },
        "reports": [copy.deepcopy(report) for _ in range(EVENTS_TOGETHER)],
        "expected_events": EVENTS_TOGETHER,
        "acknowledgement": ANSWER,
        "signer": SIGNER,
    }


def at(*path: Any, value: Any) -> Plant:
    """A fault that puts `value` at a path of the facts."""

    def plant(facts: dict[str, Any]) -> None:
        place: Any = facts
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value

    return plant


def drop_event(facts: dict[str, Any]) -> None:
    facts["reports"].pop()


def double_event(facts: dict[str, Any]) -> None:
    facts["reports"].append(facts["reports"][0])


def lose_element(facts: dict[str, Any]) -> None:
    del facts["reports"][3]["recorded"]


def store_twice(facts: dict[str, Any]) -> None:
    facts["receiver"][MESSAGE]["exchanges"] *= 2


def change_envelope(facts: dict[str, Any]) -> None:
    facts["receiver"][MESSAGE]["exchanges"][0]["payload_sha256"] = "e2"


OUT = ("sender", MESSAGE, "exchanges", 0)
PLANTED: dict[str, tuple[Plant, dict[str, str]]] = {
    "no receipt": (at(*OUT, "outcome", value=None), {RECEIPT: "receipt-missing"}),
    "receipt without evidence": (at(*OUT, "receipt", value=None), {RECEIPT_SIGNER: "receipt-signer"}),
    "receipt of somebody else": (at(*OUT, "receipt", value={"signer": "cd" * 32}), {RECEIPT_SIGNER: "receipt-signer"}),
    "never stored": (at("receiver", MESSAGE, "exchanges", value=[]),
                     {STORED_ONCE: "delivery-failed"}),
    "stored twice": (store_twice, {STORED_ONCE: "delivery-failed"}),
    "not handed on": (at("receiver", MESSAGE, "exchanges", 0, "state", value="RECEIPTED"), {STORED_ONCE: "delivery-failed"}),
    "envelope changed": (change_envelope, {SAME_ENVELOPE: "payload-changed"}),
    "message changed": (at("received", value=CONTENT + b"\n"), {SAME_MESSAGE: "payload-changed"}),
    "message not delivered": (at("received", value=None), {SAME_MESSAGE: "payload-changed"}),
    "no FHIR Acknowledgement": (at("answered", value=None), {ANSWERED: "fhir-acknowledgement-missing"}),
    "SBDH acknowledgement awaited": (at("sender", MESSAGE, "envelopes", 0, "acknowledgement", value="awaited"),
                                     {POSITIVE: "acknowledgement-missing"}),
    "SBDH acknowledgement negative": (at("sender", MESSAGE, "envelopes", 0, "acknowledgement", value="negative"),
                                      {POSITIVE: "acknowledgement-missing"}),
    "the answer's acknowledgement awaited": (at("receiver", ANSWER, "envelopes", 0, "acknowledgement", value="awaited"),
                                             {ANSWER_POSITIVE: "acknowledgement-missing"}),
    "the answer's acknowledgement negative": (at("receiver", ANSWER, "envelopes", 0, "acknowledgement", value="negative"),
                                              {ANSWER_POSITIVE: "acknowledgement-missing"}),
    "FHIR Acknowledgement fatal": (at("sender", MESSAGE, "documents", 0, "acknowledgement", value="fatal-error"),
                                   {SAYS_OK: "fhir-acknowledgement-missing"}),
    "an event missing": (drop_event, {ALL_EVENTS: "event-missing"}),
    "an event twice": (double_event, {ALL_EVENTS: "event-missing"}),
    "an event without an element": (lose_element, {ELEMENTS: "status-refused"}),
    "an event of a failure": (at("reports", 5, "outcome", value="8"), {SUCCESS: "event-failed"}),
    "no events": (at("reports", value=[]), {ALL_EVENTS: "event-missing"}),
}  # fmt: skip


@pytest.fixture
def facts(audit_event: dict[str, Any]) -> dict[str, Any]:
    return perfect(audit_event)


def test_a_perfect_exchange_passes_every_check(facts: dict[str, Any]) -> None:
    checks = list(verify(Exchange(**facts)))
    assert [check.text for check in checks if not check.held] == []
    assert len(checks) == 12


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_fails_its_checks_and_no_other(facts: dict[str, Any], name: str) -> None:
    plant, expected = PLANTED[name]
    plant(facts)
    failed = {check.text: check.problem for check in verify(Exchange(**facts)) if check.failed}
    assert len(failed) == len(expected)
    for text, problem in expected.items():
        assert problem in {slug for told, slug in failed.items() if told.startswith(text)}


def test_every_check_has_a_fault_that_breaks_it(facts: dict[str, Any]) -> None:
    texts = [check.text for check in verify(Exchange(**facts))]
    broken = {text for _, expected in PLANTED.values() for text in expected}
    assert [t for t in texts if not any(t.startswith(b) for b in broken)] == []
    assert {text for text in broken if not any(t.startswith(text) for t in texts)} == set()


def test_every_culprit_is_in_the_catalogue_and_never_ends_with_success() -> None:
    slugs = {slug for _, expected in PLANTED.values() for slug in expected.values()}
    assert sorted(slugs - set(PROBLEMS)) == []
    assert {PROBLEMS[slug].exit_status for slug in slugs} & {ExitStatus.OK} == set()


def test_nothing_at_all_fails_the_first_check_and_reaches_no_other() -> None:
    empty = Exchange(MESSAGE, CONTENT, None, None, {}, {}, (), EVENTS_TOGETHER, None, SIGNER)
    checks = list(verify(empty))
    assert [check.text for check in checks if check.failed] == [RECEIPT]
    assert {check.result for check in checks[1:]} == {Result.NOT_REACHED}


def test_a_failed_check_does_not_stop_the_others(facts: dict[str, Any]) -> None:
    exchange = replace(Exchange(**facts), received=None)
    assert len(list(verify(exchange))) == len(list(verify(Exchange(**facts))))


def lost(facts: dict[str, Any]) -> Exchange:
    """An exchange whose message never left: three events tell of it, the last of the failure."""
    reports = [copy.deepcopy(facts["reports"][0]) for _ in range(3)]
    reports[2]["outcome"] = "8"
    facts["sender"][MESSAGE]["exchanges"][0] |= {"outcome": "EXPIRED", "receipt": None}
    facts["sender"][MESSAGE]["envelopes"][0]["acknowledgement"] = "awaited"
    facts["sender"][MESSAGE]["documents"][0]["acknowledgement"] = "awaited"
    return Exchange(
        MESSAGE, CONTENT, None, None, facts["sender"], {}, reports, EVENTS_TOGETHER, None, SIGNER,
        stopped="at the AP of municipality",
    )  # fmt: skip


def test_what_comes_after_the_end_of_a_message_is_not_reached(facts: dict[str, Any]) -> None:
    results = {check.text: check.result for check in verify(lost(facts))}
    assert [text for text, result in results.items() if result is Result.HELD] == [ELEMENTS]
    assert [text for text, result in results.items() if result is Result.FAILED] == [
        RECEIPT,
        SUCCESS,
    ]
    told = "EDS: 3 of 16 delivery events: the message stopped at the AP of municipality"
    assert results[told] is Result.NOT_REACHED


def test_events_of_a_failed_message_never_say_success(facts: dict[str, Any]) -> None:
    exchange = lost(facts)
    results = {
        check.text: check.result
        for check in verify(replace(exchange, reports=exchange.reports[:2]))
    }
    assert results[SUCCESS] is Result.NOT_REACHED


def test_without_an_answer_the_events_say_where_the_exchange_stopped(facts: dict[str, Any]) -> None:
    facts["answered"], facts["acknowledgement"] = None, None
    facts["sender"][MESSAGE]["documents"][0]["acknowledgement"] = "awaited"
    facts["reports"] = facts["reports"][:8]
    checks = list(verify(Exchange(**facts)))
    assert [check.text for check in checks if check.failed] == [ANSWERED]
    told = (
        "EDS: 8 of 16 delivery events: the exchange stopped, the receiving system has not answered"
    )
    assert told in [check.text for check in checks if check.result is Result.NOT_REACHED]


REGISTER = "0088:5790000000043"
COPY_FAULTS = {
    "no copy": ((), ["positive"], {"sharing-missing"}),
    "two copies": (("same", "same"), ["positive"], {"sharing-missing"}),
    "another content": (("other",), ["positive"], {"sharing-missing"}),
    "metadata of another": (("fault",), ["positive"], {"sharing-missing"}),
    "not acknowledged": (("same",), ["awaited"], {"acknowledgement-missing"}),
    "whole": (("same",), ["positive"], set()),
}


@pytest.mark.parametrize("name", COPY_FAULTS)
def test_a_fault_of_the_copy_is_told_and_harms_nothing_else(
    facts: dict[str, Any], name: str
) -> None:
    held, acknowledgements, broken = COPY_FAULTS[name]
    digest = hashlib.sha256(facts["sent"]).hexdigest()
    entries = {"same": (digest, None), "other": ("0" * 64, None), "fault": (digest, "size")}
    told = facts["sender"][facts["message_identifier"]]
    told["envelopes"] += [
        {"direction": "out", "acknowledgement": one, "receiver": REGISTER}
        for one in acknowledgements
    ]
    register = Copy(REGISTER, tuple(entries[one] for one in held))
    checks = list(verify(Exchange(**facts, copy=register)))
    assert {check.problem for check in checks if check.failed} == broken
