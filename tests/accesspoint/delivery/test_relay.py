"""The relay against the real status component: nothing lost, nothing out of order, poison out of the way."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
import structlog
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from accesspoint.clock import ManualClock
from accesspoint.delivery.events import DeliveryEvent, DeliveryFacts, SubType
from accesspoint.delivery.outbox import Outbox
from accesspoint.delivery.relay import BackOff, Relay, _elements
from accesspoint.delivery.token import TokenSource
from accesspoint.network.faults import Fault
from accesspoint.network.listening import Listeners
from accesspoint.store.database import Database, Row, Transaction

Make = Callable[..., DeliveryEvent]
AN_HOUR = timedelta(hours=1)


@pytest.fixture
def relay(
    outbox: Outbox, central_services: Any, session: aiohttp.ClientSession, clock: ManualClock
) -> Relay:
    return relay_to(central_services.status_url, outbox, central_services, session, clock)


def relay_to(
    url: str,
    outbox: Outbox,
    central_services: Any,
    session: aiohttp.ClientSession,
    clock: ManualClock,
    **more: TokenSource,
) -> Relay:
    """A relay to the status component at `url`."""
    context = central_services.station.client()
    tokens = TokenSource(
        central_services.token_url,
        client_id=central_services.client_id,
        ssl_context=context,
        session=lambda: session,
        clock=clock,
    )
    return Relay(
        outbox,
        endpoint=url,
        tokens={"fjordby-ap": tokens, **more},
        ssl_context=context,
        session=lambda: session,
        clock=clock,
        random=lambda: 0.0,
    )


async def record(database: Database, outbox: Outbox, *events: DeliveryEvent) -> None:
    async def work(tx: Transaction) -> None:
        for event in events:
            await outbox.record(tx, event)

    await database.run(work)
    outbox.woken.set()


async def rows(database: Database) -> list[Row]:
    return await database.fetch("SELECT * FROM outbox ORDER BY seq")


async def test_events_arrive_once_and_in_order_per_message(
    relay: Relay, database: Database, outbox: Outbox, central_services: Any, event_of: Make,
    facts: DeliveryFacts,
) -> None:  # fmt: skip
    order = [SubType.CREATED_AND_SENT, SubType.RECEIVED, SubType.SENT]
    messages = [replace(facts, message_identifier=f"m-{number}") for number in range(5)]
    for subtype in order:
        await record(database, outbox, *(event_of(subtype=subtype, facts=m) for m in messages))

    await relay.drain()

    reports = await central_services.store.reports()
    assert len(reports) == 15
    for message in messages:
        seen = [
            report.resource["subtype"][0]["code"]
            for report in reports
            if report.message_identifier == message.message_identifier
        ]
        assert seen == order
    assert {row["state"] for row in await rows(database)} == {"sent"}
    assert all(row["sent_at"] is not None for row in await rows(database))


async def test_a_status_component_that_is_away_only_delays(
    relay: Relay, database: Database, outbox: Outbox, central_services: Any, event_of: Make,
    clock: ManualClock,
) -> None:  # fmt: skip
    central_services.faults.add(Fault.STATUS_DOWN)
    await record(database, outbox, event_of(subtype=SubType.RECEIVED), event_of())
    for _ in range(3):
        await relay.drain()
        clock.advance(AN_HOUR)
    first, second = await rows(database)
    assert (first["state"], first["problem"], first["attempts"]) == (
        "waiting",
        "status-unreachable",
        3,
    )
    assert (second["state"], second["attempts"]) == ("waiting", 0)

    central_services.faults.clear()
    await relay.drain()

    assert [row["state"] for row in await rows(database)] == ["sent", "sent"]
    assert len(await central_services.store.reports()) == 2


async def test_while_nobody_answers_one_event_at_a_time_is_tried(
    relay: Relay, database: Database, outbox: Outbox, central_services: Any, event_of: Make,
    clock: ManualClock, facts: DeliveryFacts,
) -> None:  # fmt: skip
    messages = [replace(facts, message_identifier=f"m-{number}") for number in range(40)]
    await record(database, outbox, *(event_of(facts=message) for message in messages))
    central_services.faults.add(Fault.STATUS_DOWN)

    # Six hours of outage, looked at every minute: each probe is one attempt, its delay at most five minutes.
    for _ in range(6 * 60):
        await relay.drain()
        clock.advance(timedelta(minutes=1))

    attempts = sum(row["attempts"] for row in await rows(database))
    assert 6 * 12 <= attempts <= 6 * 12 + 8 + 10
    central_services.faults.clear()
    clock.advance(timedelta(minutes=5))
    await relay.drain()
    assert {row["state"] for row in await rows(database)} == {"sent"}


async def test_poison_is_parked_and_later_events_go_on(
    relay: Relay, database: Database, outbox: Outbox, central_services: Any, event_of: Make
) -> None:
    await record(database, outbox, event_of(subtype=SubType.RECEIVED), event_of())
    await database.run(
        lambda tx: tx.execute(
            "UPDATE outbox SET body = replace(body, '\"C\"', '\"U\"') WHERE seq = 1"
        )
    )

    await relay.drain()

    poison, later = await rows(database)
    assert (poison["state"], poison["problem"]) == ("parked", "status-refused")
    assert poison["detail"] == "status 422, AuditEvent.action"
    assert later["state"] == "sent"
    assert len(await central_services.store.reports()) == 1


async def test_fault_status_refuses_parks_until_the_next_start(
    relay: Relay, database: Database, outbox: Outbox, central_services: Any, event_of: Make
) -> None:
    central_services.faults.add(Fault.STATUS_REFUSES)
    await record(database, outbox, event_of())
    await relay.drain()
    assert (await outbox.backlog()).parked == 1

    central_services.faults.clear()
    started = asyncio.create_task(relay.run())
    await central_services.store.wait_for([event_of().facts.message_identifier], 1, seconds=10)
    started.cancel()
    await asyncio.gather(started, return_exceptions=True)

    assert (await outbox.backlog()).parked == 0


@pytest.mark.parametrize(
    "status", [301, 307, 400, 401, 402, 403, 404, 405, 408, 409, 410, 411, 413, 415, 421, 422, 425, 429, 431, 451, 500, 501, 503, 507]
)  # fmt: skip
async def test_only_a_judgement_of_the_event_parks_it(
    status: int, outbox: Outbox, database: Database, central_services: Any, event_of: Make,
    session: aiohttp.ClientSession, clock: ManualClock,
) -> None:  # fmt: skip
    """A wrong path, a proxy or a moved component says nothing of the event: no event is lost to that."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status)

    application, listeners = web.Application(), Listeners()
    application.router.add_post("/AuditEvent", answer)
    url = await listeners.start(application, tls=central_services.station.server())
    relay = relay_to(url, outbox, central_services, session, clock)
    await record(database, outbox, event_of())
    await relay.drain()
    await listeners.stop()
    (row,) = await rows(database)
    assert row["state"] == ("parked" if status in {400, 413, 422} else "waiting")
    assert row["problem"] in {"status-refused", "status-unreachable"}


