"""The verdicts over everything there is: published messages, synthetic ones, defects by rule, and what is no defect.

`python -m tests.envelope.fhir.verdicts` prints the table; MedCom's published messages are in it where
ACCESSPOINT_FIXTURES names the folder that holds them. What it printed when it was last looked at stands beside it.
"""

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson

from envelope.fhir import Finding, MessageRefused, errors_of, read_message, serialize, validate
from envelope.fhir.catalogue import CATALOGUE
from envelope.fhir.mutations import MUTATIONS, TOLERATED
from envelope.fhir.samples import build_samples

GOLDEN = Path(__file__).with_name("verdicts.md")
SAMPLES = build_samples()


def find_published() -> list[Path]:
    """MedCom's published messages in both formats, none where the folder is not at hand."""
    folder = os.environ.get("ACCESSPOINT_FIXTURES")
    return sorted(Path(folder, "medcom-fhir").glob("*/Bundle-*.*")) if folder else []


def findings_of(data: bytes, *, strict: bool = True) -> list[Finding]:
    """What is found in the bytes of a message, or why they are none."""
    try:
        return validate(read_message(data), strict=strict)
    except MessageRefused as refused:
        return list(refused.findings)


def verdict(findings: Iterable[Finding]) -> str:
    """Refused or accepted, with each rule and how often."""
    findings = list(findings)
    rules = Counter(found.rule for found in findings)
    told = ", ".join(f"{rule}" + (f" ×{n}" if n > 1 else "") for rule, n in sorted(rules.items()))
    return f"{'refused' if errors_of(findings) else 'accepted'} | {told}"


def published() -> Iterator[str]:
    """What is said of the published messages, beside what HL7's own validator said."""
    yield from (
        "| published message | who receives | rules | who sends | rules | HL7 errors |",
        "|---|---|---|---|---|---|",
    )
    oracle: dict[str, Any] = {}
    for path in find_published():
        oracle = oracle or orjson.loads(
            (path.parents[1] / "oracle-hl7-validator.json").read_bytes()
        )
        data = path.read_bytes()
        errors = oracle[path.parent.name][path.stem]["error"]
        receiver, sender = (verdict(findings_of(data, strict=strict)) for strict in (False, True))
        yield f"| {path.parent.name}/{path.name} | {receiver} | {sender} | {errors} |"


def synthetic() -> Iterator[str]:
    """What is said of the synthetic messages in both formats."""
    yield from ("| synthetic message | JSON | rules | XML | rules |", "|---|---|---|---|---|")
    for name, bundle in SAMPLES.items():
        json, xml = (verdict(findings_of(serialize(bundle, wire))) for wire in ("json", "xml"))
        yield f"| {name} | {json} | {xml} |"


def defects() -> Iterator[str]:
    """What is said of each defect, in the order of the rules that are there for them."""
    yield from ("| rule | defect | made in | verdict | rules |", "|---|---|---|---|---|")
    order = list(CATALOGUE)
    for mutation in sorted(MUTATIONS, key=lambda each: order.index(each.rule)):
        said = verdict(findings_of(mutation.apply(SAMPLES[mutation.sample])))
        yield f"| {mutation.rule} | {mutation.name} | {mutation.sample} | {said} |"


def tolerated() -> Iterator[str]:
    """What is said of changes that are no defect."""
    yield from ("| no defect | made in | verdict | rules |", "|---|---|---|---|")
    for mutation in TOLERATED:
        said = verdict(findings_of(mutation.apply(SAMPLES[mutation.sample])))
        yield f"| {mutation.name} | {mutation.sample} | {said} |"


SECTIONS = {
    "Published messages": published,
    "Synthetic messages": synthetic,
    "Defects by rule": defects,
    "No defects": tolerated,
}


def write(sections: Iterable[str] = SECTIONS) -> str:
    """The sections as Markdown."""
    return "\n".join("\n".join((f"## {name}", "", *SECTIONS[name](), "")) for name in sections)


if __name__ == "__main__":
    sys.stdout.write(write())
