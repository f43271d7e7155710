"""RPL: the same message again, in every way in which it can come again."""

from typing import Final

from tests.hostile.cases import Case

CASES: Final = (
    Case(
        "RPL-01",
        "The octets of an accepted message are posted again",
        expected="the stored receipt octet for octet, one delivery, the log says as4.in.duplicate",
    ),
    Case(
        "RPL-02",
        "The same sender uses an accepted MessageId for other content",
        "G7",
        "duplicate.content",
        "EBMS:0003",
        "an error in the log and an alarm in the journal; the message accepted first is untouched",
    ),
    Case(
        "RPL-03",
        "Another trusted party uses a MessageId that is taken",
        expected="both are accepted: what is remembered is the authenticated sender with its MessageId",
    ),
    Case(
        "RPL-04",
        "A hundred copies at once, at two processes on one database",
        expected="one message, one delivery, a hundred equal receipts",
    ),
    Case(
        "RPL-05",
        "A new MessageId around business identifiers that are known, in all four combinations",
        expected="both new: delivered; both known: ignored and acknowledged as before; message known: "
        "the first acknowledgement again under a new identifier; envelope known: negative acknowledgement",
    ),
    Case(
        "RPL-06",
        "A MessageId that can be spelt in two ways: spaces, brackets, other scripts",
        "G4",
        "header.messageid",
        "EBMS:0009",
        "ids that differ in case only are two messages, since ids are compared octet for octet",
    ),
    Case(
        "RPL-07",
        "The same message after a restart, and at another node",
        expected="as RPL-01: the receipt of the first time",
    ),
    Case(
        "RPL-08",
        "The same message after its payload was let go of",
        expected="as RPL-01: MessageId and receipt outlive the payload",
    ),
    Case(
        "RPL-09",
        "A message to one access point is posted to another",
        "G7",
        "enc.failed",
        "EBMS:0102",
        "it was encrypted for another key, which shows before its address does; encrypted for us it ends "
        "at G10 with pmode.to",
    ),
    Case(
        "RPL-10",
        "The same message after the sender's certificate was revoked",
        "G6",
        "cert.revoked",
        "EBMS:0101",
    ),
    Case(
        "RPL-11",
        "An honest repetition with its first time, 20 hours old",
        expected="accepted: a retry carries the signed times of the first attempt",
    ),
    Case(
        "RPL-12",
        "MessageIds are configured to be forgotten before the last repetition can come",
        expected="the node does not start; a message dated beyond what is remembered is refused at G6 "
        "with ts.expired",
    ),
)
