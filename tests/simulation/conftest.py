"""The simulator is a program of its own (`python -m tests.simulation.run`); its tests import it by that name."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))


@pytest.fixture(scope="module")
def stage() -> Iterator[object]:
    """The keys, the empty store and the documents of all runs."""
    from tests.simulation.stage import Stage

    with Stage.open() as made:
        yield made
