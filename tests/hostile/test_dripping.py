"""Dripping connections beside valid messages, few and short: the program that measures many, held to its outcome."""

import os
import resource

import pytest
from as4_arena import Arena

from tests.hostile.dripping import dripping, measure

CONNECTIONS = 100


@pytest.mark.slow
@pytest.mark.attack("HTP-18")
async def test_valid_messages_flow_beside_dripping_connections(hurried: Arena) -> None:
    """All are answered with their receipts; how fast is for the program to tell."""
    wires = [hurried.author.compose() for _ in range(20)]
    async with dripping(hurried, CONNECTIONS):
        figures = await measure(hurried, "beside", 30, wires)
    assert (len(figures.latencies), figures.failed) == (20, 0)
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert figures.files < files / 2

    async def all_gone() -> bool:
        return len(os.listdir("/proc/self/fd")) < figures.files - CONNECTIONS // 4

    await hurried.node.until(all_gone, "connections were not given back")
    await hurried.node.idle()
