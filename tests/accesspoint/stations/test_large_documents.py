"""What a large document costs is not paid on the event loop, at any station; a small one costs less than a thread hop.

And only so many octets of large ones are in memory at a time.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from application_edge import Application, message
from loop_calls import called_on_the_loop
from station_parts import (
    MESSAGE,
    RECEIVER,
    SENDER,
    THIRD,
    Neighbour,
    Parts,
    document,
    header_for,
)

from accesspoint.aside import LARGE_BYTES, Room
from accesspoint.outbound.submit import Submit
from accesspoint.stations import Commit, end_user_application
from accesspoint.stations.answering import Verdict
from accesspoint.stations.document import Document, Envelope, Stored
from accesspoint.stations.link import Joined
from accesspoint.stations.message_service_handler import MessageServiceHandler
from accesspoint.stations.sbd_file import read_content, write_sbd
from accesspoint.stations.sharing import Sharing
from accesspoint.store.payloads import PayloadStore
from envelope.limits import Limits

Errand = Callable[[Parts, bytes], Coroutine[Any, Any, Any]]


def submit(parts: Parts, data: bytes) -> Coroutine[Any, Any, Any]:
    return Application(parts, SENDER).submit(data)


def take_up(parts: Parts, data: bytes) -> Coroutine[Any, Any, Any]:
    return Application(parts, RECEIVER).receive(document(parts, stored=parts.store(data)))


async def answer(parts: Parts, data: bytes) -> None:
    edge = Application(parts, RECEIVER, acknowledge=False, on_demand=True)
    await edge.receive(document(parts, stored=parts.store(data)))
    commit = await edge.station.answer(MESSAGE, Verdict("fatal-error", "ikke til os"))
    assert commit is not None
    await parts.run(commit)


def handler(parts: Parts, sharing: Sharing | None = None) -> MessageServiceHandler:
    made = MessageServiceHandler(
        database=parts.database,
        payloads=parts.payloads,
        reporter=parts.reporter,
        clock=parts.clock,
        ids=parts.ids,
        sharing=sharing,
    )
    made.down, made.up = Neighbour(), Neighbour()
    return made


def wrap(parts: Parts, data: bytes) -> Coroutine[Any, Any, Any]:
    return handler(parts).take_document(document(parts, stored=parts.store(data)))


def unwrap(parts: Parts, data: bytes) -> Coroutine[Any, Any, Any]:
    envelope = write_sbd(parts.payloads, header_for(), data)
    return handler(parts).take_envelope(Envelope(MESSAGE, envelope))


def accept(parts: Parts, data: bytes) -> Coroutine[Any, Any, Any]:
    station = Submit(
        payloads=parts.payloads,
        reporter=parts.reporter,
        clock=parts.clock,
        ids=parts.ids,
        domain="a.example",
    )
    envelope = write_sbd(parts.payloads, header_for(), data)
    return station.take_envelope(Envelope(MESSAGE, envelope))


@pytest.mark.parametrize(
    ("errand", "long"),
    [
        (submit, {"read_message", "validate", "_store"}),
        (take_up, {"read_message", "validate", "content_digest"}),
        (answer, {"read_message", "validate", "content_digest", "findings"}),
        (wrap, {"write_sbd"}),
        (unwrap, {"feed"}),
        (accept, {"feed"}),
    ],
)
async def test_the_loop_itself_goes_through_small_documents_only(
    parts: Parts, apart: Parts, errand: Errand, long: set[str]
) -> None:
    assert await called_on_the_loop(errand(parts, message())) >= long
    # White space at the end is part of a document, and means nothing.
    large = message() + b" " * LARGE_BYTES
    assert not await called_on_the_loop(errand(apart, large)) & long
    assert await parts.journal() == await apart.journal()


LARGE = message() + b" " * LARGE_BYTES


async def test_documents_that_exceed_the_room_are_never_in_memory_together(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted from before the file is read until the station is done with the message."""
    room = Room(2 * len(LARGE) + 1)
    edge = Application(parts, RECEIVER, room=room)
    read: list[str] = []
    most = 0

    async def counting(payloads: PayloadStore, content: Stored, limits: Limits) -> bytes:
        nonlocal most
        read.append(content.payload)
        most = max(most, len(read))
        return await read_content(payloads, content, limits)

    async def take(item: Document) -> Commit:
        try:
            return await edge.station.take_document(item)
        finally:
            read.remove(item.stored.payload)

    monkeypatch.setattr(end_user_application, "read_content", counting)
    items = [document(parts, stored=parts.store(LARGE)) for _ in range(6)]
    async with asyncio.timeout(30):
        taken = await asyncio.gather(*(take(item) for item in items))
    assert (len(taken), most) == (6, 2)
    for commit in taken:
        commit.withdraw()


class Asked(Room):
    """A room for one large document alone, and what was asked of it; whoever asks while inside is told so."""

    def __init__(self) -> None:
        super().__init__(len(LARGE))
        self.asked: list[int] = []
        self._inside: set[object] = set()

    @asynccontextmanager
    async def of(self, octets: int) -> AsyncIterator[None]:
        task = asyncio.current_task()
        assert task not in self._inside
        self._inside.add(task)
        self.asked.append(octets)
        try:
            async with super().of(octets):
                yield
        finally:
            self._inside.remove(task)


def shared(parts: Parts, room: Room) -> tuple[Sharing, MessageServiceHandler]:
    sharing = Sharing(
        THIRD, database=parts.database, payloads=parts.payloads, bells=parts.bells, clock=parts.clock, room=room
    )  # fmt: skip
    return sharing, handler(parts, sharing)


async def test_each_errand_asks_for_room_once_and_for_all_of_its_document(parts: Parts) -> None:
    """With the handler and what it shares right below the application, as in a whole node."""
    room = Asked()
    sharing, below = shared(parts, room)
    edge = Application(parts, RECEIVER, acknowledge=False, on_demand=True, room=room)
    sending = Application(parts, SENDER, room=room)
    edge.station.down = sending.station.down = Joined(below.take_document, parts.reporter)
    item = document(parts, stored=parts.store(LARGE))
    await edge.receive(item)
    assert room.asked == [len(LARGE)]
    commit = await edge.station.answer(MESSAGE, Verdict("fatal-error", "ikke til os"))
    assert commit is not None
    await parts.run(commit)
    assert room.asked == [len(LARGE)] * 2
    await sending.submit(LARGE)
    assert room.asked == [len(LARGE)] * 3
    header = header_for(receiver=THIRD)
    assert (await sharing.complete(header, item.stored)).scope("XDS-METADATA")
    assert room.asked == [len(LARGE)] * 4
    # What is no copy is not read.
    assert await sharing.complete(header_for(), item.stored) == header_for()
    assert room.asked == [len(LARGE)] * 4
