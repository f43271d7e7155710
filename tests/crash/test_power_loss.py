"""Power cuts at crash points: of what nobody synchronised any part may be gone, of what was answered for nothing."""

import pytest
from scenarios import SCENARIOS

from accesspoint.failpoints import Fault

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

POINTS = (
    "S2",
    "S3",
    "S7",
    "S12",
    "S14",
    "R5",
    "R6",
    "R7",
    "R8",
    "R11",
    "R12",
    "R13",
    "D3",
    "D4",
    "O4",
    "O5",
)


@pytest.mark.parametrize("point", POINTS)
async def test_a_power_cut_takes_nothing_that_was_answered_for(sqlite, point):
    scene, victim = sqlite.scene, SCENARIOS[point].victim
    scene.always = {victim: (f"power-loss:{point}",)}
    try:
        result = await sqlite.run(point, Fault.KILL)
    finally:
        scene.always = {}
    assert result.broken is None
