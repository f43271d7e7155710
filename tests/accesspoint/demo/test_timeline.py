"""The texts people read, word by word."""

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from accesspoint.demo.timeline import Moment, Timeline, describe

START = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)


def entry(event: str, **changes: Any) -> dict[str, Any]:
    return {
        "event": event,
        "station": "AP",
        "message_identifier": "m1",
        "subject": "m1",
        "standard": "homecareobservation-message",
        "problem": None,
        "detail": "",
        **changes,
    }


def shown(*moments: tuple[int, dict[str, Any]], terminal: bool = False) -> list[str]:
    class Out(io.StringIO):
        def isatty(self) -> bool:
            return terminal

    out = Out()
    timeline = Timeline(out)
    for milliseconds, one in moments:
        at = START + timedelta(milliseconds=milliseconds)
        timeline.show(Moment("municipality", at, one))
    return out.getvalue().splitlines()


def test_a_line_says_when_what_where_and_who() -> None:
    assert shown((0, entry("created", station="EUA")), (82, entry("receipt"))) == [
        "  ✓      0 ms  HomeCareObservation     EUA  municipality     recognised, held against the named rules, accepted",
        "  ✓     82 ms  HomeCareObservation     AP   municipality     receipt verified: signer, RefToMessageId, every digest",
    ]


HOPS = [
    ["sml", "x", 6.4],
    ["smp", "y", 17.0],
    ["smp-signature", "test-publisher (NTRDK-0),more", 0.1],
]
LATER = {"why": "no answer in time", "attempt": 3}


@pytest.mark.parametrize(
    ("one", "text"),
    [
        (entry("looked-up", detail={"hops": HOPS, "url": "https://127.0.0.1:1/as4"}),
         "looked up: SML (DNS NAPTR) 6 ms, SMP 17 ms, signed test-publisher (NTRDK-0) → https://127.0.0.1:1/as4"),
        (entry("looked-up", detail={"hops": [["cache", "z", 0.2]], "url": "https://p/as4"}),
         "looked up: from the cache 0 ms → https://p/as4"),
        (entry("looked-up", detail={"hops": [["static", "clinic", 0.0]], "url": "https://p/as4"}),
         "looked up: static clinic → https://p/as4"),
        (entry("waiting", problem="peer-timeout", detail=LATER),
         "tried, will be tried again (no answer in time) (attempt 3)  [peer-timeout]"),
        (entry("waiting", at="2026-11-21T10:00:00Z", problem="peer-refused", message_identifier="m7", detail={
            "why": "EBMS:0101 FailedAuthentication (unsigned)", "next": "2026-11-21T10:04:10+00:00", "until": "2026-11-22T10:00:00+00:00"}),
         ("tried, will be tried again (EBMS:0101 FailedAuthentication (unsigned)) (next in 4 min 10 s, gives up in 1 d)"
          "  [peer-refused-signature]  what to do: accesspoint messages show m7")),
        (entry("sending", detail={"attempt": 1}), "compressed, signed, encrypted; posting over mutual TLS"),
        (entry("refused", problem="peer-refused", detail={"why": "EBMS:0101"}),
         "refused by the receiver (EBMS:0101)  [peer-refused-signature]"),
        (entry("fhir-acknowledged", detail="ok"), "FHIR Acknowledgement matched to its message: ok"),
        (entry("fhir-acknowledged", problem="fhir-acknowledgement-negative", detail="fatal-error (MSG_NO_MATCH)",
               message_identifier="a7"),
         ("FHIR Acknowledgement matched to its message: fatal-error (MSG_NO_MATCH);"
          " the reason stands in the received acknowledgement a7  [fhir-acknowledgement-negative]")),
        (entry("not-delivered", problem="backend-not-accepting", detail="No space left on device"),
         "not delivered: No space left on device  [backend-not-accepting]"),
        (entry("something-new"), "something-new"),
    ],
)  # fmt: skip
def test_golden_texts(one: dict[str, Any], text: str) -> None:
    assert describe(one) == text


def test_messages_are_told_apart_by_kind_and_number() -> None:
    lines = shown(
        (0, entry("created")),
        (1, entry("acknowledgement-created", message_identifier="a1", standard="ehmisbdh-acknowledgement")),
        (2, entry("created", message_identifier="f1", standard="acknowledgement-message")),
        (3, entry("acknowledgement-created", message_identifier="a2", standard="ehmisbdh-acknowledgement")),
        (4, entry("acknowledged", message_identifier="a1", standard="ehmisbdh-acknowledgement")),
        (5, entry("created", message_identifier="q", standard="unheard-of")),
    )  # fmt: skip
    labels = [line[15:38].rstrip() for line in lines]
    assert labels == [
        "HomeCareObservation",
        "SBDH Ack",
        "FHIR Ack",
        "SBDH Ack 2",
        "SBDH Ack",
        "unheard-of",
    ]


