"""The manual: what its pages say of the tables is what the tables say, and what they name exists."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from delivery_rows import ACK, HCO, SBDH_ACK, expected_rows

import envelope.receiving
import envelope.sending
from accesspoint.config import Configuration
from accesspoint.docs import read_page, topics
from accesspoint.docs.contradictions import CONTRADICTIONS, NOTHING
from accesspoint.docs.generated import PROOFS, refresh
from accesspoint.docs.sections import SECTIONS, Section
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


def test_every_contradiction_is_decided_and_names_a_test_that_exists() -> None:
    assert [one.name for one in CONTRADICTIONS] == [f"C-{number}" for number in range(1, 25)]
    page = read_page("decisions")
    for one in CONTRADICTIONS:
        assert f"| {one.name} | {one.differs} | {one.choice} | {one.setting} | " in page
        if one.test == NOTHING:
            continue
        file, _, name = one.test.partition("::")
        assert re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE), (
            one.name
        )
    # Only a contradiction about dates has nothing that a test could hold.
    assert [one.name for one in CONTRADICTIONS if one.test == NOTHING] == ["C-20"]


def test_settings_named_in_the_decisions_are_settings() -> None:
    written = "".join(path.read_text() for path in (ROOT / "accesspoint").glob("config*.py"))
    for one in CONTRADICTIONS:
        for section in re.findall(r"\[([a-z_]+)", one.setting):
            assert section in Configuration.model_fields, one.name
        for key in re.findall(r"[`\] ]([a-z_]+)(?: =[^`]*)?`", one.setting):
            assert re.search(rf"^    {key}: ", written, re.MULTILINE), (one.name, key)


@cache
def imports_of(file: Path) -> frozenset[str]:
    """The modules that a file imports, and what it takes from them, which may be modules as well."""

    def find() -> Iterator[str]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                yield from (one.name for one in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node.module
                yield from (f"{node.module}.{one.name}" for one in node.names)

    return frozenset(find())


def module_file(name: str) -> Path:
    """Where a module of the project stands; a package is its `__init__`."""
    path = ROOT / name.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def within_reach(test: Path) -> frozenset[str]:
    """What a test imports, itself or by its support, and what that imports in turn of its own package."""
    own = [test, test.parent / "conftest.py", test.parent.parent / "conftest.py"]
    own += [ROOT / "tests" / "support" / f"{name}.py" for name in imports_of(test)]
    left = set().union(*(imports_of(file) for file in own if file.exists()))
    seen: set[str] = set()
    while left:
        name = left.pop()
        seen.add(name)
        file = module_file(name)
        if file.exists():
            package = name if file.name == "__init__.py" else name.rpartition(".")[0]
            # The three packages at the top are no unit: a test of one part of them is no test of all.
            if "." in package:
                left |= {one for one in imports_of(file) if one.startswith(f"{package}.")} - seen
    return frozenset(seen)


@pytest.mark.parametrize("section", SECTIONS, ids=lambda one: one.about)
def test_a_section_names_tests_that_exist_and_import_what_obeys_it(section: Section) -> None:
    for name in section.tests:
        assert re.search(r"^ *(async )?def test_", (ROOT / name).read_text(), re.MULTILINE), name
    reached = frozenset().union(*(within_reach(ROOT / name) for name in section.tests))
    for module in section.modules:
        assert module_file(module).exists(), module
        assert module in reached, f"{module} is imported by none of {section.tests}"
    assert section.tests or section.missing, "nothing tests it, and it does not say why"
    row = f"| {section.about} | "
    assert row in read_page("sections")


@pytest.mark.parametrize(
    ("column", "arrangement", "events"),
    [(0, "together", "16"), (1, "apart", "32"), (2, "created apart", "34")],
)
def test_the_exchange_in_the_manual_is_the_one_that_the_processes_are_held_to(
    column: int, arrangement: str, events: str
) -> None:
    page = read_page("delivery-status")
    table, _, copy = page.partition("| What moves | ")[2].partition("| **a full exchange** | | | ")
    assert copy.split(" | ")[column].rstrip(" |\n").startswith(f"**{events}**")
    organisations = {"first": "municipality", "second": "clinic"}
    standards = {
        "message": HCO, "FHIR Acknowledgement": ACK, "its ehmiSBDH acknowledgement": SBDH_ACK,
    }  # fmt: skip
    found: dict[str, list[tuple[str, str, str]]] = {"municipality": [], "clinic": []}
    for line in table.splitlines()[2:]:
        what, whose, _, *cells = line.strip("| ").split(" | ")
        station, _, subtype = cells[column].partition(" ")
        if station != "–":
            found[organisations[whose]].append((station, subtype.strip("`"), standards[what]))
    assert {name: sorted(rows) for name, rows in found.items()} == expected_rows(arrangement)


def test_the_copy_for_the_register_adds_two_events_or_six() -> None:
    assert ("| **with the copy for the register** | | | **18** | **38** | **40** |\n") in read_page(
        "delivery-status"
    )


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
