"""`accesspoint conformance`: what is listed, judged, written and compared, and with which exit status."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from accesspoint.conformance import report_json
from accesspoint.conformance.assertion import catalogue

from .conftest import Ended

Invoke = Callable[..., Ended]


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """A recorded request without security: a user message with two senders."""
    path = tmp_path / "message.mime"
    path.write_text(
        '<S:Envelope xmlns:S="http://www.w3.org/2003/05/soap-envelope"'
        ' xmlns:eb="http://docs.oasis-open.org/ebxml-msg/ebms/v3.0/ns/core/200704/"><S:Header><eb:Messaging>'
        "<eb:UserMessage><eb:From><eb:PartyId/><eb:PartyId/></eb:From></eb:UserMessage></eb:Messaging>"
        "</S:Header><S:Body/></S:Envelope>"
    )
    return path


def test_every_assertion_is_listed(invoke: Invoke) -> None:
    ended = invoke("conformance", "list")
    assert ended.status == 0
    assert [line.split()[0] for line in ended.out.splitlines()] == list(catalogue())
    lacking = invoke("conformance", "list", "--without-case").out
    assert "AS4_CP_TA11" in lacking
    assert "AS4_CP_TA01 " not in lacking


def test_a_failure_ends_with_9_and_stands_in_every_report(
    invoke: Invoke, capture: Path, tmp_path: Path
) -> None:
    reports = tmp_path / "reports"
    ended = invoke("conformance", "run", "--target", capture, "--only", "TA03", "--report", reports)
    assert ended.status == 9
    assert "✗ AS4_CP_TA03" in ended.out
    for ending in ("html", "json", "xml", "md"):
        assert "one PartyId in From" in (reports / f"report.{ending}").read_text()


def test_the_reports_are_their_owners_alone(invoke: Invoke, capture: Path, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("of an earlier run")
    (tmp_path / "report.html").chmod(0o644)
    invoke("conformance", "run", "--target", capture, "--only", "TA03", "--report", tmp_path)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.glob("report.*")}
    assert modes == {f"report.{ending}": 0o600 for ending in ("html", "json", "xml", "md")}


def test_only_what_failed_counts(invoke: Invoke, capture: Path) -> None:
    capture.write_text(capture.read_text().replace("</eb:From>", "</eb:From><eb:To/>", 1))
    other = capture.read_text().replace("<eb:PartyId/><eb:PartyId/>", "<eb:PartyId/>")
    capture.write_text(other.replace("<eb:To/>", "<eb:To><eb:PartyId/></eb:To>"))
    ended = invoke("conformance", "run", "--target", capture, "--only", "TA01", "--only", "TA03")
    assert ended.status == 0
    assert ended.out.endswith("  All 1 mandatory and preferred assertions that apply hold.\n")


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (b"", "no AS4 message in it: 0 octets of application/octet-stream (xml.syntax)"),
        (
            b"\x89PNG\r\n\x1a\n\0\0",
            "no AS4 message in it: 10 octets of application/octet-stream (xml.syntax)",
        ),
        (b"<Receipt/>", "no user message in it, but a request with neither receipt nor error"),
    ],
)
def test_nothing_judged_is_no_success(
    invoke: Invoke, capture: Path, octets: bytes, why: str
) -> None:
    capture.write_bytes(octets)
    ended = invoke("conformance", "run", "--target", capture)
    assert ended.status == 9
    assert ended.out.endswith(f"\n  Nothing could be judged: {why}.\n")
    assert "waiting" not in ended.out
    ended = invoke("conformance", "run", "--target", capture, "--only", "TA12")
    assert ended.status == 9
    assert "Nothing could be judged: no " in ended.out


@pytest.mark.parametrize(
    "typed",
    [
        ["run", "--only", "TA99"],
        ["run", "--target", "nothing-here.mime"],
        ["compare", "nothing-here.json", "nothing-here.json"],
        ["serve", "-c", "x.toml", "--test-service", "http://127.0.0.1/", "--listen", "8403"],
    ],
)
def test_what_is_wrong_is_usage(invoke: Invoke, typed: list[str]) -> None:
    ended = invoke("conformance", *typed)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err


def test_what_got_worse_ends_with_9(invoke: Invoke, capture: Path, tmp_path: Path) -> None:
    invoke("conformance", "run", "--target", capture, "--only", "TA03", "--report", tmp_path)
    worse = tmp_path / "report.json"
    better = tmp_path / "better.json"
    raw = json.loads(worse.read_text())
    raw["results"][0]["status"] = "pass"
    better.write_text(json.dumps(raw))
    assert invoke("conformance", "compare", better, worse).status == 9
    healed = invoke("conformance", "compare", worse, better)
    assert healed.status == 0
    assert "✓ AS4_CP_TA03      fail → pass" in healed.out
    assert "no assertion differs" in invoke("conformance", "compare", worse, worse).out
    assert report_json.read(worse.read_text()).results[0].seen == "2"


def test_what_was_not_run_is_not_worse(invoke: Invoke, capture: Path, tmp_path: Path) -> None:
    invoke("conformance", "run", "--target", capture, "--only", "TA03", "--report", tmp_path)
    few = tmp_path / "report.json"
    many = tmp_path / "many.json"
    raw = json.loads(few.read_text())
    raw["results"] = [
        {**raw["results"][0], "id": id_, "status": "pass" if id_ != "AS4_CP_TA03" else "fail"}
        for id_ in catalogue()
    ]
    many.write_text(json.dumps(raw))
    others = len(catalogue()) - 1
    ended = invoke("conformance", "compare", many, few)
    assert ended.status == 0
    assert ended.out.endswith(
        "  no assertion differs\n  0 differ, 0 of them worse\n"
        f"  {others} not run in the later run, so not compared\n"
    )
    ended = invoke("conformance", "compare", few, many)
    assert ended.status == 0
    assert f"  {others} not run in the earlier run, so not compared\n" in ended.out


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\x89PNG\xff",
        b"{}",
        b"[]",
        b'{"format": "another"}',
        b'{"format": "accesspoint-conformance-1", "target": "", "kind": "", "at": "soon", "results": []}',
    ],
)
def test_what_is_no_report_is_told_in_words(invoke: Invoke, octets: bytes, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(octets)
    ended = invoke("conformance", "compare", path, path)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err == (
        f"{path}: it is no report of a conformance run: give the report.json that --report wrote\n"
    )
    ended = invoke("conformance", "compare", tmp_path, path)
    assert (ended.status, ended.err) == (2, f"{tmp_path}: Is a directory\n")
