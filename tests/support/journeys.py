"""Journeys of invented messages between invented organisations, as the reports that stations make of them.

A `Story` writes the walk of a message and of what answers it, as far as it is told to: all stations apart, so that a
whole exchange is 32 reports. `SAMPLES` are the fixed ones: good, slow, silent, held, given up, refused and sent again.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from accesspoint.delivery.auditevent import build_audit_event
from accesspoint.delivery.events import DeliveryEvent, DeliveryFacts, Outcome, Station, SubType

HCO = "homecareobservation-message"
CARE = "carecommunication-message"
HOSPITAL = "hospitalnotification-message"
FHIR_ACK = "acknowledgement-message"
SBDH_ACK = "ehmisbdh-acknowledgement"
VERSIONS = {HCO: "1.1", CARE: "5.0", HOSPITAL: "3.0", FHIR_ACK: "2.0", SBDH_ACK: "ebbp-signals-2.0"}

Resource = dict[str, Any]
Step = tuple[str, Station, SubType, bool]
"""Side (`from`, `to`), station, sub type, whether it sees the transport envelope."""

WALK: list[Step] = [
    ("from", Station.EUA, SubType.CREATED_AND_SENT, False),
    ("from", Station.MSH, SubType.RECEIVED, False),
    ("from", Station.MSH, SubType.SENT, True),
    ("from", Station.AP, SubType.RECEIVED, True),
    ("from", Station.AP, SubType.SENT, True),
    ("to", Station.AP, SubType.RECEIVED, True),
    ("to", Station.AP, SubType.SENT, True),
    ("to", Station.MSH, SubType.RECEIVED, True),
    ("to", Station.MSH, SubType.SENT, False),
    ("to", Station.EUA, SubType.RECEIVED_AND_FINALIZED, False),
]
RECEIPT_WALK: list[Step] = [
    ("from", Station.MSH, SubType.CREATED_AND_SENT, True),
    ("from", Station.AP, SubType.RECEIVED, True),
    ("from", Station.AP, SubType.SENT, True),
    ("to", Station.AP, SubType.RECEIVED, True),
    ("to", Station.AP, SubType.SENT, True),
    ("to", Station.MSH, SubType.RECEIVED_AND_FINALIZED, True),
]
PACE = [0.004, 0.009, 0.006, 0.071, 0.038, 0.005, 0.007, 0.006, 0.012]
"""Seconds between the steps of a message that nothing holds up."""


@dataclass(frozen=True)
class Organisation:
    """Somebody who does not exist."""

    key: str
    gln: str
    sor: str
    name: str

    def device(self, station: Station) -> str:
        """The device id of one of its stations."""
        return f"{self.key}-{station.lower()}"


FJORDBY = Organisation("fjordby", "5790009990010", "900000000000016", "Fjordby Kommune")
HAVNEGADE = Organisation("havnegade", "5790009990027", "900000000000024", "Lægerne Havnegade")
SUND = Organisation("sund", "5790009990034", "900000000000032", "Sund Sygehus")
REGISTER = Organisation("register", "5790009990041", "900000000000041", "Dokumentregistret")
ORGANISATIONS = (FJORDBY, HAVNEGADE, SUND, REGISTER)
ANNA, BO = "2512489996", "0101010101"
"""National test persons."""


def name_of(text: str) -> str:
    """An identifier that looks like one, the same for the same text."""
    return str(uuid5(NAMESPACE_URL, text))


@dataclass
class Story:
    """One exchange being written; `reports` grows with each leg, `now` is the time of the last step."""

    title: str
    at: datetime
    sender: Organisation = FJORDBY
    receiver: Organisation = HAVNEGADE
    standard: str = HCO
    patient: str | None = ANNA
    reports: list[Resource] = field(default_factory=list)
    pace: float = 1.0

    def __post_init__(self) -> None:
        self.now = self.at
        self.message = name_of(self.title)

    def send(
        self,
        *,
        upto: int = len(WALK),
        start: int = 0,
        envelope: int = 1,
        pauses: dict[int, float] | None = None,
        fails: bool = False,
        silent: tuple[int, ...] = (),
        to: Organisation | None = None,
    ) -> "Story":
        """Walk the message from step `start` to before `upto`; `pauses` are seconds before a step."""
        facts = self._facts(self.message, self.standard, self.sender, to or self.receiver, envelope)
        facts = replace(facts, patient_id=self.patient)
        self._walk(facts, WALK[:upto], start, pauses or {}, fails, silent)
        return self

    def receive(
        self, *, upto: int = len(RECEIPT_WALK), positive: bool = True, of: int = 1, **rest: Any
    ) -> "Story":
        """Acknowledge envelope `of`."""
        facts = self._facts(
            name_of(f"{self.title} receipt {of}"), SBDH_ACK, self.receiver, self.sender, 1
        )
        facts = replace(
            facts,
            message_envelope_type="ReceiptAcknowledgement" if positive else "Exception",
            orig_envelope_identifier=self.envelope(self.message, of),
            **self._orig(self.message, self.standard),
        )
        self._walk(
            facts, RECEIPT_WALK[:upto], 0, rest.get("pauses", {}), rest.get("fails", False), ()
        )
        return self

    def answer(
        self,
        verdict: str | None = "ok",
        *,
        upto: int = len(WALK),
        receipt: bool = True,
        number: int = 1,
        **rest: Any,
    ) -> "Story":
        """Answer with a FHIR Acknowledgement, which is acknowledged itself when it came to its end.

        Each `number` is an Acknowledgement of its own.
        """
        message = name_of(f"{self.title} answer" + (f" {number}" if number > 1 else ""))
        facts = self._facts(message, FHIR_ACK, self.receiver, self.sender, 1)
        statistics = "MCM:acknowledgement-message" + (f"#{verdict}" if verdict else "")
        facts = replace(
            facts, statistical_information=statistics, **self._orig(self.message, self.standard)
        )
        self._walk(facts, WALK[:upto], 0, rest.get("pauses", {}), rest.get("fails", False), ())
        if receipt and upto == len(WALK):
            receipted = self._facts(
                name_of(f"{message} receipt"), SBDH_ACK, self.sender, self.receiver, 1
            )
            receipted = replace(
                receipted,
                message_envelope_type="ReceiptAcknowledgement",
                orig_envelope_identifier=self.envelope(message, 1),
                **self._orig(message, FHIR_ACK),
            )
            self._walk(receipted, RECEIPT_WALK, 0, {}, False, ())
        return self

    def wait(self, **span: float) -> "Story":
        """Let time pass."""
        self.now += timedelta(**span)
        return self

    def whole(self) -> "Story":
        """The message, its receipt and its positive answer."""
        return self.send().receive().answer()

    @staticmethod
    def envelope(message: str, number: int) -> str:
        """The transport envelope of a message, by its number."""
        return name_of(f"{message} envelope {number}")

    def _facts(
        self, message: str, standard: str, sender: Organisation, to: Organisation, envelope: int
    ) -> DeliveryFacts:
        return DeliveryFacts(
            sender_sor=sender.sor,
            sender_gln=sender.gln,
            sender_name=sender.name,
            receiver_sor=to.sor,
            receiver_gln=to.gln,
            receiver_name=to.name,
            patient_id=None,
            message_identifier=message,
            standard=standard,
            type_version=VERSIONS[standard],
            message_envelope_identifier=name_of(f"{message} bundle"),
            message_envelope_type="Bundle",
            transport_envelope_identifier=self.envelope(message, envelope),
            transport_envelope_version="1.0",
        )

    @staticmethod
    def _orig(message: str, standard: str) -> dict[str, Any]:
        return {
            "orig_message_identifier": message,
            "orig_standard": standard,
            "orig_version": VERSIONS[standard],
        }

    def _walk(
        self,
        facts: DeliveryFacts,
        steps: list[Step],
        start: int,
        pauses: dict[int, float],
        fails: bool,
        silent: tuple[int, ...],
    ) -> None:
        """Report each step; the last one with outcome 8 when it `fails`, none for those that are `silent`."""
        sides = {gln: one for one in ORGANISATIONS for gln in (one.gln,)}
        owners = {"from": sides[facts.sender_gln], "to": sides[facts.receiver_gln]}
        for number, (side, station, subtype, with_envelope) in enumerate(steps):
            if number < start:
                continue
            usual = PACE[(number - 1) % len(PACE)] * self.pace if number else 0.02
            self.now += timedelta(seconds=pauses.get(number, usual))
            if number in silent:
                continue
            seen = facts
            if not with_envelope:
                seen = replace(
                    facts, transport_envelope_identifier=None, transport_envelope_version=None
                )
            outcome: Outcome = "8" if fails and number == len(steps) - 1 else "0"
            device = owners[side].device(station)
            self.reports.append(
                build_audit_event(DeliveryEvent(station, device, subtype, outcome, self.now, seen))
            )


def samples(now: datetime) -> dict[str, Story]:
    """The fixed journeys, as they stand at this time."""
    hour = timedelta(hours=1)
    return {
        "good": Story("good", now - 2 * hour).whole(),
        "slow": Story("slow", now - 26 * hour, pace=3)
        .send(pauses={4: 5_400, 9: 420})
        .receive()
        .wait(minutes=4)
        .answer(),
        "silent": Story("silent", now - 3.2 * hour).send(upto=5),
        "held": Story("held", now - 5 * hour, SUND, FJORDBY, HOSPITAL).send(upto=8).receive(),
        "gave-up": Story("gave-up", now - 30 * hour, HAVNEGADE, SUND, CARE).send(
            upto=5, pauses={4: 86_400}, fails=True
        ),
        "refused": Story("refused", now - 4 * hour, SUND, HAVNEGADE, CARE)
        .send()
        .receive()
        .wait(seconds=6)
        .answer("fatal-error"),
        "resent": Story("resent", now - 1.5 * hour)
        .send(upto=5, pauses={4: 30}, fails=True)
        .wait(minutes=31)
        .send(start=2, envelope=2)
        .receive(of=2)
        .answer(),
        "underway": Story("underway", now - timedelta(seconds=70), SUND, FJORDBY, HOSPITAL).send(
            upto=7
        ),
        "other-patient": Story(
            "other", now - 7 * hour, SUND, FJORDBY, HOSPITAL, patient=BO
        ).whole(),
    }


def crowd(now: datetime, *, days: int, a_day: int, seed: int = 5) -> Iterator[Story]:
    """So many messages a day of all types over the past days, most of them good."""
    chance = random.Random(seed)
    for day in range(days):
        for number in range(chance.randrange(a_day // 2, a_day + 1)):
            at = now - timedelta(days=day, hours=1, minutes=chance.randrange(60 * 8))
            sender, receiver = chance.sample((FJORDBY, HAVNEGADE, SUND), 2)
            standard = chance.choices((HCO, CARE, HOSPITAL), (6, 3, 4))[0]
            patient = chance.choice((ANNA, BO, None))
            story = Story(f"crowd {day} {number}", at, sender, receiver, standard, patient)
            fate = chance.random()
            if fate < 0.03:
                story.send(upto=5)
            elif fate < 0.05:
                story.send(upto=3, pauses={2: 60}, fails=True)
            elif fate < 0.09:
                story.send().receive().answer("fatal-error")
            elif fate < 0.10:
                story.send(upto=8).receive(positive=False)
            elif fate < 0.14:
                story.send().receive()
            else:
                story.whole()
            yield story
