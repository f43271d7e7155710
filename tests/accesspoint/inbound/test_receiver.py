"""From request to stored and answered message: one commit, then the receipt; repetitions are answered alike."""

import asyncio
import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import structlog
from as4_parts import GoneSigner
from as4_peer import HttpAnswer, verify_receipt
from as4_wire import Wire, gzip
from loop_calls import called_on_the_loop
from station_parts import RECEIVER, SENDER, THIRD

from accesspoint.aside import LARGE_BYTES
from accesspoint.demo.scenery import MUNICIPALITY
from accesspoint.identity import Agreements
from accesspoint.inbound.refusal import Answer, Intake
from accesspoint.stations.document import Address
from accesspoint.store.database import IntegrityViolation
from accesspoint.store.evidence import find_receipt
from envelope import names
from envelope.errors import (
    DecompressionFailure,
    DeliveryFailure,
    FailedAuthentication,
    Gate,
    MimeInconsistency,
    OtherError,
    ProcessingModeMismatch,
    RemoteProtocolError,
    TransportRefused,
    ValueInconsistent,
    ValueNotRecognized,
)
from envelope.limits import Limits
from envelope.messaging import Party, PartyId, Service, UserMessage
from envelope.pmode import PRESETS
from keys.errors import KeyUnavailable

if TYPE_CHECKING:
    from inbound_parts import Inbound


def http(answer: Answer) -> HttpAnswer:
    return HttpAnswer(answer.status, answer.content_type, answer.body)


async def test_an_accepted_message_is_stored_with_all_it_owes_and_receipted(
    inbound: "Inbound",
) -> None:
    wire = inbound.author.compose()
    intake = Intake("127.0.0.9")
    answer = await inbound.receive(wire, intake=intake)
    assert answer.status == 200
    verify_receipt(http(answer), wire, inbound.pki.clinic.certificate)
    (row,) = await inbound.messages()
    assert (row["direction"], row["state"], row["message_id"]) == (
        "in",
        "RECEIVED",
        wire.message_id,
    )
    assert row["message_identifier"] == wire.message_identifier
    assert row["final_recipient"] == f"0088:{RECEIVER.gln}"
    assert inbound.parts.read(row["payload"]).startswith(b"<")
    assert inbound.parts.files() == 1
    receipt = await inbound.parts.database.read(lambda tx: find_receipt(tx, row["id"]))
    assert receipt == answer.body
    assert len(await inbound.parts.rows("SELECT * FROM duplicates")) == 1
    assert await inbound.parts.events() == [("AP", "msg-received")]
    assert await inbound.parts.journal() == [("AP", "received", None)]
    assert (intake.message_id, intake.size) == (wire.message_id, len(wire.body))
    assert intake.authenticated
    assert inbound.parts.unpublished() == 0


@pytest.mark.parametrize("chunk_bytes", [7, 1024, 1 << 20])
async def test_chunks_may_end_anywhere(inbound: "Inbound", chunk_bytes: int) -> None:
    wire = inbound.author.compose()
    assert (await inbound.receive(wire, chunk_bytes=chunk_bytes)).status == 200


def _with_content(document: bytes, content: bytes) -> bytes:
    return re.sub(rb"(<[^<]*BinaryContent[^>]*>)", rb"\1" + content, document, count=1)


async def test_a_large_document_is_opened_beside_the_loop(inbound: "Inbound") -> None:
    noise = random.Random(1).randbytes(400_000).hex().encode()
    wire = inbound.author.compose(document=lambda data: _with_content(data, noise))
    assert (await inbound.receive(wire)).status == 200
    (row,) = await inbound.messages()
    assert row["payload_bytes"] > 800_000


@pytest.mark.parametrize("kind", ["business", "test"])
async def test_a_part_that_is_large_once_it_is_inflated_goes_aside_too(
    inbound: "Inbound", kind: str
) -> None:
    """200 KiB of gzip, below what is done on the loop if it were not compressed."""
    noise = random.Random(1).randbytes(180 * 1024).hex().encode()
    wire = (
        inbound.author.test_message([noise])
        if kind == "test"
        else inbound.author.compose(document=lambda data: _with_content(data, noise))
    )
    assert 200 * 1024 < len(wire.body) < LARGE_BYTES
    called = await called_on_the_loop(inbound.receive(wire))
    assert not called & {"_open_business_document", "inflate_all", "inflate"}
    small = inbound.author.compose() if kind == "business" else inbound.author.test_message()
    assert "inflate" in await called_on_the_loop(inbound.receive(small))


