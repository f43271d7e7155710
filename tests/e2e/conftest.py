"""Two organisations in this process, each other's partners over mutual TLS: the quickest whole network there is."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from as4_stage import Node, Pki, Stage


@pytest.fixture
async def two_nodes(pki: Pki, tmp_path: Path) -> AsyncIterator[tuple[Node, Node]]:
    """The municipality's node and the clinic's, with automatic MedCom acknowledgements."""
    async with Stage(pki, tmp_path).pair(acknowledging={"fhir": "automatic"}) as nodes:
        yield nodes
