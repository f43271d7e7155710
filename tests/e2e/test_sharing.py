"""A copy that cannot be delivered, and a node that dies over it, harm nothing of the message. See the demo for one that is.

The municipality shares with a register that the directory does not know: the copy fails for good. The message is
delivered, acknowledged and reported as ever, its submitter is told of it alone, and however often the node
dies while it makes the copy, there is one.
"""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from delivery_rows import expected_rows, rows_by
from sample_messages import home_care_observation
from two_organisations import TwoOrganisations, describe, until

from accesspoint.backends.folder import OUTCOMES
from accesspoint.demo.scenery import ORGANISATIONS, device_ids
from envelope import fhir

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

REGISTER = "5790000000043"
OWNERS = {device: o.key for o in ORGANISATIONS for device in device_ids(o).values()}
SHARING = f'\n[sharing]\nname = "Nobody"\ngln = "{REGISTER}"\nsor = "900000000000040"\n'


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def network(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TwoOrganisations]:
    async with TwoOrganisations.open(tmp_path_factory.mktemp("sharing")) as network:
        config = network.plans["municipality"].config
        config.write_text(config.read_text(encoding="utf-8") + SHARING, encoding="utf-8")
        await network.start("clinic")
        yield network


@pytest.mark.parametrize("failpoints", ["", "D3=kill"])
async def test_what_becomes_of_the_copy_is_nothing_to_the_message(
    network: TwoOrganisations, failpoints: str
) -> None:
    data = fhir.serialize(home_care_observation(), "json")
    identifier = fhir.recognise(fhir.read_message(data)).message_id
    await network.start("municipality", failpoints=failpoints)
    try:
        async with network.client("municipality") as client:
            await client.submit(data, to=None)
        if failpoints:
            assert await network.processes["municipality"].wait() == -9
            await network.start("municipality")

        async def ended() -> dict[str, Any] | None:
            async with network.client("municipality") as client:
                told = await describe(client, identifier)
            assert told is not None
            copies = [e for e in told["exchanges"] if e["final_recipient"].endswith(REGISTER)]
            answered = told["documents"][0]["acknowledgement"] == "ok"
            return told if answered and copies and copies[0]["state"] == "NOTIFIED" else None

        told = await until(ended, "the message is answered and its copy has ended")
        message, copy = sorted(
            told["exchanges"], key=lambda one: REGISTER in one["final_recipient"]
        )
        assert (message["outcome"], copy["outcome"]) == ("ACKNOWLEDGED", "FAILED")
        assert copy["problem"] == "lookup-no-participant"
        reports = [
            one.resource for one in await network.status.wait_for([identifier], 17, seconds=60)
        ]
        own = [one for one in reports if REGISTER not in json.dumps(one["agent"])]
        assert rows_by(own, OWNERS) == expected_rows("together")
        (failed,) = [one for one in reports if one not in own]
        assert (failed["subtype"][0]["code"], failed["outcome"]) == ("msg-sent", "8")
        outcomes = network.plans["municipality"].inbox / OUTCOMES
        found = [json.loads(path.read_text()) for path in outcomes.glob(f"{identifier}.*")]
        assert [one["state"] for one in found] == ["ACKNOWLEDGED"]
    finally:
        await network.stop("municipality")
