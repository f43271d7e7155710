"""Where a message stands, in a sentence: the last word counts, and the copy says nothing about its message."""

from datetime import UTC, datetime
from typing import Any

import pytest

from accesspoint.cli.standing import is_copy, is_in_vain, tell, tell_waiting

CLINIC, REGISTER = "5790000000029", "5790000000043"


def told(
    answer: str | None, handler: str | None, outcome: str | None, state: str, problem: str | None
) -> dict[str, Any]:
    """A message that was sent: what its system answered, its message handler, and how the exchange went."""
    out = {"direction": "out"}
    exchange = {"id": "2", "final_recipient": f"0088:{CLINIC}", "state": state, "outcome": outcome}
    return {
        "documents": [out | {"receiver": CLINIC, "acknowledgement": answer}] if answer else [],
        "envelopes": [out | {"receiver": CLINIC, "acknowledgement": handler}] if handler else [],
        "exchanges": [out | exchange | {"problem": problem}],
    }


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (("ok", "positive", "ACKNOWLEDGED", "NOTIFIED", None), f"the system of {CLINIC} accepted it; nobody has"),
        (("fatal-error", "positive", "ACKNOWLEDGED", "NOTIFIED", None), f"the system of {CLINIC} refused it. Your turn"),
        (("awaited", "positive", "ACKNOWLEDGED", "NOTIFIED", None), f"{CLINIC} has it, and its system has not answered"),
        (("awaited", "negative", "ACKNOWLEDGED", "NOTIFIED", None), f"the message handler of {CLINIC} refused"),
        (("none", "positive", "ACKNOWLEDGED", "NOTIFIED", None), f"{CLINIC} has it; nobody has to do anything"),
        (("awaited", "awaited", "ACKNOWLEDGED", "NOTIFIED", None), f"the access point of {CLINIC} has it, and its"),
        (("awaited", "awaited", None, "RETRY_WAIT", "peer-unreachable"), "it is not through yet and will be tried again by itself (peer-unreachable)"),
        (("awaited", "awaited", "FAILED", "NOTIFIED", "lookup-no-participant"), "it was not sent (lookup-no-participant). To do: check the GLN"),
        ((None, None, "EXPIRED", "NOTIFIED", "peer-unreachable"), "it was not sent: no attempt got through"),
        (("awaited", "awaited", None, "SENDING", None), f"it is on its way to {CLINIC}"),
    ],
)  # fmt: skip
def test_the_last_word_counts(message: tuple[Any, ...], sentence: str) -> None:
    (said,) = tell(told(*message))
    assert said.startswith(sentence)


def test_the_copy_says_nothing_about_its_message() -> None:
    message = told("awaited", "positive", "ACKNOWLEDGED", "NOTIFIED", None)
    copy = message["exchanges"][0] | {"id": "3", "final_recipient": f"0088:{REGISTER}"}
    copy |= {"outcome": "FAILED", "problem": "lookup-no-participant"}
    alone = tell(message)
    message["exchanges"].append(copy)
    message["envelopes"].append(message["envelopes"][0] | {"receiver": REGISTER})
    assert tell(message) == alone
    assert [is_copy(message, one) for one in message["exchanges"]] == [False, True]


@pytest.mark.parametrize(
    ("acknowledgement", "delivered_at", "sentence"),
    [
        ("ok", "2026-11-21T10:00:00Z", "it was accepted here"),
        ("fatal-error", None, "it was refused here. The sender's turn"),
        ("awaited", "2026-11-21T10:00:00Z", "your system has it and has not answered yet. Your turn"),
        ("awaited", None, "it arrived here, and your system has not taken it yet"),
        ("none", "2026-11-21T10:00:00Z", "your system has it; nobody has to do anything"),
    ],
)  # fmt: skip
def test_of_what_was_received_the_answer_given_here_is_told(
    acknowledgement: str, delivered_at: str | None, sentence: str
) -> None:
    document = {"direction": "in", "acknowledgement": acknowledgement, "delivered_at": delivered_at}
    (said,) = tell({"documents": [document], "envelopes": [], "exchanges": []})
    assert said.startswith(sentence)


@pytest.mark.parametrize(
    ("direction", "state", "problem", "answer", "in_vain"),
    [
        ("out", "NOTIFIED", None, "ok", False),
        ("out", "NOTIFIED", None, "fatal-error", True),
        ("out", "NOTIFIED", "lookup-no-participant", "awaited", True),
        ("out", "RETRY_WAIT", "peer-unreachable", "awaited", False),
        ("in", "DELIVERED", None, "fatal-error", False),
    ],
)
def test_what_ended_in_vain(
    direction: str, state: str, problem: str | None, answer: str, in_vain: bool
) -> None:
    one = {"direction": direction, "state": state, "problem": problem, "answer": answer}
    assert is_in_vain(one) == in_vain


NOW = datetime(2026, 11, 22, 5, 0, tzinfo=UTC)


def waiting(state: str, problem: str, why: str | None, **more: Any) -> dict[str, Any]:
    times = {"next_at": "2026-11-22T05:04:10Z", "until": "2026-11-23T04:00:00Z", "why": why}
    return {
        "id": "M1",
        "envelope_id": "E1",
        "state": state,
        "problem": problem,
        "waiting": times | more,
    }


RETRY = "accesspoint messages retry M1 --reason TEXT"


@pytest.mark.parametrize(
    ("one", "lines"),
    [
        (waiting("RETRY_WAIT", "peer-refused", "EBMS:0101 FailedAuthentication (unsigned)"), [
            "waits because: The receiving access point refused the message: EBMS:0101 FailedAuthentication (the answer is unsigned). [peer-refused-signature]",
            "whose: ours",
            "next attempt: 2026-11-22 05:04:10 UTC (in 4 min 10 s), by itself; the last one 2026-11-23 04:00:00 UTC (in 23 h)",
            "do: if it was ours, and is mended: accesspoint messages resend E1 --reason TEXT   each attempt repeats",
            f"do: if they have taken up our certificate since: {RETRY}",
            "do: it is not withdrawn any more, since it may have been seen; without a receipt it ends by itself"]),
        (waiting("RETRY_WAIT", "peer-refused", "EBMS:0102 FailedDecryption"), [
            "whose: theirs", f"do: when they have published the right one: {RETRY}"]),
        (waiting("RETRY_WAIT", "peer-refused", "HTTP 403 without an ebMS error"), [
            "waits because: The receiving access point refused the message: it named no ebMS code. (HTTP 403 without an ebMS error) [peer-refused]",
            f"do: when it is mended there: {RETRY}"]),
        (waiting("ACCEPTED", "revocation-unknown", "no list"), [
            "whose: network", f"do: {RETRY}   when the reason is gone",
            "do: accesspoint messages cancel M1 --reason TEXT   withdraws it: nothing was sent yet"]),
        (waiting("RETRY_WAIT", "peer-unreachable", None, next_at="2026-11-22T04:59:59Z", until=None), [
            "next attempt: as soon as its destination answers others, by itself"]),
    ],
)  # fmt: skip
def test_what_waits_says_for_what_and_what_to_type(one: dict[str, Any], lines: list[str]) -> None:
    told = tell_waiting(one, NOW)
    for line in lines:
        assert any(said.startswith(line) for said in told), (line, told)
    given = tell_waiting(one, NOW, config=" --config 'a b.toml'")
    assert any(" M1 --config 'a b.toml' --reason TEXT" in said for said in given)


def test_what_waits_for_nothing_says_nothing() -> None:
    assert tell_waiting({"waiting": None}, NOW) == []
