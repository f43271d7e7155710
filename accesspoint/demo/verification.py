"""What must be true when the exchange is over, each thing checked against what the nodes and the network hold.

Nothing is taken from the timeline: the stores of both organisations, the files their backends got and the
reports at the status component are asked anew. A check of something that could not happen, since what it
depends on had already failed, is not called failed: it was not reached.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from accesspoint.delivery.auditevent import check_audit_event
from accesspoint.problems import find_problem

Json = dict[str, Any]

EVENTS_TOGETHER: Final = 16
EVENTS_APART: Final = 32
COPY_TOGETHER: Final = 2
COPY_APART: Final = 6


def expected_events(*, apart: bool, shared: bool) -> int:
    """The delivery events of a full exchange; a copy to the document register adds the sender's for it."""
    if apart:
        return EVENTS_APART + (COPY_APART if shared else 0)
    return EVENTS_TOGETHER + (COPY_TOGETHER if shared else 0)


class Result(StrEnum):
    """What a check came to."""

    HELD = "held"
    FAILED = "failed"
    NOT_REACHED = "not reached"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was verified, or was not: the sentence, and the problem that names the culprit."""

    text: str
    result: Result
    problem: str

    @classmethod
    def of(cls, text: str, problem: str, *, held: bool, reached: bool = True) -> "Check":
        """Make a check; what did not hold because it was never reached is no failure."""
        missed = Result.FAILED if reached else Result.NOT_REACHED
        return cls(text, Result.HELD if held else missed, problem)

    @property
    def held(self) -> bool:
        """Whether it was verified."""
        return self.result is Result.HELD

    @property
    def failed(self) -> bool:
        """Whether it was reached and did not hold."""
        return self.result is Result.FAILED


@dataclass(frozen=True, slots=True)
class Copy:
    """What the document register has of a message: its participant, and per copy the SHA-256 and what is wrong."""

    register: str
    held: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True)
class Exchange:
    """Everything gathered about one exchange.

    `sender` and `receiver` hold, per message identifier, what the nodes of both sides tell; `received` is
    what the receiver's backend got, and `answered` what the sender's did; `reports` are the delivery events
    in the order of arrival; `stopped` says where the message came to its end, when it did. `signer` is the
    fingerprint of the receiver's signing certificate, which is the one that is published only where one key does both.
    """

    message_identifier: str
    sent: bytes
    received: bytes | None
    answered: bytes | None
    sender: Json
    receiver: Json
    reports: Sequence[Json]
    expected_events: int
    acknowledgement: str | None
    signer: str
    stopped: str | None = None
    signer_published: bool = True
    copy: Copy | None = None


def verify(exchange: Exchange) -> Iterator[Check]:
    """Go through the exchange in the order it happened; every check is made, whatever came before."""
    checks = [*_verify_transport(exchange)]
    taken = bool(_exchanges(exchange.receiver, exchange.message_identifier, "in"))
    checks += _verify_content(exchange, taken=taken)
    checks += _verify_acknowledgements(exchange, taken=taken)
    checks += _verify_copy(exchange)
    first = next((check for check in checks if check.failed), None)
    yield from checks
    yield from _verify_events(exchange, first)


def _verify_transport(exchange: Exchange) -> Iterator[Check]:
    out = _sent(exchange, exchange.sender, exchange.message_identifier)
    acknowledged = bool(out) and all(e["outcome"] == "ACKNOWLEDGED" for e in out)
    yield Check.of(
        "AS4: the sender holds a verified non-repudiation receipt",
        "receipt-missing",
        held=acknowledged,
    )
    signer = out[0]["receipt"]["signer"] if acknowledged and out[0]["receipt"] else ""
    whose = "the certificate" if exchange.signer_published else "the access point"
    yield Check.of(
        f"AS4: the receipt was signed by {whose} the SMP named ({exchange.signer[:16]}…)",
        "receipt-signer",
        held=bool(signer) and signer == exchange.signer,
        reached=acknowledged,
    )
    taken = _exchanges(exchange.receiver, exchange.message_identifier, "in")
    yield Check.of(
        "AS4: the receiver stored the message once and handed it on",
        "delivery-failed",
        held=len(taken) == 1 and taken[0]["state"] == "DELIVERED",
        reached=acknowledged or bool(taken),
    )
    same = bool(out) and bool(taken) and out[0]["payload_sha256"] == taken[0]["payload_sha256"]
    yield Check.of(
        "AS4: the envelope arrived byte for byte", "payload-changed", held=same, reached=bool(taken)
    )


def _verify_content(exchange: Exchange, *, taken: bool) -> Iterator[Check]:
    received = exchange.received is not None
    digest = hashlib.sha256(exchange.sent).hexdigest()[:16]
    yield Check.of(
        f"EUA: the receiver's backend has the message byte for byte (SHA-256 {digest}…)",
        "payload-changed",
        held=received and exchange.received == exchange.sent,
        reached=received or taken,
    )
    yield Check.of(
        "EUA: the sender's backend has the FHIR Acknowledgement",
        "fhir-acknowledgement-missing",
        held=exchange.answered is not None,
        reached=received,
    )


def _verify_acknowledgements(exchange: Exchange, *, taken: bool) -> Iterator[Check]:
    answer = exchange.acknowledgement
    for name, node, identifier, reached in (
        ("the message", exchange.sender, exchange.message_identifier, taken),
        ("the FHIR Acknowledgement", exchange.receiver, answer, answer is not None),
    ):
        found = [
            e["acknowledgement"]
            for e in (node.get(identifier or "") or {}).get("envelopes", [])
            if e["direction"] == "out" and not _is_copy(exchange, e)
        ]
        yield Check.of(
            f"MSH: the SBDH acknowledgement of {name} is positive",
            "acknowledgement-missing",
            held=found == ["positive"],
            reached=reached,
        )
    outcome = [
        d["acknowledgement"]
        for d in (exchange.sender.get(exchange.message_identifier) or {}).get("documents", [])
        if d["direction"] == "out"
    ]
    yield Check.of(
        "EUA: the FHIR Acknowledgement says ok",
        "fhir-acknowledgement-missing",
        held=outcome == ["ok"],
        reached=exchange.answered is not None,
    )


def _verify_copy(exchange: Exchange) -> Iterator[Check]:
    """The copy at the document register: of a message that was not acknowledged there is none."""
    if exchange.copy is None:
        return
    envelopes = (exchange.sender.get(exchange.message_identifier) or {}).get("envelopes", [])
    copies = [e["acknowledgement"] for e in envelopes if _is_copy(exchange, e)]
    digest = hashlib.sha256(exchange.sent).hexdigest()
    held = exchange.copy.held
    yield Check.of(
        "EMR: the document register has the message once, byte for byte, with metadata of its own",
        "sharing-missing",
        held=held == ((digest, None),),
        reached=bool(held) or bool(copies),
    )
    yield Check.of(
        "MSH: the SBDH acknowledgement of the copy is positive",
        "acknowledgement-missing",
        held=copies == ["positive"],
        reached=bool(held),
    )


def _is_copy(exchange: Exchange, told: Json) -> bool:
    """Whether an envelope or an exchange went to the document register."""
    if exchange.copy is None:
        return False
    return exchange.copy.register in (told.get("receiver"), told.get("final_recipient"))


def _verify_events(exchange: Exchange, first: Check | None) -> Iterator[Check]:
    """The delivery events; of an exchange that stopped at the check `first`, those to come are not reached."""
    count, expected = len(exchange.reports), exchange.expected_events
    total = f"EDS: {count} of {expected} delivery events"
    if first is None:
        text = f"{total} arrived, none twice"
    else:
        title = find_problem(first.problem).title
        text = (
            f"{total}: the message stopped {exchange.stopped}"
            if exchange.stopped
            else f"{total}: the exchange stopped, {title[0].lower()}{title[1:]}"
        )
    yield Check.of(
        text,
        "event-missing",
        held=first is None and count == expected,
        reached=first is None or count > expected,
    )
    faults = Counter(fault for report in exchange.reports for fault in check_audit_event(report))
    yield Check.of(
        "EDS: every event holds element by element",
        "status-refused",
        held=not faults and count > 0,
        reached=count > 0,
    )
    failed = [report for report in exchange.reports if report["outcome"] != "0"]
    yield Check.of(
        "EDS: every event says success",
        "event-failed",
        held=first is None and not failed and count > 0,
        reached=bool(failed),
    )


def _sent(exchange: Exchange, node: Json, identifier: str) -> list[Json]:
    """The exchanges in which the message itself was sent, without its copy."""
    return [one for one in _exchanges(node, identifier, "out") if not _is_copy(exchange, one)]


def _exchanges(node: Json, identifier: str, direction: str) -> list[Json]:
    found: list[Json] = (node.get(identifier) or {}).get("exchanges", [])
    return [one for one in found if one["direction"] == direction]
