"""MIME: framing that two readers could take apart differently, or that never ends."""

from typing import Final

from tests.hostile.cases import Case

HEADERS: Final = ("G2", "mime.headers", "HTTP 400")
BOUNDARY: Final = ("G2", "mime.boundary", "HTTP 400")
UNREAD: Final = "accepted: what is said there decides nothing and is given to nobody"

CASES: Final = (
    Case(
        "MIM-01",
        "More parts than there may be",
        *("G4", "att.limits", "EBMS:0009"),
        expected="listed, the list alone is refused; unlisted, the first of them at G8 as att.unlisted",
    ),
    Case("MIM-02", "Too many part headers, or too long ones", *HEADERS),
    Case("MIM-03", "The end boundary is missing, or cut", "G2", "mime.truncated", "HTTP 400"),
    Case("MIM-04", "A preamble without end", "G2", "mime.preamble", "HTTP 400"),
    Case("MIM-05", "Text or another message after the end boundary", "G2", "mime.epilogue", "HTTP 400"),
    Case(
        "MIM-06",
        "A boundary of no, 71 or thousands of characters, of a pattern's characters, with line ends",
        *BOUNDARY,
        expected="with a line end it is no HTTP header: refused at G1 as http.syntax",
    ),
    Case("MIM-07", "No boundary", *BOUNDARY),
    Case(
        "MIM-08",
        "Lines in a part that begin like the boundary",
        *("G2", "mime.delimiter", "HTTP 400"),
        expected="inside the ciphertext of a part the part has ended too early: refused at G7 as enc.failed",
    ),
    Case("MIM-09", "Bare LF or bare CR as line ends", "G2", "mime.delimiter", "HTTP 400"),
    Case("MIM-10", "A folded part header", expected="accepted: RFC 2045 allows it, and unfolded it is one value"),
    Case("MIM-11", "A multipart in the multipart", "G2", "mime.nested", "HTTP 400"),
    Case(
        "MIM-12",
        "Base64 of a bad length, and storms of white space in it",
        *("G4", "mime.cte", "EBMS:0007"),
        expected="not agreed, the encoding is refused; agreed as a quirk, bad base64 is (tests of the parser)",
    ),
    Case("MIM-13", "A Content-Length in a part", expected=UNREAD),
    Case("MIM-14", "Content-Type or Content-ID twice in one part", *HEADERS),
    Case(
        "MIM-15",
        "File names and character sets in every odd form",
        expected=f"{UNREAD}; a parameter twice is refused at G2 as mime.type",
    ),
    Case("MIM-16", "Cut at every octet of a message", "G2", "mime.truncated", "HTTP 400"),
)  # fmt: skip
