"""Structure rules: shapes, datatypes, narrative."""

import orjson
import pytest

from envelope.fhir import read_message, validate


@pytest.mark.parametrize(
    ("rule", "kind", "change"),
    [
        ("structure-unknown-element", "Patient", {"nickname": "x"}),
        ("structure-unknown-element", "Patient", {"_identifier": {"id": "x"}}),
        (
            "structure-unknown-element",
            "Patient",
            {"name": [{"use": "official", "family": "x", "resourceType": "y"}]},
        ),
        ("structure-shape", "Patient", {"active": [True]}),
        ("structure-shape", "Patient", {"name": {"family": "x"}}),
        ("structure-shape", "Patient", {"managingOrganization": "x"}),
        ("structure-shape", "Patient", {"gender": {"x": 1}}),
        ("structure-shape", "Patient", {"_gender": "x"}),
        ("structure-shape", "Patient", {"telecom": [None]}),
        ("structure-empty", "Patient", {"telecom": []}),
        ("structure-empty", "Patient", {"managingOrganization": {}}),
        ("structure-empty", "Patient", {"language": ""}),
        ("structure-datatype", "Patient", {"active": "true"}),
        ("structure-datatype", "Patient", {"id": "a b"}),
        ("structure-date", "Patient", {"birthDate": "2026-02-30"}),
        ("structure-code", "Patient", {"gender": "unsure"}),
        ("structure-choice", "Patient", {"deceasedDateTime": "2026"}),
        ("structure-required", "Patient", {"link": [{"type": "refer"}]}),
        ("structure-required", "Patient", {"extension": [{"valueCode": "x"}]}),
        ("structure-length", "Organization", {"name": "x" * 1_048_577}),
        ("structure-shape", "Patient", {"contained": ["x"]}),
        ("structure-shape", "Patient", {"contained": [{"id": "x"}]}),
        ("structure-code", "Patient", {"contained": [{"resourceType": "Patient", "gender": "x"}]}),
    ],
)
def test_a_wrong_shape_is_told_by_name(sample, pick, errors_in, rule, kind, change):
    pick(sample, kind).update(change)
    assert rule in errors_in(sample)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"birthDate": "2026-13-45"}, "no day such as 1948-12-25"),
        ({"gender": "unsure"}, "the code is none of those FHIR allows: female, male, other, unknown"),
        ({"birthdate": "1948-12-25"}, "define here, after `deceasedBoolean`; it is spelt like `birthDate`"),
        ({"Berggren": "x"}, "define here, after `deceasedBoolean`"),
        ({"birthDate" * 9: "x"}, "define here, after `deceasedBoolean`"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_told_with_what_belongs_there(sample, pick, change, told):
    pick(sample, "Patient").update(change)
    (found,) = validate(read_message(orjson.dumps(sample)))
    assert found.text.endswith(told)


DIV = '<div xmlns="http://www.w3.org/1999/xhtml">%s</div>'


@pytest.mark.parametrize(
    "div",
    [
        "text",
        "<div>no namespace</div>",
        DIV % "<p>",
        DIV % "<script>x</script>",
        DIV % "<p><b><iframe src='x'/></b></p>",
        DIV % "<p onclick='x()'>x</p>",
        DIV % "<a href=' JavaScript:x()'>x</a>",
        DIV % '<svg xmlns="http://www.w3.org/2000/svg"/>',
        "<!DOCTYPE div>" + DIV % "x",
        "<?xml-stylesheet href='x'?>" + DIV % "x",
        7,
    ],
)
def test_a_narrative_that_is_no_plain_xhtml_is_an_error(sample, pick, errors_in, div):
    pick(sample, "Patient")["text"]["div"] = div
    assert errors_in(sample) == {"structure-narrative"}


def test_plain_formatting_is_allowed(sample, pick, errors_in):
    pick(sample, "Patient")["text"]["div"] = DIV % (
        "<h1 style='color:red'>Æ</h1><table><tr><td>x</td></tr></table><a href='https://x'>y</a>"
        "<img src='#a' alt=''/><ul><li>1</li></ul><p/>"
    )
    assert errors_in(sample) == set()


def test_a_value_that_is_absent_with_a_reason_counts_as_present(sample, pick, errors_in):
    name = pick(sample, "Patient")["name"][0]
    del name["family"]
    name["_family"] = {"extension": [{"url": "urn:x", "valueCode": "unknown"}]}
    assert errors_in(sample) == set()


def test_content_outside_the_table_is_accepted(sample, errors_in, warnings_in):
    sample["entry"].append({"resource": {"resourceType": "Basic", "anything": {"at": ["all"]}}})
    assert (errors_in(sample), warnings_in(sample)) == (set(), set())
