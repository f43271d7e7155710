"""`accesspoint demo` shows the main job and verifies it: every line, every check and every event, literally.

The demo is run as a person runs it, once with one process per organisation and once with three. What it
claims about delivery events is asked anew from the status component, as the stations themselves may ask.
"""

import re
from typing import Any

import pytest
from command_line import Home
from delivery_rows import device_of, entity, expected_rows, row_of, rows_by
from fhir.resources.R4B.auditevent import AuditEvent
from sample_messages import TEST_PERSON

from accesspoint.delivery.auditevent import check_audit_event
from accesspoint.demo.scenery import CLINIC, MUNICIPALITY, ORGANISATIONS, device_ids

LINE = re.compile(r"  ([✓✗]) +\d+ ms  (.{23}) (EUA|MSH|AP) +([a-z-]+) +(.+)")
OWNERS = {device: o.key for o in ORGANISATIONS for device in device_ids(o).values()}

CREATED = "recognised, held against the named rules, accepted"
WRAPPED = "wrapped in an ehmiSBDH envelope that asks for an acknowledgement"
LOOKED_UP = "looked up: SML (DNS NAPTR)"
SENDING = "compressed, signed, encrypted; posting over mutual TLS"
RECEIPT = "receipt verified: signer, RefToMessageId, every digest"
RECEIVED = "signature, certificate, decryption, digests, envelope checked; stored; receipt signed"
OPENED = "envelope opened and checked"
ACKNOWLEDGING = "SBDH acknowledgement made"
TAKEN = "MedCom rules checked, taken over"
DELIVERED = "delivered to the backend"
MATCHED = "SBDH acknowledgement matched to its envelope"
ANSWERED = "FHIR Acknowledgement matched to its message: ok"
HANDED = "handed to the next station with a sealed manifest"

STEPS = {
    "municipality": [
        ("HomeCareObservation", "EUA", CREATED),
        ("HomeCareObservation", "MSH", WRAPPED),
        ("HomeCareObservation", "AP", LOOKED_UP),
        ("HomeCareObservation", "AP", SENDING),
        ("HomeCareObservation", "AP", RECEIPT),
        ("SBDH Ack", "AP", RECEIVED),
        ("SBDH Ack", "MSH", MATCHED),
        ("FHIR Ack", "AP", RECEIVED),
        ("FHIR Ack", "MSH", OPENED),
        ("FHIR Ack", "EUA", TAKEN),
        ("FHIR Ack", "EUA", ANSWERED),
        ("FHIR Ack", "EUA", DELIVERED),
        ("SBDH Ack 2", "MSH", ACKNOWLEDGING),
        ("SBDH Ack 2", "AP", LOOKED_UP),
        ("SBDH Ack 2", "AP", SENDING),
        ("SBDH Ack 2", "AP", RECEIPT),
    ],
    "clinic": [
        ("HomeCareObservation", "AP", RECEIVED),
        ("HomeCareObservation", "MSH", OPENED),
        ("HomeCareObservation", "EUA", TAKEN),
        ("HomeCareObservation", "EUA", DELIVERED),
        ("SBDH Ack", "MSH", ACKNOWLEDGING),
        ("SBDH Ack", "AP", LOOKED_UP),
        ("SBDH Ack", "AP", SENDING),
        ("SBDH Ack", "AP", RECEIPT),
        ("FHIR Ack", "EUA", CREATED),
        ("FHIR Ack", "MSH", WRAPPED),
        ("FHIR Ack", "AP", LOOKED_UP),
        ("FHIR Ack", "AP", SENDING),
        ("FHIR Ack", "AP", RECEIPT),
        ("SBDH Ack 2", "AP", RECEIVED),
        ("SBDH Ack 2", "MSH", MATCHED),
    ],
}
"""What each organisation's stations do, in either arrangement."""
HANDED_OVER = {
    "municipality": [
        ("HomeCareObservation", "EUA", HANDED),
        ("HomeCareObservation", "MSH", HANDED),
        ("SBDH Ack", "AP", HANDED),
        ("FHIR Ack", "AP", HANDED),
        ("FHIR Ack", "MSH", HANDED),
        ("SBDH Ack 2", "MSH", HANDED),
    ],
    "clinic": [
        ("HomeCareObservation", "AP", HANDED),
        ("HomeCareObservation", "MSH", HANDED),
        ("SBDH Ack", "MSH", HANDED),
        ("FHIR Ack", "EUA", HANDED),
        ("FHIR Ack", "MSH", HANDED),
        ("SBDH Ack 2", "AP", HANDED),
    ],
}
"""What they do besides when each stands in a process of its own."""
CHECKS = [
    "AS4: the sender holds a verified non-repudiation receipt",
    "AS4: the receipt was signed by the certificate the SMP named (HEX…)",
    "AS4: the receiver stored the message once and handed it on",
    "AS4: the envelope arrived byte for byte",
    "EUA: the receiver's backend has the message byte for byte (SHA-256 HEX…)",
    "EUA: the sender's backend has the FHIR Acknowledgement",
    "MSH: the SBDH acknowledgement of the message is positive",
    "MSH: the SBDH acknowledgement of the FHIR Acknowledgement is positive",
    "EUA: the FHIR Acknowledgement says ok",
    "EDS: EVENTS of EVENTS delivery events arrived, none twice",
    "EDS: every event holds element by element",
    "EDS: every event says success",
]
EVENTS = {"together": 16, "apart": 32}
LINES = {"together": 31, "apart": 43}
PROCESSES = {"together": 2, "apart": 6}


