"""XML signature wrapping: what was signed is still there and still verifies, but another thing would be read."""

from typing import Final

from tests.hostile.cases import Case

COVERAGE: Final = ("G5", "sig.coverage", "EBMS:0101")
DUPLICATE: Final = ("G5", "id.duplicate", "EBMS:0101")
SCHEMA: Final = ("G5", "sec.schema", "EBMS:0101")
CARDINALITY: Final = ("G4", "soap.cardinality", "EBMS:0009")
REFERENCE: Final = ("G5", "sig.reference", "EBMS:0101")

CASES: Final = (
    Case("XSW-01", "The signed Body moves into a wrapper, an unsigned one takes its place", *COVERAGE),
    Case("XSW-02", "The signed Messaging moves under an unknown header, a forged one takes its place", *COVERAGE),
    Case("XSW-03", "The forged Messaging has the id of the signed one and stands before it", *DUPLICATE),
    Case("XSW-04", "The forged Messaging has the id of the signed one and stands after it", *DUPLICATE),
    Case(
        "XSW-05",
        "The signed Messaging is nested in the forged one",
        *("G4", "header.schema", "EBMS:0009"),
        expected="the schema of the header refuses the nesting before coverage is asked",
    ),
    Case("XSW-06", "The signed Messaging hides in ds:Object, or in ds:KeyInfo", *SCHEMA),
    Case("XSW-07", "The signed Messaging hides as an unknown child of wsse:Security", *SCHEMA),
    Case("XSW-08", "The signed Messaging hides in the SOAP Body", *COVERAGE),
    Case("XSW-09", "Two Messaging headers for different roles, one of them signed", *CARDINALITY),
    Case("XSW-10", "Two Security headers, the signature in the other one", "G5", "sec.cardinality", "EBMS:0101"),
    Case("XSW-11", "Two signatures, one valid and one broken, in both orders", "G5", "sig.cardinality", "EBMS:0101"),
    Case(
        "XSW-12",
        "A wrapper declares a prefix of the signed header anew, by name or through a PrefixList",
        *COVERAGE,
    ),
    Case("XSW-13", "Messaging in a namespace that looks like that of ebMS", "G4", "soap.namespace", "EBMS:0009"),
    Case("XSW-14", "The id of a signed element a second time, each spelling with each other", *DUPLICATE),
    Case("XSW-15", "The signed Timestamp, long expired, moves away; an unsigned fresh one takes its place", *COVERAGE),
    Case("XSW-16", "A second UserMessage in a second, unsigned Messaging", *CARDINALITY),
    Case("XSW-17", "SignedInfo, SignatureValue or DigestValue twice", "G5", "sig.schema", "EBMS:0101"),
    Case(
        "XSW-18",
        "A comment in DigestValue; a comment, instruction or CDATA section that splits an identifier",
        *("G3", "xml.comment", "HTTP 400"),
        expected="instructions are refused as xml.pi, CDATA sections as xml.cdata",
    ),
    Case("XSW-19", "An empty reference URI with the enveloped transform, which leaves out what it hides", *REFERENCE),
    Case("XSW-20", "A reference of type Manifest, whose own references are false", *REFERENCE),
    Case(
        "XSW-21",
        "Octets that a second parser would read otherwise: byte order mark, UTF-16, label, doubled attribute, DOCTYPE",
        *("G3", "xml.encoding", "HTTP 400"),
        expected="a doubled attribute is refused as xml.syntax, a DOCTYPE as xml.doctype",
    ),
    Case(
        "XSW-22",
        "A relative namespace has no canonical form; the digest of nothing is signed",
        *("G6", "c14n.failed", "EBMS:0101"),
        expected="in the Messaging header its schema refuses it before",
    ),
    Case(
        "XSW-23",
        "EncryptedData whose plain text would become a header or the Body; a sibling of an encrypted header",
        *("G5", "enc.placement", "EBMS:0103"),
    ),
)  # fmt: skip
