"""Reliable messaging where each station is a process of its own: who tells whom, and where a person acts."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from command_line import SOURCE
from two_organisations import until

from accesspoint.api.client import ApiProblem, NodeAddress, NodeClient
from accesspoint.backends.folder import MANIFEST
from accesspoint.clock import SystemClock
from accesspoint.demo.play import sample_message
from accesspoint.demo.scenery import CLINIC, MUNICIPALITY
from accesspoint.demo.stage import Node, Stage
from accesspoint.ids import SystemIds
from envelope import fhir

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
ENVIRONMENT = {"PYTHONPATH": str(SOURCE), "ACCESSPOINT__ACKNOWLEDGING__ALERT": "2 s"}


def client_of(node: Node) -> NodeClient:
    return NodeClient(NodeAddress.load(node.plan.store))


async def test_an_overdue_acknowledgement_is_told_upwards_and_its_message_sent_again_below(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    clock = SystemClock()
    async with Stage(tmp_path / "stage", apart=True, clock=clock, ids=SystemIds(clock)) as stage:
        edge, handler = stage.of(MUNICIPALITY.key, "EUA"), stage.of(MUNICIPALITY.key, "MSH")
        theirs, inbox = stage.of(CLINIC.key, "MSH"), stage.of(CLINIC.key, "EUA").plan.inbox
        await theirs.process.stop()
        data = sample_message(clock)
        identifier = fhir.recognise(fhir.read_message(data)).message_id
        outcomes = edge.plan.inbox / "outcomes"

        async def told() -> list[dict[str, Any]]:
            found = await asyncio.to_thread(lambda: sorted(outcomes.glob(f"{identifier}*.json")))
            return [json.loads(path.read_text()) for path in found]

        async def has_heard(state: str) -> bool:
            return state in {one["state"] for one in await told()}

        async with client_of(edge) as above, client_of(handler) as below:
            await above.submit(data, to=CLINIC.address.gln)
            await until(
                lambda: has_heard("ACKNOWLEDGEMENT_OVERDUE"), "the alert at the application"
            )
            (overdue,) = await below.overdue()
            assert overdue["message_identifier"] == identifier
            with pytest.raises(ApiProblem) as refused:
                await above.resend(identifier, reason="no acknowledgement")
            assert refused.value.status == 409
            again = await below.resend(identifier, reason="no acknowledgement")
            assert len(again["envelopes"]) == 2
            await theirs.process.start()

            async def acknowledged() -> bool:
                envelopes = (await below.describe(identifier))["envelopes"]
                return [one["acknowledgement"] for one in envelopes] == ["positive"] * 2

            async def answered() -> bool:
                (sent,) = (await above.describe(identifier))["documents"]
                return bool(sent["acknowledgement"] == "ok")

            await until(acknowledged, "both acknowledgements")
            await until(answered, "the answer")
            await until(lambda: has_heard("ENVELOPE_ACKNOWLEDGED"), "the end of the alarm")
        assert len([*inbox.glob(f"{identifier}*{MANIFEST}")]) == 1
