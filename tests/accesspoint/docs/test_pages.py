"""The manual: what its pages say of the tables is what the tables say, and what they name exists."""

import re
from pathlib import Path

import pytest

import envelope.receiving
import envelope.sending
from accesspoint.docs import read_page, topics
from accesspoint.docs.generated import PROOFS, refresh
from accesspoint.verification import INVARIANTS
from envelope.pmode import PRESETS, Quirk

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("topic", topics())
def test_a_page_is_what_the_tables_generate(topic: str) -> None:
    assert refresh(read_page(topic)) == read_page(topic), "python -m accesspoint.docs.generated"


def test_every_step_of_both_tables_is_drawn_and_listed() -> None:
    page = read_page("reliability")
    for table in (envelope.sending.CAUSES, envelope.receiving.CAUSES):
        for state, row in table.items():
            for to, cause in row.items():
                assert f"  {state} --> {to}: {cause}\n" in page
                assert f"| {state} | {to} | {cause} |\n" in page


def test_an_old_diagram_is_found_out() -> None:
    page = read_page("reliability").replace("ACCEPTED --> RESOLVED", "ACCEPTED --> SENDING")
    assert refresh(page) == read_page("reliability") != page


def test_every_invariant_names_a_test_that_exists() -> None:
    assert set(PROOFS) == {one.name for one in INVARIANTS}
    for proof in PROOFS.values():
        file, _, name = proof.partition("::")
        text = (ROOT / file).read_text()
        assert re.search(rf"def {name or 'test_'}", text), proof


def test_a_topic_without_a_page_is_a_key_error() -> None:
    for topic in ("nothing", "../app", "__init__.py"):
        with pytest.raises(KeyError):
            read_page(topic)


def test_every_quirk_and_preset_is_in_the_page_about_partners() -> None:
    page = read_page("partners")
    for quirk in Quirk:
        assert f"| `{quirk}` | " in page
    for name in PRESETS:
        assert f"| `{name}` | " in page
