"""Compression: gzip that grows without measure, or that two readers would unpack differently."""

from typing import Final

from tests.hostile.cases import Case

DAMAGED: Final = ("G9", "gzip.damaged", "EBMS:0303")

CASES: Final = (
    Case(
        "ZIP-01",
        "A bomb: a thousand times its size, or gzip in gzip",
        *("G9", "gzip.limit", "EBMS:0303"),
        expected="gzip in gzip is unpacked once, and is then no document: refused at G10 as sbd.encoding",
    ),
    Case("ZIP-02", "A second gzip member", "G9", "gzip.members", "EBMS:0303"),
    Case("ZIP-03", "Octets after the end", "G9", "gzip.trailing", "EBMS:0303"),
    Case("ZIP-04", "A stream that is cut", "G9", "gzip.truncated", "EBMS:0303"),
    Case("ZIP-05", "A wrong checksum, a wrong length, a reserved block", *DAMAGED),
    Case("ZIP-06", "64 KiB of name or extra field in the header", "G9", "gzip.limit", "EBMS:0303"),
    Case("ZIP-07", "Another format under the name of gzip", *DAMAGED),
)  # fmt: skip
