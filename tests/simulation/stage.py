"""What all runs of a process share because it costs time to make: keys, configurations, an empty store, a document."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

from cryptography.hazmat.primitives.asymmetric import rsa

from accesspoint.config import Configuration, load
from accesspoint.demo.scenery import CLINIC, MUNICIPALITY, Organisation
from accesspoint.identity import Identity
from accesspoint.store.configured import KEY_FILE
from accesspoint.store.encryption import create_payload_key
from accesspoint.toml import write_toml
from envelope import fhir
from envelope.fhir import synthetic
from envelope.fhir.synthetic import SampleFacts
from keys.devca import OCES_POLICIES, DevelopmentAuthority, IssuedCertificate
from keys.trust import Purpose, TrustStore
from tests.simulation.machine import Credentials, make_template
from tests.simulation.plan import GIVE_UP_SECONDS
from tests.simulation.world import EPOCH

ORGANISATIONS = {"municipality": MUNICIPALITY, "clinic": CLINIC}
SERIALS = {"municipality": 11, "clinic": 12}
_MESSAGE_ID = "0b6d8a40-6f1e-4a2c-9c55-7f10c1a9d001"
_BUNDLE_ID = "0b6d8a40-6f1e-4a2c-9c55-7f10c1a9d002"


@dataclass(frozen=True, slots=True)
class Stage:
    """The shared parts; `credentials` are those of the first and of the second key of each node."""

    directory: Path
    template: Path
    configurations: dict[str, Configuration]
    certificates: dict[str, tuple[IssuedCertificate, IssuedCertificate]]
    credentials: dict[str, tuple[Credentials, Credentials]]
    documents: dict[tuple[str, int], bytes]

    def document(self, sender: str, attachment: int, *, message_id: str, bundle_id: str) -> bytes:
        """A MedCom message from `sender` to the other organisation, with its own identifiers."""
        data = self.documents[sender, attachment]
        return data.replace(_MESSAGE_ID.encode(), message_id.encode()).replace(
            _BUNDLE_ID.encode(), bundle_id.encode()
        )

    @classmethod
    @contextmanager
    def open(cls) -> Iterator["Stage"]:
        """Make everything in a directory of its own, in memory where the system has such a place."""
        memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
        with TemporaryDirectory(prefix="simulation-", dir=memory) as name:
            yield cls.make(Path(name))

    @classmethod
    def make(cls, directory: Path) -> "Stage":
        """Make everything below `directory`."""
        authority = DevelopmentAuthority.create(
            at=EPOCH, name="Simulation", private_keys=(_key(), _key())
        )
        certificates = {
            name: (
                _certify(authority, organisation, SERIALS[name]),
                _certify(authority, organisation, SERIALS[name] + 10),
            )
            for name, organisation in ORGANISATIONS.items()
        }

        def trust(purpose: Purpose) -> TrustStore:
            return TrustStore(purpose, authority.anchors, authority.intermediates)

        (directory / "keys").mkdir(mode=0o700)
        create_payload_key(directory / "keys" / KEY_FILE)
        asyncio.run(make_template(directory / "template"))
        return cls(
            directory=directory,
            template=directory / "template",
            configurations={
                name: _configure(directory, organisation)
                for name, organisation in ORGANISATIONS.items()
            },
            certificates=certificates,
            credentials={
                name: tuple(
                    Credentials(
                        Identity(one.signer(), one.decrypter(), ORGANISATIONS[name].access_point),
                        trust,
                    )
                    for one in both
                )  # type: ignore[misc]
                for name, both in certificates.items()
            },
            documents={
                (name, size): _document(name, size)
                for name in ORGANISATIONS
                for size in (0, 90_000)
            },
        )


def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def _certify(
    authority: DevelopmentAuthority, organisation: Organisation, serial: int
) -> IssuedCertificate:
    return authority.issue_system_certificate(
        organisation.access_point,
        organisation.address.name or "",
        organisation.cvr,
        uuid=f"00000000-0000-4000-8000-{serial:012d}",
        not_before=EPOCH - timedelta(hours=12),
        private_key=_key(),
        serial=serial,
    )


def _configure(directory: Path, organisation: Organisation) -> Configuration:
    address = organisation.address
    stations = ("EUA", "MSH", "AP")
    path = directory / f"{organisation.key}.toml"
    path.write_text(
        write_toml(
            {
                "profile": "test",
                "label": organisation.key,
                "organisation": {"name": address.name, "gln": address.gln, "sor": address.sor},
                "stations": {"device_ids": {one: f"{organisation.key}-{one}" for one in stations}},
                "keys": {"directory": "keys"},
                "store": {"directory": "store"},
                "trust": {
                    "message": {
                        "anchors": ["anchors.pem"],
                        "revocation": "off",
                        "revocation_reason": "no lists in the simulation",
                        "unknown_senders": "accept",
                        "policies": list(OCES_POLICIES),
                    },
                    "tls": {"anchors": ["anchors.pem"]},
                },
                "delivery_status": {
                    "endpoint": "https://status.invalid/fhir",
                    "token_endpoint": "https://status.invalid/token",
                    "client_ids": {one: f"{organisation.key}-{one}" for one in stations},
                },
                "sending": {
                    "retry": {
                        "first": "2 s",
                        "longest": "30 s",
                        "give_up_after": f"{GIVE_UP_SECONDS:.0f} s",
                    }
                },
                "backend": {"kind": "sink"},
            }
        ),
        encoding="utf-8",
    )
    path.chmod(0o600)
    return load(path, {})


def _document(sender: str, attachment: int) -> bytes:
    receiver = next(name for name in ORGANISATIONS if name != sender)
    parties = [
        fhir.Organization(gln=one.address.gln, sor=one.address.sor, name=one.address.name)
        for one in (ORGANISATIONS[sender], ORGANISATIONS[receiver])
    ]
    facts = SampleFacts(
        bundle_id=_BUNDLE_ID,
        message_id=_MESSAGE_ID,
        sender=parties[0],
        receiver=parties[1],
        at=EPOCH,
        ydernummer=CLINIC.ydernummer or "",
        attachment=None if not attachment else bytes(range(256)) * (attachment // 256),
    )
    # One measurement is enough: most of the time of a run would go into validating ten.
    with patch.object(synthetic, "_ANALYSES", synthetic._ANALYSES[:1]):
        bundle = synthetic.build_home_care_observation(facts)
    return fhir.serialize(bundle, "json")
