"""The message service handler: wrapping, opening, the duplicate table, acknowledging and correlating."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from as4_wire import medcom_message
from station_parts import (
    AT,
    BUNDLE,
    ENVELOPE,
    MESSAGE,
    RECEIVER,
    SENDER,
    THIRD,
    Change,
    Neighbour,
    Parts,
    acknowledge,
    document,
    envelope,
    header_for,
)

from accesspoint.clock import to_microseconds
from accesspoint.stations import Bell
from accesspoint.stations.document import Document, Envelope
from accesspoint.stations.message_service_handler import MessageServiceHandler
from accesspoint.stations.reporting import Act
from accesspoint.stations.sbd_file import open_sbd, write_sbd
from accesspoint.store.database import IntegrityViolation
from envelope import names
from envelope.acknowledgement import (
    Acknowledgement,
    ReceiptException,
    build_acknowledgement,
    read_acknowledgement,
)
from envelope.ehmi import check_envelope
from envelope.errors import LocalProtocolError, SbdRefused
from envelope.sbdh import ScopeType, StandardBusinessDocumentHeader

OTHER_MESSAGE = "1c6d8a40-6f1e-4a2c-9c55-7f10c1a9d001"
OTHER_ENVELOPE = "1c6d8a40-6f1e-4a2c-9c55-7f10c1a9d003"


class Handler:
    """A message service handler between an access point below and an application above."""

    def __init__(self, parts: Parts, **options: Any) -> None:
        self.parts = parts
        self.down: Neighbour[Envelope] = Neighbour()
        self.up: Neighbour[Document] = Neighbour()
        self.station = MessageServiceHandler(
            database=parts.database,
            payloads=parts.payloads,
            reporter=parts.reporter,
            clock=parts.clock,
            ids=parts.ids,
            **options,
        )
        self.station.down = self.down
        self.station.up = self.up

    async def receive(self, item: Envelope) -> None:
        await self.parts.run(await self.station.take_envelope(item))

    async def send(self, item: Document) -> StandardBusinessDocumentHeader:
        await self.parts.run(await self.station.take_document(item))
        header = self.down.taken[-1].header
        assert header is not None
        return header

    def answer(self) -> tuple[Acknowledgement, StandardBusinessDocumentHeader]:
        """The newest acknowledgement that went down, read as its receiver reads it."""
        with open_sbd(self.parts.payloads, self.down.taken[-1].stored) as opened:
            check_envelope(opened.header)
            return read_acknowledgement(opened.header, opened.signal), opened.header


@pytest.fixture
def handler(parts: Parts) -> Handler:
    return Handler(parts)


def without(scope_type: ScopeType) -> Change:
    return lambda header: replace(
        header, scopes=tuple(scope for scope in header.scopes if scope.type != scope_type)
    )


def with_scope(scope_type: ScopeType, value: str) -> Change:
    return lambda header: replace(
        header,
        scopes=tuple(
            replace(scope, instance_identifier=value) if scope.type == scope_type else scope
            for scope in header.scopes
        ),
    )


# Downwards


async def test_a_message_is_wrapped_remembered_and_passed_down(
    parts: Parts, handler: Handler
) -> None:
    message = document(parts)
    commit = await handler.station.take_document(message)
    assert commit.rings == {Bell.OUTBOX}
    await parts.run(commit)
    ((item, act, facts),) = handler.down.offered
    assert act is Act.MSH_PASSED_DOWN
    assert item.header is not None
    check_envelope(item.header)
    assert facts.transport_envelope_identifier == item.header.instance_identifier
    with open_sbd(parts.payloads, item.stored) as opened:
        assert opened.header == item.header
        assert parts.read(opened.publish()) == parts.read(message.stored)
    row = await parts.one("SELECT * FROM envelopes")
    assert (row["direction"], row["envelope_id"]) == ("out", item.header.instance_identifier)
    assert (row["message_identifier"], row["acknowledgement"]) == (MESSAGE, "awaited")
    assert row["due_at"] == to_microseconds(AT + timedelta(minutes=10))
    assert (row["sender"], row["receiver"]) == (f"0088:{SENDER.gln}", f"0088:{RECEIVER.gln}")
    assert await parts.events() == [("AP-MSH", "msg-received")]
    assert await parts.journal() == [("MSH", "wrapped", None)]


async def test_a_resend_by_a_person_is_a_new_envelope_of_the_same_message(
    parts: Parts, handler: Handler
) -> None:
    message = document(parts)
    first, second = await handler.send(message), await handler.send(message)
    assert first.instance_identifier != second.instance_identifier
    assert first.scope("MESSAGEIDENTIFIER") == second.scope("MESSAGEIDENTIFIER") == MESSAGE
    assert len(await parts.rows("SELECT * FROM envelopes")) == 2


async def test_a_message_without_a_document_type_is_not_wrapped(
    parts: Parts, handler: Handler
) -> None:
    with pytest.raises(LocalProtocolError):
        await handler.station.take_document(document(parts, definition_version="9.9"))
    assert handler.down.offered == []
    assert parts.files() == 1


async def test_an_envelope_that_the_access_point_does_not_take_leaves_no_file(
    parts: Parts, handler: Handler
) -> None:
    handler.down.failures.append(LocalProtocolError("not sendable"))
    with pytest.raises(LocalProtocolError):
        await handler.station.take_document(document(parts))
    assert parts.files() == 1


async def test_a_commit_that_is_refused_takes_content_and_acknowledgement_with_it(
    parts: Parts, handler: Handler
) -> None:
    first = await handler.station.take_envelope(envelope(parts))
    second = await handler.station.take_envelope(envelope(parts, MESSAGE, OTHER_ENVELOPE))
    await parts.run(first)
    files = parts.files()
    with pytest.raises(IntegrityViolation):
        await parts.run(second)
    assert parts.files() == files - 2


async def test_what_the_application_does_not_take_leaves_the_envelope_alone(
    parts: Parts, handler: Handler
) -> None:
    handler.up.failures.append(LocalProtocolError("not taken"))
    item = envelope(parts)
    with pytest.raises(LocalProtocolError):
        await handler.station.take_envelope(item)
    assert (parts.files(), parts.unpublished()) == (1, 0)


# The duplicate table


async def test_new_and_new_is_processed_and_acknowledged(parts: Parts, handler: Handler) -> None:
    await handler.receive(envelope(parts))
    (message,) = handler.up.taken
    assert (message.message_identifier, message.message_envelope_identifier) == (MESSAGE, BUNDLE)
    assert (message.sender.gln, message.receiver.sor) == (SENDER.gln, RECEIVER.sor)
    assert (message.event_code, message.definition_version) == (
        "homecareobservation-message",
        "1.1",
    )
    assert message.patient_id == "2512489996"
    assert parts.read(message.stored).startswith(b"{")
    answer, header = handler.answer()
    assert answer.positive
    assert answer.original_instance_identifier == ENVELOPE
    assert (header.sender_gln, header.receiver_gln) == (RECEIVER.gln, SENDER.gln)
    received = await parts.one("SELECT * FROM envelopes WHERE direction = 'in'")
    assert (received["acknowledgement"], received["acknowledgement_identifier"]) == (
        "positive",
        header.scope("MESSAGEIDENTIFIER"),
    )
    sent = await parts.one("SELECT * FROM envelopes WHERE direction = 'out'")
    # An acknowledgement is never acknowledged: nothing is awaited for it.
    assert (sent["acknowledgement"], sent["due_at"]) == ("none", None)
    assert [act for _, act, _ in handler.down.offered + handler.up.offered] == [
        Act.ACK_CREATED,
        Act.MSH_PASSED_UP,
    ]
    assert await parts.journal() == [
        ("MSH", "opened", None),
        ("MSH", "acknowledgement-created", None),
    ]


async def test_known_and_known_is_acknowledged_as_before_and_shown_once(
    parts: Parts, handler: Handler
) -> None:
    await handler.receive(envelope(parts))
    _, first = handler.answer()
    parts.clock.advance(timedelta(minutes=3))
    before = parts.files()
    await handler.receive(envelope(parts))
    answer, second = handler.answer()
    assert answer.positive
    assert len(handler.up.taken) == 1
    assert second.scope("MESSAGEIDENTIFIER") == first.scope("MESSAGEIDENTIFIER")
    assert second.instance_identifier != first.instance_identifier
    assert second.creation_date_and_time > first.creation_date_and_time
    assert len(await parts.rows("SELECT * FROM envelopes WHERE direction = 'in'")) == 1
    assert ("MSH", "duplicate-envelope", None) in await parts.journal()
    # The envelope and the acknowledgement: the content of a repetition is not kept.
    assert parts.files() == before + 2


async def test_a_new_envelope_of_a_known_message_gets_the_same_content_in_a_new_envelope(
    parts: Parts, handler: Handler
) -> None:
    await handler.receive(envelope(parts))
    _, first = handler.answer()
    await handler.receive(envelope(parts, MESSAGE, OTHER_ENVELOPE))
    answer, second = handler.answer()
    assert answer.positive
    assert answer.original_instance_identifier == OTHER_ENVELOPE
    assert second.scope("MESSAGEIDENTIFIER") == first.scope("MESSAGEIDENTIFIER")
    assert second.instance_identifier != first.instance_identifier
    # Its own answer may be what the sender misses: the application is told of the repetition.
    assert len(handler.up.taken) == 2
    # Known now as well: a third time is a repetition of the envelope, which nobody is told of.
    await handler.receive(envelope(parts, MESSAGE, OTHER_ENVELOPE))
    assert handler.answer()[0].positive
    assert len(handler.up.taken) == 2


async def test_a_used_envelope_identifier_for_another_message_is_refused(
    parts: Parts, handler: Handler
) -> None:
    await handler.receive(envelope(parts))
    _, first = handler.answer()
    await handler.receive(envelope(parts, OTHER_MESSAGE, ENVELOPE))
    answer, second = handler.answer()
    assert not answer.positive
    assert answer.exception is not None
    assert answer.exception.value == "Sequence"
    # It is an answer of its own, not the first one with another outcome.
    assert second.scope("MESSAGEIDENTIFIER") != first.scope("MESSAGEIDENTIFIER")
    assert len(handler.up.taken) == 1
    row = await parts.one("SELECT * FROM envelopes WHERE direction = 'in'")
    assert (row["message_identifier"], row["acknowledgement"]) == (MESSAGE, "positive")


async def test_positive_is_never_followed_by_negative(parts: Parts, handler: Handler) -> None:
    await handler.receive(envelope(parts))
    flawed = without(ScopeType.STATISTICAL_INFORMATION)
    await handler.receive(envelope(parts, MESSAGE, OTHER_ENVELOPE, change=flawed))
    assert handler.answer()[0].positive


async def test_negative_is_never_followed_by_positive(parts: Parts, handler: Handler) -> None:
    flawed = without(ScopeType.STATISTICAL_INFORMATION)
    await handler.receive(envelope(parts, change=flawed))
    _, first = handler.answer()
    await handler.receive(envelope(parts, MESSAGE, OTHER_ENVELOPE))
    answer, second = handler.answer()
    assert not answer.positive
    assert second.scope("MESSAGEIDENTIFIER") == first.scope("MESSAGEIDENTIFIER")
    assert handler.up.taken == []


async def test_the_identifier_of_a_stranger_does_not_make_a_message_a_repetition(
    parts: Parts, handler: Handler
) -> None:
    """Whoever learns an identifier could else have the real message acknowledged and thrown away."""
    await handler.receive(envelope(parts, MESSAGE, OTHER_ENVELOPE, sender=THIRD))
    await handler.receive(envelope(parts))
    assert [message.sender.gln for message in handler.up.taken] == [THIRD.gln, SENDER.gln]


def other_content() -> bytes:
    return medcom_message(MESSAGE, BUNDLE)[0].replace(b"2512489996", b"0505209996")


@pytest.mark.parametrize("envelope_id", [ENVELOPE, OTHER_ENVELOPE], ids=["same", "new"])
async def test_other_content_under_a_known_message_identifier_is_refused_and_never_delivered(
    parts: Parts, handler: Handler, envelope_id: str
) -> None:
    """A correction that reuses the identifier would else be acknowledged and thrown away."""
    await handler.receive(envelope(parts))
    _, first = handler.answer()
    before = parts.files()
    await handler.receive(envelope(parts, MESSAGE, envelope_id, content=other_content()))
    answer, second = handler.answer()
    assert answer.exception is not None
    assert answer.exception.value == "Sequence"
    assert second.scope("MESSAGEIDENTIFIER") != first.scope("MESSAGEIDENTIFIER")
    assert len(handler.up.taken) == 1
    assert parts.files() == before + 2
    assert ("MSH", "duplicate-envelope", "duplicate-content") in await parts.journal()
    row = await parts.one(
        "SELECT * FROM envelopes WHERE direction = 'in' AND acknowledgement = 'positive'"
    )
    assert row["payload_sha256"] == handler.up.taken[0].stored.payload_sha256
    # The message that was accepted is still repeated with its own answer, and the refused one with a refusal.
    await handler.receive(envelope(parts, MESSAGE, "third"))
    assert handler.answer()[0].positive
    await handler.receive(envelope(parts, MESSAGE, "fourth", content=other_content()))
    refused = handler.answer()[0].exception
    assert refused is not None
    assert (refused.value, refused.reason) == (answer.exception.value, answer.exception.reason)
    shas = {message.stored.payload_sha256 for message in handler.up.taken}
    assert shas == {handler.up.taken[0].stored.payload_sha256}


async def test_a_message_that_its_application_sent_again_is_acknowledged_and_passed_up(
    parts: Parts, handler: Handler
) -> None:
    """A new Bundle.id under the same MessageHeader.id: whether it is the same message, the application sees."""
    await handler.receive(envelope(parts))
    _, first = handler.answer()
    anew = with_scope(ScopeType.MESSAGEENVELOPEIDENTIFIER, OTHER_MESSAGE)
    again = envelope(parts, MESSAGE, OTHER_ENVELOPE, content=other_content(), change=anew)
    await handler.receive(again)
    answer, second = handler.answer()
    assert answer.positive
    assert second.scope("MESSAGEIDENTIFIER") == first.scope("MESSAGEIDENTIFIER")
    assert [one.message_envelope_identifier for one in handler.up.taken] == [BUNDLE, OTHER_MESSAGE]
    assert ("MSH", "duplicate-envelope", None) in await parts.journal()


async def test_both_identifiers_known_from_another_sender_are_no_silent_duplicate(
    parts: Parts, handler: Handler
) -> None:
    await handler.receive(envelope(parts))
    await handler.receive(envelope(parts, sender=THIRD))
    answer, header = handler.answer()
    assert answer.exception is not None
    assert answer.exception.value == "Sequence"
    assert header.receiver_gln == THIRD.gln
    assert [message.sender.gln for message in handler.up.taken] == [SENDER.gln]
    row = await parts.one("SELECT * FROM envelopes WHERE direction = 'in'")
    assert row["sender"] == f"0088:{SENDER.gln}"
    assert ("MSH", "duplicate-envelope", "duplicate-envelope") in await parts.journal()


async def test_of_two_envelopes_of_one_message_at_the_same_moment_one_starts_over(
    parts: Parts, handler: Handler
) -> None:
    """Both were looked up before either was committed; the second is a repetition once it is looked up again."""
    first = await handler.station.take_envelope(envelope(parts))
    second = await handler.station.take_envelope(envelope(parts, MESSAGE, OTHER_ENVELOPE))
    await parts.run(first)
    with pytest.raises(IntegrityViolation):
        await parts.run(second)
    await handler.receive(envelope(parts, MESSAGE, OTHER_ENVELOPE))
    assert handler.answer()[0].positive
    assert [event for _, event, _ in await parts.journal()].count("opened") == 1


async def test_a_copy_for_another_receiver_is_no_repetition(parts: Parts, handler: Handler) -> None:
    """Decision D12: the copy has the same message identifier and another receiver."""
    await handler.receive(envelope(parts))
    await handler.receive(envelope(parts, MESSAGE, OTHER_ENVELOPE, receiver=THIRD))
    assert [message.receiver.gln for message in handler.up.taken] == [RECEIVER.gln, THIRD.gln]


# Faults


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without(ScopeType.STATISTICAL_INFORMATION), "sbd.scope"),
        (with_scope(ScopeType.DOCUMENTID, "urn:unknown"), "sbd.document"),
        (with_scope(ScopeType.PROCESSID, "urn:unknown"), "sbd.process"),
        (with_scope(ScopeType.PATIENTID, "12"), "sbd.identifier"),
        (lambda header: replace(header, type_version="9.9"), "sbd.version"),
    ],
)
async def test_a_flaw_of_the_profile_is_answered_with_a_negative_acknowledgement(
    parts: Parts, handler: Handler, change: Change, reason: str
) -> None:
    await handler.receive(envelope(parts, change=change))
    answer, _ = handler.answer()
    assert not answer.positive
    assert answer.exception is not None
    assert (answer.exception.value, answer.exception.reason) == ("Syntax", reason)
    assert handler.up.offered == []
    row = await parts.one("SELECT * FROM envelopes WHERE direction = 'in'")
    assert row["acknowledgement"] == "negative"
    assert parts.files() == 2


async def test_an_envelope_that_cannot_be_read_is_refused_and_leaves_nothing(
    parts: Parts, handler: Handler
) -> None:
    broken = Envelope(MESSAGE, parts.store(b"<StandardBusinessDocument/>"))
    with pytest.raises(SbdRefused):
        await handler.station.take_envelope(broken)
    assert (parts.files(), parts.unpublished()) == (1, 0)
    with pytest.raises(SbdRefused):
        await handler.station.take_envelope(envelope(parts, change=without(ScopeType.SENDERID)))
    assert await parts.rows("SELECT * FROM envelopes") == []


# Correlation


async def settled(parts: Parts) -> tuple[str, bool]:
    row = await parts.one("SELECT * FROM envelopes WHERE direction = 'out'")
    return row["acknowledgement"], row["acknowledged_at"] is not None


async def test_a_positive_acknowledgement_settles_the_envelope(
    parts: Parts, handler: Handler
) -> None:
    sent = await handler.send(document(parts))
    parts.clock.advance(timedelta(minutes=1))
    item = acknowledge(parts, sent)
    before = parts.files()
    await handler.receive(item)
    row = await parts.one("SELECT * FROM envelopes WHERE direction = 'out'")
    assert row["acknowledgement"] == "positive"
    assert row["acknowledged_at"] == to_microseconds(AT + timedelta(minutes=1))
    assert row["acknowledgement_identifier"]
    assert (await parts.journal())[-1] == ("MSH", "acknowledged", None)
    assert (await parts.events())[-1] == ("AP-MSH", "msg-received-and-finalized")
    # It goes no further, it is not acknowledged, and its signal is not kept.
    assert (len(handler.down.taken), handler.up.taken) == (1, [])
    assert (parts.files(), parts.unpublished()) == (before, 0)


async def test_a_negative_acknowledgement_settles_it_too(parts: Parts, handler: Handler) -> None:
    sent = await handler.send(document(parts))
    await handler.receive(acknowledge(parts, sent, exception=ReceiptException("Syntax", "no")))
    assert await settled(parts) == ("negative", True)
    assert (await parts.journal())[-1] == ("MSH", "not-acknowledged", "acknowledgement-negative")


NEGATIVE = ReceiptException("Syntax", "no")
LATE = ("MSH", "not-acknowledged", "acknowledgement-unexpected")
REPEATED = ("MSH", "duplicate-acknowledgement", None)


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        (None, NEGATIVE, LATE),
        (NEGATIVE, None, LATE),
        (None, None, REPEATED),
        (NEGATIVE, NEGATIVE, REPEATED),
    ],
    ids=["negative after positive", "positive after negative", "positive twice", "negative twice"],
)
async def test_the_first_answer_stands(
    parts: Parts,
    handler: Handler,
    first: ReceiptException | None,
    second: ReceiptException | None,
    told: tuple[str, str, str | None],
) -> None:
    sent = await handler.send(document(parts))
    await handler.receive(acknowledge(parts, sent, exception=first))
    row = await parts.one("SELECT * FROM envelopes WHERE direction = 'out'")
    parts.clock.advance(timedelta(minutes=1))
    await handler.receive(acknowledge(parts, sent, exception=second))
    assert await parts.one("SELECT * FROM envelopes WHERE direction = 'out'") == row
    assert (await parts.journal())[-1] == told


def _sender(gln: str) -> Change:
    return lambda header: replace(header, sender=replace(header.sender, value=f"0088:{gln}"))


@pytest.mark.parametrize(
    "change",
    [
        _sender(THIRD.gln),
        with_scope(ScopeType.SENDERID, THIRD.sor),
        with_scope(ScopeType.RECEIVERID, THIRD.sor),
        with_scope(ScopeType.ORIGINALMESSAGEIDENTIFIER, OTHER_MESSAGE),
    ],
)
@pytest.mark.parametrize("exception", [None, ReceiptException("Syntax", "no")])
async def test_an_acknowledgement_of_a_stranger_settles_nothing(
    parts: Parts, handler: Handler, change: Change, exception: ReceiptException | None
) -> None:
    sent = await handler.send(document(parts))
    await handler.receive(acknowledge(parts, sent, change=change, exception=exception))
    assert await settled(parts) == ("awaited", False)
    assert (await parts.journal())[-1] == ("MSH", "not-acknowledged", "acknowledgement-unexpected")
    await handler.receive(acknowledge(parts, sent))
    assert await settled(parts) == ("positive", True)


async def test_an_acknowledgement_of_what_was_never_sent_settles_nothing(
    parts: Parts, handler: Handler
) -> None:
    await handler.receive(acknowledge(parts, header_for()))
    assert await parts.journal() == [("MSH", "not-acknowledged", "acknowledgement-unexpected")]
    assert await parts.rows("SELECT * FROM envelopes") == []


async def test_an_acknowledgement_whose_signal_is_none_is_refused(
    parts: Parts, handler: Handler
) -> None:
    sent = await handler.send(document(parts))
    header, _ = build_acknowledgement(
        sent, instance_identifier="i", message_identifier="m", created_at=AT
    )
    item = Envelope("a", write_sbd(parts.payloads, header, b"<Signal/>"))
    with pytest.raises(SbdRefused):
        await handler.station.take_envelope(item)
    assert await settled(parts) == ("awaited", False)


async def test_a_fhir_acknowledgement_names_what_it_answers(parts: Parts, handler: Handler) -> None:
    answer = document(
        parts,
        event_code="acknowledgement-message",
        definition_version="2.0",
        original_message_identifier=OTHER_MESSAGE,
        original_bundle_identifier=BUNDLE,
        message_identifier="answer",
    )
    header = await handler.send(answer)
    assert header.scope("ORIGINALMESSAGEIDENTIFIER") == OTHER_MESSAGE
    assert header.scope("ORIGINALMESSAGEENVELOPEIDENTIFIER") == BUNDLE
    assert header.scope("PATIENTID") is None
    row = await parts.one("SELECT * FROM journal")
    assert (row["subject"], row["message_identifier"]) == (OTHER_MESSAGE, "answer")


@pytest.mark.parametrize("expected", [True, False])
async def test_content_stands_in_the_namespace_that_the_receiver_expects(
    parts: Parts, expected: bool
) -> None:
    handler = Handler(parts, peppol_receivers=[RECEIVER.gln] if expected else [])
    await handler.send(document(parts))
    octets = parts.read(handler.down.taken[-1].stored)
    assert (names.PEPPOL_ENVELOPE.encode() in octets) is expected
    with open_sbd(parts.payloads, handler.down.taken[-1].stored) as opened:
        assert opened.header.receiver_gln == RECEIVER.gln
