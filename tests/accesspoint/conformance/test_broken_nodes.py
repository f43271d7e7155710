"""Every case of the Common Profile can fail: one deliberately broken node, or more, for each assertion.

A node is broken in its own parts where it has one for the matter, and else where its octets leave it. A case that
would end in an error of the kit has not seen the fault: only `fail` counts.
"""

import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import pytest
from lxml import etree

from accesspoint.clock import timestamp
from accesspoint.conformance.assertion import Level, catalogue
from accesspoint.conformance.author import Author
from accesspoint.conformance.case import Status
from accesspoint.conformance.reading import Message, Q
from accesspoint.conformance.runner import run_one
from accesspoint.inbound import receiver
from accesspoint.outbound import sender
from accesspoint.outbound.answers import Outcome, Verdict
from accesspoint.store import outcomes
from envelope import names, parts, soap
from envelope.codes import CODES, DELIVERY_FAILURE
from envelope.mime import MultipartWriter, OutboundPart
from envelope.signals import build_error_messaging
from envelope.wsse import WireIds

from .conftest import BreakableTarget

Break = Callable[[BreakableTarget, pytest.MonkeyPatch], None]
SOAP = "application/soap+xml; charset=UTF-8"

pytestmark = pytest.mark.slow


# Answers


def always_answers(change: Callable[[Message, Message], Message]) -> Break:
    return lambda target, patch: target.answer(change)


def with_error(request: Message, answer: Message) -> Message:
    """What a node answers that does not take the message."""
    ids = WireIds.new(uuid.uuid4().hex)
    messaging = build_error_messaging(
        message_id=f"{uuid.uuid4()}@broken.invalid",
        timestamp=timestamp(datetime.now(UTC)),
        ref_to_message_id=None,
        errors=[CODES["EBMS:0004"]],
        messaging_id=ids.messaging,
    )
    return Message(SOAP, soap.write_envelope(messaging, soap.write_body(ids.body)), 200)


def with_nothing(request: Message, answer: Message) -> Message:
    return Message("text/plain", b"", 500)


def without_signature(request: Message, answer: Message) -> Message:
    return edited(answer, lambda root: drop(root, names.WSSE, "Security"))


def receipts_anything(target: BreakableTarget, patch: pytest.MonkeyPatch) -> None:
    """A node that takes whatever comes, with a receipt that holds."""
    author = target.author
    node = Author(target.node.identity.signer, author.to_party, author.recipient, author.party)
    target.answer(lambda request, answer: Message(SOAP, node.receipt(request), 200))


def receipts_of_old(target: BreakableTarget, patch: pytest.MonkeyPatch) -> None:
    """A node that answers everything with its first receipt."""
    first: list[Message] = []

    def old(request: Message, answer: Message) -> Message:
        first.append(answer)
        return first[0]

    target.answer(old)


# Requests


def forges(change: Callable[[Any], None], *, from_number: int = 0) -> Break:
    """A node that writes its SOAP part so."""

    def broken(target: BreakableTarget, patch: pytest.MonkeyPatch) -> None:
        target.forge = lambda request, number: (
            edited(request, change) if number >= from_number else request
        )

    return broken


def edited(message: Message, change: Callable[[Any], None]) -> Message:
    """The same message with another SOAP part; changing nothing would test nothing."""
    root = etree.fromstring(message.mime[0].octets)
    before = etree.tostring(root)
    change(root)
    octets = etree.tostring(root)
    assert octets != before, "the node is not broken"
    if not message.payloads:
        return replace(message, body=octets)
    writer = MultipartWriter(f"=_{uuid.uuid4().hex}", "root@broken.invalid", octets)
    pieces = [writer.opening()]
    for part in message.payloads:
        head = OutboundPart(part.content_id, part.fields["content-type"], len(part.octets))
        pieces += [writer.head(head), part.octets]
    return replace(
        message, content_type=writer.content_type(), body=b"".join([*pieces, writer.tail()])
    )


def found(root: Any, namespace: str, local: str) -> Any:
    return next(root.iter(Q(namespace, local)))


