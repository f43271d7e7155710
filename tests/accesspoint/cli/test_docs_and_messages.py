"""`docs` and `messages`: what they print, and how they end."""

import json
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from as4_stage import Partner, Pki, Stage
from held_ports import free_ports

from accesspoint.cli.current import current
from accesspoint.clock import SystemClock
from accesspoint.demo.play import sample_message
from accesspoint.demo.scenery import CLINIC, MUNICIPALITY
from accesspoint.docs import read_page
from accesspoint.evidence import verify

from .conftest import Command, Ended, Network, interrupt

Invoke = Callable[..., Ended]


def message_header(file: Path) -> str:
    entries = json.loads(file.read_bytes())["entry"]
    resources = [entry["resource"] for entry in entries]
    return next(str(one["id"]) for one in resources if one["resourceType"] == "MessageHeader")


def test_a_page_is_printed_as_it_is(invoke: Invoke) -> None:
    assert "reliability" in invoke("docs").out.split()
    assert invoke("docs", "reliability") == Ended(0, read_page("reliability"), "")


def test_a_topic_without_a_page_names_those_that_there_are(invoke: Invoke) -> None:
    ended = invoke("docs", "unheard-of")
    assert (ended.status, ended.out) == (2, "")
    assert "reliability" in ended.err


def test_nothing_stands_still_at_a_sound_node(network: Network, invoke: Invoke) -> None:
    node = ["--config", network.config("clinic")]
    assert invoke("messages", "list", *node) == Ended(0, "", "nothing stands still\n")
    lost = invoke("messages", "list", "--state", "LOST", *node)
    assert lost.status == 1
    assert "there is no state LOST; the states are ACCEPTED, ACKNOWLEDGED" in lost.err


def test_one_message_is_shown_with_every_step(network: Network, invoke: Invoke) -> None:
    node = ["--config", network.config("municipality")]
    sent = invoke("send", network.message("shown.json"), *node)
    assert sent.status == 0, sent.text
    # Whether it is told already is another matter.
    listed = [
        invoke("messages", "list", "--state", state, *node).out
        for state in ("ACKNOWLEDGED", "NOTIFIED")
    ]
    id_ = "".join(listed).split()[0]
    shown = invoke("messages", "show", id_, *node)
    assert (shown.status, shown.err) == (0, "")
    assert f"\n{id_}  " in shown.out
    assert "SENDING -> ACKNOWLEDGED" in shown.out
    assert "signed by" in shown.out
    everything = invoke("messages", "list", "--all", *node).out.splitlines()
    assert sum(line.startswith(f"{id_}  ") for line in everything) == 1


def test_a_message_is_found_by_each_of_its_ids(network: Network, invoke: Invoke) -> None:
    node = ["--config", network.config("municipality")]
    file = network.message("found.json")
    assert invoke("send", file, *node).status == 0
    entries = json.loads(file.read_bytes())["entry"]
    header = next(
        e["resource"] for e in entries if e["resource"]["resourceType"] == "MessageHeader"
    )
    line = next(
        line
        for line in invoke("messages", "list", "--all", *node).out.splitlines()
        if header["id"] in line
    )
    own = line.split()[0]
    shown = invoke("messages", "show", header["id"], *node).out
    message_id = next(x.split()[-1] for x in shown.splitlines() if "message id:" in x)
    for id_ in (header["id"], message_id):
        lines = invoke("messages", "show", id_, *node).out.splitlines()
        assert lines[:2] == [
            header["id"],
            "  the system of 5790000000029 accepted it; nobody has to do anything.",
        ]
        assert lines[2].startswith("  FHIR acknowledgement: ok  2")
        assert lines[3].endswith("SBDH acknowledgement: positive")
        assert lines[4].startswith(f"{own}  ")
        ended = invoke("messages", "evidence", id_, *node)
        assert (ended.status, ended.err) == (0, "")
        assert Path(f"evidence-{id_}.zip").stat().st_size > 1000


