"""The commands side by side: networks that do not disturb each other, leave nothing behind, and keep what they should."""

import asyncio
import contextlib
import os
import re
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import Home, until_true
from sample_messages import TEST_PERSON, home_care_observation

from accesspoint.api.client import NodeAddress, NodeClient
from envelope import fhir

KEPT = "the network keeps running"
EVENTS = 16 + 2
"""Of a full exchange, and of the copy for the document register."""
CLINIC_GLN = "5790000000029"
FOLDER = os.environ.get("ACCESSPOINT_FIXTURES")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path / "somebody")
    try:
        yield home
    finally:
        home.leave()


@pytest.fixture
def kept(demos: dict[str, Any]) -> Home:
    """The home of a demo that keeps its network running, one process per organisation."""
    home: Home = demos["together"].home
    return home


def write_message(home: Home, form: str) -> tuple[Path, str, bytes]:
    """A synthetic message as a file: where, its identifier, its octets."""
    data = fhir.serialize(home_care_observation(), form)
    identifier = fhir.recognise(fhir.read_message(data)).message_id
    path = home.directory / f"{identifier}.{form}"
    path.write_bytes(data)
    return path, identifier, data


def inbox(home: Home) -> Path:
    """The folder of the clinic's backend."""
    (clinic,) = [config.parent for config in home.nodes() if config.parent.name == "clinic"]
    return clinic / "received"


def describe(config: Path, identifier: str) -> dict[str, Any]:
    """What a running node knows of a message."""

    async def ask() -> dict[str, Any]:
        async with NodeClient(NodeAddress.load(config.parent / "store")) as client:
            return await client.describe(identifier)

    return asyncio.run(ask())


# Sending and watching


@pytest.mark.parametrize("form", ["json", "xml"])
def test_a_file_is_sent_and_followed_to_its_acknowledgement(kept, form):
    path, identifier, data = write_message(kept, form)
    status, command = kept.run("send", path, "--to", CLINIC_GLN)
    assert (status, command.err) == (0, "")
    lines = command.out.splitlines()
    assert lines[0] == f"  homecareobservation-message {identifier}"
    assert lines[1] == f"  {len(data)} bytes   5790000000012 → 5790000000029"
    assert lines[-2].endswith("FHIR Acknowledgement matched to its message: ok")
    assert re.fullmatch(r"  acknowledged in \d+\.\d s: receipt, (SBDH Ack, )?FHIR Ack", lines[-1])
    assert (inbox(kept) / f"{identifier}.{form}").read_bytes() == data
    assert TEST_PERSON not in command.out


@pytest.mark.skipif(not FOLDER, reason="ACCESSPOINT_FIXTURES names no folder of examples")
@pytest.mark.parametrize("form", ["json", "xml"])
def test_a_published_example_is_sent_in_our_name_and_says_so(kept, form):
    folder = Path(FOLDER or "") / "medcom-fhir" / "homecareobservation-1.2.1"
    name = "Bundle-ReceiveTestExample1" if form == "json" else "Bundle-ReceiveTestExample2"
    path = folder / f"{name}.{form}"
    identifier = fhir.recognise(fhir.read_message(path.read_bytes())).message_id
    status, command = kept.run("send", path, "--to", CLINIC_GLN)
    assert (status, command.err) == (0, "")
    assert "  note: " in command.out
    assert (inbox(kept) / f"{identifier}.{form}").read_bytes() == path.read_bytes()


def test_watch_shows_one_message_of_all_nodes_from_its_beginning(kept):
    path, identifier, _ = write_message(kept, "json")
    assert kept.run("send", path)[0] == 0
    watching = kept.start("watch", identifier[:13])
    watching.until_said("FHIR Acknowledgement matched to its message: ok")
    watching.until_said("clinic           delivered to the backend")
    first = watching.out.splitlines()[0]
    assert "0 ms  HomeCareObservation     EUA  municipality     recognised" in first
    assert "AP   clinic           signature, certificate, decryption" in watching.out
    assert TEST_PERSON not in watching.out
    assert watching.interrupt() == 130


def test_watch_shows_what_happens_from_now_on_until_the_network_stops(home):
    demo = home.start("demo", "--keep")
    demo.until_said(KEPT)
    watching = home.start("watch")

    def shows_one() -> bool:
        # Following has no sign of its own: messages are sent until the first one is seen.
        path, _, _ = write_message(home, "json")
        assert home.run("send", path)[0] == 0
        return "FHIR Acknowledgement matched to its message: ok" in watching.out

    until_true(shows_one, "a message in the timeline")
    assert demo.interrupt() == 0
    assert watching.end() == 5
    assert watching.err == "the network has stopped\n"
    assert home.processes() == {}
    assert home.is_clean
    status, sending = home.run("send", write_message(home, "json")[0])
    assert status == 5
    assert sending.err.startswith(f"no running network is recorded in {home.data}\n")


# What is left behind


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_interrupted_in_its_exchange_ends_every_process(home, number):
    command = home.start("demo", "--break", "no-fhir-acknowledgement")
    command.until_said("receipt verified")
    assert len(home.processes()) == 3
    command.send_signal(number)
    assert command.end() == 130
    assert command.out.endswith("interrupted; every process has ended\n")
    assert command.err == ""
    assert home.processes() == {}
    assert home.is_clean


def test_the_nodes_of_a_killed_demo_end_with_it(home):
    command = home.start("demo", "--keep")
    command.until_said(KEPT)
    assert len(home.processes()) == 3
    command.send_signal(signal.SIGKILL)
    assert command.end() == -9
    home.until_empty()
    # Nobody could tidy up, and the next command says what is the case.
    status, sending = home.run("send", write_message(home, "json")[0])
    assert status == 5
    assert "does not answer" in sending.err
    assert "Traceback" not in sending.err


# What is kept


def count_events(database: Path) -> int:
    """How many events the status component has, seen from beside it."""
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return int(connection.execute("SELECT count(*) FROM events").fetchone()[0])


def test_a_development_network_keeps_its_data_over_a_restart(home):
    directory = home.directory / "network"
    configs = [directory / name / "accesspoint.toml" for name in ("municipality", "clinic")]
    reports = directory / "delivery-status.db"
    first = home.start("dev", "--directory", directory)
    first.until_said(KEPT)
    path, identifier, data = write_message(home, "json")
    assert home.run("send", path)[0] == 0
    until_true(lambda: count_events(reports) == EVENTS, "the delivery events")
    before = [describe(config, identifier) for config in configs]
    first.send_signal(signal.SIGTERM)
    assert first.end() == 0
    assert "stopped; the data is kept" in first.out
    assert home.processes() == {}

    second = home.start("dev", "--directory", directory)
    second.until_said(KEPT)
    assert [describe(config, identifier) for config in configs] == before
    assert before[0]["documents"][0]["acknowledgement"] == "ok"
    assert (directory / "clinic" / "received" / f"{identifier}.json").read_bytes() == data
    # Sent again it is the same message, and its story is told from the beginning.
    status, repeated = home.run("send", path)
    assert status == 0
    assert "accepted before" in repeated.out
    again, _, _ = write_message(home, "xml")
    assert home.run("send", again)[0] == 0
    until_true(lambda: count_events(reports) == 2 * EVENTS, "the delivery events")
    assert second.interrupt() == 0
    assert home.processes() == {}
    for config in configs:
        assert TEST_PERSON not in (config.parent / "log.jsonl").read_text()
