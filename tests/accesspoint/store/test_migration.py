from collections.abc import Callable
from pathlib import Path

import pytest

from accesspoint.store.database import Database, Dialect, SchemaRefused
from accesspoint.store.migration import Migration, load_migrations, pending_migrations

Migrations = Callable[..., Path]
FIRST = "CREATE TABLE a (id {serial}, body {blob});\n"
SECOND = "-- compatible: 1\nCREATE TABLE b (id {serial});\nINSERT INTO b DEFAULT VALUES;\n"


def test_one_text_becomes_the_statements_of_each_dialect() -> None:
    step = Migration(1, "a", 1, FIRST)
    assert step.statements(Dialect.SQLITE) == (
        "CREATE TABLE a (id INTEGER PRIMARY KEY AUTOINCREMENT, body BLOB)",
    )
    assert step.statements(Dialect.POSTGRESQL) == (
        "CREATE TABLE a (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body BYTEA)",
    )


def test_comments_and_semicolons_inside_a_line_do_not_split() -> None:
    text = (
        "-- about; this\nCREATE TABLE a (\n  x TEXT DEFAULT 'a;--b', -- why; so\n  y TEXT DEFAULT '{}'\n);\n"
        "CREATE INDEX i ON a (x); -- done\n"
    )
    assert Migration(1, "a", 1, text).statements(Dialect.SQLITE) == (
        "CREATE TABLE a (\n  x TEXT DEFAULT 'a;--b',\n  y TEXT DEFAULT '{}'\n)",
        "CREATE INDEX i ON a (x)",
    )


def test_a_statement_with_a_block_is_one_statement_of_one_dialect() -> None:
    text = (
        "-- only: sqlite\nCREATE TRIGGER t BEFORE DELETE ON a\nBEGIN\n  SELECT 1;\nEND;\n"
        "-- only: postgresql\nCREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$\nBEGIN\n"
        "  IF 1 = 1 THEN\n    RETURN NEW;\n  END IF;\nEND $$;\nCREATE INDEX i ON a (x);\n"
    )
    step = Migration(1, "a", 1, text)
    trigger, index = step.statements(Dialect.SQLITE)
    assert trigger == "CREATE TRIGGER t BEFORE DELETE ON a\nBEGIN\n  SELECT 1;\nEND"
    function, same = step.statements(Dialect.POSTGRESQL)
    assert function.startswith("CREATE FUNCTION")
    assert function.endswith("END IF;\nEND $$")
    assert index == same == "CREATE INDEX i ON a (x)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-- only: oracle\nCREATE TABLE a (id {serial});", "unknown dialect oracle"),
        ("CREATE TRIGGER t BEFORE DELETE ON a\nBEGIN\n  SELECT 1;\n", "inside a statement"),
        ("CREATE TABLE a (id {number});", "unknown token"),
        ("CREATE TABLE a (id {serial})", "inside a statement"),
        ("CREATE TABLE a (b TEXT REFERENCES c (d) DEFERRABLE INITIALLY DEFERRED);", "deferred"),
    ],
)
def test_texts_that_would_not_mean_the_same_everywhere_are_refused(text: str, message: str) -> None:
    with pytest.raises(SchemaRefused, match=message):
        Migration(1, "a", 1, text).statements(Dialect.SQLITE)


@pytest.mark.parametrize("name", ["0002_b.sql", "0001_b.sql.sql", "1_b.sql", "0001-b.sql"])
def test_files_out_of_order_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(FIRST)
    with pytest.raises(SchemaRefused):
        load_migrations(tmp_path)


def test_a_step_cannot_be_compatible_with_the_future(tmp_path: Path) -> None:
    (tmp_path / "0001_a.sql").write_text("-- compatible: 2\n")
    with pytest.raises(SchemaRefused, match="compatible with 2"):
        load_migrations(tmp_path)


def test_a_gap_in_what_was_applied_is_refused() -> None:
    row = {"version": 2, "compatible": 2, "name": "b", "sha256": ""}
    with pytest.raises(SchemaRefused, match="lacks step 1"):
        pending_migrations((), [row])


async def test_steps_are_applied_once_and_in_order(url: str, migrations: Migrations) -> None:
    database = await Database.open(url, migrations=migrations(FIRST))
    assert database.schema_version == 1
    await database.close()
    for _ in range(2):
        database = await Database.open(url, migrations=migrations(FIRST, SECOND))
        assert database.schema_version == 2
        assert len(await database.fetch("SELECT id FROM b")) == 1
        await database.close()


async def test_an_older_program_works_with_a_compatible_schema(
    url: str, migrations: Migrations
) -> None:
    await (await Database.open(url, migrations=migrations(FIRST, SECOND))).close()
    (migrations() / "0002_step.sql").unlink()
    database = await Database.open(url, migrations=migrations(FIRST))
    assert database.schema_version == 2
    await database.close()


async def test_an_older_program_refuses_a_newer_schema(url: str, migrations: Migrations) -> None:
    incompatible = SECOND.replace("-- compatible: 1\n", "")
    await (await Database.open(url, migrations=migrations(FIRST, incompatible))).close()
    (migrations() / "0002_step.sql").unlink()
    with pytest.raises(SchemaRefused, match="schema 2; this program knows 1"):
        await Database.open(url, migrations=migrations(FIRST))


async def test_an_edited_step_is_found_out(url: str, migrations: Migrations) -> None:
    await (await Database.open(url, migrations=migrations(FIRST))).close()
    with pytest.raises(SchemaRefused, match="was changed"):
        await Database.open(url, migrations=migrations(FIRST + "CREATE TABLE c (d TEXT);\n"))


async def test_a_step_that_fails_half_way_leaves_the_old_schema(
    url: str, migrations: Migrations
) -> None:
    broken = "CREATE TABLE b (id {serial});\nCREATE TABLE a (id {serial});\n"
    with pytest.raises(Exception, match="already exists"):
        await Database.open(url, migrations=migrations(FIRST, broken))
    database = await Database.open(url, migrations=migrations(FIRST, SECOND))
    assert database.schema_version == 2
    await database.close()