# Repetitions


async def test_a_repetition_is_answered_with_the_stored_receipt_octet_for_octet(
    inbound: "Inbound",
) -> None:
    wire = inbound.author.compose()
    first = await inbound.receive(wire)
    with structlog.testing.capture_logs() as lines:
        second = await inbound.receive(wire)
    assert (second.body, second.status) == (first.body, 200)
    (row,) = await inbound.messages()
    (line,) = (line for line in lines if line["event"] == "as4.in.duplicate")
    assert (line["message"], line["message_id"]) == (row["id"], row["message_id"])
    assert row["document_id"].startswith("urn:")
    assert inbound.parts.files() == 1


async def test_a_repetition_that_is_signed_anew_gets_a_receipt_that_fits_it(
    inbound: "Inbound",
) -> None:
    """A partner that stamps every retry gives the header another digest; the parts are the same."""

    def sent_at(time: str) -> Wire:
        return inbound.author.test_message(
            message_id="same@a.example",
            unique="one",
            message=lambda message: replace(message, timestamp=time),
        )

    first, anew = sent_at("2026-11-21T09:30:00Z"), sent_at("2026-11-21T09:31:00Z")
    assert anew.references != first.references
    one, two = await inbound.receive(first), await inbound.receive(anew)
    assert one.body != two.body
    verify_receipt(http(two), anew, inbound.pki.clinic.certificate)
    assert (await inbound.receive(first)).body == one.body
    assert len(await inbound.messages()) == 1


async def test_the_same_message_id_with_other_content_is_refused(inbound: "Inbound") -> None:
    await inbound.receive(inbound.author.compose(message_id="same@a.example"))
    with (
        structlog.testing.capture_logs() as lines,
        pytest.raises(ValueInconsistent) as refused,
    ):
        await inbound.receive(inbound.author.compose(message_id="same@a.example"))
    assert (refused.value.reason, refused.value.gate) == ("duplicate.content", Gate.G7)
    (row,) = await inbound.messages()
    assert inbound.parts.files() == 1
    (line,) = (line for line in lines if line["event"] == "as4.in.duplicate_content")
    assert (line["party"], line["message_id"]) == (row["party"], "same@a.example")
    received, conflict = await inbound.parts.rows("SELECT * FROM journal ORDER BY seq")
    for entry in (received, conflict):
        assert (entry["station"], entry["standard"]) == ("AP", row["standard"])
        assert entry["message_identifier"] == entry["subject"] == row["message_identifier"]
    assert (conflict["event"], conflict["problem"]) == ("conflict-refused", "duplicate-content")
    assert json.loads(conflict["detail"]) == {"message": row["id"]}
    assert json.loads(received["detail"]) == {
        "message": row["id"],
        "message_id": "same@a.example",
        "from": row["party"],
    }


async def test_what_the_header_says_is_stored(inbound: "Inbound") -> None:
    earlier = "earlier@a.example"
    await inbound.receive(
        inbound.author.compose(message=lambda each: replace(each, ref_to_message_id=earlier))
    )
    (row,) = await inbound.messages()
    assert (row["direction"], row["ref_to_message_id"]) == ("in", earlier)
    assert row["original_sender"] == f"0088:{SENDER.gln}"
    assert all(row[name] for name in ("conversation_id", "envelope_id", "process_id", "facts"))


def _sent_later(tree: Any) -> None:
    tree.find(names.EB, "Timestamp").text = "2026-11-21T09:31:00Z"


@pytest.mark.parametrize("kind", ["business", "test"])
@pytest.mark.parametrize("anew", [False, True])
async def test_two_copies_that_race_are_one_message(
    inbound: "Inbound", anew: bool, kind: str
) -> None:
    """Both pass the look-up before either is stored; they meet at the unique key. Each gets a receipt that fits it.

    Who comes second takes back the payload that it has published.
    """
    author = inbound.author
    first = author.compose() if kind == "business" else author.test_message()
    second = author.resigned(first, _sent_later) if anew else first
    receiver = inbound.receiver()
    original, both = receiver._commit, asyncio.Barrier(2)

    async def commit(*arguments: Any, **more: Any) -> Answer:
        await both.wait()
        return await original(*arguments, **more)

    receiver._commit = commit  # type: ignore[method-assign]
    one, two = await asyncio.gather(
        inbound.receive(first, receiver=receiver), inbound.receive(second, receiver=receiver)
    )
    for answer, wire in ((one, first), (two, second)):
        verify_receipt(http(answer), wire, inbound.pki.clinic.certificate)
    assert (one.body == two.body) is not anew
    assert len(await inbound.messages()) == 1
    assert inbound.parts.files() == (1 if kind == "business" else 0)


