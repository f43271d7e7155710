"""A receiver that lies to our sender: no answer but the right receipt makes a message acknowledged.

The receiver is a real server with the clinic's TLS certificate. Retries are short, so that every message
comes to its end: UNCERTAIN when nobody knows, REFUSED when the right party said no (decision D4).
"""

import asyncio
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from as4_liar import Answer, Liar
from as4_peer import SOAP_TYPE, Arrived, answered
from as4_stage import Pki
from attack_rows import row
from lxml import etree

from accesspoint.demo.scenery import CLINIC
from envelope import codes, names
from envelope.codes import EbmsCode, Severity
from envelope.names import q
from envelope.xmldsig import write_signed_reference


async def test_honest_receiver(liar: Liar) -> None:
    """The control: the same stage with an honest clinic, at the first attempt."""
    row = await liar.send(None)
    assert row["state"] == "ACKNOWLEDGED"
    assert len(liar.clinic.arrived) == 1
    (receipt,) = await liar.node.rows("SELECT * FROM receipts WHERE message = $1", row["id"])
    assert (
        receipt["signer"]
        == liar.pki.clinic.certificate.fingerprint(
            liar.pki.clinic.certificate.signature_hash_algorithm
        ).hex()
    )


# Receipts


def receipt(**changes: Any) -> Answer:
    return lambda liar, arrived: answered(liar.clinic.answers.receipt(arrived, **changes))


def bent_receipt(change: Callable[[Arrived], Arrived]) -> Answer:
    return lambda liar, arrived: answered(liar.clinic.answers.receipt(change(arrived)))


def with_references(change: Callable[[tuple[Any, ...]], tuple[Any, ...]]) -> Answer:
    return bent_receipt(lambda arrived: replace(arrived, references=change(arrived.references)))


def changed_digest(number: int) -> Answer:
    def change(references: tuple[Any, ...]) -> tuple[Any, ...]:
        listed = list(references)
        listed[number] = write_signed_reference(listed[number].uri, b"\x00" * 32)
        return tuple(listed)

    return with_references(change)


def changed_algorithm(references: tuple[Any, ...]) -> tuple[Any, ...]:
    first = references[0]
    other = write_signed_reference(first.uri, first.digest_value, names.SHA512)
    return (other, *references[1:])


def signed_by(whom: Callable[[Pki], Any]) -> Answer:
    return lambda liar, arrived: answered(
        liar.clinic.answers.receipt(arrived, signer=whom(liar.pki).signer())
    )


OTHER_MESSAGE = receipt(message_id="another@hostile.example")
OTHER_SIGNER = signed_by(lambda pki: pki.third)
OTHER_DIGEST = changed_digest(0)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        row("RCP-01", OTHER_MESSAGE, "receipt-invalid"),
        row("RCP-04 COV-13", receipt(signed=False), "receipt-invalid"),
        row("RCP-03", OTHER_SIGNER, "receipt-signer"),
        row("RCP-03", signed_by(lambda pki: pki.municipality), "receipt-signer"),
        row("RCP-10", signed_by(lambda pki: pki.revoked), "receipt-signer"),
        (
            signed_by(
                lambda pki: pki.certify(
                    CLINIC.access_point, authority=pki.untrusted_authority
                )
            ),
            "receipt-signer",
        ),
        row("DSC-12", signed_by(lambda pki: pki.namesake(CLINIC.access_point)), "receipt-signer"),
        row("RCP-05", OTHER_DIGEST, "receipt-digest"),
        row("RCP-05", changed_digest(1), "receipt-digest"),
        row("RCP-05", changed_digest(2), "receipt-digest"),
        row("RCP-05", with_references(changed_algorithm), "receipt-digest"),
        row("RCP-05", with_references(lambda references: references[1:]), "receipt-invalid"),
        row("RCP-05", with_references(lambda references: references[:-1]), "receipt-invalid"),
        row("RCP-05", with_references(lambda references: references[:1]), "receipt-invalid"),
        row(
            "RCP-05",
            with_references(
                lambda references: (
                    *references,
                    write_signed_reference("cid:more@hostile.example", b"\1" * 32),
                )
            ),
            "receipt-invalid",
        ),
        row("RCP-05", with_references(lambda references: references * 2), "receipt-invalid"),
    ],
    ids=[
        "for another message", "unsigned", "by a third party", "by ourselves", "revoked",
        "by an untrusted twin", "by a namesake", "Messaging digest", "Body digest",
        "part digest", "digest algorithm", "without Messaging", "without the part",
        "Messaging only", "more", "twice",
    ],
)  # fmt: skip
async def test_false_receipt(liar: Liar, answer: Answer, problem: str) -> None:
    """Somebody else's receipt, or one over other content, is more than a fault of the line: the log calls it an error."""
    mark = liar.log.mark
    await liar.distrusts(answer, problem)
    told = [one for one in liar.log.since(mark) if one["event"] == "as4.out.receipt_false"]
    assert {(one["level"], one["problem"]) for one in told} == (
        {("error", problem)} if problem in {"receipt-signer", "receipt-digest"} else set()
    )


