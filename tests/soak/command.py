"""The command line that the programs of the soak share."""

import argparse
import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

PATIENCE_SECONDS = 30.0


def run_program(
    run: Callable[[argparse.Namespace, Path], Awaitable[int]],
    description: str | None,
    *,
    amount: str,
    default: int,
) -> int:
    """Run with the arguments of the command line, of which `--AMOUNT` says how much; the exit status."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(f"--{amount}", type=int, default=default)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--directory", type=Path, help="where the stores stand; a real disk")
    parser.add_argument("--planted", help="a fault to plant in both nodes, see tests/soak/planted")
    parser.add_argument("--patience", type=float, default=PATIENCE_SECONDS,
                        help="seconds without any movement after which nothing more is expected")  # fmt: skip
    arguments = parser.parse_args()

    async def whole(base: Path) -> int:
        return await run(arguments, base)

    with tempfile.TemporaryDirectory(prefix=f"{amount}-", dir=arguments.directory) as name:
        return asyncio.run(whole(Path(name)))
