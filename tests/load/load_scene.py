"""What the load programs stand on: keys, two configurations of the access point station alone, and envelopes of 20 KiB.

Everything is a throw-away of one run: a new authority, two organisations of the demo, loopback, TEST only.
"""

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import rsa

from accesspoint.demo.scenery import CLINIC, LOOPBACK_NAMES, MUNICIPALITY, Organisation
from accesspoint.stations.document import Document, Stored
from accesspoint.toml import write_toml
from envelope.ehmi import envelope_for_message
from envelope.sbdh import Base64Stream, StandardBusinessDocumentHeader, build_sbd
from keys.devca import DevelopmentAuthority
from keys.store import write_certificates, write_keystore

PAYLOAD_BYTES: Final = 20 * 1024
SENDER: Final = MUNICIPALITY
RECEIVER: Final = CLINIC
_WORDS: Final = [
    "observation",
    "assessment",
    "evaluation",
    "pressure",
    "saturation",
    "temperature",
    "respiration",
    "comment",
    "measured",
    "patient",
    "citizen",
    "nurse",
    "morning",
    "evening",
    "stable",
    "reported",
    "contact",
    "follow",
    "agreed",
    "medication",
]


@dataclass(frozen=True, slots=True)
class Side:
    """One access point of the run: its organisation and where its files are."""

    organisation: Organisation
    directory: Path

    @property
    def config(self) -> Path:
        """Its configuration file."""
        return self.directory / "accesspoint.toml"

    @property
    def certificate(self) -> Path:
        """Its message certificate."""
        return self.directory / "keys" / "message.cert.pem"


def make_sides(base: Path, *, key_bits: int) -> tuple[Side, Side]:
    """Sender and receiver with keys of this size, not yet configured."""
    now = datetime.now(UTC)
    authority = DevelopmentAuthority.create(at=now)
    write_certificates(base / "anchors.pem", authority.anchors)
    write_certificates(base / "intermediates.pem", authority.intermediates)
    sides = []
    for organisation in (SENDER, RECEIVER):
        directory = base / organisation.key
        directory.mkdir(mode=0o700)
        started = now - timedelta(hours=1)
        message = authority.issue_system_certificate(
            organisation.access_point,
            organisation.address.name or "",
            organisation.cvr,
            uuid=str(uuid.uuid4()),
            not_before=started,
            private_key=new_key(key_bits),
        )
        tls = authority.issue_tls_certificate(
            organisation.key, san=LOOPBACK_NAMES, not_before=started, private_key=new_key(key_bits)
        )
        write_keystore(directory / "keys", message=message, tls=tls)
        sides.append(Side(organisation, directory))
    return sides[0], sides[1]


def new_key(bits: int) -> rsa.RSAPrivateKey:
    """A fresh RSA key."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def write_config(side: Side, other: Side, *, url: str, in_flight: int) -> None:
    """Configure the AP station alone: the partner by address, no delivery events, a neighbour that is never asked."""
    trust = {
        "anchors": ["../anchors.pem"],
        "intermediates": ["../intermediates.pem"],
        "revocation": "off",
        "revocation_reason": "load measurement on loopback",
    }
    organisation, partner = side.organisation, other.organisation
    sections: dict[str, Any] = {
        "profile": "dev",
        "label": organisation.key,
        "organisation": {
            "name": organisation.address.name,
            "gln": organisation.address.gln,
            "sor": organisation.address.sor,
        },
        "stations": {"runs": ["AP"], "device_ids": {"AP": str(uuid.uuid4())}},
        "listen": {"as4": "127.0.0.1:0", "api": "127.0.0.1:0", "stations": "127.0.0.1:0"},
        "keys": {"directory": "keys"},
        "store": {"directory": "store"},
        "trust": {
            "message": trust,
            "tls": {key: trust[key] for key in ("anchors", "intermediates")},
        },
        "partners": {
            "other": {
                "gln": partner.address.gln,
                "url": url,
                "certificate": str(other.certificate),
            }
        },
        "sending": {"workers": in_flight, "per_partner": in_flight},
        "links": {"up": {"url": "https://127.0.0.1:1", "certificate": str(side.certificate)}},
    }
    side.config.write_text(write_toml(sections), encoding="utf-8")
    side.config.chmod(0o600)


def fhir_like(seed: int, size: int = PAYLOAD_BYTES) -> bytes:
    """A Bundle of Observations of exactly `size` octets: the shape and the repetition of FHIR JSON, no patient."""
    random = Random(seed)
    entries: list[dict[str, Any]] = []
    bundle = {
        "resourceType": "Bundle",
        "id": str(uuid.UUID(int=random.getrandbits(128), version=4)),
        "type": "message",
        "entry": entries,
        "note": "",
    }
    while len(json.dumps(bundle)) < size - 1_500:
        id_ = str(uuid.UUID(int=random.getrandbits(128), version=4))
        entries.append(
            {
                "fullUrl": f"https://example.invalid/Observation/{id_}",
                "resource": {
                    "resourceType": "Observation",
                    "id": id_,
                    "status": "final",
                    "code": {
                        "coding": [
                            {
                                "system": "http://snomed.info/sct",
                                "code": str(random.randrange(10**8)),
                            }
                        ]
                    },
                    "effectiveDateTime": f"2026-11-{random.randrange(1, 29):02}T08:{random.randrange(60):02}:00Z",
                    "valueQuantity": {"value": random.randrange(1000) / 10, "unit": "mm[Hg]"},
                    "note": [{"text": " ".join(random.choices(_WORDS, k=12))}],
                },
            }
        )
    missing = size - len(json.dumps(bundle))
    bundle["note"] = " ".join(random.choices(_WORDS, k=missing))[:missing]
    return json.dumps(bundle).encode()


def new_envelope(
    number: int, *, size: int = PAYLOAD_BYTES
) -> tuple[StandardBusinessDocumentHeader, bytes]:
    """One StandardBusinessDocument around a message of that size, as a message service handler writes it."""
    content = fhir_like(number, size)
    document = Document(
        message_identifier=str(uuid.uuid4()),
        message_envelope_identifier=str(uuid.uuid4()),
        event_code="homecareobservation-message",
        definition_version="1.1",
        sender=SENDER.address,
        receiver=RECEIVER.address,
        patient_id=None,
        statistical_postfix=None,
        original_message_identifier=None,
        media_type="application/fhir+json",
        stored=Stored("", len(content), ""),
    )
    header = envelope_for_message(
        document, instance_identifier=str(uuid.uuid4()), created_at=datetime.now(UTC)
    )
    prefix, suffix = build_sbd(header)
    encoder = Base64Stream()
    return header, prefix + encoder.update(content) + encoder.finish() + suffix
