"""A node of EHMI as the partner: it takes the kit's messages where these carry a StandardBusinessDocument."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from as4_stage import Node, Partner, Pki, Stage

from accesspoint.config import ConfigurationProblem
from accesspoint.conformance.case import Status
from accesspoint.conformance.opening import open_target
from accesspoint.conformance.partner import Description
from accesspoint.conformance.runner import choose, run
from accesspoint.demo.scenery import CLINIC, MUNICIPALITY
from accesspoint.toml import write_toml
from envelope import names
from envelope.ehmi import DOCUMENTS
from keys.store import write_keystore

DOCUMENT = DOCUMENTS["homecareobservation-message", "1.1"].document_id


@pytest_asyncio.fixture(loop_scope="session")
async def node(pki: Pki, tmp_path: Path) -> AsyncIterator[Node]:
    """The clinic, for which the municipality is a partner."""
    stage = Stage(pki, tmp_path)
    partner = Partner(MUNICIPALITY, pki.municipality, "https://127.0.0.1:1/as4")
    path = stage.write_node(CLINIC, pki.clinic, partners={MUNICIPALITY.key: partner})
    async with stage.run(path) as running:
        yield running


def describe(folder: Path, pki: Pki, url: str, **more: str) -> Path:
    keys = folder / "kit"
    write_keystore(keys, message=pki.municipality, tls=pki.tls("municipality"))
    path = folder / "partner.toml"
    table = {
        "name": "the clinic",
        "url": url,
        "certificate": pki.file_of(pki.clinic),
        "keys": str(keys),
        "tls_anchors": pki.trust["anchors"],
        "service": names.EHMI_PROCESS,
        "action": DOCUMENT,
        "original_sender": f"0088:{MUNICIPALITY.address.gln}",
        "final_recipient": f"0088:{CLINIC.address.gln}",
        "corner_type": names.ISO6523_ACTORID,
        **more,
    }
    path.write_text(write_toml(table), encoding="utf-8")
    return path


async def test_a_node_of_ehmi_is_judged_with_business_documents(
    node: Node, pki: Pki, tmp_path: Path
) -> None:
    path = describe(tmp_path, pki, node.url, payload="sbdh")
    async with open_target(str(path)) as target:
        finished = await run(target, choose())
    failed = [(one.assertion.id, one.seen, one.reason) for one in finished.broken]
    assert failed == []
    found = {one.assertion.id.removeprefix("AS4_CP_"): one for one in finished.results}
    for id_ in ("TA01", "TA20", "TA21", "TA44"):
        assert found[id_].status is Status.PASS
    for id_ in ("TA04", "TA10", "TA32", "TA36"):
        assert found[id_].status is Status.WAITING, "receipted; what was delivered is theirs to say"
        assert "say whether your consumer got message" in found[id_].reason
    for id_ in ("TA07", "TA33", "TA38"):
        assert found[id_].status is Status.NOT_APPLICABLE


async def test_without_business_documents_it_refuses(node: Node, pki: Pki, tmp_path: Path) -> None:
    path = describe(tmp_path, pki, node.url)
    async with open_target(str(path)) as target:
        finished = await run(target, choose(["TA01"]))
    assert finished.results[0].status is Status.FAIL


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"action": "SIMPLE_ONEWAY"}, "action is no document of EHMI"),
        ({"original_sender": "0088:5790000000013"}, "check digit"),
        ({"final_recipient": "5790000000012"}, "final_recipient is written as 0088:GLN"),
        ({"listen": "127.0.0.1:0"}, "business"),
        ({"payload": "fhir"}, "payload"),
    ],
)
def test_what_does_not_fit_business_documents_is_told(
    pki: Pki, tmp_path: Path, changed: dict[str, str], said: str
) -> None:
    path = describe(tmp_path, pki, "https://127.0.0.1:1/as4", **{"payload": "sbdh", **changed})
    with pytest.raises(ConfigurationProblem) as problem:
        Description.load(path)
    assert said in problem.value.render()
