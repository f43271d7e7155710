"""`accesspoint verify`: holds the store of a node, running or stopped, to what the access point promises."""

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TextIO

import orjson

from accesspoint.cli.current import current_nodes, load_given
from accesspoint.problems import ExitStatus
from accesspoint.verification import Report, verify_directory, verify_node

CONFIGURATION: Final = "accesspoint.toml"
SHOWN_AFTER_SECONDS: Final = 1.0
SHOWN_EVERY_SECONDS: Final = 0.2


def run(directory: Path | None, *, config: Path | None, logs: Sequence[Path], json: bool) -> int:
    """Verify one store, or those of the network that runs now; the exit status."""
    given = [place for place in (directory, config) if place is not None]
    reports = [_verify(place, logs) for place in given or current_nodes()]
    for report in reports:
        if json:
            sys.stdout.write(orjson.dumps(report.to_json()).decode() + "\n")
        else:
            sys.stdout.write(report.render() + "\n")
    whole = all(report.held and not report.unread for report in reports)
    return ExitStatus.OK if whole else ExitStatus.FAILED


def _verify(place: Path, logs: Sequence[Path]) -> Report:
    progress = _Progress(sys.stderr)
    file = place / CONFIGURATION if place.is_dir() else place
    try:
        if file.exists() or not place.is_dir():
            configuration = load_given(file)
            return asyncio.run(verify_node(configuration, progress=progress, logs=logs))
        return asyncio.run(verify_directory(place.absolute(), progress=progress, logs=logs))
    finally:
        progress.clear()


class _Progress:
    """Shows on a terminal what is checked, once it takes long."""

    def __init__(self, out: TextIO) -> None:
        self._out = out if out.isatty() else None
        self._next = time.monotonic() + SHOWN_AFTER_SECONDS
        self._width = 0

    def __call__(self, name: str, checked: int) -> None:
        now = time.monotonic()
        if self._out is None or now < self._next:
            return
        self._next = now + SHOWN_EVERY_SECONDS
        text = f"  {name}: {checked:,} checked"
        self._out.write("\r" + text.ljust(self._width))
        self._out.flush()
        self._width = len(text)

    def clear(self) -> None:
        """Take the line away."""
        if self._out is not None and self._width:
            self._out.write("\r" + " " * self._width + "\r")
            self._out.flush()