async def test_a_violation_that_is_no_repetition_is_told(inbound: "Inbound") -> None:
    wire = inbound.author.compose()
    await inbound.receive(wire)
    (row,) = await inbound.messages()
    receiver = inbound.receiver()

    class SameRow:
        """Names rows as one that exists."""

        def ulid(self) -> str:
            return str(row["id"])

        def __getattr__(self, name: str) -> Any:
            return getattr(inbound.parts.ids, name)

    receiver._ids = SameRow()  # type: ignore[assignment]
    with pytest.raises(IntegrityViolation):
        await inbound.receive(inbound.author.compose(), receiver=receiver)
    assert inbound.parts.files() == 1


async def test_an_accepted_message_without_its_receipt_is_a_failure_of_ours(
    inbound: "Inbound",
) -> None:
    wire = inbound.author.compose()
    await inbound.receive(wire)

    async def lose(tx: Any) -> None:
        await tx.execute("DELETE FROM receipts")

    await inbound.parts.database.run(lose)
    with pytest.raises(DeliveryFailure) as refused:
        await inbound.receive(wire)
    assert refused.value.reason == "store.receipt"


async def test_a_key_that_cannot_sign_the_receipt_leaves_no_payload_behind(
    inbound: "Inbound", monkeypatch: pytest.MonkeyPatch
) -> None:
    wire, identity = inbound.author.compose(), inbound.identity
    with monkeypatch.context() as gone:
        gone.setattr(identity, "signer", GoneSigner(identity.signer.certificate))
        for _ in range(2):
            with pytest.raises(KeyUnavailable):
                await inbound.receive(wire)
        assert await inbound.stored_nothing()
    assert (await inbound.receive(wire)).status == 200
    assert inbound.parts.files() == 1


# The test service


async def test_the_test_service_is_receipted_and_never_delivered(inbound: "Inbound") -> None:
    wire = inbound.author.test_message()
    answer = await inbound.receive(wire)
    verify_receipt(http(answer), wire, inbound.pki.clinic.certificate)
    (row,) = await inbound.messages()
    assert (row["state"], row["payload"], row["standard"]) == ("DELIVERED", None, "test-service")
    assert (inbound.parts.files(), await inbound.parts.events()) == (0, [])
    assert (await inbound.receive(wire)).body == answer.body


async def test_a_test_message_without_payload_may_come_as_plain_soap(inbound: "Inbound") -> None:
    wire = inbound.author.test_message([], encrypt=False)
    answer = await inbound.receive_octets(wire.soap, "application/soap+xml; charset=UTF-8")
    verify_receipt(http(answer), wire, inbound.pki.clinic.certificate)
    (row,) = await inbound.messages()
    assert row["state"] == "DELIVERED"


# Refusals at the gates that this module itself stands for


def _to(party: str) -> Callable[[UserMessage], UserMessage]:
    return lambda message: replace(
        message, to_party=Party(PartyId(party, names.PARTY_UNREGISTERED), names.EB_RESPONDER)
    )


def _roles(message: UserMessage) -> UserMessage:
    return replace(
        message,
        to_party=replace(message.to_party, role=names.EB_INITIATOR),
        from_party=replace(message.from_party, role=names.EB_RESPONDER),
    )


def _info(**changes: Any) -> Callable[[UserMessage], UserMessage]:
    return lambda message: replace(
        message, collaboration_info=replace(message.collaboration_info, **changes)
    )


def _without(name: str) -> Callable[[UserMessage], UserMessage]:
    return lambda message: replace(
        message,
        message_properties=tuple(p for p in message.message_properties if p.name != name),
    )


def _property(name: str, value: str) -> Callable[[UserMessage], UserMessage]:
    return lambda message: replace(
        message,
        message_properties=tuple(
            replace(p, value=value) if p.name == name else p for p in message.message_properties
        ),
    )


