"""One request, one message: what an Idempotency-Key promises, over real connections, at the same moment and after a restart."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from as4_stage import Pki, Stage

from accesspoint.api import submitting
from accesspoint.api.client import NodeAddress
from accesspoint.api.submitting import read_key
from accesspoint.aside import LARGE_BYTES, Room
from accesspoint.clock import SystemClock
from accesspoint.demo.play import sample_message, spoil
from accesspoint.demo.scenery import CLINIC, MUNICIPALITY
from envelope.limits import DEFAULT_LIMITS

from .conftest import Interface

MESSAGES = "/api/v1/messages"
KEY = "7b1c6f2e-5a70-4f3e-9a3e-0c7c2c0b7b5d"


@pytest.fixture
def message() -> bytes:
    return sample_message(SystemClock())


async def submit(
    interface: Interface,
    data: bytes | AsyncIterator[bytes],
    key: str | None = KEY,
    *,
    query: str = "",
) -> tuple[int, Mapping[str, Any]]:
    headers = {"Authorization": f"Bearer {interface.address.token}"}
    if key is not None:
        headers["Idempotency-Key"] = key
    async with interface.session.post(
        interface.address.url + MESSAGES + query, data=data, headers=headers
    ) as response:
        return response.status, await response.json(content_type=None)


async def count(interface: Interface, table: str) -> int:
    return len(await interface.node.rows(f"SELECT * FROM {table}"))


@pytest.mark.parametrize(
    ("header", "key"),
    [(None, None), ("a", "a"), ('"a b"', ""), ('"a"', "a"), ("", ""), ("x" * 255, "x" * 255), ("x" * 256, ""), ("æ", ""),
     ("a\\b", ""), ('"', ""), ("a,b", "a,b")],
)  # fmt: skip
def test_what_a_key_is(header: str | None, key: str | None) -> None:
    assert read_key(header) == key


async def test_the_same_request_is_answered_as_the_first_time(
    interface: Interface, message: bytes
) -> None:
    status, first = await submit(interface, message)
    assert status == 202
    assert await submit(interface, message) == (200, {**first, "repeated": True})
    assert await submit(interface, message, f'"{KEY}"') == (200, {**first, "repeated": True})
    assert await count(interface, "documents") == await count(interface, "submissions") == 1


@pytest.mark.parametrize("change", ["another message", "other octets", "another receiver"])
async def test_another_request_under_the_key_is_refused_and_alarmed(
    interface: Interface, message: bytes, change: str
) -> None:
    await submit(interface, message)
    data = {"another message": sample_message(SystemClock()), "other octets": message + b" "}
    query = f"?to={CLINIC.address.gln}" if change == "another receiver" else ""
    status, body = await submit(interface, data.get(change, message), query=query)
    assert (status, body["title"], body["whose"]) == (422, "idempotency-key-reused", "ours")
    assert body["remedy"]
    assert await count(interface, "documents") == 1
    [noted] = await interface.node.rows("SELECT * FROM journal WHERE event = 'submission-refused'")
    assert (noted["station"], noted["problem"]) == ("EUA", "idempotency-key-reused")


async def test_several_at_once_under_one_key_are_one_message(
    interface: Interface, message: bytes
) -> None:
    answers = await asyncio.gather(*(submit(interface, message) for _ in range(5)))
    assert sorted(status for status, _ in answers) == [200, 200, 200, 200, 202]
    assert len({body["message_identifier"] for _, body in answers}) == 1
    assert await count(interface, "documents") == 1


async def test_two_messages_at_once_under_one_key_are_one_message(interface: Interface) -> None:
    several = [sample_message(SystemClock()) for _ in range(3)]
    answers = await asyncio.gather(*(submit(interface, data) for data in several))
    assert sorted(status for status, _ in answers) == [202, 422, 422]
    assert await count(interface, "documents") == await count(interface, "submissions") == 1
    await interface.node.until(lambda: _one_file(interface), "a refused message left its file")


async def _one_file(interface: Interface) -> bool:
    rows = await interface.node.rows(
        "SELECT payload FROM documents UNION SELECT payload FROM messages"
        " UNION SELECT part FROM wires WHERE part IS NOT NULL"
    )
    return len(list(interface.node.point.payloads.entries())) == len(rows)


async def test_one_message_under_two_keys_is_one_message_and_both_keys_are_taken(
    interface: Interface, message: bytes
) -> None:
    status, first = await submit(interface, message)
    assert await submit(interface, message, "other") == (200, {**first, "repeated": True})
    status, body = await submit(interface, sample_message(SystemClock()), "other")
    assert (status, body["title"]) == (422, "idempotency-key-reused")
    assert await count(interface, "documents") == 1


async def test_a_refused_message_leaves_its_key_free(interface: Interface, message: bytes) -> None:
    assert (await submit(interface, spoil(message)))[0] == 422
    assert (await submit(interface, message))[0] == 202


@pytest.mark.parametrize("key", ["", "a b", "x" * 256])
async def test_a_key_of_no_legal_form_is_refused(
    interface: Interface, message: bytes, key: str
) -> None:
    status, body = await submit(interface, message, key)
    assert (status, body["title"]) == (400, "bad-parameter")
    assert await count(interface, "documents") == 0


async def test_a_key_survives_a_restart(pki: Pki, stage: Stage, message: bytes) -> None:
    path = stage.write_node(MUNICIPALITY, pki.municipality, partners={})
    answers = []
    for _ in range(2):
        async with stage.run(path) as node, aiohttp.ClientSession(trust_env=False) as session:
            interface = Interface(node, NodeAddress.load(path.parent / "store"), session)
            answers.append(await submit(interface, message))
    (status, first), again = answers
    assert (status, again) == (202, (200, {**first, "repeated": True}))


async def test_other_content_under_a_used_identifier_is_alarmed(
    interface: Interface, message: bytes
) -> None:
    await submit(interface, message, None)
    status, body = await submit(interface, message + b" ", None)
    assert (status, body["title"]) == (409, "message-already-submitted")
    [noted] = await interface.node.rows("SELECT * FROM journal WHERE event = 'submission-refused'")
    assert noted["problem"] == "message-already-submitted"


class Narrow(Room):
    """Room for one large message at a time, which tells who asks."""

    def __init__(self) -> None:
        super().__init__(LARGE_BYTES + 1)
        self.asked: asyncio.Queue[int] = asyncio.Queue()

    @asynccontextmanager
    async def of(self, octets: int) -> AsyncIterator[None]:
        self.asked.put_nowait(octets)
        async with super().of(octets):
            yield


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> Narrow:
    """The room of a node that is started afterwards."""
    room = Narrow()
    monkeypatch.setattr(submitting, "Room", lambda: room)
    return room


async def in_pieces(data: bytes, rest: asyncio.Event) -> AsyncIterator[bytes]:
    """All but the last octet, and that one when `rest` is set: a body that does not say how long it is."""
    yield data[:-1]
    await rest.wait()
    yield data[-1:]


async def test_large_messages_are_read_one_after_the_other_and_small_ones_meanwhile(
    narrow: Narrow, interface: Interface
) -> None:
    small, large, late = (sample_message(SystemClock()) for _ in range(3))
    large, late = large + b" " * LARGE_BYTES, late + b" " * LARGE_BYTES
    rest, nothing_more = asyncio.Event(), asyncio.Event()
    nothing_more.set()
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        lost = group.create_task(submit(interface, in_pieces(large, rest), None))
        assert await narrow.asked.get() == DEFAULT_LIMITS.fhir_bytes + 1
        lost.cancel()  # who goes away gives the room back
        slow = group.create_task(submit(interface, in_pieces(large, rest), None))
        assert await narrow.asked.get() == DEFAULT_LIMITS.fhir_bytes + 1
        waiting = group.create_task(submit(interface, late, None))
        assert await narrow.asked.get() == len(late)
        for body in (small, in_pieces(small, nothing_more)):
            status, taken = await submit(interface, body, None)
            assert status in (200, 202)
        assert not slow.done()
        assert not waiting.done()
        rest.set()
    assert [slow.result()[0], waiting.result()[0], narrow.asked.qsize()] == [202, 202, 0]
    created = await interface.node.rows(
        "SELECT message_identifier FROM journal WHERE event = 'created' ORDER BY seq"
    )
    assert [row["message_identifier"] for row in created] == [
        one["message_identifier"] for one in (taken, slow.result()[1], waiting.result()[1])
    ]
