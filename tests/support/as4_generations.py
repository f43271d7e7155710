"""Keys of the second generation for the organisations of the stage: a pair that signs and a pair that agrees."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from as4_stage import Pki
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519

from accesspoint.generation import KEY_ROLES
from envelope.pmode import Generation
from keys.certificate import pem
from keys.devca import DevelopmentAuthority, IssuedCertificate
from keys.store import write_pair

NEW = (Generation.V2_0, Generation.V2_0_P256)
_UUID = "00000000-0000-4000-8000-000000000002"


@dataclass(frozen=True)
class KeySet:
    """What one access point holds for one of the newer generations."""

    generation: Generation
    signing: IssuedCertificate
    agreement: IssuedCertificate

    def write(self, keys: Path) -> None:
        """Put the set beside what the key directory holds."""
        for role, issued in zip(
            KEY_ROLES[self.generation], (self.signing, self.agreement), strict=True
        ):
            write_pair(keys, role, issued)

    @property
    def certificates(self) -> bytes:
        """What the partner is given, as one PEM file."""
        return pem(self.signing.certificate, self.agreement.certificate)


def key_set_of(
    authority: DevelopmentAuthority, name: str, generation: Generation, **validity: Any
) -> KeySet:
    """Keys of `name` for a generation, certified by `authority`."""

    def issue(key: Any, *, agrees: bool) -> IssuedCertificate:
        return authority.issue_system_certificate(
            name, "Eksempel", "10000009", uuid=_UUID, private_key=key, agrees=agrees, **validity
        )

    if generation is Generation.V2_0:
        signing: Any = ed25519.Ed25519PrivateKey.generate()
        agreement: Any = x25519.X25519PrivateKey.generate()
    else:
        signing, agreement = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    return KeySet(generation, issue(signing, agrees=False), issue(agreement, agrees=True))


def key_set(pki: Pki, name: str, generation: Generation) -> KeySet:
    """Keys of `name` under the authority of the stage."""
    not_before = pki.now - timedelta(hours=1)
    return key_set_of(pki.authority, name, generation, not_before=not_before)
