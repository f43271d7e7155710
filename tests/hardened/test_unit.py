"""How the service is confined: what its unit leaves open, and that a node works with no more than that."""

import asyncio
import ctypes.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from as4_peer import Client, verify_receipt
from as4_stage import Partner, Stage
from as4_wire import Author

from accesspoint.demo.scenery import CLINIC, MUNICIPALITY
from tests.hardened.confined import APPLIED, NOT_APPLIED
from tests.hardened.unit_file import ROOT, UNIT, directives

EXPOSURE = 15
"""1.5 of 10, in the tenths that `--threshold` takes."""
ACCOUNT = 10_001

with_systemd_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="needs systemd-analyze, of Debian's systemd"
)


def may_mount() -> bool:
    """Whether we may make mounts and namespaces of them, which the root of an ordinary container may not."""
    probe = ["unshare", "--mount", "mount", "--bind", "/", "/"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


confinable = pytest.mark.skipif(
    sys.platform != "linux"
    or os.geteuid() != 0
    or shutil.which("systemd-analyze") is None
    or ctypes.util.find_library("seccomp") is None
    or shutil.which("unshare") is None
    or not may_mount(),
    reason="needs Linux, root that may mount, systemd-analyze, libseccomp and unshare",
)


def analyzed(unit: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", "--no-pager", "security", "--offline=true", f"--threshold={EXPOSURE}", str(unit)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def exposure(said: subprocess.CompletedProcess[str]) -> float:
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", said.stdout)
    assert found is not None, said.stdout + said.stderr
    return float(found[1])


@with_systemd_analyze
def test_the_unit_leaves_little_open():
    said = analyzed(UNIT)
    print(said.stdout)  # noqa: T201 - what is left open is what one wants to read
    assert exposure(said) <= EXPOSURE / 10
    assert said.returncode == 0


@with_systemd_analyze
@pytest.mark.parametrize("directive", ["SystemCallFilter", "CapabilityBoundingSet", "User"])
def test_the_check_sees_what_is_taken_out(directive, tmp_path):
    text = UNIT.read_text("utf-8")
    weaker = tmp_path / "accesspoint.service"
    weaker.write_text(re.sub(rf"^{directive}=.*\n", "", text, flags=re.M), encoding="utf-8")
    assert exposure(analyzed(weaker)) > exposure(analyzed(UNIT))


def test_every_directive_is_applied_in_a_run_or_says_why_not():
    not_applied = [name for names in NOT_APPLIED.values() for name in names]
    assert sorted([*APPLIED, *not_applied]) == sorted(directives())


def test_the_image_runs_as_an_account_without_privileges_or_shell():
    lines = (ROOT / "compose" / "Dockerfile").read_text("utf-8").splitlines()
    last = max(number for number, line in enumerate(lines) if line.startswith("FROM "))
    final = "\n".join(lines[last:])
    made = re.search(r"useradd --system --uid (\d+) .*--shell /usr/sbin/nologin (\w+)", final)
    assert made is not None
    assert int(made[1]) >= 1_000
    users = re.findall(r"^USER (\S+)$", final, re.MULTILINE)
    assert users == [made[2]]
    assert final.index("USER ") < final.index("ENTRYPOINT ")
    assert "--mode=0700" in final
    assert not re.search(r"\b(sudo|setcap|chmod \+s|curl|wget)\b", final)


def test_containers_get_no_privileges_and_a_tree_they_cannot_write():
    text = (ROOT / "compose" / "compose.yaml").read_text("utf-8")
    assert "read_only: true" in text
    assert "no-new-privileges:true" in text
    assert re.search(r"cap_drop:\s*(\[\s*ALL\s*\]|\n\s*- ALL)", text)
    assert "privileged:" not in text
    assert "cap_add" not in text


@pytest.fixture
def place():
    """A directory that everybody may pass, with the code and the interpreter below it, as the account may not enter ours."""
    base = Path("/srv") if Path("/srv").is_dir() else Path("/opt")
    place = base / f"accesspoint-{os.getpid()}"
    for name in ("source", "environment", "base", "state"):
        (place / name).mkdir(parents=True)
    bound = [
        (ROOT, place / "source"),
        (Path(sys.prefix), place / "environment"),
        (Path(sys.base_prefix), place / "base"),
    ]
    for source, target in bound:
        subprocess.run(["mount", "--bind", source, target], check=True)
    try:
        yield place
    finally:
        for _, target in bound:
            subprocess.run(["umount", "--lazy", target], check=False)
            target.rmdir()
        shutil.rmtree(place)


def confined(place: Path, *arguments: str) -> list[str]:
    python = place / "base" / "bin" / f"python3.{sys.version_info.minor}"
    return [
        sys.executable, "-m", "tests.hardened.confined", str(place / "state"), str(ACCOUNT), str(python), *arguments
    ]  # fmt: skip


def environment(place: Path) -> dict[str, str]:
    """What confines runs as we do; what is confined finds code and libraries where its account may go."""
    packages = [path for path in sys.path if "site-packages" in path]
    moved = [path.replace(sys.prefix, str(place / "environment"), 1) for path in packages]
    return {
        "PATH": os.environ["PATH"],
        "CONFINED_PYTHONHOME": str(place / "base"),
        "CONFINED_PYTHONPATH": ":".join([str(place / "source"), *moved]),
        "CONFINED_LD_LIBRARY_PATH": str(place / "base" / "lib"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


PROBE = """
import ctypes, json, mmap, os, socket
def attempt(act):
    try: act()
    except (OSError, ValueError) as error: return type(error).__name__ + " " + str(getattr(error, "errno", ""))
    return "done"
own = "own"
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
c = ctypes.CDLL(None, use_errno=True)
print(json.dumps({
    "uid": os.getuid(),
    "status": {name: status[name].strip() for name in ("CapEff", "CapBnd", "CapAmb", "CapPrm", "NoNewPrivs", "Seccomp")},
    "own directory": attempt(lambda: open(own, "w").write("x")),
    "etc": attempt(lambda: open("/etc/written", "w")),
    "tmp": attempt(lambda: open("/tmp/written", "w")),
    "packet socket": attempt(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)),
    "netlink": attempt(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)),
    "inet": attempt(lambda: socket.socket(socket.AF_INET)),
    "root again": attempt(lambda: os.setuid(0)),
    "write and execute": attempt(lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)),
    "mount": c.mount(b"none", b"/srv", b"tmpfs", 0, None),
    "trace": c.ptrace(16, os.getppid(), 0, 0),
    "namespace": c.unshare(0x10000000),
    "mask": oct(os.stat(own).st_mode & 0o777),
}))
"""


@confinable
def test_the_limits_hold(place):
    os.chown(place / "state", ACCOUNT, ACCOUNT)
    ran = subprocess.run(
        confined(place, "-c", PROBE),
        cwd=ROOT, env=environment(place), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)
    assert said.pop("status") == {
        **dict.fromkeys(("CapEff", "CapBnd", "CapAmb", "CapPrm"), "0" * 16), "NoNewPrivs": "1", "Seccomp": "2"
    }  # fmt: skip
    assert said.pop("etc").startswith("OSError")
    assert said.pop("tmp").startswith("OSError")
    assert said == {
        "uid": ACCOUNT,
        "own directory": "done",
        "packet socket": "PermissionError 1",
        "netlink": "PermissionError 1",
        "inet": "done",
        "root again": "PermissionError 1",
        "write and execute": "PermissionError 13",
        "mount": -1,
        "trace": -1,
        "namespace": -1,
        "mask": "0o600",
    }


@asynccontextmanager
async def running(
    place: Path, configuration: Path
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    log = place / "log"
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *confined(place, "-m", "accesspoint", "run", "--config", str(configuration)),
            cwd=ROOT, env=environment(place), stdout=asyncio.subprocess.PIPE, stderr=errors,
        )  # fmt: skip
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), 60)
        if not line:
            await process.wait()
            raise AssertionError(log.read_text("utf-8"))
        yield process, json.loads(line)["ready"]["as4"]
    finally:
        if process.returncode is None:
            process.terminate()
            await process.communicate()


@confinable
@pytest.mark.slow
async def test_a_node_works_with_no_more_than_the_unit_leaves(pki, place):
    state = place / "state"
    stage = Stage(pki, state)
    configuration = stage.write_node(
        CLINIC,
        pki.clinic,
        partners={
            "municipality": Partner(MUNICIPALITY, pki.municipality, "https://127.0.0.1:9/as4")
        },
    )
    for material in pki.directory.rglob("*"):  # which the node names by its path
        if material.is_file():
            text = configuration.read_text("utf-8")
            copied = state / material.name
            if str(material) in text:
                shutil.copy(material, copied)
                configuration.write_text(text.replace(str(material), str(copied)), "utf-8")
    for path in (state, *state.rglob("*")):
        os.chown(path, ACCOUNT, ACCOUNT)
    as_client, _ = pki.tls_contexts("municipality")
    wire = Author(pki.municipality.signer(), pki.clinic.certificate).compose()

    async with running(place, configuration) as (process, address):
        status = Path(f"/proc/{process.pid}/status").read_text("utf-8")
        assert f"\nUid:\t{ACCOUNT}\t{ACCOUNT}\t{ACCOUNT}\t{ACCOUNT}\n" in status
        assert "\nCapBnd:\t0000000000000000\n" in status
        assert "\nSeccomp:\t2\n" in status
        async with Client.connect(f"https://{address}/as4", as_client) as client:
            answer = await client.post(wire)
        verify_receipt(answer, wire, pki.clinic.certificate)
        received = configuration.parent / "received"
        async with asyncio.timeout(30):
            while not any(path.is_file() for path in received.rglob("*")):
                await asyncio.sleep(0.05)
        process.terminate()
        assert await process.wait() == 0
