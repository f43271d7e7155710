"""Waiting for SBDH acknowledgements: the alert, sending again by itself, and answers that come late."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from station_parts import AT, MESSAGE, Neighbour, Parts, acknowledge, document

from accesspoint.clock import to_microseconds
from accesspoint.stations.awaiting import AcknowledgementWatch, AnswerWatch, Patience
from accesspoint.stations.contents import ContentGone
from accesspoint.stations.document import Document, Envelope
from accesspoint.stations.message_service_handler import MessageServiceHandler
from accesspoint.stations.sbd_file import open_sbd
from accesspoint.store.database import Row
from envelope.acknowledgement import ReceiptException
from envelope.ehmi import check_envelope
from envelope.sbdh import ScopeType, StandardBusinessDocumentHeader

TEN, THIRTY = timedelta(minutes=10), timedelta(minutes=30)
ANSWER = "3c6d8a40-6f1e-4a2c-9c55-7f10c1a9d001"


class Waiting:
    """A message service handler that has sent one message, and the worker that waits for its acknowledgement."""

    def __init__(self, parts: Parts, patience: Patience) -> None:
        self.parts = parts
        self.down: Neighbour[Envelope] = Neighbour()
        self.handler = MessageServiceHandler(
            database=parts.database,
            payloads=parts.payloads,
            reporter=parts.reporter,
            clock=parts.clock,
            ids=parts.ids,
        )
        self.handler.down = self.down
        self.handler.up = Neighbour[Document]()
        self.watch = self.watcher(patience)

    def watcher(self, patience: Patience) -> AcknowledgementWatch:
        """A worker as a start of the process makes it: it knows nothing but the rows."""
        return AcknowledgementWatch(
            database=self.parts.database,
            handler=self.handler,
            reporter=self.parts.reporter,
            bells=self.parts.bells,
            clock=self.parts.clock,
            patience=patience,
        )

    async def send(self) -> Document:
        """Send the message; it stands in the table of the application as long as it is not confirmed."""
        message = document(self.parts)
        stored = message.stored
        await self.parts.database.run(
            lambda tx: tx.execute(
                "INSERT INTO documents (direction, message_identifier, id, event_code, sender, receiver, media_type,"
                " payload, payload_bytes, payload_sha256, acknowledgement, created_at)"
                " VALUES ('out', $1, 'one', '', '', '', '', $2, $3, $4, 'awaited', 0)",
                MESSAGE, stored.payload, stored.payload_bytes, stored.payload_sha256,
            )
        )  # fmt: skip
        await self.parts.run(await self.handler.take_document(message))
        return message

    async def after(self, minutes: int) -> int:
        """Look when so many minutes have passed since the message was sent."""
        left = AT + timedelta(minutes=minutes) - self.parts.clock.now()
        self.parts.clock.advance(left)
        return await self.watch.look()

    def sent(self) -> list[StandardBusinessDocumentHeader]:
        headers = [item.header for item in self.down.taken]
        assert all(headers)
        return [header for header in headers if header is not None]

    async def acknowledge(
        self, header: StandardBusinessDocumentHeader, exception: ReceiptException | None = None
    ) -> None:
        """Let the receiver's acknowledgement of one envelope come in."""
        answer = acknowledge(self.parts, header, exception, message_identifier=ANSWER)
        await self.parts.run(await self.handler.take_envelope(answer))

    async def journal(self) -> list[tuple[str, str | None]]:
        return [(event, problem) for _, event, problem in await self.parts.journal()]

    async def outcomes(self) -> list[dict[str, Any]]:
        rows = await self.parts.rows(
            "SELECT item FROM handovers WHERE kind = 'outcome' ORDER BY created_at"
        )
        return [json.loads(row["item"]) for row in rows]

    async def envelopes(self) -> list[Row]:
        return await self.parts.rows(
            "SELECT * FROM envelopes WHERE direction = 'out' ORDER BY created_at"
        )


@pytest.fixture(params=["sqlite", "postgresql"])
async def parts(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Parts]:
    """The parts of a node, over each of the two databases."""
    url = request.getfixturevalue("postgresql_url") if request.param == "postgresql" else None
    async with Parts.open(tmp_path / "node", url=url) as opened:
        yield opened


@pytest.fixture
def waiting(parts: Parts) -> Waiting:
    return Waiting(parts, Patience())


@pytest.fixture
def resending(parts: Parts) -> Waiting:
    return Waiting(parts, Patience(THIRTY, 2))