def drop(root: Any, namespace: str, local: str) -> None:
    element = found(root, namespace, local)
    element.getparent().remove(element)


def says(local: str, text: str, namespace: str = names.EB) -> Callable[[Any], None]:
    def change(root: Any) -> None:
        found(root, namespace, local).text = text

    return change


def property_says(name: str, text: str) -> Callable[[Any], None]:
    def change(root: Any) -> None:
        for one in root.iter(Q(names.EB, "Property")):
            if one.get("name") == name:
                one.text = text

    return change


def algorithm(namespace: str, local: str, uri: str) -> Callable[[Any], None]:
    def change(root: Any) -> None:
        for one in root.iter(Q(namespace, local)):
            one.set("Algorithm", uri)

    return change


def key_transport(namespace: str, local: str, uri: str) -> Callable[[Any], None]:
    def change(root: Any) -> None:
        algorithm(namespace, local, uri)(found(root, names.XENC, "EncryptedKey"))

    return change


def second_party(root: Any) -> None:
    one = found(root, names.EB, "PartyId")
    one.addnext(etree.fromstring(etree.tostring(one)))


def content_in_body(root: Any) -> None:
    etree.SubElement(found(root, names.S12, "Body"), "TEST")


def body_unsigned(root: Any) -> None:
    references = list(root.iter(Q(names.DS, "Reference")))
    references[1].getparent().remove(references[1])


def key_for_nobody(root: Any) -> None:
    found(root, names.XENC, "CipherValue").text = "AAAA"


# The node's own parts


def delivers(change: Callable[[list[bytes]], list[bytes]], *, times: int = 1) -> Break:
    """A node that gives something else to its consumer than it got, or not once."""

    def broken(target: BreakableTarget, patch: pytest.MonkeyPatch) -> None:
        deliver = target.node.deliver

        async def deliver_so(message: Any, payloads: list[bytes]) -> None:
            for _ in range(times):
                target.node._delivered.clear()
                await deliver(message, change(payloads))

        patch.setattr(target.node, "deliver", deliver_so)

    return broken


def sends_in_reverse(target: BreakableTarget, patch: pytest.MonkeyPatch) -> None:
    pack = target.node._pack
    patch.setattr(target.node, "_pack", lambda given: pack(replace(given, parts=given.parts[::-1])))


