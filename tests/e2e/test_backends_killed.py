"""A node killed between what its backend did and the commit that notes it: the same id comes again, and nothing twice.

Real processes, ended by SIGKILL at the crash points of hand-overs (D2, D3, D7, D8, S16).
"""

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from sample_messages import home_care_observation
from two_organisations import TwoOrganisations, until

from accesspoint.api.client import NodeAddress
from accesspoint.backends.folder import MANIFEST, OUTCOMES
from envelope import fhir

pytestmark = pytest.mark.slow

KILLED = -9


@pytest.fixture
async def network(tmp_path: Path) -> AsyncIterator[TwoOrganisations]:
    async with TwoOrganisations.open(tmp_path, acknowledge="off") as network:
        yield network


async def start(network: TwoOrganisations, name: str, *, dies_at: str = "") -> None:
    """Start a node that ends itself at a crash point."""
    if not dies_at:
        await network.start(name)
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AP_FAILPOINTS", f"{dies_at}=kill")
        await network.start(name)


def let_it_pull(network: TwoOrganisations, name: str) -> None:
    config = network.plans[name].config
    text = config.read_text(encoding="utf-8")
    folder = '[backend]\nkind = "folder"\ndirectory = "received"\n'
    assert folder in text
    config.write_text(text.replace(folder, '[backend]\nkind = "pull"\n'), encoding="utf-8")


async def submit(network: TwoOrganisations) -> tuple[str, bytes]:
    data = fhir.serialize(home_care_observation(), "json")
    async with network.client("municipality") as client:
        answer = await client.submit(data, to=None)
    return answer["message_identifier"], data


async def call(network: TwoOrganisations, name: str, method: str, path: str) -> bytes:
    """One request to a node; raises when it dies before it has answered."""
    address = NodeAddress.load(network.plans[name].store)
    async with (
        aiohttp.ClientSession(trust_env=False) as session,
        session.request(
            method,
            f"{address.url}/api/v1/{path}",
            headers={"Authorization": f"Bearer {address.token}"},
        ) as response,
    ):
        return await response.read()


async def lease(network: TwoOrganisations, name: str) -> dict[str, Any]:
    async def leased() -> dict[str, Any] | None:
        answer = json.loads(await call(network, name, "POST", "deliveries?seconds=1&wait=5"))
        return answer["deliveries"][0] if answer["deliveries"] else None

    found = await until(leased, "a delivery")
    assert found is not None
    return dict(found)


@pytest.mark.parametrize("point", ["D2", "D3", "D5", "D6"])
async def test_a_folder_gets_the_same_delivery_again(network: TwoOrganisations, point: str) -> None:
    await start(network, "clinic", dies_at=point)
    await start(network, "municipality")
    identifier, data = await submit(network)
    assert await network.processes["clinic"].wait() == KILLED
    inbox = network.plans["clinic"].inbox
    before = {p.name: json.loads(p.read_text()) for p in inbox.glob(f"*{MANIFEST}")}
    assert len(before) == (1 if point == "D3" else 0)
    await start(network, "clinic")

    async def delivered() -> bool:
        rows = json.loads(await call(network, "clinic", "GET", f"messages/{identifier}"))
        return bool(rows["documents"] and rows["documents"][0]["delivered_at"])

    await until(delivered, "the delivery")
    assert network.delivered("clinic") == {f"{identifier}.json": data}
    after = {p.name: json.loads(p.read_text()) for p in inbox.glob(f"*{MANIFEST}")}
    assert len(after) == 1
    assert before.items() <= after.items()


@pytest.mark.parametrize("point", ["D7", "D8"])
async def test_a_backend_that_pulls_gets_the_same_delivery_again(
    network: TwoOrganisations, point: str
) -> None:
    let_it_pull(network, "clinic")
    await start(network, "clinic", dies_at=point)
    await start(network, "municipality")
    _, data = await submit(network)
    first = await lease(network, "clinic")
    step = ("GET", "content") if point == "D7" else ("POST", "confirm")
    # The content may be out before the node dies; of a confirmation there is no answer.
    with contextlib.suppress(aiohttp.ClientError, ConnectionError):
        await call(network, "clinic", step[0], f"deliveries/{first['id']}/{step[1]}")
        assert point == "D7"
    assert await network.processes["clinic"].wait() == KILLED
    await start(network, "clinic")
    again = await lease(network, "clinic")
    assert again["id"] == first["id"]
    assert again["handed_out"] >= 2
    assert await call(network, "clinic", "GET", f"deliveries/{first['id']}/content") == data
    answer = json.loads(await call(network, "clinic", "POST", f"deliveries/{first['id']}/confirm"))
    assert answer["repeated"] is False
    waiting = json.loads(await call(network, "clinic", "GET", "deliveries"))
    assert waiting == {"deliveries": []}


async def test_a_submitter_hears_of_an_end_again_under_the_same_id(
    network: TwoOrganisations,
) -> None:
    await start(network, "clinic")
    await start(network, "municipality", dies_at="S16")
    identifier, _ = await submit(network)
    assert await network.processes["municipality"].wait() == KILLED
    outcomes = network.plans["municipality"].inbox / OUTCOMES
    [told] = outcomes.iterdir()
    text = told.read_bytes()
    told.unlink()
    await start(network, "municipality")

    async def notified() -> bool:
        rows = json.loads(await call(network, "municipality", "GET", f"messages/{identifier}"))
        return bool(rows["exchanges"][0]["state"] == "NOTIFIED")

    await until(notified, "the confirmation")
    assert {path.name: path.read_bytes() for path in outcomes.iterdir()} == {told.name: text}
