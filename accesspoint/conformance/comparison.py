"""Two runs side by side: what got better, what got worse, what only one of them has; so a release shows what it changed."""

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
        """Whether something obliging held before, and was tried after and not shown to hold."""
        return (
            is_obliging(self.assertion)
            and self.before is Status.PASS
            and self.after not in (Status.PASS, None)
        )

    @property
    def is_in_both(self) -> bool:
        """Whether both runs had the assertion, so that there is something to compare."""
        return self.before is not None and self.after is not None


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
    compared = [change for change in changes if change.is_in_both]
    for change in compared:
        mark = "✗" if change.is_worse else "✓" if change.after is Status.PASS else "–"
        lines.append(f"  {mark} {change.assertion.id:<16} {change.before} → {change.after}")
    worse = sum(change.is_worse for change in compared)
    lines += [
        "" if compared else "  no assertion differs",
        f"  {len(compared)} differ, {worse} of them worse",
    ]
    for run, missing in (
        ("earlier", sum(change.before is None for change in changes)),
        ("later", sum(change.after is None for change in changes)),
    ):
        if missing:
            lines.append(f"  {missing} not run in the {run} run, so not compared")
    return "\n".join(lines) + "\n"
