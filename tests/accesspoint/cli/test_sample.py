"""`accesspoint sample` as a person calls it: what it makes is new, valid, and taken by a plain `send`."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from envelope.fhir import read_message, recognise, validate
from envelope.fhir.samples import build_samples

from .conftest import Ended, Network

Invoke = Callable[..., Ended]


def test_the_list_names_every_sample_with_its_type_and_step(invoke: Invoke) -> None:
    listed = invoke("sample", "--list").out.splitlines()
    assert [line.split()[0] for line in listed] == list(build_samples())
    assert next(line for line in listed if line.startswith("cc-reply ")).endswith(
        "  CareCommunication, reply-message"
    )


@pytest.mark.parametrize("form", ["--json", "--xml"])
@pytest.mark.parametrize("name", ["hco-new", "hco-modified", "cc-reply", "hn-death-inpatient", "ack-ok"])  # fmt: skip
def test_a_sample_is_valid_new_and_from_the_municipality(
    invoke: Invoke, name: str, form: str
) -> None:
    made = [read_message(invoke("sample", name, form).out.encode()) for _ in range(2)]
    assert [validate(one, strict=True) for one in made] == [[], []]
    assert [f"--{one.format}" for one in made] == [form, form]
    first, second = map(recognise, made)
    assert (first.bundle_id, first.message_id) != (second.bundle_id, second.message_id)
    assert (first.sender.gln, first.receiver and first.receiver.gln) == (
        "5790000000012",
        "5790000000029",
    )


@pytest.mark.parametrize("name", ["hco-new", "cc-reply", "hn-admit-inpatient"])
def test_a_plain_send_takes_it(network: Network, invoke: Invoke, tmp_path: Path, name: str) -> None:
    file = tmp_path / "m.json"
    file.write_text(invoke("sample", name).out)
    assert json.loads(file.read_text())["resourceType"] == "Bundle"
    ended = invoke("send", file, "--config", network.config("municipality"))
    assert ended.status == 0, ended.text


def test_what_there_is_not_points_at_the_list(invoke: Invoke) -> None:
    for arguments in (["nothing"], []):
        ended = invoke("sample", *arguments)
        assert (ended.status, ended.out) == (2, "")
        assert "accesspoint sample --list" in ended.err
