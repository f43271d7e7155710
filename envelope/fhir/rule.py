"""What a rule is: a name, a severity, the class of its findings, and a small function that finds them.

A check is a generator over a `MessageView`; it yields `(path, text)` for every place where the rule is
broken and nothing otherwise. Rules stand in tables (`RULES` of each `rules_*` module), so that the list
of what is checked can be read, counted and tested by name.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from envelope.fhir.finding import Finding, Kind, Severity
from envelope.fhir.view import MessageView

MAX_PLACES: Final = 100
"""How many places one rule reports; a hostile message could break it a million times."""

Place = tuple[str, str]
Check = Callable[[MessageView], Iterator[Place]]


@dataclass(frozen=True, slots=True)
class Rule:
    """A named check; `events` limits it to messages with these event codes, None means every message."""

    name: str
    check: Check
    kind: Kind = Kind.INVARIANT
    severity: Severity = "error"
    medcom_id: str | None = None
    events: frozenset[str] | None = None

    def findings(self, view: MessageView) -> Iterator[Finding]:
        """Run the check where it applies and name what it found."""
        if self.events is None or view.event in self.events:
            for path, text in islice(self.check(view), MAX_PLACES):
                yield Finding(self.name, self.severity, path, text, self.medcom_id, self.kind)
