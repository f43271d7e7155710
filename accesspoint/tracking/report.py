"""One report as the pages read it: who moved what, where, when, and what it answers.

A patient's number is not part of it. Pages never show one, so that none of them can by mistake.

Spec: EHMI delivery status 1.0.2, element rules.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from accesspoint.delivery import terminology as eds
from accesspoint.delivery.events import Station, SubType
from accesspoint.status_component.resource import (
    SBDH_ACKNOWLEDGEMENT,
    Resource,
    Verdict,
    detail,
    device_id,
    identifier,
    parties,
    recorded,
    verdict,
)

_STATIONS: Final = {
    "ehmiEUAPPLICATION": Station.EUA,
    "ehmiMESSAGESERVICEHANDLER": Station.MSH,
    "ehmiEDELIVERY-AP": Station.AP,
}
"""The long codes of the source types, which mean the same stations."""


@dataclass(frozen=True, slots=True)
class Party:
    """An organisation as the reports name it; equal when its GLN, or lacking that its SOR id, is the same."""

    sor: str
    gln: str
    name: str

    @property
    def key(self) -> str:
        """What tells organisations apart."""
        return self.gln or self.sor

    @property
    def shown(self) -> str:
        """The name, else the number that there is."""
        return self.name or self.key


@dataclass(frozen=True, slots=True)
class Report:
    """One station's report of one message. Times are aware; `received_at` is the status component's own."""

    recorded_at: datetime
    station: Station
    device: str
    subtype: SubType
    failed: bool
    sender: Party
    receiver: Party
    message: str
    message_type: str
    version: str
    envelope: str | None = None
    message_envelope: str | None = None
    answers: str | None = None
    answers_envelope: str | None = None
    verdict: Verdict | None = None
    received_at: datetime | None = None

    @property
    def is_answer(self) -> bool:
        """Whether the message acknowledges another."""
        return self.answers is not None or self.message_type == SBDH_ACKNOWLEDGEMENT


def read_report(resource: Resource, *, received_at: datetime | None = None) -> Report | None:
    """Read an AuditEvent that the status component took, which holds every rule of its profile.

    None for one whose sub type is not EHMI's: the profiles admit others, which say nothing of a journey.
    """
    subtype = resource["subtype"][0]
    if subtype["system"] != eds.SUB_TYPES.uri:
        return None
    code = resource["source"]["type"][0]["code"]
    return Report(
        recorded_at=recorded(resource),
        station=_STATIONS.get(code) or Station(code),
        device=device_id(resource) or "",
        subtype=SubType(subtype["code"]),
        failed=resource["outcome"] != "0",
        sender=_party(resource, "ehmiSender"),
        receiver=_party(resource, "ehmiReceiver"),
        message=identifier(resource, "ehmiMessage") or "",
        message_type=detail(resource, "ehmiMessage", "ehmiMessageType") or "",
        version=detail(resource, "ehmiMessage", "ehmiMessageVersion") or "",
        envelope=identifier(resource, "ehmiTransportEnvelope"),
        message_envelope=identifier(resource, "ehmiMessageEnvelope"),
        answers=identifier(resource, "ehmiOrigMessage"),
        answers_envelope=identifier(resource, "ehmiOrigTransportEnvelope"),
        verdict=verdict(resource),
        received_at=received_at,
    )


def _party(resource: Resource, role: str) -> Party:
    found = next(parties(resource, role))
    gln = found.glns[0].removeprefix("0088:") if found.glns else ""
    return Party(found.sor, gln, found.name)
