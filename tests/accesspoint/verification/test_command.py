"""`accesspoint verify` as a person and as a script run it."""

import json

import pytest
from command_line import Home

from accesspoint.verification import INVARIANTS

RESULT = {
    "invariant": str,
    "sentence": str,
    "verdict": str,
    "checked": int,
    "notes": list,
    "findings": list,
}
FINDING = {"fault": str, "what": str, "whose": str, "do": str, "ids": dict}
REPORT = {
    "format": str,
    "subject": str,
    "at": str,
    "held": bool,
    "broken": list,
    "results": list,
}


@pytest.fixture
def home(tmp_path):
    made = Home(tmp_path / "user")
    yield made
    made.leave()


def check_shape(value, shape):
    """The JSON form is a promise: these keys, these types, no more and no less."""
    assert {name: type(each) for name, each in value.items()} == shape


def test_a_sound_store_is_told_line_by_line(home, sender):
    status, command = home.run("verify", "--config", sender.file)
    assert status == 0, command.err
    lines = command.out.splitlines()
    assert len(lines) == len(INVARIANTS) + 1
    for line, invariant in zip(lines, INVARIANTS, strict=False):
        assert line.split()[1] == invariant.name
        assert invariant.sentence in line
    assert "municipality; all of them hold" in lines[-1]
    assert command.err == ""


def test_a_broken_store_is_told_with_ids_whose_it_is_and_what_to_do(home, sender):
    message = sender.one("SELECT message FROM receipts AS r JOIN messages AS m ON m.id = r.message"
                         " WHERE m.direction = 'out'")  # fmt: skip
    sender.execute(f"DELETE FROM receipts WHERE message = '{message}'")
    status, command = home.run("verify", sender.home, "--json")
    assert status == 1, command.err
    (line,) = command.out.splitlines()
    report = json.loads(line)
    check_shape(report, REPORT)
    assert report["format"] == "accesspoint-verification/1"
    for result in report["results"]:
        check_shape(result, RESULT)
        for finding in result["findings"]:
            check_shape(finding, FINDING)
    assert not report["held"]
    (finding,) = report["results"][3]["findings"]
    assert finding["fault"] == "receipt-missing"
    assert finding["ids"]["message"] == message
    assert finding["whose"] == "ours"
    status, command = home.run("verify", sender.home)
    assert status == 1
    assert message in command.out
    assert "    do: ask the partner" in command.out
    assert "I4, I13 broken in municipality: 2 findings" in command.out


def test_what_no_key_was_given_for_is_not_said_to_hold(home, sender):
    stored = (
        ("messages", "payload"),
        ("documents", "payload"),
        ("handovers", "payload"),
        ("wires", "part"),
    )
    count = sum(
        sender.one(f"SELECT COUNT(*) FROM {table} WHERE {column} <> ''") for table, column in stored
    )
    assert count
    status, command = home.run("verify", sender.home / "store")
    assert status == 1, command.err
    assert "all of them hold" not in command.out
    (files,) = (line for line in command.out.splitlines() if line.split()[1] == "I9")
    assert f"(0 checked; {count} are encrypted" in files
    assert files.startswith("– I9  not all read ")
    values = (
        ("messages", "facts"),
        ("handovers", "item"),
        ("handovers", "facts"),
        ("envelopes", "header"),
        ("outbox", "body"),
    )
    closed = sum(
        sender.one(
            f"SELECT COUNT(*) FROM {table} WHERE SUBSTR(CAST({column} AS TEXT), 1, 9) = 'sealed:1:'"
        )
        for table, column in values
    )
    assert closed
    assert f"; {closed} values are sealed under a key that was not given" in command.out
    assert (
        f"\nnot all was checked: {count + closed} of I9, I10 could not be read\n  do: accesspoint verify --config "
        in command.out
    )
    status, command = home.run("verify", "-c", sender.file)
    assert (status, "; all of them hold" in command.out) == (0, True), command.out + command.err


def test_a_log_is_searched(home, sender, tmp_path):
    log = tmp_path / "node.log"
    log.write_text('{"event": "x", "value": "GLN 5790009990010"}\n')
    assert home.run("verify", "-c", sender.file, "--log", log)[0] == 0
    log.write_text('{"event": "x", "value": "patient 251248-9996"}\n')
    status, command = home.run("verify", "-c", sender.file, "--log", log)
    assert status == 1
    assert "log-personal" in command.out
    assert "251248" not in command.out


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(["verify", "."], 3), (["verify"], 5), (["verify", ".", "--config", "x.toml"], 2), (["verify", "-c", "none.toml"], 3)],
)  # fmt: skip
def test_what_cannot_be_verified_has_its_exit_code(home, arguments, status):
    ended, command = home.run(*arguments)
    assert ended == status, command.out + command.err
    assert command.out == ""
