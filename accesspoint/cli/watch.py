"""`accesspoint watch`: the journal of every node of the running network, live, as one timeline."""

import asyncio
import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path

from accesspoint.api.client import Json, NodeAddress, NodeClient, NodeUnreachable
from accesspoint.cli.current import address_of, current_nodes
from accesspoint.demo.timeline import Moment, Timeline, in_order, take_together
from accesspoint.problems import ExitStatus


def run(message: str | None, *, config: Path | None) -> int:
    """Follow until interrupted; the exit status."""
    configs = [config] if config is not None else current_nodes()
    nodes = [address_of(path) for path in configs]
    asyncio.run(_watch(nodes, message))
    sys.stderr.write("the network has stopped\n")
    return ExitStatus.UNREACHABLE


class Story:
    """What belongs to the messages whose identifier begins like this: they, their answers, the answers to those."""

    def __init__(self, beginning: str) -> None:
        self._beginning = beginning
        self._known: set[str] = set()

    def takes(self, entry: Json) -> bool:
        """Whether a journal entry belongs to it; of one node the entries must come in their order."""
        names = (entry["message_identifier"], entry["subject"])
        if not any(name in self._known or name.startswith(self._beginning) for name in names):
            return False
        # An answer names the message that it is about; what is about this answer names the answer.
        self._known.add(entry["message_identifier"])
        return True


@dataclass(frozen=True, slots=True)
class _Begun:
    """A node that answers: what it is called, where its journal ended then, and what was to show of it."""

    label: str
    position: int
    past: tuple[Moment, ...]


async def _watch(nodes: list[NodeAddress], message: str | None) -> None:
    out = Timeline(sys.stdout)
    story = Story(message) if message is not None else None
    queue: asyncio.Queue[Moment | None] = asyncio.Queue()
    async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        clients = [await stack.enter_async_context(NodeClient(node)) for node in nodes]
        begun = await asyncio.gather(*(_begin(client, story) for client in clients))
        # Nodes tell their past one after the other; it is shown in the order in which it happened.
        past = in_order(moment for one in begun if one for moment in one.past)
        for moment in past:
            out.show(moment)
        if message is not None and not past and any(begun):
            out.say(f"  no message begins with {message!r} yet; waiting (Ctrl-C ends it)")
        for client, one in zip(clients, begun, strict=True):
            group.create_task(_follow(client, one, story, queue))
        ended = 0
        while ended < len(nodes):
            together = await take_together(queue)
            ended += together.count(None)
            for moment in in_order(moment for moment in together if moment is not None):
                out.show(moment)


async def _begin(node: NodeClient, story: Story | None) -> _Begun | None:
    """Read what is to be shown at once: of one message everything, else nothing; None when the node is gone."""
    try:
        label, position = (await node.about())["label"], await node.position()
        past = []
        if story is not None and position > 0:
            async for entry in node.follow():
                if story.takes(entry):
                    past.append(Moment.of(entry["node"] or label, entry))
                if entry["seq"] >= position:
                    break
        return _Begun(label, position, tuple(past))
    except NodeUnreachable:
        return None


async def _follow(
    node: NodeClient,
    begun: _Begun | None,
    story: Story | None,
    queue: asyncio.Queue[Moment | None],
) -> None:
    """Feed one node's journal into the queue; a node that goes away ends its part with None."""
    with contextlib.suppress(NodeUnreachable):
        if begun is not None:
            async for entry in node.follow(after=begun.position):
                if story is None or story.takes(entry):
                    await queue.put(Moment.of(entry["node"] or begun.label, entry))
    await queue.put(None)
