"""Threads that only documents use, and the room for large ones: what waits, what does not, and who gives room back."""

import asyncio
import threading
from contextvars import ContextVar

import pytest

from accesspoint.aside import LARGE_BYTES, Room, afar, aside

MANY = 40
SIZE = LARGE_BYTES + 2


async def inside(room: Room, octets: int, held: list[int], leave: asyncio.Event) -> None:
    async with room.of(octets):
        held.append(octets)
        await leave.wait()
        held.remove(octets)


async def settle() -> None:
    """Let everybody go as far as they get without anything from outside the loop."""
    for _ in range(10 * MANY):
        await asyncio.sleep(0)


async def test_documents_that_wait_hold_up_nobody_who_needs_a_thread() -> None:
    """More of them than the loop has threads for everything else."""
    release = threading.Event()
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        for _ in range(MANY):
            group.create_task(aside(release.wait, SIZE))
            group.create_task(afar(release.wait))
        await settle()
        try:
            loop = asyncio.get_running_loop()
            assert await loop.getaddrinfo("127.0.0.1", 1)
            assert await loop.getaddrinfo("localhost", 1)
            assert await asyncio.to_thread(threading.get_ident) != threading.get_ident()
        finally:
            release.set()


async def test_a_thread_knows_what_its_caller_knew() -> None:
    said: ContextVar[str] = ContextVar("said")
    said.set("here")
    assert [await aside(said.get, SIZE), await afar(said.get)] == ["here", "here"]


async def test_large_documents_are_let_in_while_they_fit_in_the_order_they_came() -> None:
    held: list[int] = []
    room, leave = Room(3 * SIZE), asyncio.Event()
    sizes = [SIZE, SIZE + 1, 2 * SIZE, SIZE - 1]
    tasks = [asyncio.create_task(inside(room, size, held, leave)) for size in sizes]
    await settle()
    # The fourth would fit; the third was there first.
    assert held == sizes[:2]
    leave.set()
    async with asyncio.timeout(10):
        await asyncio.gather(*tasks)
    assert held == []


async def test_a_small_document_never_waits() -> None:
    room = Room(SIZE)
    async with room.of(SIZE), room.of(LARGE_BYTES), room.of(0):
        pass


async def test_a_document_that_is_larger_than_the_room_is_let_in_alone() -> None:
    held: list[int] = []
    room, leave = Room(SIZE), asyncio.Event()
    tasks = [asyncio.create_task(inside(room, 2 * SIZE + n, held, leave)) for n in range(3)]
    await settle()
    assert held == [2 * SIZE]
    leave.set()
    async with asyncio.timeout(10):
        await asyncio.gather(*tasks)


@pytest.mark.parametrize("which", [0, 1], ids=["inside", "waiting"])
async def test_who_is_cancelled_gives_room_and_turn_back(which: int) -> None:
    held: list[int] = []
    room, leave = Room(SIZE), asyncio.Event()
    tasks = [asyncio.create_task(inside(room, SIZE + n, held, leave)) for n in range(3)]
    await settle()
    tasks[which].cancel()
    await asyncio.gather(tasks[which], return_exceptions=True)
    leave.set()
    async with asyncio.timeout(10):
        await asyncio.gather(*tasks, return_exceptions=True)
    assert [task.cancelled() for task in tasks] == [n == which for n in range(3)]
    async with asyncio.timeout(10), room.of(SIZE):
        pass


async def test_who_fails_gives_room_back() -> None:
    room = Room(SIZE)
    with pytest.raises(ZeroDivisionError):
        async with room.of(SIZE):
            raise ZeroDivisionError
    async with asyncio.timeout(10), room.of(SIZE):
        pass
