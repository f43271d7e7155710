"""`accesspoint dev` from outside: what is asked of it stands in the nodes' files, and it outlives none of its nodes."""

import os
import signal
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

from .conftest import Command, Ended, finish


def test_only_known_ways_to_acknowledge_are_taken(invoke: Callable[..., Ended]) -> None:
    told = "--acknowledge is `automatic` or `on-demand`\n"
    assert invoke("dev", "--acknowledge", "never") == Ended(2, "", told)


def test_a_node_that_is_killed_ends_the_network_and_is_named(
    command: Command, read_until: Callable[[subprocess.Popen[str], str, int], list[str]]
) -> None:
    network = command.start("dev", "--acknowledge", "on-demand")
    read_until(network, "Ctrl-C ends it", 1)
    config = command.home / "data" / "dev" / "clinic" / "accesspoint.toml"
    assert tomllib.loads(config.read_text())["acknowledging"]["fhir"] == "on-demand"
    os.kill(process_of(config), signal.SIGKILL)
    ended = finish(network)
    assert ended.status == 1
    assert ended.err.startswith("\nclinic ended by itself (signal 9), so the network stops;")
    assert ended.out.endswith("stopped; the data is kept\n")


def process_of(config: Path) -> int:
    """The process that runs this configuration."""
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(config).encode() in entry.read_bytes().split(b"\0"):
                return int(entry.parent.name)
        except OSError:
            continue
    raise AssertionError(f"nothing runs {config}")
