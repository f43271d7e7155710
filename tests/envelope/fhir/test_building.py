"""Narratives are escaped, and leave out what is not there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from envelope.fhir.building import narrative

TEXT = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc", "Cn"]), max_size=20)


@given(TEXT, TEXT, TEXT)
def test_any_text_stays_text(title, label, value):
    root = etree.fromstring(narrative(title, [(label, value)])["div"])
    assert "".join(root.itertext()) == title + (label + value if value else "")


@pytest.mark.parametrize("value", [None, ""])
def test_rows_without_value_are_left_out(value):
    assert "row" not in narrative("title", [("row", value)])["div"]
