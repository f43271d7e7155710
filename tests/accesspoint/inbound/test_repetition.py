"""What a header that is signed anew around the same parts may say, and what makes it another errand."""

from dataclasses import replace
from typing import Any

import pytest

from accesspoint.inbound.repetition import TEST_SERVICE, is_same_errand
from envelope import names
from envelope.messaging import (
    CollaborationInfo,
    Party,
    PartyId,
    Property,
    Service,
    UserMessage,
)

PARTY = Party(PartyId("urn:party"), "urn:role")
SENDER, RECIPIENT = Property("originalSender", "from"), Property("finalRecipient", "to")
MESSAGE = UserMessage(
    message_id="1@a.example",
    timestamp="2026-11-22T05:00:00Z",
    from_party=PARTY,
    to_party=PARTY,
    collaboration_info=CollaborationInfo(Service("process"), "scheme::document", "c"),
    message_properties=(SENDER, RECIPIENT),
)
ACCEPTED: Any = {
    "original_sender": "from",
    "final_recipient": "to",
    "process_id": "process",
    "document_id": "document",
    "standard": "a standard",
}
TEST_ERRAND = replace(
    MESSAGE,
    collaboration_info=CollaborationInfo(Service(names.EB_TEST_SERVICE), names.EB_TEST_ACTION, "c"),
)


def test_another_header_around_the_same_errand_is_a_repetition() -> None:
    again = replace(MESSAGE, message_id="2@a.example", timestamp="2026-11-22T05:01:00Z")
    assert is_same_errand(again, ACCEPTED)


@pytest.mark.parametrize(
    "message",
    [
        replace(MESSAGE, message_properties=(Property("originalSender", "other"), RECIPIENT)),
        replace(MESSAGE, message_properties=(SENDER, Property("finalRecipient", "other"))),
        replace(MESSAGE, message_properties=(RECIPIENT,)),
        replace(MESSAGE, message_properties=(SENDER,)),
        replace(MESSAGE, message_properties=()),
        replace(
            MESSAGE, collaboration_info=CollaborationInfo(Service("o"), "scheme::document", "c")
        ),
        replace(
            MESSAGE, collaboration_info=CollaborationInfo(Service("process"), "scheme::other", "c")
        ),
        TEST_ERRAND,
    ],
    ids=[
        "sender",
        "recipient",
        "no sender",
        "no recipient",
        "neither",
        "service",
        "action",
        "test",
    ],
)
def test_for_somebody_else_or_from_somebody_else_it_is_none(message: UserMessage) -> None:
    assert not is_same_errand(message, ACCEPTED)


def test_of_what_no_station_got_the_kind_is_compared() -> None:
    tested = {**ACCEPTED, "original_sender": "", "standard": TEST_SERVICE}
    refused = {**ACCEPTED, "original_sender": ""}
    assert is_same_errand(TEST_ERRAND, tested)
    assert is_same_errand(MESSAGE, refused)
    assert not is_same_errand(MESSAGE, tested)
    assert not is_same_errand(TEST_ERRAND, refused)