@pytest.mark.attack("RCP-09")
async def test_receipt_of_an_earlier_message(liar: Liar) -> None:
    """A receipt that was good for one message is replayed for the next."""
    await liar.send(None)
    earlier = liar.clinic.answers.receipt(liar.clinic.arrived[0])
    await liar.distrusts(lambda _liar, _arrived: answered(earlier), "receipt-invalid")


def tampered(change: Callable[[Any], None]) -> Answer:
    def answer(liar: Liar, arrived: Arrived) -> web.StreamResponse:
        root = etree.fromstring(liar.clinic.answers.receipt(arrived))
        change(root)
        return answered(etree.tostring(root, encoding="UTF-8", xml_declaration=True))

    return answer


def find(root: Any, namespace: str, local: str) -> Any:
    return next(root.iter(q(namespace, local)))


def later_timestamp(root: Any) -> None:
    find(root, names.EB, "Timestamp").text = "2030-01-01T00:00:00Z"


def moved(root: Any) -> None:
    original = find(root, names.EB, "Messaging")
    forged = deepcopy(original)
    del forged.attrib[q(names.WSU, "Id")]
    original.getparent().replace(original, forged)
    etree.SubElement(forged.getparent(), "{urn:example:wrapper}Wrapper").append(original)


def two_receipts(root: Any) -> None:
    messaging = find(root, names.EB, "Messaging")
    messaging.append(deepcopy(messaging[0]))


def no_information(root: Any) -> None:
    found = find(root, names.EB, "Receipt")
    for child in list(found):
        found.remove(child)
    etree.SubElement(found, "{urn:example:other}Anything")


def with_error(root: Any) -> None:
    signal = find(root, names.EB, "SignalMessage")
    etree.SubElement(
        signal, q(names.EB, "Error"), errorCode="EBMS:0004", severity="failure", shortDescription=""
    )


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (later_timestamp, "receipt-signer"),
        (moved, "receipt-signer"),
        row("RCP-08", two_receipts, "peer-answer"),
        row("RCP-06", no_information, "peer-answer"),
        row("RCP-07", with_error, "peer-refused"),
    ],
)
async def test_tampered_receipt(liar: Liar, change: Callable[[Any], None], problem: str) -> None:
    await liar.distrusts(tampered(change), problem)


# Answers that are no signals


def plain(body: bytes, status: int, content_type: str = "text/html") -> Answer:
    return lambda _liar, _arrived: answered(body, status=status, content_type=content_type)


