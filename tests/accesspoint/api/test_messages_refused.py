"""What a node's edge does not take of messages: each limit of the standards, refused with the reason and what to do."""

import base64
import json
from typing import Any

import pytest
from as4_stage import Pki, Stage

from accesspoint.api.client import ApiProblem, NodeAddress, NodeClient
from accesspoint.clock import SystemClock
from accesspoint.demo.play import sample_message
from accesspoint.demo.scenery import MUNICIPALITY
from envelope.fhir.mutation import find
from envelope.fhir.mutations import MUTATIONS
from envelope.fhir.samples import build_samples
from envelope.limits import MIB

from .conftest import Interface

MESSAGES = "/api/v1/messages"
SAMPLES = build_samples()
CPR = "2512489996"


def defect(rule: str) -> bytes:
    mutation = next(each for each in MUTATIONS if each.rule == rule)
    return mutation.apply(SAMPLES[mutation.sample])


@pytest.mark.parametrize(
    ("rule", "text", "do"),
    [
        ("cc-attachment-count", "more than ten attachments", "Send at most ten"),
        ("cc-attachment-type", "not a type of attachment MedCom allows", "Use PDF, GIF, JPEG"),
        ("cc-category", "not exactly one category", "Give Communication one category"),
        ("hn-patient-cpr", "the patient has no CPR number", "Use the patient's CPR number"),
        ("structure-required", "a required element is missing", "Add the element"),
    ],
)
async def test_it_is_refused_with_the_reason(
    interface: Interface, rule: str, text: str, do: str
) -> None:
    status, body, _ = await interface.call("POST", MESSAGES, defect(rule))
    assert (status, body["title"], body["whose"]) == (422, rule, "ours")
    found = body["findings"][0]
    assert (found["rule"], found["text"], found["severity"]) == (rule, text, "error")
    assert found["do"].startswith(do)
    assert found["path"].startswith("Bundle.entry[")
    assert CPR not in json.dumps(body)
    assert await interface.node.rows("SELECT * FROM documents") == []
    assert interface.node.files() == set()


def _grown_to(size: int) -> bytes:
    """A CareCommunication whose one attachment fills it up to so many bytes."""
    bundle: dict[str, Any] = json.loads(json.dumps(SAMPLES["cc-new"]))
    content = find(bundle, "Communication")["payload"][1]["contentAttachment"]
    content["data"] = ""
    room = size - len(json.dumps(bundle).encode())
    content["data"] = base64.b64encode(bytes(3)).decode() * (room // 4)
    return json.dumps(bundle).encode().ljust(size)


@pytest.mark.parametrize("more", [pytest.param(0, marks=pytest.mark.slow), 1])
async def test_a_message_has_a_hundred_megabytes_with_all_that_is_in_it(
    interface: Interface, more: int
) -> None:
    data = _grown_to(100 * MIB + more)
    assert len(data) == 100 * MIB + more
    status, body, _ = await interface.call("POST", MESSAGES, data)
    if more:
        assert (status, body["title"]) == (413, "message-too-large")
        assert str(100 * MIB) in body["detail"]
    else:
        # It was read and judged: the organization that sends in the sample is not the one of this node.
        assert (status, body["title"]) == (422, "sender-not-served"), body


async def test_a_node_whose_validator_does_not_answer_says_so(pki: Pki, stage: Stage) -> None:
    external = {
        "url": "http://127.0.0.1:9/fhir/Bundle/$validate",
        "networks": ["127.0.0.0/8"],
        "timeout": "2 s",
        "without_answer": "refuse",
    }
    path = stage.write_node(
        MUNICIPALITY, pki.municipality, partners={}, validation={"external": external}
    )
    async with stage.run(path), NodeClient(NodeAddress.load(path.parent / "store")) as client:
        with pytest.raises(ApiProblem) as refused:
            await client.submit(sample_message(SystemClock()), to=None)
    assert refused.value.body["title"] == "message-not-judged"
    (found,) = refused.value.body["findings"]
    assert found["rule"] == "external-unanswered"
