"""One synthetic message of each type, step and kind of content, by name.

They are what the rules are tried on: each is valid, and each defect of `mutations` is made in one of them.

Spec: medcom-fhir.md 10, 11, 12, 13, 19.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import replace
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
from envelope.fhir.synthetic_parts import SampleFacts

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


def _id(name: str) -> str:
    text = hashlib.sha256(name.encode()).hexdigest()
    return f"{text[:8]}-{text[8:12]}-8{text[13:16]}-8{text[17:20]}-{text[20:32]}"


def _facts(name: str, minutes: int = 0, *, answers: bool = False) -> SampleFacts:
    parties = (_PRACTICE, _MUNICIPALITY) if answers else (_MUNICIPALITY, _PRACTICE)
    return SampleFacts(
        bundle_id=_id(f"bundle {name}"),
        message_id=_id(f"message {name}"),
        sender=parties[0],
        receiver=parties[1],
        at=_AT + timedelta(minutes=minutes),
    )


def _observations() -> Iterable[tuple[str, Resource]]:
    first = build_home_care_observation(replace(_facts("hco-new"), attachment=b"TEST" * 40))
    yield "hco-new", first
    plain = replace(_facts("hco-plain"), doctor=None)
    yield "hco-plain", build_home_care_observation(plain)
    e_cpr = replace(_facts("hco-ecpr"), cpr="0703921VJ5")
    yield "hco-ecpr", build_home_care_observation(e_cpr)
    yield "hco-restricted", build_home_care_observation(_facts("hco-restricted"), restricted=True)
    yield "hco-modified", build_home_care_observation(_facts("hco-modified", 30), follows=first)
    yield (
        "hco-retracted",
        build_home_care_observation(_facts("hco-retracted", 40), follows=first, withdrawn=True),
    )


def _communications() -> Iterable[tuple[str, Resource]]:
    pdf = Attached("Plejeplan", _BEGINNINGS["application/pdf"] + b"TEST")
    first = build_care_communication(_facts("cc-new"), CareFacts(attached=(pdf,)))
    yield "cc-new", first
    reply = build_care_communication(_facts("cc-reply", 10, answers=True), follows=first)
    yield "cc-reply", reply
    yield (
        "cc-forward",
        build_care_communication(_facts("cc-forward", 20), follows=first, forward=True),
    )
    other = CareFacts(category="other", topic="Nøgleboks")
    yield "cc-other", build_care_communication(_facts("cc-other"), other)
    referral = CareFacts(category="regarding-referral", priority="asap")
    yield "cc-referral", build_care_communication(_facts("cc-referral"), referral)
    every = [Attached(kind, data, kind) for kind, data in _BEGINNINGS.items()]
    link = Attached("Vejledning", url="https://accesspoint.example/vejledning")
    full = CareFacts(attached=(*every, link), named=True, episode=True)
    yield "cc-full", build_care_communication(_facts("cc-full"), full)
    e_cpr = replace(_facts("cc-ecpr"), cpr="0703920AB1")
    yield "cc-ecpr", build_care_communication(e_cpr)


def _notifications() -> Iterable[tuple[str, Resource]]:
    admissions = {}
    for kind in ("inpatient", "emergency"):
        name = f"admit-{kind}"
        admissions[kind] = build_hospital_notification(_facts(f"hn-{name}"), name)
        yield f"hn-{name}", admissions[kind]
    for activity in sorted(canonicals.HN_ACTIVITIES - {"admit-inpatient", "admit-emergency"}):
        first = admissions["emergency" if "emergency" in activity else "inpatient"]
        facts = _facts(f"hn-{activity}", 60)
        yield f"hn-{activity}", build_hospital_notification(facts, activity, follows=first)
    for kind, first in admissions.items():
        name = f"hn-death-{kind}"
        yield (
            name,
            build_hospital_notification(
                _facts(name, 60), f"admit-{kind}", follows=first, death=True
            ),
        )
    yield (
        "hn-report-of-admission",
        build_hospital_notification(_facts("hn-report-of-admission"), report_of_admission=True),
    )


def _acknowledgements(answered: Resource) -> Iterable[tuple[str, Resource]]:
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
                bundle_id=_id(f"bundle ack {name}"),
                message_id=_id(f"message ack {name}"),
                provenance_id=_id(f"provenance ack {name}"),
                outcome_id=_id(f"outcome ack {name}"),
                at=_AT + timedelta(minutes=1),
            ),
        )


def build_samples() -> dict[str, Resource]:
    """Build all of them, from name to bundle; the same at every call."""
    observations = dict(_observations())
    return {
        **observations,
        **dict(_communications()),
        **dict(_notifications()),
        **dict(_acknowledgements(observations["hco-new"])),
    }