NAMESPACES = " ".join(f'xmlns:n{n}="urn:n:{n}"' for n in range(2_000))
BOMB = f"<x {NAMESPACES}>{'<y/>' * 20_000}</x>".encode()


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        row("RCP-11", plain(b"", 200, SOAP_TYPE), "peer-answer"),
        row("RCP-11", plain(b"", 200), "peer-answer"),
        (plain(b"", 202), "peer-answer"),
        row("RCP-12", plain(b"", 204), "peer-answer"),
        row("RCP-12", plain(b"<html>All is well</html>", 200), "peer-answer"),
        row("RCP-12", plain(b"<html>Oops</html>", 500), "peer-unavailable"),
        row("RCP-12", plain(b"", 503), "peer-unavailable"),
        (plain(b"", 429), "peer-unavailable"),
        (plain(b"no", 400), "peer-refused"),
        (plain(b"", 404), "peer-refused"),
        (plain(b"not XML", 200, SOAP_TYPE), "peer-answer"),
        (plain(b"<!DOCTYPE x><x/>", 200, SOAP_TYPE), "peer-answer"),
        row("C14-08", plain(BOMB, 200, SOAP_TYPE), "peer-answer"),
        row("RCP-13", plain(b"x" * (2 << 20), 200, SOAP_TYPE), "peer-answer"),
    ],
    ids=[
        "empty SOAP", "empty", "accepted", "no content", "HTML", "HTML 500", "503", "429", "400",
        "404", "not XML", "DOCTYPE", "bomb", "too long",
    ],
)  # fmt: skip
async def test_no_signal(liar: Liar, answer: Answer, problem: str) -> None:
    await liar.distrusts(answer, problem)


@pytest.mark.attack("RCP-12", "DSC-03")
@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirect(liar: Liar, status: int) -> None:
    """A message goes where the agreement says: a redirect is not followed, not even to an honest server."""
    visited = []

    def answer(liar: Liar, arrived: Arrived) -> web.StreamResponse:
        visited.append(arrived.message_id)
        if len(visited) > 1 and visited.count(arrived.message_id) > 20:
            return answered(liar.clinic.answers.receipt(arrived))
        return web.Response(status=status, headers={"Location": liar.clinic.url})

    await liar.distrusts(answer, "peer-answer")


