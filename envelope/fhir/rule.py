"""What a rule is: a name, a severity, the class of its findings, and a small function that finds them.

A check is a generator over a `MessageView`; it yields `(path, text)` for every place where the rule is
broken and nothing otherwise. Rules stand in tables (`RULES` of each `rules_*` module), so that the list
of what is checked can be read, counted and tested by name.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from envelope.fhir.finding import Finding, Kind, Layer, Severity
from envelope.fhir.view import MessageView

MAX_PLACES: Final = 100
"""How many places one rule reports; a hostile message could break it a million times."""

Place = tuple[str, str]
Check = Callable[[MessageView], Iterator[Place]]


@dataclass(frozen=True, slots=True)
class Rule:
    """A named check; `events` limits it to messages with these event codes, None means every message.

    `medcom_ids` are the ids of the invariant by event code, where the standards do not share one. `lenient` is the
    severity for who reads a message that somebody else wrote; None means that it is the same for both.
    """

    name: str
    check: Check
    kind: Kind = Kind.INVARIANT
    severity: Severity = "error"
    medcom_id: str | None = None
    events: frozenset[str] | None = None
    layer: Layer = Layer.PROFILE
    lenient: Severity | None = None
    medcom_ids: Mapping[str, str] = field(default_factory=dict)

    @property
    def demand(self) -> str:
        """What the rule demands, in one sentence."""
        return (self.check.__doc__ or "").partition("\n")[0]

    def findings(self, view: MessageView, *, strict: bool) -> Iterator[Finding]:
        """Run the check where it applies and name what it found."""
        if self.events is None or view.event in self.events:
            severity = self.severity if strict else self.lenient or self.severity
            medcom_id = self.medcom_ids.get(view.event or "", self.medcom_id)
            for path, text in islice(self.check(view), MAX_PLACES):
                yield Finding(self.name, severity, path, text, medcom_id, self.kind, self.layer)
