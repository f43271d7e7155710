"""`accesspoint network serve`: the miniature network for access points that somebody else starts.

The directory gets the authority, and for each organisation its keys and `accesspoint.toml`; `network.json`
stands there as long as the network is ready. Everything is on loopback: a network of containers shares one
network namespace.
"""

import asyncio
import json
import socket
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from cryptography import x509

from accesspoint import __version__, log
from accesspoint.cli.demo import stop_on_signals
from accesspoint.clock import SystemClock
from accesspoint.config import ConfigurationProblem, Finding
from accesspoint.config_pages import PublishedPages, read_pages
from accesspoint.demo.scenery import (
    ORGANISATIONS,
    REGISTER,
    Organisation,
    organisation_of,
    plan_nodes,
)
from accesspoint.demo.stage import PATIENT, reserve_ports
from accesspoint.demo.surroundings import Surroundings
from accesspoint.demo.timeline import Timeline
from accesspoint.ids import SystemIds
from accesspoint.network.listening import LOOPBACK
from accesspoint.network.miniature import Ports
from accesspoint.network.organisations import Organisations, read_organisations
from accesspoint.problems import ExitStatus, ProblemRaised
from accesspoint.process import protect
from envelope.sbdh_values import PARTICIPANT_PREFIX
from keys.store import load_certificate_files

READY_FILE: Final = "network.json"
_OPTIONAL: Final = frozenset({"endpoint_register", "addressing", "pages"})
"""Servers whose port is any free one where the topology says nothing: nodes are told where they are."""
_NODE_KEYS: Final = ("as4", "api")


@dataclass(frozen=True, slots=True)
class Topology:
    """Which port the servers of the network have, and those of each organisation's access point."""

    network: Ports
    nodes: dict[str, dict[str, int]]


def run(
    directory: Path, topology: Path | None, organisations: Path | None = None, pages: Path | None = None
) -> int:  # fmt: skip
    """Serve until SIGTERM or Ctrl-C; the exit status."""
    protect()
    published = None if pages is None else read_pages(pages)
    registered = read_organisations(organisations)
    ours = access_points_of(registered)
    where = free_topology(ours) if topology is None else load_topology(topology, ours)
    log.configure(level="error")
    require_free(where.network, topology)
    elsewhere = {} if organisations is None else _read_certificates(registered, organisations)
    return asyncio.run(_serve(directory.absolute(), where, registered, elsewhere, published))


def access_points_of(registered: Organisations) -> tuple[Organisation, ...]:
    """The organisations of a file whose access points are run from what is made here; the document register is not."""
    return tuple(
        organisation_of(one)
        for one in registered.organisation
        if one.access_point and one.url is None and one.key != REGISTER.key
    )


def _read_certificates(registered: Organisations, file: Path) -> dict[str, x509.Certificate]:
    """The certificates of access points that are elsewhere, by the organisation's key; they stand beside the file."""
    return {
        one.key: load_certificate_files([file.parent / one.certificate])[0]
        for one in registered.organisation
        if one.certificate is not None
    }


def free_topology(organisations: Sequence[Organisation] = ORGANISATIONS) -> Topology:
    """Any free ports for the network, and ports for the nodes that are free now."""
    free = iter(reserve_ports(len(organisations) * len(_NODE_KEYS)))
    return Topology(
        Ports(), {o.key: {key: next(free) for key in _NODE_KEYS} for o in organisations}
    )


def require_free(ports: Ports, topology: Path | None) -> None:
    """Raise `ProblemRaised` (`port-taken`) that names the first port of the network that somebody else has."""
    for field in fields(Ports):
        port = getattr(ports, field.name)
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            if port == 0 or (kind is socket.SOCK_DGRAM and field.name != "locator"):
                continue
            with socket.socket(socket.AF_INET, kind) as probe:
                if kind is socket.SOCK_STREAM:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((LOOPBACK, port))
                except OSError as error:
                    raise ProblemRaised(
                        "port-taken",
                        address=f"{LOOPBACK}:{port}",
                        where=f"{topology} [network] {field.name}",
                        detail=error.strerror,
                    ) from error


