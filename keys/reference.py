"""Which certificate a WS-Security token reference means.

A reference names a certificate by carrying it, by its subject key identifier, or by issuer and serial
number. The shape read here is the one the security header's code produces; attributes are read
structurally, so neither package imports the other. Finding is not trusting: whatever is found still
goes through `keys.path`.

Spec: as4.md 0.3 (KeyInfo forms); hostile.md 1.7 (KEY-13, KEY-17).
"""

from collections.abc import Iterable
from typing import Protocol

from cryptography import x509

from keys.certificate import describe, subject_key_identifier
from keys.errors import AmbiguousReference
from keys.name import same_name


class TokenReference(Protocol):
    """A parsed SecurityTokenReference.

    `kind` is `x509v3` or `pkipath` (`certificate` is the leaf carried), `ski` (`key_identifier` holds the
    octets) or `issuer-serial` (`issuer` as written, `serial` as a number).
    """

    @property
    def kind(self) -> str: ...
    @property
    def certificate(self) -> x509.Certificate | None: ...
    @property
    def key_identifier(self) -> bytes | None: ...
    @property
    def issuer(self) -> str | None: ...
    @property
    def serial(self) -> int | None: ...


def reference_names(reference: TokenReference, certificate: x509.Certificate) -> bool:
    """Tell whether `reference` names exactly this certificate; an incomplete reference names none."""
    match str(reference.kind):
        case "x509v3" | "pkipath":
            return reference.certificate is not None and reference.certificate == certificate
        case "ski":
            wanted = reference.key_identifier
            return bool(wanted) and wanted == subject_key_identifier(certificate)
        case "issuer-serial":
            return (
                reference.issuer is not None
                and reference.serial == certificate.serial_number
                and same_name(reference.issuer, certificate.issuer)
            )
        case _:
            return False


def find_certificate(
    reference: TokenReference, known: Iterable[x509.Certificate]
) -> x509.Certificate | None:
    """Return the one known certificate that `reference` names, or None.

    Raises:
        AmbiguousReference: two different certificates fit; which one signed must never be found by trying.
    """
    found: x509.Certificate | None = None
    for certificate in known:
        if not reference_names(reference, certificate):
            continue
        if found is not None and found != certificate:
            raise AmbiguousReference(
                f"a token reference names both {describe(found)} and {describe(certificate)}"
            )
        found = certificate
    return found
