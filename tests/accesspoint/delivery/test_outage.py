"""Three days without the status component: the queue grows, drains in order, and tokens end while it does."""

import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

import aiohttp
import orjson
import pytest

from accesspoint.clock import ManualClock
from accesspoint.delivery.events import DeliveryEvent, DeliveryFacts, Station, SubType
from accesspoint.delivery.outbox import Outbox
from accesspoint.delivery.relay import Relay
from accesspoint.delivery.token import TokenSource
from accesspoint.network.faults import Fault
from accesspoint.status_component.resource import Resource, event_key
from accesspoint.store.database import Database, Transaction

OUTAGE = timedelta(hours=72)
SUBTYPES = (SubType.CREATED_AND_SENT, SubType.RECEIVED, SubType.SENT, SubType.FINALIZED)


class RunningClock(ManualClock):
    """A clock on which a second passes each time somebody looks, so that a drain takes its time."""

    running = False

    def monotonic(self) -> float:
        """Seconds, one more each time while it runs."""
        if self.running:
            self.advance(timedelta(seconds=1))
        return super().monotonic()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("events", [400, pytest.param(6_000, marks=pytest.mark.slow)])
async def test_after_three_days_everything_arrives_once_and_in_order(
    database: Database, central_services: Any, session: aiohttp.ClientSession, clock: ManualClock,
    facts: DeliveryFacts, events: int, record_testsuite_property: Any,
) -> None:  # fmt: skip
    time_passes = RunningClock(clock.now())
    outbox = Outbox(database, clock=time_passes, glns=[facts.sender_gln])
    asked = 0

    def counted() -> aiohttp.ClientSession:
        nonlocal asked
        asked += 1
        return session

    context = central_services.station.client()
    tokens = TokenSource(
        central_services.token_url, client_id=central_services.client_id, ssl_context=context,
        session=counted, clock=time_passes,
    )  # fmt: skip
    relay = Relay(
        outbox, endpoint=central_services.status_url, tokens={"fjordby-ap": tokens}, ssl_context=context,
        session=lambda: session, clock=time_passes, random=lambda: 0.0,
    )  # fmt: skip
    central_services.faults.add(Fault.STATUS_DOWN)
    messages = [
        replace(facts, message_identifier=f"m-{number}") for number in range(events // len(SUBTYPES))
    ]  # fmt: skip
    hours = OUTAGE // timedelta(hours=1)
    share = -(-len(messages) // hours)
    for hour in range(hours):

        async def work(tx: Transaction, hour: int = hour) -> None:
            for subtype in SUBTYPES:
                for about in messages[hour * share : (hour + 1) * share]:
                    event = DeliveryEvent(
                        Station.AP, "fjordby-ap", subtype, "0", time_passes.now(), about
                    )
                    await outbox.record(tx, event)

        await database.run(work)
        await relay.drain()
        time_passes.advance(timedelta(hours=1))
    assert (await outbox.backlog()).waiting == events
    assert await central_services.store.reports() == []

    central_services.faults.clear()
    tokens_before, time_passes.running = asked, True
    begun = time.perf_counter()
    while (await outbox.backlog()).waiting:
        await relay.drain()
        time_passes.advance(timedelta(minutes=5))
    seconds = time.perf_counter() - begun
    record_testsuite_property("drain", f"{events} events in {seconds:.1f} s")
    print(f"{events} events drained in {seconds:.1f} s, {events / seconds:.0f} a second")  # noqa: T201

    assert await _keys(database) == await _arrived(central_services.store)
    # Tokens live for five minutes of the clock that runs: many ended while the queue drained, none was refused.
    assert asked - tokens_before > 1
    attempts = await database.fetch_one("SELECT count(*) AS n FROM outbox WHERE attempts > 80")
    assert attempts == {"n": 0}


def _by_message(resources: list[Resource]) -> dict[str, list[tuple[str, ...]]]:
    found: dict[str, list[tuple[str, ...]]] = {}
    for resource in resources:
        key = event_key(resource)
        found.setdefault(key[2], []).append(key)
    return found


async def _keys(database: Database) -> dict[str, list[tuple[str, ...]]]:
    """What was recorded, by message in its order."""
    rows = await database.fetch("SELECT body FROM outbox WHERE state = 'sent' ORDER BY seq")
    return _by_message([orjson.loads(row["body"]) for row in rows])


async def _arrived(store: Any) -> dict[str, list[tuple[str, ...]]]:
    """What the status component has, by message in the order of arrival."""
    return _by_message([report.resource for report in await store.reports()])
