"""Faults of our own making that the suites must find, planted in a child of the nursery; each is one broken rule.

| fault                  | rule                                                            |
|------------------------|-----------------------------------------------------------------|
| no-sync                | what was answered for is on the disk                            |
| no-dedupe              | a sender's MessageId is accepted once                           |
| receipt-before-commit  | a receipt leaves after its message is durable                   |
| mark-before-post       | an event is sent before it is marked as sent                    |
| lease-ignored          | a result is stored only under the claim that it belongs to      |
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import storage_faults


def no_sync() -> None:
    """Let every synchronisation be a lie; a power cut tells."""
    storage_faults.unsynchronised("1")


def no_dedupe() -> None:
    """Accept whatever comes, under an id of its own where ours is taken."""
    import accesspoint.inbound.receiver as receiver

    insert = receiver.insert_message
    count = iter(range(1_000_000))

    async def find_nothing(*_: Any, **__: Any) -> None:
        return None

    async def insert_always(tx: Any, new: Any, **options: Any) -> None:
        await insert(tx, replace(new, party=f"{new.party} {next(count)}"), **options)

    async def remember_nothing(*_: Any, **__: Any) -> None:
        return None

    receiver.find_duplicate = find_nothing  # type: ignore[assignment]
    receiver.insert_message = insert_always  # type: ignore[assignment]
    receiver.record_duplicate_key = remember_nothing  # type: ignore[assignment]


def receipt_before_commit() -> None:
    """Answer first, store afterwards."""
    from accesspoint.inbound.receiver import SOAP_TYPE, Receiver
    from accesspoint.inbound.refusal import Answer

    commit = Receiver._commit
    later: set[asyncio.Task[Any]] = set()

    async def answer(self: Any, work: Any, verified: Any, receipt: bytes, **options: Any) -> Answer:
        async def afterwards() -> None:
            await asyncio.sleep(0.05)
            await commit(self, work, verified, receipt, **options)

        later.add(asyncio.create_task(afterwards()))
        return Answer(200, SOAP_TYPE, receipt)

    Receiver._commit = answer  # type: ignore[method-assign]


def mark_before_post() -> None:
    """Mark events as sent when they are claimed."""
    from accesspoint.delivery.outbox import Fate, Settlement
    from accesspoint.delivery.relay import Relay

    attempt = Relay._attempt
    later: set[asyncio.Task[Any]] = set()

    async def marked(self: Any, event: Any) -> Settlement:
        async def afterwards() -> None:
            await asyncio.sleep(0.05)
            await attempt(self, event)

        later.add(asyncio.create_task(afterwards()))
        return Settlement(event.seq, Fate.SENT)

    Relay._attempt = marked  # type: ignore[method-assign]


PLANTS: Mapping[str, Callable[[], None]] = MappingProxyType(
    {
        "no-sync": no_sync,
        "no-dedupe": no_dedupe,
        "receipt-before-commit": receipt_before_commit,
        "mark-before-post": mark_before_post,
    }
)


def plant(name: str) -> None:
    """Plant one fault."""
    PLANTS[name]()
