"""`send`, `watch` and `ready` against the network that runs: what they show, and how they end."""

import asyncio
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from as4_stage import Partner, Pki, Stage
from held_ports import free_ports

from accesspoint.cli.current import current
from accesspoint.cli.send import MOST_FINDINGS, list_findings
from accesspoint.clock import SystemClock
from accesspoint.demo.play import sample_message, spoil
from accesspoint.demo.scenery import CLINIC, MUNICIPALITY
from envelope import fhir

from .conftest import Command, Ended, Network, interrupt

Invoke = Callable[..., Ended]
ReadUntil = Callable[[subprocess.Popen[str], str, int], list[str]]


@pytest.fixture
def sender(network: Network) -> list[object]:
    return ["--config", network.config("municipality")]


def test_ready_is_silent_when_it_is_so(network: Network, invoke: Invoke) -> None:
    assert invoke("ready", "--config", network.config("clinic")) == Ended(0, "", "")
    assert invoke("ready", "--config", network.config("clinic"), "--wait") == Ended(0, "", "")


def test_not_ready_says_why(network: Network, invoke: Invoke) -> None:
    other = network.config("clinic").with_name("other.toml")
    other.write_text(network.config("clinic").read_text().replace('"store"', '"nothing"'))
    ended = invoke("ready", "--config", other, "--wait", "--timeout", "0.001")
    assert (ended.status, ended.out) == (8, "")
    assert ended.err.startswith("not ready: no node runs with its data in ")


def test_a_message_from_standard_input(
    network: Network, invoke: Invoke, sender: list[object]
) -> None:
    data = network.message("input.json").read_bytes()
    ended = invoke("send", "-", "--no-watch", *sender, stdin=data)
    assert (ended.status, ended.err) == (0, "")
    kind, size, accepted = ended.out.splitlines()
    name, identifier = kind.split()
    assert name == "homecareobservation-message"
    assert size == f"  {len(data)} bytes   5790000000012 → 5790000000029"
    assert accepted == f"  accepted   follow it: accesspoint watch {identifier}"


def test_a_refusal_names_the_rule_and_the_place(
    network: Network, invoke: Invoke, sender: list[object]
) -> None:
    path = network.message("spoilt.json")
    path.write_bytes(spoil(path.read_bytes()))
    ended = invoke("send", path, *sender)
    assert (ended.status, ended.out) == (1, "")
    assert ended.err == (
        "hco-report-status   (ours: the message is not sent)\n"
        "  hco-report-status at Bundle.entry[2].resource.status: the report is not final\n"
        "  do: Set DiagnosticReport.status to `final`, also in a correction or cancellation.\n"
    )


def test_twice_is_one_message_that_is_followed_from_its_beginning(
    network: Network, invoke: Invoke, sender: list[object]
) -> None:
    path = network.message("twice.json")
    assert invoke("send", path, "--no-watch", *sender).status == 0
    ended = invoke("send", path, *sender)
    assert ended.status == 0
    assert "accepted before" in ended.out


def test_other_content_under_a_used_identifier_is_refused(
    network: Network, invoke: Invoke, sender: list[object]
) -> None:
    path = network.message("reused.json")
    assert invoke("send", path, "--no-watch", *sender).status == 0
    path.write_bytes(path.read_bytes() + b" ")
    ended = invoke("send", path, *sender)
    assert ended.status == 1
    assert ended.err.startswith("message-already-submitted   (ours: the message is not sent)\n")
    identifier = fhir.recognise(fhir.read_message(path.read_bytes())).message_id
    assert f"  do: accesspoint watch {identifier}   shows the earlier submission\n" in ended.err


@pytest.mark.parametrize("gln", ["5790000000013", "579000000002", "0088:5790000000029"])
def test_what_is_no_gln_is_usage(invoke: Invoke, gln: str) -> None:
    told = f"{gln} is not a GLN (thirteen digits with a check digit)\n"
    assert invoke("send", __file__, "--to", gln) == Ended(2, "", told)


