"""How fast a healthy partner is served beside a dead and a silent one with ten thousand messages waiting: measured.

Run with `-s` for the table. Times are reports; what is asserted is counts.
"""

import asyncio
from datetime import timedelta
from statistics import median, quantiles
from time import perf_counter
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from as4_peer import Arrived, Server
from rich.console import Console
from rich.table import Table

from accesspoint.discovery.directory import Endpoint
from accesspoint.discovery.static import StaticDirectory, StaticPartner
from accesspoint.outbound.lanes import Lanes, lane_to
from accesspoint.stations import Bell
from accesspoint.store.database import Transaction
from keys.certificate import der

from .conftest import SCHEDULE

if TYPE_CHECKING:
    from .conftest import Outbound

QUEUED = 10_000
MESSAGES = 60
NOBODY = "https://127.0.0.1:1/as4"
COLUMNS = (
    "message_id, conversation_id, party, envelope_id, message_identifier, standard, original_sender, document_id,"
    " process_id, facts, payload, payload_bytes, payload_sha256, next_at, created_at, updated_at"
)


class Book:
    """Where each participant is, by the letter its address begins with."""

    def __init__(self, outbound: "Outbound", urls: dict[str, str]) -> None:
        self._certificate = der(outbound.pki.clinic.certificate)
        self._urls = urls

    async def find_endpoint(self, participant: str, document_id: str, process_id: str) -> Endpoint:
        url = self._urls.get(participant[:1], self._urls["0"])
        gln = participant.rpartition(":")[2]
        known = StaticDirectory([StaticPartner("x", gln, url, self._certificate)])
        return await known.find_endpoint("0088:" + gln, document_id, process_id)


async def queue(outbound: "Outbound", letter: str, lane: str, number: int) -> None:
    """Copies of an accepted message, for another partner."""

    async def work(tx: Transaction) -> None:
        for index in range(number):
            id_ = f"{letter}{index:06}"
            columns = COLUMNS.replace("message_id,", f"'{id_}@a.example',", 1)
            await tx.execute(
                f"INSERT INTO messages (id, direction, state, final_recipient, lane, {COLUMNS})"
                f" SELECT $1, 'out', 'ACCEPTED', $2 || final_recipient, $3, {columns} FROM messages"
                " WHERE id = (SELECT MIN(id) FROM messages)",
                id_, letter, lane,
            )  # fmt: skip
            await tx.execute(
                "INSERT INTO history (message, to_state, at) VALUES ($1, 'ACCEPTED', 0)", id_
            )

    await outbound.parts.database.run(work)


async def serve(outbound: "Outbound", first: int) -> list[float]:
    """Submit messages to the healthy partner, four at a time; the seconds each took to its receipt."""
    taken: list[float] = []
    slots = asyncio.Semaphore(4)

    async def one(number: int) -> None:
        async with slots:
            begun = perf_counter()
            id_ = await outbound.accept(number)
            async with asyncio.timeout(60):
                while (await outbound.row(id_))["state"] != "ACKNOWLEDGED":
                    await asyncio.sleep(0.002)
            taken.append(perf_counter() - begun)

    await asyncio.gather(*(one(first + number) for number in range(MESSAGES)))
    return taken


@pytest.mark.slow
async def test_a_healthy_partner_is_served_as_fast_beside_dead_and_silent_ones(
    outbound: "Outbound",
) -> None:
    async def silent(arrived: Arrived, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(3600)
        raise AssertionError

    table = Table("neighbours", "messages/s", "p50 ms", "p95 ms", title="a healthy partner")
    _, tls = outbound.pki.tls_contexts("clinic")
    async with Server.start(outbound.pki.clinic.signer(), tls) as other:
        other.behaviour = silent
        urls = {"0": outbound.server.url, "d": NOBODY, "s": other.url}
        lanes = Lanes(total=16, per_lane=4, schedule=SCHEDULE)
        outbound.options["lanes"] = lanes
        sender = outbound.sender(directory=Book(outbound, urls), lanes=lanes, concurrency=16)

        async def pass_time() -> None:
            """Twenty times as fast as real, so that probes go out twenty times as often."""
            while True:
                await asyncio.sleep(0.05)
                outbound.parts.clock.advance(timedelta(seconds=1))
                outbound.parts.bells.ring(Bell.SENDER)

        async with outbound.running(sender), asyncio.TaskGroup() as group:
            clock = group.create_task(pass_time())
            for round_, neighbours in enumerate(("none", "dead: 10,000, silent: 10,000")):
                if round_:
                    await queue(outbound, "d", lane_to(NOBODY), QUEUED)
                    await queue(outbound, "s", lane_to(other.url), QUEUED)
                begun = perf_counter()
                taken = await serve(outbound, round_ * MESSAGES)
                rate = MESSAGES / (perf_counter() - begun)
                table.add_row(
                    neighbours,
                    f"{rate:.1f}",
                    f"{median(taken) * 1000:.0f}",
                    f"{quantiles(taken, n=20)[-1] * 1000:.0f}",
                )
            clock.cancel()
    Console().print(table)
    attempts = await outbound.parts.rows(
        "SELECT lane, SUM(attempt) AS n, COUNT(*) AS waiting FROM messages WHERE state <> 'ACKNOWLEDGED' GROUP BY lane"
    )
    by_lane = {row["lane"]: row for row in attempts}
    # Nearly all of them were never touched, and nobody's were forgotten.
    assert by_lane[lane_to(NOBODY)]["waiting"] == QUEUED
    assert by_lane[lane_to(other.url)]["waiting"] == QUEUED
    assert 1 <= by_lane[lane_to(NOBODY)]["n"] <= 50
    assert len(other.arrived) <= 50
    assert len(outbound.server.arrived) == 2 * MESSAGES
