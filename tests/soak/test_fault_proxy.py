"""The proxy does what each plan says, at the octet that it says, and counts only what happened."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from fault_proxy import HOST, FaultProxy, Kind, Plan, Way, seeded

REQUEST = bytes(range(256)) * 40
ANSWER = b"answer" * 500
SHORT = b"your request ended early"


class Target:
    """A server that keeps what came, and answers each request once it has the whole of it."""

    def __init__(self) -> None:
        self.came: list[bytearray] = []
        self.saw_end = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got = bytearray()
        self.came.append(got)
        try:
            while data := await reader.read(65536):
                got += data
                if len(got) % len(REQUEST) == 0:
                    writer.write(ANSWER)
                    await writer.drain()
            if len(got) % len(REQUEST):
                writer.write(SHORT)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            self.saw_end.set()
            writer.close()


class Scene:
    """A target behind a proxy, with one plan at most."""

    def __init__(self, proxy: FaultProxy, target: Target) -> None:
        self.proxy, self.target = proxy, target

    async def ask(self, *, times: int = 1, seconds: float = 5) -> bytes:
        """Send the request so many times on one connection, each after the answer to the one before; a broken
        connection raises. Returns what came."""
        host, _, port = self.proxy.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            async with asyncio.timeout(seconds):
                got = b""
                for time_ in range(1, times + 1):
                    writer.write(REQUEST)
                    while len(got) < time_ * len(ANSWER):
                        data = await reader.read(65536)
                        if not data:
                            return got
                        got += data
                return got
        finally:
            writer.transport.abort()


@asynccontextmanager
async def scene(plan: Plan | None) -> AsyncIterator[Scene]:
    target = Target()
    server = await asyncio.start_server(target.serve, HOST, 0)
    plans = iter([plan])
    proxy = FaultProxy(lambda _: next(plans, None))
    proxy.target = (HOST, server.sockets[0].getsockname()[1])
    await proxy.open()
    try:
        yield Scene(proxy, target)
    finally:
        await proxy.close()
        server.close()


async def test_without_a_plan_everything_passes():
    async with scene(None) as here:
        assert await here.ask() == ANSWER
        assert here.target.came == [REQUEST]
        assert not here.proxy.fired


async def test_nobody_behind_it_looks_like_a_broken_connection():
    async with scene(None) as here:
        here.proxy.target = (HOST, 1)
        with pytest.raises(ConnectionError):
            await here.ask()


@pytest.mark.parametrize("after", [0, 1, 5000])
async def test_cut_ends_the_request_at_the_octet(after):
    async with scene(Plan(Kind.CUT, after)) as here:
        assert await here.ask() == b""
        await here.target.saw_end.wait()
        assert here.target.came == [REQUEST[:after]]
        assert here.proxy.fired == {Kind.CUT: 1}


async def test_cut_ends_the_answer_at_the_octet():
    async with scene(Plan(Kind.CUT, 1000, Way.ANSWER)) as here:
        assert await here.ask() == ANSWER[:1000]
        assert here.target.came == [REQUEST]


async def test_reset_breaks_the_connection_for_both():
    async with scene(Plan(Kind.RESET, 3000)) as here:
        with pytest.raises(ConnectionError):
            await here.ask()
        await here.target.saw_end.wait()
        assert REQUEST.startswith(here.target.came[0])
        assert len(here.target.came[0]) <= 3000


async def test_half_close_ends_the_request_and_not_yet_the_connection():
    async with scene(Plan(Kind.HALF_CLOSE, 3000, seconds=0.2)) as here:
        assert await here.ask() == SHORT
        assert here.target.came == [REQUEST[:3000]]
        assert here.proxy.fired == {Kind.HALF_CLOSE: 1}


async def test_blackhole_lets_nothing_through_and_says_nothing():
    async with scene(Plan(Kind.BLACKHOLE, 3000, seconds=30)) as here:
        with pytest.raises(TimeoutError):
            await here.ask(seconds=0.2)
        assert here.target.came == [REQUEST[:3000]]
        assert here.proxy.fired == {Kind.BLACKHOLE: 1}


async def test_blackhole_of_the_answer_stops_the_request_as_well():
    async with scene(Plan(Kind.BLACKHOLE, 0, Way.ANSWER, seconds=0.1)) as here:
        with pytest.raises(ConnectionError):
            await here.ask()
        assert here.target.came == [REQUEST]


async def test_delay_keeps_the_rest_back():
    async with scene(Plan(Kind.DELAY, 3000, seconds=0.2)) as here:
        began = time.monotonic()
        assert await here.ask() == ANSWER
        assert time.monotonic() - began >= 0.2
        assert here.target.came == [REQUEST]


async def test_drip_passes_everything_in_crumbs():
    async with scene(Plan(Kind.DRIP, 100, seconds=0.2)) as here:
        began = time.monotonic()
        assert await here.ask() == ANSWER
        assert time.monotonic() - began >= 0.15
        assert here.target.came == [REQUEST]


async def test_a_lost_answer_leaves_the_request_whole_and_the_sender_with_nothing():
    async with scene(Plan(Kind.LOSE_ANSWER, 5000)) as here:
        with pytest.raises(ConnectionError):
            await here.ask()
        assert here.target.came == [REQUEST]
        assert here.proxy.fired == {Kind.LOSE_ANSWER: 1}


async def test_what_was_planned_behind_the_last_octet_did_not_happen():
    async with scene(Plan(Kind.CUT, len(REQUEST))) as here:
        assert await here.ask() == ANSWER
        assert not here.proxy.fired


async def test_a_plan_for_a_later_turn_leaves_the_earlier_ones_alone():
    async with scene(Plan(Kind.CUT, 7, Way.ANSWER, turn=2)) as here:
        assert await here.ask(times=4) == 2 * ANSWER + ANSWER[:7]
        assert here.target.came == [3 * REQUEST]


async def test_a_connection_that_outlives_a_fault_meets_the_next():
    plans = iter([Plan(Kind.DELAY, 10, seconds=0.01), Plan(Kind.CUT, 0, turn=1)])
    async with scene(None) as here:
        here.proxy.script = lambda _: next(plans, None)
        assert await here.ask(times=4) == ANSWER
        assert here.proxy.fired == {Kind.DELAY: 1, Kind.CUT: 1}


def test_a_seed_gives_the_same_script_again_and_every_kind():
    plans = [list(map(seeded(7, turns=3), range(500))) for _ in range(2)]
    assert plans[0] == plans[1]
    assert {plan.kind for plan in plans[0] if plan} == set(Kind)
    assert plans[0] != list(map(seeded(8, turns=3), range(500)))
