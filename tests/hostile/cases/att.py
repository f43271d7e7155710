"""Attachments: MIME parts and PartInfo elements that do not belong together, and parts that were changed."""

from typing import Final

from tests.hostile.cases import Case

DIGEST: Final = ("G8", "att.digest", "EBMS:0101")

CASES: Final = (
    Case(
        "ATT-01",
        "One octet of a part changed: first, middle, last",
        *("G7", "enc.failed", "EBMS:0102"),
        expected="by whoever holds the content key: G8 att.digest EBMS:0101, since the tag is good",
    ),
    Case("ATT-02", "The octets of two parts change places, the Content-IDs stay", *DIGEST),
    Case("ATT-03", "The Content-IDs of two parts change places, the octets stay", *DIGEST),
    Case("ATT-04", "The parts in another order", expected="legal: accepted with a receipt"),
    Case("ATT-05", "A part more than PartInfo lists", "G8", "att.unlisted", "EBMS:0007"),
    Case("ATT-06", "A listed part is missing", "G8", "att.missing", "EBMS:0007"),
    Case(
        "ATT-07",
        "Two parts with one Content-ID, the root's too",
        *("G4", "att.duplicate", "EBMS:0007"),
        expected="the sender is known by then, so the answer is signed",
    ),
    Case(
        "ATT-08",
        "A Content-ID that differs by case, percent-encoding, brackets, a space or a form of Unicode",
        *("G4", "att.cid", "EBMS:0007"),
        expected="a well-formed Content-ID that is not listed is refused as att.unlisted",
    ),
    Case(
        "ATT-09",
        "PartInfo that leads to a URL, a file, or nowhere",
        *("G4", "att.external", "EBMS:0011"),
        expected="no connection is made and no file is opened",
    ),
    Case("ATT-10", "Two PartInfo elements for one part", "G4", "att.duplicate", "EBMS:0003"),
    Case(
        "ATT-11",
        "Media type and file name of a part changed after signing",
        expected="accepted: nobody signed the headers of a part, so they decide nothing and are passed on to nobody",
    ),
    Case(
        "ATT-12",
        "The transform for a complete attachment, or an unknown one, in place of content only",
        *("G5", "alg.transform", "EBMS:0103"),
    ),
    Case("ATT-13", "Base64 or quoted-printable on a part", "G4", "mime.cte", "EBMS:0007"),
    Case(
        "ATT-14",
        "A compressed part without its media type or with a strange compression; one that says it is and is not",
        *("G4", "gzip.property", "EBMS:0303"),
        expected="plain octets under the name of gzip are refused as G9 gzip.damaged",
    ),
    Case(
        "ATT-15",
        "The start parameter names another part; the SOAP part is not the first",
        *("G4", "mime.start", "EBMS:0007"),
        expected="a first part that is no SOAP is refused as G2 mime.type",
    ),
    Case(
        "ATT-16",
        "A part declared as text or XML, so that the digest would be over another form",
        expected="one rule from signed facts for both directions: compressed parts as they are, XML in canonical form,"
        " text with CRLF, all else as it is",
    ),
    Case(
        "ATT-17",
        "A part without octets; a request of exactly the limit; one octet more",
        *("G1", "http.size", "HTTP 413"),
        expected="the first two are accepted with a receipt",
    ),
)
