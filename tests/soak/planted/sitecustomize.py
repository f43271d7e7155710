"""Plants one fault in a node: put on its PYTHONPATH, it replaces one thing that durability rests on, before the node starts.

`SOAK_PLANTED` names the fault. Each is a change that a careless developer could make and that no single
exchange would show. Without fsync is not among them: a killed process loses nothing that it has written, only
a machine that loses its power does, so that fault belongs to the simulation of power loss.
"""

import asyncio
import os
from typing import Any


def dedupe_off() -> None:
    """The receiver forgets what it accepted: no look-up, no duplicate key, and no unique key that would stand in for it."""
    from accesspoint.inbound import receiver
    from accesspoint.store import messages

    async def finds_nothing(*_: Any, **__: Any) -> None:
        return None

    receiver.find_duplicate = finds_nothing
    receiver.record_duplicate_key = finds_nothing
    insert = messages.insert_message

    async def insert_message(tx: Any, new: Any, **named: Any) -> None:
        await tx.execute("DROP INDEX IF EXISTS messages_outbound_id")
        await insert(tx, new, **named)

    receiver.insert_message = insert_message


def receipt_before_commit() -> None:
    """The receipt leaves first and the message becomes durable a moment later."""
    from accesspoint.inbound import receiver

    commit = receiver.Receiver._commit
    pending = set()

    async def answers_first(
        self: Any, work: Any, verified: Any, receipt: bytes, **named: Any
    ) -> Any:
        async def later() -> None:
            await asyncio.sleep(0.2)
            await commit(self, work, verified, receipt, **named)

        task = asyncio.get_running_loop().create_task(later())
        pending.add(task)
        task.add_done_callback(pending.discard)
        return receiver.Answer(200, receiver.SOAP_TYPE, receipt)

    receiver.Receiver._commit = answers_first


def mark_before_post() -> None:
    """An event is marked as sent in the commit that claims it, before the status component has it."""
    from accesspoint.delivery import outbox

    outbox._LEASE = (
        "UPDATE outbox SET next_at = $2, attempts = attempts + 1, state = 'sent', sent_at = $2"
        " WHERE seq = $1"
    )


def forgotten_leases() -> None:
    """What a dead process held is never given back, neither at the start nor when its time is over."""
    from accesspoint import app
    from accesspoint.store import heartbeat

    async def nothing(*_: Any, **__: Any) -> int:
        return 0

    app.release_leases = heartbeat.release_leases = nothing


def acknowledged_before_sent() -> None:
    """A message counts as acknowledged when its attempt begins, with a receipt to come."""
    from accesspoint.outbound import sender

    advance = sender.advance

    async def too_early(tx: Any, row: Any, states: Any, **named: Any) -> None:
        if isinstance(states, list) and states[-1] == "SENDING":
            states = [*states, "ACKNOWLEDGED"]
        await advance(tx, row, states, **named)

    sender.advance = too_early


_FAULTS = {
    "dedupe-off": dedupe_off,
    "receipt-before-commit": receipt_before_commit,
    "mark-before-post": mark_before_post,
    "forgotten-leases": forgotten_leases,
    "acknowledged-before-sent": acknowledged_before_sent,
}

if os.environ.get("SOAK_PLANTED"):
    _FAULTS[os.environ["SOAK_PLANTED"]]()