def test_an_unknown_receiver_is_told_with_the_file_to_change(
    network: Network, invoke: Invoke, sender: list[object]
) -> None:
    ended = invoke("send", network.message("unknown.json"), "--to", "5790000000036", *sender)
    assert (ended.status, ended.out) == (1, "")
    lines = ended.err.splitlines()
    assert lines[0] == "receiver-unknown   (ours: the message is not sent)"
    assert lines[1] == (
        f"  GLN 5790000000036 is not in [[addresses]] of {sender[1]} and the message does not name it,"
        " so its SOR id is unknown."
    )
    assert lines[2].startswith("  do: check the GLN; then add ")


def test_a_name_that_nobody_has_is_not_called_a_gln(
    network: Network, invoke: Invoke, sender: list[object]
) -> None:
    ended = invoke("send", network.message("nobody.json"), "--to", "Nobody", *sender)
    assert (ended.status, ended.out) == (1, "")
    lines = ended.err.splitlines()
    assert lines[1].startswith(f"  The name Nobody is not in [[addresses]] of {sender[1]}")
    assert lines[2].startswith("  do: accesspoint address find --help")


async def test_what_stands_in_the_way_is_repeated_when_nobody_waits_any_longer(
    pki: Pki, tmp_path: Path, command: Command
) -> None:
    stage = Stage(pki, tmp_path)
    (port,) = free_ports(1)
    away = Partner(CLINIC, pki.clinic, f"https://127.0.0.1:{port}/as4")
    path = stage.write_node(
        MUNICIPALITY,
        pki.municipality,
        partners={CLINIC.key: away},
        sending={"retry": {"first": "200 ms", "give_up_after": "1 h"}},
    )
    (tmp_path / "message.json").write_bytes(sample_message(SystemClock()))
    arguments = ("send", tmp_path / "message.json", "--config", path)
    failed = "SELECT * FROM history WHERE to_state = 'RETRY_WAIT'"
    async with stage.run(path) as node:
        sent = await asyncio.to_thread(command.run, *arguments, "--no-watch")
        assert sent.status == 0
        await node.until(lambda: node.rows(failed), "no attempt has failed")
        ended = await asyncio.to_thread(command.run, *arguments, "--timeout", "1")
    assert ended.status == 6
    assert "not acknowledged after 1 s: " in ended.err
    assert "[peer-unreachable]" in ended.err


def test_what_is_no_message_is_told_with_what_to_submit(
    network: Network, invoke: Invoke, sender: list[object]
) -> None:
    ended = invoke("send", "-", *sender, stdin=b"%PDF-1.7")
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.startswith("message-not-recognised   (ours: the message is not sent)\n")
    assert ended.err.endswith("  do: submit the whole message Bundle\n")


def test_a_message_is_followed_to_a_closing_line(
    network: Network, invoke: Invoke, sender: list[object]
) -> None:
    ended = invoke("send", network.message("closing.json"), *sender)
    assert (ended.status, ended.err) == (0, "")
    closing = ended.out.splitlines()[-1]
    assert re.fullmatch(r"  acknowledged in \d+\.\d s: receipt, (SBDH Ack, )?FHIR Ack", closing)


def test_identical_findings_are_one_line_with_a_count() -> None:
    def found(rule: str, place: int) -> dict[str, str]:
        return {"rule": rule, "path": f"Bundle.entry[{place}]", "text": f"breaks {rule}"}

    lines = list_findings([found("a", 1), found("b", 2), found("a", 3)])
    assert lines == [
        "a at Bundle.entry[1]: breaks a   (2 times)",
        "b at Bundle.entry[2]: breaks b",
    ]
    assert list_findings([]) == []
    many = list_findings([found(f"r{number}", number) for number in range(MOST_FINDINGS + 2)])
    assert len(many) == MOST_FINDINGS + 1
    assert many[-1] == "and 2 more"


