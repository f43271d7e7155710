"""Makes the scenery: a throw-away authority, the keys and configuration files of every node, one directory per node.

Two organisations that do not exist, with GLNs whose check digits hold. Together, each runs one node; apart,
each runs three, joined over mutual TLS with sealed manifests. Everything listens on loopback, on ports the
system gives, and says TEST.

A network speaks one generation of eDelivery AS4. In the newer ones the access points hold their RSA keys as well, as
partners that migrate do, and publish only what is new.
"""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from accesspoint.config import Acknowledge
from accesspoint.generation import KEY_ROLES, transport_profile_of
from accesspoint.network.organisations import RegisteredOrganisation, read_organisations
from accesspoint.stations.document import Address
from accesspoint.toml import write_toml
from envelope.pmode import Generation
from keys.devca import OCES_POLICIES, DevelopmentAuthority, IssuedCertificate, new_rsa_keys
from keys.store import (
    load_authority,
    write_authority,
    write_certificates,
    write_keystore,
    write_pair,
)

LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1")
BACKDATED: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Organisation:
    """One organisation of the demo: who it is, what its access point is called, what it receives.

    `devices` are the device identities of its stations.
    """

    key: str
    address: Address
    cvr: str
    access_point: str
    ydernummer: str | None = None
    documents: tuple[str, ...] = ()
    devices: tuple[tuple[str, str], ...] = ()


def organisation_of(registered: RegisteredOrganisation) -> Organisation:
    """The organisation that a file of organisations describes; ValueError for one without an access point."""
    if registered.gln is None or registered.access_point is None:
        raise ValueError(f"{registered.key} has no access point")
    return Organisation(
        registered.key,
        Address(registered.gln, registered.sor, registered.name),
        registered.cvr,
        registered.access_point,
        registered.ydernummer,
        registered.documents,
        tuple(registered.device_ids().items()),
    )


_SHIPPED: Final = read_organisations()
MUNICIPALITY: Final = organisation_of(_SHIPPED.of_key("municipality"))
CLINIC: Final = organisation_of(_SHIPPED.of_key("clinic"))
ORGANISATIONS: Final = (MUNICIPALITY, CLINIC)
REGISTER: Final = organisation_of(_SHIPPED.of_key("register"))
"""The document register (EMR), which gets a copy of what the others send; it sends nothing but acknowledgements."""
KEPT_BY_REGISTER: Final = "60 days"


@dataclass(frozen=True, slots=True)
class NodePlan:
    """One process to start: its stations, its directory, and how its neighbours are to be told where it is."""

    name: str
    organisation: Organisation
    stations: tuple[str, ...]
    directory: Path
    generation: Generation = Generation.V1_15

    @property
    def config(self) -> Path:
        """Its configuration file."""
        return self.directory / "accesspoint.toml"

    @property
    def store(self) -> Path:
        """Where it keeps its data."""
        return self.directory / "store"

    @property
    def inbox(self) -> Path:
        """Where its folder backend puts received messages."""
        return self.directory / "received"

    @property
    def certificate(self) -> Path:
        """Its message certificate, as a neighbour needs it."""
        return self.directory / "keys" / "message.cert.pem"

    @property
    def signing_certificate(self) -> Path:
        """The certificate that it signs messages and receipts with."""
        role, _ = KEY_ROLES.get(self.generation, ("message", "message"))
        return self.directory / "keys" / f"{role}.cert.pem"

    @property
    def published_certificate(self) -> Path:
        """The certificate that others encrypt for, as a publisher needs it."""
        _, role = KEY_ROLES.get(self.generation, ("message", "message"))
        return self.directory / "keys" / f"{role}.cert.pem"

    @property
    def tls_certificate(self) -> Path:
        """Its TLS certificate, which its tokens are bound to."""
        return self.directory / "keys" / "tls.cert.pem"


def _curve_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def plan_nodes(
    base: Path,
    *,
    apart: bool,
    generation: Generation = Generation.V1_15,
    organisations: Iterable[Organisation] = ORGANISATIONS,
) -> list[NodePlan]:
    """The processes of the demo: one per organisation, or three."""
    groups = (("EUA",), ("MSH",), ("AP",)) if apart else (("EUA", "MSH", "AP"),)
    plans = []
    for organisation in organisations:
        for group in groups:
            name = organisation.key if len(group) > 1 else f"{organisation.key}-{group[0].lower()}"
            plans.append(NodePlan(name, organisation, group, base / name, generation))
    return plans


def plan_register(base: Path, *, generation: Generation = Generation.V1_15) -> NodePlan:
    """The access point of the document register."""
    return NodePlan(REGISTER.key, REGISTER, ("EUA", "MSH", "AP"), base / REGISTER.key, generation)


def device_ids(organisation: Organisation) -> dict[str, str]:
    """The device identities of an organisation's stations, as the status component and the tokens know them."""
    return dict(organisation.devices)


