"""`accesspoint lookup` on the network that runs, and where no node runs: what is found, how old it is, and how it fails."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from envelope.ehmi import HOME_CARE_OBSERVATION_1_1
from keys.devca import DevelopmentAuthority
from keys.store import write_certificates

from .conftest import Ended, Network

Invoke = Callable[..., Ended]
CLINIC = "5790000000029"
NOBODY = "5790000000050"


@pytest.fixture
def sender(network: Network) -> list[object]:
    return ["--config", network.config("municipality")]


@pytest.fixture
def stopped(network: Network) -> list[object]:
    """The configuration of a node that does not run, beside the one that does."""
    config = network.config("municipality").with_name("stopped.toml")
    config.write_text(network.config("municipality").read_text().replace('"store"', '"nothing"'))
    return ["--config", config]


def test_a_running_node_remembers_unless_told_not_to(
    network: Network, invoke: Invoke, sender: list[object]
) -> None:
    fresh = invoke("lookup", CLINIC, "--fresh", *sender)
    known = invoke("lookup", f"0088:{CLINIC}", *sender)

    assert (fresh.status, fresh.err, known.status) == (0, "", 0)
    steps = [line.split()[1] for line in fresh.out.splitlines() if line.startswith("  ✓")]
    assert steps == ["sml", "smp", "smp-signature"]
    assert "asked the running node" in fresh.out
    assert "bdxr-transport-ebms3-as4-v1p0" in fresh.out
    assert "encrypts for  laegehuset-ap-test" in fresh.out
    (step,) = [line for line in known.out.splitlines() if line.startswith("  ✓")]
    assert step.split()[1] == "cache"
    assert " s ago, asked again in " in step


def test_without_a_node_the_configuration_is_enough(
    network: Network, invoke: Invoke, stopped: list[object]
) -> None:
    ended = invoke("lookup", CLINIC, "--format", "json", *stopped)

    told = json.loads(ended.out)
    assert (ended.status, told["found"]) == (0, True)
    assert told["asked"] == "without a running node; nothing is remembered"
    assert [step["name"] for step in told["steps"]] == ["sml", "smp", "smp-signature"]
    assert all(step["milliseconds"] >= 0 for step in told["steps"])
    assert told["endpoint"]["url"].startswith("https://127.0.0.1:")
    assert len(told["endpoint"]["certificate"]["sha256"]) == 64


@pytest.mark.parametrize("running", [True, False])
def test_who_is_not_registered_is_told_with_what_to_do(
    network: Network, invoke: Invoke, sender: list[object], stopped: list[object], running: bool
) -> None:
    ended = invoke("lookup", NOBODY, *(sender if running else stopped))

    assert (ended.status, ended.err) == (1, "")
    assert "lookup-no-participant   (theirs)" in ended.out
    assert f"0088:{NOBODY} was not found in the directory." in ended.out
    assert "\n  do: " in ended.out


def test_a_document_that_the_receiver_does_not_take(
    network: Network, invoke: Invoke, stopped: list[object]
) -> None:
    ended = invoke("lookup", CLINIC, "--document", "urn:dk::nothing##x::1.0", *stopped)

    assert ended.status == 1
    assert "urn%3Adk%3A%3Anothing%23%23x%3A%3A1.0 answered 404" in ended.out
    assert "lookup-no-endpoint   (theirs)" in ended.out
    assert (
        "  it takes: homecareobservation-message 1.1, homecareobservation-message 1.2, "
        in ended.out
    )
    assert "do: Compare the document with what the receiver takes: " in ended.out


@pytest.mark.parametrize(
    ("name", "document_id"),
    [
        ("homecareobservation-message", "homecareobservation-message::1.1"),
        ("HomeCareObservation 1.2", "homecareobservation-message::1.2"),
        ("care-communication-message|5.0", "carecommunication-message::5.0"),
        (min(HOME_CARE_OBSERVATION_1_1.aliases), "homecareobservation-message::1.1"),
        (HOME_CARE_OBSERVATION_1_1.document_id, "homecareobservation-message::1.1"),
    ],
)
def test_a_document_is_known_by_its_name_and_its_published_ids(
    network: Network, invoke: Invoke, sender: list[object], name: str, document_id: str
) -> None:
    ended = invoke("lookup", CLINIC, "--document", name, "--format", "json", *sender)
    assert json.loads(ended.out)["document"].endswith(document_id)
    assert ended.status == 0


def test_by_default_it_is_the_message_of_the_pilot(
    network: Network, invoke: Invoke, sender: list[object]
) -> None:
    told = json.loads(invoke("lookup", CLINIC, "--format", "json", *sender).out)
    assert told["document"] == HOME_CARE_OBSERVATION_1_1.document_id


def test_a_name_of_no_document_is_the_askers_to_mend(invoke: Invoke) -> None:
    ended = invoke("lookup", CLINIC, "--document", "homecareobservations")
    assert (ended.status, ended.out) == (2, "")
    assert "no document is called homecareobservations; there are: homecareobs" in ended.err


def test_a_sor_id_is_sent_to_the_addressing_service(invoke: Invoke) -> None:
    ended = invoke("lookup", "900000000000024")
    assert (ended.status, ended.out) == (2, "")
    assert "do: accesspoint address find --sor 900000000000024\n" in ended.err


def test_what_is_no_gln_is_not_looked_up(network: Network, invoke: Invoke) -> None:
    for text in ("5790000000028", "clinic", "0088:", "..%2f"):
        ended = invoke("lookup", text)
        assert (ended.status, ended.out) == (2, "")
        assert "is not a GLN" in ended.err
        assert "--sor" not in ended.err


def test_nobody_trusted_signed_it(network: Network, invoke: Invoke, stopped: list[object]) -> None:
    config = Path(str(stopped[1]))
    at = datetime.now(UTC) - timedelta(hours=1)
    stranger = DevelopmentAuthority.create(at=at, name="Stranger")
    strange = write_certificates(config.parent / "strange.pem", stranger.anchors)
    before, smp, after = config.read_text().partition("[trust.smp]")
    assert smp
    config.write_text(before + smp + after.replace("../anchors.pem", str(strange), 1))

    ended = invoke("lookup", CLINIC, "--config", config)

    assert ended.status == 7
    assert "smp-signature   (theirs)" in ended.out
    assert "✗ smp-signature" in ended.out
