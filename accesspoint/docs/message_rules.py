"""The parts of the page about messages that the catalogue of rules writes."""

from collections import defaultdict
from textwrap import wrap
from typing import Final

from envelope.fhir import STRICTER, canonicals
from envelope.fhir.catalogue import CATALOGUE, UNHELD, Entry
from envelope.fhir.finding import Layer
from envelope.fhir.mutations import MUTATIONS, TOLERATED
from envelope.fhir.samples import build_samples

WIDTH: Final = 100
"""How long a line of the list of rules may be."""
_SHORT: Final = {
    canonicals.HOMECAREOBSERVATION: "HCO",
    canonicals.CARECOMMUNICATION: "CC",
    canonicals.HOSPITALNOTIFICATION: "HN",
    canonicals.ACKNOWLEDGEMENT: "Ack",
    canonicals.EMPTY: "empty",
}


def list_rules() -> str:
    """Write each rule with its severity, its official id, what it demands, what to do and what it is tried on."""
    defects: dict[str, list[str]] = defaultdict(list)
    for mutation in MUTATIONS:
        defects[mutation.rule].append(mutation.name)
    lines: list[str] = []
    for layer in Layer:
        entries = [entry for entry in CATALOGUE.values() if entry.layer is layer]
        lines += [
            f"### {str(layer).capitalize()} ({len(entries)} rules)",
            "",
            *(line for entry in entries for line in _item(entry, defects[entry.name])),
            "",
        ]
    return "\n".join(lines).rstrip()


def _item(entry: Entry, defects: list[str]) -> list[str]:
    """Write one rule as an item of a list, in lines that a terminal shows whole."""
    severity: str = entry.severity
    if entry.lenient != entry.severity:
        severity = f"{entry.severity}; {entry.lenient} for who receives"
    events = (
        "all" if entry.events is None else " ".join(sorted(_SHORT[each] for each in entry.events))
    )
    ids = "".join(f", `{each}`" for each in entry.medcom_ids)
    told = [f"* `{entry.name}` ({severity}; {events}{ids})", entry.demand, f"Do: {entry.remedy}"]
    if defects:
        told.append(f"Tried on: {'; '.join(defects)}.")
    return [
        line
        for part, words in enumerate(told)
        for line in wrap(
            words,
            WIDTH,
            initial_indent="  " if part else "",
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    ]


def list_stricter() -> str:
    """Write the rules that refuse what the official validator may let pass."""
    lines = ["| rule | why |", "|---|---|"]
    lines += [f"| `{rule}` | {reason} |" for rule, reason in STRICTER.items()]
    return "\n".join(lines)


def list_unheld() -> str:
    """Write the published invariants that no rule holds."""
    lines = ["| official id | why no rule holds it |", "|---|---|"]
    lines += [f"| `{name}` | {reason} |" for name, reason in UNHELD.items()]
    return "\n".join(lines)


def list_tolerated() -> str:
    """Write what is no defect."""
    return "\n".join(
        f"* {mutation.name}" + (f" (`{mutation.rule}` warns)" if mutation.rule else "")
        for mutation in TOLERATED
    )


def list_samples() -> str:
    """Write the names of the synthetic messages."""
    return "\n".join(
        wrap(", ".join(f"`{name}`" for name in build_samples()), WIDTH, break_on_hyphens=False)
    )
