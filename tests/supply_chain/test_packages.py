"""What a lock may name, from which version on, and with which native code; and that nobody calls home."""

import importlib.metadata
import re
import ssl
import subprocess
import sys
import tomllib
from pathlib import Path

import apsw
import pytest
from locked import locked
from lxml import etree
from packaging.version import Version

from tests.supply_chain.floors import (
    FLOORS,
    LIBXML2_FLOOR,
    LIBXSLT_FLOOR,
    NATIVE,
    OPENSSL_FLOOR,
    SQLITE_FLOOR,
)

ROOT = Path(__file__).parents[2]
LOCKS = sorted((ROOT / "compose").glob("*.lock"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
ALLOWED = frozenset(
    line
    for line in (Path(__file__).parent / "allowed_names.txt").read_text("utf-8").splitlines()
    if line and not line.startswith("#")
)
EXPLORING = """
import importlib, pkgutil, sys
def refuse(event, arguments):
    if event.startswith("socket.") and event not in ("socket.__new__", "socket.gethostname"):
        raise SystemExit(f"import reaches the network: {event} {arguments}")
sys.addaudithook(refuse)
names = [
    found.name
    for package in map(importlib.import_module, ("accesspoint", "envelope", "keys"))
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + ".")
    if not found.name.endswith("__main__")
]
for name in names:
    importlib.import_module(name)
print(len(names))
"""


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def entries(lock: Path) -> list[tuple[str, Version]]:
    return [(name, Version(version)) for name, version, _ in locked(lock.read_text("utf-8"))]


@pytest.mark.attack("SUP-01")
def test_pip_refuses_a_file_with_another_hash(tmp_path):
    """Every entry of a lock has hashes, so pip demands them; here of a file that is at hand, and so of no registry."""
    wheel = tmp_path / "idna-3.7-py3-none-any.whl"
    wheel.write_bytes(b"not what was locked")
    lock = tmp_path / "wrong.lock"
    lock.write_text(f"idna @ {wheel.as_uri()} --hash=sha256:{'0' * 64}\n", encoding="utf-8")
    options = ["--require-hashes", "--no-index", "--no-deps", "--target", tmp_path / "installed"]
    ran = subprocess.run(
        [sys.executable, "-m", "pip", "install", *map(str, options), "-r", str(lock)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "No module named pip" in ran.stderr:
        pytest.skip("needs pip, which this environment was made without")
    assert ran.returncode != 0
    assert "DO NOT MATCH THE HASHES" in ran.stderr
    assert not (tmp_path / "installed").exists()


@pytest.mark.attack("SUP-01")
@pytest.mark.parametrize("name", [".ci/run", "compose/Dockerfile"])
def test_ci_and_image_install_from_a_lock_by_hash_only(name):
    text = (ROOT / name).read_text("utf-8").replace("\\\n", " ").replace("&&", "\n")
    installing = [line for line in text.splitlines() if re.search(r" (-r|--requirement) ", line)]
    assert installing
    assert all("--require-hashes" in line for line in installing)


@pytest.mark.attack("SUP-02")
@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_nothing_is_locked_below_its_floor(lock):
    below = {
        name: str(version)
        for name, version in entries(lock)
        if name in FLOORS and version < Version(FLOORS[name][0])
    }
    assert below == {}


@pytest.mark.attack("SUP-02")
def test_every_floor_is_for_a_package_and_holds_in_this_environment():
    names = {name for lock in LOCKS for name, _ in entries(lock)}
    assert FLOORS.keys() <= names
    below = {}
    for name, (floor, _) in FLOORS.items():
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if Version(installed) < Version(floor):
            below[name] = installed
    assert below == {}


@pytest.mark.attack("SUP-02")
def test_what_the_project_asks_for_leaves_no_version_below_the_floor():
    for asked in PROJECT["dependencies"]:
        name, least = re.fullmatch(r"([a-z0-9-]+)>=([0-9.]+),.*", asked).groups()
        if name in FLOORS:
            assert Version(least) >= Version(FLOORS[name][0]), asked


@pytest.mark.attack("SUP-02", "SUP-05")
def test_native_libraries_are_not_below_their_floor_and_libxml2_is_one():
    assert etree.LIBXML_VERSION >= LIBXML2_FLOOR
    assert etree.LIBXSLT_VERSION >= LIBXSLT_FLOOR
    assert tuple(map(int, apsw.sqlite_lib_version().split("."))) >= SQLITE_FLOOR
    assert ssl.OPENSSL_VERSION_INFO[:3] >= OPENSSL_FLOOR
    assert etree.LIBXML_VERSION == etree.LIBXML_COMPILED_VERSION


@pytest.mark.attack("SUP-02", "SUP-05")
def test_what_else_signs_in_the_tests_uses_the_same_libxml2():
    xmlsec = pytest.importorskip("xmlsec", reason="needs the test extra: xmlsec")
    assert xmlsec.get_libxml_version() == etree.LIBXML_VERSION
    assert xmlsec.get_libxml_compiled_version() == etree.LIBXML_VERSION


@pytest.mark.attack("SUP-05")
def test_native_code_comes_from_the_packages_on_the_list_only():
    running = {name for name, _ in entries(ROOT / "compose" / "requirements.lock")}
    native = set()
    for name in running:
        try:
            files = importlib.metadata.files(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # of another platform
        if any(re.search(r"\.(so|pyd|dylib)(\.|$)", path.name) for path in files):
            native.add(name)
    assert native - NATIVE.keys() == set()
    assert NATIVE.keys() <= running


@pytest.mark.attack("SUP-03")
def test_the_audit_is_strict_and_over_what_is_installed():
    """Unstrict it calls packages sound that it could not look up; the floors hold where its data is out of reach."""
    recipe = (ROOT / ".justfile").read_text("utf-8").partition("\naudit:\n")[2].partition("\n\n")[0]
    assert re.search(
        r"pip-audit .*--strict .*--require-hashes .*compose/requirements\.lock", recipe
    )
    assert "--ignore-vuln" not in recipe


@pytest.mark.attack("SUP-06")
def test_every_name_in_a_lock_was_looked_at():
    names = {name for lock in LOCKS for name, _ in entries(lock)}
    assert names - ALLOWED == set(), (
        "new names: look at them, then write them into allowed_names.txt"
    )
    assert ALLOWED - names == set(), "no lock names these any more"


@pytest.mark.attack("SUP-06")
def test_what_the_project_asks_for_is_on_the_list():
    extras = PROJECT["optional-dependencies"].values()
    asked = [*PROJECT["dependencies"], *(each for extra in extras for each in extra)]
    assert {normal(re.split(r"[\[<>=!~; ]", each)[0]) for each in asked} <= ALLOWED


@pytest.mark.attack("SUP-08")
def test_no_import_reaches_the_network():
    ran = subprocess.run(
        [sys.executable, "-c", EXPLORING], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) > 300
