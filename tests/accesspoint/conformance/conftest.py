"""One throw-away node for all tests of the kit that need one, and the ways to break it on purpose."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from accesspoint.conformance.author import Draft
from accesspoint.conformance.interceptor import Act, Script, undisturbed
from accesspoint.conformance.ourselves import OurselvesTarget
from accesspoint.conformance.reading import Message
from accesspoint.conformance.recorder import Recorder
from accesspoint.conformance.target import Sent

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run every asynchronous test of this directory in the loop of the session, where the node runs."""
    shared = pytest.mark.asyncio(loop_scope="session")
    for item in items:
        if HERE in item.path.parents and pytest_asyncio.is_async_test(item):
            item.add_marker(shared, append=False)


class BreakableTarget(OurselvesTarget):
    """A node whose octets can be changed where they leave it: its requests by `forge`, its answers by `answer`."""

    def __init__(self) -> None:
        super().__init__()
        self.forge: Callable[[Message, int], Message] = lambda request, number: request

    def answer(self, change: Callable[[Message, Message], Message]) -> None:
        """Have every answer of the node changed, given the request it answers."""
        self.inward.script = lambda number: Act(answer=change)

    def mend(self) -> None:
        """Let everything be as it is."""
        self.inward.script = undisturbed
        self.forge = lambda request, number: request

    async def submit(self, draft: Draft, recorder: Recorder, script: Script = undisturbed) -> Sent:
        return await super().submit(draft, recorder, self._forged(script))

    async def send_business(self, recorder: Recorder, script: Script = undisturbed) -> Sent:
        return await super().send_business(recorder, self._forged(script))

    def _forged(self, script: Script) -> Script:
        def forged(number: int) -> Act:
            return replace(script(number), request=lambda request: self.forge(request, number))

        return forged


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def running_node() -> AsyncIterator[BreakableTarget]:
    async with BreakableTarget() as target:
        yield target


@pytest.fixture
def ourselves(running_node: BreakableTarget) -> BreakableTarget:
    """The node, whole."""
    running_node.mend()
    return running_node
