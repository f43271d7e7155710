"""Rows that do not open: a value that is damaged, or sealed under a key that nobody here has."""

from typing import Final

import pytest

from accesspoint.store.columns import MARK, SEALED_COLUMNS, Columns
from accesspoint.store.database import Database
from accesspoint.store.encryption import PayloadKey, PayloadKeys

DAMAGED: Final = "damaged"
KEYLESS: Final = "keyless"
HOWEVER: Final = pytest.mark.parametrize("fault", [DAMAGED, KEYLESS])


async def spoil(database: Database, table: str, column: str, id_: str, fault: str) -> None:
    """Have a value of this row not open."""
    value = Columns(PayloadKeys(PayloadKey(bytes(32)))).seal(column, id_, "{}")
    key = SEALED_COLUMNS[column]
    sql = f"UPDATE {table} SET {column} = $1 WHERE {key} = $2"
    spoiled = MARK if fault == DAMAGED else value
    assert await database.run(lambda tx: tx.execute(sql, spoiled, id_)) == 1
