"""What an authority sends back: certificates, and a key where it made one."""

from keys.bundle import Bundle
from keys.devca import IssuedCertificate


def bundle_of(issued: IssuedCertificate, *, key: bool = True) -> Bundle:
    """What was issued, as `import` reads it from a file; without its key where that was made here."""
    return Bundle((issued.certificate, *issued.chain), issued.private_key if key else None)
