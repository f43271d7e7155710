"""Identifiers, files and headers: names that others wrote, wherever they would be used as something else."""

from typing import Final

from tests.hostile.cases import Case

OWN_NAMES: Final = "files bear names of our own, so a name of theirs reaches no path"

CASES: Final = (
    Case(
        "FIL-01",
        "Paths, NUL, 4 KiB and reserved names as Content-ID, file name, envelope and message identifier",
        expected=f"accepted where the form is legal: {OWN_NAMES}; a message identifier that is no FHIR id is never delivered",
    ),
    Case(
        "FIL-02",
        "A link planted in the folder of deliveries or in the spool",
        expected="not followed: files are made anew, and a name that is taken is left alone",
    ),
    Case("FIL-03", "CR and LF in MessageId, RefToMessageId and cid", "G4", "header.messageid", "EBMS:0009"),
    Case(
        "FIL-04",
        "Bidirectional controls in names that pages show",
        expected="shown as what they are, so that they turn no text around",
    ),
    Case(
        "FIL-05",
        "SQL in every field",
        expected="stored as the text that it is; no statement is put together from values",
    ),
    Case("FIL-06", "Formulas in fields that are exported as CSV", expected="an apostrophe in front: text, not a formula"),
    Case("FIL-07", "HTML in texts that pages show", expected="escaped by the templates, which escape everything"),
    Case(
        "FIL-08",
        "Header names and values of HTTP that are no ASCII",
        *("G1", "http.syntax", "HTTP 400"),
        expected="a value that nobody reads decides nothing: accepted",
    ),
)  # fmt: skip
