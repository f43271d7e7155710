"""`accesspoint watch`: the journal of every node of the running network, live, as one timeline."""

import asyncio
import contextlib
import sys
from datetime import datetime
from pathlib import Path

from accesspoint.api.client import Json, NodeAddress, NodeClient, NodeUnreachable
from accesspoint.cli.current import current_nodes
from accesspoint.config import load
from accesspoint.demo.timeline import Moment, Timeline
from accesspoint.problems import ExitStatus


def run(message: str | None, *, config: Path | None) -> int:
    """Follow until interrupted; the exit status."""
    configs = [config] if config is not None else current_nodes()
    nodes = [NodeAddress.load(load(path).store.directory) for path in configs]
    asyncio.run(_watch(nodes, message))
    sys.stderr.write("the network has stopped\n")
    return ExitStatus.UNREACHABLE


async def _watch(nodes: list[NodeAddress], message: str | None) -> None:
    out = Timeline(sys.stdout)
    queue: asyncio.Queue[Moment | None] = asyncio.Queue()
    async with asyncio.TaskGroup() as group:
        for node in nodes:
            group.create_task(_follow(node, message, queue))
        ended = 0
        while ended < len(nodes):
            moment = await queue.get()
            if moment is None:
                ended += 1
            else:
                out.show(moment)


async def _follow(
    address: NodeAddress, message: str | None, queue: asyncio.Queue[Moment | None]
) -> None:
    """Feed one node's journal into the queue; a node that goes away ends its part with None."""
    with contextlib.suppress(NodeUnreachable):
        async with NodeClient(address) as node:
            label = (await node.about())["label"]
            # One message is shown from its beginning; everything is shown from now on.
            start = await node.position() if message is None else 0
            async for entry in node.follow(after=start):
                if message is None or is_about(entry, message):
                    await queue.put(Moment(label, datetime.fromisoformat(entry["at"]), entry))
    await queue.put(None)


def is_about(entry: Json, message: str) -> bool:
    """Whether a journal entry belongs to the message whose identifier begins like this, or to its answer."""
    return any(entry[name].startswith(message) for name in ("message_identifier", "subject"))
