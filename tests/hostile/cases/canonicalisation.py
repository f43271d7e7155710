"""Structure bombs: documents that parse in milliseconds and would be canonicalised for minutes."""

from typing import Final

from tests.hostile.cases import Case

LIMITS: Final = ("G3", "xml.limits", "HTTP 400")

CASES: Final = (
    Case("C14-01", "60,000 attributes on one element; a hundred thousand to the scan alone", *LIMITS),
    Case("C14-02", "20,000 qualified attributes", *LIMITS),
    Case("C14-03", "3,000 namespaces above thousands of children", *LIMITS),
    Case("C14-04", "A PrefixList of 2,000 names above 20,000 children", *LIMITS),
    Case("C14-05", "A bomb in a Transform of SignedInfo, where it would go off before any key is looked at", *LIMITS),
    Case("C14-06", "A bomb in an unknown header that nobody signed", *LIMITS),
    Case("C14-07", "A bomb in the header of the business document", "G10", "sbd.limits", "EBMS:0004"),
    Case(
        "C14-08",
        "A bomb in the answer to our message, or of a service metadata publisher",
        expected="no receipt: the message is tried again and then uncertain; no metadata: nothing is sent",
    ),
)  # fmt: skip
