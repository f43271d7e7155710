"""What a release is: the same octets from the same source, with a bill of what is in it, and no call home at start."""

import hashlib
import importlib
import importlib.util
import ipaddress
import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from as4_stage import Partner, Stage
from lxml import etree

from accesspoint.app import start
from accesspoint.config import load
from accesspoint.demo.scenery import CLINIC, MUNICIPALITY

ROOT = Path(__file__).parents[2]
SOURCE = ("accesspoint", "envelope", "keys", "pyproject.toml", "README.md", "LICENSE")
_LISTENING: list[list[str]] = []


def bill_of_materials():
    pytest.importorskip("cyclonedx", reason="needs the test extra: cyclonedx-python-lib")
    return importlib.import_module("bill_of_materials")


@pytest.mark.attack("SUP-04")
def test_the_bill_of_materials_is_valid_whole_and_the_same_each_time(tmp_path, monkeypatch):
    module = bill_of_materials()
    texts = []
    for folder in ("one", "two"):
        monkeypatch.setattr(sys, "argv", ["bill", "--output", str(tmp_path / folder)])
        module.main()  # which refuses to write what its schema does not allow
        texts.append(
            {path.suffix: path.read_text("utf-8") for path in (tmp_path / folder).iterdir()}
        )
    assert texts[0] == texts[1]

    bill = json.loads(texts[0][".json"])
    lock = list(module.locked((ROOT / "compose" / "requirements.lock").read_text("utf-8")))
    listed = {each["name"]: each for each in bill["components"]}
    assert {name: version for name, version, _ in lock} == {
        name: each["version"] for name, each in listed.items()
    }
    for name, _, digests in lock:
        assert {each["content"] for each in listed[name]["hashes"]} == set(digests), name
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert bill["metadata"]["component"]["name"] == project["name"]
    (product,) = (each for each in bill["dependencies"] if project["name"] in each["ref"])
    assert len(product["dependsOn"]) == len(project["dependencies"])
    assert len(
        etree.fromstring(texts[0][".xml"].encode()).findall(".//{*}components/{*}component")
    ) == len(lock)


@pytest.mark.attack("SUP-04")
def test_a_bill_that_breaks_the_schema_is_not_written():
    module = bill_of_materials()
    from cyclonedx.output import OutputFormat

    bill = module.bill_of_materials(
        {
            "name": "x",
            "version": "1",
            "description": "",
            "license": "Apache-2.0",
            "dependencies": ["a"],
        },
        "a==1 --hash=sha256:" + "0" * 64,
    )
    next(iter(bill.components)).hashes.pop()
    assert module.write(bill, OutputFormat.JSON)
    bill.version = -1
    with pytest.raises(SystemExit, match="not valid"):
        module.write(bill, OutputFormat.JSON)


BUILD = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"


@pytest.mark.attack("SUP-07")
def test_two_builds_of_one_source_are_equal_octet_by_octet(tmp_path):
    """In other places, at other times, by users with other masks and zones: the wheel is the same."""
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("needs hatchling, which the lock for building installs")
    digests = []
    for number, (mask, zone) in enumerate(((0o022, "UTC"), (0o077, "Asia/Tokyo"))):
        source = tmp_path / ("x" * (number + 1)) / "source"
        for name in SOURCE:
            here, there = ROOT / name, source / name
            if here.is_dir():
                shutil.copytree(here, there, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                there.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(here, there)
        for path in source.rglob("*"):
            os.utime(path, (10**9 + number, 10**9 + number))
            path.chmod(0o700 if path.is_dir() else 0o644 & ~mask)
        environment = {
            **os.environ,
            "TZ": zone,
            "PYTHONHASHSEED": str(number + 1),
            "SOURCE_DATE_EPOCH": "1764000000",
        }
        built = subprocess.run(
            [sys.executable, "-c", BUILD, str(tmp_path)],
            cwd=source, env=environment, umask=mask, capture_output=True, text=True, check=True,
        )  # fmt: skip
        wheel = tmp_path / built.stdout.split()[-1]
        digests.append(hashlib.sha256(wheel.read_bytes()).hexdigest())
        wheel.unlink()
    assert digests[0] == digests[1]


def _heard(event, arguments):
    if _LISTENING and event in ("socket.connect", "socket.sendto", "socket.getaddrinfo"):
        address = arguments[0] if event == "socket.getaddrinfo" else arguments[1]
        host = address[0] if isinstance(address, tuple) else address
        _LISTENING[-1].append(str(host))


@pytest.mark.attack("SUP-08")
async def test_a_node_that_starts_calls_nobody(pki, tmp_path):
    """Nobody but the address of its lists, which nobody serves; its partner neither."""
    partner = Partner(MUNICIPALITY, pki.municipality, "https://127.0.0.2:9/as4")
    configuration = Stage(pki, tmp_path).write_node(
        CLINIC,
        pki.clinic,
        partners={"municipality": partner},
        crl_urls=["http://127.0.0.3:9/issuing.crl"],
    )
    heard: list[str] = []
    sys.addaudithook(_heard)
    _LISTENING.append(heard)
    try:
        async with start(load(configuration, {})) as running:
            assert running.addresses["as4"]
    finally:
        _LISTENING.pop()
    assert "127.0.0.3" in heard
    assert "127.0.0.2" not in heard
    assert [host for host in heard if not _is_here(host)] == []


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in ("localhost", "None") or host.startswith("/")
