"""The frame of the repository: what may lie where, how long a file may be, what may never be written down."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("accesspoint", "envelope", "keys")
ROOT_ENTRIES = {*PACKAGES, "tests", "compose", "pyproject.toml", "README.md", "LICENSE"}
MAXIMUM_LINES = 600
LOCKS = tuple(sorted((ROOT / "compose").glob("*.lock")))

# Put together from pieces, so that this file does not contain what it forbids.
REGISTRY_HOSTS = [
    "pypi" + ".org",
    "files.python" + "hosted.org",
    "repo.maven." + "apache.org",
    "repo1." + "maven.org",
    "registry." + "npmjs.org",
    "static." + "crates.io",
    "proxy." + "golang.org",
    "deb." + "debian.org",
]
LOCAL_PATHS = ["/" + "work/", "/" + "root/", "/" + "home/"]


def tracked() -> list[Path]:
    """Every file git knows or would add: what is ignored does not count."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listing.returncode != 0:
        pytest.skip("needs a git work tree to tell the project's files from others")
    names = (name for name in listing.stdout.decode().split("\0") if name)
    return [path for path in (ROOT / name for name in names) if path.is_file()]


def texts() -> Iterator[tuple[Path, str]]:
    for path in tracked():
        try:
            yield path, path.read_text("utf-8")
        except UnicodeDecodeError:
            continue


def modules(*packages: str) -> list[Path]:
    return [path for package in packages for path in sorted((ROOT / package).rglob("*.py"))]


def test_root_holds_only_the_frame() -> None:
    entries = {path.relative_to(ROOT).parts[0] for path in tracked()}
    assert {name for name in entries if not name.startswith(".")} <= ROOT_ENTRIES


@pytest.mark.parametrize("package", PACKAGES)
def test_package_is_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").exists()


def test_every_folder_with_modules_is_a_package() -> None:
    folders = {path.parent for path in modules(*PACKAGES)}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


def test_no_module_is_longer_than_one_idea() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in modules(*PACKAGES)
        if (lines := len(path.read_text("utf-8").splitlines())) > MAXIMUM_LINES
    }
    assert long == {}


def test_no_module_is_named_for_nothing() -> None:
    vague = {"utils", "util", "helpers", "helper", "misc", "common", "manager", "managers"}
    assert [path for path in modules(*PACKAGES) if path.stem in vague] == []


@pytest.mark.parametrize("words", [REGISTRY_HOSTS, LOCAL_PATHS], ids=["registries", "local paths"])
def test_no_forbidden_words(words: list[str]) -> None:
    found = [
        (str(path.relative_to(ROOT)), word)
        for path, text in texts()
        for word in words
        if word in text
    ]
    assert found == []


def test_no_private_keys() -> None:
    begin = re.compile(r"^-----BEGIN [A-Z ]*PRIVATE KEY-----$", re.MULTILINE)
    assert [path for path, text in texts() if begin.search(text)] == []


def test_no_uv_lock() -> None:
    assert (ROOT / "uv.lock") not in tracked()


def test_import_contracts_hold() -> None:
    command = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command as main; main()",
    ]
    result = subprocess.run(
        [*command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if "No module named 'importlinter'" in result.stderr:
        pytest.skip("needs the lint extra: import-linter is not installed")
    assert result.returncode == 0, result.stdout


def test_there_are_locks_for_running_developing_and_building() -> None:
    assert [path.name for path in LOCKS] == [
        "requirements-build.lock",
        "requirements-dev.lock",
        "requirements.lock",
    ]


@pytest.mark.attack("SUP-01")
@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_lock_pins_by_hash_and_names_no_address(lock: Path) -> None:
    text = lock.read_text("utf-8")
    assert "://" not in text
    assert not re.search(r"^--", text, re.MULTILINE)
    entries = re.split(r"\n(?=\S)", text.strip())
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []
    assert [entry.split()[0] for entry in entries if not re.match(r"[a-z0-9._-]+==\S", entry)] == []


def test_lock_covers_every_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    for name, declared in {
        "requirements.lock": [*project["dependencies"], *extras["postgres"]],
        "requirements-dev.lock": [*project["dependencies"], *extras["test"], *extras["lint"]],
    }.items():
        text = (ROOT / "compose" / name).read_text("utf-8")
        locked = {
            normal(entry) for entry in re.findall(r"^([A-Za-z0-9._-]+)==", text, re.MULTILINE)
        }
        wanted = {normal(re.split(r"[<>=!~;\[ ]", entry)[0]) for entry in declared}
        assert wanted <= locked, name


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_dockerfile_installs_only_what_the_lock_pins() -> None:
    lines = (ROOT / "compose" / "Dockerfile").read_text("utf-8").splitlines()
    installs = [line for line in lines if re.search(r"pip (install|wheel)\b", line)]
    assert installs
    for line in installs:
        assert "--require-hashes" in line or "--no-deps" in line, line
    assert any(line.startswith("USER ") and "root" not in line for line in lines)


def test_ci_states_its_minutes() -> None:
    text = (ROOT / ".ci" / "run").read_text("utf-8")
    limits = [
        int(limit) for limit in re.findall(r"^# \|[^|]*\|[^|]*\|\s*(\d+) \|$", text, re.MULTILINE)
    ]
    *steps, total = limits
    assert sum(steps) == total <= 70
    enforced = [
        int(minutes) for minutes in re.findall(r"^(?:must|step) (\d+) ", text, re.MULTILINE)
    ]
    assert sum(enforced) <= total


def test_demo_reaches_no_other_machine() -> None:
    """The miniature network hands out TEST keys: the topology names ports and no host, and none is published."""
    topology = tomllib.loads((ROOT / "compose" / "network.toml").read_text("utf-8"))
    ports = [value for section in topology.values() for value in section.values()]
    assert {type(port) for port in ports} == {int}
    assert len(set(ports)) == len(ports)
    assert not re.search(
        r"^\s*ports:", (ROOT / "compose" / "compose.yaml").read_text("utf-8"), re.M
    )
