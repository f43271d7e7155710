"""A living stranger to exchange messages with: phase4 on a Java virtual machine, one process to send, one to receive.

The peer is built once by Maven from `phase4/`, talks JSON lines over its standard streams and ends with its
standard input. Every test of this folder carries the marker `interop`; without Java or Maven it skips and says so.
"""

import fcntl
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from as4_stage import Node, Partner, Pki, Stage
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    pkcs12,
)
from interop_cells import note_cells
from interop_process import PeerProcess

from accesspoint.demo.scenery import Organisation
from keys.devca import DevelopmentAuthority, IssuedCertificate

PROJECT = Path(__file__).parent / "phase4"
JAR = PROJECT / "target" / "phase4-peer.jar"
PASSWORD = "interop"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    note_cells(items)


@pytest.fixture(scope="session")
def phase4_jar() -> Path:
    """The built peer; skips where it cannot be built, except under CI, where that is an error."""
    missing = [tool for tool in ("java", "mvn") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"needs {' and '.join(missing)}")
    (PROJECT / "target").mkdir(exist_ok=True)
    with (PROJECT / "target" / "build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _up_to_date():
            built = subprocess.run(
                ["mvn", "-B", "-ntp", "-q", "-Dmaven.test.skip=true", "package"],
                cwd=PROJECT,
                capture_output=True,
                text=True,
                timeout=900,
                check=False,
            )
            if built.returncode != 0:
                reason = "Maven cannot build the peer: " + built.stdout.strip()[-800:]
                if os.environ.get("CI"):
                    pytest.fail(reason)
                pytest.skip(reason)
    return JAR


def _up_to_date() -> bool:
    if not JAR.exists():
        return False
    sources = [
        PROJECT / "pom.xml",
        *(path for path in (PROJECT / "src").rglob("*") if path.is_file()),
    ]
    return JAR.stat().st_mtime >= max(path.stat().st_mtime for path in sources)


@pytest.fixture(scope="session")
def start_phase4(
    phase4_jar: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., PeerProcess]]:
    """Start a peer in mode `send` or `receive`; all end with the test session."""
    started: list[PeerProcess] = []

    def start(mode: str) -> PeerProcess:
        folder = tmp_path_factory.mktemp("phase4")
        options = ("-Xmx512m", "-XX:TieredStopAtLevel=1", f"-Djava.io.tmpdir={folder}")
        command = ("java", *options, f"-Duser.dir={folder}", "-jar", str(phase4_jar), mode)
        peer = PeerProcess.start(command, folder)
        started.append(peer)
        return peer

    yield start
    for peer in started:
        peer.close()


@dataclass(frozen=True)
class Station:
    """One access point's key material: as Python values, and as the files a Java peer is told about."""

    issued: IssuedCertificate
    tls: IssuedCertificate
    certificate_file: Path
    job: dict[str, Any]
    tls_job: dict[str, Any]


@pytest.fixture(scope="session")
def authority() -> DevelopmentAuthority:
    """The authority both sides trust."""
    return DevelopmentAuthority.create(at=datetime.now(UTC))


@pytest.fixture(scope="session")
def make_stations(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[DevelopmentAuthority, str, str], tuple[Station, Station]]:
    """Issue message and TLS certificates for two stations that know each other, as PKCS#12 and PEM files."""

    def make(issuer: DevelopmentAuthority, one: str, other: str) -> tuple[Station, Station]:
        at = datetime.now(UTC)
        issued = {name: _issue(issuer, name, at) for name in (one, other)}
        known = [
            issuer.root,
            issuer.issuing,
            *(message.certificate for message, _ in issued.values()),
        ]

        def station(name: str) -> Station:
            folder = tmp_path_factory.mktemp(name)
            message, tls = issued[name]
            certificate_file = folder / "message.cert.pem"
            certificate_file.write_bytes(message.certificate_pem)
            return Station(
                issued=message,
                tls=tls,
                certificate_file=certificate_file,
                job=_pkcs12(folder, "message", message, known),
                tls_job=_pkcs12(folder, "tls", tls, known),
            )

        return station(one), station(other)

    return make


def _issue(
    issuer: DevelopmentAuthority, name: str, at: datetime
) -> tuple[IssuedCertificate, IssuedCertificate]:
    message = issuer.issue_system_certificate(
        f"{name}-ap",
        name,
        "12345674",
        uuid="4e4ac0ff-ee00-4000-8000-000000000001",
        not_before=at,
    )
    tls = issuer.issue_tls_certificate(name, san=["127.0.0.1", "localhost"], not_before=at)
    return message, tls