async def test_after_ten_minutes_it_is_told_of_once_and_nothing_is_sent_by_itself(
    waiting: Waiting,
) -> None:
    await waiting.send()
    assert await waiting.after(9) == 0
    assert await waiting.after(10) == 1
    assert await waiting.journal() == [
        ("wrapped", None),
        ("acknowledgement-overdue", "acknowledgement-missing"),
    ]
    (told,) = await waiting.outcomes()
    assert (told["state"], told["message_identifier"]) == ("ACKNOWLEDGEMENT_OVERDUE", MESSAGE)
    assert told["envelope_id"] == waiting.sent()[0].instance_identifier
    assert told["problem"]["type"].endswith("acknowledgement-missing")
    assert await waiting.after(600) == 0
    assert len(waiting.sent()) == 1


async def test_what_was_due_while_nobody_ran_is_taken_up_by_the_next_start(
    waiting: Waiting,
) -> None:
    await waiting.send()
    waiting.parts.clock.advance(timedelta(hours=5))
    again = waiting.watcher(Patience())
    assert await again.look() == 1
    # Another node that had read the row before changes nothing.
    assert await waiting.watch.look() == 0
    assert len(await waiting.outcomes()) == 1


async def test_of_two_nodes_that_saw_the_same_row_one_tells(waiting: Waiting) -> None:
    await waiting.send()
    waiting.parts.clock.advance(TEN)
    (row,) = await waiting.envelopes()
    for watch in (waiting.watch, waiting.watcher(Patience())):
        await waiting.parts.run(watch._alert(row))
    assert [event for event, _ in await waiting.journal()].count("acknowledgement-overdue") == 1


async def test_an_acknowledgement_in_time_ends_the_waiting(waiting: Waiting) -> None:
    await waiting.send()
    waiting.parts.clock.advance(timedelta(minutes=9))
    await waiting.acknowledge(waiting.sent()[0])
    assert await waiting.after(60) == 0
    assert await waiting.outcomes() == []


async def test_a_late_acknowledgement_counts_and_who_was_alarmed_is_told(waiting: Waiting) -> None:
    await waiting.send()
    await waiting.after(10)
    await waiting.after(25)
    await waiting.acknowledge(waiting.sent()[0])
    assert (await waiting.journal())[-1] == ("acknowledged", None)
    overdue, late = await waiting.outcomes()
    assert (late["state"], late["supersedes"]) == ("ENVELOPE_ACKNOWLEDGED", overdue["id"])
    # The same again changes nothing, and nobody is told twice.
    await waiting.acknowledge(waiting.sent()[0])
    assert (await waiting.journal())[-1] == ("duplicate-acknowledgement", None)
    assert len(await waiting.outcomes()) == 2


async def test_a_person_sends_it_again_in_an_envelope_that_differs_in_identifier_and_times_only(
    waiting: Waiting,
) -> None:
    message = await waiting.send()
    await waiting.after(12)
    (row,) = await waiting.envelopes()
    await waiting.parts.run(await waiting.handler.resend(row, asked=True))
    first, second = waiting.sent()
    check_envelope(second)
    assert first.instance_identifier != second.instance_identifier
    assert first.creation_date_and_time != second.creation_date_and_time
    scope = ScopeType.RECEIPT_ACKNOWLEDGEMENT
    asks = second.find_scope(scope)
    assert asks is not None
    assert asks.correlation is not None
    assert (
        asks.correlation.requesting_document_instance_identifier,
        asks.correlation.requesting_document_creation_date_time,
    ) == (second.instance_identifier, second.creation_date_and_time)
    unchanged = {
        "instance_identifier": "",
        "creation_date_and_time": "",
        "scopes": (),
    }
    assert replace(first, **unchanged) == replace(second, **unchanged)
    assert [s for s in first.scopes if s.type != scope] == [
        s for s in second.scopes if s.type != scope
    ]
    with open_sbd(waiting.parts.payloads, waiting.down.taken[1].stored) as opened:
        assert opened.sha256 == message.stored.payload_sha256
    assert (await waiting.journal())[-1] == ("resend-asked", None)


@pytest.mark.parametrize("answered", [0, 1], ids=["the-first", "the-second"])
async def test_whichever_envelope_is_acknowledged_nothing_is_sent_again(
    resending: Waiting, answered: int
) -> None:
    await resending.send()
    await resending.after(10)
    await resending.after(30)
    assert len(resending.sent()) == 2
    await resending.acknowledge(resending.sent()[answered])
    for minutes in (40, 60, 90, 120):
        await resending.after(minutes)
    assert len(resending.sent()) == 2


async def test_by_itself_it_is_sent_again_after_thirty_minutes_and_at_most_twice(
    resending: Waiting,
) -> None:
    await resending.send()
    sent = []
    for minutes in (10, 29, 30, 40, 59, 60, 70, 90, 120, 600):
        await resending.after(minutes)
        sent.append(len(resending.sent()))
    assert sent == [1, 1, 2, 2, 2, 3, 3, 3, 3, 3]
    ids = {header.instance_identifier for header in resending.sent()}
    assert len(ids) == 3
    events = [event for event, _ in await resending.journal()]
    assert events.count("resent") == 2
    # Each of the three is told of when it is overdue.
    assert events.count("acknowledgement-overdue") == 3


