"""What must be true when the exchange is over, each thing checked against what the nodes and the network hold.

Nothing is taken from the timeline: the stores of both organisations, the files their backends got and the
reports at the status component are asked anew.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from accesspoint.delivery.auditevent import check_audit_event

Json = dict[str, Any]

EVENTS_TOGETHER: Final = 16
EVENTS_APART: Final = 32


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was verified, or was not: the sentence, and the problem that names the culprit."""

    text: str
    held: bool
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Exchange:
    """Everything gathered about one exchange.

    `sender` and `receiver` hold, per message identifier, what the nodes of both sides tell; `received` is
    what the receiver's backend got, and `answered` what the sender's did; `reports` are the delivery events
    in the order of arrival.
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


def verify(exchange: Exchange) -> Iterator[Check]:
    """Go through the exchange in the order it happened; every check is made, whatever came before."""
    yield from _verify_transport(exchange)
    yield from _verify_content(exchange)
    yield from _verify_acknowledgements(exchange)
    yield from _verify_events(exchange)


def _verify_transport(exchange: Exchange) -> Iterator[Check]:
    out = [
        e
        for e in _exchanges(exchange.sender, exchange.message_identifier)
        if e["direction"] == "out"
    ]
    acknowledged = bool(out) and all(e["state"] == "ACKNOWLEDGED" for e in out)
    yield Check(
        "AS4: the sender holds a verified non-repudiation receipt", acknowledged, "receipt-missing"
    )
    signer = out[0]["receipt"]["signer"] if acknowledged and out[0]["receipt"] else ""
    yield Check(
        f"AS4: the receipt was signed by the certificate the SMP named ({exchange.signer[:16]}…)",
        bool(signer) and signer == exchange.signer,
        "receipt-signer",
    )
    taken = [
        e
        for e in _exchanges(exchange.receiver, exchange.message_identifier)
        if e["direction"] == "in"
    ]
    yield Check(
        "AS4: the receiver stored the message once and handed it on",
        len(taken) == 1 and taken[0]["state"] == "DELIVERED",
        "delivery-failed",
    )
    same = bool(out) and bool(taken) and out[0]["payload_sha256"] == taken[0]["payload_sha256"]
    yield Check("AS4: the envelope arrived byte for byte", same, "payload-changed")


def _verify_content(exchange: Exchange) -> Iterator[Check]:
    arrived = exchange.received is not None and exchange.received == exchange.sent
    digest = hashlib.sha256(exchange.sent).hexdigest()[:16]
    yield Check(
        f"EUA: the receiver's backend has the message byte for byte (SHA-256 {digest}…)",
        arrived,
        "payload-changed",
    )
    yield Check("EUA: the sender's backend has the FHIR Acknowledgement", exchange.answered is not None,
                "fhir-acknowledgement-missing")  # fmt: skip


def _verify_acknowledgements(exchange: Exchange) -> Iterator[Check]:
    answer = exchange.acknowledgement
    for name, node, identifier, problem in (
        ("MSH: the SBDH acknowledgement of the message is positive", exchange.sender, exchange.message_identifier,
         "acknowledgement-missing"),
        ("MSH: the SBDH acknowledgement of the FHIR Acknowledgement is positive", exchange.receiver, answer,
         "acknowledgement-missing"),
    ):  # fmt: skip
        found = [
            e["acknowledgement"]
            for e in (node.get(identifier or "") or {}).get("envelopes", [])
            if e["direction"] == "out"
        ]
        yield Check(name, found == ["positive"], problem)
    outcome = [
        d["acknowledgement"]
        for d in (exchange.sender.get(exchange.message_identifier) or {}).get("documents", [])
        if d["direction"] == "out"
    ]
    yield Check(
        "EUA: the FHIR Acknowledgement says ok", outcome == ["ok"], "fhir-acknowledgement-missing"
    )


def _verify_events(exchange: Exchange) -> Iterator[Check]:
    count, expected = len(exchange.reports), exchange.expected_events
    yield Check(
        f"EDS: {count} of {expected} delivery events arrived, none twice",
        count == expected,
        "event-missing",
    )
    faults = Counter(fault for report in exchange.reports for fault in check_audit_event(report))
    yield Check(
        "EDS: every event holds element by element", not faults and count > 0, "status-refused"
    )
    failed = [report for report in exchange.reports if report["outcome"] != "0"]
    yield Check("EDS: every event says success", not failed and count > 0, "event-failed")


def _exchanges(node: Json, identifier: str) -> list[Json]:
    found: list[Json] = (node.get(identifier) or {}).get("exchanges", [])
    return found
