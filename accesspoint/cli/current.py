"""Which node a command means: the one of a configuration file, or of the network that runs on this machine now.

`current.json` names the networks that run, the one that commands mean first. A network that ends takes out
only itself: what ran before it is meant again.
"""

import contextlib
import json
import os
import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from accesspoint.api.client import NodeAddress, NodeUnreachable
from accesspoint.config import ENVIRONMENT_PREFIX, Configuration, ConfigurationProblem, load
from accesspoint.configuration_file import check_certificates, check_key_files

POINTER: Final = "current.json"
KEYS_DIRECTORY: Final = f"{ENVIRONMENT_PREFIX}KEYS__DIRECTORY"
Json = dict[str, Any]


def data_home() -> Path:
    """Where networks keep their data unless told otherwise: `$ACCESSPOINT_HOME`, else the user's data directory."""
    given = os.environ.get("ACCESSPOINT_HOME")
    if given:
        return Path(given)
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "accesspoint"


def find_config(config: Path | None) -> Path:
    """The configuration file of the node that sends: the given one, else of the network that runs now.

    Raises `NodeUnreachable` when there is none.
    """
    return nodes_meant(config)[0]


def nodes_meant(config: Path | None) -> list[Path]:
    """The nodes that a command asks one after the other: the given one, else those of the network that runs now.

    Raises `NodeUnreachable` when there is none.
    """
    return [config] if config is not None else current_nodes()


def with_keys(directory: Path) -> str:
    """What stands before a command that is to be pasted, where it is about another key directory than the file says."""
    return f"{KEYS_DIRECTORY}={shlex.quote(str(directory))} "


def as_option(config: Path | None) -> str:
    """How a command that is to be pasted names the node that this one was about: as it was named here."""
    return "" if config is None else f" --config {shlex.quote(str(config))}"


def address_of(config: Path) -> NodeAddress:
    """The interface of a node; raises `NodeUnreachable` where none runs, `ConfigurationProblem`."""
    return NodeAddress.load(load_given(config).store.directory)


def load_given(path: Path, *, certificates: bool = False, keys: bool = False) -> Configuration:
    """Read a configuration; raises `ConfigurationProblem` that calls the file what the user called it.

    With `certificates` the files of partners are read too, which a node needs and most commands do not; with `keys`
    our key directories are looked at as well, which a node does for itself.
    """
    try:
        configuration = load(path)
        if certificates:
            check_certificates(path, configuration)
        if keys:
            check_key_files(path, configuration)
        return configuration
    except ConfigurationProblem as problem:
        findings = tuple(
            replace(finding, where=f"{path}{finding.where.removeprefix(path.name)}")
            if finding.where.startswith(path.name)
            else finding
            for finding in problem.findings
        )
        again = f"accesspoint config check --config {path}"
        raise ConfigurationProblem(findings, again=again) from None


def current_nodes() -> list[Path]:
    """The configuration files of the network that runs now, the sending node first."""
    try:
        networks = _read()
        running = next((one for one in networks if _runs(int(one["pid"]))), networks[0])
        nodes = [Path(path) for path in running["nodes"]]
        others = [one for one in networks if one != running and _runs(int(one["pid"]))]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise NodeUnreachable(f"no running network is recorded in {data_home()}") from error
    if others:
        sys.stderr.write(
            f"several networks run; this is about the one in {place_of(nodes)}, started last (another: --config FILE)\n"
        )
    return nodes


def place_of(nodes: list[Path]) -> Path:
    """The directory of a network, in which each node has one of its own."""
    return nodes[0].parents[min(1, len(nodes[0].parents) - 1)]


@contextlib.contextmanager
def current(nodes: list[Path]) -> Iterator[Path]:
    """Make these nodes the ones that commands mean for the length of the context; the file that says so."""
    home = data_home()
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    ours = {"nodes": [str(path) for path in nodes], "pid": os.getpid()}
    _write([ours, *_others(ours)])
    try:
        yield home / POINTER
    finally:
        _write(_others(ours))


def _others(ours: Json) -> list[Json]:
    """The other networks that still run, the latest first; a file that says nothing usable counts as none."""
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        return [one for one in _read() if one != ours and _runs(int(one["pid"]))]
    return []


def _read() -> list[Json]:
    networks: list[Json] = json.loads((data_home() / POINTER).read_text())["networks"]
    return networks


def _write(networks: list[Json]) -> None:
    """Replace the file in one step: a command never reads half of it."""
    pointer = data_home() / POINTER
    if not networks:
        pointer.unlink(missing_ok=True)
        return
    beside = pointer.with_name(f"{POINTER}.{os.getpid()}")
    beside.write_text(json.dumps({"networks": networks}))
    beside.replace(pointer)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True
