"""Opens an arena: the clinic's node with its revocation lists, and the municipality that it answers to."""

import logging
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from as4_arena import Arena
from as4_peer import Client, Server
from as4_stage import AGREEMENT, LogLines, Partner, Pki, Stage

from accesspoint import log
from accesspoint.demo.scenery import CLINIC, MUNICIPALITY

NOWHERE = "https://127.0.0.1:9/as4"


@asynccontextmanager
async def open_arena(
    pki: Pki, directory: Path, log_lines: LogLines, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Arena]:
    """Start everything that an arena has; it stops with the context."""
    stage = Stage(pki, directory)
    as_client, as_server = pki.tls_contexts("municipality")
    assert pki.revoked.certificate  # on the list before anybody fetches it
    async with AsyncExitStack() as stack:
        municipality = await stack.enter_async_context(
            Server.start(pki.municipality.signer(), as_server)
        )
        crl_urls = await stack.enter_async_context(pki.revocation_point())
        configuration = stage.write_node(
            CLINIC,
            pki.clinic,
            partners={
                "municipality": Partner(MUNICIPALITY, pki.municipality, municipality.url),
                "agreed": Partner(None, pki.agreed, NOWHERE, {"agreement": AGREEMENT}),
                "changing": Partner(None, pki.changing[0], NOWHERE, successor=pki.changing[1]),
            },
            crl_urls=crl_urls,
            doors=True,
        )
        node = await stack.enter_async_context(stage.run(configuration, environment))
        client = await stack.enter_async_context(Client.connect(node.url, as_client))
        yield Arena(pki, node, client, log_lines, municipality)


@asynccontextmanager
async def open_alone(
    level: str, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Arena]:
    """Open an arena for a program that measures: in a directory for the time, and with a log from `level` up."""
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        pki, lines = Pki(directory), LogLines()
        logging.getLogger().handlers.clear()
        log.configure(level, stream=lines)
        async with open_arena(pki, directory, lines, environment) as arena:
            yield arena