def delivers_pings(target: BreakableTarget, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(receiver, "is_test_service", lambda message: False)
    patch.setattr(target.node, "takes", lambda message: True)


def tells_no_refusal(target: BreakableTarget, patch: pytest.MonkeyPatch) -> None:
    async def silent(message_id: str, error: object) -> None:
        return None

    patch.setattr(target.node, "tell_refused", silent)


def believes_no_receipt(target: BreakableTarget, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sender, "judge", lambda *_, **__: Verdict(Outcome.RETRY, "receipt-invalid"))


def calls_everything_failed(target: BreakableTarget, patch: pytest.MonkeyPatch) -> None:
    wrong = dict.fromkeys(outcomes._RAISED, DELIVERY_FAILURE)
    patch.setattr(outcomes, "_RAISED", MappingProxyType(wrong))


def compresses_nothing(target: BreakableTarget, patch: pytest.MonkeyPatch) -> None:
    class Stored:
        def compress(self, data: bytes) -> bytes:
            return data

        def finish(self) -> bytes:
            return b""

    patch.setattr(parts, "Compressor", Stored)


BROKEN: list[tuple[str, str, Break]] = [
    ("TA01", "answers with 500", always_answers(with_nothing)),
    ("TA01", "signs no receipt", always_answers(without_signature)),
    ("TA02", "replies to another message", forges(says("RefToMessageId", "x@broken.invalid"))),
    ("TA03", "names two senders", forges(second_party)),
    ("TA04", "takes no uncompressed payload", always_answers(with_error)),
    ("TA04", "delivers nothing", delivers(list, times=0)),
    ("TA05", "puts content into the body", forges(content_in_body)),
    ("TA06", "names the document last", sends_in_reverse),
    ("TA07", "loses the last part", delivers(lambda given: [*given[:-1], b""])),
    ("TA08", "takes a link", receipts_anything),
    ("TA09", "gives repetitions a new id", forges(says("MessageId", "x@broken.invalid"), from_number=1)),
    ("TA10", "delivers twice", delivers(list, times=2)),
    ("TA12", "signs with RSA-SHA1", forges(algorithm(names.DS, "SignatureMethod", "http://www.w3.org/2000/09/xmldsig#rsa-sha1"))),
    ("TA12", "leaves the body unsigned", forges(body_unsigned)),
    ("TA12", "changes the header after signing", forges(says("ConversationId", "changed"))),
    ("TA13", "encrypts with CBC", forges(algorithm(names.XENC, "EncryptionMethod", "http://www.w3.org/2001/04/xmlenc#aes128-cbc"))),
    ("TA13", "wraps the key with SHA-1", forges(key_transport(names.DS, "DigestMethod", "http://www.w3.org/2000/09/xmldsig#sha1"))),
    ("TA13", "wraps the key with MGF1 of SHA-1", forges(key_transport(names.XENC11, "MGF", names.MGF1_SHA1))),
    ("TA13", "encrypts for somebody else", forges(key_for_nobody)),
    ("TA14", "answers a reply with 500", always_answers(with_nothing)),
    ("TA15", "calls it a failed delivery", calls_everything_failed),
    ("TA16", "pings with another action", forges(says("Action", "ping"))),
    ("TA17", "delivers pings", delivers_pings),
    ("TA19", "begins a new conversation", forges(says("ConversationId", "new"))),
    ("TA20", "takes no typed properties", always_answers(with_error)),
    ("TA21", "gives one receipt for all", receipts_of_old),
    ("TA22", "believes no receipt", believes_no_receipt),
    ("TA23", "compresses nothing", compresses_nothing),
    ("TA24", "names another compression", forges(property_says("CompressionType", "application/zip"))),
    ("TA25", "forgets the types", forges(property_says("MimeType", "application/octet-stream"))),
    ("TA26", "needs no MimeType", receipts_anything),
    ("TA27", "calls it UTF-8", forges(property_says("CharacterSet", "UTF-8"))),
    ("TA28", "calls it ISO-8859-1", forges(property_says("CharacterSet", "ISO-8859-1"))),
    ("TA29", "takes any character set", receipts_anything),
    ("TA30", "takes damaged gzip", receipts_anything),
    ("TA30", "has another code for it", always_answers(with_error)),
    ("TA31", "tells the consumer nothing", tells_no_refusal),
    ("TA32", "delivers the archive", delivers(lambda given: [b"\x1f\x8b" + one for one in given])),
    ("TA33", "mixes the payloads up", delivers(lambda given: given[::-1])),
    ("TA34", "insists on encryption", always_answers(with_error)),
    ("TA35", "checks no digest", receipts_anything),
    ("TA36", "takes nothing encrypted", always_answers(with_error)),
    ("TA37", "checks no tag", receipts_anything),
    ("TA38", "takes not all three", always_answers(with_error)),
    ("TA44", "takes no typed part properties", always_answers(with_error)),
    ("TA45", "reverses the order", sends_in_reverse),
]  # fmt: skip


@pytest.mark.parametrize(
    ("id_", "broken"),
    [pytest.param(id_, broken, id=f"{id_} {what}") for id_, what, broken in BROKEN],
)
async def test_a_broken_node_fails(
    ourselves: BreakableTarget, monkeypatch: pytest.MonkeyPatch, id_: str, broken: Break
) -> None:
    broken(ourselves, monkeypatch)
    result = await run_one(ourselves, catalogue()[f"AS4_CP_{id_}"])
    assert result.status is Status.FAIL, (result.reason, result.seen)
    assert result.expected
    assert result.seen
    assert result.exchanged, "nothing was attached"


def test_every_assertion_has_a_broken_node() -> None:
    tls = {f"AS4_CP_TA{number}" for number in range(39, 44)}
    testable = {
        one.id
        for one in catalogue().values()
        if one.group == "Common Profile" and one.level is not Level.NOT_TESTABLE
    }
    assert {f"AS4_CP_{id_}" for id_, _, _ in BROKEN} == testable - tls
