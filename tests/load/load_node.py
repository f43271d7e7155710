"""One access point of a load run, in a process of its own: the real node, driven line by line over standard input.

    python tests/load/load_node.py CONFIG

It answers each JSON line with one JSON line. `prepare` makes envelopes in memory, unmeasured; `send`
hands them in as the station above does (the file made durable, then one commit), never more than
`in_flight` at once, and returns when every receipt is verified and durable; `arrived` waits for that
many durable hand-overs at the receiving side; `usage` tells this process's CPU time and peak memory.
"""

import asyncio
import json
import resource
import sys
from pathlib import Path
from typing import Any

from load_scene import new_envelope

from accesspoint import log
from accesspoint.app import AccessPoint, start
from accesspoint.config import load
from accesspoint.outbound.submit import Submit
from accesspoint.stations import Bell
from accesspoint.stations.carrier import StationClient
from accesspoint.stations.document import Envelope
from accesspoint.stations.link import Handover
from accesspoint.stations.sbd_file import stored
from accesspoint.store.payloads import PayloadStore
from envelope.sbdh import StandardBusinessDocumentHeader

Json = dict[str, Any]


class Driver:
    """Drives one node; the envelopes of the next batch wait here."""

    def __init__(self, node: AccessPoint) -> None:
        self._node = node
        self._ready: list[tuple[StandardBusinessDocumentHeader, bytes]] = []
        self._sent = 0
        self._submit = Submit(
            payloads=node.payloads,
            reporter=node.reporter,
            clock=node.clock,
            ids=node.ids,
            domain=node.domain,
            lane_of=node.lanes.lane_of,
        )

    async def answer(self, asked: Json) -> Json:
        """Do what one line asks for."""
        match asked["do"]:
            case "prepare":
                self._ready = [new_envelope(number) for number in range(asked["messages"])]
                return {}
            case "send":
                await self._send(asked["in_flight"])
                return {"latency": await self._latencies(asked["messages"])}
            case "arrived":
                await self._wait("SELECT max(rowid) AS n FROM handovers", asked["messages"])
                return {}
            case _:
                usage = resource.getrusage(resource.RUSAGE_SELF)
                return {
                    "cpu": usage.ru_utime + usage.ru_stime,
                    "peak_kib": usage.ru_maxrss,
                    "as4": self._node.addresses["as4"],
                }

    async def _send(self, in_flight: int) -> None:
        for header, data in self._ready:
            await self._acknowledged(self._sent + 1 - in_flight)
            with self._node.payloads.create() as writer:
                writer.write(data)
                document = stored(writer.finish())
            identifier = header.scope("MESSAGEIDENTIFIER") or ""
            commit = await self._submit.take_envelope(Envelope(identifier, document, header))
            await self._node.bells.run(self._node.database, commit)
            self._sent += 1
        self._ready = []
        await self._acknowledged(self._sent)

    async def _acknowledged(self, count: int) -> None:
        if count > 0:
            await self._wait("SELECT max(rowid) AS n FROM receipts", count)

    async def _wait(self, sql: str, count: int) -> None:
        while True:
            row = await self._node.database.fetch_one(sql)
            if row is not None and (row["n"] or 0) >= count:
                return
            await self._node.bells.wait(Bell.JOURNAL, at_most_seconds=5.0)

    async def _latencies(self, last: int) -> list[float]:
        """Milliseconds from the commit that accepted a message to the one that holds its receipt."""
        rows = await self._node.database.fetch(
            "SELECT receipts.at - messages.created_at AS us FROM messages JOIN receipts ON receipts.message = messages.id"
            " ORDER BY messages.id DESC LIMIT $1",
            last,
        )
        return [int(row["us"]) / 1000 for row in rows]


async def never_taken(client: StationClient, handover: Handover) -> None:
    """Leave the durable hand-over where it is: carrying it to the station above is no part of an AS4 push."""
    await asyncio.Event().wait()


def fill_directories(payloads: PayloadStore) -> None:
    """Bring the store to the state of its first hour: all directories exist, whose making is no part of a push."""
    for number in range(256):
        payloads._place.shard(f"{number:02x}")


async def main(config: Path) -> None:
    """Run the node and answer until standard input ends."""
    log.configure(format=log.Format.JSON)
    StationClient.carry = never_taken  # type: ignore[method-assign]
    async with start(load(config)) as node:
        fill_directories(node.payloads)
        driver = Driver(node)
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            answer = await driver.answer(json.loads(line))
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
