"""One message at two nodes of one PostgreSQL: whichever is first, there is one message, one receipt, and nothing lost."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path

import pytest
from as4_parts import identity_of
from as4_stage import Pki
from inbound_parts import Inbound
from postgresql_server import PostgresqlServer, running
from station_parts import Parts

from accesspoint.store.database import StorageInterrupted

_NAMES = count(1)
COPIES = 100


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    with running() as server:
        yield server


@pytest.fixture
async def nodes(
    server: PostgresqlServer, pki: Pki, tmp_path: Path
) -> AsyncIterator[tuple[Inbound, Inbound]]:
    url = server.create(f"inbound_{next(_NAMES)}")
    async with AsyncExitStack() as stack:
        one, two = [
            Inbound(
                await stack.enter_async_context(
                    Parts.open(
                        tmp_path / f"node-{seed}", together=False, at=pki.now, seed=seed, url=url
                    )
                ),
                pki,
                identity_of(pki.clinic),
            )
            for seed in (1, 2)
        ]
        yield one, two


@pytest.mark.attack("RPL-04")
async def test_copies_that_race_at_two_nodes_are_one_message_with_one_receipt(
    nodes: tuple[Inbound, Inbound],
) -> None:
    one, two = nodes
    for round_ in range(1, 4):
        wire = one.author.compose()
        copies = COPIES if round_ == 1 else 4
        answers = await asyncio.gather(
            *(node.receive(wire) for _ in range(copies // 2) for node in nodes)
        )
        assert len(answers) == copies
        assert {answer.status for answer in answers} == {200}
        assert len({answer.body for answer in answers}) == 1
        assert len(await one.messages()) == round_
    events = await one.parts.rows("SELECT DISTINCT aggregate FROM outbox")
    assert len(await one.parts.rows("SELECT * FROM outbox")) == len(events)
    # The losers' files are gone: what stands in the two directories is what the rows speak of.
    assert one.parts.unpublished() == two.parts.unpublished() == 0
    files = [entry for node in nodes for entry in node.parts.payloads.entries()]
    assert len(files) == 3


@pytest.mark.attack("RPL-07")
async def test_a_node_that_dies_while_it_receives_leaves_the_message_to_another(
    nodes: tuple[Inbound, Inbound], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows are written and not committed: the copy at the other node waits for them, and then takes their place."""
    dying, living = nodes
    inside, gone = asyncio.Event(), asyncio.Event()
    note = dying.parts.reporter.note

    async def stop_here(*arguments: object, **named: object) -> None:
        inside.set()
        await gone.wait()
        await note(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(dying.parts.reporter, "note", stop_here)
    wire = dying.author.compose()
    first = asyncio.create_task(dying.receive(wire))
    await inside.wait()
    second = asyncio.create_task(living.receive(wire))

    async def waits() -> bool:
        rows = await living.parts.rows("SELECT pid FROM pg_locks WHERE NOT granted")
        return bool(rows)

    async with asyncio.timeout(10):
        while not await waits():
            await asyncio.sleep(0.01)
    await living.parts.rows(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'"
    )
    answer = await second
    gone.set()
    with pytest.raises(StorageInterrupted):
        await first
    assert answer.status == 200
    (row,) = await living.messages()
    assert row["state"] == "RECEIVED"
    # The sender got no answer from the first and repeats: to any node, always the same receipt.
    monkeypatch.undo()
    assert {(await node.receive(wire)).body for node in nodes} == {answer.body}
    assert len(await living.messages()) == 1
