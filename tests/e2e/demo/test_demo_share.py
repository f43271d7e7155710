"""`accesspoint demo --share`: the exchange of the demo, and its copy at the document register, literally."""

import asyncio
import json
import re
import urllib.request
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from command_line import Command, Home
from delivery_rows import HCO, SBDH_ACK, entity, row_of
from sample_messages import TEST_PERSON
from status_search import search

pytestmark = pytest.mark.slow

KEPT = "the network keeps running"
REGISTER = "5790000000043"
EVENTS = {"together": 18, "apart": 38}
LINES = {"together": 45, "apart": 59}
COPY_EVENTS = {
    "together": [
        ("AP-MSH", "msg-sent", HCO),
        ("AP-MSH", "msg-received-and-finalized", SBDH_ACK),
    ],
    "apart": [
        ("MSH", "msg-sent", HCO),
        ("AP", "msg-received", HCO),
        ("AP", "msg-sent", HCO),
        ("AP", "msg-received", SBDH_ACK),
        ("AP", "msg-sent", SBDH_ACK),
        ("MSH", "msg-received-and-finalized", SBDH_ACK),
    ],
}
COPIED = "copied for the document register: its own envelope, with XDS metadata"
CHECKS = (
    "EMR: the document register has the message once, byte for byte, with metadata of its own",
    "MSH: the SBDH acknowledgement of the copy is positive",
)


@pytest.fixture(scope="module")
def demos(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, tuple[Command, list[Any]]]]:
    """Both arrangements at once, each kept until its events are read."""
    homes = {name: Home(tmp_path_factory.mktemp(f"share-{name}")) for name in EVENTS}
    try:
        commands = {
            name: home.start("demo", "--share", "--keep", "--stations", name)
            for name, home in homes.items()
        }
        for command in commands.values():
            command.until_said(KEPT)
        yield {name: (commands[name], asyncio.run(search(homes[name].nodes()))) for name in homes}
        for command in commands.values():
            assert command.interrupt() == 0
    finally:
        for home in homes.values():
            home.leave()


@pytest.mark.parametrize("arrangement", EVENTS)
def test_every_step_and_check_holds(demos, arrangement):
    command, _ = demos[arrangement]
    assert "✗" not in command.out
    assert command.err == ""
    assert command.out.count(COPIED) == 1
    for check in CHECKS:
        assert f"✓ {check}" in command.out
    events = EVENTS[arrangement]
    assert f"✓ EDS: {events} of {events} delivery events arrived, none twice" in command.out
    assert len(re.findall(r"^  ✓ +\d+ ms ", command.out, re.MULTILINE)) == LINES[arrangement]


@pytest.mark.parametrize("arrangement", EVENTS)
def test_the_copy_is_reported_by_the_senders_stations_and_nobody_else(demos, arrangement):
    _, resources = demos[arrangement]
    assert len(resources) == EVENTS[arrangement]
    about = [one for one in resources if REGISTER in json.dumps(one["agent"])]
    assert Counter(map(row_of, about)) == Counter(COPY_EVENTS[arrangement])
    envelopes = {
        entity(one, "ehmiTransportEnvelope")["what"]["identifier"]["value"] for one in about
    }
    others = [one for one in resources if one not in about]
    messages = {entity(one, "ehmiMessage")["what"]["identifier"]["value"] for one in others}
    assert len(envelopes) == 2
    assert not envelopes & {
        entity(one, "ehmiTransportEnvelope")["what"]["identifier"]["value"]
        for one in others
        if entity(one, "ehmiTransportEnvelope")
    }
    assert {
        entity(one, "ehmiMessage")["what"]["identifier"]["value"]
        for one in about
        if row_of(one)[2] == HCO
    } <= messages


@pytest.mark.parametrize("arrangement", EVENTS)
def test_the_register_shows_what_it_got_without_the_patient(demos, arrangement):
    command, _ = demos[arrangement]
    page = re.search(r"^  shared:   (\S+)$", command.out, re.MULTILINE)
    assert page is not None
    with urllib.request.urlopen(page[1] + "documents.json") as answer:
        text = answer.read().decode()
    (document,) = json.loads(text)["documents"]
    assert document["fault"] is None
    assert document["title"] == "Kommunale prøvesvar"
    assert TEST_PERSON not in text
    assert TEST_PERSON not in command.out
