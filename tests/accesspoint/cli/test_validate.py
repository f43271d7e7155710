"""`accesspoint validate` as a person calls it."""

import json
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from as4_wire import business_document

from envelope.fhir import RULES, Format, serialize
from envelope.fhir.catalogue import CATALOGUE
from envelope.fhir.mutations import MUTATIONS
from envelope.fhir.samples import build_samples
from envelope.fhir.synthetic import TEST_CPR

from .conftest import Ended

Invoke = Callable[..., Ended]
SAMPLES = build_samples()
PERSONAL = ("Berggren", TEST_CPR, f"{TEST_CPR[:6]}-{TEST_CPR[6:]}")


@pytest.mark.parametrize("wire", ["json", "xml"])
def test_a_sound_message(invoke: Invoke, tmp_path: Path, wire: Format) -> None:
    file = tmp_path / f"message.{wire}"
    file.write_bytes(serialize(SAMPLES["hco-modified"], wire))
    ended = invoke("validate", file)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith(f"✓ message.{wire}: a valid message, no rule is broken\n")
    assert "message: HomeCareObservation" in ended.out
    assert f"written as: {wire.upper()}" in ended.out
    assert "step: modified-message, after 1 before it" in ended.out
    assert "from: Akutteam Testkommune, GLN 5790000123117, SOR 1144561000016002" in ended.out
    assert "to: Lægerne i Testby, GLN 5790000127092" in ended.out
    assert "patient: known by a CPR number (not shown)" in ended.out
    assert not any(word in ended.out for word in PERSONAL)


@pytest.mark.parametrize("name", SAMPLES)
def test_every_kind_of_message_is_named(invoke: Invoke, name: str) -> None:
    ended = invoke("validate", "-", "--format", "json", stdin=serialize(SAMPLES[name], "json"))
    told = json.loads(ended.out)
    assert (ended.status, told["valid"], told["findings"]) == (0, True, [])
    title = {
        "hco": "HomeCareObservation",
        "cc": "CareCommunication",
        "hn": "HospitalNotification",
        "ack": "Acknowledgement",
    }[name.partition("-")[0]]
    assert told["message"]["message"].startswith(title)
    assert not any(word in ended.out for word in PERSONAL)


def test_each_finding_has_its_rule_place_invariant_and_what_to_do(invoke: Invoke) -> None:
    mutation = next(each for each in MUTATIONS if each.rule == "gln-check-digit")
    data = mutation.apply(SAMPLES[mutation.sample])
    ended = invoke("validate", "-", stdin=data)
    assert ended.status == 4
    assert ended.out.startswith("✗ standard input: an invalid message: 1 error\n")
    assert "\nprofile\n  ✗ error gln-check-digit [gln-modulus-10]: " in ended.out
    told = " ".join(ended.out.split())
    assert (
        "(at Bundle.entry[6].resource.identifier[0].value, Organization 2 of 2, the sender)" in told
    )
    assert "    do: Look the GLN up: its last digit does not fit the others.\n" in ended.out
    told = json.loads(invoke("validate", "-", "--format", "json", stdin=data).out)
    assert told["findings"] == [
        {
            "rule": "gln-check-digit",
            "layer": "profile",
            "severity": "error",
            "path": "Bundle.entry[6].resource.identifier[0].value",
            "resource": "Organization 2 of 2, the sender",
            "text": "the check digit of the GLN is wrong",
            "medcom_id": "gln-modulus-10",
            "demand": "The check digit of a GLN is right.",
            "do": "Look the GLN up: its last digit does not fit the others.",
            "stricter": None,
        }
    ]


def test_layers_come_in_order_and_every_defect_is_explained(invoke: Invoke) -> None:
    layers = [str(entry.layer) for entry in CATALOGUE.values()]
    for mutation in MUTATIONS[:: len(MUTATIONS) // 30]:
        data = mutation.apply(SAMPLES[mutation.sample])
        told = json.loads(invoke("validate", "-", "--format", "json", stdin=data).out)
        assert mutation.rule in [found["rule"] for found in told["findings"]]
        assert {found["layer"] for found in told["findings"]} <= set(layers)
        assert all(found["do"] for found in told["findings"])
    assert len(RULES) > 150


def test_eleven_attachments_are_an_error_for_who_sends_and_a_warning_for_who_reads(
    invoke: Invoke,
) -> None:
    mutation = next(each for each in MUTATIONS if each.rule == "cc-attachment-count")
    data = mutation.apply(SAMPLES[mutation.sample])
    sent, received = (
        invoke("validate", "-", stdin=data),
        invoke("validate", "-", "--received", stdin=data),
    )
    assert (sent.status, received.status) == (4, 0)
    assert "stricter than the published profile: the standard sets no number" in " ".join(
        sent.out.split()
    )
    assert received.out.startswith("! standard input: a valid message with 1 warning\n")


def test_a_film_is_refused_by_the_published_profile_itself(invoke: Invoke) -> None:
    mutation = next(each for each in MUTATIONS if each.name == "a film in Media")
    ended = invoke("validate", "-", stdin=mutation.apply(SAMPLES[mutation.sample]))
    assert (ended.status, "hco-media-type" in ended.out) == (4, True)
    assert "stricter than" not in ended.out


def test_a_message_in_its_envelope(invoke: Invoke) -> None:
    enveloped = business_document(str(uuid.uuid4()), str(uuid.uuid4()))
    ended = invoke("validate", "-", stdin=enveloped)
    assert ended.status == 0
    assert "envelope: StandardBusinessDocument" in ended.out
    assert "message: HomeCareObservation" in ended.out
    cut = invoke("validate", "-", stdin=enveloped[:-40])
    assert (cut.status, "the envelope cannot be opened" in cut.out) == (4, True)


def test_what_is_no_message_says_so(invoke: Invoke, tmp_path: Path) -> None:
    ended = invoke("validate", "-", stdin=b"TEST")
    assert (ended.status, "message-format" in ended.out) == (4, True)
    assert invoke("validate", tmp_path / "nothing.json").status == 1
    assert invoke("validate", "-", "--format", "html", stdin=b"").status == 2
