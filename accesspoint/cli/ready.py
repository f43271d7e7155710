"""`accesspoint ready`: whether a node answers that it is ready; for health checks and start order.

A certificate that ends soon makes nobody unready, nor does a key that others can read since the start; both are told
beside the answer.
"""

import http.client
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from accesspoint.api.client import NodeAddress, NodeUnreachable
from accesspoint.certificates import due, key_holders
from accesspoint.cli.current import load_given
from accesspoint.clock import SystemClock
from accesspoint.config import Configuration
from accesspoint.problems import ExitStatus
from keys.store import find_open

PAUSE_SECONDS: Final = 0.2
ANSWER_SECONDS: Final = 2.0


def run(config: Path, *, wait: bool, seconds: float) -> int:
    """Ask, or ask until it is so; the exit status."""
    configuration = load_given(config)
    store = configuration.store.directory
    end = time.monotonic() + (seconds if wait else 0.0)
    while reason := _not_ready(store):
        if time.monotonic() >= end:
            sys.stderr.write(f"not ready: {reason}\n")
            for sentence in _opened(configuration):
                sys.stderr.write(f"  {sentence}\n")
            return ExitStatus.NOT_READY
        time.sleep(PAUSE_SECONDS)
    for sentence in (*due(configuration, SystemClock().now()), *_opened(configuration)):
        sys.stderr.write(f"ready, but {sentence}\n")
    return ExitStatus.OK


def _opened(configuration: Configuration) -> Iterator[str]:
    """What is open to others among our keys: the next start refuses it, and may be why there is no node."""
    for directory in key_holders(configuration):
        yield from find_open(directory)


def _not_ready(store: Path) -> str | None:
    """Why the node is not ready, or None when it is."""
    # No proxy from the environment: this is our own address.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        address = NodeAddress.load(store)
        with opener.open(f"{address.url}/readyz", timeout=ANSWER_SECONDS):
            return None
    except NodeUnreachable as error:
        return str(error)
    except (OSError, http.client.HTTPException):
        return f"{address.url} does not answer that it is"
