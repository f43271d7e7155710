"""Dripping connections beside valid messages, few and short: the program that measures many, held to its outcome."""

import os
import resource
from pathlib import Path

import pytest
from arena_opening import open_arena
from as4_stage import LogLines, Pki

from tests.hostile.dripping import dripping, measure

CONNECTIONS = 100


@pytest.mark.slow
@pytest.mark.attack("HTP-18")
async def test_valid_messages_flow_beside_dripping_connections(
    pki: Pki, tmp_path: Path, log_lines: LogLines
) -> None:
    """All are answered with their receipts; how fast is for the program to tell.

    The door has its usual deadlines, since those who mean well have them too; and the node is this test's own, since
    the last of the connections may end after it.
    """
    async with open_arena(pki, tmp_path, log_lines) as arena:
        wires = [arena.author.compose() for _ in range(20)]
        async with dripping(arena, CONNECTIONS):
            figures = await measure(arena, "beside", 30, wires)
        assert (len(figures.latencies), figures.failed) == (20, 0)
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert figures.files < files / 2

        async def all_gone() -> bool:
            return len(os.listdir("/proc/self/fd")) < figures.files - CONNECTIONS // 4

        await arena.node.until(all_gone, "connections were not given back")
        await arena.node.idle()
