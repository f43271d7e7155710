"""Submits messages for as long as it is told, whatever happens to the nodes, and waits until nothing is owed any more.

How many exchanges are open at once is bounded from outside: by what was submitted, delivered and reported.
One exchange is a message, its MedCom acknowledgement, and the envelope acknowledgement of each: four AS4
messages and sixteen delivery events.
"""

import asyncio
import time

from accesspoint.api.client import NodeUnreachable
from tests.soak.pair import Pair
from tests.soak.scene import Messages

PUSHES = 4
EVENTS = 16
DELIVERIES = 2
OPEN_AT_MOST = 64
SUBMITTERS = 4


class Load:
    """Submits to the sender of a pair, `SUBMITTERS` at a time."""

    def __init__(self, pair: Pair, messages: Messages, *, exchanges: int | None = None) -> None:
        self._pair = pair
        self._messages = messages
        self._left = exchanges
        self.began = time.monotonic()
        self.repeated = 0

    @property
    def done(self) -> int:
        """How many exchanges are over, by the number of their events and of their deliveries."""
        ledger = self._pair.ledger
        return min(ledger.reported // EVENTS, ledger.delivered // DELIVERIES)

    async def run(self) -> None:
        """Submit until everything is submitted, or until `finish`; returns when the last one is answered."""
        async with asyncio.TaskGroup() as group:
            for _ in range(SUBMITTERS):
                group.create_task(self._submit())

    def finish(self) -> None:
        """Begin no further submission."""
        self._left = 0

    async def drained(self, *, patience: float) -> bool:
        """Wait until every exchange is over and no node owes anything; False when nothing has moved for `patience` seconds."""
        ledger = self._pair.ledger
        seen, since = None, time.monotonic()
        while True:
            owed = sum(node.owes() for node in self._pair.nodes.values())
            if not owed and self.done >= ledger.submitted:
                return True
            moved = (ledger.reported, ledger.delivered, owed)
            if moved != seen:
                seen, since = moved, time.monotonic()
            elif time.monotonic() - since > patience:
                return False
            await asyncio.sleep(0.1)

    async def _submit(self) -> None:
        ledger = self._pair.ledger
        while self._left is None or self._left > 0:
            if ledger.submitted - self.done >= OPEN_AT_MOST:
                await asyncio.sleep(0.01)
                continue
            if self._left is not None:
                self._left -= 1
            identifier, data = self._messages.draw()
            ledger.submit(identifier, data)
            await self._until_answered(data)
            ledger.answer(identifier)

    async def _until_answered(self, data: bytes) -> None:
        """Submit the same octets again and again until the node says that it has them."""
        node = self._pair.sender
        while True:
            await node.up.wait()
            try:
                answer = await node.submit(data)
            except NodeUnreachable:
                await asyncio.sleep(0.02)
                continue
            self.repeated += bool(answer.get("repeated"))
            return
