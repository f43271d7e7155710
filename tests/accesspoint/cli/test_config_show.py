"""`config show`: every value in force, where it comes from, and nothing secret."""

from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Ended, Network

Invoke = Callable[..., Ended]


@pytest.fixture
def config(network: Network, tmp_path: Path) -> Path:
    """The file of a node, with values as a person writes them."""
    path = tmp_path / "accesspoint.toml"
    more = """
[partners.their-ap]
gln = "5790000000050"
url = "https://ap.partner.example/as4"
certificate = "their-ap.pem"

[retention]
delivered = "36 h 30 min 15 s"
"""
    path.write_text(network.config("municipality").read_text() + more)
    return path


def test_each_value_says_where_it_comes_from(
    invoke: Invoke, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCESSPOINT__LISTEN__API", "127.0.0.1:9")
    monkeypatch.setenv(
        "ACCESSPOINT__STORE__DATABASE", "postgresql://ap:hemmeligt@db/ap?password=ogsaa"
    )
    lines = config.read_text().split("\n")
    ended = invoke("config", "show", "--config", config)
    assert (ended.status, ended.err) == (0, ""), ended.err
    told = {}
    for shown in ended.out.splitlines():
        value, _, origin = shown.rpartition("  # ")
        name, _, text = value.strip().partition(" = ")
        told[name] = (text, origin)
        if origin.startswith(f"{config}:"):
            key = name.rpartition(".")[2]
            assert (
                lines[int(origin.rpartition(":")[2]) - 1].lstrip("[").startswith((key, "addresses"))
            )
    line = lines.index('delivered = "36 h 30 min 15 s"') + 1
    assert told["retention.delivered"] == ('"131415 s"', f"{config}:{line}")
    assert told["sending.retry.first"][0] == '"500 ms"'
    assert told["sending.timeout"] == ('"1 min"', "default")
    assert told["listen.api"] == ('"127.0.0.1:9"', "environment ACCESSPOINT__LISTEN__API")
    assert told["store.database"] == (
        '"postgresql://ap:…@db/ap?password=…"', "environment ACCESSPOINT__STORE__DATABASE"
    )  # fmt: skip
    assert told["keys.directory"][0] == f'"{config.parent / "keys"}"'
    assert told["addresses[1].gln"][0] == '"5790000000029"'
    assert told["partners.their-ap.url"][0] == '"https://ap.partner.example/as4"'
    assert "hemmeligt" not in ended.out
    assert "ogsaa" not in ended.out
    given = invoke("config", "show", "--given", "--config", config)
    assert given.out.splitlines() == [
        line for line in ended.out.splitlines() if not line.endswith("  # default")
    ]


def test_a_file_with_problems_is_not_shown(invoke: Invoke, config: Path) -> None:
    config.write_text(config.read_text() + "\n[nothing]\n")
    ended = invoke("config", "show", "--config", config)
    assert (ended.status, ended.out) == (3, "")
    assert "unknown key" in ended.err
