"""The tables of the page about delivery status, written from the reporting table and the search parameters."""

from collections.abc import Mapping
from typing import Final

from accesspoint.stations.reporting import (
    APART,
    CREATED_APART,
    TOGETHER_ACKNOWLEDGEMENT,
    TOGETHER_MESSAGE,
    Act,
    Report,
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