def test_what_only_the_store_needs_to_know_is_not_shown() -> None:
    assert shown((0, entry("accepted"))) == []


def test_a_failure_has_another_mark_also_without_colour() -> None:
    [line] = shown((0, entry("not-sent", problem="peer-unreachable")))
    assert line.startswith("  ✗ ")
    assert line.endswith("not sent: given up  [peer-unreachable]")


UNREACHABLE = {"problem": "peer-unreachable", "detail": {"why": "x"}}


@pytest.mark.parametrize(
    ("before", "end", "words"),
    [
        ([entry("accepted"), entry("waiting", **UNREACHABLE), entry("waiting", **UNREACHABLE)],
         entry("not-sent", **UNREACHABLE), "not sent: given up after 3 attempts in 3.0 s (x)  [peer-unreachable]"),
        ([entry("accepted")], entry("not-sent", **UNREACHABLE),
         "not sent: given up after 1 attempt in 1.0 s (x)  [peer-unreachable]"),
        ([entry("accepted")], entry("not-sent", problem="lookup-no-participant"),
         "not sent; trying again would not help  [lookup-no-participant]"),
        ([entry("accepted"), entry("waiting", problem="lookup-unreachable")], entry("not-sent", problem="lookup-no-endpoint"),
         "not sent; trying again would not help  [lookup-no-endpoint]"),
        ([entry("accepted")], entry("not-sent", problem="smp-refused"),
         "not sent; trying again would not help  [smp-refused]"),
        ([entry("accepted"), entry("waiting", problem="smp-refused")], entry("not-sent", problem="smp-refused"),
         "not sent: given up after 2 attempts in 2.0 s  [smp-refused]"),
        ([entry("waiting", **UNREACHABLE)], entry("not-sent", **UNREACHABLE),
         "not sent: given up (x)  [peer-unreachable]"),
        ([entry("accepted", message_identifier="m2"), entry("waiting", message_identifier="m2", **UNREACHABLE)],
         entry("not-sent", **UNREACHABLE), "not sent: given up (x)  [peer-unreachable]"),
        ([entry("accepted"), entry("waiting", **UNREACHABLE)], entry("uncertain", **UNREACHABLE),
         "may have arrived, but no receipt came: given up after 2 attempts in 2.0 s (x)  [peer-unreachable]"),
        ([entry("accepted")], entry("receipt", detail={"late_after": "UNCERTAIN"}),
         "receipt verified: signer, RefToMessageId, every digest (late: the message was UNCERTAIN)"),
    ],
)  # fmt: skip
def test_the_end_of_retries_is_told_from_a_final_refusal(
    before: list[dict[str, Any]], end: dict[str, Any], words: str
) -> None:
    moments = [*before, end]
    lines = shown(*((1000 * number, one) for number, one in enumerate(moments)))
    assert lines[-1].partition("municipality     ")[2] == words


@pytest.mark.parametrize(
    ("event", "problem", "words"),
    [
        ("fhir-acknowledged", "fhir-acknowledgement-unexpected",
         "FHIR Acknowledgement fits no message that waits for one; it says: ok  [fhir-acknowledgement-unexpected]"),
        ("not-acknowledged", "acknowledgement-unexpected",
         "SBDH acknowledgement fits no envelope that waits for one  [acknowledgement-unexpected]"),
    ],
)  # fmt: skip
def test_an_answer_that_fits_nothing_is_not_called_matched(
    event: str, problem: str, words: str
) -> None:
    detail = "ok" if event == "fhir-acknowledged" else ""
    assert describe(entry(event, problem=problem, detail=detail)) == words


def test_colour_is_for_terminals_only() -> None:
    moments = ((0, entry("created")), (1, entry("not-sent", problem="peer-tls")))
    plain, coloured = "\n".join(shown(*moments)), "\n".join(shown(*moments, terminal=True))
    assert "\033" not in plain
    for code in ("\033[31m", "\033[32m", "\033[1m", "\033[0m"):
        assert code in coloured
        coloured = coloured.replace(code, "")
    assert coloured == plain


def test_checks_are_ticked() -> None:
    out = io.StringIO()
    timeline = Timeline(out)
    timeline.tick("it holds")
    timeline.tick("it does not", held=False)
    timeline.tick("it could not", held=None)
    timeline.say()
    assert out.getvalue() == "  ✓ it holds\n  ✗ it does not\n  – it could not   (not reached)\n\n"
