from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import pytest

from accesspoint.store.columns import (
    MARK,
    SEALED_COLUMNS,
    ColumnDamaged,
    ColumnKeyMissing,
    Columns,
    fault_of,
    require_readable,
)
from accesspoint.store.database import Database, Row, StorageRefused, Transaction
from accesspoint.store.encryption import PayloadKey, PayloadKeys
from accesspoint.store.messages import NewMessage, insert_message

OLD, NEW = PayloadKey(bytes(range(32))), PayloadKey(bytes(range(1, 33)))
AT = datetime(2026, 11, 22, tzinfo=UTC)
FACTS = '{"patient_id": "2512489996", "sender_name": "Sundhedsplejen, Ærø"}'
MESSAGE = NewMessage(
    id="a", direction="in", state="RECEIVED", message_id="m", conversation_id="c", party="p",
    envelope_id="e", message_identifier="i", standard="homecareobservation-message", original_sender="s",
    final_recipient="r", document_id="d", process_id="p", facts=FACTS, payload=None, payload_bytes=0,
    payload_sha256="",
)  # fmt: skip


@pytest.fixture(params=["sqlite", "postgresql"])
async def store(request: pytest.FixtureRequest, url: str) -> AsyncIterator[Database]:
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql_url")
    database = await Database.open(url, columns=Columns(PayloadKeys(OLD)))
    yield database
    await database.close()


async def insert(database: Database, *ids: str) -> None:
    async def work(tx: Transaction) -> None:
        for id_ in ids:
            new = replace(MESSAGE, id=id_, message_id=id_, party=id_)
            await insert_message(tx, new, at=AT)

    await database.run(work)


async def read(database: Database, id_: str) -> str:
    row = await database.fetch_one("SELECT * FROM messages WHERE id = $1", id_)
    assert row is not None
    return str(row["facts"])


async def stands(database: Database, id_: str) -> str:
    """What stands in the table: under another name a column is left as it is."""
    row = await database.fetch_one("SELECT facts AS raw FROM messages WHERE id = $1", id_)
    assert row is not None
    return str(row["raw"])


async def fetched(tx: Transaction, *, sql: str) -> list[Row]:
    return await tx.fetch(sql)


async def update(database: Database, sql: str, *values: str) -> None:
    await database.run(lambda tx: tx.execute(sql, *values))


async def test_a_value_is_sealed_where_it_stands_and_open_where_it_is_read(store: Database) -> None:
    await insert(store, "a", "b")
    assert await read(store, "a") == await read(store, "b") == FACTS
    a, b = await stands(store, "a"), await stands(store, "b")
    assert a.startswith(MARK)
    assert a != b
    assert "2512489996" not in a + b
    await store.read(require_readable)


async def test_a_claim_gives_it_back_in_the_clear(store: Database) -> None:
    await insert(store, "a")
    rows = await store.run(
        lambda tx: tx.fetch("UPDATE messages SET attempt = 1 WHERE id = 'a' RETURNING *")
    )
    assert rows[0]["facts"] == FACTS


async def test_a_value_that_was_moved_or_changed_is_refused(store: Database) -> None:
    await insert(store, "a", "b")
    other = await stands(store, "b")
    sql = "UPDATE messages SET facts = $1 WHERE id = 'a'"
    await update(store, sql, other)
    with pytest.raises(ColumnDamaged, match=r"^facts of a is not what was written there$"):
        await read(store, "a")
    assert await read(store, "b") == FACTS
    # Among others it is read and claimed as they are, and is refused where it is asked for.
    for claim in (
        "SELECT id, facts, state FROM messages",
        "UPDATE messages SET attempt = 1 RETURNING *",
    ):
        rows = {row["id"]: row for row in await store.run(partial(fetched, sql=claim))}
        assert (rows["a"]["state"], rows["b"]["facts"], fault_of(rows["b"])) == (
            "RECEIVED",
            FACTS,
            None,
        )
        assert isinstance(fault_of(rows["a"]), ColumnDamaged)
        for look in (
            lambda row: row["facts"],
            lambda row: row.get("facts"),
            dict,
            lambda row: {**row},
        ):
            with pytest.raises(ColumnDamaged, match=r"^facts of a is not"):
                look(rows["a"])
        assert "facts" in list(rows["a"])
        with pytest.raises(KeyError):
            rows["a"]["patient"]
    for broken in (
        other[:-8],
        other + "AAAA",
        other[: len(MARK) + 20],
        MARK,
        MARK + "ø=",
        MARK + "A",
    ):
        await update(store, sql, broken)
        with pytest.raises(ColumnDamaged):
            await read(store, "a")
    # A damaged row keeps no node from starting. The database itself is not broken: what else it holds goes on being read.
    await store.read(require_readable)
    assert store.failure is None


async def test_what_stood_in_the_clear_before_is_read(store: Database) -> None:
    await insert(store, "a")
    await update(store, "UPDATE messages SET facts = $1", FACTS)
    assert await read(store, "a") == FACTS