@pytest.mark.parametrize(
    ("message", "kind", "reason"),
    [
        (_to("somebody-else"), ProcessingModeMismatch, "pmode.to"),
        (_roles, ProcessingModeMismatch, "pmode.role"),
        (_without("originalSender"), ProcessingModeMismatch, "pmode.four-corner"),
        (_without("finalRecipient"), ProcessingModeMismatch, "pmode.four-corner"),
        (_property("finalRecipient", "0088:5790000000012"), OtherError, "sbd.addressing"),
        (_property("originalSender", "0088:5790000000036"), OtherError, "sbd.addressing"),
        (_info(action="urn:other"), ValueNotRecognized, "pmode.action"),
        (_info(service=Service("urn:other")), ValueNotRecognized, "pmode.service"),
    ],
)
async def test_what_the_agreement_does_not_allow_is_refused_and_leaves_nothing(
    inbound: "Inbound",
    message: Callable[[UserMessage], UserMessage],
    kind: type[RemoteProtocolError],
    reason: str,
) -> None:
    with pytest.raises(kind) as refused:
        await inbound.receive(inbound.author.compose(message=message))
    assert (refused.value.reason, refused.value.gate) == (reason, Gate.G10)
    assert await inbound.stored_nothing()


async def test_of_two_organisations_of_ours_one_may_write_to_the_other(inbound: "Inbound") -> None:
    own = replace(inbound.author, signer=inbound.pki.clinic.signer(), party=inbound.identity.party)
    receiver = inbound.receiver(served={SENDER.gln: SENDER, RECEIVER.gln: RECEIVER})
    assert (await inbound.receive(own.compose(), receiver=receiver)).status == 200


async def test_a_message_that_names_us_as_its_sender_is_refused(inbound: "Inbound") -> None:
    own = replace(inbound.author, signer=inbound.pki.clinic.signer(), party=inbound.identity.party)
    with pytest.raises(ProcessingModeMismatch) as refused:
        await inbound.receive(own.compose())
    assert refused.value.reason == "pmode.from"
    assert await inbound.stored_nothing()


@pytest.mark.parametrize(
    ("served", "speaks_for", "is_taken"),
    [
        ({}, {}, True),
        ({}, {MUNICIPALITY.access_point: {SENDER.gln, THIRD.gln}}, True),
        ({}, {MUNICIPALITY.access_point: {SENDER.gln}, "another": {SENDER.gln}}, True),
        # Said to speak for somebody else, or somebody else said to speak for the sender.
        ({}, {MUNICIPALITY.access_point: {THIRD.gln}}, False),
        ({}, {"another": {SENDER.gln}}, False),
        ({}, {"another": {THIRD.gln}}, True),
        # Our own organisation, by another access point: only where that was said.
        ({SENDER.gln: SENDER}, {}, False),
        ({SENDER.gln: SENDER}, {"another": {SENDER.gln}}, False),
        ({SENDER.gln: SENDER}, {MUNICIPALITY.access_point: {SENDER.gln}}, True),
    ],
)
async def test_an_access_point_brings_messages_of_those_it_speaks_for(
    inbound: "Inbound",
    served: dict[str, Address],
    speaks_for: dict[str, set[str]],
    is_taken: bool,
) -> None:
    agreements = Agreements(
        speaks_for={party: frozenset(glns) for party, glns in speaks_for.items()}
    )
    receiver = inbound.receiver(agreements=agreements, served={RECEIVER.gln: RECEIVER, **served})
    wire = inbound.author.compose()
    if is_taken:
        assert (await inbound.receive(wire, receiver=receiver)).status == 200
        assert len(await inbound.messages()) == 1
        return
    with pytest.raises(ProcessingModeMismatch) as refused:
        await inbound.receive(wire, receiver=receiver)
    assert (refused.value.reason, refused.value.gate) == ("pmode.sender", Gate.G10)
    assert await inbound.stored_nothing()


async def test_another_agreement_is_refused(inbound: "Inbound") -> None:
    receiver = inbound.receiver(agreements=Agreements(default=PRESETS["peppol-like"]))
    with pytest.raises(ProcessingModeMismatch) as refused:
        await inbound.receive(inbound.author.compose(), receiver=receiver)
    assert refused.value.reason == "pmode.agreement"
    assert await inbound.stored_nothing()


async def test_a_recipient_that_is_not_served_here_is_refused(inbound: "Inbound") -> None:
    with pytest.raises(ValueNotRecognized) as refused:
        await inbound.receive(inbound.author.compose(), receiver=inbound.receiver(served={}))
    assert refused.value.reason == "pmode.recipient"
    assert await inbound.stored_nothing()


async def test_a_business_message_has_one_part(inbound: "Inbound") -> None:
    with pytest.raises(ProcessingModeMismatch) as refused:
        await inbound.receive(inbound.author.compose(more=[gzip(b"more")]))
    assert refused.value.reason == "pmode.parts"
    assert await inbound.stored_nothing()


