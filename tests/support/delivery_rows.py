"""The delivery events that one exchange owes, written out, and how to read them from AuditEvents."""

from collections.abc import Iterable
from typing import Any

Row = tuple[str, str, str]
"""Station, sub type, standard of the message that was moved."""

HCO = "homecareobservation-message"
ACK = "acknowledgement-message"
SBDH_ACK = "ehmisbdh-acknowledgement"

MUNICIPALITY_TOGETHER: list[Row] = [
    ("EUA", "msg-created-and-sent", HCO),
    ("AP-MSH", "msg-received", HCO),
    ("AP-MSH", "msg-sent", HCO),
    ("AP-MSH", "msg-received-and-finalized", SBDH_ACK),
    ("AP-MSH", "msg-received", ACK),
    ("AP-MSH", "msg-sent", ACK),
    ("EUA", "msg-received-and-finalized", ACK),
    ("AP-MSH", "msg-created-and-sent", SBDH_ACK),
]
CLINIC_TOGETHER: list[Row] = [
    ("AP-MSH", "msg-received", HCO),
    ("AP-MSH", "msg-sent", HCO),
    ("EUA", "msg-received-and-finalized", HCO),
    ("AP-MSH", "msg-created-and-sent", SBDH_ACK),
    ("EUA", "msg-created-and-sent", ACK),
    ("AP-MSH", "msg-received", ACK),
    ("AP-MSH", "msg-sent", ACK),
    ("AP-MSH", "msg-received-and-finalized", SBDH_ACK),
]
MUNICIPALITY_APART: list[Row] = [
    ("EUA", "msg-created-and-sent", HCO),
    ("MSH", "msg-received", HCO),
    ("MSH", "msg-sent", HCO),
    ("AP", "msg-received", HCO),
    ("AP", "msg-sent", HCO),
    ("AP", "msg-received", SBDH_ACK),
    ("AP", "msg-sent", SBDH_ACK),
    ("MSH", "msg-received-and-finalized", SBDH_ACK),
    ("AP", "msg-received", ACK),
    ("AP", "msg-sent", ACK),
    ("MSH", "msg-received", ACK),
    ("MSH", "msg-sent", ACK),
    ("EUA", "msg-received-and-finalized", ACK),
    ("MSH", "msg-created-and-sent", SBDH_ACK),
    ("AP", "msg-received", SBDH_ACK),
    ("AP", "msg-sent", SBDH_ACK),
]
CLINIC_APART: list[Row] = [
    ("AP", "msg-received", HCO),
    ("AP", "msg-sent", HCO),
    ("MSH", "msg-received", HCO),
    ("MSH", "msg-sent", HCO),
    ("EUA", "msg-received-and-finalized", HCO),
    ("MSH", "msg-created-and-sent", SBDH_ACK),
    ("AP", "msg-received", SBDH_ACK),
    ("AP", "msg-sent", SBDH_ACK),
    ("EUA", "msg-created-and-sent", ACK),
    ("MSH", "msg-received", ACK),
    ("MSH", "msg-sent", ACK),
    ("AP", "msg-received", ACK),
    ("AP", "msg-sent", ACK),
    ("AP", "msg-received", SBDH_ACK),
    ("AP", "msg-sent", SBDH_ACK),
    ("MSH", "msg-received-and-finalized", SBDH_ACK),
]
MUNICIPALITY_CREATED_APART: list[Row] = [
    ("EUA", "msg-created", HCO),
    ("EUA", "msg-sent", HCO),
    *MUNICIPALITY_APART[1:],
]
CLINIC_CREATED_APART: list[Row] = [
    *CLINIC_APART[:8],
    ("EUA", "msg-created", ACK),
    ("EUA", "msg-sent", ACK),
    *CLINIC_APART[9:],
]
ROWS = {
    "together": {"municipality": MUNICIPALITY_TOGETHER, "clinic": CLINIC_TOGETHER},
    "apart": {"municipality": MUNICIPALITY_APART, "clinic": CLINIC_APART},
    "created apart": {"municipality": MUNICIPALITY_CREATED_APART, "clinic": CLINIC_CREATED_APART},
}


def entity(resource: dict[str, Any], code: str) -> dict[str, Any] | None:
    """The entity of this kind, or None."""
    return next((one for one in resource["entity"] if one["type"]["code"] == code), None)


def row_of(resource: dict[str, Any]) -> Row:
    """What an AuditEvent says: station, sub type, standard."""
    message = entity(resource, "ehmiMessage")
    assert message is not None
    (standard,) = [d["valueString"] for d in message["detail"] if d["type"] == "ehmiMessageType"]
    return resource["source"]["type"][0]["code"], resource["subtype"][0]["code"], standard


def device_of(resource: dict[str, Any]) -> str:
    """The device that reported."""
    return str(resource["source"]["observer"]["identifier"]["value"])


def rows_by(resources: Iterable[dict[str, Any]], owner: dict[str, str]) -> dict[str, list[Row]]:
    """The rows of each organisation, sorted; `owner` names the organisation of a device."""
    found: dict[str, list[Row]] = {name: [] for name in owner.values()}
    for resource in resources:
        found[owner[device_of(resource)]].append(row_of(resource))
    return {name: sorted(rows) for name, rows in found.items()}


def expected_rows(arrangement: str) -> dict[str, list[Row]]:
    """The rows that an exchange owes, sorted as `rows_by` sorts."""
    return {name: sorted(rows) for name, rows in ROWS[arrangement].items()}