def test_watch_says_that_it_waits_for_a_message(
    network: Network, sender: list[object], read_until: ReadUntil
) -> None:
    watching = network.command.start("watch", "no-such-message", *sender)
    (line,) = read_until(watching, "yet", 1)
    assert line == "  no message begins with 'no-such-message' yet; waiting (Ctrl-C ends it)\n"
    assert interrupt(watching).status == 130


def test_time_is_over_and_nothing_is_lost(
    network: Network, invoke: Invoke, sender: list[object]
) -> None:
    ended = invoke("send", network.message("slow.json"), "--timeout", "0.001", *sender)
    assert ended.status == 6
    identifier = ended.out.split()[1]
    assert ended.err == (
        "accepted and not lost, but not acknowledged after 0.001 s\n"
        f"  do: accesspoint watch {identifier}\n"
    )


def test_no_file(invoke: Invoke) -> None:
    assert invoke("send", "nowhere.json") == Ended(
        2, "", "nowhere.json: No such file or directory\n"
    )


def test_no_network(invoke: Invoke) -> None:
    ended = invoke("watch")
    assert (ended.status, ended.out) == (5, "")
    assert ended.err.startswith("no running network is recorded in ")
    assert "/data\n  do: accesspoint dev" in ended.err


@pytest.mark.parametrize("verb", [["watch"], ["send", __file__], ["ready"]], ids=lambda v: v[0])
def test_a_broken_configuration_is_told_like_everywhere(invoke: Invoke, verb: list[str]) -> None:
    ended = invoke(*verb, "--config", "nowhere.toml")
    assert (ended.status, ended.out) == (3, "")
    assert ended.err.startswith("nowhere.toml  cannot be read: No such file or directory\n")


def test_watch_follows_both_nodes_of_the_network_that_runs_now(
    network: Network, invoke: Invoke, read_until: ReadUntil, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a configuration `watch` and `send` mean the network that `demo --keep` and `dev` point at."""
    monkeypatch.setenv("ACCESSPOINT_HOME", str(network.command.home / "data"))
    with current([network.config("municipality"), network.config("clinic")]):
        path = network.message("watched.json")
        sent = network.command.start("send", path)
        shown = read_until(sent, "FHIR Acknowledgement matched", 1)
        identifier = shown[0].split()[1]
        watching = network.command.start("watch", identifier[:8])
        lines = read_until(watching, "delivered to the backend", 2)
        assert sum("EUA  clinic" in line for line in lines) >= 2
        assert {"municipality", "clinic"} <= {word for line in lines for word in line.split()}
        assert interrupt(watching).status == 130
        assert interrupt(sent, signal.SIGINT).status == 0


@pytest.mark.parametrize("to", ["900000000000024", "lægehuset eksempel"])
def test_a_receiver_may_be_named_by_sor_id_or_name(
    network: Network, invoke: Invoke, sender: list[object], to: str
) -> None:
    ended = invoke("send", network.message(f"{len(to)}.json"), "--to", to, "--no-watch", *sender)

    assert (ended.status, ended.err) == (0, "")
    assert "5790000000012 → 5790000000029" in ended.out


def test_a_sor_id_that_is_unknown_here_is_asked_of_the_addressing_service(
    network: Network, invoke: Invoke, sender: list[object]
) -> None:
    # A clinic that SOR knows and that receives nothing, and one that nobody knows.
    for sor, said in (("900000000000057", "4b: "), ("900000000000099", "4a: ")):
        ended = invoke("send", network.message(f"{sor}.json"), "--to", sor, *sender)
        assert (ended.status, ended.out) == (1, "")
        assert "addressing-not-found" in ended.err
        assert said in ended.err
    ended = invoke("send", network.message("nobody.json"), "--to", "Ingen", *sender)
    assert ended.status == 1
    assert "receiver-unknown" in ended.err
