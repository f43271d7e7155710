"""The parts of the manual that the program's own tables write: state diagrams, the list of invariants, routes, quirks and presets.

`python -m accesspoint.docs.generated` writes them into the pages of a checkout.
"""

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final

import envelope.receiving
import envelope.sending
from accesspoint.api.rights import RIGHTS
from accesspoint.docs import message_rules, status_tables
from accesspoint.docs.contradictions import list_contradictions
from accesspoint.docs.sections import list_sections
from accesspoint.problem_texts import TRIED_AGAIN
from accesspoint.problems import PROBLEMS, Layer, fill
from accesspoint.verification import INVARIANTS
from envelope import states
from envelope.pmode import PRESETS
from envelope.quirks import NOTES

_BLOCK: Final = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

PROOFS: Final[Mapping[str, str]] = {
    "I1": "tests/crash/test_walk_sqlite.py::test_nothing_is_lost_and_nothing_comes_twice",
    "I2": "tests/soak/test_soak.py::test_nothing_is_lost_or_doubled_over_twenty_thousand_messages",
    "I3": "tests/architecture/test_evidence.py::test_only_gates_make_evidence",
    "I4": "tests/hostile/test_lying_receiver.py::test_false_receipt",
    "I5": "tests/e2e/test_restart.py::test_a_receiver_killed_after_its_commit_answers_the_retry_with_the_stored_receipt",
    "I6": "tests/hostile/test_replayed_message.py::test_other_content_under_the_same_id",
    "I7": "tests/accesspoint/test_app.py::test_a_full_exchange_is_eight_events_for_each_organisation",
    "I8": "tests/accesspoint/test_app.py::test_what_a_dead_node_still_holds_is_taken_up_without_a_restart",
    "I9": "tests/accesspoint/store/test_orphans.py",
    "I10": "tests/accesspoint/store/test_sqlite.py",
    "I11": "tests/accesspoint/store/test_transitions.py::test_of_all_pairs_of_states_the_legal_ones_pass_and_no_other",
    "I12": "tests/accesspoint/test_log.py",
    "I13": "tests/accesspoint/verification/test_planted.py::test_a_planted_fault_breaks_its_invariant_and_no_other",
    "I14": "tests/accesspoint/verification/test_planted.py::test_a_planted_fault_breaks_its_invariant_and_no_other",
}
"""For each invariant the test that comes closest to it; all of them are checked after each crash, soak and simulation."""


def draw(first: StrEnum, causes: Mapping[StrEnum, Mapping[StrEnum, str]]) -> str:
    """Draw a state table as a Mermaid diagram, and write it out as a Markdown table."""
    ends = states.terminal(states.followers(causes))
    lines = ["```mermaid", "stateDiagram-v2", f"  [*] --> {first}"]
    lines += [
        f"  {state} --> {to}: {cause}" for state, row in causes.items() for to, cause in row.items()
    ]
    lines += [f"  {state} --> [*]" for state in sorted(ends)]
    lines += ["```", "", "| from | to | when |", "|---|---|---|"]
    lines += [
        f"| {state} | {to} | {cause} |"
        for state, row in causes.items()
        for to, cause in row.items()
    ]
    return "\n".join(lines)


def list_invariants() -> str:
    """Write the invariants as a Markdown table, each with its test."""
    lines = ["| | what is true at any time | the test to look at |", "|---|---|---|"]
    lines += [f"| {one.name} | {one.sentence} | `{PROOFS[one.name]}` |" for one in INVARIANTS]
    return "\n".join(lines)


def list_presets() -> str:
    """Write the agreements that a partner's table may start from as a Markdown table."""
    lines = [
        "| preset | type of party ids | encryption names its certificate | quirks |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| `{mode.id}` | `{mode.party_id_type}` | {mode.suite.encryption_token} |"
        f" {', '.join(f'`{quirk}`' for quirk in sorted(mode.policy.quirks)) or 'none'} |"
        for mode in PRESETS.values()
    ]
    return "\n".join(lines)


def list_quirks() -> str:
    """Write what each quirk permits as a Markdown table."""
    lines = [
        "| quirk | permits | seen with | why it can be borne | relaxes |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| `{quirk}` | {note.permits} | {note.seen} | {note.bearable} | {note.section} |"
        for quirk, note in NOTES.items()
    ]
    return "\n".join(lines)


def list_lookup_problems() -> str:
    """Every problem of a look-up or of addressing as a row: whose it is, why most likely, what to do, the exit status."""
    rows = [
        "| problem | whose | why, most likely | what to do | exit |",
        "|---|---|---|---|---|",
    ]
    for problem in PROBLEMS.values():
        if problem.layer is Layer.LOOKUP:
            text = problem.text()
            steps = "; ".join(fill(step, {}) for step in text.do if step != TRIED_AGAIN)
            rows.append(
                f"| `{problem.slug}` | {problem.who} | {fill(text.why, {})} | {steps} |"
                f" {problem.exit_status.value} |"
            )
    return "\n".join(rows)


def list_routes() -> str:
    """Write what may be asked of the interface as a Markdown table, each request with the scope that it wants."""
    lines = ["| request | scope | also at `[listen] submission` |", "|---|---|---|"]
    lines += [
        f"| `{method} {path}` | `{right.scope}` | {'yes' if right.for_systems else ''} |"
        for (method, path), right in RIGHTS.items()
    ]
    return "\n".join(lines)


BLOCKS: Final[Mapping[str, Callable[[], str]]] = {
    "sending": lambda: draw(envelope.sending.FIRST, envelope.sending.CAUSES),  # type: ignore[arg-type]
    "receiving": lambda: draw(envelope.receiving.FIRST, envelope.receiving.CAUSES),  # type: ignore[arg-type]
    "contradictions": list_contradictions,
    "invariants": list_invariants,
    "presets": list_presets,
    "look-up-problems": list_lookup_problems,
    "quirks": list_quirks,
    "routes": list_routes,
    "message-rules": message_rules.list_rules,
    "stricter-rules": message_rules.list_stricter,
    "invariants-unheld": message_rules.list_unheld,
    "tolerated": message_rules.list_tolerated,
    "samples": message_rules.list_samples,
    "sections": list_sections,
    "reports": status_tables.list_reports,
    "exchange": status_tables.list_exchange,
    "search-parameters": status_tables.list_parameters,
}


def refresh(page: str) -> str:
    """Return a page with its generated parts as the tables have them now.

    Raises: KeyError for a part that nothing generates.
    """
    return _BLOCK.sub(lambda found: f"{found[1]}{BLOCKS[found[2]]()}\n{found[3]}", page)


def main() -> None:
    """Rewrite the pages beside this module."""
    for path in sorted(Path(__file__).parent.glob("*.md")):
        path.write_text(refresh(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
