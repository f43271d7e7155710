"""Fuzz the readers: `python -m tests.fuzz.run [TARGET ...] --seconds 60`.

Each target runs in a process of its own, `--at-once` of them, and a table tells its executions, what it reached and
what broke it. A crash is kept below `tests/fuzz/crashes` and from then on replayed by `tests/fuzz/test_seeds.py`.
With `--corpus FOLDER` what was learnt is kept for the next run. The exit status is 1 where a target broke, 2 where
atheris is not installed.
"""

import argparse
import importlib.util
import io
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.fuzz import CRASHES, WHERE_ATHERIS_IS

_STATISTIC: Final = re.compile(r"^stat::number_of_executed_units: +(\d+)", re.MULTILINE)
_PROGRESS: Final = re.compile(r"^#(\d+)\t.*?cov: (\d+).*?corp: (\d+)", re.MULTILINE)
_GRACE_SECONDS: Final = 180.0
_LOOKED_EVERY: Final = 0.1
_TOLD_EVERY: Final = 10.0
_HEAD: Final = (
    f"{'target':<14} {'executions':>12} {'a second':>10} {'branches':>8} {'corpus':>7}  crashes"
)


@dataclass
class Run:
    """One target under way: its process, and where it writes."""

    target: str
    process: int
    began: float
    until: float
    said: Path
    crashes: Path
    before: frozenset[str]
    status: int = 0

    def text(self) -> str:
        """What libFuzzer has said so far."""
        return self.said.read_text("utf-8", "replace")

    @property
    def executions(self) -> int:
        """How often the target was called, as last told."""
        text = self.text()
        counted = _STATISTIC.findall(text) or [number for number, _, _ in _PROGRESS.findall(text)]
        return int(counted[-1]) if counted else 0

    @property
    def broken(self) -> list[str]:
        """The inputs that were kept, or why there are none though the target ended in failure."""
        kept = sorted({path.name for path in self.crashes.iterdir()} - self.before)
        return kept or ([f"exit status {self.status}"] if self.status else [])

    def row(self) -> str:
        """One line of the table."""
        reached, corpus = (_PROGRESS.findall(self.text()) or [("", 0, 0)])[-1][1:]
        rate = self.executions / max(0.1, time.monotonic() - self.began)
        return (
            f"{self.target:<14} {self.executions:>12,} {rate:>10,.0f} {int(reached):>8,} {int(corpus):>7,}"
            f"  {', '.join(self.broken) or 'none'}"
        )


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


@contextmanager
def _scratch() -> Iterator[Path]:
    # Not a TemporaryDirectory, which a forked child would remove when it ends.
    directory = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _start(target: str, seconds: float, corpus: Path, crashes: Path, said: Path) -> Run:
    from tests.fuzz.atheris_process import fork  # which exists only where atheris does
    from tests.fuzz.seeds import seeds_of
    from tests.fuzz.targets import TARGETS

    for folder in (corpus, crashes):
        folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds_of(target) if target in TARGETS else ()):
        (corpus / f"seed-{number}").write_bytes(seed)
    before = frozenset(path.name for path in crashes.iterdir())
    said.touch()
    process = fork(target, seconds=seconds, corpus=corpus, crashes=crashes, said=said)
    now = time.monotonic()
    return Run(target, process, now, now + seconds + _GRACE_SECONDS, said, crashes, before)


def _ended(running: list[Run]) -> Iterator[Run]:
    for run in running:
        if time.monotonic() > run.until:
            os.kill(run.process, signal.SIGKILL)
        process, status = os.waitpid(run.process, os.WNOHANG)
        if process:
            run.status = os.waitstatus_to_exitcode(status)
            yield run


def fuzz(
    targets: list[str], seconds: float, *, at_once: int, corpus: Path, crashes: Path
) -> Iterator[Run]:
    """Run targets side by side and give each when it has ended; all end when the caller stops asking."""
    waiting, running = list(reversed(targets)), list[Run]()
    told = time.monotonic()
    with _scratch() as scratch:
        try:
            while waiting or running:
                while waiting and len(running) < at_once:
                    name = waiting.pop()
                    said = scratch / f"{name}.said"
                    running.append(_start(name, seconds, corpus / name, crashes / name, said))
                for run in list(_ended(running)):
                    running.remove(run)
                    yield run
                if time.monotonic() - told > _TOLD_EVERY:
                    told = time.monotonic()
                    _tell("  ".join(f"… {one.target} {one.executions:,}" for one in running))
                time.sleep(_LOOKED_EVERY)
        finally:
            for run in running:
                os.kill(run.process, signal.SIGKILL)
                os.waitpid(run.process, 0)


def main(arguments: list[str] | None = None) -> int:
    """Read the command line and fuzz; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.run", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="all unless named")
    parser.add_argument("--seconds", type=float, default=60, help="for each target")
    parser.add_argument("--at-once", type=int, default=1)
    parser.add_argument("--corpus", type=Path, help="kept and used again; else thrown away")
    parser.add_argument("--crashes", type=Path, default=CRASHES)
    wanted = parser.parse_args(arguments)
    if importlib.util.find_spec("atheris") is None:
        _tell(f"atheris is not installed: {WHERE_ATHERIS_IS}")
        return 2
    with redirect_stderr(io.StringIO()):  # in which atheris names every module
        from tests.fuzz.atheris_process import PLANTED, TARGETS

    unknown = set(wanted.targets) - TARGETS.keys() - PLANTED.keys()
    if unknown:
        parser.error(f"no target is called {', '.join(sorted(unknown))}: {', '.join(TARGETS)}")
    targets = wanted.targets or list(TARGETS)
    _tell(
        f"{len(targets)} targets, {wanted.seconds:.0f} s each, {wanted.at_once} at once\n\n{_HEAD}"
    )
    executions, broken = 0, []
    with _scratch() as scratch:
        for run in fuzz(
            targets,
            wanted.seconds,
            at_once=wanted.at_once,
            corpus=(wanted.corpus or scratch).absolute(),
            crashes=wanted.crashes.absolute(),
        ):
            _tell(run.row())
            executions += run.executions
            if run.broken:
                broken.append(run.target)
                _tell(run.text()[run.text().find("=== Uncaught") :][-3_000:])
            elif not any(run.crashes.iterdir()):
                run.crashes.rmdir()
    _tell(f"\n{executions:,} executions, {len(broken)} targets broken")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
