"""A drill tells what queued and drained, finds what was lost, and draws it; its time is virtual."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from accesspoint import log
from accesspoint.cli.drill import describe
from accesspoint.demo.scenery import CLINIC
from accesspoint.drill.picture import draw
from accesspoint.drill.plan import HOUR, Outage, Part, Plan, standard_plan
from accesspoint.drill.play import Result, play
from accesspoint.drill.redirected import Response
from accesspoint.drill.surroundings import DrillBackend, StatusComponent
from accesspoint.drill.virtual_time import Standstill, VirtualClock, VirtualLoop
from accesspoint.stations.document import Document

PARTS = (Part.PEER, Part.STATUS, Part.DATABASE, Part.BACKEND)
SHORT = Plan(
    tuple(Outage(part, (2 * n + 1) * HOUR, (2 * n + 2) * HOUR) for n, part in enumerate(PARTS)),
    HOUR / 2,
    9 * HOUR,
)


def silent(*_: object) -> None:
    """Show no progress."""


@pytest.fixture(scope="module")
def result() -> Result:
    log.configure(level="critical")
    return play(SHORT, progress=silent)


def outage(part: Part) -> Outage:
    return next(one for one in SHORT.outages if one.part is part)


def test_nothing_is_lost_and_nothing_twice(result: Result) -> None:
    assert result.findings == ()
    assert len(result.ledger.submitted) == len(result.ledger.delivered) == 18
    assert result.events == 18 * 16


@pytest.mark.parametrize(
    ("part", "queue"),
    [(Part.PEER, "sending"), (Part.STATUS, "events"), (Part.BACKEND, "deliveries")],
)
def test_each_outage_fills_its_own_queue_which_drains(
    result: Result, part: Part, queue: str
) -> None:
    fullest = result.queued_at_most(outage(part))
    assert getattr(fullest, queue) >= 2
    assert getattr(fullest, queue) == fullest.waiting
    drained = result.drained_after(outage(part))
    assert drained is not None
    assert drained < HOUR


def test_without_its_database_the_node_ends_and_the_submitter_asks_again(result: Result) -> None:
    assert result.starts == {"municipality": 2, "clinic": 1}
    assert result.ledger.refused > 0
    assert "no message was accepted meanwhile" in describe(result, outage(Part.DATABASE))


def test_the_picture_has_a_band_for_each_outage_and_a_line_for_each_queue(result: Result) -> None:
    root = etree.fromstring(draw(result).encode())
    space = {"s": "http://www.w3.org/2000/svg"}
    words = root.xpath("//s:text/text()", namespaces=space)
    assert {str(part) for part in PARTS} <= set(words)
    lines = root.xpath("//s:polyline/s:title/text()", namespaces=space)
    assert lines == ["messages to send", "delivery events to report", "messages to deliver"]


def test_a_backend_that_forgets_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    deliver, forgotten = DrillBackend.deliver, []

    async def forgetful(
        self: DrillBackend, delivery_id: str, document: Document, payloads: Any
    ) -> None:
        await deliver(self, delivery_id, document, payloads)
        if not forgotten and document.receiver.gln == CLINIC.address.gln:
            forgotten.append(self.taken.pop())

    monkeypatch.setattr(DrillBackend, "deliver", forgetful)
    found = play(Plan((), HOUR, 3 * HOUR), progress=silent)
    assert found.findings == (f"{forgotten[0][0]} was accepted and never delivered",)


def test_what_is_still_owed_at_the_end_is_told_with_its_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def broken(self: StatusComponent, url: str, options: Any) -> Response:
        return Response(500)

    monkeypatch.setattr(StatusComponent, "answer", broken)
    found = play(Plan((), HOUR, HOUR), progress=silent)
    assert "0 of 16 delivery events arrived" in found.findings
    owed = [line for line in found.findings if " owes 8 delivery events, tried " in line]
    assert len(owed) == 2
    assert all(line.endswith("times at most: token-unreachable") for line in owed)


def test_time_passes_without_waiting() -> None:
    loop = VirtualLoop()
    start = datetime(2026, 11, 21, tzinfo=UTC)
    clock = VirtualClock(loop, start)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(asyncio.sleep(3 * 86_400))
        assert clock.now() == start + timedelta(days=3)
        with pytest.raises(Standstill):
            runner.run(asyncio.Event().wait())


@pytest.mark.slow
def test_the_standard_drill(tmp_path: Path) -> None:
    found = play(standard_plan(), progress=silent)
    assert found.findings == ()
    assert found.queued_at_most(found.plan.outages[2]).events == 72 * 16
