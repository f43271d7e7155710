"""The n-th operation of the disk fails, n = 1, 2, … until the scenario completes: SQLite's own method.

Two scenarios, each at the node that is named: the sender accepts and sends, the receiver takes and delivers. The
disk fails once, or for good until the node is started anew. CI takes every so many; `ACCESSPOINT_EVERY_OPERATION=1`
takes them all.
"""

import os

import acts
import pytest
from scene import RECEIVER, SENDER, Broken
from storage_faults import COUNTED

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(3600)]

STRIDE = int(os.environ.get("ACCESSPOINT_EVERY_OPERATION", "131"))


async def play(walker, victim: str, argument: str) -> int:
    """One exchange with a disk that fails; how many operations there were in the first life of the victim."""
    scene = walker.scene
    counted = scene.plans[victim].directory / COUNTED
    counted.unlink(missing_ok=True)
    await acts.both(scene)
    await scene.begin(victim, changes=(f"nth-operation:{argument}",))
    async with scene.supervised():
        message = await acts.sent(scene)
        walker.sent.update(message)
        await scene.settled()
        await scene.check(walker.sent)
    return int(counted.read_text())


@pytest.mark.parametrize(
    ("victim", "words"),
    [
        (SENDER, "once"),
        (SENDER, "for-good"),
        (RECEIVER, "once"),
        (RECEIVER, "for-good"),
        (RECEIVER, "once/enospc"),
    ],
)
async def test_whichever_operation_fails_nothing_is_lost(sqlite, victim, words):
    await sqlite.start_anew()
    failed, number = 0, 1
    while True:
        try:
            operations = await play(sqlite, victim, f"{number}/{words}")
        except (Broken, AssertionError) as error:
            raise AssertionError(f"operation {number} at the {victim}, {words}: {error}") from error
        if operations < number:
            break
        failed += 1
        number += STRIDE
    assert failed >= 3
