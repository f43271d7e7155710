"""Which node a command means: the one of a configuration file, or of the network that runs on this machine now."""

import json
import os
from pathlib import Path
from typing import Final

from accesspoint.api.client import NodeAddress, NodeUnreachable
from accesspoint.config import load

POINTER: Final = "current.json"


def data_home() -> Path:
    """Where networks keep their data unless told otherwise: `$ACCESSPOINT_HOME`, else the user's data directory."""
    given = os.environ.get("ACCESSPOINT_HOME")
    if given:
        return Path(given)
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "accesspoint"


def find_node(config: Path | None) -> NodeAddress:
    """The interface of the node that sends: raises `NodeUnreachable` when there is none, `ConfigurationProblem`."""
    if config is not None:
        return _address_of(config)
    nodes = current_nodes()
    return _address_of(nodes[0])


def current_nodes() -> list[Path]:
    """The configuration files of the network that runs now, the sending node first."""
    try:
        pointer = json.loads((data_home() / POINTER).read_text())
        return [Path(path) for path in pointer["nodes"]]
    except (OSError, ValueError, KeyError) as error:
        raise NodeUnreachable("no network runs on this machine") from error


def set_current(nodes: list[Path]) -> Path:
    """Make these nodes the ones that commands mean; returns the pointer file, to be removed at the end."""
    home = data_home()
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    pointer = home / POINTER
    pointer.write_text(json.dumps({"nodes": [str(path) for path in nodes]}))
    return pointer


def _address_of(config: Path) -> NodeAddress:
    return NodeAddress.load(load(config).store.directory)
