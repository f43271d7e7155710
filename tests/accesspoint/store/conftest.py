from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from accesspoint.store.database import Database, sqlite_url

PEOPLE = """-- A small schema of our own.
CREATE TABLE parcels (
  id    {serial},
  name  TEXT NOT NULL UNIQUE,
  state TEXT NOT NULL CHECK (state IN ('new', 'sent')),
  body  {blob}
);
CREATE TABLE stamps (
  parcel TEXT NOT NULL REFERENCES parcels (name),  -- the parcel's name; not its number
  at     BIGINT NOT NULL
);
"""

Migrations = Callable[..., Path]


@pytest.fixture
def migrations(tmp_path: Path) -> Migrations:
    """Write migration files and return their directory; without arguments the small schema."""

    def write(*texts: str) -> Path:
        directory = tmp_path / "migrations"
        directory.mkdir(exist_ok=True)
        for number, text in enumerate(texts or (PEOPLE,), start=1):
            (directory / f"{number:04}_step.sql").write_text(text)
        return directory

    return write


@pytest.fixture
def url(tmp_path: Path) -> str:
    return sqlite_url(tmp_path / "accesspoint.db")


@pytest.fixture
async def database(url: str, migrations: Migrations) -> AsyncIterator[Database]:
    database = await Database.open(url, migrations=migrations())
    yield database
    await database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
async def either(
    request: pytest.FixtureRequest, migrations: Migrations, url: str
) -> AsyncIterator[Database]:
    """The same small schema in each dialect."""
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql_url")
    database = await Database.open(url, migrations=migrations())
    yield database
    await database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
async def packaged(request: pytest.FixtureRequest, url: str) -> AsyncIterator[Database]:
    """The tables of this program in each dialect."""
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql_url")
    database = await Database.open(url)
    yield database
    await database.close()
