"""Side channels: what somebody could learn from how, how long or how much we answer."""

from typing import Final

from tests.hostile.cases import Case

CASES: Final = (
    Case(
        "SID-01",
        "Digests, tags and tokens compared octet by octet",
        expected="compared in constant time wherever what is compared is secret or proves something",
    ),
    Case(
        "SID-02",
        "The time of an answer tells whether a party, a MessageId or a decryption was good",
        expected="the same answers; known and unknown take the same way (`python -m tests.hostile.timing` measures)",
    ),
    Case("SID-03", "The size of an answer tells more than its code", expected="answers of one code have one size"),
    Case("SID-04", "The detail of an answer tells a stranger what was wrong", expected="constant texts, nothing beside the code"),
    Case(
        "SID-05",
        "A MessageId of somebody else, asked for by sending it",
        expected="accepted as a message of its own, as any new one: nobody learns that it was used",
    ),
    Case(
        "SID-06",
        "One peer takes all room for connections and requests",
        expected="each address has a share that is less than the whole; others are answered meanwhile",
    ),
)  # fmt: skip
