"""RCP: what our sender is answered. Only a receipt that is right in everything makes a message acknowledged."""

from typing import Final

from tests.hostile.cases import Case

_UNCERTAIN = "never acknowledged; tried again, in the end UNCERTAIN with the problem {}"

CASES: Final = (
    Case("RCP-01", "A receipt for another message", expected=_UNCERTAIN.format("receipt-invalid")),
    Case(
        "RCP-02",
        "A receipt is posted for a message that was not sent yet",
        "G10",
        "rcp.other",
        "EBMS:0302",
        "the message waits as before",
    ),
    Case(
        "RCP-03",
        "A receipt of another trusted party",
        expected=_UNCERTAIN.format("receipt-signer") + ", and an error in the log",
    ),
    Case("RCP-04", "A receipt without a signature", expected=_UNCERTAIN.format("receipt-invalid")),
    Case(
        "RCP-05",
        "A receipt with other digests: one, all, more, fewer",
        expected=_UNCERTAIN.format("receipt-digest, or receipt-invalid where references lack")
        + ", and an error in the log",
    ),
    Case(
        "RCP-06",
        "A receipt without NonRepudiationInformation",
        expected=_UNCERTAIN.format("peer-answer"),
    ),
    Case("RCP-07", "A receipt and an error in one", expected=_UNCERTAIN.format("peer-refused")),
    Case("RCP-08", "Two receipts in one", expected=_UNCERTAIN.format("peer-answer")),
    Case(
        "RCP-09",
        "The receipt of an earlier message",
        expected=_UNCERTAIN.format("receipt-invalid"),
    ),
    Case(
        "RCP-10",
        "A receipt by a certificate that was revoked meanwhile",
        expected=_UNCERTAIN.format("receipt-signer"),
    ),
    Case("RCP-11", "An empty answer with status 200", expected=_UNCERTAIN.format("peer-answer")),
    Case(
        "RCP-12",
        "HTML, status 500, a redirect, no content",
        expected=_UNCERTAIN.format("peer-answer, or peer-unavailable for 5xx")
        + "; no redirect is followed",
    ),
    Case(
        "RCP-13",
        "An endless answer, or one that drips",
        expected=_UNCERTAIN.format("peer-answer, or peer-timeout where it drips")
        + "; no more is read than the limit",
    ),
    Case(
        "RCP-14",
        "An error for a message that is acknowledged",
        "G4",
        "soap.cardinality",
        "EBMS:0009",
        "an error is read as the answer to a request only; the message stays acknowledged",
    ),
)
