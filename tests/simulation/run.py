"""Run many seeds, or tell the story of one: `python -m tests.simulation.run --seeds 10000 --from 1`, `--seed 17 --trace`.

Ends with 1 when a promise was broken; each failing seed is printed as the command that reproduces it.
"""

import argparse
import gc
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import islice

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tests.simulation.simulation import Report, run_seed
from tests.simulation.stage import Stage

CHUNK = 25


def run_chunk(seeds: Iterable[int]) -> list[Report]:
    """Run some seeds in this process."""
    reports = []
    with Stage.open() as stage:
        for seed in seeds:
            reports.append(run_seed(seed, stage))
            # A run leaves many cycles of large objects, too few of them for the collector to come by itself.
            gc.collect()
    return reports


def run_seeds(first: int, count: int, *, processes: int) -> Iterator[list[Report]]:
    """Run seeds in several processes; yields the reports in chunks as they come."""
    seeds = iter(range(first, first + count))
    chunks = iter(lambda: list(islice(seeds, CHUNK)), [])
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        for done in as_completed([pool.submit(run_chunk, chunk) for chunk in chunks]):
            yield done.result()


def command(seed: int) -> str:
    """The line that reproduces a seed."""
    return f"python -m tests.simulation.run --seed {seed} --trace"


def summarise(reports: list[Report]) -> Table:
    """What happened in all runs, as a table."""
    counts: Counter[str] = Counter()
    for report in reports:
        counts.update(report.counts)
    table = Table("what", "how often", title=f"{len(reports)} seeds")
    rows: dict[str, object] = {
        "virtual hours": f"{sum(report.virtual_seconds for report in reports) / 3600:.1f}",
        "steps of the loop": sum(report.steps for report in reports),
        **dict(sorted(counts.items())),
        "broken promises": sum(bool(report.violations) for report in reports),
    }
    for what, number in rows.items():
        table.add_row(what, str(number))
    return table


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.run", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many (100)")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first one (0)")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--trace", action="store_true", help="tell the story of --seed")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(arguments)
    console = Console(soft_wrap=True)
    if options.seed is not None:
        with Stage.open() as stage:
            report = run_seed(options.seed, stage, tells=options.trace)
        for line in report.story:
            sys.stdout.write(line + "\n")
        promises = f"{len(report.violations)} broken promises"
        sys.stdout.write(f"seed {report.seed}: {promises}, story {report.digest}\n")
        return int(bool(report.violations))
    began, reports = time.monotonic(), []
    columns = (TextColumn("seeds"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("seeds", total=options.seeds)
        for chunk in run_seeds(options.first, options.seeds, processes=options.processes):
            reports += chunk
            progress.advance(bar, len(chunk))
            for report in chunk:
                for violation in report.violations[:3]:
                    progress.console.print(f"seed {report.seed}: {violation}", markup=False)
    console.print(summarise(reports))
    failed = sorted(report.seed for report in reports if report.violations)
    for seed in failed:
        console.print(command(seed), markup=False)
    console.print(f"{len(reports)} seeds in {time.monotonic() - began:.0f} s, {len(failed)} failed")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