@pytest.fixture(params=["together", "apart"])
def shown(request: pytest.FixtureRequest, demos: dict[str, Any]) -> Any:
    """One of the two demos."""
    return demos[request.param]


def steps_of(text: str) -> list[tuple[str, str, str, str]]:
    """The lines of the timeline: organisation, message, station, words without what differs between runs."""
    found = []
    for match in LINE.finditer(text):
        mark, label, station, node, words = match.groups()
        assert mark == "✓", words
        organisation, _, own = node.partition("-")
        assert own in ("", station.lower())
        words = LOOKED_UP if words.startswith(LOOKED_UP) else words
        found.append((organisation, label.strip(), station, words))
    return found


def checks_of(text: str) -> list[str]:
    """The checks that held, in their order."""
    checks = re.findall(r"^  ✓ ((?:AS4|EUA|MSH|EDS): .+)$", text, re.MULTILINE)
    return [re.sub(r"[0-9a-f]{16}", "HEX", check) for check in checks]


def test_every_step_of_every_station_is_one_line(shown):
    expected = [(org, *step) for org, steps in STEPS.items() for step in steps]
    if shown.arrangement == "apart":
        expected += [(org, *step) for org, steps in HANDED_OVER.items() for step in steps]
    found = steps_of(shown.command.out)
    assert sorted(found) == sorted(expected)
    assert len(found) == LINES[shown.arrangement]


def test_every_check_is_made_and_holds(shown):
    events = str(EVENTS[shown.arrangement])
    assert checks_of(shown.command.out) == [one.replace("EVENTS", events) for one in CHECKS]
    assert "✗" not in shown.command.out
    assert re.search(r"^  every step held: .* with set-up$", shown.command.out, re.MULTILINE)
    assert shown.command.err == ""


def test_the_status_component_has_exactly_the_events_of_the_exchange(shown):
    assert len(shown.resources) == EVENTS[shown.arrangement]
    assert len({resource["id"] for resource in shown.resources}) == len(shown.resources)
    assert rows_by(shown.resources, OWNERS) == expected_rows(shown.arrangement)


def test_every_event_holds_element_by_element(shown):
    for resource in shown.resources:
        assert check_audit_event(resource) == []
        AuditEvent.model_validate(resource)
        assert resource["outcome"] == "0"


def test_an_event_names_the_parties_of_the_message_and_not_the_reporter(shown):
    for resource in shown.resources:
        station, subtype, standard = row_of(resource)
        parties = {
            agent["type"]["coding"][0]["code"]: agent["extension"][0]["valueIdentifier"]["value"]
            for agent in resource["agent"]
        }
        reporter = OWNERS[device_of(resource)]
        starts = "created" in subtype
        if standard == "homecareobservation-message":
            assert parties == {"ehmiSender": "5790000000012", "ehmiReceiver": "5790000000029"}
        elif standard == "acknowledgement-message":
            assert parties == {"ehmiSender": "5790000000029", "ehmiReceiver": "5790000000012"}
        elif starts or "finalized" in subtype:
            mine = {o.key: o.address.gln for o in (MUNICIPALITY, CLINIC)}[reporter]
            assert parties["ehmiSender" if starts else "ehmiReceiver"] == mine
        seen = entity(resource, "ehmiTransportEnvelope") is not None
        assert not (station == "EUA" and seen)


def test_the_patient_is_named_to_the_status_component_only_with_the_message(shown):
    for resource in shown.resources:
        patient = entity(resource, "ehmiPatient")
        if row_of(resource)[2] == "homecareobservation-message":
            assert patient is not None
            assert patient["what"]["identifier"]["value"] == TEST_PERSON
        else:
            assert patient is None


def test_one_process_per_node_runs_besides_the_demo(shown):
    lines = list(shown.home.processes().values())
    nodes = [line for line in lines if " accesspoint run --config " in line]
    assert len(nodes) == PROCESSES[shown.arrangement]
    assert len(lines) == len(nodes) + 1


def test_no_patient_is_in_any_output_or_log(shown):
    places = shown.directories
    delivered = [path for place in places.values() for path in (place / "received").glob("*.json")]
    assert any(TEST_PERSON.encode() in path.read_bytes() for path in delivered)
    texts = {"stdout": shown.command.out, "stderr": shown.command.err}
    for name, place in places.items():
        texts[name] = (place / "log.jsonl").read_text()
        assert '"level":"info"' in texts[name]
    for name, text in texts.items():
        for spelling in (TEST_PERSON, "251248-9996", "Berggren"):
            assert spelling not in text, f"{spelling} in {name}"


def test_a_demo_that_is_not_kept_ends_with_zero_and_leaves_nothing(tmp_path):
    home = Home(tmp_path / "somebody")
    try:
        status, command = home.run("demo")
        assert (status, command.err) == (0, "")
        assert checks_of(command.out) == [one.replace("EVENTS", "16") for one in CHECKS]
        assert home.processes() == {}
        assert home.is_clean
    finally:
        home.leave()
