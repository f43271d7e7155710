"""What a large document costs is not paid on the event loop, at any station; a small one costs less than a thread hop."""

import sys
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any

import pytest
from application_edge import Application, message
from station_parts import MESSAGE, RECEIVER, SENDER, Neighbour, Parts, document, header_for

from accesspoint.aside import LARGE_BYTES
from accesspoint.outbound.submit import Submit
from accesspoint.stations.answering import Verdict
from accesspoint.stations.document import Envelope
from accesspoint.stations.message_service_handler import MessageServiceHandler
from accesspoint.stations.sbd_file import write_sbd

Errand = Callable[[Parts, bytes], Coroutine[Any, Any, Any]]


async def called_on_the_loop(errand: Coroutine[Any, Any, Any]) -> set[str]:
    """The names of all functions that the thread of the event loop ran itself."""
    called: set[str] = set()

    def look(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call":
            called.add(frame.f_code.co_name)

    sys.setprofile(look)
    try:
        await errand
    finally:
        sys.setprofile(None)
    return called


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


def handler(parts: Parts) -> MessageServiceHandler:
    made = MessageServiceHandler(
        database=parts.database,
        payloads=parts.payloads,
        reporter=parts.reporter,
        clock=parts.clock,
        ids=parts.ids,
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
