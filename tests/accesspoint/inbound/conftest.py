"""One receiving side for each test, on a store of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from as4_parts import identity_of
from as4_stage import Pki
from inbound_parts import Inbound
from station_parts import Parts

from envelope.limits import Limits


@pytest.fixture
async def inbound(pki: Pki, tmp_path: Path) -> AsyncIterator[Inbound]:
    async with Parts.open(tmp_path / "node", together=False, at=pki.now) as parts:
        yield Inbound(parts, pki, identity_of(pki.clinic))


@pytest.fixture
def small() -> Limits:
    """Limits that a small message passes and a slightly larger one does not."""
    return Limits(sbd_bytes=64 * 1024, soap_bytes=32 * 1024)