async def test_a_refusal_names_the_claim_that_does_not_fit_and_nothing_else(
    relay: Relay, database: Database, outbox: Outbox, event_of: Make, facts: DeliveryFacts
) -> None:
    """The token is the station's, the report another device's: a person reads which claim to mend."""
    await record(database, outbox, event_of())
    await database.run(
        lambda tx: tx.execute("UPDATE outbox SET body = replace(body, 'fjordby-ap', 'another')")
    )

    await relay.drain()

    (row,) = await rows(database)
    assert (row["state"], row["problem"]) == ("waiting", "status-refused")
    assert row["detail"] == "status 403, token.ehmi:eer:device_id"


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b'{"issue": [{"expression": ["AuditEvent.entity[10].detail:ehmiMessageType"]}]}', ", AuditEvent.entity[10].detail:ehmiMessageType"),
        (b'{"issue": [{"expression": ["AuditEvent.recorded", "AuditEvent.recorded"]}]}', ", AuditEvent.recorded"),
        (b'{"issue": [{"expression": ["2512489996"], "diagnostics": "2512489996"}]}', ""),
        (b'{"issue": [{"expression": ["AuditEvent 2512489996"]}]}', ""),
        (b'{"issue": [{"expression": "AuditEvent.id"}]}', ""),
        (b'{"issue": [{"expression": [1]}]}', ""),
        (b'{"issue": 3}', ""),
        (b"[]", ""),
        (b"<OperationOutcome/>", ""),
    ],
)  # fmt: skip
def test_of_an_answer_only_elements_are_taken(body: bytes, named: str) -> None:
    assert _elements(body) == named


async def test_an_error_of_ours_postpones_one_event_and_ends_nobody(
    outbox: Outbox, database: Database, central_services: Any, event_of: Make,
    session: aiohttp.ClientSession, clock: ManualClock, facts: DeliveryFacts,
) -> None:  # fmt: skip
    async with aiohttp.ClientSession() as closed:
        pass
    broken_tokens = TokenSource(
        central_services.token_url,
        client_id=central_services.client_id,
        ssl_context=central_services.station.client(),
        session=lambda: closed,
        clock=clock,
    )
    relay = relay_to(
        central_services.status_url, outbox, central_services, session, clock, broken=broken_tokens
    )
    other = replace(facts, message_identifier="other")
    await record(database, outbox, event_of(device_id="broken"), event_of(facts=other))

    await relay.drain()

    broken, sent = await rows(database)
    assert (broken["state"], broken["problem"]) == ("waiting", "internal")
    assert sent["state"] == "sent"


