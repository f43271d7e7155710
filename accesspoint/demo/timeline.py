"""The timeline: journal entries of several nodes as lines a person reads, station by station, as they happen.

On a terminal a line is coloured; elsewhere the same words stand plain. Standard output carries the
timeline, since it is what was asked for.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TextIO, TypeVar

from accesspoint.problems import refine
from accesspoint.retry import format_duration

Json = dict[str, Any]
T = TypeVar("T")
TOGETHER_SECONDS: Final = 0.02
LABEL_WIDTH: Final = 23
"""The longest title with the number of a second one."""

TITLES: Final = {
    "homecareobservation-message": "HomeCareObservation",
    "carecommunication-message": "CareCommunication",
    "hospitalnotification-message": "HospitalNotification",
    "acknowledgement-message": "FHIR Ack",
    "ehmisbdh-acknowledgement": "SBDH Ack",
}
_TEXTS: Final = {
    "created": "recognised, held against the named rules, accepted",
    "wrapped": "wrapped in an ehmiSBDH envelope that asks for an acknowledgement",
    "copied": "copied for the document register: its own envelope, with XDS metadata",
    "accepted": "taken over for sending, stored",
    "looked-up": "looked up: DNS NAPTR, signed SMP answer",
    "sending": "compressed, signed, encrypted; posting over mutual TLS",
    "receipt": "receipt verified: signer, RefToMessageId, every digest",
    "received": "signature, certificate, decryption, digests, envelope checked; stored; receipt signed",
    "opened": "envelope opened and checked",
    "acknowledgement-created": "SBDH acknowledgement made",
    "taken-by-application": "MedCom rules checked, taken over",
    "set-aside": "breaks MedCom rules: answered, kept, not given to the backend",
    "delivered": "delivered to the backend",
    "handed-over": "handed to the next station with a sealed manifest",
    "acknowledged": "SBDH acknowledgement matched to its envelope",
    "fhir-acknowledged": "FHIR Acknowledgement matched to its message",
    "acknowledgement-overdue": "no SBDH acknowledgement in time",
    "answer-overdue": "no FHIR Acknowledgement in time",
    "resent": "no SBDH acknowledgement in time: sent again in another envelope",
    "resend-asked": "a person sent it again in another envelope",
    "acknowledgement-asked": "a person answered it",
    "resubmitted": "sent again by its application: answered as the first time, not delivered again",
    "not-acknowledged": "SBDH acknowledgement is negative",
    "duplicate-acknowledgement": "SBDH acknowledgement seen before: nothing changes",
    "duplicate-envelope": "seen before: acknowledged again, not delivered again",
    "waiting": "tried, will be tried again",
    "not-sent": "not sent",
    "retry-asked": "a person asked for another attempt",
    "evidence-exported": "a person exported its evidence",
    "released": "a person released it",
    "cancelled": "a person withdrew it before it was sent",
    "uncertain": "may have arrived, but no receipt came",
    "refused": "refused by the receiver",
    "conflict-refused": "refused: its MessageId came before with other content",
    "submission-refused": "not accepted: its identifier or key was used for something else before",
    "not-taken": "the next station did not take it",
    "not-delivered": "not delivered",
}
_QUIET: Final = frozenset({"accepted"})
_HOPS: Final = {
    "sml": "SML (DNS NAPTR)",
    "smp": "SMP",
    "smp-redirect": "SMP redirect",
    "cache": "from the cache",
}
_UNEXPECTED: Final = {
    "fhir-acknowledgement-unexpected": "FHIR Acknowledgement fits no message that waits for one; it says",
    "acknowledgement-unexpected": "SBDH acknowledgement fits no envelope that waits for one",
}
"""Answers that settle nothing: the problem tells more than the event."""
_NEVER_AGAIN: Final = frozenset({"lookup-no-participant", "lookup-no-endpoint"})
_PERHAPS_AGAIN: Final = frozenset({"smp-refused"})
_GREEN, _RED, _BOLD, _PLAIN = "\033[32m", "\033[31m", "\033[1m", "\033[0m"


@dataclass(frozen=True, slots=True)
class Moment:
    """One journal entry of one node."""

    node: str
    at: datetime
    entry: Json

    @classmethod
    def of(cls, node: str, entry: Json) -> "Moment":
        """Make a moment of what the journal of a node says."""
        return cls(node, datetime.fromisoformat(entry["at"]), entry)

    @property
    def problem(self) -> str | None:
        """The problem slug, when this moment is a failure."""
        problem: str | None = self.entry["problem"]
        return problem


@dataclass(slots=True)
class _Sending:
    """A message that an access point owes: since when, and how many attempts were in vain."""

    since: datetime
    attempts: int = 0


class Timeline:
    """Prints moments as they come; times count from the first one."""

    def __init__(self, out: TextIO, *, width: int = 16) -> None:
        self._out = out
        self._colour = out.isatty()
        self._width = width
        self._start: datetime | None = None
        self._labels: dict[str, str] = {}
        self._sendings: dict[tuple[str, str], _Sending] = {}

    def show(self, moment: Moment) -> None:
        """Print one moment: what happened at which station of whom, to which message, after how long."""
        entry = moment.entry
        end = self._end_of_sending(moment)
        if entry["event"] in _QUIET:
            return
        self._start = self._start or moment.at
        milliseconds = (moment.at - self._start).total_seconds() * 1000
        mark = self._paint(_RED, "✗") if moment.problem else self._paint(_GREEN, "✓")
        label = self._paint(_BOLD, f"{self._label(entry):<{LABEL_WIDTH}}")
        self.say(
            f"  {mark} {milliseconds:>6.0f} ms  {label} {entry['station']:<4} {moment.node:<{self._width}} {describe(entry, end=end)}"
        )

    def _end_of_sending(self, moment: Moment) -> str:
        """Why nothing more is tried, when this moment says so: what only the moments before it tell."""
        entry = moment.entry
        key = (moment.node, str(entry["message_identifier"]))
        match entry["event"]:
            case "accepted":
                self._sendings[key] = _Sending(moment.at)
            case "waiting" if key in self._sendings:
                self._sendings[key].attempts += 1
            case "not-sent" | "uncertain":
                return _end_of_sending(entry["problem"], self._sendings.get(key), moment.at)
        return ""

    def _label(self, entry: Json) -> str:
        """A short name for each message; a second one of its kind gets a number."""
        identifier, standard = str(entry["message_identifier"]), str(entry["standard"])
        if identifier not in self._labels:
            title = TITLES.get(standard, standard)
            count = sum(1 for known in self._labels.values() if known.startswith(title))
            self._labels[identifier] = title if count == 0 else f"{title} {count + 1}"
        return self._labels[identifier]

    def say(self, text: str = "") -> None:
        """Print one line."""
        self._out.write(text + "\n")
        self._out.flush()

    def tick(self, text: str, *, held: bool | None = True) -> None:
        """Print one check: held, failed, or None for one that was not reached."""
        if held is None:
            self.say(f"  – {text}   (not reached)")
            return
        mark = self._paint(_GREEN, "✓") if held else self._paint(_RED, "✗")
        self.say(f"  {mark} {text}")

    def _paint(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_PLAIN}" if self._colour else text


async def take_together(queue: asyncio.Queue[T]) -> list[T]:
    """Wait for one item, and give those that other nodes tell at the same time a moment to come in."""
    together = [await queue.get()]
    await asyncio.sleep(TOGETHER_SECONDS)
    while not queue.empty():
        together.append(queue.get_nowait())
    return together


def in_order(moments: Iterable[Moment]) -> list[Moment]:
    """Moments of several nodes in the order in which they happened."""
    return sorted(moments, key=lambda one: one.at)


def describe(entry: Json, *, end: str = "") -> str:
    """One journal entry in words, with the fact that matters most; `end` says why nothing more is tried."""
    event: str = entry["event"]
    text = _UNEXPECTED.get(entry["problem"], _TEXTS.get(event, event)) + end
    detail = entry["detail"]
    if isinstance(detail, dict):
        if event == "looked-up":
            text = f"looked up: {_hops(detail.get('hops', []))} → {detail['url']}"
        if detail.get("why"):
            text += f" ({detail['why']})"
        if detail.get("late_after"):
            text += f" (late: the message was {detail['late_after']})"
        if detail.get("attempt", 1) != 1:
            text += f" (attempt {detail['attempt']})"
        if event == "waiting" and detail.get("until"):
            text += f" ({_patience(entry, detail)})"
    elif detail:
        text += f": {detail}"
    if entry["problem"] == "fhir-acknowledgement-negative":
        text += f"; the reason stands in the received acknowledgement {entry['message_identifier']}"
    if entry["problem"]:
        why = detail.get("why", "") if isinstance(detail, dict) else ""
        slug = refine(entry["problem"], str(why))
        text += f"  [{slug}]"
        if event == "waiting" and slug.startswith("peer-refused"):
            # Nothing on the way will mend this: somebody has to do something.
            text += f"  what to do: accesspoint messages show {entry['message_identifier']}"
    return text


def _patience(entry: Json, detail: Json) -> str:
    """How long it waits for the next attempt, and how long at most."""
    at = datetime.fromisoformat(entry["at"])
    next_, until = (
        format_duration(datetime.fromisoformat(detail[name]) - at) for name in ("next", "until")
    )
    return f"next in {next_}, gives up in {until}"


def _end_of_sending(problem: str, sending: _Sending | None, at: datetime) -> str:
    """Final refusals are not retries that ended; without the beginning nothing is counted."""
    in_vain = 0 if sending is None else sending.attempts
    if problem in _NEVER_AGAIN or (problem in _PERHAPS_AGAIN and sending and not in_vain):
        return "; trying again would not help"
    if sending is None:
        return ": given up"
    attempts = "1 attempt" if not in_vain else f"{in_vain + 1} attempts"
    return f": given up after {attempts} in {(at - sending.since).total_seconds():.1f} s"


def _hops(hops: list[list[Any]]) -> str:
    """The steps of a look-up: the signature by its signer, the others by their duration."""
    shown = []
    for kind, detail, milliseconds in hops:
        if kind == "smp-signature":
            shown.append(f"signed {detail.partition(',')[0]}")
        elif kind in _HOPS:
            shown.append(f"{_HOPS[kind]} {milliseconds:.0f} ms")
        else:
            shown.append(f"{kind} {detail}")
    return ", ".join(shown)