@pytest.mark.attack("RCP-13")
async def test_endless_body(liar: Liar) -> None:
    """Read to its bound and no further, whatever the peer has left to say."""
    sent = []

    async def answer(arrived: Arrived, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": SOAP_TYPE})
        await response.prepare(request)
        try:
            for _ in range(1_000):
                await response.write(b" " * (1 << 18))
                sent.append(1 << 18)
                await asyncio.sleep(0)  # a lost connection is told between two writes only
        except ConnectionError:
            pass
        return response

    await liar.distrusts(answer, "peer-answer")
    attempts = len(liar.clinic.arrived)
    assert sum(sent) < attempts * (32 << 20), "the sender went on reading"


@pytest.mark.attack("RCP-13")
@pytest.mark.parametrize("when", ["before the header", "in the header", "in the body"])
async def test_dripping_answer(liar: Liar, when: str) -> None:
    """One octet every now and then keeps a connection alive for ever; the time for an answer is one time."""

    async def answer(arrived: Arrived, request: web.Request) -> web.StreamResponse:
        transport = request.transport
        assert transport is not None
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/soap+xml\r\n"
        if when == "before the header":
            head = b""
        elif when == "in the body":
            head += b"Content-Length: 100000\r\n\r\n"
        transport.write(head)
        while not transport.is_closing():
            if head:
                transport.write(b"x" if when == "in the body" else b"X-Drip: x\r\n")
            await asyncio.sleep(0.02)
        return web.Response()

    await liar.distrusts(answer, "peer-timeout")
    assert len(liar.clinic.arrived) <= 4


async def test_connection_closed_without_an_answer(liar: Liar) -> None:
    async def answer(arrived: Arrived, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    await liar.distrusts(answer, "peer-timeout")


# Errors


def contradicting(messaging: Any) -> None:
    find(messaging, names.EB, "Error").set("refToMessageInError", "another@hostile.example")


def error(code: EbmsCode, **changes: Any) -> Answer:
    def answer(liar: Liar, arrived: Arrived) -> web.StreamResponse:
        chosen = {"message_id": arrived.message_id, **changes}
        if "whom" in chosen:
            chosen["signer"] = chosen.pop("whom")(liar.pki).signer()
        return answered(liar.clinic.answers.error(code, **chosen))

    return answer


PERMANENT = [
    codes.VALUE_INCONSISTENT,
    codes.INVALID_HEADER,
    codes.PROCESSING_MODE_MISMATCH,
    codes.FAILED_AUTHENTICATION,
    codes.FAILED_DECRYPTION,
    codes.POLICY_NONCOMPLIANCE,
    codes.DECOMPRESSION_FAILURE,
]


@pytest.mark.parametrize("code", PERMANENT, ids=lambda code: code.code)
async def test_signed_permanent_error(liar: Liar, code: EbmsCode) -> None:
    """The right party said no: the end, after one attempt."""
    await liar.distrusts(error(code), "peer-refused", state="REFUSED")
    assert len(liar.clinic.arrived) == 1


CONNECTION_FAILURE = error(codes.CONNECTION_FAILURE)


def warning(messaging: Any) -> None:
    find(messaging, names.EB, "Error").set("severity", Severity.WARNING)


@pytest.mark.parametrize(
    "answer",
    [
        row("COV-13", error(codes.OTHER, signed=False)),
        row("COV-13", error(codes.FAILED_AUTHENTICATION, signed=False)),
        row("COV-13", error(codes.FAILED_AUTHENTICATION, signed=False, message_id=None)),
        error(codes.OTHER, message_id="another@hostile.example"),
        error(codes.INVALID_HEADER, message_id=None),
        error(codes.INVALID_HEADER, change=contradicting),
        error(codes.OTHER, whom=lambda pki: pki.third),
        error(codes.OTHER, whom=lambda pki: pki.namesake(CLINIC.access_point)),
        CONNECTION_FAILURE,
        error(codes.DELIVERY_FAILURE, change=warning),
        error(codes.OTHER, change=warning),
    ],
    ids=[
        "unsigned", "unsigned 0101", "unsigned, names no message", "of another message",
        "names no message", "names two", "by a third party", "by a namesake",
        "connection failure", "not now", "a warning",
    ],
)  # fmt: skip
async def test_error_that_ends_nothing(liar: Liar, answer: Answer) -> None:
    """Not final: unsigned, not about this message, or a thing that may be better next time."""
    await liar.distrusts(answer, "peer-refused")


DUPLICATE_DETECTED = replace(codes.OTHER, code="EBMS:4001", short_description="DuplicateDetected")


async def test_peer_that_answers_a_duplicate_with_an_error(liar: Liar) -> None:
    """The peer has the message and our receipt was lost: nobody may say that it was refused."""

    async def answer(arrived: Arrived, request: web.Request) -> web.StreamResponse:
        if len(liar.clinic.arrived) > 1:
            return error(DUPLICATE_DETECTED)(liar, arrived)
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    row = await liar.send(answer)
    assert (row["state"], row["problem"]) == ("UNCERTAIN", "receipt-missing")


@pytest.mark.parametrize(
    "first",
    [
        row("COV-13", receipt(signed=False)),
        changed_digest(0),
        plain(b"", 503),
        error(codes.CONNECTION_FAILURE),
        error(codes.FAILED_AUTHENTICATION, signed=False),
    ],
    ids=["unsigned receipt", "false digest", "503", "retryable error", "unsigned error"],
)
async def test_honest_at_the_second_attempt(liar: Liar, first: Answer) -> None:
    """No lie spoils the message: the retry carries the same octets and the right receipt still counts."""

    def answer(liar: Liar, arrived: Arrived) -> Any:
        if len(liar.clinic.arrived) == 1:
            return first(liar, arrived)
        return answered(liar.clinic.answers.receipt(arrived))

    row = await liar.send(answer)
    assert row["state"] == "ACKNOWLEDGED"
    bodies = {arrived.body for arrived in liar.clinic.arrived}
    assert len(liar.clinic.arrived) == 2
    assert len(bodies) == 1
