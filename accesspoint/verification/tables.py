"""The database itself: its files are sound, and what is counted in two ways counts the same. I10 and I13."""

from dataclasses import dataclass
from typing import Final

from accesspoint.store.columns import ColumnDamaged, fault_of
from accesspoint.store.database import Dialect, StorageFailure
from accesspoint.verification.evidence import Evidence, Tally

_BROKEN_KEYS: Final = 100
_SEALED: Final = (
    ("messages", "id", "facts", ""),
    ("handovers", "id", "item, facts", ""),
    ("envelopes", "envelope_id", "header", "direction = 'in' AND "),
    ("envelopes", "envelope_id", "header", "direction = 'out' AND "),
    ("outbox", "event_id", "body", ""),
)
"""What is sealed: table, id, columns, and a condition under which the id is one."""
_ONE_COMMIT: Final = 60_000_000
"""Microseconds between two readings of the clock that may belong to one commit."""


async def check_integrity(evidence: Evidence, tally: Tally) -> None:
    """I10: the product finds its own files sound, no row refers to one that is not there, and what is sealed opens."""
    if evidence.tx.dialect is Dialect.SQLITE:
        await _check_sqlite(evidence, tally)
    else:
        await _check_postgresql(evidence, tally)
    skipped = evidence.tx.columns.skipped
    for table, key, columns, condition in _SEALED:
        async for row in evidence.rows(
            f"SELECT {key}, {columns} FROM {table} WHERE {condition}{key} > $1 ORDER BY {key} LIMIT $2",  # noqa: S608 (the table above)
            key=key,
        ):
            tally.count()
            if (fault := fault_of(row)) is not None:
                slug = "row-damaged" if isinstance(fault, ColumnDamaged) else "row-key-missing"
                tally.find(slug, table=table, row=row[key], said=fault)
    if closed := evidence.tx.columns.skipped - skipped:
        tally.miss(closed)
        tally.note(f"{closed} values are sealed under a key that was not given and were not opened")


async def _check_sqlite(evidence: Evidence, tally: Tally) -> None:
    tally.count()
    for row in await evidence.tx.fetch("PRAGMA integrity_check"):
        said = str(next(iter(row.values())))
        if said != "ok":
            # The text may repeat a value of the row, so only its shape is told.
            tally.find("database-damaged", check=said.partition(":")[0].split(" in ")[0])
    for row in (await evidence.tx.fetch("PRAGMA foreign_key_check"))[:_BROKEN_KEYS]:
        tally.find("reference-broken", table=row["table"], row=row["rowid"], to=row["parent"])


async def _check_postgresql(evidence: Evidence, tally: Tally) -> None:
    """With the extension amcheck every index against its table; in any case every row, read whole."""
    tables = await evidence.tx.fetch(
        "SELECT c.relname AS name FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
        " WHERE c.relkind = 'r' AND n.nspname = current_schema() ORDER BY c.relname"
    )
    for row in tables:
        tally.count()
        name = str(row["name"]).replace('"', '""')
        try:
            await evidence.tx.fetch(f'SELECT SUM(LENGTH(t::text)) AS octets FROM "{name}" AS t')  # noqa: S608 (a name from the catalogue)
        except StorageFailure as failure:
            tally.find("database-damaged", table=row["name"], check=str(failure))
    if await evidence.number("SELECT COUNT(*) FROM pg_extension WHERE extname = 'amcheck'"):
        await evidence.tx.fetch(
            "SELECT bt_index_check(index => i.indexrelid, heapallindexed => true) FROM pg_index AS i"
            " JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_am AS a ON a.oid = c.relam"
            " JOIN pg_namespace AS n ON n.oid = c.relnamespace"
            " WHERE a.amname = 'btree' AND n.nspname = current_schema()"
        )
        tally.note("every index was held against its table by amcheck")
    else:
        tally.note("every row was read; the extension amcheck is not installed")


@dataclass(frozen=True, slots=True)
class _Counter:
    """What the journal counts, and the rows that it counts."""

    events: str
    station: str
    rows: str


_COUNTERS: Final = (
    _Counter("'accepted'", "AP", "messages WHERE direction = 'out'"),
    _Counter("'received'", "AP", "messages WHERE direction = 'in' AND standard <> 'test-service'"),
    _Counter(
        "'receipt'", "AP", "receipts AS r JOIN messages AS m ON m.id = r.message WHERE m.direction = 'out'"
    ),
    _Counter("'created'", "EUA", "documents WHERE direction = 'out'"),
    _Counter("'taken-by-application', 'set-aside'", "EUA", "documents WHERE direction = 'in'"),
    _Counter("'delivered'", "EUA", "handovers WHERE target LIKE 'backend%' AND kind = 'document' AND state = 'done'"),
    _Counter("'wrapped', 'copied', 'resent', 'resend-asked'", "MSH", "envelopes WHERE direction = 'out' AND standard <> 'ehmisbdh-acknowledgement'"),
    _Counter("'acknowledgement-created'", "MSH", "envelopes WHERE direction = 'out' AND standard = 'ehmisbdh-acknowledgement'"),
    _Counter("'opened'", "MSH", "envelopes WHERE direction = 'in' AND repetition = 0"),
)  # fmt: skip


async def _is_trimmed(evidence: Evidence) -> bool:
    """Whether the journal begins after the rows that it tells of."""
    begins = await evidence.number("SELECT MIN(at) FROM journal")
    oldest = await evidence.number(
        "SELECT MIN(created_at) FROM (SELECT created_at FROM messages UNION ALL SELECT created_at FROM documents"
        " UNION ALL SELECT created_at FROM envelopes) AS every"
    )
    return begins > oldest + _ONE_COMMIT


async def check_counters(evidence: Evidence, tally: Tally) -> None:
    """I13: the journal has told of as many steps as there are rows to show for them."""
    tally.note("there are no metrics yet: the journal is what is counted against the tables")
    if await evidence.number("SELECT COUNT(*) FROM journal") == 0:
        if await evidence.number("SELECT COUNT(*) FROM messages"):
            tally.find("journal-differs", events="all", told=0)
        return
    if await _is_trimmed(evidence):
        tally.not_applicable("retention has let go of the journal's beginning")
        return
    for counter in _COUNTERS:
        tally.count()
        told = await evidence.number(
            f"SELECT COUNT(*) FROM journal WHERE station = $1 AND event IN ({counter.events})",  # noqa: S608 (the table above)
            counter.station,
        )
        rows = await evidence.number(f"SELECT COUNT(*) FROM {counter.rows}")  # noqa: S608 (the table above)
        if told != rows:
            events = counter.events.replace("'", "")
            tally.find(
                "journal-differs", station=counter.station, events=events, told=told, rows=rows
            )
