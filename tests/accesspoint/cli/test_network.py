"""`accesspoint network serve`: two access points run from what it wrote exchange a message."""

import json
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from accesspoint.cli.network import Topology, free_topology, load_topology
from accesspoint.config import ConfigurationProblem, load
from accesspoint.network.miniature import Ports

from .conftest import ROOT, Command, Ended, Network, interrupt

Invoke = Callable[..., Ended]
COMPOSE = ROOT / "compose"


def test_a_message_goes_through_two_nodes_that_others_started(
    network: Network, invoke: Invoke
) -> None:
    path = network.message("through.json")
    ended = invoke("send", path, "--config", network.config("municipality"))
    assert (ended.status, ended.err) == (0, "")
    assert "FHIR Acknowledgement matched to its message: ok" in ended.out
    identifier = ended.out.split()[1]
    [received] = (network.directory / "clinic" / "received").glob(f"{identifier}.json")
    assert received.read_bytes() == path.read_bytes()


def test_everything_is_where_the_topology_says(network: Network) -> None:
    said = json.loads((network.directory / "network.json").read_text())
    assert said["nameserver"] == f"127.0.0.1:{network.ports['locator']}"
    assert said["status"] == f"https://127.0.0.1:{network.ports['status']}/fhir"
    assert f":{network.ports['authorization']}/" in said["token"]
    assert f":{network.ports['revocation']}/" in said["crl_urls"]
    assert any(
        f"SMP http://127.0.0.1:{network.ports['publisher']}" in line for line in network.said
    )
    for key, line in zip(("municipality", "clinic"), network.ready, strict=True):
        assert json.loads(line)["ready"] == {
            name: f"127.0.0.1:{network.ports[f'{key}.{name}']}" for name in ("as4", "api")
        }


def test_what_it_wrote_is_private_and_holds_in_every_check(network: Network) -> None:
    for key in ("municipality", "clinic"):
        path = network.config(key)
        assert load(path, {}).label == key
        assert path.stat().st_mode & 0o077 == 0
        assert (path.parent / "keys").stat().st_mode & 0o077 == 0
        assert "127.0.0.1" in path.read_text()
        assert "0.0.0.0" not in path.read_text()


def test_a_taken_port_is_named_and_nothing_is_made(
    network: Network, invoke: Invoke, tmp_path: Path
) -> None:
    ended = invoke(
        "network", "serve", "--directory", tmp_path / "other", "--topology",
        network.command.home / "network.toml",
    )  # fmt: skip
    assert ended.status == 3
    assert ended.err.startswith("port-taken")
    assert f"127.0.0.1:{network.ports['locator']}" in ended.err
    assert "[network] locator" in ended.err
    assert not (tmp_path / "other").exists()


def test_it_stops_cleanly_and_takes_up_what_it_made(
    command: Command, read_until: Callable[..., list[str]]
) -> None:
    certificates = []
    for number in (signal.SIGTERM, signal.SIGINT):
        serving = command.start("network", "serve", "--directory", "made")
        read_until(serving, "accesspoint run --config", 2)
        assert (command.home / "made" / "network.json").exists()
        certificates.append((command.home / "made/clinic/keys/message.cert.pem").read_bytes())
        ended = interrupt(serving, number)
        assert (ended.status, ended.err) == (0, "")
        assert "stopped; the data is kept" in ended.out
        assert not (command.home / "made" / "network.json").exists()
    assert certificates[0] == certificates[1]


