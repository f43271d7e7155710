"""Rounds of killed and paused nodes: `python -m tests.nodes.run --rounds N --seed S`; each round is a cluster of its own."""

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from pathlib import Path

import postgresql_server

from tests.nodes.cluster import Cluster
from tests.nodes.round import Account, Round

STORY_LINES = 10


async def play(
    server: postgresql_server.PostgresqlServer, base: Path, *, seed: int, moments: int
) -> Account:
    """One round in a directory of its own."""
    async with Cluster.open(base, server, seed=seed) as cluster:
        return await Round(cluster, seed=seed).play(moments=moments)


def story(account: Account) -> list[str]:
    """The round in at most ten lines: its first moments, and what each node did."""
    told = account.story
    moments = [line for line in told if " s  " in line[:9]]
    closing = [line for line in told if line not in moments]
    return [*moments[: STORY_LINES - len(closing)], *closing]


def say(line: str) -> None:
    """Show a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def summary(account: Account) -> str:
    """One line of figures."""
    slowest = max(account.takeovers, default=0.0)
    return (
        f"seed {account.seed}: {account.submitted} messages in {account.seconds:.0f} s, {account.kills} kills,"
        f" {account.pauses} pauses, {account.outages} outages of the database, {account.fenced} late writes fenced, take-over at most {slowest:.1f} s,"
        f" restart at most {max(account.starts, default=0.0):.1f} s: {len(account.faults)} faults"
    )


def main() -> int:
    """Run with the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument(
        "--seed", type=int, default=1, help="of the first round; each further one is one more"
    )
    parser.add_argument(
        "--moments",
        type=int,
        default=12,
        help="kills of two, pauses, and outages of the database, in a round",
    )
    parser.add_argument("--directory", type=Path, help="where the stores stand; a real disk")
    arguments = parser.parse_args()
    # What the driver says of a database that is stopped on purpose is no news.
    logging.getLogger("asyncpg").setLevel(logging.CRITICAL)
    broken, began = 0, time.monotonic()
    account: Account | None = None
    with postgresql_server.running() as server:
        for number in range(arguments.rounds):
            with tempfile.TemporaryDirectory(prefix="nodes-", dir=arguments.directory) as name:
                account = asyncio.run(
                    play(
                        server, Path(name), seed=arguments.seed + number, moments=arguments.moments
                    )
                )
            broken += bool(account.faults)
            say(
                f"[{number + 1}/{arguments.rounds}, {time.monotonic() - began:.0f} s] {summary(account)}"
            )
            for fault in account.faults[:20]:
                say(f"  {fault}")
    if account is not None:
        say("\n  ".join(["\nthe last round:", *story(account)]))
    say(
        f"\n{arguments.rounds - broken} of {arguments.rounds} rounds lost nothing and doubled nothing"
    )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
