"""The stage of tests that run whole nodes: a throw-away authority, key directories, configuration files, started nodes.

Everything is real (TLS, database, keys) and on loopback; ports are given by the system. RSA keys have 2,048
bits, the least that is accepted, because a run makes several.
"""

import asyncio
import json
import os
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from held_ports import free_ports

from accesspoint.app import AccessPoint, start
from accesspoint.backends.folder import MANIFEST, OUTCOMES
from accesspoint.config import load
from accesspoint.demo.scenery import CLINIC, LOOPBACK_NAMES, MUNICIPALITY, Organisation
from accesspoint.network.listening import Listeners
from accesspoint.toml import write_toml
from keys.devca import OCES_POLICIES, DevelopmentAuthority, IssuedCertificate
from keys.store import write_certificates, write_keystore, write_pair
from keys.tls import client_context, server_context

THIRD_PARTY = "regionen-ap-test"
STRANGER = "fremmed-ap-test"
AGREED_PARTY = "aftale-ap-test"
AGREEMENT = "urn:example:agreement"
CHANGING_PARTY = "skifter-ap-test"
_UUID = "00000000-0000-4000-8000-{:012d}"
_OWED = """
SELECT EXISTS (SELECT 1 FROM handovers WHERE state = 'waiting')
    OR EXISTS (SELECT 1 FROM messages WHERE direction = 'in'
               AND state IN ('RECEIVED', 'DELIVERING', 'DELIVERY_WAIT'))
    OR EXISTS (SELECT 1 FROM messages WHERE direction = 'out'
               AND state IN ('ACCEPTED', 'RESOLVED', 'READY', 'SENDING', 'RETRY_WAIT')) AS owed
"""


