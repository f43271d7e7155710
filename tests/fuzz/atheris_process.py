"""One fuzzed target in a process of its own, forked from one that has instrumented the readers once for all.

atheris ends the process itself, at the first crash or when the time is over; so nobody imports this but `run`, which
forks, and which has checked that atheris is there.
"""

import ctypes
import os
import time
from pathlib import Path

import atheris

from tests.fuzz.mutation import OCTETS, mutate

INSTRUMENTED = (
    "envelope",
    "accesspoint.config",
    "accesspoint.configuration_file",
    "accesspoint.toml",
    "tests.fuzz.planted",
)
CPU_SECONDS = 5
"""One input that costs more, instrumented as the readers are, is a finding."""
HANG_SECONDS = 120
"""And so is one that never ends; a busy machine must not be one."""
MEBIBYTES = 900

with atheris.instrument_imports(include=list(INSTRUMENTED), enable_loader_override=False):
    from tests.fuzz.planted import PLANTED
    from tests.fuzz.targets import TARGETS, Broken


def fork(name: str, *, seconds: float, corpus: Path, crashes: Path, said: Path) -> int:
    """Start fuzzing a target for that long and give the process id; what libFuzzer says goes to the file `said`."""
    process = os.fork()
    if process:
        return process
    with said.open("wb") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    status = 70  # which nobody sees: atheris ends the process
    try:
        _fuzz(name, seconds, corpus, crashes)
    except SystemExit as ending:
        status = ending.code if isinstance(ending.code, int) else status
    finally:
        # libFuzzer keeps the input when C ends the process; nothing of the parent's is tidied up in Python by its child.
        ctypes.CDLL(None).exit(status)


def _fuzz(name: str, seconds: float, corpus: Path, crashes: Path) -> None:
    target = (TARGETS | PLANTED)[name]

    def once(data: bytes) -> None:
        before = time.thread_time()
        target.check(data)
        if time.thread_time() - before > CPU_SECONDS:
            raise Broken("an input that costs too much")

    def change(data: bytes, room: int, seed: int) -> bytes:
        changed = mutate(target.kind, data, seed) if seed % 3 else None
        return bytes(atheris.Mutate(data, room)) if changed is None else changed[:room]

    atheris.Setup(
        [
            name,
            str(corpus),
            f"-max_total_time={max(1, round(seconds))}",
            f"-max_len={OCTETS}",
            f"-timeout={HANG_SECONDS}",
            f"-rss_limit_mb={MEBIBYTES}",
            f"-artifact_prefix={crashes}/",
            "-print_final_stats=1",
            "-len_control=0",
        ],
        once,
        custom_mutator=change,
    )
    atheris.Fuzz()
