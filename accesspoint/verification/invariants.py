"""The table of invariants, and holding a store against it.

A store is read in one consistent view. Beside a running node files come and go while the view stays, so there what
is found must be found twice, in two views, to count.

Spec: reliability section 2.6.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from accesspoint.clock import Clock, SystemClock
from accesspoint.store.database import Database, StorageFailure, Transaction
from accesspoint.store.payloads import PayloadStore
from accesspoint.verification.contents import check_contents, check_deliveries
from accesspoint.verification.events import check_events
from accesspoint.verification.evidence import Evidence, Progress, Setting, Tally
from accesspoint.verification.files import check_files, check_personal_data
from accesspoint.verification.report import Report, Result, Verdict
from accesspoint.verification.signatures import (
    check_own_receipts,
    check_receipts,
    check_senders,
)
from accesspoint.verification.states import (
    check_history,
    check_leases,
    check_recovery,
    check_submissions,
)
from accesspoint.verification.tables import check_counters, check_integrity

Check = Callable[[Evidence, Tally], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Invariant:
    """What must be true of a store at any time, and how that is checked."""

    name: str
    sentence: str
    check: Check


INVARIANTS: Final = (
    Invariant("I1", "every accepted submission is acknowledged, open, or ended with a reason", check_submissions),
    Invariant("I2", "what is delivered is what was submitted, under one delivery id", check_deliveries),
    Invariant("I3", "nothing is delivered without the record of a verified signature", check_senders),
    Invariant("I4", "what is acknowledged has a receipt that verifies", check_receipts),
    Invariant("I5", "what we gave a receipt for is stored", check_own_receipts),
    Invariant("I6", "a sender's MessageId has one content", check_contents),
    Invariant("I7", "every step has its delivery event, once and in order", check_events),
    Invariant("I8", "nothing is held without an owner, or past its lease", check_leases),
    Invariant("I9", "rows and payloads are the same ones", check_files),
    Invariant("I10", "the database is sound", check_integrity),
    Invariant("I11", "histories lead to the states", check_history),
    Invariant("I12", "nothing personal lies in temporary files, logs or notes", check_personal_data),
    Invariant("I13", "what is counted twice counts the same", check_counters),
    Invariant("I14", "a second start would change nothing", check_recovery),
)  # fmt: skip


async def verify(
    database: Database,
    payloads: PayloadStore | None,
    *,
    setting: Setting | None = None,
    clock: Clock | None = None,
    subject: str = "the store",
    progress: Progress | None = None,
    invariants: Sequence[Invariant] = INVARIANTS,
) -> Report:
    """Hold a store against the invariants; it is only read, and what of it cannot be read is a finding."""
    setting = setting or Setting()
    at = (clock or SystemClock()).now()

    async def look(some: Sequence[Invariant]) -> list[Result]:
        async def work(tx: Transaction) -> list[Result]:
            evidence = Evidence(tx, payloads, setting, at)
            return [await _check(one, evidence, progress) for one in some]

        return await database.read(work)

    results = {result.name: result for result in await look(invariants)}
    doubtful = [one for one in invariants if results[one.name].verdict is Verdict.BROKEN]
    if setting.running and doubtful:
        for again in await look(doubtful):
            results[again.name] = _in_both(results[again.name], again)
    return Report(subject, at, tuple(results.values()))


async def _check(one: Invariant, evidence: Evidence, progress: Progress | None) -> Result:
    tally = Tally(one.name, progress)
    try:
        await one.check(evidence, tally)
    except StorageFailure as failure:
        tally.find("unreadable", said=failure)
    return tally.result(one.sentence)


def _in_both(first: Result, second: Result) -> Result:
    findings = tuple(finding for finding in second.findings if finding in first.findings)
    return replace(second, findings=findings, verdict=Verdict.BROKEN if findings else Verdict.HELD)
