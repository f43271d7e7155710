"""The element table against itself and, where at hand, against an independent table of R4."""

import os
from pathlib import Path

import orjson
import pytest

from envelope.fhir.elements import PRIMITIVES, RESOURCES, TYPES


def test_every_choice_expands_to_wire_names():
    assert {"valueQuantity", "valueString", "valueDateTime"} <= TYPES["Observation"].keys()
    assert {e.group for n, e in TYPES["Observation"].items() if n.startswith("value")} == {"value"}
    assert "value" not in TYPES["Observation"]


def test_the_bundle_is_no_domain_resource():
    assert "text" not in TYPES["Bundle"]
    assert {"text", "contained", "extension"} <= TYPES["Patient"].keys()


def test_required_and_repeating_marks_are_read():
    target, activity = TYPES["Provenance"]["target"], TYPES["Provenance"]["activity"]
    assert (target.many, target.required) == (True, True)
    assert (activity.many, activity.required) == (False, False)
    assert TYPES["Quantity"]["comparator"].codes == {"<", "<=", ">=", ">"}


def test_elements_stand_in_the_order_of_the_standard():
    positions = [element.position for element in TYPES["Patient"].values()]
    assert positions == sorted(positions)
    assert next(iter(TYPES["Patient"])) == "id"


def test_the_table_agrees_with_an_independent_one():
    folder = os.environ.get("ACCESSPOINT_FIXTURES")
    if not folder:
        pytest.skip("ACCESSPOINT_FIXTURES names no folder with a table of R4 elements")
    other = orjson.loads(Path(folder, "medcom-fhir", "r4-element-table.json").read_bytes())
    compared = 0
    for name, elements in TYPES.items():
        theirs = other["".join(part[0].upper() + part[1:] for part in name.split("."))]
        if name != "Extension":  # value[x] there follows a later release
            assert list(elements) == list(theirs), name
        for wire, element in elements.items():
            if wire not in theirs:
                continue
            kind, cardinality, *rest = theirs[wire]
            required = cardinality.endswith("!") or any(
                isinstance(item, str) and item.endswith("!") for item in rest
            )
            assert element.many == cardinality.startswith("*"), (name, wire)
            assert element.required == required, (name, wire)
            if element.type != "xhtml":
                assert element.type.replace(".", "").lower() == kind.lower(), (name, wire)
            lists = [item for item in rest if isinstance(item, list)]
            if lists and not lists[0][-1].endswith(("+", "...")):
                assert element.codes == set(lists[0]), (name, wire)
            compared += 1
    assert compared > 400


def test_every_type_named_is_described_or_deliberately_open():
    open_types = {"Resource", "Timing", "Dosage"} | {
        "Contributor",
        "DataRequirement",
        "Expression",
        "ParameterDefinition",
        "RelatedArtifact",
        "TriggerDefinition",
        "UsageContext",
    }
    named = {element.type for elements in TYPES.values() for element in elements.values()}
    assert named - PRIMITIVES - TYPES.keys() == open_types
    assert TYPES.keys() >= RESOURCES
