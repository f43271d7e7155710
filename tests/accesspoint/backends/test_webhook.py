"""The webhook over a real connection with TLS: one signed request for each message and outcome, until it is confirmed."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web
from as4_stage import Pki
from background import background
from station_parts import document

from accesspoint.backends.base import NEVER_SO, NOT_NOW, DeliveryRefused, backend_carrier
from accesspoint.backends.webhook import WebhookBackend
from accesspoint.clock import SystemClock
from accesspoint.network.listening import Listeners
from accesspoint.networks import AllowedNetworks
from accesspoint.retry import RetrySchedule
from accesspoint.stations import Bell
from accesspoint.stations.relay import HandoverRelay
from accesspoint.store.leases import Leases
from accesspoint.store.outcomes import outcome_id
from envelope.sending import State
from keys.store import write_pair
from keys.tls import server_context

from .conftest import Owed
from .test_signature import recipe

SECRET = b"0123456789abcdef0123456789abcdef"
SCHEDULE = RetrySchedule(
    timedelta(seconds=10), 2.0, timedelta(minutes=5), timedelta(days=60), draw=lambda: 0.5
)


@dataclass
class Request:
    """One request as the consumer got it."""

    url: str
    headers: dict[str, str]
    body: bytes

    @property
    def key(self) -> str:
        return self.headers["idempotency-key"]

    @property
    def manifest(self) -> dict[str, Any]:
        return dict(json.loads(self.headers["ehmi-manifest"]))

    def holds(self) -> bool:
        return bool(recipe()("POST", self.url, self.headers, self.body, SECRET))


@dataclass
class Consumer:
    """The organisation's own system, which answers as told."""

    url: str = ""
    requests: list[Request] = field(default_factory=list)
    answer: Callable[[], web.StreamResponse] = web.Response
    names: list[str] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append(Request(self.url, headers, await request.read()))
        certificate = request.transport and request.transport.get_extra_info("peercert")
        self.names.append(str(certificate))
        return self.answer()


@pytest.fixture
async def consumer(pki: Pki) -> AsyncIterator[Consumer]:
    consumer, listeners = Consumer(), Listeners()
    application = web.Application(client_max_size=1 << 24)
    application.router.add_post("/ehmi", consumer.handle)
    base = await listeners.start(application, tls=pki.tls_contexts("consumer")[1])
    consumer.url = f"{base}/ehmi?from=ap"
    yield consumer
    await listeners.stop()


@asynccontextmanager
async def webhook(pki: Pki, url: str, **changes: Any) -> AsyncIterator[WebhookBackend]:
    values: dict[str, Any] = {
        "secret": SECRET,
        "key_id": "clinic",
        "tls": pki.tls_contexts("clinic")[0],
        "networks": AllowedNetworks(["127.0.0.0/8"]),
        "timeout_seconds": 5.0,
        "clock": SystemClock(),
    }
    backend = WebhookBackend(url, **{**values, **changes})
    try:
        yield backend
    finally:
        await backend.close()


@pytest.fixture
async def backend(pki: Pki, consumer: Consumer) -> AsyncIterator[WebhookBackend]:
    async with webhook(pki, consumer.url) as made:
        yield made


async def test_a_message_comes_whole_signed_and_described(
    owed: Owed, consumer: Consumer, backend: WebhookBackend
) -> None:
    item = document(owed.parts)
    await backend.deliver("d-1", item, owed.parts.payloads)
    [request] = consumer.requests
    assert request.body == owed.parts.read(item.stored)
    assert (request.key, request.headers["content-type"]) == ("d-1", item.media_type)
    assert request.manifest["delivery"] == "d-1"
    assert request.manifest["sha256"] == item.stored.payload_sha256
    assert request.holds()
    # Our client certificate came with it.
    assert "municipality" in consumer.names[0] or "clinic" in consumer.names[0]


async def test_nothing_personal_is_in_a_header(
    owed: Owed, consumer: Consumer, backend: WebhookBackend
) -> None:
    item = document(owed.parts)
    assert item.patient_id
    await backend.deliver("d-1", item, owed.parts.payloads)
    assert item.patient_id not in str(consumer.requests[0].headers)


async def test_an_outcome_comes_signed_as_json(consumer: Consumer, backend: WebhookBackend) -> None:
    await backend.tell("o-1", "m-1", b'{"state": "UNCERTAIN"}')
    [request] = consumer.requests
    assert json.loads(request.body) == {"state": "UNCERTAIN"}
    assert (request.key, request.manifest["outcome"]) == ("o-1", "o-1")
    assert request.holds()


STATUSES = {
    **dict.fromkeys((200, 201, 202, 204), None),
    **dict.fromkeys((408, 409, 425, 429, 500, 502, 503, 504), NOT_NOW),
    **dict.fromkeys((301, 307, 400, 401, 403, 404, 410, 413, 415, 422), NEVER_SO),
}


