"""What this access point trusts, kept apart by purpose.

A certificate authority trusted for TLS says nothing about who may sign messages (hostile.md KEY-02), so
there is one `TrustStore` per purpose and no way to ask for all of them. Nothing comes from the operating
system. An anchor has to be a certificate authority: an end entity that ends up among the anchors would
be its own anchor, silently; who wants exactly that writes a pin.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from cryptography import x509

from keys.certificate import check_key, describe, fingerprint, is_authority, parse_fingerprint
from keys.errors import BadPath, UnknownIssuer


class Purpose(StrEnum):
    """What a trust store is for; the words of the configuration file."""

    MESSAGE = "message"
    TLS = "tls"
    SMP = "smp"
    OAUTH = "oauth"


@dataclass(frozen=True, slots=True)
class TrustStore:
    """Anchors, intermediates and pins for one purpose.

    Attributes:
        purpose: what the store is for.
        anchors: certificate authorities that are believed; a path has to end at one of them.
        intermediates: authorities that help to build a path and to check revocation lists, believed only
            below an anchor.
        pins: SHA-256 fingerprints of leaf certificates. In a store with anchors they change nothing: path,
            time and revocation still decide. In a store without anchors they are the only trust there is.

    Raises:
        BadPath: an anchor or intermediate is not a certificate authority.
        WeakKey: an anchor or intermediate has a key that is refused everywhere.
    """

    purpose: Purpose
    anchors: tuple[x509.Certificate, ...] = ()
    intermediates: tuple[x509.Certificate, ...] = ()
    pins: frozenset[str] = frozenset()
    anchor_fingerprints: frozenset[str] = field(init=False, default=frozenset())

    def __post_init__(self) -> None:
        for certificate in (*self.anchors, *self.intermediates):
            require_authority(certificate)
            check_key(certificate)
        fingerprints = frozenset(fingerprint(anchor) for anchor in self.anchors)
        object.__setattr__(self, "anchor_fingerprints", fingerprints)
        object.__setattr__(self, "pins", frozenset(parse_fingerprint(pin) for pin in self.pins))

    @classmethod
    def pinned(cls, purpose: Purpose, certificates: Iterable[x509.Certificate]) -> "TrustStore":
        """Return a store that trusts exactly these leaf certificates and no authority."""
        return cls(
            purpose, pins=frozenset(fingerprint(certificate) for certificate in certificates)
        )

    @property
    def authorities(self) -> tuple[x509.Certificate, ...]:
        """Anchors and intermediates: everyone whose revocation lists can be checked."""
        return (*self.anchors, *self.intermediates)

    def is_anchor(self, certificate: x509.Certificate) -> bool:
        """Tell whether the very certificate is one of the anchors."""
        return fingerprint(certificate) in self.anchor_fingerprints

    def is_pinned(self, certificate: x509.Certificate) -> bool:
        """Tell whether the very certificate is named by a pin."""
        return fingerprint(certificate) in self.pins


@dataclass(frozen=True, slots=True)
class TrustStores:
    """The trust stores of one access point, by purpose."""

    stores: Mapping[Purpose, TrustStore]

    def of(self, purpose: Purpose) -> TrustStore:
        """Return the store for a purpose.

        Raises:
            UnknownIssuer: nothing is trusted for this purpose.
        """
        store = self.stores.get(purpose)
        if store is None:
            raise UnknownIssuer(f"nothing is trusted for the purpose {purpose}")
        return store


def require_authority(certificate: x509.Certificate) -> None:
    """Refuse a certificate that may not sign certificates.

    Raises:
        BadPath: basicConstraints is absent or says CA:FALSE, or keyUsage lacks keyCertSign.
    """
    if not is_authority(certificate):
        raise BadPath(
            f"not a certificate authority: {describe(certificate)}; to trust a leaf, pin it"
        )
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        raise BadPath(
            f"a certificate authority without keyUsage: {describe(certificate)}"
        ) from None
    if not usage.key_cert_sign:
        raise BadPath(f"keyUsage without keyCertSign: {describe(certificate)}")
