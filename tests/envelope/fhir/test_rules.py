"""The list of rules as a whole: published examples, deliberate defects, and silence about patients."""

import re
from collections import Counter

import orjson
import pytest

from envelope.fhir import RULES, STRICTER, read_message, validate

WARNED_EXAMPLES = {"cc-source-payload", "ack-revision", "header-endpoint"}


def put(node, path, value):
    """Set (or with `...` drop) the element at a dotted path; digits are list indexes."""
    *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    for step in steps:
        node = node[step]
    if value is ...:
        del node[last]
    else:
        node[last] = value


def resource(kind, path, value, number=0):
    """A mutation of one element of the nth resource of a type."""

    def mutate(bundle):
        found = [e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == kind]
        put(found[number], path, value)

    return mutate


def bundle(path, value):
    return lambda it: put(it, path, value)


def copy_destination(it):
    header = it["entry"][0]["resource"]
    second = orjson.loads(orjson.dumps(header["destination"][0]))
    second["extension"][0]["valueCoding"]["code"] = "cc"
    header["destination"].append(second)


def second_primary(it):
    header = it["entry"][0]["resource"]
    header["destination"].append(header["destination"][0])


def without(kind):
    def mutate(it):
        it["entry"] = [e for e in it["entry"] if e["resource"]["resourceType"] != kind]

    return mutate


def twice(kind):
    def mutate(it):
        found = next(e for e in it["entry"] if e["resource"]["resourceType"] == kind)
        again = orjson.loads(orjson.dumps(found))
        again["resource"]["id"] += "-2"
        again["fullUrl"] += "-2"
        it["entry"].append(again)

    return mutate


def event_uri(it):
    header = it["entry"][0]["resource"]
    del header["eventCoding"]
    header["eventUri"] = "urn:event"


def short_header(it):
    it["entry"].append(it["entry"].pop(0))


def lower_case_replacement_number(it):
    patient = next(e["resource"] for e in it["entry"] if e["resource"]["resourceType"] == "Patient")
    patient["identifier"] = [{"system": "urn:oid:1.2.208.176.1.6.1.1", "value": "0703921vj5"}]


def drop_identifier(kind, number, index):
    return resource(kind, f"identifier.{index}", ..., number)


