"""Runs the cases one by one and says how each ended; a case that breaks, or takes too long, is an error and never a pass."""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from accesspoint import __version__
from accesspoint.conformance import cases as _cases
from accesspoint.conformance.assertion import (
    OBLIGING,
    Assertion,
    Level,
    Role,
    catalogue,
    is_obliging,
)
from accesspoint.conformance.case import (
    Case,
    NotApplicable,
    Result,
    Status,
    Unmet,
    Waiting,
    registered,
)
from accesspoint.conformance.recorder import Recorder
from accesspoint.conformance.target import Target

CASE_SECONDS: Final = 60.0
_JUDGED: Final = frozenset({Status.PASS, Status.FAIL, Status.ERROR})
Progress = Callable[[int, int, Result], None]
"""Told after each case: how many are done, how many there are, and the result."""
_cases.load()


@dataclass(frozen=True, slots=True)
class Run:
    """One run: against what, when, with which version of the kit, and what came out."""

    target: str
    kind: str
    at: datetime
    results: tuple[Result, ...]
    version: str = field(default=__version__)

    @property
    def broken(self) -> tuple[Result, ...]:
        """The mandatory and preferred assertions that failed, or whose case broke."""
        return tuple(
            result
            for result in self.results
            if result.status in (Status.FAIL, Status.ERROR) and is_obliging(result.assertion)
        )

    @property
    def is_judged(self) -> bool:
        """Whether anything was held against the target at all."""
        return any(result.status in _JUDGED for result in self.results)

    @property
    def verdict(self) -> str:
        """The run in one sentence."""
        table = self.counts()
        counted = [table[level] for level in OBLIGING]
        passed = sum(counts[Status.PASS] for counts in counted)
        total = sum(counts.total() - counts[Status.NOT_APPLICABLE] for counts in counted)
        obliging = "mandatory and preferred assertions that apply"
        if self.broken:
            return f"{len(self.broken)} of {total} {obliging} do not hold"
        if not self.is_judged:
            # What a sender is asked for says most: nothing can be sent to a recording, whatever is in it.
            reasons = Counter(
                result.reason for result in self.results if result.assertion.role is Role.SENDER
            ) or Counter(result.reason for result in self.results)
            return f"Nothing could be judged: {reasons.most_common(1)[0][0]}"
        if not total:
            return "No mandatory or preferred assertion applies"
        if passed == total:
            return f"All {total} {obliging} hold"
        return f"None fails; {passed} of {total} {obliging} were shown to hold"

    def counts(self) -> dict[Level, Counter[Status]]:
        """How many results of each status there are, by level."""
        table: dict[Level, Counter[Status]] = {level: Counter() for level in Level}
        for result in self.results:
            table[result.assertion.level][result.status] += 1
        return table


def choose(only: Collection[str] = ()) -> list[Assertion]:
    """The assertions of these ids, or all; an id without underscore is one of the Common Profile. Raises KeyError."""
    every = catalogue()
    if not only:
        return list(every.values())
    return [every[id_ if id_ in every else f"AS4_CP_{id_}"] for id_ in only]


async def run(
    target: Target,
    assertions: Iterable[Assertion],
    *,
    progress: Progress = lambda done, total, result: None,
) -> Run:
    """Run the cases of these assertions against an open target, in order."""
    chosen = list(assertions)
    at = datetime.now(UTC)
    results: list[Result] = []
    for assertion in chosen:
        results.append(await run_one(target, assertion))
        progress(len(results), len(chosen), results[-1])
    return Run(target.name, target.kind, at, tuple(results))


async def run_one(target: Target, assertion: Assertion) -> Result:
    """Run the case of one assertion."""
    if assertion.level is Level.NOT_TESTABLE:
        return Result(assertion, Status.NOT_TESTABLE, reason=assertion.untestable)
    case = registered().get(assertion.id)
    if case is None:
        return Result(assertion, Status.NO_CASE, reason="the kit has no case for it")
    recorder = Recorder()
    began = recorder.monotonic()
    result = await _judge(target, assertion, case, recorder)
    return Result(
        assertion,
        result.status,
        result.expected,
        result.seen,
        result.reason,
        recorder.monotonic() - began,
        tuple(recorder.exchanged),
    )


async def _judge(target: Target, assertion: Assertion, case: Case, recorder: Recorder) -> Result:
    try:
        async with asyncio.timeout(CASE_SECONDS):
            seen = await case(target, recorder)
        return Result(assertion, Status.PASS, seen=seen)
    except Unmet as unmet:
        return Result(assertion, Status.FAIL, expected=unmet.expected, seen=unmet.seen)
    except NotApplicable as why:
        return Result(assertion, Status.NOT_APPLICABLE, reason=str(why))
    except Waiting as what:
        return Result(assertion, Status.WAITING, reason=str(what))
    except TimeoutError:
        return Result(
            assertion, Status.ERROR, reason=f"the case did not end within {CASE_SECONDS:.0f} s"
        )
    except Exception as error:  # noqa: BLE001 - the seam of the runner: one case never ends the others
        # What somebody recorded may stand in the words of an exception.
        said = "" if target.is_recorded else f": {error}"
        return Result(assertion, Status.ERROR, reason=f"{type(error).__name__}{said}")