def test_where_both_sides_have_a_message_the_other_one_is_named(
    network: Network, invoke: Invoke
) -> None:
    nodes = [network.config(key) for key in ("municipality", "clinic")]
    file = network.message("both.json")
    assert invoke("send", file, "--config", nodes[0]).status == 0
    id_ = message_header(file)
    with current(nodes):
        shown = invoke("messages", "show", id_)
        proven = invoke("messages", "evidence", id_)
    assert (shown.status, proven.status) == (0, 0)
    assert shown.err.splitlines() == [
        "this is what municipality knows of it; also known at:",
        f"  clinic: accesspoint messages show {id_} --config {nodes[1]}",
    ]
    here, there = proven.err.splitlines()
    assert here.endswith(
        ", sent to 0088:5790000000029, at municipality; others, each with its proof:"
    )
    assert there.startswith("  accesspoint messages evidence 01")
    assert there.endswith(f" --config {nodes[1]}   received, at clinic")
    assert verify.main(Path(f"evidence-{id_}.zip")) == 0
    other = invoke(*there.split("   ")[0].split()[1:])
    assert (other.status, other.err) == (0, "")


def test_what_proves_a_message_is_written_once(network: Network, invoke: Invoke) -> None:
    node = ["--config", network.config("municipality")]
    assert invoke("send", network.message("proven.json"), *node).status == 0
    listed = [
        invoke("messages", "list", "--state", state, *node).out
        for state in ("ACKNOWLEDGED", "NOTIFIED")
    ]
    id_ = "".join(listed).split()[0]
    ended = invoke("messages", "evidence", id_, *node)
    assert (ended.status, ended.err) == (0, "")
    bundle = Path(f"evidence-{id_}.zip")
    assert ended.out.startswith(f"{bundle}: ")
    assert bundle.stat().st_mode & 0o077 == 0
    assert verify.main(bundle) == 0
    again = invoke("messages", "evidence", id_, *node)
    assert (again.status, again.err) == (2, f"{bundle} cannot be written: File exists\n")
    assert invoke("messages", "evidence", "../up", *node).status == 2


@pytest.mark.parametrize("verb", ["show", "evidence", "retry", "release", "cancel"])
def test_a_message_that_is_not_here(network: Network, invoke: Invoke, verb: str) -> None:
    why = [] if verb in {"show", "evidence"} else ["--reason", "asked to"]
    ended = invoke("messages", verb, "nobody", *why, "--config", network.config("clinic"))
    assert ended == Ended(1, "", "No exchange with this id is here.\n")


@pytest.mark.parametrize(
    "act", [("evidence", "--with-payload"), ("retry", "--reason"), ("cancel", "--reason")]
)
def test_a_reason_that_says_nothing_is_refused_in_words_of_the_command_line(
    network: Network, invoke: Invoke, act: tuple[str, str]
) -> None:
    verb, option = act
    ended = invoke("messages", verb, "nobody", option, "", "--config", network.config("clinic"))
    assert (ended.status, ended.out) == (2, "")
    assert option in ended.err
    assert "JSON" not in ended.err


def test_a_message_is_sent_again_in_another_envelope(network: Network, invoke: Invoke) -> None:
    node = ["--config", network.config("municipality")]
    file = network.message("again.json")
    assert invoke("send", file, *node).status == 0
    id_ = message_header(file)
    why = ("--reason", "asked to")
    ended = invoke("messages", "resend", id_, *why, *node)
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.startswith("The receiver has acknowledged it")
    assert "--anyway" in ended.err
    ended = invoke("messages", "retry", id_, *why, *node)
    assert ended.status == 1
    assert "is not tried again" in ended.err
    ended = invoke("messages", "resend", id_, "--anyway", *why, *node)
    assert (ended.status, ended.err) == (0, "")
    envelopes = [line for line in ended.out.splitlines() if line.startswith("  envelope ")]
    assert len(envelopes) == 2
    shown = invoke("messages", "show", id_, *node)
    assert (shown.status, shown.err) == (0, "")
    exchanges = [line.split()[0] for line in shown.out.splitlines() if not line.startswith(" ")][1:]
    assert len(exchanges) == 2
    assert exchanges == sorted(exchanges, reverse=True)
    ended = invoke("messages", "evidence", id_, *node)
    assert (ended.status, ended.out) == (1, "")
    head, *named = ended.err.splitlines()
    assert head == f"2 exchanges belong to {id_}; name the one that is meant:"
    assert sorted(line.split()[3] for line in named) == sorted(exchanges)
    # Its receiver has answered it by itself: that stands.
    other = ["--config", network.config("clinic")]
    ended = invoke("acknowledge", id_, "--code", "ok", *other)
    assert ended == Ended(0, f"{id_}  was answered so before: ok\n", "")
    ended = invoke("acknowledge", id_, "--code", "fatal-error", "--reason", "for sent", *other)
    assert ended == Ended(1, "", "the message was answered with ok, which stands\n")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["messages", "resend", "nobody", "--reason", "x"], "No envelope with this message was sent from here.\n"),
        (["acknowledge", "nobody", "--code", "ok"], "No message with this identifier was received.\n"),
        (["acknowledge", "x", "--code", "AA"], "the codes are ok, fatal-error, transient-error\n"),
    ],
)  # fmt: skip
def test_what_cannot_be_sent_again_or_answered_is_told(
    network: Network, invoke: Invoke, command: list[str], said: str
) -> None:
    ended = invoke(*command, "--config", network.config("clinic"))
    assert ended == Ended(1, "", said)