class Scenery:
    """The directory of one network: its authority, its certificates, its configuration files."""

    def __init__(
        self,
        base: Path,
        authority: DevelopmentAuthority,
        *,
        at: datetime,
        organisations: Iterable[Organisation] = ORGANISATIONS,
    ) -> None:
        """`organisations` are those that every node can address."""
        self.base = base
        self.organisations = tuple(organisations)
        self.authority = authority
        self._at = at
        self.anchors = write_certificates(base / "anchors.pem", authority.anchors)
        self.intermediates = write_certificates(base / "intermediates.pem", authority.intermediates)

    @classmethod
    def create(
        cls, base: Path, *, at: datetime, organisations: Iterable[Organisation] = ORGANISATIONS
    ) -> "Scenery":
        """Make a new authority in an empty directory, or take up the one that is there."""
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        where = base / "authority"
        if where.exists():
            return cls(base, load_authority(where), at=at, organisations=organisations)
        authority = DevelopmentAuthority.create(at=at)
        write_authority(where, authority)
        return cls(base, authority, at=at, organisations=organisations)

    def write_keys(self, plans: Iterable[NodePlan]) -> None:
        """Issue what is missing: for each node one certificate for messages and one for TLS, RSA-3072 as OCES3 has it.

        An access point of a newer generation gets the keys of that one besides.
        """
        missing = [plan for plan in plans if not (plan.directory / "keys").exists()]
        private_keys = iter(new_rsa_keys(2 * len(missing)))
        for plan in missing:
            plan.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            organisation = plan.organisation
            name = organisation.address.name or organisation.key
            message = self._certify(plan, next(private_keys))
            tls = self.authority.issue_tls_certificate(
                f"{plan.name}-tls-test",
                san=LOOPBACK_NAMES,
                not_before=self._at - BACKDATED,
                organization=name,
                cvr=organisation.cvr,
                uuid=str(uuid.uuid5(uuid.NAMESPACE_URL, f"urn:ehmi-accesspoint:{plan.name}:tls")),
                private_key=next(private_keys),
            )
            keys = write_keystore(plan.directory / "keys", message=message, tls=tls)
            if "AP" in plan.stations and plan.generation in KEY_ROLES:
                made: tuple[PrivateKeyTypes, PrivateKeyTypes] = (
                    (ed25519.Ed25519PrivateKey.generate(), x25519.X25519PrivateKey.generate())
                    if plan.generation is Generation.V2_0
                    else (_curve_key(), _curve_key())
                )
                signing, agreement = KEY_ROLES[plan.generation]
                write_pair(keys, signing, self._certify(plan, made[0]))
                write_pair(keys, agreement, self._certify(plan, made[1], agrees=True))

    def _certify(
        self, plan: NodePlan, private_key: PrivateKeyTypes, *, agrees: bool = False
    ) -> IssuedCertificate:
        """A certificate for the messages of one node."""
        organisation = plan.organisation
        return self.authority.issue_system_certificate(
            organisation.access_point if "AP" in plan.stations else f"{plan.name}-test",
            organisation.address.name or organisation.key,
            organisation.cvr,
            uuid=str(uuid.uuid5(uuid.NAMESPACE_URL, f"urn:ehmi-accesspoint:{plan.name}:message")),
            not_before=self._at - BACKDATED,
            private_key=private_key,
            agrees=agrees,
        )

    def write_config(
        self,
        plan: NodePlan,
        *,
        network: Mapping[str, str],
        listen: Mapping[str, str],
        links: Mapping[str, Mapping[str, str]],
        give_up_after: str,
        acknowledge: Acknowledge = "automatic",
        share: bool = False,
    ) -> None:
        """Write the configuration file of one node: what `accesspoint run` reads is the same file that a person writes.

        `share` lets its message service handler send copies to the document register.
        """
        address = plan.organisation.address
        trust = {"anchors": ["../anchors.pem"], "intermediates": ["../intermediates.pem"]}
        sections: dict[str, Any] = {
            "profile": "dev",
            "label": plan.name,
            "organisation": {"name": address.name, "gln": address.gln, "sor": address.sor},
            "addresses": [
                {"name": one.address.name, "gln": one.address.gln, "sor": one.address.sor}
                for one in self.organisations
            ],
            "stations": {"runs": list(plan.stations), "device_ids": device_ids(plan.organisation)},
            "listen": dict(listen),
            "keys": {"directory": "keys"},
            "store": {"directory": "store"},
            "trust": {
                "message": {
                    **trust,
                    "revocation": "require",
                    "crl_urls": network["crl_urls"].split(),
                    # Partners are found in the directory, so nobody is configured.
                    "unknown_senders": "accept",
                    "policies": list(OCES_POLICIES),
                },
                "tls": trust,
                "smp": {**trust, "revocation": "require", "crl_urls": network["crl_urls"].split()},
            },
            "directory": {
                "sml": network["zone"],
                "nameserver": network["nameserver"],
                "networks": ["127.0.0.0/8"],
                "transport_profiles": [transport_profile_of(plan.generation)],
            },
            "addressing": {
                "endpoint": network["addressing"],
                "token_endpoint": network["token"],
                # Each process has a certificate of its own, so that it asks as one of its stations.
                "client_id": device_ids(plan.organisation)[plan.stations[0]],
            },
            "delivery_status": {
                "endpoint": network["status"],
                "token_endpoint": network["token"],
                "client_ids": device_ids(plan.organisation),
            },
            "sending": {
                "retry": {
                    "first": "500 ms",
                    "factor": 2,
                    "longest": "2 s",
                    "give_up_after": give_up_after,
                }
            },
            "backend": {"kind": "folder", "directory": "received"},
            "acknowledging": {"fhir": acknowledge},
        }
        if share and "MSH" in plan.stations:
            register = REGISTER.address
            sections["sharing"] = {"name": register.name, "gln": register.gln, "sor": register.sor}
        if plan.organisation is REGISTER:
            # It belongs to no message's journey: it answers no message, reports none, and keeps what it got.
            del sections["delivery_status"]
            sections["acknowledging"] = {"fhir": "off"}
            sections["retention"] = {"delivered": KEPT_BY_REGISTER}
        if links:
            sections["links"] = {name: dict(link) for name, link in links.items()}
        plan.config.write_text(
            "# Made by the demo: TEST only, loopback only. Written anew at each start of the network.\n"
            + write_toml(sections),
            encoding="utf-8",
        )
        plan.config.chmod(0o600)
