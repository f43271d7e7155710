"""Every rule is tried: a defect that it alone tells of, in both formats, and changes that are no defect."""

import inspect
import re
from datetime import UTC, datetime

import orjson
import pytest

from envelope.errors import LocalProtocolError
from envelope.fhir import (
    RULES,
    MessageRefused,
    build_acknowledgement,
    errors_of,
    read_message,
    reading,
    validate,
)
from envelope.fhir.catalogue import CATALOGUE, READING, UNHELD
from envelope.fhir.mutations import MUTATIONS, TOLERATED
from envelope.fhir.remedies import REMEDIES
from envelope.fhir.samples import build_samples

SAMPLES = build_samples()
NO_TABLE = {
    "structure-unknown-element",
    "structure-shape",
    "structure-empty",
    "bundle-entry-resource",
}
"""Defects that XML cannot have, or not in the same form."""


UNANSWERABLE = {"organization-gln", "organization-sor", "gln-length", "gln-check-digit"}
"""Who is answered lacks what makes an answer valid: the answer repeats the organizations as they were named."""


def findings_of(data, *, strict=True):
    try:
        return validate(read_message(data), strict=strict)
    except MessageRefused as refused:
        return list(refused.findings)


def told(mutation, wire=None):
    return {found.rule for found in findings_of(mutation.apply(SAMPLES[mutation.sample], wire))}


def named(mutations):
    return [pytest.param(each, id=f"{each.rule}: {each.name}") for each in mutations]


@pytest.mark.parametrize("mutation", named(MUTATIONS))
def test_the_rule_for_it_tells_of_the_defect(mutation):
    findings = findings_of(mutation.apply(SAMPLES[mutation.sample]))
    assert mutation.rule in {found.rule for found in findings}
    # A defect must not drown in findings that only follow from it.
    assert len({found.rule for found in findings}) <= 3
    entry = CATALOGUE[mutation.rule]
    for found in findings:
        if found.rule == mutation.rule:
            assert (found.severity, found.layer) == (entry.severity, entry.layer)
            assert found.path.startswith("Bundle")
            assert found.medcom_id is None or found.medcom_id in entry.medcom_ids


def test_each_rule_has_a_defect_that_it_alone_tells_of():
    alone = {mutation.rule for mutation in MUTATIONS if told(mutation) == {mutation.rule}}
    assert sorted(CATALOGUE.keys() - alone) == []


def test_a_defect_is_told_the_same_of_xml():
    compared = 0
    for mutation in MUTATIONS:
        if mutation.raw is None and mutation.rule not in NO_TABLE:
            try:
                found = told(mutation, "xml")
            except LocalProtocolError:
                continue
            assert found == told(mutation), mutation.name
            compared += 1
    assert compared > 140


def test_all_defects_of_the_table_of_negative_tests_are_here():
    # 53 is about two messages, an answer to what nobody sent, and 55 is what must be tolerated.
    assert {mutation.number for mutation in MUTATIONS} - {""} == {
        str(number) for number in range(1, 55) if number != 53
    }


@pytest.mark.parametrize("mutation", named(TOLERATED))
def test_what_is_no_defect_is_no_error(mutation):
    findings = findings_of(mutation.apply(SAMPLES[mutation.sample]))
    assert errors_of(findings) == []
    assert {found.rule for found in findings} == {mutation.rule} - {""}


def test_a_reader_is_milder_than_a_sender_where_the_rule_says_so():
    milder = {entry.name for entry in CATALOGUE.values() if entry.lenient != entry.severity}
    assert milder
    for mutation in MUTATIONS:
        if mutation.rule in milder:
            data = mutation.apply(SAMPLES[mutation.sample])
            assert errors_of(findings_of(data)) != []
            assert errors_of(findings_of(data, strict=False)) == []


def test_every_defect_that_can_be_answered_is_answered_by_a_valid_acknowledgement():
    answered = 0
    for mutation in MUTATIONS:
        data = mutation.apply(SAMPLES[mutation.sample])
        errors = errors_of(findings_of(data))
        if not errors:
            continue
        try:
            answer = build_acknowledgement(
                read_message(data),
                code="fatal-error",
                findings=errors,
                bundle_id="5b0c6f0e-6a0d-4f5e-9a53-0f5c7b0a1e01",
                message_id="5b0c6f0e-6a0d-4f5e-9a53-0f5c7b0a1e02",
                provenance_id="5b0c6f0e-6a0d-4f5e-9a53-0f5c7b0a1e03",
                outcome_id="5b0c6f0e-6a0d-4f5e-9a53-0f5c7b0a1e04",
                at=datetime(2026, 11, 21, tzinfo=UTC),
            )
        except (MessageRefused, LocalProtocolError):
            continue
        issues = answer["entry"][-1]["resource"]["issue"]
        assert any(issue["details"]["text"].startswith(f"{mutation.rule}:") for issue in issues)
        if mutation.rule not in UNANSWERABLE:
            assert errors_of(validate(read_message(orjson.dumps(answer)))) == [], mutation
        answered += 1
    assert answered > 100


def test_every_rule_says_what_it_demands_and_what_to_do():
    assert CATALOGUE.keys() == REMEDIES.keys() == {rule.name for rule in RULES} | READING.keys()
    for entry in CATALOGUE.values():
        assert re.fullmatch(r"[A-Zo][^\n]+\.", entry.demand), entry
        assert re.fullmatch(r"[A-Z][^\n]+\.", entry.remedy), entry


def test_every_refusal_of_the_reader_is_in_the_catalogue():
    found = re.findall(r'"((?:message|json|xml)-[a-z-]+)"', inspect.getsource(reading))
    assert set(found) == READING.keys()


def test_every_published_invariant_is_held_by_a_rule_or_listed_with_a_reason(published):
    tables = orjson.loads((published[0].parents[1] / "profile-tables.json").read_bytes())
    ids = {
        invariant[0]
        for profiles in tables.values()
        for profile in profiles.values()
        for _, facts in profile["elements"]
        for invariant in facts.get("inv", ())
    }
    held = {each for entry in CATALOGUE.values() for each in entry.medcom_ids}
    assert len(ids) > 40
    assert ids <= held | UNHELD.keys()
