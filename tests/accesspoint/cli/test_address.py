"""`accesspoint address find` on the network that runs: found in each way, told as text and JSON, and how it fails."""

import json
from collections.abc import Callable

import pytest

from .conftest import Ended, Network

Invoke = Callable[..., Ended]


@pytest.fixture
def find(network: Network, invoke: Invoke) -> Invoke:
    config = ["--config", network.config("municipality")]
    return lambda *words, **more: invoke("address", "find", *words, *config, **more)


@pytest.mark.parametrize(
    "words",
    [("--sor", "900000000000024"), ("--gp", "099999"), ("--postal-code", "9990")],
    ids=lambda words: words[0],
)
def test_a_practice_is_found_in_every_way(find: Invoke, words: tuple[str, str]) -> None:
    ended = find(*words)

    assert ended.err == ""
    assert ended.status == 0
    first, gln, *documents = ended.out.splitlines()
    assert first == "Lægehuset Eksempel  SOR 900000000000024  ydernummer 099999  9990 Eksempelby"
    assert gln == "  GLN 5790000000029"
    assert "    homecareobservation-message 1.1" in documents


def test_a_patient_number_is_read_from_standard_input_and_never_told(find: Invoke) -> None:
    ended = find("--patient", "--format", "json", stdin=b"251248-9996\n")

    (found,) = json.loads(ended.out)
    assert (ended.status, found["sor"]) == (0, "900000000000024")
    assert found["endpoints"][0]["gln"] == "5790000000029"
    unknown = find("--patient", stdin=b"0101010101\n")
    assert (unknown.status, unknown.out) == (1, "")
    assert "1a: the insured register does not know the patient" in unknown.err
    assert "0101010101" not in unknown.err


@pytest.mark.parametrize(
    ("words", "stdin"),
    [((), b""), (("--sor", "900000000000024", "--gp", "099999"), b""), (("--patient",), b"nobody\n")],
)  # fmt: skip
def test_a_question_that_cannot_be_asked_is_refused(
    find: Invoke, words: tuple[str, ...], stdin: bytes
) -> None:
    ended = find(*words, stdin=stdin)

    assert (ended.status, ended.out) == (2, "")


def test_without_an_addressing_service_there_is_nobody_to_ask(
    network: Network, invoke: Invoke
) -> None:
    config = network.config("municipality").with_name("unaddressed.toml")
    before, _, after = network.config("municipality").read_text().partition("[addressing]")
    config.write_text(before + after[after.index("\n[") + 1 :])

    ended = invoke("address", "find", "--gp", "099999", "--config", config)

    assert ended.status == 3
    assert "has no [addressing]" in ended.err
