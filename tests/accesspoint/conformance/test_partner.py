"""A partner over the wire, described by a file: what is wrong with the file, and what only the other side can say."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from as4_peer import Server
from as4_stage import Pki

from accesspoint.config import ConfigurationProblem
from accesspoint.conformance.author import Draft
from accesspoint.conformance.case import Status
from accesspoint.conformance.opening import open_target
from accesspoint.conformance.partner import Description, PartnerTarget
from accesspoint.conformance.recorder import Recorder
from accesspoint.conformance.runner import choose, run
from keys.store import write_keystore

FILE = """
name = "the clinic"
url = "{url}"
certificate = "{certificate}"
keys = "keys"
tls_anchors = ["{anchors}"]
"""


@pytest.fixture
def description(pki: Pki, tmp_path: Path) -> Path:
    write_keystore(tmp_path / "keys", message=pki.municipality, tls=pki.tls("municipality"))
    anchors = pki.trust["anchors"][0]
    path = tmp_path / "partner.toml"
    url = "https://127.0.0.1:1/as4"
    path.write_text(FILE.format(url=url, certificate=pki.file_of(pki.clinic), anchors=anchors))
    return path


@pytest_asyncio.fixture(loop_scope="session")
async def clinic(pki: Pki) -> AsyncIterator[Server]:
    """An access point that answers everything with an honest receipt, and knows nothing else."""
    _, tls = pki.tls_contexts("clinic")
    async with Server.start(pki.clinic.signer(), tls) as server:
        yield server


async def test_what_a_partner_answers_is_judged_and_what_it_delivers_is_asked(
    clinic: Server, description: Path
) -> None:
    description.write_text(
        description.read_text().replace("https://127.0.0.1:1/as4", clinic.url), encoding="utf-8"
    )
    async with open_target(str(description)) as target:
        finished = await run(target, choose(["TA01", "TA08", "TA12", "TA32", "TA34"]))
    found = {one.assertion.id.removeprefix("AS4_CP_"): one for one in finished.results}
    assert {id_: one.status for id_, one in found.items()} == {
        "TA01": Status.PASS,  # a receipt that verifies
        "TA08": Status.FAIL,  # and one where there should be an error
        "TA12": Status.WAITING,
        "TA32": Status.WAITING,
        "TA34": Status.NOT_APPLICABLE,
    }
    assert "say whether your consumer got message" in found["TA32"].reason
    assert "no mode without encryption" in found["TA34"].reason
    assert len(found["TA32"].exchanged) == 2, "a receipt came before the question"


async def test_a_line_that_is_down_is_no_pass(description: Path) -> None:
    async with open_target(str(description)) as target:
        finished = await run(target, choose(["TA01", "TA08"]))
    assert [one.status for one in finished.results] == [Status.FAIL, Status.FAIL]


async def test_agreed_values_travel(description: Path) -> None:
    with description.open("a") as file:
        file.write('service = "urn:s"\nservice_type = "t"\naction = "A"\noriginal_sender = "C1"\n')
    target = open_target(str(description))
    assert isinstance(target, PartnerTarget)
    draft = target.agreed(Draft())
    assert (draft.service.value, draft.service.type, draft.action) == ("urn:s", "t", "A")
    assert b">C1<" in target.author.write(draft).body
    assert Recorder().exchanged == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("keys =", "key =", "key"),
        ("https://", "http://", "url"),
        ("name", "name = ", "partner.toml"),
    ],
)
def test_problems_of_the_file_are_told(description: Path, old: str, new: str, said: str) -> None:
    description.write_text(description.read_text().replace(old, new, 1))
    with pytest.raises(ConfigurationProblem) as problem:
        Description.load(description)
    assert said in problem.value.render()
