"""Packing an evidence bundle: a manifest with a digest of every file, signed, and an archive that is always the same.

The same content gives the same octets: names are sorted, times are fixed, nothing says when the bundle was made. Names
are this program's own and never come from a message, so none can lead out of the directory that it is unpacked to.
"""

import base64
import hashlib
import io
import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from envelope import names
from envelope.wsse import Signer

FORMAT: Final = "ehmi-accesspoint-evidence/1"
MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "manifest.signature.json"
VERIFIER: Final = "verify.py"
_NAME: Final = re.compile(r"[a-z][a-z0-9-]*(?:/[a-z0-9-]+)?\.[a-z]{2,5}")
_FIRST_TIME: Final = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Item:
    """One file of a bundle; `role` is what the verifier takes it for, where it takes it for anything."""

    name: str
    what: str
    octets: bytes = field(repr=False)
    role: str | None = None

    def __post_init__(self) -> None:
        """Refuse a name that this program did not choose."""
        if not _NAME.fullmatch(self.name):
            raise ValueError("a bundle holds files in its own words only")


def pack(items: list[Item], *, message: Mapping[str, object], at: str, exporter: Signer) -> bytes:
    """An archive of `items`, the verifier and a manifest that `exporter` signs.

    `message` is what the manifest says of the message, `at` the time (RFC 3339) that certificates are judged at.
    """
    script = (files(__package__) / VERIFIER).read_bytes()
    packed = [*items, Item(VERIFIER, "verifies this bundle: python verify.py", script)]
    manifest = _json(
        {
            "format": FORMAT,
            "message": dict(message),
            "at": at,
            "roles": {item.role: item.name for item in packed if item.role is not None},
            "files": [
                {
                    "name": item.name,
                    "size": len(item.octets),
                    "sha256": hashlib.sha256(item.octets).hexdigest(),
                    "what": item.what,
                }
                for item in sorted(packed, key=lambda item: item.name)
            ],
        }
    )
    algorithm = _algorithm_of(exporter)
    value = base64.b64encode(exporter.sign(manifest, algorithm)).decode("ascii")
    octets = {item.name: item.octets for item in packed}
    octets[MANIFEST] = manifest
    octets[SIGNATURE] = _json({"algorithm": algorithm, "value": value})
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in sorted(octets.items()):
            entry = zipfile.ZipInfo(name, _FIRST_TIME)
            entry.external_attr = 0o600 << 16
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED, 6)
    return target.getvalue()


def _algorithm_of(signer: Signer) -> str:
    key = signer.certificate.public_key()
    if isinstance(key, ed25519.Ed25519PublicKey):
        return names.EDDSA_ED25519
    return names.ECDSA_SHA256 if isinstance(key, ec.EllipticCurvePublicKey) else names.RSA_SHA256


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True).encode() + b"\n"
