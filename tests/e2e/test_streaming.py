"""A message of sixty mebibytes passes through every station, and an access point holds a small piece of it at a time.

With the stations apart an access point never reads FHIR: what it moves, it streams. The end-user edges
read the message as a whole, because they hold it against MedCom's rules; they are not bounded here.
"""

import hashlib
import random
from pathlib import Path

import pytest
from sample_messages import home_care_observation
from two_organisations import describe, troubles, until

from accesspoint.api.client import NodeAddress, NodeClient
from accesspoint.backends.folder import MANIFEST
from accesspoint.clock import SystemClock
from accesspoint.demo.scenery import CLINIC, MUNICIPALITY
from accesspoint.demo.stage import Stage
from accesspoint.ids import SystemIds
from envelope import fhir

MIB = 1024 * 1024
ATTACHMENT_BYTES = 45 * MIB
MESSAGE_BYTES_AT_LEAST = 60 * MIB
GROWTH_BYTES_AT_MOST = 64 * MIB
"""Above idle; the envelope with its base64 has 80 MiB, so a node that held it as a whole would exceed this."""


def memory(pid: int, name: str) -> int:
    """A field of /proc/PID/status in octets: `VmRSS` now, `VmHWM` at most so far."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no {name}")


@pytest.mark.slow
async def test_an_access_point_streams_sixty_mebibytes(tmp_path):
    attachment = random.Random(60).randbytes(ATTACHMENT_BYTES)
    data = fhir.serialize(home_care_observation(attachment=attachment), "json")
    assert len(data) >= MESSAGE_BYTES_AT_LEAST
    del attachment
    clock = SystemClock()
    async with Stage(tmp_path / "stage", apart=True, clock=clock, ids=SystemIds(clock)) as stage:
        streaming = {
            node.plan.name: node.process.pid
            for node in stage.nodes
            if node.plan.stations != ("EUA",)
        }
        idle = {name: memory(pid, "VmRSS") for name, pid in streaming.items()}
        sending = stage.of(MUNICIPALITY.key, "EUA").plan
        async with NodeClient(NodeAddress.load(sending.store)) as client:
            accepted = await client.submit(data, to=CLINIC.address.gln)
            identifier = accepted["message_identifier"]

            async def acknowledged() -> bool:
                told = await describe(client, identifier)
                return told is not None and told["documents"][0]["acknowledgement"] == "ok"

            try:
                await until(acknowledged, "the FHIR Acknowledgement", seconds=90)
            except AssertionError as waited:
                raise AssertionError(await troubles(n.plan.store for n in stage.nodes)) from waited
        await stage.network.status.wait_for([identifier], 32, seconds=30)
        growth = {name: memory(pid, "VmHWM") - idle[name] for name, pid in streaming.items()}
        inbox = stage.of(CLINIC.key, "EUA").plan.inbox
        (manifest,) = inbox.glob(f"*{MANIFEST}")
        arrived = manifest.with_name(manifest.name.removesuffix(MANIFEST))
        with arrived.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    assert set(growth) == {"municipality-ap", "municipality-msh", "clinic-ap", "clinic-msh"}
    assert digest == hashlib.sha256(data).hexdigest()
    assert max(growth.values()) < GROWTH_BYTES_AT_MOST, growth
