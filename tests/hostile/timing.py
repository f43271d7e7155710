"""How long answers take: what a stopwatch could tell apart that the answers do not.

    python -m tests.hostile.timing [--pairs 300]

For each question pairs of requests are sent to one node in random order, one of each kind, and the two samples are
compared by Welch's t. With |t| below 4.5 nothing was seen at this number of pairs; 10,000 pairs is what a published
claim would need. This is a report: how busy the machine is shows in it, so nothing is asserted.
"""

import argparse
import asyncio
import math
import random
import re
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from arena_opening import open_alone
from as4_arena import Arena
from as4_stage import STRANGER, THIRD_PARTY
from as4_wire import Author, Wire
from rich.console import Console
from rich.table import Table

from accesspoint.demo.scenery import MUNICIPALITY

SEEN: Final = 4.5
WARM_PAIRS: Final = 10
_CIPHER: Final = re.compile(rb"<xenc:CipherValue>....")
"""The beginning of the wrapped key, which names us all the same: for whom a key is wrapped is no secret of ours."""

Kind = Callable[[], Wire]


def questions(arena: Arena) -> dict[str, tuple[Kind, Kind]]:
    """What is asked, and how the two kinds of requests are written."""
    stranger = arena.pki.certify(STRANGER, authority=arena.pki.untrusted_authority).signer()
    third = Author(arena.pki.third.signer(), arena.node.certificate, party=THIRD_PARTY)

    def in_the_name_of(party: str) -> Kind:
        return Author(stranger, arena.node.certificate, party=party).compose

    def bad_key() -> Wire:
        return arena.author.compose().with_soap(
            lambda soap: _CIPHER.sub(b"<xenc:CipherValue>AAAA", soap)
        )

    def bad_tag() -> Wire:
        return arena.author.compose().with_part(
            0, lambda octets: octets[:-1] + bytes([octets[-1] ^ 1])
        )

    return {
        "a forged message of a known or an unknown party": (
            in_the_name_of(MUNICIPALITY.access_point),
            in_the_name_of(STRANGER),
        ),
        "a MessageId that another party used, or nobody": (
            lambda: third.compose(message_id=used.pop()),
            third.compose,
        ),
        "a key that does not unwrap, a part that does not decrypt": (bad_key, bad_tag),
    }


used: list[str] = []
"""MessageIds of messages that the municipality has sent, each to be used once more."""


async def compare(
    arena: Arena, kinds: tuple[Kind, Kind], pairs: int
) -> tuple[list[float], list[float]]:
    """The seconds that each of `pairs` requests of either kind took."""
    taken: tuple[list[float], list[float]] = ([], [])
    for number in range(pairs + WARM_PAIRS):
        wires = [kind() for kind in kinds]
        for which in random.sample((0, 1), 2):
            begun = time.perf_counter()
            await arena.client.post(wires[which])
            if number >= WARM_PAIRS:
                taken[which].append(time.perf_counter() - begun)
        await arena.node.idle()
    return taken


def welch(first: list[float], second: list[float]) -> float:
    """Welch's t of two samples."""
    spread = statistics.variance(first) / len(first) + statistics.variance(second) / len(second)
    return (statistics.fmean(first) - statistics.fmean(second)) / math.sqrt(spread)


async def report(pairs: int) -> Table:
    """Ask all questions of a node that is started for it."""
    table = Table(title=f"{pairs} pairs; |t| of {SEEN} and more was seen")
    for column in ("", "first ms", "second ms", "difference µs", "t", "seen"):
        table.add_column(column, justify="right" if column else "left")
    async with open_alone("error") as arena:
        for _ in range(pairs + WARM_PAIRS):
            wire = arena.author.compose()
            await arena.client.post(wire)
            used.append(wire.message_id)
        await arena.node.idle()
        for question, kinds in questions(arena).items():
            first, second = await compare(arena, kinds, pairs)
            medians = [1000 * statistics.median(one) for one in (first, second)]
            t = welch(first, second)
            table.add_row(
                question, f"{medians[0]:.2f}", f"{medians[1]:.2f}", f"{1000 * (medians[0] - medians[1]):+.0f}",
                f"{t:+.1f}", "yes" if abs(t) >= SEEN else "no",
            )  # fmt: skip
    return table


def main() -> int:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--pairs", type=int, default=300)
    Console(width=130).print(asyncio.run(report(options.parse_args().pairs)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
