"""What a run stands on: keys, the configuration of two whole nodes, and messages of any size.

Each node is an organisation with all its stations, as `accesspoint run` starts it: static partners over
mutual TLS through the proxies, a folder backend, and delivery events to the stub. Keys are RSA-2048, because
what is tried here is durability, and a run has the more messages the cheaper each one is.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from sample_messages import care_communication, home_care_observation

from accesspoint.demo.scenery import (
    CLINIC,
    LOOPBACK_NAMES,
    MUNICIPALITY,
    NodePlan,
    device_ids,
    plan_nodes,
)
from accesspoint.toml import write_toml
from envelope import fhir
from keys.devca import DevelopmentAuthority
from keys.store import write_certificates, write_keystore, write_pair

KIB = 1024
MIB = 1024 * KIB
KEY_BITS = 2048
SENDER, RECEIVER = MUNICIPALITY.key, CLINIC.key


@dataclass(frozen=True, slots=True)
class Scene:
    """A directory with keys for both nodes and for the stub; no configuration yet."""

    base: Path
    plans: Mapping[str, NodePlan]
    authority: DevelopmentAuthority

    @classmethod
    def make(cls, base: Path) -> "Scene":
        """Issue every key of the run."""
        now = datetime.now(UTC)
        started = now - timedelta(hours=1)
        keys = iter([rsa.generate_private_key(65537, KEY_BITS) for _ in range(5)])
        authority = DevelopmentAuthority.create(at=now)
        write_certificates(base / "anchors.pem", authority.anchors)
        write_certificates(base / "intermediates.pem", authority.intermediates)
        plans = {plan.name: plan for plan in plan_nodes(base, apart=False)}
        for plan in plans.values():
            plan.directory.mkdir(mode=0o700)
            organisation = plan.organisation
            message = authority.issue_system_certificate(
                organisation.access_point, organisation.address.name or "", organisation.cvr,
                uuid=str(uuid.uuid4()), not_before=started, private_key=next(keys),
            )  # fmt: skip
            tls = authority.issue_tls_certificate(
                plan.name, san=LOOPBACK_NAMES, not_before=started, private_key=next(keys)
            )
            write_keystore(plan.directory / "keys", message=message, tls=tls)
        stub = authority.issue_tls_certificate(
            "status", san=LOOPBACK_NAMES, not_before=started, private_key=next(keys)
        )
        write_pair(base, "status", stub)
        return cls(base, plans, authority)

    def write_config(self, name: str, *, partner_url: str, status_url: str, workers: int) -> None:
        """Write the configuration file of one node."""
        plan = self.plans[name]
        (other,) = (one for one in self.plans.values() if one is not plan)
        here, there = plan.organisation.address, other.organisation.address
        trust = {
            "anchors": ["../anchors.pem"],
            "intermediates": ["../intermediates.pem"],
        }
        devices = device_ids(plan.organisation)
        sections: dict[str, Any] = {
            "profile": "dev",
            "label": name,
            "organisation": {"name": here.name, "gln": here.gln, "sor": here.sor},
            "addresses": [{"name": there.name, "gln": there.gln, "sor": there.sor}],
            "stations": {"runs": list(plan.stations), "device_ids": devices},
            "listen": {"as4": "127.0.0.1:0", "api": "127.0.0.1:0"},
            "keys": {"directory": "keys"},
            "store": {"directory": "store"},
            "trust": {
                "message": {**trust, "revocation": "off", "revocation_reason": "soak on loopback"},
                "tls": trust,
            },
            "partners": {
                "other": {
                    "gln": there.gln,
                    "url": partner_url,
                    "certificate": str(other.certificate),
                }
            },
            "delivery_status": {
                "endpoint": f"{status_url}/fhir",
                "token_endpoint": f"{status_url}/token",
                "client_ids": devices,
            },
            "sending": {
                "workers": workers,
                "per_partner": workers,
                "timeout": "5 s",
                "retry": {
                    "first": "100 ms",
                    "factor": 2,
                    "longest": "500 ms",
                    "give_up_after": "24 h",
                },
            },
            "backend": {"kind": "folder", "directory": "received"},
            # A long run must not keep what it has delivered, and each start purges in the middle of everything.
            "retention": {"delivered": "1 min"},
        }
        plan.config.write_text(write_toml(sections), encoding="utf-8")
        plan.config.chmod(0o600)


@dataclass(frozen=True, slots=True)
class Mixture:
    """How large messages are: percentages of 1 MiB and of 10 MiB, the rest is 4 to 20 KiB."""

    mib: int = 4
    ten_mib: int = 1


SMALL_ONLY = Mixture(0, 0)


class Messages:
    """Valid MedCom messages of drawn sizes, each with its own identifiers: small ones a CareCommunication with a
    text, large ones a HomeCareObservation with an attachment."""

    def __init__(self, seed: int, mixture: Mixture) -> None:
        self._random = Random(seed)
        self._mixture = mixture
        self._small = _Template(fhir.serialize(care_communication(), "json"))
        self._large = {
            size: _Template(_padded(size)) for size in (MIB, 10 * MIB) if mixture != SMALL_ONLY
        }

    def draw(self) -> tuple[str, bytes]:
        """The next message: its MessageHeader.id and its octets."""
        percent = self._random.uniform(0, 100)
        if percent < self._mixture.ten_mib:
            return self._large[10 * MIB].fill(self._random)
        if percent < self._mixture.ten_mib + self._mixture.mib:
            return self._large[MIB].fill(self._random)
        return self._small.fill(self._random, self._random.randrange(4 * KIB, 20 * KIB + 1))


class _Template:
    """A message whose identifiers, and the length of whose text, are replaced."""

    TEXT = "TEST: æøå.".encode()

    def __init__(self, data: bytes) -> None:
        facts = fhir.recognise(fhir.read_message(data))
        self._data = data
        self._message, self._bundle = facts.message_id.encode(), facts.bundle_id.encode()

    def fill(self, random: Random, size: int = 0) -> tuple[str, bytes]:
        """A message with new identifiers and at least this many octets."""
        message, bundle = (
            str(uuid.UUID(int=random.getrandbits(128), version=4)).encode() for _ in range(2)
        )
        data = self._data.replace(self._message, message).replace(self._bundle, bundle)
        if size > len(data):
            data = data.replace(self.TEXT, self.TEXT + b" TEST" * ((size - len(data)) // 5), 1)
        return message.decode(), data


def _padded(size: int) -> bytes:
    """A HomeCareObservation of about this many octets; its attachment does not compress."""
    bare = len(fhir.serialize(home_care_observation(attachment=b""), "json"))
    octets = Random(size).randbytes((size - bare) * 3 // 4)
    return fhir.serialize(home_care_observation(attachment=octets), "json")
