"""Steps of tests that send: let time pass for the sender, and wait for what becomes of a message."""

import asyncio
from datetime import timedelta
from typing import Any

from accesspoint.stations import Bell


async def pass_time(outbound: Any, seconds: float) -> None:
    outbound.parts.clock.advance(timedelta(seconds=seconds))
    outbound.parts.bells.ring(Bell.SENDER)


async def until_state(outbound: Any, id_: str, *states: str) -> dict[str, Any]:
    async with asyncio.timeout(10):
        while (row := await outbound.row(id_))["state"] not in states:
            await outbound.parts.bells.wait(Bell.JOURNAL, at_most_seconds=0.05)
    return dict(row)


async def until_given_up(outbound: Any, id_: str, *states: str) -> dict[str, Any]:
    """Let time pass until the retries are spent."""
    async with asyncio.timeout(20):
        while (row := await outbound.row(id_))["state"] not in states:
            if row["lease_owner"] is None:
                await pass_time(outbound, 5)
            await asyncio.sleep(0.002)
    return dict(row)
