"""Steps of tests that send: let time pass for the sender, and wait for what becomes of a message."""

import asyncio
from datetime import timedelta
from typing import Any

from accesspoint.stations import Bell
from accesspoint.store.database import Row


async def pass_time(outbound: Any, seconds: float) -> None:
    outbound.parts.clock.advance(timedelta(seconds=seconds))
    outbound.parts.bells.ring(Bell.SENDER)


async def until_state(outbound: Any, id_: str, *states: str) -> Row:
    async with asyncio.timeout(10):
        while (row := await outbound.row(id_))["state"] not in states:
            await outbound.parts.bells.wait(Bell.JOURNAL, at_most_seconds=0.05)
    return row


async def until_attempt(outbound: Any, id_: str, attempt: int) -> Row:
    """Wait until what this attempt came to is in the row, and with it when the next one is due."""
    async with asyncio.timeout(10):
        while (row := await outbound.row(id_))["attempt"] < attempt or row["lease_owner"]:
            await outbound.parts.bells.wait(Bell.JOURNAL, at_most_seconds=0.05)
    return row


async def until_given_up(outbound: Any, id_: str, *states: str) -> Row:
    """Let time pass until the retries are spent."""
    async with asyncio.timeout(20):
        while (row := await outbound.row(id_))["state"] not in states:
            if row["lease_owner"] is None:
                await pass_time(outbound, 5)
            await asyncio.sleep(0.002)
    return row
