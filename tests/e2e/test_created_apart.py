"""34 events: six processes, and the two applications among them tell creating and sending apart, as configured."""

from pathlib import Path

import pytest
from command_line import SOURCE
from delivery_rows import expected_rows, rows_by

from accesspoint.api.client import NodeAddress, NodeClient
from accesspoint.clock import SystemClock
from accesspoint.delivery.auditevent import check_audit_event
from accesspoint.demo.play import sample_message
from accesspoint.demo.scenery import CLINIC, MUNICIPALITY, ORGANISATIONS, device_ids
from accesspoint.demo.stage import Stage
from accesspoint.ids import SystemIds
from envelope import fhir

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
ENVIRONMENT = {
    "PYTHONPATH": str(SOURCE),
    "ACCESSPOINT__DELIVERY_STATUS__CREATED_APART": "true",
}
OWNERS = {device: one.key for one in ORGANISATIONS for device in device_ids(one).values()}


async def test_a_full_exchange_of_separate_processes_makes_34_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    clock = SystemClock()
    async with Stage(tmp_path / "stage", apart=True, clock=clock, ids=SystemIds(clock)) as stage:
        assert len(stage.nodes) == 6
        data = sample_message(clock)
        identifier = fhir.recognise(fhir.read_message(data)).message_id
        edge = stage.of(MUNICIPALITY.key, "EUA").plan
        async with NodeClient(NodeAddress.load(edge.store)) as client:
            await client.submit(data, to=CLINIC.address.gln)
        reports = await stage.network.status.wait_for([identifier], 34, seconds=60)
        resources = [one.resource for one in reports]
        found = rows_by(resources, OWNERS)
        assert {name: len(rows) for name, rows in found.items()} == {
            "municipality": 17,
            "clinic": 17,
        }
        assert found == expected_rows("created apart")
        assert [fault for one in resources for fault in check_audit_event(one)] == []
