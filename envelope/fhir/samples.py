"""One synthetic message of each type, step and kind of content, by name.

They are what the rules are tried on: each is valid, and each defect of `mutations` is made in one of them.

Spec: medcom-fhir.md 10, 11, 12, 13, 19.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

import orjson

from envelope.fhir import canonicals
from envelope.fhir.acknowledgement import Code, build_acknowledgement
from envelope.fhir.finding import Finding, Kind
from envelope.fhir.reading import Resource, read_message
from envelope.fhir.recognition import Organization
from envelope.fhir.synthetic import build_home_care_observation
from envelope.fhir.synthetic_care_communication import (
    Attached,
    CareFacts,
    build_care_communication,
)
from envelope.fhir.synthetic_hospital_notification import build_hospital_notification
from envelope.fhir.synthetic_parts import Ids, SampleFacts

_MUNICIPALITY: Final = Organization("5790000123117", "1144561000016002", "Akutteam Testkommune")
_PRACTICE: Final = Organization("5790000127092", "52581000016005", "Lægerne i Testby")
_AT: Final = datetime(2026, 11, 21, 9, 15, tzinfo=UTC)
_BEGINNINGS: Final = {
    "application/pdf": b"%PDF-1.4\n",
    "image/gif": b"GIF89a",
    "image/jpeg": b"\xff\xd8\xff\xe0",
    "image/png": b"\x89PNG\r\n\x1a\n",
    "image/tiff": b"II*\x00",
    "image/bmp": b"BM",
}


@dataclass(frozen=True, slots=True)
class Setting:
    """Who sends to whom and when: `sender` begins, `receiver` answers, and what follows is up to an hour later than `at`.

    All ids are made from `seed`: with the same one they are the same messages, with another they are others.
    """

    sender: Organization = _MUNICIPALITY
    receiver: Organization = _PRACTICE
    ydernummer: str = "061654"
    at: datetime = _AT
    seed: str = ""

    def id(self, name: str) -> str:
        """Make the id of this name, a UUID of version 8."""
        return Ids(self.seed)(name)

    def facts(self, name: str, minutes: int = 0, *, answers: bool = False) -> SampleFacts:
        """Make the facts of one message, from the receiver where it `answers`."""
        parties = (self.receiver, self.sender) if answers else (self.sender, self.receiver)
        return SampleFacts(
            bundle_id=self.id(f"bundle {name}"),
            message_id=self.id(f"message {name}"),
            sender=parties[0],
            receiver=parties[1],
            at=self.at + timedelta(minutes=minutes),
            ydernummer=self.ydernummer,
        )


SETTING: Final = Setting()
"""What the rules are tried in: always the same."""


def _observations(setting: Setting) -> Iterable[tuple[str, Resource]]:
    first = build_home_care_observation(replace(setting.facts("hco-new"), attachment=b"TEST" * 40))
    yield "hco-new", first
    plain = replace(setting.facts("hco-plain"), doctor=None)
    yield "hco-plain", build_home_care_observation(plain)
    e_cpr = replace(setting.facts("hco-ecpr"), cpr="0703921VJ5")
    yield "hco-ecpr", build_home_care_observation(e_cpr)
    yield (
        "hco-restricted",
        build_home_care_observation(setting.facts("hco-restricted"), restricted=True),
    )
    yield (
        "hco-modified",
        build_home_care_observation(setting.facts("hco-modified", 30), follows=first),
    )
    yield (
        "hco-retracted",
        build_home_care_observation(
            setting.facts("hco-retracted", 40), follows=first, withdrawn=True
        ),
    )


def _communications(setting: Setting) -> Iterable[tuple[str, Resource]]:
    pdf = Attached("Plejeplan", _BEGINNINGS["application/pdf"] + b"TEST")
    first = build_care_communication(setting.facts("cc-new"), CareFacts(attached=(pdf,)))
    yield "cc-new", first
    reply = build_care_communication(setting.facts("cc-reply", 10, answers=True), follows=first)
    yield "cc-reply", reply
    yield (
        "cc-forward",
        build_care_communication(setting.facts("cc-forward", 20), follows=first, forward=True),
    )
    other = CareFacts(category="other", topic="Nøgleboks")
    yield "cc-other", build_care_communication(setting.facts("cc-other"), other)
    referral = CareFacts(category="regarding-referral", priority="asap")
    yield "cc-referral", build_care_communication(setting.facts("cc-referral"), referral)
    every = [Attached(kind, data, kind) for kind, data in _BEGINNINGS.items()]
    link = Attached("Vejledning", url="https://accesspoint.example/vejledning")
    full = CareFacts(attached=(*every, link), named=True, episode=True)
    yield "cc-full", build_care_communication(setting.facts("cc-full"), full)
    e_cpr = replace(setting.facts("cc-ecpr"), cpr="0703920AB1")
    yield "cc-ecpr", build_care_communication(e_cpr)


def _notifications(setting: Setting) -> Iterable[tuple[str, Resource]]:
    admissions = {}
    for kind in ("inpatient", "emergency"):
        name = f"admit-{kind}"
        admissions[kind] = build_hospital_notification(setting.facts(f"hn-{name}"), name)
        yield f"hn-{name}", admissions[kind]
    for activity in sorted(canonicals.HN_ACTIVITIES - {"admit-inpatient", "admit-emergency"}):
        first = admissions["emergency" if "emergency" in activity else "inpatient"]
        facts = setting.facts(f"hn-{activity}", 60)
        yield f"hn-{activity}", build_hospital_notification(facts, activity, follows=first)
    for kind, first in admissions.items():
        name = f"hn-death-{kind}"
        yield (
            name,
            build_hospital_notification(
                setting.facts(name, 60), f"admit-{kind}", follows=first, death=True
            ),
        )
    yield (
        "hn-report-of-admission",
        build_hospital_notification(
            setting.facts("hn-report-of-admission"), report_of_admission=True
        ),
    )


def _acknowledgements(setting: Setting, answered: Resource) -> Iterable[tuple[str, Resource]]:
    broken = Finding("hco-report-status", "error", "Bundle.entry[2].resource.status", "not final")
    known = Finding("duplicate", "information", "Bundle.id", "answered before", kind=Kind.DUPLICATE)
    answers: tuple[tuple[str, Code, list[Finding]], ...] = (
        ("ok", "ok", []),
        ("duplicate", "ok", [known]),
        ("fatal-error", "fatal-error", [broken]),
        ("transient-error", "transient-error", []),
    )
    for name, code, findings in answers:
        yield (
            f"ack-{name}",
            build_acknowledgement(
                read_message(orjson.dumps(answered)),
                code=code,
                findings=findings,
                bundle_id=setting.id(f"bundle ack {name}"),
                message_id=setting.id(f"message ack {name}"),
                provenance_id=setting.id(f"provenance ack {name}"),
                outcome_id=setting.id(f"outcome ack {name}"),
                at=setting.at + timedelta(minutes=1),
            ),
        )


def build_samples(setting: Setting = SETTING) -> dict[str, Resource]:
    """Build all of them, from name to bundle; the same at every call with the same setting."""
    observations = dict(_observations(setting))
    return {
        **observations,
        **dict(_communications(setting)),
        **dict(_notifications(setting)),
        **dict(_acknowledgements(setting, observations["hco-new"])),
    }
