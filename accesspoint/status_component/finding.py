"""Runs a parsed search over the indexes, so that it is quick at a million reports and at many more.

SQLite plans by rules of thumb that are wrong for some search of every shape, so the plan is made here, by
asking first. Each criterion counts in its own index how many reports it lets through, up to `FEW`. The
smallest of them leads; the others, marked with a unary plus, only filter.

* It lets through few: they are fetched and sorted, and the total is exact. A period is in order as it is.
* Many, but of few values (one sender, one message type): the index of each value is in the order of time
  already; the beginnings of them are merged.
* Many of many values: all reports are walked in the order of time; a page is soon full.

Where many reports match, the total is not counted unless it is asked for: an answer without it is allowed,
and the next page is there as long as there is more.

Spec: FHIR R4 search, paging and total.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from accesspoint.status_component.search import (
    CODES,
    IDENTIFIERS,
    PARTIES,
    Criterion,
    Dates,
    Period,
    Search,
    Strings,
    Tokens,
)
from accesspoint.status_component.store import MESSAGE_TYPE
from accesspoint.store.database import Transaction, Value

FEW: Final = 5_000
_STREAMS: Final = 64
"""As many values whose indexes are merged; with more, walking by time finds matches soon enough."""
_OUTCOMES: Final = "http://hl7.org/fhir/audit-event-outcome"
_LAST: Final = "\U0010ffff"
_FAILED: Final = 8
_OUTCOME_CODES: Final = {"0": 0, "8": _FAILED}


@dataclass(frozen=True, slots=True)
class Found:
    """One page: the positions in order, with the time of each; `total` where it is known."""

    matches: tuple[tuple[int, int], ...]
    """(recorded, position) of each."""
    total: int | None
    has_more: bool


@dataclass(frozen=True, slots=True)
class Number:
    """A criterion on columns that point to codes or organisations: one of the columns is one of the numbers."""

    columns: tuple[str, ...]
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Text:
    """A criterion on columns with text: one of the columns starts with, or is exactly, one of the values."""

    columns: tuple[str, ...]
    values: tuple[str, ...]
    exact: bool


Condition = Number | Text | Dates


class _Sql:
    """A statement's parameters, numbered as they are bound."""

    def __init__(self) -> None:
        self.values: list[Value] = []

    def bind(self, value: Value) -> str:
        self.values.append(value)
        return f"${len(self.values)}"


async def find(tx: Transaction, search: Search, within: Sequence[Condition] = ()) -> Found:
    """Return one page of the reports that fulfil the search and lie within what may be seen.

    `within` comes from `access`: conditions that hold whatever is searched for.
    """
    conditions = [*within, *[await _resolve(tx, criterion) for criterion in search.criteria]]
    if any(isinstance(c, Number | Text) and not _values(c) for c in conditions):
        return Found((), 0, has_more=False)
    lead, let_through = await _choose(tx, conditions)
    others = [condition for condition in conditions if condition is not lead]
    few = lead is not None and let_through <= FEW
    total = None
    if search.total == "accurate" or search.count == 0 or (few and search.total != "none"):
        total = await _count(tx, lead, others)
    if search.count == 0:
        return Found((), total, has_more=False)
    sql = _Sql()
    if few and lead is not None and not isinstance(lead, Dates):
        statement = _sorted(sql, lead, others, search)
    elif isinstance(lead, Number) and len(lead.columns) * len(lead.numbers) <= _STREAMS:
        statement = _merged(sql, lead, others, search)
    else:
        statement = _walked(sql, conditions, search)
    rows = await tx.fetch(statement, *sql.values)
    matches = tuple((row["recorded_at"], row["seq"]) for row in rows[: search.count])
    has_more = len(rows) > search.count
    if total is None and not has_more and search.after is None and search.total != "none":
        total = len(matches)
    return Found(matches, total, has_more)


# -- from parameters to conditions ----------------------------------------------------------------


async def _resolve(tx: Transaction, criterion: Criterion) -> Condition:
    """Turn codes and organisations into their numbers, so that one index entry is compared with one number."""
    if isinstance(criterion, Dates):
        return criterion
    if isinstance(criterion, Tokens):
        return await _resolve_tokens(tx, criterion)
    if criterion.name in IDENTIFIERS:
        return Text(IDENTIFIERS[criterion.name], criterion.values, criterion.modifier == "exact")
    columns, keys = PARTIES[criterion.name]
    return Number(columns, await _find_parties(tx, keys, criterion))