def _pkcs12(
    folder: Path, role: str, issued: IssuedCertificate, anchors: list[x509.Certificate]
) -> dict[str, Any]:
    encryption = BestAvailableEncryption(PASSWORD.encode())
    keystore = folder / f"{role}.p12"
    truststore = folder / f"{role}.trust.p12"
    keystore.write_bytes(
        pkcs12.serialize_key_and_certificates(
            b"own", issued.private_key, issued.certificate, issued.chain, encryption
        )
    )
    truststore.write_bytes(
        pkcs12.serialize_java_truststore(
            [
                pkcs12.PKCS12Certificate(anchor, f"anchor-{number}".encode())
                for number, anchor in enumerate(anchors)
            ],
            encryption,
        )
    )
    return {
        "keystore": str(keystore),
        "truststore": str(truststore),
        "password": PASSWORD,
        "alias": "own",
    }


@pytest.fixture(scope="session")
def stations(
    authority: DevelopmentAuthority,
    make_stations: Callable[[DevelopmentAuthority, str, str], tuple[Station, Station]],
) -> tuple[Station, Station]:
    """The municipality that sends and the clinic that receives."""
    return make_stations(authority, "municipality", "clinic")


@pytest.fixture(scope="session")
def municipality(stations: tuple[Station, Station]) -> Station:
    """The side that sends in these tests."""
    return stations[0]


@pytest.fixture(scope="session")
def clinic(stations: tuple[Station, Station]) -> Station:
    """The side that receives in these tests."""
    return stations[1]


@pytest.fixture(scope="session")
def phase4_sender(start_phase4: Callable[..., PeerProcess]) -> PeerProcess:
    """One phase4 that sends; keys and addresses come with each job."""
    return start_phase4("send")


@pytest.fixture(scope="session")
def phase4_receiver(
    start_phase4: Callable[..., PeerProcess],
    clinic: Station,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[PeerProcess, str]:
    """One phase4 that receives as the clinic over plain HTTP, and its address."""
    peer = start_phase4("receive")
    ready = peer.ask({**clinic.job, "folder": str(tmp_path_factory.mktemp("inbox"))})
    return peer, ready["url"]


@pytest.fixture(scope="session")
def secure_phase4(
    start_phase4: Callable[..., PeerProcess], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Station], tuple[PeerProcess, str]]:
    """One phase4 per station that receives over mutual TLS, and its address."""
    known: dict[str, tuple[PeerProcess, str]] = {}

    def receiver(station: Station) -> tuple[PeerProcess, str]:
        name = station.job["keystore"]
        if name not in known:
            peer = start_phase4("receive")
            folder = str(tmp_path_factory.mktemp("inbox"))
            ready = peer.ask({**station.job, "folder": folder, "tls": station.tls_job})
            known[name] = peer, ready["url"]
        known[name][0].forget()
        return known[name]

    return receiver


RunNode = Callable[..., AbstractAsyncContextManager[Node]]


@pytest.fixture
def stage_pki(authority: DevelopmentAuthority, tmp_path: Path) -> Pki:
    """The stage of whole nodes, under the authority that phase4 trusts."""
    (tmp_path / "stage").mkdir()
    pki = Pki(tmp_path / "stage")
    pki.authority = authority
    return pki


@pytest.fixture
def run_node(stage_pki: Pki) -> RunNode:
    """Run the real access point as one organisation with one static partner; further arguments are settings."""
    stage = Stage(stage_pki, stage_pki.directory)

    @asynccontextmanager
    async def run(
        organisation: Organisation, station: Station, partner: Partner, **sections: Any
    ) -> AsyncIterator[Node]:
        path = stage.write_node(
            organisation, station.issued, partners={"phase4": partner}, **sections
        )
        async with stage.run(path) as node:
            yield node

    return run


@pytest.fixture
def payload(tmp_path: Path) -> Path:
    """A business document of some kilobytes, with letters outside ASCII and no trailing line end."""
    file = tmp_path / "document.xml"
    rows = "".join(f"<række nr='{number}'>blåbærgrød æøå</række>" for number in range(400))
    file.write_text(f"<?xml version='1.0' encoding='UTF-8'?><dokument>{rows}</dokument>", "utf-8")
    return file


@pytest.fixture
def phase4_job(
    municipality: Station, clinic: Station, payload: Path
) -> Callable[..., dict[str, Any]]:
    """One send job from the municipality to the clinic; keyword arguments replace single entries."""

    def job(endpoint: str, **changes: Any) -> dict[str, Any]:
        unregistered = "urn:oasis:names:tc:ebcore:partyid-type:unregistered"
        return {
            **municipality.job,
            "endpoint": endpoint,
            "receiver_certificate": str(clinic.certificate_file),
            "from": {"id": "municipality-ap", "type": unregistered},
            "to": {"id": "clinic-ap", "type": unregistered},
            "service": {"value": "urn:ehmi:sdn-emergence", "type": "process"},
            "action": "deliver",
            "conversation_id": "conversation-1",
            "properties": {
                "originalSender": {"value": "0088:5790000000012", "type": "iso6523-actorid-upis"},
                "finalRecipient": {"value": "0088:5790000000029", "type": "iso6523-actorid-upis"},
            },
            "payload": str(payload),
            "mime_type": "application/xml",
            **changes,
        }

    return job
