"""The simulator can go red: under each planted fault a seed breaks a promise, within a stated number of seeds."""

import pytest

from tests.simulation.faults import FAULTS
from tests.simulation.simulation import run_seed
from tests.simulation.stage import Stage

FIRST = {
    "dedupe off": 0,
    "receipt before commit": 1,
    "no fsync": 0,
    "no fsync of payloads": 0,
    "outbox mark before post": 0,
    "lease ignored": 2,
    "acknowledged without verification": 25,
    "event dropped": 0,
    "delivered again": 0,
}
"""The first seed that caught each when this was written."""
WITHIN = 60
"""Where a change of the nodes has made another seed the first, it is one of so many."""


def test_every_fault_is_tried() -> None:
    assert FIRST.keys() == FAULTS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_planted_fault_breaks_a_promise(stage: Stage, name: str) -> None:
    with FAULTS[name]():
        seeds = [FIRST[name], *range(WITHIN)]
        assert any(run_seed(seed, stage).violations for seed in seeds), f"{name} is not noticed"
