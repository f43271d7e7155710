"""What the signature covers: something that must be signed is not, or the signature speaks of other things."""

from typing import Final

from tests.hostile.cases import Case

COVERAGE: Final = ("G5", "sig.coverage", "EBMS:0101")
REFERENCE: Final = ("G5", "sig.reference", "EBMS:0101")

CASES: Final = (
    Case("COV-01", "No Security header", "G5", "sec.missing", "EBMS:0103"),
    Case("COV-02", "A Security header without a signature", "G5", "sig.missing", "EBMS:0103"),
    Case("COV-03", "The Messaging header is not referenced", *COVERAGE),
    Case("COV-04", "The Body, empty as it is, is not referenced", *COVERAGE),
    Case("COV-05", "A payload in the Body", *COVERAGE),
    Case("COV-06", "One of several parts is not referenced, at each place", *COVERAGE),
    Case("COV-07", "A Timestamp that is not signed", *COVERAGE),
    Case(
        "COV-08",
        "A reference to a descendant in place of what must be signed",
        *COVERAGE,
        expected="an id on the UserMessage does not fit the schema: G4 header.schema",
    ),
    Case("COV-09", "A reference to an id that does not exist", *REFERENCE),
    Case("COV-10", "A signature without references", "G5", "sig.schema", "EBMS:0101"),
    Case(
        "COV-11",
        "A reference to http, https, ftp, a file or an XPointer",
        *REFERENCE,
        expected="no connection is made and no file is opened",
    ),
    Case(
        "COV-12",
        "More references than there may be; one target fifty times",
        *("G5", "sig.limits", "EBMS:0101"),
        expected="one target twice is refused as sig.coverage",
    ),
    Case(
        "COV-13",
        "An unsigned receipt or error as the answer to our message, or pushed to us",
        expected="it changes nothing: the message is retried and ends UNCERTAIN, never acknowledged or refused",
    ),
)
