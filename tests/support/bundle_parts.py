"""What an authority sends back: certificates, and a key where it made one."""

from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    NoEncryption,
    pkcs12,
)

from keys.bundle import Bundle
from keys.devca import IssuedCertificate

PHRASE = b"correct horse"


def bundle_of(issued: IssuedCertificate, *, key: bool = True) -> Bundle:
    """What was issued, as `import` reads it from a file; without its key where that was made here."""
    return Bundle((issued.certificate, *issued.chain), issued.private_key if key else None)


def as_pkcs12(issued: IssuedCertificate, phrase: bytes | None = PHRASE) -> bytes:
    """What was issued, with its key, as a PKCS #12 file; None protects the key with nothing."""
    protection = NoEncryption() if phrase is None else BestAvailableEncryption(phrase)
    return pkcs12.serialize_key_and_certificates(
        b"ap", issued.private_key, issued.certificate, issued.chain, protection
    )
