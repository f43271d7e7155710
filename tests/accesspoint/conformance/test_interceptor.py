"""The man in the middle drops, holds back, repeats and rewrites what passes, and notes what it saw."""

import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio
from aiohttp import web
from as4_stage import Pki

from accesspoint.conformance.case import Unmet
from accesspoint.conformance.interceptor import DROP_ANSWER, Act, Interceptor
from accesspoint.conformance.line import Line
from accesspoint.conformance.reading import Message
from accesspoint.conformance.recorder import Direction, Recorder
from accesspoint.network.listening import Listeners
from envelope.limits import DEFAULT_LIMITS


class Scene:
    """A server that counts, the interceptor before it, and a line to that."""

    answer = b""
    """What the server answers instead of its count."""

    def __init__(self, interceptor: Interceptor, line: Line, came: list[bytes]) -> None:
        self.interceptor = interceptor
        self.line = line
        self.came = came
        self.recorder = Recorder()

    async def post(self, body: bytes = b"one") -> Message:
        return await self.line.post("text/plain", body, Recorder(), "message")

    def acts(self, act: Act) -> None:
        self.interceptor.begin(self.recorder, lambda number: act)


@pytest_asyncio.fixture(loop_scope="session")
async def scene(pki: Pki) -> AsyncIterator[Scene]:
    came: list[bytes] = []
    scenes: list[Scene] = []

    async def take(request: web.Request) -> web.Response:
        came.append(await request.read())
        return web.Response(body=scenes[0].answer or b"answer %d" % len(came))

    application = web.Application()
    application.router.add_post("/as4", take)
    client, server = pki.tls_contexts("municipality")
    listeners = Listeners()
    target = await listeners.start(application, tls=server) + "/as4"
    async with (
        Interceptor(target, server=server, client=client, from_target=False) as interceptor,
        Line(interceptor.url, client) as line,
    ):
        scenes.append(Scene(interceptor, line, came))
        yield scenes[0]
    await listeners.stop()


async def test_what_passes_is_noted_both_ways(scene: Scene) -> None:
    scene.acts(Act())
    assert (await scene.post()).body == b"answer 1"
    directions = [one.direction for one in scene.recorder.exchanged]
    assert directions == [Direction.TO_TARGET, Direction.FROM_TARGET]
    assert [one.body for one in scene.recorder.exchanged] == [b"one", b"answer 1"]


async def test_a_dropped_request_never_arrives(scene: Scene) -> None:
    scene.acts(Act(drop_request=True))
    with pytest.raises(Unmet, match="an HTTP answer"):
        await scene.post()
    assert scene.came == []


async def test_of_a_dropped_answer_the_request_arrived(scene: Scene) -> None:
    scene.acts(DROP_ANSWER)
    with pytest.raises(Unmet, match="an HTTP answer"):
        await scene.post()
    assert scene.came == [b"one"]


async def test_a_repeated_request_arrives_as_often(scene: Scene) -> None:
    scene.acts(Act(repeat=3))
    assert (await scene.post()).body == b"answer 3"
    assert scene.came == [b"one"] * 3


async def test_both_ways_are_rewritten(scene: Scene) -> None:
    def change(one: Message) -> Message:
        return replace(one, body=one.body.upper())

    scene.acts(Act(request=change, answer=lambda request, answer: change(answer)))
    assert (await scene.post()).body == b"ANSWER 1"
    assert scene.came == [b"ONE"]


async def test_an_answer_without_end_is_cut_off(scene: Scene) -> None:
    scene.answer = b"x" * (DEFAULT_LIMITS.response_bytes + 1)
    scene.acts(Act())
    answer = await scene.post()
    assert (answer.status, answer.body) == (502, b"the answer is longer than 1048576 octets\n")
    scene.acts(Act(answer=lambda request, answer: replace(answer, body=scene.answer)))
    with pytest.raises(Unmet, match="an HTTP answer of bounded length"):
        await scene.post()


async def test_a_delay_holds_the_request_back(scene: Scene) -> None:
    scene.acts(Act(delay=0.2))
    began = time.monotonic()
    await scene.post()
    assert time.monotonic() - began >= 0.2
