"""Two runs side by side: what got better, what got worse, what is new; the way to see what a release changed."""

from dataclasses import dataclass

from accesspoint.conformance.assertion import Assertion, is_obliging
from accesspoint.conformance.case import Status
from accesspoint.conformance.runner import Run


@dataclass(frozen=True, slots=True)
class Change:
    """One assertion whose result differs; None where a run did not have it."""

    assertion: Assertion
    before: Status | None
    after: Status | None

    @property
    def is_worse(self) -> bool:
        """Whether something obliging held before and was not shown to hold after."""
        return (
            is_obliging(self.assertion)
            and self.before is Status.PASS
            and self.after is not Status.PASS
        )


def compare(before: Run, after: Run) -> list[Change]:
    """The assertions whose status differs, in the order of the catalogue of the earlier run, then new ones."""
    old = {result.assertion.id: result.status for result in before.results}
    new = {result.assertion.id: result.status for result in after.results}
    every = {result.assertion.id: result.assertion for result in (*before.results, *after.results)}
    return [
        Change(assertion, old.get(id_), new.get(id_))
        for id_, assertion in every.items()
        if old.get(id_) is not new.get(id_)
    ]


def render(before: Run, after: Run, changes: list[Change]) -> str:
    """The comparison as lines for a person."""
    lines = [
        f"  before: {before.target}, {before.at:%Y-%m-%d %H:%M}, accesspoint {before.version}",
        f"  after:  {after.target}, {after.at:%Y-%m-%d %H:%M}, accesspoint {after.version}",
        "",
    ]
    for change in changes:
        mark = "✗" if change.is_worse else "✓" if change.after is Status.PASS else "–"
        lines.append(
            f"  {mark} {change.assertion.id:<16} {change.before or 'not run'} → {change.after or 'not run'}"
        )
    worse = sum(change.is_worse for change in changes)
    lines += [
        "" if changes else "  no assertion differs",
        f"  {len(changes)} differ, {worse} of them worse",
    ]
    return "\n".join(lines) + "\n"