async def test_a_new_key_seals_and_the_old_one_still_opens(url: str) -> None:
    async def use(columns: Columns, insert_id: str | None = None) -> list[str]:
        database = await Database.open(url, columns=columns)
        try:
            await database.read(require_readable)
            if insert_id:
                await insert(database, insert_id)
            rows: list[Row] = await database.fetch("SELECT id, facts FROM messages ORDER BY id")
            return [row["facts"] for row in rows]
        finally:
            await database.close()

    await use(Columns(PayloadKeys(OLD)), "a")
    assert await use(Columns(PayloadKeys(NEW, [OLD])), "b") == [FACTS] * 2
    for columns in (Columns(PayloadKeys(OLD)), Columns()):
        with pytest.raises(
            StorageRefused, match=f"^facts of b needs the key {NEW.id.hex()}, which"
        ):
            await use(columns)
        database = await Database.open(url, columns=columns)
        with pytest.raises(ColumnKeyMissing):
            await read(database, "b")
        await database.close()
    assert await use(Columns(PayloadKeys(NEW), skip_unknown=True)) == [None, FACTS]
    # Turned off, the keys open what there is, and what comes is as safe as the disk.
    off = Columns(PayloadKeys(NEW, [OLD]), seal=False)
    assert await use(off, "c") == [FACTS] * 3
    database = await Database.open(url, columns=off)
    assert await stands(database, "c") == FACTS
    await database.close()


def test_no_value_opens_in_another_column_or_under_another_key() -> None:
    columns = Columns(PayloadKeys(OLD))
    header = columns.seal("header", "x", b"<StandardBusinessDocumentHeader/>")
    assert columns.opened({"envelope_id": "x", "header": header})["header"].startswith(b"<Standard")
    for column, key in SEALED_COLUMNS.items():
        if column != "header":
            assert_damaged(columns.opened({key: "x", column: header}))
    assert_damaged(columns.opened({"envelope_id": "y", "header": header}))
    forged = Columns(PayloadKeys(NEW)).seal("header", "x", b"<a/>")
    start = len(MARK)
    assert_damaged(
        columns.opened(
            {"envelope_id": "x", "header": forged[:start] + OLD.id + forged[start + 8 :]}
        )
    )


def assert_damaged(row: Row) -> None:
    assert isinstance(fault_of(row), ColumnDamaged)


async def test_the_newest_rows_are_those_of_the_time_and_not_of_the_id(url: str) -> None:
    """Hand-overs have random ids, outcomes among them are never sealed, and envelopes have a table of their own."""
    insert_handover = (
        "INSERT INTO handovers (id, target, kind, message_identifier, item, act, facts, media_type, payload,"
        " payload_bytes, payload_sha256, state, next_at, created_at)"
        " VALUES ($1,'up',$2,'m',$3,'','{}','',$4,0,'','waiting',0,$5)"
    )
    insert_envelope = (
        "INSERT INTO envelopes (direction, envelope_id, message_identifier, standard, sender, receiver, header,"
        " payload_sha256, repetition, acknowledgement, created_at) VALUES ('in',$1,'m','','','',$2,'',0,'none',$3)"
    )

    async def work(tx: Transaction) -> None:
        for id_, keys, at in (("9", OLD, 1), ("1", NEW, 2)):
            columns = Columns(PayloadKeys(keys))
            sealed = columns.seal("item", id_, "{}")
            await tx.execute(insert_handover, id_, "document", sealed, "", at)
        await tx.execute(insert_handover, "5", "outcome", "{}", None, 3)

    async def more(tx: Transaction) -> None:
        await tx.execute("DELETE FROM handovers")
        sealed = Columns(PayloadKeys(NEW)).seal("header", "e", b"<a/>")
        await tx.execute(insert_envelope, "e", sealed, 1)

    database = await Database.open(url, columns=Columns(PayloadKeys(OLD)))
    for plant, named in ((work, "item of 1"), (more, "header of e")):
        await database.run(plant)
        with pytest.raises(StorageRefused, match=f"^{named} needs the key {NEW.id.hex()}, which"):
            await database.read(require_readable)
    await database.close()


def test_what_is_selected_without_its_id_is_a_mistake_of_ours() -> None:
    columns = Columns(PayloadKeys(OLD))
    with pytest.raises(KeyError):
        columns.opened({"facts": columns.seal("facts", "x", "{}")})
    with pytest.raises(ValueError, match="problem is no column"):
        columns.seal("problem", "x", "")


def test_the_key_of_a_column_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message seals about six values on its way and opens about ten: to derive a key costs more than each of them."""
    derived: list[str] = []
    derive = PayloadKeys.derive

    def counted(keys: PayloadKeys, key_id: bytes, purpose: str) -> bytes:
        derived.append(purpose)
        return derive(keys, key_id, purpose)

    monkeypatch.setattr(PayloadKeys, "derive", counted)
    columns = Columns(PayloadKeys(OLD))
    for id_ in ("x", "y"):
        for column in ("facts", "item"):
            columns.opened({"id": id_, column: columns.seal(column, id_, "{}")})
    assert [purpose.split()[-1] for purpose in derived] == ["facts", "item"]
