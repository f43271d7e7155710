"""The CPU time of one piece of work, without the garbage that all tests before it left to be collected."""

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(slots=True)
class CpuTime:
    """Seconds of CPU, user and system, once the work is done."""

    seconds: float = 0.0


@contextmanager
def cpu_time() -> Iterator[CpuTime]:
    """Measure what is done inside; a collection of the whole heap of a test run would count for several limits."""
    measured = CpuTime()
    gc.disable()
    begun = time.process_time()
    try:
        yield measured
    finally:
        measured.seconds = time.process_time() - begun
        gc.enable()
