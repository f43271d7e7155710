"""Which station reports what to the status component, as one table.

Twelve things happen at the stations of one organisation. When all stations stand apart each is an
event (32 for a full exchange); when message service handler and access point are built together they
report as one station, AP-MSH, and what passes between them is nobody's event (16). An end-user application
may tell creating and sending apart, a thirteenth event (34, or 18). Sender and receiver in an event are
those of the message being moved, never of the reporter.

Spec: EHMI Delivery Status, station table (decision D13).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Final

import orjson

from accesspoint.clock import Clock, to_microseconds
from accesspoint.delivery.events import DeliveryEvent, DeliveryFacts, Station, SubType
from accesspoint.delivery.outbox import Outbox
from accesspoint.store.columns import ColumnDamaged, ColumnKeyMissing
from accesspoint.store.database import Row, Transaction

ACKNOWLEDGEMENT_STANDARD: Final = "ehmisbdh-acknowledgement"


class Act(StrEnum):
    """One thing that a station did with a message."""

    EUA_CREATED = "eua-created"
    EUA_SENT = "eua-sent"
    EUA_FINALIZED = "eua-finalized"
    MSH_TAKEN = "msh-taken"
    MSH_PASSED_DOWN = "msh-passed-down"
    MSH_OPENED = "msh-opened"
    MSH_PASSED_UP = "msh-passed-up"
    ACK_CREATED = "ack-created"
    ACK_FINALIZED = "ack-finalized"
    AP_TAKEN = "ap-taken"
    AP_SENT = "ap-sent"
    AP_RECEIVED = "ap-received"
    AP_PASSED_UP = "ap-passed-up"


@dataclass(frozen=True, slots=True)
class Report:
    """The event owed for an act: by which station, as which subtype, with or without the transport envelope."""

    station: Station
    subtype: SubType
    with_envelope: bool


_NEW, _IN = SubType.CREATED_AND_SENT, SubType.RECEIVED
_OUT, _END = SubType.SENT, SubType.RECEIVED_AND_FINALIZED

APART: Final[dict[Act, Report]] = {
    Act.EUA_SENT: Report(Station.EUA, _NEW, False),
    Act.EUA_FINALIZED: Report(Station.EUA, _END, False),
    Act.MSH_TAKEN: Report(Station.MSH, _IN, False),
    Act.MSH_PASSED_DOWN: Report(Station.MSH, _OUT, True),
    Act.MSH_OPENED: Report(Station.MSH, _IN, True),
    Act.MSH_PASSED_UP: Report(Station.MSH, _OUT, False),
    Act.ACK_CREATED: Report(Station.MSH, _NEW, True),
    Act.ACK_FINALIZED: Report(Station.MSH, _END, True),
    Act.AP_TAKEN: Report(Station.AP, _IN, True),
    Act.AP_SENT: Report(Station.AP, _OUT, True),
    Act.AP_RECEIVED: Report(Station.AP, _IN, True),
    Act.AP_PASSED_UP: Report(Station.AP, _OUT, True),
}
CREATED_APART: Final[dict[Act, Report]] = {
    Act.EUA_CREATED: Report(Station.EUA, SubType.CREATED, False),
    Act.EUA_SENT: Report(Station.EUA, _OUT, False),
}
"""What the end-user application owes instead where creating and sending are told apart."""
TOGETHER_MESSAGE: Final[dict[Act, Report]] = {
    Act.EUA_SENT: APART[Act.EUA_SENT],
    Act.EUA_FINALIZED: APART[Act.EUA_FINALIZED],
    Act.MSH_TAKEN: Report(Station.AP_MSH, _IN, False),
    Act.AP_SENT: Report(Station.AP_MSH, _OUT, True),
    Act.AP_RECEIVED: Report(Station.AP_MSH, _IN, True),
    Act.MSH_PASSED_UP: Report(Station.AP_MSH, _OUT, False),
}
TOGETHER_ACKNOWLEDGEMENT: Final[dict[Act, Report]] = {
    Act.AP_SENT: Report(Station.AP_MSH, _NEW, True),
    Act.ACK_FINALIZED: Report(Station.AP_MSH, _END, True),
}


OF_THE_SENDER: Final = frozenset(
    {
        Act.EUA_CREATED,
        Act.EUA_SENT,
        Act.MSH_TAKEN,
        Act.MSH_PASSED_DOWN,
        Act.ACK_CREATED,
        Act.AP_TAKEN,
        Act.AP_SENT,
    }
)
"""What a station does on behalf of the sender of the message that is moved; the rest it does for the receiver."""


def find_report(
    act: Act, *, acknowledgement: bool, together: bool, created_apart: bool = False
) -> Report | None:
    """The event owed for this act, or None where the stations built together, or the one event for two acts, owe none."""
    if act in CREATED_APART and created_apart:
        return None if acknowledgement and together else CREATED_APART[act]
    if not together:
        return APART.get(act)
    return (TOGETHER_ACKNOWLEDGEMENT if acknowledgement else TOGETHER_MESSAGE).get(act)


def station_of(act: Act) -> str:
    """The station that does this, whether or not it reports for itself."""
    return str((APART.get(act) or CREATED_APART[act]).station)


def without_envelope(facts: DeliveryFacts) -> DeliveryFacts:
    """The same facts as a station sees them that never meets the transport envelope."""
    return replace(facts, transport_envelope_identifier=None, transport_envelope_version=None)


def facts_to_json(facts: DeliveryFacts) -> str:
    """Delivery facts as JSON text for the store."""
    return orjson.dumps(facts).decode()


@lru_cache(maxsize=64)
def facts_from_json(text: str) -> DeliveryFacts:
    """The facts that `facts_to_json` wrote; each step of a message asks for them again."""
    return DeliveryFacts(**orjson.loads(text))


def facts_in(message: Row) -> DeliveryFacts | None:
    """The facts in the row of a message, or None where they do not open: what else the row says can still be told."""
    try:
        return facts_from_json(message["facts"])
    except (ColumnDamaged, ColumnKeyMissing):
        return None


def subject_of(message: Row) -> str:
    """The message that a line in the journal is about, from the row of an AS4 message: the one that it answers, or itself."""
    facts = facts_in(message)
    answered = None if facts is None else facts.orig_message_identifier
    return answered or str(message["message_identifier"])


class Reporter:
    """Records delivery events and the journal in the caller's transaction."""

    def __init__(
        self,
        *,
        clock: Clock,
        outbox: Outbox | None,
        device_ids: Mapping[str, str],
        together: bool,
        own_devices: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
        created_apart: bool = False,
        node: str = "",
    ) -> None:
        """`device_ids` are the devices by station, `own_devices` by GLN those of organisations that have their own.

        `created_apart` tells `msg-created` and `msg-sent` of the end-user application apart.

        `node` is what the journal calls this process, where several share one store.
        """
        self._clock = clock
        self._outbox = outbox
        self._device_ids = device_ids
        self._own_devices = own_devices
        self._together = together
        self._created_apart = created_apart
        self._node = node

    async def report(
        self, tx: Transaction, act: Act, facts: DeliveryFacts, *, failed: bool = False
    ) -> None:
        """Record the delivery event that this act owes, if any; `facts` carry the envelope where one exists."""
        acknowledgement = facts.standard == ACKNOWLEDGEMENT_STANDARD
        owed = find_report(
            act,
            acknowledgement=acknowledgement,
            together=self._together,
            created_apart=self._created_apart,
        )
        if owed is None or self._outbox is None:
            return
        acting = facts.sender_gln if act in OF_THE_SENDER else facts.receiver_gln
        devices = self._own_devices.get(acting, self._device_ids)
        event = DeliveryEvent(
            station=owed.station,
            device_id=devices[owed.station],
            subtype=owed.subtype,
            outcome="8" if failed else "0",
            recorded_at=self._clock.now(),
            facts=facts if owed.with_envelope else without_envelope(facts),
        )
        await self._outbox.record(tx, event, acting=acting)

    async def note(
        self,
        tx: Transaction,
        event: str,
        *,
        station: str,
        message_identifier: str,
        subject: str,
        standard: str,
        problem: str | None = None,
        detail: Mapping[str, object] | str = "",
    ) -> None:
        """Append one line to the journal that people follow; `detail` holds no personal data."""
        await tx.execute(
            "INSERT INTO journal (at, station, event, message_identifier, subject, standard, problem, detail,"
            " node) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9)",
            to_microseconds(self._clock.now()), station, event, message_identifier, subject, standard, problem,
            detail if isinstance(detail, str) else orjson.dumps(detail).decode(), self._node,
        )  # fmt: skip
