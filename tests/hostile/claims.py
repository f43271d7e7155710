"""A pytest plugin that says which cases each test plays and what was refused meanwhile: `-p tests.hostile.claims`.

Both stand in the properties of a test, so they reach the reports, also out of a worker of pytest-xdist. With
`--claims FILE` the claims of all collected tests are written to that file, which needs no test to run.
"""

import json
import resource
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

CLAIMS, POSITIVE, REFUSALS = "attacks", "positive", "refusals"
ACCEPTED, PEAK, WITHOUT = "accepted", "peak-kib", "without-gates"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--claims", type=Path, help="write the cases that each test plays, as JSON")


def claims_of(item: pytest.Item) -> list[str]:
    """The ids that the marks of a test name, those of its function and of its parameters together."""
    return sorted({case for marker in item.iter_markers("attack") for case in marker.args})


def pytest_collection_finish(session: pytest.Session) -> None:
    """Note the claims of what was chosen to run."""
    found = {item.nodeid: claims_of(item) for item in session.items}
    for item in session.items:
        item.user_properties.append((CLAIMS, found[item.nodeid]))
        item.user_properties.append((POSITIVE, item.get_closest_marker("positive") is not None))
    if file := session.config.getoption("--claims"):
        file.write_text(json.dumps({test: ids for test, ids in found.items() if ids}), "utf-8")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Note what the arena saw during one test."""
    arena = sys.modules.get("as4_arena")
    if arena is None:
        return (yield)
    arena.refused.clear()
    arena.accepted.clear()
    try:
        return (yield)
    finally:
        item.user_properties += [
            (REFUSALS, [asdict(one) for one in arena.refused]),
            (ACCEPTED, len(arena.accepted)),
            (PEAK, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss),
        ]
