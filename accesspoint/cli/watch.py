"""`accesspoint watch`: the journal of every node of the running network, live, as one timeline."""

import asyncio
import contextlib
import sys
from datetime import datetime
from pathlib import Path

from accesspoint.api.client import NodeAddress, NodeClient, NodeUnreachable
from accesspoint.cli.current import current_nodes
from accesspoint.config import load
from accesspoint.demo.timeline import Moment, Timeline

UNREACHABLE, INTERRUPTED = 5, 130


def run(message: str | None, *, config: Path | None) -> int:
    """Follow until interrupted; the exit status."""
    try:
        configs = [config] if config is not None else current_nodes()
        nodes = [NodeAddress.load(load(path).store.directory) for path in configs]
        asyncio.run(_watch(nodes, message))
    except NodeUnreachable as error:
        sys.stderr.write(f"{error}\n  do: accesspoint dev\n")
        return UNREACHABLE
    except KeyboardInterrupt:
        return INTERRUPTED
    return UNREACHABLE


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
            async for entry in node.follow():
                if (
                    message is None
                    or message in (entry["message_identifier"], entry["subject"])
                    or entry["message_identifier"].startswith(message)
                ):
                    await queue.put(Moment(label, datetime.fromisoformat(entry["at"]), entry))
    await queue.put(None)
