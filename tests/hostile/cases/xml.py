"""XML parsing: what another parser would expand, fetch, or read in a second way."""

from typing import Final

from tests.hostile.cases import Case

DOCTYPE: Final = ("G3", "xml.doctype", "HTTP 400")
ENCODING: Final = ("G3", "xml.encoding", "HTTP 400")
INERT: Final = "legal in a header that nobody must understand: accepted, and nothing is opened or fetched for it"

CASES: Final = (
    Case("XML-01", "A document type declaration, also an empty one, also in lower case", *DOCTYPE),
    Case("XML-02", "A document type or an entity that names a file or a page", *DOCTYPE),
    Case("XML-03", "A parameter entity that names a page", *DOCTYPE),
    Case("XML-04", "Entities that contain each other ten times over", *DOCTYPE),
    Case("XML-05", "One large entity that is used ten thousand times", *DOCTYPE),
    Case("XML-06", "An entity in the default of an attribute", *DOCTYPE),
    Case("XML-07", "A declared default gives an element an id that it does not bear", *DOCTYPE),
    Case("XML-08", "An XInclude of a file or a page", expected=INERT),
    Case("XML-09", "A stylesheet instruction", "G3", "xml.pi", "HTTP 400"),
    Case("XML-10", "A schema location that names a page", expected=INERT),
    Case("XML-11", "UTF-16, UTF-32, UTF-7, EBCDIC, Latin 1, a byte order mark, octets that are no UTF-8", *ENCODING),
    Case("XML-12", "XML 1.1", "G3", "xml.version", "HTTP 400"),
    Case(
        "XML-13",
        "NUL, control characters, U+FFFE, lone surrogates, raw or as references",
        *("G3", "xml.syntax", "HTTP 400"),
        expected="a raw surrogate is no UTF-8: xml.encoding",
    ),
    Case("XML-14", "References to CR, LF and tab in an identifier", "G4", "header.messageid", "EBMS:0009"),
    Case("XML-15", "Elements 70, 300 and 60,000 deep", "G3", "xml.limits", "HTTP 400"),
    Case(
        "XML-16",
        "A text or an attribute of millions of octets",
        *("G2", "mime.root", "HTTP 413"),
        expected="the SOAP part ends at its size before anything is parsed; the scan alone refuses 11 MB as xml.limits",
    ),
    Case(
        "XML-17",
        "Millions of elements",
        *("G2", "mime.root", "HTTP 413"),
        expected="beyond 1 MiB by size, within it as xml.limits; the scan alone refuses two million as xml.limits",
    ),
    Case(
        "XML-18",
        "xml:base, xml:space and xml:lang on the elements of the security header",
        expected="accepted: nothing looks at them",
    ),
)  # fmt: skip