def test_what_was_refused_and_what_never_went_out_is_not_passed_over(
    pki: Pki, tmp_path: Path, command: Command, invoke: Invoke
) -> None:
    """One message that is tried again, and one that its receiver refused; nobody need do anything at the node."""
    stage = Stage(pki, tmp_path)
    (port,) = free_ports(1)
    away = Partner(CLINIC, pki.clinic, f"https://127.0.0.1:{port}/as4")
    retry = {"first": "1 h", "give_up_after": "2 h"}
    path = stage.write_node(
        MUNICIPALITY, pki.municipality, partners={CLINIC.key: away}, sending={"retry": retry}
    )
    file = tmp_path / "message.json"
    file.write_bytes(sample_message(SystemClock()))
    id_ = message_header(file)
    node = command.start("run", "--config", path, log=tmp_path / "log")
    try:
        assert invoke("ready", "--wait", "--config", path).status == 0
        ended = invoke("send", file, "--timeout", "2", "--config", path)
        assert "[peer-unreachable]" in ended.err
        listed = invoke("messages", "list", "--config", path)
        hint = "what one waits for, till when, and what to type: accesspoint messages show ID\n"
        assert (listed.status, listed.err) == (0, hint)
        assert listed.out.split()[1] == "RETRY_WAIT"
        assert listed.out.endswith(f"{id_}  [peer-unreachable]\n")
        with sqlite3.connect(path.parent / "store" / "accesspoint.db") as database:
            database.execute("UPDATE documents SET acknowledgement = 'fatal-error'")
        listed = invoke("messages", "list", "--config", path)
        told = "refused or not sent: 1 of the latest messages; accesspoint messages list --all\n"
        assert listed.err == hint + told
        shown = invoke("messages", "show", id_, "--config", path).out.splitlines()
        waits = next(line for line in shown if line.startswith("  next attempt: "))
        assert re.search(
            r" UTC \(in .*\), by itself; the last one .* UTC \(in 1 h 59 min\)$", waits
        )
        retry_ = f"  do: accesspoint messages retry {listed.out.split()[0]} --config {path} --reason TEXT "
        assert any(line.startswith(retry_) for line in shown)
        assert shown[1].startswith("  the system of 5790000000029 refused it. Your turn")
        assert shown[3].startswith(f"  reason: accesspoint watch {id_}")
    finally:
        interrupt(node)


def test_without_a_configuration_the_node_that_has_the_message_is_asked(
    network: Network, invoke: Invoke
) -> None:
    file = network.message("received.json")
    assert invoke("send", file, "--config", network.config("municipality")).status == 0
    id_ = message_header(file)
    with current([network.config("municipality"), network.config("clinic")]):
        ended = invoke("acknowledge", id_, "--code", "ok")
        assert ended == Ended(0, f"{id_}  was answered so before: ok\n", "")
        # A refusal is the answer: nobody else is asked.
        ended = invoke("acknowledge", id_, "--code", "fatal-error", "--reason", "wrong department")
        assert ended == Ended(1, "", "the message was answered with ok, which stands\n")
        ended = invoke("acknowledge", "nobody", "--code", "ok")
        told = f"municipality, clinic in {network.directory}; another node: --config FILE\n"
        said = f"No message with this identifier was received.\n  asked: {told}"
        assert ended == Ended(1, "", said)


def test_a_node_that_does_not_answer_may_be_the_one_that_has_the_message(
    network: Network, invoke: Invoke, tmp_path: Path
) -> None:
    gone = tmp_path / "accesspoint.toml"
    gone.write_text(network.config("clinic").read_text().replace('"store"', '"nothing"'))
    with current([network.config("municipality"), gone]):
        ended = invoke("acknowledge", "nobody", "--code", "ok")
    assert (ended.status, ended.out) == (5, "")
    assert ended.err.startswith("no node runs with its data in ")
