"""One whole node for the interface to stand on, and a session that speaks to it over loopback."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from as4_stage import Node, Pki, Stage

from accesspoint.api.client import NodeAddress
from accesspoint.demo.scenery import CLINIC, MUNICIPALITY

WHY = b'{"reason": "asked to on the telephone"}'


@dataclass
class Interface:
    """The interface of a node as a program of the organisation sees it."""

    node: Node
    address: NodeAddress
    session: aiohttp.ClientSession

    async def call(
        self, method: str, path: str, data: bytes | None = None, *, token: str | None = None
    ) -> tuple[int, Any, str]:
        """Status, body and media type; an empty token sends no header."""
        given = self.address.token if token is None else token
        headers = {"Authorization": f"Bearer {given}"} if given else {}
        async with self.session.request(
            method, self.address.url + path, data=data, headers=headers
        ) as response:
            return response.status, await response.json(content_type=None), response.content_type


@pytest.fixture
def stage(pki: Pki, tmp_path: Path) -> Stage:
    return Stage(pki, tmp_path)


@pytest.fixture
async def interface(pki: Pki, stage: Stage) -> AsyncIterator[Interface]:
    """The municipality's node, whose only partner is not running: what is submitted stays with it."""
    path = stage.write_node(
        MUNICIPALITY,
        pki.municipality,
        partners={},
        addresses=[
            {"name": o.address.name, "gln": o.address.gln, "sor": o.address.sor} for o in (CLINIC,)
        ],
    )
    async with stage.run(path) as node, aiohttp.ClientSession(trust_env=False) as session:
        yield Interface(node, NodeAddress.load(path.parent / "store"), session)
