"""The duplicate table of the receiving application, literally, and when two messages say the same."""

import copy
from typing import Any

import pytest
from sample_messages import home_care_observation

from envelope import fhir
from envelope.fhir.duplicates import ACTIONS, Action, content_digest, decide


@pytest.mark.parametrize(
    ("bundle_seen", "message_seen", "action"),
    [
        (False, False, Action.PROCESS),
        (True, True, Action.ANSWER_AGAIN),
        (False, True, Action.ANSWER_AS_BEFORE),
        (True, False, Action.REFUSE),
    ],
)
def test_row_of_the_table(bundle_seen: bool, message_seen: bool, action: Action) -> None:
    assert decide(bundle_seen, message_seen) is action


def test_every_action_has_one_row() -> None:
    assert sorted(ACTIONS.values()) == sorted(Action)


def digest(bundle: dict[str, Any], form: str = "json") -> str:
    return content_digest(fhir.read_message(fhir.serialize(bundle, form)))


def test_a_message_says_the_same_in_both_formats() -> None:
    bundle = home_care_observation()
    assert digest(bundle, "xml") == digest(bundle)


def test_a_message_says_the_same_when_it_is_sent_again() -> None:
    bundle = home_care_observation()
    again = copy.deepcopy(bundle)
    again["id"], again["timestamp"] = "another-bundle", "2026-11-20T10:00:00+01:00"
    for entry in again["entry"]:
        entry["resource"].pop("text", None)
        entry["resource"]["meta"] = {"lastUpdated": "2026-11-20T10:00:00+01:00"}
    assert digest(again) == digest(bundle)


def test_one_other_result_is_another_message() -> None:
    bundle = home_care_observation()
    other = copy.deepcopy(bundle)
    observation = next(
        entry["resource"]
        for entry in other["entry"]
        if "valueQuantity" in entry["resource"]
    )  # fmt: skip
    observation["valueQuantity"]["value"] += 1
    assert digest(other) != digest(bundle)