async def test_a_refused_message_is_not_sent_again(resending: Waiting) -> None:
    await resending.send()
    await resending.after(10)
    await resending.acknowledge(resending.sent()[0], ReceiptException("Syntax", "sbd.scope"))
    await resending.after(90)
    assert len(resending.sent()) == 1


async def test_while_the_access_point_still_tries_no_other_envelope_goes_out(
    resending: Waiting,
) -> None:
    await resending.send()
    await resending.parts.database.run(
        lambda tx: tx.execute(
            "INSERT INTO handovers (id, target, kind, message_identifier, item, act, facts, media_type, payload,"
            " payload_bytes, payload_sha256, state, next_at, created_at)"
            " VALUES ('h', 'down', 'envelope', $1, '', '', '', '', '', 0, '', 'waiting', 0, 0)",
            MESSAGE,
        )
    )
    await resending.after(10)
    await resending.after(30)
    assert len(resending.sent()) == 1
    await resending.parts.database.run(
        lambda tx: tx.execute("UPDATE handovers SET state = 'done' WHERE id = 'h'")
    )
    await resending.after(60)
    assert len(resending.sent()) == 2


async def test_where_the_application_stands_apart_the_content_is_that_of_the_envelope(
    waiting: Waiting,
) -> None:
    message = await waiting.send()
    envelope = waiting.down.taken[0].stored

    async def only_the_envelope_is_left(tx: Any) -> None:
        await tx.execute("DELETE FROM documents")
        await tx.execute(
            "INSERT INTO handovers (id, target, kind, message_identifier, item, act, facts, media_type, payload,"
            " payload_bytes, payload_sha256, state, next_at, created_at)"
            " VALUES ('h', 'down', 'envelope', $1, '', '', '', '', $2, $3, $4, 'done', 0, 0)",
            MESSAGE, envelope.payload, envelope.payload_bytes, envelope.payload_sha256,
        )  # fmt: skip

    await waiting.parts.database.run(only_the_envelope_is_left)
    before = waiting.parts.files()
    (row,) = await waiting.envelopes()
    await waiting.parts.run(await waiting.handler.resend(row, asked=True))
    with open_sbd(waiting.parts.payloads, waiting.down.taken[1].stored) as opened:
        assert opened.sha256 == message.stored.payload_sha256
    # The content was taken out of the envelope for as long as the new one was written, and not longer.
    assert waiting.parts.files() == before + 1


async def test_what_is_not_stored_any_more_is_not_sent_and_the_worker_goes_on(
    resending: Waiting,
) -> None:
    await resending.send()
    await resending.parts.database.run(lambda tx: tx.execute("UPDATE documents SET payload = NULL"))
    (row,) = await resending.envelopes()
    with pytest.raises(ContentGone):
        await resending.handler.resend(row, asked=True)
    await resending.after(10)
    assert await resending.after(30) == 1
    assert await resending.after(60) == 0
    assert len(resending.sent()) == 1


# Answers of the receiving application


async def test_a_message_that_nobody_answers_is_told_of_once_after_half_an_hour(
    waiting: Waiting,
) -> None:
    parts = waiting.parts
    watch = AnswerWatch(parts.database, parts.reporter, parts.bells, parts.clock, THIRTY)
    await waiting.send()
    await parts.database.run(
        lambda tx: tx.execute("UPDATE documents SET created_at = $1", to_microseconds(AT))
    )
    parts.clock.advance(timedelta(minutes=29))
    assert await watch.look() == 0
    parts.clock.advance(timedelta(minutes=1))
    assert await watch.look() == 1
    assert await watch.look() == 0
    assert (await waiting.journal())[-1] == ("answer-overdue", "fhir-acknowledgement-missing")
    (told,) = await waiting.outcomes()
    assert (told["state"], told["message_identifier"]) == ("ANSWER_OVERDUE", MESSAGE)


async def test_a_message_that_was_answered_is_not_told_of(waiting: Waiting) -> None:
    parts = waiting.parts
    watch = AnswerWatch(parts.database, parts.reporter, parts.bells, parts.clock, timedelta(0))
    await waiting.send()
    row = await parts.one("SELECT * FROM documents")
    await parts.database.run(lambda tx: tx.execute("UPDATE documents SET acknowledgement = 'ok'"))
    assert await watch.look() == 0
    # Nor when the answer came between the look and the alert.
    await parts.run(watch._alert(row))
    assert await waiting.outcomes() == []
