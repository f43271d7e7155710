"""The tables of the page about delivery status, written from the reporting table and the search parameters."""

from collections.abc import Mapping
from typing import Final

from accesspoint.stations.reporting import (
    APART,
    CREATED_APART,
    OF_THE_SENDER,
    TOGETHER_ACKNOWLEDGEMENT,
    TOGETHER_MESSAGE,
    Act,
    Report,
    find_report,
    station_of,
)
from accesspoint.status_component.search import CODES, IDENTIFIERS, PARTIES, SEARCH_PARAMETERS

_WHAT: Final[Mapping[Act, str]] = {
    Act.EUA_CREATED: "the end-user application made the message",
    Act.EUA_SENT: "it handed the message to the message service handler",
    Act.MSH_TAKEN: "the message service handler took it",
    Act.MSH_PASSED_DOWN: "it passed the envelope to the access point",
    Act.AP_TAKEN: "the access point took the envelope",
    Act.AP_SENT: "it has the receipt of the other access point, or gave up (outcome 8)",
    Act.AP_RECEIVED: "the other access point stored the envelope and owes its receipt",
    Act.AP_PASSED_UP: "it passed the envelope up",
    Act.MSH_OPENED: "the other message service handler opened it",
    Act.MSH_PASSED_UP: "it passed the message up",
    Act.EUA_FINALIZED: "the other end-user application has the message",
    Act.ACK_CREATED: "the message service handler made an ehmiSBDH acknowledgement",
    Act.ACK_FINALIZED: "the first message service handler has the acknowledgement",
}

_MESSAGE: Final = (
    Act.EUA_CREATED, Act.EUA_SENT, Act.MSH_TAKEN, Act.MSH_PASSED_DOWN, Act.AP_TAKEN, Act.AP_SENT,
    Act.AP_RECEIVED, Act.AP_PASSED_UP, Act.MSH_OPENED, Act.MSH_PASSED_UP, Act.EUA_FINALIZED,
)  # fmt: skip
_ACKNOWLEDGEMENT: Final = (
    Act.ACK_CREATED, Act.AP_TAKEN, Act.AP_SENT,
    Act.AP_RECEIVED, Act.AP_PASSED_UP, Act.ACK_FINALIZED,
)  # fmt: skip
_ANSWER: Final = "its ehmiSBDH acknowledgement"
_EXCHANGE: Final = (
    ("message", "first", "second", _MESSAGE),
    (_ANSWER, "second", "first", _ACKNOWLEDGEMENT),
    ("FHIR Acknowledgement", "second", "first", _MESSAGE),
    (_ANSWER, "first", "second", _ACKNOWLEDGEMENT),
)
"""What moves in a full exchange, in order: what it is, whose it is, for whom, and what the stations do with it."""
_COPY: Final = (
    ("copy for the register", "first", "register", (Act.MSH_PASSED_DOWN, Act.AP_TAKEN, Act.AP_SENT)),
    (_ANSWER, "register", "first", _ACKNOWLEDGEMENT[3:]),
)  # fmt: skip
"""The copy comes to being in the message service handler, and the register reports nothing."""

_ARRANGEMENTS: Final = ((True, False), (False, False), (False, True))
"""Whether stations are together, and whether creating and sending are told apart."""


def list_reports() -> str:
    """Every act with the event that it owes in each arrangement."""
    head = (
        "| What happened | apart | together | together, of an ehmiSBDH acknowledgement |\n"
        "|---|---|---|---|\n"
    )
    rows = (
        f"| {what} | {_report(APART.get(act) or CREATED_APART.get(act), act)} | "
        f"{_report(TOGETHER_MESSAGE.get(act), act)} | {_report(TOGETHER_ACKNOWLEDGEMENT.get(act), act)} |\n"
        for act, what in _WHAT.items()
    )
    return head + "".join(rows)


def _report(report: Report | None, act: Act) -> str:
    if report is None:
        return "–"
    wanted = " (with `created_apart`)" if act is Act.EUA_CREATED else ""
    return f"{report.station} `{report.subtype}`{wanted}"


def list_exchange() -> str:
    """Every event of a full exchange, station by station in the order of its way, and how many they are."""
    lines = [
        "| What moves | Whose station | Station | together | apart | apart, with `created_apart` |",
        "|---|---|---|---|---|---|",
    ]
    counts = [0] * len(_ARRANGEMENTS)
    for legs, total in ((_EXCHANGE, "a full exchange"), (_COPY, "with the copy for the register")):
        moves = [(what, of, to, act) for what, of, to, acts in legs for act in acts]
        for what, sender, receiver, act in moves:
            owed = [
                find_report(
                    act, acknowledgement=what == _ANSWER, together=together, created_apart=created
                )
                for together, created in _ARRANGEMENTS
            ]
            counts = [count + bool(one) for count, one in zip(counts, owed, strict=True)]
            whose = sender if act in OF_THE_SENDER else receiver
            cells = (f"{one.station} `{one.subtype}`" if one else "–" for one in owed)
            lines.append(f"| {what} | {whose} | {station_of(act)} | {' | '.join(cells)} |")
        lines.append(f"| **{total}** | | | {' | '.join(f'**{count}**' for count in counts)} |")
    return "\n".join(lines) + "\n"


def list_parameters() -> str:
    """Every search parameter with its type and what it searches."""
    columns = {
        **IDENTIFIERS,
        **{
            name: tuple(f"{column} by {' or '.join(keys)}" for column in roles)
            for name, (roles, keys) in PARTIES.items()
        },
        **CODES,
        "date": ("recorded",),
    }
    rows = (
        f"| `{name}` | {kind} | {', '.join(columns[name]).replace('_', ' ')} |\n"
        for name, kind in SEARCH_PARAMETERS.items()
    )
    return "| Parameter | Type | Searches |\n|---|---|---|\n" + "".join(rows)