WRONG = {
    "not TOML": ("[network", "Expected"),
    "a table is missing": ("[network]\n", "[clinic]  is missing; it has as4, api"),
    "a key is missing": ("[network]\n", 'needs the key "locator"'),
    "a misspelt key": ("[network]\npublishr = 1", 'unknown key "publishr". Did you mean "publisher"?'),
    "a misspelt table": ("[clinc]\n", 'unknown key "clinc". Did you mean "clinic"?'),
    "a stranger": ("[q]\n", "Known here: network, municipality, clinic."),
    "no number": ('[network]\nlocator = "8005"', "[network] locator  is a port from 1 to 65535"),
    "a truth value": ("[network]\nlocator = true", "[network] locator  is a port from 1 to 65535"),
    "zero": ("[clinic]\nas4 = 0", "[clinic] as4  is a port from 1 to 65535"),
    "too much": ("[clinic]\nas4 = 65536", "[clinic] as4  is a port from 1 to 65535"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_topology_is_checked_as_a_whole(tmp_path: Path, name: str) -> None:
    text, told = WRONG[name]
    path = tmp_path / "network.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationProblem) as wrong:
        load_topology(path)
    assert told in wrong.value.render()
    assert wrong.value.render().endswith("check again: accesspoint network serve")


def test_one_port_for_two_servers(tmp_path: Path) -> None:
    path = tmp_path / "network.toml"
    path.write_text((COMPOSE / "network.toml").read_text().replace("8220", "8005"))
    with pytest.raises(ConfigurationProblem, match="1 problem"):
        load_topology(path)


def test_no_file(invoke: Invoke) -> None:
    ended = invoke("network", "serve", "--directory", "made", "--topology", "nowhere.toml")
    assert ended.status == 3
    assert "nowhere.toml  cannot be read: No such file or directory" in ended.err


def test_the_composed_network_has_the_demos_topology() -> None:
    topology = load_topology(COMPOSE / "network.toml")
    assert topology == Topology(
        Ports(8005, 8010, 8020, 8030, 8040, pages=8050),
        {"municipality": {"as4": 8110, "api": 8120}, "clinic": {"as4": 8210, "api": 8220}},
    )
    text = (COMPOSE / "compose.yaml").read_text()
    for words in (
        'command: ["network", "serve", "--directory", "/etc/accesspoint", "--topology", "/etc/network.toml"]',
        "- ./network.toml:/etc/network.toml:ro",
        "/etc/accesspoint/network.json",
    ):
        assert words in text
    for key in topology.nodes:
        assert f'command: ["run", "--config", "/etc/accesspoint/{key}/accesspoint.toml"]' in text
        assert f'"ready", "--config", "/etc/accesspoint/{key}/accesspoint.toml"' in text


def test_without_a_topology_every_port_of_a_node_is_free_and_its_own() -> None:
    topology = free_topology()
    ports = [port for node in topology.nodes.values() for port in node.values()]
    assert len(set(ports)) == 4
    for port in ports:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))


def test_another_file_of_organisations_fills_the_whole_network(
    command: Command,
    invoke: Callable[..., Ended],
    read_until: Callable[..., list[str]],
    tmp_path: Path,
) -> None:
    from datetime import UTC, datetime, timedelta

    from keys.devca import DevelopmentAuthority
    from keys.store import write_certificates

    elsewhere = DevelopmentAuthority.create(at=datetime.now(UTC) - timedelta(hours=1))
    write_certificates(tmp_path / "south.pem", [elsewhere.root])
    (tmp_path / "region.toml").write_text(
        '[[organisation]]\nkey = "north"\nname = "Nord"\ngln = "5790000000050"\nsor = "900000000000065"\n'
        'cvr = "10000041"\naccess_point = "nord-ap-test"\n'
        '[[organisation]]\nkey = "south"\nname = "Syd"\ngln = "5790000000067"\nsor = "900000000000073"\n'
        'cvr = "10000058"\nydernummer = "011111"\nurl = "https://127.0.0.1:9/as4"\ncertificate = "south.pem"\n'
    )
    made = tmp_path / "made"
    serving = command.start(
        "network",
        "serve",
        "--directory",
        made,
        "--organisations",
        "region.toml",
        log=tmp_path / "log",
    )
    try:
        said = read_until(serving, "accesspoint run --config", 1)
        config = made / "north" / "accesspoint.toml"
        found = invoke("address", "find", "--gp", "011111", "--config", config)
        looked_up = invoke("lookup", "5790000000067", "--config", config)
    finally:
        interrupt(serving)

    assert not (made / "clinic").exists()
    assert any("  EAS https://127.0.0.1:" in line for line in said)
    assert (found.status, found.err) == (0, "")
    assert found.out.startswith(
        "Syd  SOR 900000000000073  ydernummer 011111\n  GLN 5790000000067\n"
    )
    assert (looked_up.status, "https://127.0.0.1:9/as4" in looked_up.out) == (0, True)
    wrong = invoke(
        "network", "serve", "--directory", made, "--organisations", tmp_path / "none.toml"
    )
    assert (wrong.status, "cannot be read" in wrong.err) == (3, True)
