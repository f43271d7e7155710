"""What a verification reads: one consistent view of the rows, the payloads, and what the rows do not say themselves.

Rows are read in pages, so that a store of any size needs the same memory; every statement is a SELECT. What a
check finds it says to its `Tally`, which also counts what was checked: an invariant that holds over nothing says so.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Self

from accesspoint.clock import to_microseconds
from accesspoint.config import Configuration, Station
from accesspoint.identity import Agreements, build_agreements
from accesspoint.log import scrub
from accesspoint.store.database import Row, Transaction, Value
from accesspoint.store.leases import LEASE
from accesspoint.store.payloads import PayloadStore
from accesspoint.verification.faults import FAULTS
from accesspoint.verification.report import Finding, Result, Verdict
from keys.certificate import subject_facts
from keys.store import load_certificate_files

PAGE: Final = 500
Progress = Callable[[str, int], None]
"""Told now and then the name of the invariant that is checked, and how much of it."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What the rows do not say themselves.

    `running` is whether a node has the store open; `party` is our party id; `reports` whether delivery events are
    owed, and `together` whether message service handler and access point report as one (None: what the events
    say); `lease` is how long a node holds a row without a heartbeat; `temporary` and `logs` are directories and files
    in which nothing personal may stand; a file without a row is a finding when it is older than `orphan_grace`: the
    sweeper's day, and its two looks.
    """

    running: bool = False
    party: str | None = None
    agreements: Agreements = field(default_factory=Agreements)
    reports: bool | None = None
    together: bool | None = None
    lease: timedelta = LEASE
    temporary: Sequence[Path] = ()
    logs: Sequence[Path] = ()
    orphan_grace: timedelta = timedelta(hours=26)

    @classmethod
    def of(cls, configuration: Configuration, *, logs: Sequence[Path] = ()) -> Self:
        """What the configuration of a node says.

        Raises: KeysError when a certificate that it names cannot be read.
        """
        runs = configuration.stations.runs
        together = Station.MSH in runs and Station.AP in runs
        party = None
        if Station.AP in runs:
            certificate = configuration.keys.directory / "message.cert.pem"
            party = subject_facts(load_certificate_files([certificate])[0]).common_name
        return cls(
            party=party,
            agreements=build_agreements(configuration.partners)[0],
            reports=configuration.delivery_status is not None,
            together=together,
            lease=configuration.node.lease,
            logs=logs,
        )


class Tally:
    """What one check has counted and found."""

    def __init__(self, name: str, progress: Progress | None) -> None:
        self._name = name
        self._progress = progress
        self._findings: list[Finding] = []
        self._notes: list[str] = []
        self._checked = 0
        self._unread = 0
        self._applies = True

    def count(self, several: int = 1) -> None:
        """So many more things were held against the invariant."""
        self._checked += several
        if self._progress is not None:
            self._progress(self._name, self._checked)

    def miss(self, several: int = 1) -> None:
        """So many more things are there and could not be held against the invariant."""
        self._unread += several

    def find(self, slug: str, **ids: object) -> None:
        """Something is not as promised: the slug of its fault, and the ids that lead to it."""
        named = {name: scrub(str(value)) for name, value in ids.items() if value is not None}
        self._findings.append(Finding(slug, FAULTS[slug], named))

    def note(self, text: str) -> None:
        """Say something that the verdict does not."""
        self._notes.append(text)

    def not_applicable(self, reason: str) -> None:
        """There is nothing that the invariant speaks of, or no evidence to hold against it, and why."""
        self._applies = False
        self._notes.append(reason)

    def result(self, sentence: str) -> Result:
        """The result of the check."""
        verdict = Verdict.HELD if self._applies else Verdict.NOT_APPLICABLE
        if self._findings:
            verdict = Verdict.BROKEN
        return Result(
            self._name,
            sentence,
            verdict,
            self._checked,
            tuple(self._notes),
            tuple(self._findings),
            self._unread,
        )


def name_message(row: Row) -> dict[str, str]:
    """The ids by which a finding names an AS4 message and its partner."""
    return {"message": row["id"], "message_id": row["message_id"], "party": row["party"]}


class Evidence:
    """One consistent view of a store."""

    def __init__(
        self, tx: Transaction, payloads: PayloadStore | None, setting: Setting, at: datetime
    ) -> None:
        self.tx = tx
        self.payloads = payloads
        self.setting = setting
        self.now = to_microseconds(at)

    async def rows(
        self, sql: str, *values: Value, after: Value = "", key: str = "id"
    ) -> AsyncIterator[Row]:
        """Go through all rows of a SELECT page by page.

        It selects what has `key` > $1 in that order, LIMIT $2; `values` are $3 and so on.
        """
        async for page in self.pages(sql, *values, after=after, key=key):
            for row in page:
                yield row

    async def pages(
        self, sql: str, *values: Value, after: Value = "", key: str = "id"
    ) -> AsyncIterator[list[Row]]:
        """The same, a page at a time."""
        while page := await self.tx.fetch(sql, after, PAGE, *values):
            yield page
            if len(page) < PAGE:
                return
            after = page[-1][key]

    async def fetch_in(self, sql: str, values: Sequence[str]) -> list[Row]:
        """The rows of a SELECT whose last column is one of `values`; it ends with that column."""
        if not values:
            return []
        numbers = ", ".join(f"${number}" for number in range(1, len(values) + 1))
        return await self.tx.fetch(f"{sql} IN ({numbers})", *values)

    async def number(self, sql: str, *values: Value) -> int:
        """The only number that a SELECT answers; NULL is 0."""
        row = await self.tx.fetch_one(sql, *values)
        return 0 if row is None else int(next(iter(row.values())) or 0)