async def test_a_document_that_is_none_is_refused_at_the_business_gate(inbound: "Inbound") -> None:
    with pytest.raises(OtherError) as refused:
        await inbound.receive(inbound.author.compose(document=lambda _: b"<x/>"))
    assert refused.value.gate is Gate.G10
    assert await inbound.stored_nothing()


async def test_a_document_larger_than_agreed_is_refused_while_it_is_inflated(
    inbound: "Inbound", small: Limits
) -> None:
    wire = inbound.author.compose(document=lambda data: data + b" " * (64 * 1024))
    with pytest.raises(DecompressionFailure) as refused:
        await inbound.receive(wire, receiver=inbound.receiver(limits=small))
    assert refused.value.reason == "gzip.limit"
    assert await inbound.stored_nothing()


async def test_parts_for_a_consumer_are_together_no_larger_than_agreed(
    inbound: "Inbound", small: Limits
) -> None:
    """Each part is within the limits; in memory they would be a multiple of them."""

    class Everything:
        taken: ClassVar[list[Sequence[bytes]]] = []

        def takes(self, _message: UserMessage) -> bool:
            return True

        async def deliver(self, _message: UserMessage, payloads: Sequence[bytes]) -> None:
            self.taken.append(payloads)

        async def tell_refused(self, message_id: str, error: RemoteProtocolError) -> None:
            assert (message_id, error.reason) == (too_large.message_id, "gzip.limit")

    receiver = inbound.receiver(limits=small, consumer=Everything())
    fits, larger = b"a" * 32 * 1024, b"b" * 33 * 1024
    info = _info(service=Service("urn:kit"), action="urn:kit")
    wire = inbound.author.test_message([fits, fits], message=info)
    assert (await inbound.receive(wire, receiver=receiver)).status == 200
    too_large = inbound.author.test_message([fits, larger], message=info)
    with pytest.raises(DecompressionFailure):
        await inbound.receive(too_large, receiver=receiver)
    assert Everything.taken == [[fits, fits]]


async def test_a_soap_part_larger_than_agreed_is_refused_before_it_is_read(
    inbound: "Inbound", small: Limits
) -> None:
    body = b" " * (33 * 1024)
    for content_type, octets in (
        ("application/soap+xml", body),
        (inbound.author.compose().content_type, b""),
    ):
        with pytest.raises(RemoteProtocolError):
            await inbound.receive_octets(
                octets, content_type, receiver=inbound.receiver(limits=small)
            )
    with pytest.raises(TransportRefused) as refused:
        await inbound.receive_octets(
            body, "application/soap+xml", receiver=inbound.receiver(limits=small)
        )
    assert (refused.value.reason, refused.value.status) == ("soap.size", 413)
    assert await inbound.stored_nothing()


async def test_a_part_before_the_soap_part_or_without_a_name_is_refused(
    inbound: "Inbound",
) -> None:
    wire = inbound.author.compose()
    part = wire.parts[0]
    twice = wire.with_parts(part, part)
    missing = wire.with_parts()
    for changed, reasons in (
        (twice, {"att.duplicate"}),
        (missing, {"att.missing"}),
    ):
        with pytest.raises(MimeInconsistency) as refused:
            await inbound.receive(changed)
        assert refused.value.reason in reasons
        assert await inbound.stored_nothing()


async def test_a_request_without_any_part_is_refused(inbound: "Inbound") -> None:
    wire = inbound.author.compose()
    with pytest.raises(RemoteProtocolError):
        await inbound.receive_octets(b"", wire.content_type)
    assert await inbound.stored_nothing()


@pytest.mark.parametrize("who", ["third", "untrusted"])
async def test_a_signer_that_is_not_the_party_is_refused_before_the_private_key_is_used(
    inbound: "Inbound", who: str
) -> None:
    pki = inbound.pki
    issued = (
        pki.third
        if who == "third"
        else pki.certify(inbound.author.party, authority=pki.untrusted_authority)
    )
    intake = Intake("127.0.0.9")
    receiver = inbound.receiver()
    receiver.decrypt = None  # type: ignore[assignment,method-assign]
    with pytest.raises(FailedAuthentication) as refused:
        await inbound.receive(
            replace(inbound.author, signer=issued.signer()).compose(),
            receiver=receiver,
            intake=intake,
        )
    assert refused.value.gate is Gate.G6
    assert (intake.authenticated, intake.message_id, intake.party) == (False, None, None)
    assert await inbound.stored_nothing()
