"""Where one message stands, in a sentence that says whose turn it is: from what a single node knows of it.

The last word counts: what the receiving system answered, else its message handler, else how the exchange between the
access points went. NOTIFIED says only that the submitting system was told how that ended, not how.
"""

from collections.abc import Mapping
from datetime import datetime
from shlex import quote
from types import MappingProxyType
from typing import Final

from accesspoint.api.client import Json
from accesspoint.problem_texts import TRIED_AGAIN
from accesspoint.problems import PROBLEMS, Occurrence
from accesspoint.retry import format_duration
from envelope.sbdh_values import PARTICIPANT_PREFIX
from envelope.sending import BEFORE_FIRST_ATTEMPT, State

_NOBODY: Final = "nobody has to do anything"
_ANSWERED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "ok": f"the system of {{receiver}} accepted it; {_NOBODY}",
        "fatal-error": "the system of {receiver} refused it. Your turn: open its acknowledgement in your system, correct"
        " what that names, and send a new message",
        "transient-error": "the system of {receiver} could not take it just then. Your turn: send it again later",
    }
)
_BY_HANDLER: Final[Mapping[str, str]] = MappingProxyType(
    {
        "positive": "{receiver} has it, and its system has not answered yet. Their turn",
        "negative": "the message handler of {receiver} refused its envelope. Your turn: ask the supplier of your own"
        " message handler; sending the same again will not help",
    }
)
_BY_EXCHANGE: Final[Mapping[str, str]] = MappingProxyType(
    {
        State.ACKNOWLEDGED: "the access point of {receiver} has it, and its message handler has not acknowledged it"
        " yet. Their turn",
        State.RETRY_WAIT: "it is not through yet and will be tried again by itself{problem}",
        State.UNCERTAIN: "it may have arrived, but no receipt came{problem}. Your turn: ask the receiver",
        State.REFUSED: "the access point of {receiver} refused it{problem}",
        State.REJECTED: "it was not sent{problem}",
        State.EXPIRED: "it was not sent: no attempt got through{problem}",
        State.FAILED: "it was not sent{problem}",
        State.CANCELLED: f"it was withdrawn before it was sent; {_NOBODY}",
    }
)
_RECEIVED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "ok": f"it was accepted here; {_NOBODY}",
        "fatal-error": "it was refused here. The sender's turn: to correct it and send a new message",
        "transient-error": "it could not be taken just then. The sender's turn: to send it again",
    }
)
_WHILE_WAITING: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "peer-refused-signature": (
            "accesspoint cert list; accesspoint cert verify message   says whether others can trust our certificate",
            "if it was ours, and is mended: {resend}   each attempt repeats the signature that was made first",
            "if they have taken up our certificate since: {retry}",
        ),
        "peer-refused-decryption": (
            "the directory is asked again before each attempt, and another certificate there is encrypted for",
            "when they have published the right one: {retry}",
        ),
        "peer-refused": (
            "ask the partner, naming the MessageId and the code; their log has the reason",
            "when it is mended there: {retry}",
        ),
    }
)
"""What ends the waiting for a reason that does not end by itself."""
BAD_ANSWERS: Final = frozenset({"fatal-error", "transient-error"})


def tell(told: Json) -> list[str]:
    """A sentence for each direction in which the message passed this node."""
    sentences = []
    for direction, tell_one in (("out", _tell_sent), ("in", _tell_received)):
        documents, envelopes, exchanges = (
            [one for one in told[kind] if one["direction"] == direction and not is_copy(told, one)]
            for kind in ("documents", "envelopes", "exchanges")
        )
        if documents or envelopes or exchanges:
            sentences.append(tell_one(documents, envelopes, exchanges))
    return sentences


