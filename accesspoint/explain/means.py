"""What a person gives to explain with: private keys and certificates, from files.

A key may be a key directory of a node, or one private key beside its certificate. Trust is any number of
certificates: authorities among them are anchors, and all of them are there to be named by a key identifier. Lists of
revoked certificates are not asked here; the answer says so.

Spec: experience section 6 (explain).
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from accesspoint.trust import find_named
from envelope.errors import CertificateRefused
from envelope.explain import Means, SentMessage, Unseen
from envelope.security_token import TokenReference
from keys.errors import KeysError, KeyStoreError
from keys.path import Usage, validate
from keys.private import FileDecrypter, KeyRing
from keys.revocation import RevocationMode, RevocationPolicy
from keys.store import KeyStore, load_certificate_files
from keys.trust import Purpose, TrustStore, require_authority

_LARGEST_KEY: Final = 64 * 1024
_OFFLINE: Final = RevocationPolicy(
    RevocationMode.OFF, "a capture is explained without asking anybody for revocation lists"
)


class GivenTrust:
    """The certificates that a person gave; a `Trust`."""

    def __init__(
        self,
        trusted: Sequence[x509.Certificate] = (),
        *,
        known: Sequence[x509.Certificate] = (),
        at: datetime | None = None,
    ) -> None:
        """`known` are found by name without being trusted; `at` is the time to judge at where the message says none."""
        self._known = (*trusted, *known)
        self._at = at
        self._anchors = tuple(filter(_is_authority, trusted))
        self._pins = tuple(one for one in trusted if one not in self._anchors)

    def find(self, reference: TokenReference) -> x509.Certificate | None:
        """The one certificate that the reference names, or None."""
        return find_named(reference, self._known)

    def check(
        self, certificate: x509.Certificate, chain: Sequence[x509.Certificate], at: datetime | None
    ) -> str:
        """One sentence about the path to an anchor; raises `CertificateRefused` and `Unseen`."""
        if not self._anchors and not self._pins:
            raise Unseen("no trusted certificates were given")
        at = at or self._at
        if at is None:
            raise Unseen("the message names no time to validate at")
        trust = (
            TrustStore(Purpose.MESSAGE, anchors=self._anchors)
            if self._anchors
            else TrustStore.pinned(Purpose.MESSAGE, self._pins)
        )
        try:
            found = validate(
                certificate,
                chain,
                trust=trust,
                at=at,
                usage=Usage.SIGNING,
                revocation=_OFFLINE,
            )
        except KeysError as error:
            raise CertificateRefused(str(error), reason=error.reason) from error
        return f"{found.why}; revocation was not asked"


def build_means(
    *,
    key: Path | None,
    trust: Sequence[Path],
    at: datetime | None,
    sent: SentMessage | None = None,
) -> Means:
    """Read what the person named; `sent` is the message that a receipt should answer.

    Raises: KeysError for a file that cannot be read or does not hold what it should.
    """
    trusted = load_certificate_files(trust)
    ring = None if key is None else _load_key(key)
    known = () if ring is None else ring.certificates
    return Means(trust=GivenTrust(trusted, known=known, at=at), decrypter=ring, sent=sent)


def _load_key(path: Path) -> KeyRing:
    if path.is_dir():
        return KeyStore.load(path).decryption
    if not path.name.endswith(".key.pem"):
        raise KeyStoreError(f"{path}: a key is named NAME.key.pem, beside NAME.cert.pem")
    beside = path.with_name(path.name.removesuffix(".key.pem") + ".cert.pem")
    certificates = load_certificate_files([beside])
    try:
        with path.open("rb") as file:
            private = load_pem_private_key(file.read(_LARGEST_KEY), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyStoreError(f"{path} holds no private key that can be read") from error
    return KeyRing([FileDecrypter(private, certificates[0])])


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        require_authority(certificate)
    except KeysError:
        return False
    return True
