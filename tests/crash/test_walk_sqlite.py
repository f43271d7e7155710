"""Each crash point on SQLite: the process killed there, and an exception raised there."""

import pytest
from scenarios import SCENARIOS

from accesspoint.failpoints import Fault

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


@pytest.mark.parametrize("fault", [Fault.KILL, Fault.RAISE])
@pytest.mark.parametrize("point", SCENARIOS)
async def test_nothing_is_lost_and_nothing_comes_twice(sqlite, point, fault):
    result = await sqlite.run(point, fault)
    assert result.broken is None
