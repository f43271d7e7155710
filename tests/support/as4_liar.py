"""Our sender at the mercy of a receiver that answers whatever a test wants."""

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from as4_peer import Arrived, Behaviour, Server
from as4_stage import LogLines, Node, Pki
from as4_wire import leaks, medcom_message

Answer = Callable[["Liar", Arrived], web.StreamResponse]


@dataclass
class Liar:
    """The municipality's node, sending to a clinic that answers as the test wants."""

    pki: Pki
    node: Node
    clinic: Server
    log: LogLines

    async def send(self, answer: Answer | Behaviour | None) -> dict[str, Any]:
        """Send one message, have every attempt answered so; the row of the message in the state it ended in."""
        self.clinic.arrived.clear()

        async def behave(arrived: Arrived, request: web.Request) -> web.StreamResponse:
            return answer(self, arrived)

        self.clinic.behaviour = answer if asyncio.iscoroutinefunction(answer) else behave
        if answer is None:
            self.clinic.behaviour = None
        data, _ = medcom_message(str(uuid.uuid4()), str(uuid.uuid4()))
        submission, commit = await self.node.point.application.submit(data)
        await self.node.point.bells.run(self.node.point.database, commit)
        await self.node.idle()
        (row,) = await self.node.rows(
            "SELECT * FROM messages WHERE direction = 'out' AND message_identifier = $1",
            submission.document.message_identifier,
        )
        # The backend was told how it ended, which is a state of its own.
        assert row["state"] == "NOTIFIED"
        return {**row, "state": (await self.node.states(row["message_id"]))[-2]}

    async def distrusts(
        self, answer: Answer | Behaviour, problem: str, *, state: str = "UNCERTAIN"
    ) -> None:
        """The message ends in `state`, was never acknowledged, and the log and the answer are kept apart."""
        mark = self.log.mark
        row = await self.send(answer)
        states = await self.node.states(row["message_id"])
        assert row["state"] == state, (states, row["problem"])
        assert row["problem"] == problem
        assert "ACKNOWLEDGED" not in states
        receipts = await self.node.rows("SELECT * FROM receipts WHERE message = $1", row["id"])
        assert receipts == []
        if state == "UNCERTAIN":
            assert "RETRY_WAIT" in states, "given up without a retry"
            assert row["arrival_possible"] == 1
        for leak in leaks():
            assert leak not in self.log.text[mark:]