async def test_fault_token_refused_postpones(
    relay: Relay, database: Database, outbox: Outbox, central_services: Any, event_of: Make,
    clock: ManualClock,
) -> None:  # fmt: skip
    central_services.faults.add(Fault.TOKEN_REFUSED)
    await record(database, outbox, event_of())
    await relay.drain()
    (row,) = await rows(database)
    assert (row["state"], row["problem"]) == ("waiting", "token-refused")
    assert row["detail"] == "status 401, error invalid_client"

    central_services.faults.clear()
    clock.advance(AN_HOUR)
    await relay.drain()

    assert (await outbox.backlog()).sent == 1


async def test_a_token_no_longer_taken_is_dropped_and_fetched_anew(
    relay: Relay, database: Database, outbox: Outbox, central_services: Any, event_of: Make,
    clock: ManualClock, facts: DeliveryFacts,
) -> None:  # fmt: skip
    await record(database, outbox, event_of())
    await relay.drain()
    central_services.authorization.audience = "https://elsewhere.test"
    await record(database, outbox, event_of(facts=replace(facts, message_identifier="later")))
    await relay.drain()
    assert (await rows(database))[1]["problem"] == "status-refused"

    clock.advance(timedelta(seconds=5))
    await relay.drain()

    assert (await outbox.backlog()).sent == 2


async def test_an_event_of_a_device_that_left_the_configuration_waits_and_stops_nobody(
    relay: Relay, database: Database, outbox: Outbox, event_of: Make, facts: DeliveryFacts
) -> None:
    other = replace(facts, message_identifier="other")
    await record(database, outbox, event_of(device_id="gone"), event_of(facts=other))

    await relay.drain()

    gone, sent = await rows(database)
    assert (gone["state"], gone["problem"]) == ("waiting", "token-refused")
    assert sent["state"] == "sent"


async def test_an_event_the_component_already_has_counts_as_sent(
    relay: Relay, database: Database, outbox: Outbox, central_services: Any, event_of: Make
) -> None:
    await record(database, outbox, event_of())
    await relay.drain()
    await database.run(lambda tx: tx.execute("UPDATE outbox SET state = 'waiting', next_at = 0"))

    await relay.drain()

    assert (await outbox.backlog()).sent == 1
    assert len(await central_services.store.reports()) == 1


async def test_a_running_relay_is_woken_after_the_commit_and_survives_being_stopped(
    relay: Relay, database: Database, outbox: Outbox, central_services: Any, event_of: Make,
    facts: DeliveryFacts,
) -> None:  # fmt: skip
    running = asyncio.create_task(relay.run())
    await record(database, outbox, event_of())
    await central_services.store.wait_for([facts.message_identifier], 1, seconds=10)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    await record(database, outbox, event_of(subtype=SubType.RECEIVED))
    again = asyncio.create_task(relay.run())
    await central_services.store.wait_for([facts.message_identifier], 2, seconds=10)
    again.cancel()

    assert len(await central_services.store.reports()) == 2


async def test_a_relay_stopped_in_the_middle_sends_again_after_a_restart(
    database: Database, central_services: Any, event_of: Make, session: aiohttp.ClientSession,
    relay: Relay, outbox: Outbox,
) -> None:  # fmt: skip
    await record(database, outbox, event_of())
    running = asyncio.create_task(relay.run())
    while (await rows(database))[0]["attempts"] == 0:
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    restarted = asyncio.create_task(relay.run())
    await central_services.store.wait_for([event_of().facts.message_identifier], 1, seconds=10)
    restarted.cancel()
    await asyncio.gather(restarted, return_exceptions=True)

    assert len(await central_services.store.reports()) == 1


async def test_no_log_line_has_patient_or_token(
    relay: Relay, database: Database, outbox: Outbox, central_services: Any, event_of: Make
) -> None:
    await record(database, outbox, event_of())
    with structlog.testing.capture_logs() as logged:
        await relay.drain()

    assert {line["event"] for line in logged} >= {"delivery_event_sent", "status_report_taken"}
    assert "2512489996" not in repr(logged)
    assert "eyJ" not in repr(logged)


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_back_off_doubles_up_to_its_longest_and_is_never_nothing(
    attempts: int, draw: float
) -> None:
    back_off = BackOff(first=1.0, longest=300.0)

    seconds = back_off.delay(attempts, draw).total_seconds()

    whole = min(300.0, 2.0 ** min(attempts - 1, 40))
    assert whole / 2 <= seconds <= whole
