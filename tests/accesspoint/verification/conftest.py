"""Two stores after real exchanges, made once; each test breaks a copy."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
import pytest
from as4_stage import Pki, Stage
from exchange import exchange

from accesspoint.config import Configuration, load
from accesspoint.store.configured import build_columns, build_payload_store
from accesspoint.store.database import Database, sqlite_url
from accesspoint.store.payloads import PayloadStore
from accesspoint.verification import Report, verify_node
from keys.certificate import der
from keys.store import load_certificate_files

EXCHANGES = 3
# Nobody answers there: delivery events are written, and wait.
STATUS = {
    "endpoint": "https://127.0.0.1:9/fhir",
    "token_endpoint": "https://127.0.0.1:9/token",
    "client_ids": {"EUA": "eua", "AP": "ap"},
}


@dataclass
class StoppedNode:
    """A node that does not run: its configuration and its store, to break and to verify."""

    home: Path

    @property
    def file(self) -> Path:
        return self.home / "accesspoint.toml"

    @property
    def configuration(self) -> Configuration:
        return load(self.file, {})

    @property
    def database(self) -> Path:
        return self.home / "store" / "accesspoint.db"

    @property
    def payloads(self) -> Path:
        return self.home / "store" / "payloads"

    def execute(self, *statements: str) -> list[Any]:
        """Change rows behind the program's back: no trigger, no rule between rows; what the last one answers."""
        connection = apsw.Connection(str(self.database))
        connection.execute("PRAGMA foreign_keys = OFF")
        triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
        kept = triggers.fetchall()
        for name, _ in kept:
            connection.execute(f"DROP TRIGGER {name}")
        answer: list[Any] = []
        for statement in statements:
            answer = connection.execute(statement).fetchall()
        for _, sql in kept:
            connection.execute(sql)
        connection.close(True)
        return answer

    def one(self, statement: str) -> Any:
        """The only value that a SELECT answers first."""
        return self.execute(statement)[0][0]

    @property
    def certificate(self) -> bytes:
        """The node's own certificate, DER."""
        file = self.home / "keys" / "message.cert.pem"
        return der(load_certificate_files([file])[0])

    def file_of(self, payload: str) -> Path:
        return self.payloads / payload[:2] / payload

    @asynccontextmanager
    async def open(self) -> AsyncIterator[tuple[Database, PayloadStore]]:
        columns = build_columns(self.configuration)
        database = await Database.open(sqlite_url(self.database), columns=columns)
        payloads = build_payload_store(self.configuration)
        try:
            yield database, payloads
        finally:
            payloads.close()
            await database.close()

    async def verify(self) -> Report:
        return await verify_node(self.configuration)


Nodes = tuple[StoppedNode, StoppedNode]


@pytest.fixture
def status_settings() -> dict[str, Any]:
    """The configuration of a status component that nobody answers for."""
    return STATUS


@pytest.fixture(scope="session")
def played(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Nodes:
    """Municipality and clinic after some exchanges, stopped in order."""
    stage = Stage(pki, tmp_path_factory.mktemp("played"))

    async def play() -> Nodes:
        sections = {"acknowledging": {"fhir": "automatic"}, "delivery_status": STATUS}
        async with stage.pair(**sections) as (municipality, clinic):
            for _ in range(EXCHANGES):
                await exchange(municipality, clinic)
            return StoppedNode(municipality.home), StoppedNode(clinic.home)

    return asyncio.run(play())


@pytest.fixture
def nodes(played: Nodes, tmp_path: Path) -> Nodes:
    """Copies of both nodes, the municipality's first."""
    copies = [tmp_path / node.home.name for node in played]
    for node, copy in zip(played, copies, strict=True):
        shutil.copytree(node.home, copy)
    return StoppedNode(copies[0]), StoppedNode(copies[1])


@pytest.fixture
def sender(nodes: Nodes) -> StoppedNode:
    return nodes[0]


@pytest.fixture
def receiver(nodes: Nodes) -> StoppedNode:
    return nodes[1]