async def _resolve_tokens(tx: Transaction, criterion: Tokens) -> Condition:
    columns = CODES[criterion.name]
    if criterion.name == "_id":
        ids = [code for system, code in criterion.values if not system]
        return Text(columns, tuple(ids), exact=True)
    if criterion.name == "outcome":
        outcomes = [
            _OUTCOME_CODES[code]
            for system, code in criterion.values
            if system in (None, _OUTCOMES) and code in _OUTCOME_CODES
        ]
        return Number(columns, tuple(outcomes))
    numbers: list[int] = []
    for system, code in criterion.values:
        wanted = MESSAGE_TYPE if criterion.name == "ehmiMessageType" and not system else system
        rows = await tx.fetch("SELECT id, system FROM codes WHERE code = $1", code)
        numbers += [row["id"] for row in rows if wanted in (None, row["system"])]
    return Number(columns, tuple(numbers))


async def _find_parties(
    tx: Transaction, keys: tuple[str, ...], criterion: Strings
) -> tuple[int, ...]:
    """The numbers of the organisations with one of these SOR ids, GLNs or names: there are some thousands of them."""
    sql = _Sql()
    tests: list[str] = []
    for value in criterion.values:
        for key in keys:
            folds = key == "name" and criterion.modifier != "exact"
            test = _text_test(
                "folded" if folds else key,
                sql.bind(value.casefold() if folds else value),
                criterion.modifier,
            )
            tests.append(
                f"id IN (SELECT party FROM party_glns WHERE {test})" if key == "gln" else test
            )
    rows = await tx.fetch("SELECT id FROM parties WHERE " + " OR ".join(tests), *sql.values)
    return tuple(row["id"] for row in rows)


def _text_test(column: str, value: str, modifier: str) -> str:
    if modifier == "exact":
        return f"{column} = {value} COLLATE BINARY"
    if modifier == "contains":
        return f"instr(lower({column}), lower({value})) > 0"
    return f"substr({column}, 1, length({value})) = {value} COLLATE NOCASE"


# -- choosing who leads ---------------------------------------------------------------------------


async def _choose(tx: Transaction, conditions: Sequence[Condition]) -> tuple[Condition | None, int]:
    """Return the condition that lets the fewest reports through, and how many, counted up to `FEW` and one."""
    best: Condition | None = None
    fewest = 0
    for condition in conditions:
        if not _has_index(condition):
            continue
        through = 0
        for column_test in _leading_tests(condition):
            sql = _Sql()
            row = await tx.fetch_one(
                f"SELECT count(*) AS n FROM (SELECT 1 FROM events WHERE {column_test(sql)} LIMIT {FEW + 1})",
                *sql.values,
            )
            through += row["n"] if row else 0
            if through > FEW:
                break
        # An equality among equals: its index is in order already, and it is merged rather than walked.
        if best is None or (through, _rank(condition)) < (fewest, _rank(best)):
            best, fewest = condition, through
        if fewest == 0:
            break
    return best, fewest


def _rank(condition: Condition) -> int:
    if isinstance(condition, Number):
        return len(condition.columns) * len(condition.numbers)
    return 1_000_000


def _has_index(condition: Condition) -> bool:
    if isinstance(condition, Dates):
        return len(condition.values) == 1 and not condition.values[0].outside
    if isinstance(condition, Number):
        # Most reports are of few sub types and succeed: there is no index to lead by.
        return condition.columns not in (("subtype",), ("type",)) and (
            condition.columns != ("outcome",) or condition.numbers == (_FAILED,)
        )
    return True


def _leading_tests(condition: Condition) -> list[Callable[[_Sql], str]]:
    """One test for each index that the condition reads."""
    if isinstance(condition, Dates):
        return [lambda sql: _dates(sql, "recorded_at", condition)]
    return [
        lambda sql, column=column: _column_test(sql, column, condition)  # type: ignore[misc]
        for column in condition.columns
    ]


# -- statements -----------------------------------------------------------------------------------


def _values(condition: Number | Text) -> tuple[int, ...] | tuple[str, ...]:
    return condition.numbers if isinstance(condition, Number) else condition.values