def load_topology(path: Path, organisations: Sequence[Organisation] = ORGANISATIONS) -> Topology:
    """Read network.toml; raises `ConfigurationProblem` with everything that is wrong in it."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _wrong(Finding(path.name, f"cannot be read: {error.strerror}")) from error
    except ValueError as error:
        raise _wrong(Finding(path.name, str(error))) from error
    expected = {"network": tuple(field.name for field in fields(Ports))}
    expected |= {organisation.key: _NODE_KEYS for organisation in organisations}
    findings = list(_check_names(document, tuple(expected), path.name))
    ports: dict[str, dict[str, int]] = {}
    for table, keys in expected.items():
        given = document.get(table)
        where = f"{path.name} [{table}]"
        if not isinstance(given, dict):
            findings.append(Finding(where, f"is missing; it has {', '.join(keys)}"))
            continue
        findings += _check_names(given, keys, where)
        needed = [key for key in keys if key not in _OPTIONAL]
        findings += [Finding(where, f'needs the key "{key}"') for key in needed if key not in given]
        findings += [
            Finding(f"{where} {key}", "is a port from 1 to 65535")
            for key in keys
            if key in given and not _is_port(given[key])
        ]
        ports[table] = given
    used = [port for table in ports.values() for port in table.values()]
    if not findings and len(set(used)) < len(used):
        findings.append(Finding(path.name, "gives one port to two servers"))
    if findings:
        raise _wrong(*findings)
    return Topology(Ports(**ports.pop("network")), ports)


async def _serve(
    base: Path,
    where: Topology,
    registered: Organisations,
    elsewhere: Mapping[str, x509.Certificate],
    published: PublishedPages | None,
) -> int:
    out, clock = Timeline(sys.stdout), SystemClock()
    stop = stop_on_signals()
    started = time.monotonic()
    ready = base / READY_FILE
    ready.unlink(missing_ok=True)
    out.say(f"  EHMI network in miniature {__version__}   TEST, on loopback, data in {base}")
    async with AsyncExitStack() as stack:
        ours = access_points_of(registered)
        plans = plan_nodes(base, apart=False, organisations=ours)
        around = await Surroundings.start(
            base, plans, stack, clock=clock, ids=SystemIds(clock), keep_reports=True, ports=where.network,
            organisations=ours, registered=registered, pages=published,
        )  # fmt: skip
        for key, certificate in elsewhere.items():
            one = registered.of_key(key)
            around.network.register(
                f"{PARTICIPANT_PREFIX}{one.gln}", one.documents, one.url or "", certificate
            )
        addresses = around.addresses()
        listen = {
            key: {name: f"{LOOPBACK}:{port}" for name, port in node.items()}
            for key, node in where.nodes.items()
        }
        for plan in plans:
            around.scenery.write_config(
                plan,
                network=addresses,
                listen=listen[plan.organisation.key],
                links={},
                give_up_after=PATIENT,
            )
        around.register({key: node["as4"] for key, node in listen.items()})
        around.follow_keys(stack)
        stack.callback(ready.unlink, missing_ok=True)
        ready.write_text(json.dumps(addresses))
        out.say(f"  SML {addresses['nameserver']}   SMP {around.network.smp_url}")
        out.say(f"  EAS {addresses['addressing']}   EER {around.network.register_url}")
        out.say(f"  EDS {addresses['status']}   tokens {addresses['token']}")
        way_in = f"code {around.network.pages_code}" if published is None else "through the issuer"
        out.say(f"  track and trace {around.network.pages_url}   {way_in}")
        out.say(f"  ready in {time.monotonic() - started:.1f} s; Ctrl-C ends it\n")
        for number, plan in enumerate(plans):
            out.say(
                f"  {'next:' if number == 0 else '     '}  accesspoint run --config {plan.config}"
            )
        await stop.wait()
    out.say("\n  stopped; the data is kept")
    return ExitStatus.OK


def _wrong(*findings: Finding) -> ConfigurationProblem:
    return ConfigurationProblem(findings, again="accesspoint network serve")


def _is_port(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 16


def _check_names(given: dict[str, Any], known: tuple[str, ...], where: str) -> list[Finding]:
    """One finding for each name that is not known, with the one that was probably meant."""
    found = []
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f'Did you mean "{near[0]}"?' if near else f"Known here: {', '.join(known)}."
            found.append(Finding(where, f'unknown key "{name}". {hint}'))
    return found
