"""What a repetition may change: a partner that signs its retries anew may write another header around the same parts,
but not for somebody else. Our receipt says that we received what it signed, so it must be what we accepted.
"""

from typing import Final

from accesspoint.store.database import Row
from envelope.messaging import UserMessage
from envelope.selection import is_test_service

TEST_SERVICE: Final = "test-service"


def is_same_errand(message: UserMessage, accepted: Row) -> bool:
    """Whether a message with the parts of an accepted one comes from the same organisation, for the same, as the same.

    Of what no station got only the kind is known.
    """
    if not accepted["original_sender"]:
        return bool(is_test_service(message) == (accepted["standard"] == TEST_SERVICE))
    sender, recipient = message.property("originalSender"), message.property("finalRecipient")
    info = message.collaboration_info
    return bool(
        sender is not None
        and recipient is not None
        and (sender.value, recipient.value, info.service.value)
        == (accepted["original_sender"], accepted["final_recipient"], accepted["process_id"])
        and info.action.endswith(accepted["document_id"])
    )