@pytest.mark.parametrize(("status", "slug"), STATUSES.items())
async def test_what_a_status_means(
    consumer: Consumer, backend: WebhookBackend, status: int, slug: str | None
) -> None:
    consumer.answer = lambda: web.Response(status=status, headers={"Location": consumer.url})
    if slug is None:
        await backend.tell("o-1", "m-1", b"{}")
    else:
        with pytest.raises(DeliveryRefused, match=f"HTTP {status}") as refused:
            await backend.tell("o-1", "m-1", b"{}")
        assert refused.value.slug == slug
    assert len(consumer.requests) == 1


async def test_a_consumer_that_is_not_there_or_silent_confirms_nothing(
    pki: Pki, consumer: Consumer
) -> None:
    async with webhook(pki, "https://127.0.0.1:9/") as backend:
        with pytest.raises(DeliveryRefused, match="ConnectionRefused") as refused:
            await backend.tell("o-1", "m-1", b"{}")
        assert refused.value.slug == NOT_NOW

    def hang_up() -> web.StreamResponse:
        raise asyncio.CancelledError

    consumer.answer = hang_up
    async with webhook(pki, consumer.url) as backend:
        with pytest.raises(DeliveryRefused):
            await backend.tell("o-1", "m-1", b"{}")


@pytest.mark.parametrize("networks", [[], ["10.0.0.0/8"]])
async def test_nothing_goes_outside_the_allowed_networks(
    pki: Pki, consumer: Consumer, networks: list[str]
) -> None:
    async with webhook(pki, consumer.url, networks=AllowedNetworks(networks)) as backend:
        with pytest.raises(DeliveryRefused, match="ForbiddenAddress"):
            await backend.tell("o-1", "m-1", b"{}")
    assert consumer.requests == []


async def test_a_consumer_whose_certificate_is_not_trusted_gets_nothing(
    owed: Owed, pki: Pki
) -> None:
    listeners, consumer = Listeners(), Consumer()
    issued = pki.untrusted_authority.issue_tls_certificate("nobody", san=("127.0.0.1",), not_before=pki.now)  # fmt: skip
    directory = pki.directory / "tls-untrusted"
    directory.mkdir(mode=0o700)
    write_pair(directory, "tls", issued)
    trusted = (*pki.authority.anchors, *pki.authority.intermediates)
    tls = server_context(directory / "tls.cert.pem", directory / "tls.key.pem", trusted)
    application = web.Application()
    application.router.add_post("/", consumer.handle)
    base = await listeners.start(application, tls=tls)
    try:
        async with webhook(pki, base + "/") as backend:
            with pytest.raises(DeliveryRefused):
                await backend.deliver("d-1", document(owed.parts), owed.parts.payloads)
    finally:
        await listeners.stop()
    assert consumer.requests == []


async def test_what_is_not_confirmed_comes_again_with_the_same_id_until_it_is(
    owed: Owed, consumer: Consumer, backend: WebhookBackend
) -> None:
    """The whole way: rows, relay, connection; the waits grow and the alarm is in the journal."""
    parts = owed.parts
    delivery = await owed.message("a")
    row = await owed.outcome("b", "FAILED", problem="lookup-no-participant")
    carry = backend_carrier(backend, parts.payloads)
    relay = HandoverRelay(
        database=parts.database,
        carriers={"backend": carry, "submitter": carry},
        reporter=parts.reporter,
        bells=parts.bells,
        clock=parts.clock,
        schedule=SCHEDULE,
        leases=Leases("one"),
        bell=Bell.BACKEND,
    )
    statuses = iter((503, 503, 410, 410))
    consumer.answer = lambda: web.Response(status=next(statuses, 204))
    async with background(relay.run()):
        for number, seconds in enumerate((5, 10), start=1):
            await parts.until("not-taken", 2 * number)
            waiting = await parts.rows("SELECT next_at, problem FROM handovers ORDER BY id")
            assert len({row["next_at"] for row in waiting}) == 1
            parts.clock.advance(timedelta(seconds=seconds))
            parts.bells.ring(Bell.BACKEND)
        await parts.until("delivered")
        async with asyncio.timeout(10):
            while (await owed.row("b"))["state"] != "NOTIFIED":
                await parts.bells.wait(Bell.JOURNAL, at_most_seconds=0.05)
    outcome = outcome_id(row["id"], State.FAILED)
    keys = Counter(request.key for request in consumer.requests)
    assert keys == {delivery: 3, outcome: 3}
    assert all(request.holds() for request in consumer.requests)
    problems = [problem for _, event, problem in await parts.journal() if event == "not-taken"]
    assert problems == [NOT_NOW, NOT_NOW, NEVER_SO, NEVER_SO]
    assert row["state"] == "FAILED"