def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@dataclass
class Pki:
    """One authority that everybody trusts, another one that nobody does, and whom they certified."""

    directory: Path
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    issued: dict[str, IssuedCertificate] = field(default_factory=dict)
    lists_made: datetime = field(init=False)
    """When the revocation lists that are served were made: a later list is believed over an earlier one."""

    def __post_init__(self) -> None:
        self.lists_made = self.now

    @cached_property
    def authority(self) -> DevelopmentAuthority:
        return DevelopmentAuthority.create(at=self.now, name="Stage", private_keys=(_key(), _key()))

    @cached_property
    def untrusted_authority(self) -> DevelopmentAuthority:
        return DevelopmentAuthority.create(
            at=self.now, name="Nobody", private_keys=(_key(), _key())
        )

    @cached_property
    def tls_authority(self) -> DevelopmentAuthority:
        """An authority that a node may believe for TLS, and for nothing else."""
        return DevelopmentAuthority.create(
            at=self.now, name="Doors", private_keys=(self.spare_key, self.spare_key)
        )

    @cached_property
    def spare_key(self) -> rsa.RSAPrivateKey:
        """A key for certificates that are to be refused: one is enough for all of them."""
        return _key()

    @cached_property
    def municipality(self) -> IssuedCertificate:
        return self.certify(MUNICIPALITY.access_point, private_key=_key())

    @cached_property
    def clinic(self) -> IssuedCertificate:
        return self.certify(CLINIC.access_point, private_key=_key())

    @cached_property
    def third(self) -> IssuedCertificate:
        """A trusted access point that nobody has configured as a partner."""
        return self.certify(THIRD_PARTY, private_key=_key())

    @cached_property
    def agreed(self) -> IssuedCertificate:
        """Of a partner with whom an agreement by name is configured."""
        return self.certify(AGREED_PARTY)

    @cached_property
    def changing(self) -> tuple[IssuedCertificate, IssuedCertificate]:
        """The old and the new certificate of a partner that kept its key."""
        return self.certify(CHANGING_PARTY, serial=1801), self.certify(CHANGING_PARTY, serial=1802)

    @cached_property
    def revoked(self) -> IssuedCertificate:
        issued = self.certify(THIRD_PARTY, serial=4711)
        self.authority.revoke(issued.certificate, at=self.now - timedelta(minutes=30))
        return issued

    def certify(
        self,
        common_name: str,
        *,
        authority: DevelopmentAuthority | None = None,
        private_key: rsa.RSAPrivateKey | None = None,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
        serial: int | None = None,
    ) -> IssuedCertificate:
        """Issue a certificate for messages, on the spare key unless told."""
        return (authority or self.authority).issue_system_certificate(
            common_name,
            "Eksempel",
            "10000009",
            uuid=_UUID.format(len(common_name)),
            not_before=not_before or self.now - timedelta(hours=1),
            not_after=not_after,
            private_key=private_key or self.spare_key,
            serial=serial,
        )

    def namesake(self, common_name: str) -> IssuedCertificate:
        """A certificate of the same authority for somebody else of this name."""
        return self.authority.issue_system_certificate(
            common_name,
            "Andre",
            "20000008",
            uuid="other",
            not_before=self.now - timedelta(hours=1),
            private_key=self.spare_key,
        )

    def tls(self, name: str) -> IssuedCertificate:
        """The certificate of `name` for TLS on loopback."""
        if name not in self.issued:
            self.issued[name] = self.authority.issue_tls_certificate(
                name, san=LOOPBACK_NAMES, not_before=self.now - timedelta(hours=1)
            )
        return self.issued[name]

    def tls_contexts(self, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        """Contexts for `name` as client and as server, both with client certificates."""
        directory = self.directory / f"tls-{name}"
        if not directory.exists():
            directory.mkdir(mode=0o700)
            write_pair(directory, "tls", self.tls(name))
        files = directory / "tls.cert.pem", directory / "tls.key.pem"
        trusted = (*self.authority.anchors, *self.authority.intermediates)
        return client_context(*files, trusted), server_context(*files, trusted)

    @cached_property
    def trust(self) -> Mapping[str, list[str]]:
        """The files of anchors and intermediates as the configuration names them."""
        write_certificates(self.directory / "anchors.pem", self.authority.anchors)
        write_certificates(self.directory / "intermediates.pem", self.authority.intermediates)
        return {
            "anchors": [str(self.directory / "anchors.pem")],
            "intermediates": [str(self.directory / "intermediates.pem")],
        }

    def file_of(self, *issued: IssuedCertificate) -> str:
        """Certificates as a file, as the configuration of a partner names it."""
        path = self.directory / f"{issued[-1].certificate.serial_number:x}.pem"
        if not path.exists():
            path.write_bytes(b"".join(one.certificate_pem for one in issued))
        return str(path)

    @asynccontextmanager
    async def revocation_point(self) -> AsyncIterator[list[str]]:
        """Serve the lists of both authorities; the addresses to configure."""
        application = web.Application()

        def serve(path: str, make: Callable[[datetime], bytes]) -> None:
            async def answer(_request: web.Request) -> web.Response:
                return web.Response(body=make(self.lists_made), content_type="application/pkix-crl")

            application.router.add_get(path, answer)

        serve("/issuing.crl", self.authority.crl)
        serve("/root.crl", self.authority.root_crl)
        listeners = Listeners()
        base = await listeners.start(application)
        try:
            yield [f"{base}/issuing.crl", f"{base}/root.crl"]
        finally:
            await listeners.stop()


@dataclass(frozen=True)
class Partner:
    """Another access point as the configuration names it; one that nobody sends to is of no organisation."""

    organisation: Organisation | None
    certificate: IssuedCertificate
    url: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    successor: IssuedCertificate | None = None
    """The certificate that it changes to; until then both are agreed."""


@dataclass
class Stage:
    """Writes the files of nodes below one directory and starts them."""

    pki: Pki
    directory: Path

    def write_node(
        self,
        organisation: Organisation,
        message: IssuedCertificate,
        *,
        partners: Mapping[str, Partner],
        crl_urls: list[str] | None = None,
        listen: str | Mapping[str, str] = "127.0.0.1:0",
        doors: bool = False,
        **sections: Any,
    ) -> Path:
        """Write one node's keys and configuration; the path of the file. With `doors` it believes `tls_authority` for TLS.

        `listen` is the address for AS4, or the whole of `[listen]`.
        """
        home = self.directory / organisation.key
        home.mkdir(mode=0o700, exist_ok=True)
        if not (home / "keys").exists():
            write_keystore(home / "keys", message=message, tls=self.pki.tls(organisation.key))
        address = organisation.address
        revocation: dict[str, Any] = (
            {"revocation": "require", "crl_urls": crl_urls}
            if crl_urls
            else {"revocation": "off", "revocation_reason": "no lists on this stage"}
        )
        more = [self.pki.file_of(self.pki.tls_authority.keys[0])] if doors else []
        configuration: dict[str, Any] = {
            "profile": "test",
            "label": organisation.key,
            "organisation": {"name": address.name, "gln": address.gln, "sor": address.sor},
            "stations": {"device_ids": {"EUA": "eua", "MSH": "msh", "AP": "ap"}},
            "listen": {"as4": listen, "api": "127.0.0.1:0"}
            if isinstance(listen, str)
            else dict(listen),
            "keys": {"directory": "keys"},
            "store": {"directory": "store"},
            "trust": {
                "message": {
                    **self.pki.trust,
                    **revocation,
                    "unknown_senders": "accept",
                    "policies": list(OCES_POLICIES),
                },
                "tls": {**self.pki.trust, "anchors": [*self.pki.trust["anchors"], *more]},
            },
            "partners": {
                name: {
                    **({"gln": partner.organisation.address.gln} if partner.organisation else {}),
                    "url": partner.url,
                    "certificate": self.pki.file_of(
                        partner.certificate, *((partner.successor,) if partner.successor else ())
                    ),
                    **partner.settings,
                }
                for name, partner in partners.items()
            },
            "backend": {"kind": "folder", "directory": "received"},
            "acknowledging": {"fhir": "off"},
            **sections,
        }
        path = home / "accesspoint.toml"
        path.write_text(write_toml(configuration), encoding="utf-8")
        path.chmod(0o600)
        return path

    @asynccontextmanager
    async def run(
        self, configuration: Path, environment: Mapping[str, str] | None = None
    ) -> AsyncIterator["Node"]:
        """Run a node until the context ends; `environment` overrides its file."""
        async with start(load(configuration, environment or {})) as running:
            node = Node(running, configuration.parent)
            await node.wait_for_revocation_lists()
            yield node

    @asynccontextmanager
    async def pair(
        self,
        *,
        databases: Mapping[str, str] | None = None,
        agreed: Mapping[str, Any] | None = None,
        known_at: Mapping[str, str] | None = None,
        **sections: Any,
    ) -> AsyncIterator[tuple["Node", "Node"]]:
        """Municipality and clinic, configured as each other's partners and running; in this process.

        `databases` are the URLs of their databases, by organisation, where these are no files; `agreed` is what both
        say of each other as partners besides; `known_at` are addresses (host:port) at which the others look for them.
        """
        parties = {MUNICIPALITY: self.pki.municipality, CLINIC: self.pki.clinic}
        ports = dict(zip(parties, free_ports(len(parties)), strict=True))
        places = {other: f"127.0.0.1:{ports[other]}" for other in parties}
        places |= {
            other: known_at[other.key] for other in parties if known_at and other.key in known_at
        }
        files = [
            self.write_node(
                organisation,
                message,
                listen=f"127.0.0.1:{ports[organisation]}",
                partners={
                    other.key: Partner(other, issued, f"https://{places[other]}/as4", agreed or {})
                    for other, issued in parties.items()
                    if other is not organisation
                },
                **sections,
                **(
                    {"store": {"directory": "store", "database": databases[organisation.key]}}
                    if databases
                    else {}
                ),
            )
            for organisation, message in parties.items()
        ]
        async with self.run(files[0]) as municipality, self.run(files[1]) as clinic:
            yield municipality, clinic


@dataclass
class Node:
    """A running node, seen from inside: its rows, its files, its backend."""

    point: AccessPoint
    home: Path

    @property
    def url(self) -> str:
        return f"https://{self.point.addresses['as4']}/as4"

    @property
    def certificate(self) -> x509.Certificate:
        return self.point.identity.signer.certificate

    async def rows(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        return [dict(row) for row in await self.point.database.fetch(sql, *values)]

    async def counts(self) -> dict[str, int]:
        """How many rows every table has."""
        tables = await self.rows(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        )
        union = " UNION ALL ".join(
            f"SELECT '{table['name']}' AS name, COUNT(*) AS rows FROM {table['name']}"
            for table in tables
        )
        return {row["name"]: int(row["rows"]) for row in await self.rows(union)}

    def files(self) -> set[str]:
        """Every file in the payload directory, published or not."""
        found = os.walk(self.home / "store" / "payloads")
        return {f"{directory}/{name}" for directory, _, names in found for name in names}

    def delivered(self) -> set[str]:
        """The messages that the backend holds, each with its manifest."""
        files = {path.name for path in (self.home / "received").iterdir() if path.is_file()}
        messages = {name for name in files if not name.endswith(MANIFEST)}
        assert files == messages | {name + MANIFEST for name in messages}
        return messages

    def outcomes(self) -> dict[str, str]:
        """How the messages ended that this node sent, as its backend was told, by message identifier."""
        told = [
            json.loads(path.read_text()) for path in (self.home / "received" / OUTCOMES).iterdir()
        ]
        assert len({one["id"] for one in told}) == len(told)
        return {one["message_identifier"]: one["state"] for one in told}

    async def message(self, message_id: str) -> dict[str, Any]:
        """The only message with this MessageId."""
        (row,) = await self.rows("SELECT * FROM messages WHERE message_id = $1", message_id)
        return row

    async def states(self, message_id: str) -> list[str]:
        """The states that a message has gone through."""
        return [
            row["to_state"]
            for row in await self.rows(
                "SELECT to_state FROM history JOIN messages ON messages.id = history.message"
                " WHERE message_id = $1 ORDER BY seq",
                message_id,
            )
        ]

    async def until(self, condition: Callable[[], Any], what: str, *, seconds: float = 20) -> None:
        """Let the node work until `condition()`, awaited, is true; fail loudly when it never is."""
        limit = time.monotonic() + seconds
        while not await condition():
            assert time.monotonic() < limit, f"waited in vain: {what}"
            await asyncio.sleep(0.005)

    async def is_idle(self) -> bool:
        (row,) = await self.rows(_OWED)
        return not row["owed"]

    async def idle(self) -> None:
        """Wait until the node owes nobody anything."""
        await self.until(self.is_idle, "the node has work left")

    async def wait_for_revocation_lists(self) -> None:
        crls = self.point.as4._receiver._check._validator.crls
        wanted = len(self.point.configuration.trust.message.crl_urls)

        async def complete() -> bool:
            return crls.generation >= wanted

        await self.until(complete, "no revocation lists")


@dataclass
class LogLines:
    """What the node has logged, as parsed JSON lines; `text` is the raw text."""

    text: str = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""

    def isatty(self) -> bool:
        return False

    @property
    def mark(self) -> int:
        return len(self.text)

    def since(self, mark: int) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text[mark:].splitlines()]
