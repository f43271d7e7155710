"""`accesspoint ready`: whether a node answers that it is ready; for health checks and start order."""

import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from accesspoint.api.client import NodeAddress, NodeUnreachable
from accesspoint.config import ConfigurationProblem, load

READY, CONFIGURATION, NOT_READY = 0, 3, 8
PAUSE_SECONDS = 0.2


def run(config: Path, *, wait: bool, seconds: float) -> int:
    """Ask, or ask until it is so; the exit status."""
    try:
        store = load(config).store.directory
    except ConfigurationProblem as problem:
        sys.stderr.write(f"{problem}\n")
        return CONFIGURATION
    end = time.monotonic() + (seconds if wait else 0.0)
    while not _is_ready(store):
        if time.monotonic() >= end:
            sys.stderr.write("not ready\n")
            return NOT_READY
        time.sleep(PAUSE_SECONDS)
    return READY


def _is_ready(store: Path) -> bool:
    try:
        address = NodeAddress.load(store)
        with urllib.request.urlopen(f"{address.url}/readyz", timeout=2) as answer:  # noqa: S310 - our own address
            return bool(answer.status == 200)
    except (NodeUnreachable, urllib.error.URLError, OSError):
        return False
