"""One clinic under attack for the whole run: a node with its revocation lists, and the municipality it answers to.

All tests here share one event loop, so that the node can run through them.
"""

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
import structlog
from arena_opening import open_arena
from as4_arena import Arena
from as4_liar import Liar
from as4_peer import Server
from as4_stage import LogLines, Partner, Pki, Stage

from accesspoint import log
from accesspoint.demo.scenery import CLINIC, MUNICIPALITY

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run every asynchronous test of this directory in the loop of the session."""
    shared = pytest.mark.asyncio(loop_scope="session")
    for item in items:
        if HERE in item.path.parents and pytest_asyncio.is_async_test(item):
            item.add_marker(shared, append=False)


@pytest.fixture(scope="session")
def log_lines() -> LogLines:
    """Everything that this process logs while a test of this directory runs."""
    return LogLines()


@pytest.fixture(autouse=True)
def talkative(log_lines: LogLines) -> Iterator[None]:
    """Log at the most talkative level, through the real chain; anew for each test, for others set it to theirs."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    log.configure("debug", stream=log_lines)
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def arena(
    pki: Pki, tmp_path_factory: pytest.TempPathFactory, log_lines: LogLines
) -> AsyncIterator[Arena]:
    """The clinic's node, running; the municipality as an honest server for what the clinic sends back."""
    async with open_arena(pki, tmp_path_factory.mktemp("arena"), log_lines) as opened:
        yield opened


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def hurried(
    pki: Pki, tmp_path_factory: pytest.TempPathFactory, log_lines: LogLines
) -> AsyncIterator[Arena]:
    """The same with a door that waits for nobody: headers and bodies have a moment."""
    # The twins have as little; and a header that drips lines must not come to as many lines as are too many.
    limits = {"HEADER": "800 ms", "BODY": "1500 ms", "BODY_RATE": "1 MiB"}
    environment = {f"ACCESSPOINT__LISTEN__LIMITS__{name}": value for name, value in limits.items()}
    directory = tmp_path_factory.mktemp("hurried")
    async with open_arena(pki, directory, log_lines, environment) as opened:
        yield opened


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def liar(
    pki: Pki, tmp_path_factory: pytest.TempPathFactory, log_lines: LogLines
) -> AsyncIterator[Liar]:
    """The municipality's node, whose retries are spent in a moment; the clinic is a server that lies."""
    stage = Stage(pki, tmp_path_factory.mktemp("liar"))
    _, as_server = pki.tls_contexts("clinic")
    async with AsyncExitStack() as stack:
        clinic = await stack.enter_async_context(Server.start(pki.clinic.signer(), as_server))
        configuration = stage.write_node(
            MUNICIPALITY,
            pki.municipality,
            partners={"clinic": Partner(CLINIC, pki.clinic, clinic.url)},
            sending={
                "timeout": "1500 ms",
                "retry": {
                    "first": "20 ms",
                    "factor": 1,
                    "longest": "20 ms",
                    "give_up_after": "80 ms",
                },
            },
        )
        node = await stack.enter_async_context(stage.run(configuration))
        yield Liar(pki, node, clinic, log_lines)
