"""One node's parts for the tests of its stations: built together, or standing apart."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from application_edge import Application
from station_parts import RECEIVER, SENDER, Parts


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    """The parts of a node whose message service handler and access point are built together."""
    async with Parts.open(tmp_path / "node") as opened:
        yield opened


@pytest.fixture
async def apart(tmp_path: Path) -> AsyncIterator[Parts]:
    """The parts of a station that stands apart."""
    async with Parts.open(tmp_path / "apart", together=False, seed=2) as opened:
        yield opened


@pytest.fixture
def sender(parts: Parts) -> Application:
    return Application(parts, SENDER)


@pytest.fixture
def receiver(parts: Parts) -> Application:
    return Application(parts, RECEIVER)
