"""The parts of the page about messages that the catalogue of rules writes."""

from collections import defaultdict
from typing import Final

from envelope.fhir import STRICTER, canonicals
from envelope.fhir.catalogue import CATALOGUE, UNHELD, Entry
from envelope.fhir.finding import Layer
from envelope.fhir.mutations import MUTATIONS, TOLERATED
from envelope.fhir.samples import build_samples

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
            "| rule | severity | messages | official id | what it demands | what to do | tried on |",
            "|---|---|---|---|---|---|---|",
            *(_row(entry, defects[entry.name]) for entry in entries),
            "",
        ]
    return "\n".join(lines).rstrip()


def _row(entry: Entry, defects: list[str]) -> str:
    severity: str = entry.severity
    if entry.lenient != entry.severity:
        severity = f"{entry.severity}; {entry.lenient} for who receives"
    events = (
        "all" if entry.events is None else " ".join(sorted(_SHORT[each] for each in entry.events))
    )
    ids = " ".join(f"`{each}`" for each in entry.medcom_ids)
    cells = (
        f"`{entry.name}`",
        severity,
        events,
        ids,
        entry.demand,
        entry.remedy,
        "; ".join(defects),
    )
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


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
    return ", ".join(f"`{name}`" for name in build_samples())