def tell_waiting(exchange: Json, now: datetime, *, config: str = "") -> list[str]:
    """What a message waits for, whose turn it is, until when, and what to type; nothing for one that waits for nothing.

    `config` is what the commands carry that the person typed, such as ` --config FILE`.
    """
    waiting = exchange["waiting"]
    if waiting is None:
        return []
    occurrence = Occurrence.of(exchange["problem"], waiting["why"] or "")
    problem = occurrence.problem
    names = {
        verb: f"accesspoint messages {verb} {quote(id_)}{config} --reason TEXT"
        for verb, id_ in (
            ("retry", exchange["id"]),
            ("cancel", exchange["id"]),
            ("resend", exchange["envelope_id"]),
        )
    }
    said = f" ({occurrence.detail})" if occurrence.detail and not occurrence.code else ""
    due = _moment(waiting["next_at"], now) or "as soon as its destination answers others"
    until = _moment(waiting["until"], now)
    steps = _WHILE_WAITING.get(problem.slug) or (
        *(step for step in problem.text().do if step != TRIED_AGAIN and "{" not in step),
        "{retry}   when the reason is gone",
    )
    end = (
        "{cancel}   withdraws it: nothing was sent yet"
        if exchange["state"] in BEFORE_FIRST_ATTEMPT
        else "it is not withdrawn any more, since it may have been seen; without a receipt it ends by itself"
    )
    return [
        f"waits because: {problem.what(code=occurrence.code)}{said} [{problem.slug}]",
        f"whose: {problem.who}",
        f"why: {problem.text().why}",
        f"next attempt: {due}, by itself{f'; the last one {until}' if until else ''}",
        *(f"do: {step.format(**names)}" for step in (*steps, end)),
    ]


def _moment(at: str | None, now: datetime) -> str | None:
    """A time that is to come, with how long that is; None for one that is over."""
    when = None if at is None else datetime.fromisoformat(at)
    if when is None or when <= now:
        return None
    return f"{when:%Y-%m-%d %H:%M:%S} UTC (in {format_duration(when - now)})"


def is_copy(told: Json, one: Json) -> bool:
    """Whether an envelope or an exchange carries the copy for the document register.

    A message has one receiver, and its copy is made after it: whatever went out to somebody else is the copy.
    """
    sent = [row for kind in ("documents", "envelopes", "exchanges") for row in told[kind]]
    receivers = [_receiver(row) for row in sent if row["direction"] == "out"]
    return one["direction"] == "out" and _receiver(one) != receivers[0]


def _receiver(one: Json) -> str:
    named: str = one["receiver"] if "receiver" in one else one["final_recipient"]
    return named.removeprefix(PARTICIPANT_PREFIX)


def is_in_vain(one: Json) -> bool:
    """Whether an exchange of the list ended without the message being accepted."""
    return one["direction"] == "out" and (
        one["answer"] in BAD_ANSWERS or (one["state"] == State.NOTIFIED and bool(one["problem"]))
    )


def _tell_sent(documents: list[Json], envelopes: list[Json], exchanges: list[Json]) -> str:
    receiver = _receiver((*documents, *envelopes, *exchanges)[0])
    told = str(documents[0]["acknowledgement"]) if documents else ""
    if told in _ANSWERED:
        return _ANSWERED[told].format(receiver=receiver)
    answers = {one["acknowledgement"] for one in envelopes}
    for answer in ("positive", "negative"):
        if answer in answers:
            if answer == "positive" and told == "none":
                return f"{receiver} has it; {_NOBODY}"
            return _BY_HANDLER[answer].format(receiver=receiver)
    if not exchanges:
        return f"it is on its way to {receiver}, and was handed to the next station"
    last = max(exchanges, key=lambda one: str(one["id"]))
    sentence = _BY_EXCHANGE.get(last["outcome"] or last["state"], "it is on its way to {receiver}")
    slug = last["problem"]
    return sentence.format(receiver=receiver, problem=f" ({slug})" if slug else "") + _to_do(last)


def _to_do(exchange: Json) -> str:
    """What the catalogue advises where the exchange has ended for a reason."""
    known = PROBLEMS.get(exchange["problem"] or "")
    if known is None or exchange["outcome"] in {None, State.ACKNOWLEDGED, State.CANCELLED}:
        return ""
    steps = [step for step in known.do() if "{" not in step]
    return f". To do: {steps[0]}" if steps else ""


def _tell_received(documents: list[Json], envelopes: list[Json], exchanges: list[Json]) -> str:
    del envelopes
    if not documents:
        state = exchanges[-1]["state"] if exchanges else None
        return f"it arrived here{f' and is {state}' if state else ''}"
    one = documents[0]
    if one["acknowledgement"] in _RECEIVED:
        return _RECEIVED[one["acknowledgement"]]
    if one["delivered_at"] is None:
        return "it arrived here, and your system has not taken it yet. Your turn"
    if one["acknowledgement"] == "awaited":
        return "your system has it and has not answered yet. Your turn: accesspoint acknowledge"
    return f"your system has it; {_NOBODY}"
