"""What a verification found: one result for each invariant, each finding with its ids, whose it is and what to do.

A finding never holds personal data: it names rows and files by identifiers, and these are scrubbed like log
values, because a partner chooses some of them. What a fault means, whose it is and what helps stands in one table
(`faults.py`).

Spec: reliability section 2.6; experience section 7.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from accesspoint.clock import timestamp
from accesspoint.problems import Whose

FORMAT: Final = "accesspoint-verification/1"
"""What the JSON form calls itself; another number would be another form."""
_GIVE_KEY: Final = (
    "accesspoint verify --config FILE, with this store as [store] directory and its key as encryption_key or among"
    " previous_keys: accesspoint docs care"
)
_MARKS: Final = {"held": "✓", "broken": "✗", "not-applicable": "–"}


class Verdict(StrEnum):
    """What can be said of an invariant."""

    HELD = "held"
    BROKEN = "broken"
    NOT_APPLICABLE = "not-applicable"


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of finding: what it means, whose it is, and what to do."""

    what: str
    whose: Whose
    do: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as promised: the slug of its fault, and the ids that lead to it, by what they name."""

    slug: str
    fault: Fault
    ids: Mapping[str, str]

    def render(self) -> str:
        """Return the lines for a person."""
        where = "  ".join(f"{name} {value}" for name, value in self.ids.items())
        return f"    {self.slug}: {self.fault.what}  [{self.fault.whose}]\n      {where}\n      do: {self.fault.do}"

    def to_json(self) -> dict[str, Any]:
        """Return the form for machines."""
        return {
            "fault": self.slug,
            "what": self.fault.what,
            "whose": str(self.fault.whose),
            "do": self.fault.do,
            "ids": dict(self.ids),
        }


@dataclass(frozen=True, slots=True)
class Result:
    """What was found of one invariant.

    `checked` is how many things were held against it, `unread` how many could not be; `notes` say what the verdict
    does not, these among it.
    """

    name: str
    sentence: str
    verdict: Verdict
    checked: int
    notes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    unread: int = 0

    def render(self) -> str:
        """Return one line for a person, and one group of lines for each finding."""
        said = [
            f"{len(self.findings)} of {self.checked} checked"
            if self.findings
            else f"{self.checked} checked"
        ]
        if self.verdict is Verdict.NOT_APPLICABLE:
            said = []
        why = "; ".join([*said, *self.notes])
        verdict, mark = str(self.verdict).replace("-", " "), _MARKS[self.verdict]
        if self.unread and self.verdict is Verdict.HELD:
            verdict, mark = "not all read", "–"
        line = f"{mark} {self.name:<4}{verdict:<15}{self.sentence} ({why})"
        return "\n".join([line, *(finding.render() for finding in self.findings)])

    def to_json(self) -> dict[str, Any]:
        """Return the form for machines."""
        return {
            "invariant": self.name,
            "sentence": self.sentence,
            "verdict": str(self.verdict),
            "checked": self.checked,
            "notes": list(self.notes),
            "findings": [finding.to_json() for finding in self.findings],
        }


class InvariantBroken(AssertionError):
    """A verification found something; the text is that of its findings."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a verification found; `subject` names what was verified."""

    subject: str
    at: datetime
    results: tuple[Result, ...]

    @property
    def broken(self) -> tuple[str, ...]:
        """The names of the invariants that do not hold."""
        return tuple(result.name for result in self.results if result.verdict is Verdict.BROKEN)

    @property
    def held(self) -> bool:
        """Whether nothing is broken."""
        return not self.broken

    @property
    def unread(self) -> tuple[str, ...]:
        """The names of the invariants of which a part could not be read, and so was not checked."""
        return tuple(result.name for result in self.results if result.unread)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Every finding, in the order of the invariants."""
        return tuple(finding for result in self.results for finding in result.findings)

    def of(self, name: str) -> Result:
        """The result of one invariant; `LookupError` for one that does not exist."""
        return next(result for result in self.results if result.name == name)

    def check(self) -> None:
        """Return when everything holds, else raise `InvariantBroken` with every finding."""
        if self.broken:
            raise InvariantBroken("\n".join(["", self.render()]))

    def render(self) -> str:
        """Return the text for a person: a line for each invariant, and last what it comes to."""
        count = len(self.findings)
        applicable = [r for r in self.results if r.verdict is not Verdict.NOT_APPLICABLE]
        good = "what could be read holds" if self.unread else "all of them hold"
        last = [
            f"{len(applicable)} of {len(self.results)} invariants apply to {self.subject}; {good}"
            if self.held
            else f"{', '.join(self.broken)} broken in {self.subject}: {count} finding{'' if count == 1 else 's'}"
        ]
        if self.unread:
            unread = sum(result.unread for result in self.results)
            last.append(
                f"not all was checked: {unread} of {', '.join(self.unread)} could not be read"
            )
            last.append(f"  do: {_GIVE_KEY}")
        return "\n".join([*(result.render() for result in self.results), *last])

    def to_json(self) -> dict[str, Any]:
        """Return the form for machines."""
        return {
            "format": FORMAT,
            "subject": self.subject,
            "at": timestamp(self.at),
            "held": self.held,
            "broken": list(self.broken),
            "results": [result.to_json() for result in self.results],
        }
