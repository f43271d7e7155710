"""Three nodes over one PostgreSQL: any two are killed at seeded moments, any one sleeps past its lease, and nothing is lost or doubled."""

import sys
from pathlib import Path

import pytest
from postgresql_server import running

from tests.nodes.run import play, story, summary


@pytest.mark.slow
@pytest.mark.timeout(230)
@pytest.mark.parametrize("seed", [1])
async def test_any_two_may_die_and_a_sleeper_is_fenced(tmp_path: Path, seed: int) -> None:
    with running() as server:
        account = await play(server, tmp_path, seed=seed, moments=7)
    sys.stdout.write("\n".join([summary(account), *story(account), ""]))
    assert account.faults == []
    assert (account.kills, account.pauses, account.outages) == (8, 2, 1)
    assert account.takeovers, "nobody died with work in hand: the round proves too little"
    assert account.submitted > 20
