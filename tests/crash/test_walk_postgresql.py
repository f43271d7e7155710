"""A bounded set of crash points on PostgreSQL: those around its commits and leases; `walk.py --full` plays all of them."""

import pytest

from accesspoint.failpoints import Fault

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

KILLED = ("S3", "S7", "S12", "S14", "R8", "R11", "R12", "R13", "D1", "D3", "O3", "O4", "M1", "M7")
RAISED = ("S2", "R10", "R12", "O5")
STALLED = ("S12", "D3")


@pytest.mark.parametrize(
    ("point", "fault"),
    [
        *((point, Fault.KILL) for point in KILLED),
        *((point, Fault.RAISE) for point in RAISED),
        *((point, Fault.STALL) for point in STALLED),
    ],
)
async def test_nothing_is_lost_and_nothing_comes_twice(postgresql, point, fault):
    result = await postgresql.run(point, fault)
    assert result.broken is None
