"""One address with several systems, as real nodes run it: also when the node dies between two hand-overs.

The clinic has two systems for its GLN, a folder each. The node is killed when the first of them has the message,
before or after that is stored; after the next start each system has the message once, under the delivery id that
it had before, the sender has one answer, and the status component one end of the journey.
"""

import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from delivery_rows import HCO, row_of
from sample_messages import home_care_observation
from two_organisations import TwoOrganisations, describe, until

from accesspoint.backends.folder import MANIFEST
from accesspoint.demo.scenery import CLINIC
from envelope import fhir

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]
SYSTEMS = ("journal", "archive")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def network(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TwoOrganisations]:
    async with TwoOrganisations.open(tmp_path_factory.mktemp("fan-out")) as network:
        config = network.plans["clinic"].config
        systems = "".join(
            f'\n[[systems]]\nname = "{name}"\nglns = ["{CLINIC.address.gln}"]\nkind = "folder"\ndirectory = "{name}"\n'
            for name in SYSTEMS
        )
        config.write_text(config.read_text(encoding="utf-8") + systems, encoding="utf-8")
        await network.start("municipality")
        yield network


def inbox(network: TwoOrganisations, system: str) -> Path:
    return network.plans["clinic"].directory / system


def deliveries(network: TwoOrganisations, identifier: str) -> dict[str, list[str]]:
    """The ids under which each system was given the message."""
    return {
        name: [
            json.loads(path.read_text())["delivery"]
            for path in inbox(network, name).glob(f"{identifier}*{MANIFEST}")
        ]
        for name in SYSTEMS
    }


@pytest.mark.parametrize("failpoints", ["D3=kill", "D4=kill"])
async def test_each_system_has_the_message_once(network: TwoOrganisations, failpoints: str) -> None:
    data = fhir.serialize(home_care_observation(), "json")
    identifier = fhir.recognise(fhir.read_message(data)).message_id
    await network.start("clinic", failpoints=failpoints)
    try:
        async with network.client("municipality") as client:
            await client.submit(data, to=None)
        assert await network.processes["clinic"].wait() == -9
        before = deliveries(network, identifier)
        await network.start("clinic")

        async def everybody_has_it() -> bool:
            return all(len(found) == 1 for found in deliveries(network, identifier).values())

        await until(everybody_has_it, "both systems have the message")
        reports = await network.status.wait_for([identifier], 16, seconds=60)
        async with network.client("municipality") as client:
            told = await describe(client, identifier)
        assert told is not None
        assert [one["acknowledgement"] for one in told["documents"]] == ["ok"]
        after = deliveries(network, identifier)
        assert all(after[name] == ids for name, ids in before.items() if ids)
        assert len({id_ for ids in after.values() for id_ in ids}) == len(SYSTEMS)
        for name in SYSTEMS:
            assert (inbox(network, name) / f"{identifier}.json").read_bytes() == data
        assert not list(network.plans["clinic"].inbox.glob(f"{identifier}*"))
        ends = Counter(row_of(report.resource) for report in reports)
        assert ends["EUA", "msg-received-and-finalized", HCO] == 1
        assert len(reports) == 16
    finally:
        await network.stop("clinic")