def _column_test(sql: _Sql, column: str, condition: Number | Text) -> str:
    if isinstance(condition, Number):
        if column == "outcome":
            # Only written out it is seen that the index of the failures serves.
            return f"outcome = {condition.numbers[0]}"
        if len(condition.numbers) == 1:
            return f"{column} = {sql.bind(condition.numbers[0])}"
        return f"{column} IN (SELECT value FROM json_each({sql.bind(orjson.dumps(condition.numbers).decode())}))"
    tests = []
    for value in condition.values:
        start = sql.bind(value)
        if condition.exact:
            tests.append(f"({column} = {start} AND {column} = {start} COLLATE BINARY)")
        else:
            tests.append(f"({column} >= {start} AND {column} < {sql.bind(value + _LAST)})")
    return f"({' OR '.join(tests)})"


def _dates(sql: _Sql, column: str, condition: Dates) -> str:
    return f"({' OR '.join(_period(sql, column, period) for period in condition.values)})"


def _period(sql: _Sql, column: str, period: Period) -> str:
    if period.outside and period.start is not None and period.end is not None:
        return f"({column} < {sql.bind(period.start)} OR {column} >= {sql.bind(period.end)})"
    tests = []
    if period.start is not None:
        tests.append(f"{column} >= {sql.bind(period.start)}")
    if period.end is not None:
        tests.append(f"{column} < {sql.bind(period.end)}")
    return f"({' AND '.join(tests)})"


def _filters(sql: _Sql, conditions: Sequence[Condition], *, by_time: bool) -> str:
    """Tests that no index is chosen for; those of time may narrow an index that is in the order of time."""
    tests = []
    for condition in conditions:
        if isinstance(condition, Dates):
            tests.append(_dates(sql, "recorded_at" if by_time else "+recorded_at", condition))
        else:
            columns = [_column_test(sql, "+" + column, condition) for column in condition.columns]
            tests.append(f"({' OR '.join(columns)})")
    return "".join(f" AND {test}" for test in tests)


def _led(sql: _Sql, lead: Condition) -> str:
    """The positions that the leading condition lets through, each of its indexes read by itself."""
    parts = [f"SELECT seq FROM events WHERE {test(sql)}" for test in _leading_tests(lead)]
    return " UNION ".join(parts)


async def _count(tx: Transaction, lead: Condition | None, others: Sequence[Condition]) -> int:
    sql = _Sql()
    statement = "SELECT count(*) AS n FROM events WHERE true"
    if lead is not None and len(_leading_tests(lead)) == 1:
        statement += f" AND {_leading_tests(lead)[0](sql)}"
    elif lead is not None:
        statement += f" AND seq IN ({_led(sql, lead)})"
    row = await tx.fetch_one(statement + _filters(sql, others, by_time=False), *sql.values)
    return int(row["n"]) if row else 0


def _page(sql: _Sql, search: Search) -> tuple[str, str]:
    """The condition that continues after the page before, and the order with the limit."""
    direction, beyond = ("DESC", "<") if search.newest_first else ("ASC", ">")
    after = ""
    if search.after is not None:
        recorded, seq = (sql.bind(value) for value in search.after)
        after = f" AND (recorded_at, seq) {beyond} ({recorded}, {seq})"
    order = f" ORDER BY recorded_at {direction}, seq {direction} LIMIT {search.count + 1}"
    return after, order


def _sorted(sql: _Sql, lead: Condition, others: Sequence[Condition], search: Search) -> str:
    after, order = _page(sql, search)
    return (
        f"SELECT recorded_at, seq FROM events WHERE seq IN ({_led(sql, lead)})"
        + _filters(sql, others, by_time=False)
        + after.replace("recorded_at,", "+recorded_at,")
        + order.replace("BY recorded_at", "BY +recorded_at")
    )


def _merged(sql: _Sql, lead: Number, others: Sequence[Condition], search: Search) -> str:
    after, order = _page(sql, search)
    filters = _filters(sql, others, by_time=True) + after
    streams = [
        f"SELECT * FROM (SELECT recorded_at, seq FROM events WHERE {column} = {number}{filters}{order})"
        for column in lead.columns
        for number in lead.numbers
    ]
    # UNION, not UNION ALL: sender and receiver may be the same organisation.
    return " UNION ".join(streams) + order


def _walked(sql: _Sql, conditions: Sequence[Condition], search: Search) -> str:
    after, order = _page(sql, search)
    return (
        "SELECT recorded_at, seq FROM events INDEXED BY events_recorded WHERE true"
        + _filters(sql, conditions, by_time=True)
        + after
        + order
    )
