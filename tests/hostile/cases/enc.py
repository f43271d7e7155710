"""Encryption: parts in clear, keys for somebody else, damaged cipher text, and what our failures tell."""

from typing import Final

from tests.hostile.cases import Case

MISSING: Final = ("G5", "enc.missing", "EBMS:0103")
REFERENCE: Final = ("G5", "enc.reference", "EBMS:0103")
FAILED: Final = ("G7", "enc.failed", "EBMS:0102")

CASES: Final = (
    Case("ENC-01", "Nothing is encrypted where it must be", *MISSING),
    Case("ENC-02", "One of several parts is in clear", *MISSING),
    Case("ENC-03", "The content key is wrapped for somebody else", *FAILED),
    Case(
        "ENC-04",
        "The content key is wrapped for us under somebody else's name",
        *FAILED,
        expected="keys are never tried: the name in the message chooses",
    ),
    Case("ENC-05", "Two EncryptedKey elements", "G5", "enc.schema", "EBMS:0103"),
    Case("ENC-06", "An EncryptedKey that no EncryptedData uses, or that lists none", *REFERENCE),
    Case("ENC-07", "A list that names what does not exist", *REFERENCE, expected="a part that does not exist: enc.missing"),
    Case("ENC-08", "A tag cut to 12, 8, 4, 1 or no octets", *FAILED),
    Case("ENC-09", "A vector cut short or missing", *FAILED),
    Case(
        "ENC-10",
        "A content key or a vector of ours comes twice",
        expected="a million of each are all different, and each packing of a message draws its own",
    ),
    Case("ENC-11", "Every bit of a small encrypted part flipped, one at a time", *FAILED),
    Case(
        "ENC-12",
        "Wrong key, damaged key, other length, damaged part: can the sender tell them apart?",
        *FAILED,
        expected="same code, same text, same length of the answer",
    ),
    Case(
        "ENC-13",
        "Plain text that was released before the tag is checked",
        *FAILED,
        expected="it was in no file but the spool, and in no row, log line or delivery",
    ),
)  # fmt: skip
