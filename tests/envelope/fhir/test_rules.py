"""The list of rules as a whole: published examples, deliberate defects, and silence about patients."""

import re
from collections import Counter

import orjson

from envelope.fhir import RULES, STRICTER, read_message, validate

WARNED_EXAMPLES = {"cc-source-payload", "ack-revision", "header-endpoint"}


def test_published_examples_have_no_error(published, oracle):
    warned = Counter()
    assert {path.stem for path in published} <= oracle
    for path in published:
        for found in validate(read_message(path.read_bytes())):
            assert found.severity != "error", (path.name, found)
            warned[found.rule] += 1
    assert warned.keys() >= WARNED_EXAMPLES


def test_a_sender_is_held_to_nothing_but_the_stricter_rules_beyond_the_published_validator(
    published,
):
    refused = {
        found.rule
        for path in published
        for found in validate(read_message(path.read_bytes()), strict=True)
        if found.severity == "error"
    }
    assert refused == {"cc-source-payload"} <= STRICTER.keys()


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