MUTATIONS = {
    "1 type": ("bundle-type", bundle("type", "collection")),
    "2 header not first": ("bundle-first-entry", short_header),
    "3 no bundle id": ("bundle-id", bundle("id", ...)),
    "3 no timestamp": ("bundle-timestamp", bundle("timestamp", ...)),
    "4 timestamp without zone": ("structure-date", bundle("timestamp", "2026-11-21T10:00:00")),
    "5 event code": ("header-event-known", resource("MessageHeader", "eventCoding.code", "x")),
    "5 event system": ("header-event-known", resource("MessageHeader", "eventCoding.system", "x")),
    "6 event uri": ("header-event-coding", event_uri),
    "7 no destination": (
        "header-primary-destination",
        resource("MessageHeader", "destination", ...),
    ),
    "7 destination without use": (
        "header-destination-use",
        resource("MessageHeader", "destination.0.extension", ...),
    ),
    "8 copy receiver": ("header-no-copy-destination", copy_destination),
    "9 two primary receivers": ("header-primary-destination", second_primary),
    "10 sender check digit": (
        "gln-check-digit",
        resource("Organization", "identifier.0.value", "5790000123110", 1),
    ),
    "10 short gln": ("gln-length", resource("Organization", "identifier.0.value", "579", 1)),
    "11 receiver sor": ("organization-sor", drop_identifier("Organization", 0, 1)),
    "11 sor letters": ("sor-digits", resource("Organization", "identifier.1.value", "x" * 12)),
    "11 receiver gln": ("organization-gln", drop_identifier("Organization", 0, 0)),
    "12 receiver dangling": (
        "reference-bundled",
        resource("MessageHeader", "destination.0.receiver.reference", "Organization/none"),
    ),
    "12 receiver missing": (
        "header-receiver",
        resource("MessageHeader", "destination.0.receiver", ...),
    ),
    "12 sender missing": ("header-sender", resource("MessageHeader", "sender", ...)),
    "12 sender of wrong type": (
        "reference-type",
        lambda it: it["entry"][0]["resource"].update(
            sender={"reference": "Patient/" + it["entry"][1]["resource"]["id"]}
        ),
    ),
    "13 no provenance": ("provenance-present", without("Provenance")),
    "14 other target": (
        "provenance-current",
        resource("Provenance", "target.0.reference", "MessageHeader/other"),
    ),
    "14 target is no header": (
        "provenance-target",
        resource("Provenance", "target.0.reference", "Patient/other"),
    ),
    "15 activity": (
        "provenance-activity",
        resource("Provenance", "activity.coding.0.code", "forward-message"),
    ),
    "15 modified without revision": (
        "provenance-revision",
        resource("Provenance", "activity.coding.0.code", "modified-message"),
    ),
    "15 retracted without removal": (
        "provenance-removal",
        resource("Provenance", "activity.coding.0.code", "retract-message"),
    ),
    "16 recorded": ("structure-date", resource("Provenance", "recorded", "2026-11-21T10:00:00")),
    "16 occurred": ("provenance-occurred", resource("Provenance", "occurredDateTime", "2026")),
    "17 two patients": ("patient-count", twice("Patient")),
    "18 cpr day": ("patient-cpr", resource("Patient", "identifier.0.value", "3102489996")),
    "19 lower case": ("patient-x-ecpr", lower_case_replacement_number),
    "20 no official name": ("patient-official-name", resource("Patient", "name.0.use", ...)),
    "20 no patient number": ("patient-identifier", resource("Patient", "identifier", ...)),
    "20 use of a number": ("identifier-use", resource("Patient", "identifier.0.use", "temp")),
    "21 report corrected": (
        "hco-report-status",
        resource("DiagnosticReport", "status", "corrected"),
    ),
    "21 report code": ("hco-report-code", resource("DiagnosticReport", "code.coding.0.code", "x")),
    "21 report subject": ("hco-report-subject", resource("DiagnosticReport", "subject", ...)),
    "21 report issued": ("hco-report-issued", resource("DiagnosticReport", "issued", ...)),
    "21 consent": (
        "hco-report-consent",
        resource("DiagnosticReport", "meta.security", [{"system": "urn:x", "code": "R"}]),
    ),
    "22 only organization": (
        "hco-report-performers",
        resource("DiagnosticReport", "performer.1", ...),
    ),
    "23 no phone": ("hco-performer-phone", resource("Practitioner", "telecom", ...)),
    "23 no name": ("hco-performer-name", resource("Practitioner", "name", ...)),
    "24 role without code": ("hco-performer-role", resource("PractitionerRole", "code", ...)),
    "25 no producer id": ("hco-producer", drop_identifier("Organization", 1, 2)),
    "26 no ydernummer": ("hco-requester", drop_identifier("Organization", 0, 2)),
    "27 no contact": ("hco-requester-contact", resource("Organization", "contact", ...)),
    "28 thirteen characters": (
        "hco-result-length",
        resource("Observation", "valueString", "x" * 13, 8),
    ),
    "28 comment too long": (
        "hco-comment-length",
        resource("DiagnosticReport", "conclusion", "x" * 1_048_577),
    ),
    "29 no unit": ("hco-mandatory-units", resource("Observation", "valueQuantity.unit", ...)),
    "29 unit system": (
        "hco-unit-system",
        resource("Observation", "valueQuantity.system", "urn:units"),
    ),
    "30 two values": ("structure-choice", resource("Observation", "valueString", "x")),
    "30 other value": ("hco-observation-value", resource("Observation", "valueBoolean", True, 8)),
    "31 no subject": ("hco-observation-subject", resource("Observation", "subject", ...)),
    "31 no status": ("structure-required", resource("Observation", "status", ...)),
    "31 other status": ("hco-observation-status", resource("Observation", "status", "cancelled")),
    "31 no code": ("hco-observation-code", resource("Observation", "code", ...)),
    "32 interpretation": (
        "hco-interpretation",
        resource("Observation", "interpretation.0.coding.0.code", "H"),
    ),
    "33 no definition": ("header-definition", resource("MessageHeader", "definition", ...)),
    "33 other definition": (
        "header-definition-hco",
        resource(
            "MessageHeader",
            "definition",
            "http://medcomfhir.dk/ig/messagedefinitions/MessageDefinition/"
            "MedComHomeCareObservationMessageDefinition|2.0",
        ),
    ),
    "34 video": ("hco-media-type", resource("Media", "content.contentType", "video/mp4")),
    "35 bad base64": ("structure-datatype", resource("Media", "content.data", "QUJ")),
    "36 no title": ("hco-media-title", resource("Media", "content.title", ...)),
    "37 no assigner": ("hco-media-identifier", resource("Media", "identifier.0.assigner", ...)),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_every_defect_is_caught_by_the_rule_for_it(sample, errors_in, name):
    rule, mutate = MUTATIONS[name]
    assert errors_in(sample) == set()
    mutate(sample)
    assert rule in errors_in(sample)


def test_most_defects_are_told_by_one_or_two_rules(sample, errors_in, facts):
    """A defect must not drown in findings that only follow from it."""
    many = []
    for name, (_, mutate) in MUTATIONS.items():
        bundle_copy = orjson.loads(orjson.dumps(sample))
        mutate(bundle_copy)
        if len(errors_in(bundle_copy)) > 3:
            many.append(name)
    assert many == []


def test_published_examples_have_no_error(published):
    warned = Counter()
    for path in published:
        for found in validate(read_message(path.read_bytes())):
            assert found.severity != "error", (path.name, found)
            warned[found.rule] += 1
    assert warned.keys() >= WARNED_EXAMPLES


def test_a_finding_holds_nothing_a_sender_wrote(sample):
    marked = orjson.loads(
        re.sub(
            rb"2512489996|5790000\d+|Berggren|final|routine", b"9912319999", orjson.dumps(sample)
        )
    )
    marked["9912319999"] = "9912319999"
    marked["entry"].append({"resource": {"resourceType": "Patient", "9912319999": [1]}})
    findings = validate(read_message(orjson.dumps(marked)))
    assert len(findings) > 5
    assert "9912319999" not in repr(findings)


def test_names_are_unique_and_say_what_they_belong_to():
    names = [rule.name for rule in RULES]
    assert len(names) == len(set(names)) > 90
    assert set(names) >= set(STRICTER)
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", name) for name in names)


def test_every_rule_explains_itself():
    assert [rule.name for rule in RULES if not rule.demand.endswith(".")] == []


def test_a_message_that_breaks_one_rule_everywhere_reports_a_bounded_number(sample):
    sample["entry"] += [{"resource": {"resourceType": "Patient", "id": "a"}} for _ in range(5000)]
    findings = validate(read_message(orjson.dumps(sample)))
    assert max(Counter(found.rule for found in findings).values()) <= 200
