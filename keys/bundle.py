"""What somebody hands over when he is asked for "the certificate": PEM, DER, PKCS #7 or PKCS #12, with or without its key.

Certificate authorities answer in all four forms. They are told apart by what is in them, never by a file's
name. A private key is read only where it is asked for, and no exception of this file repeats any of it.

Spec: RFC 7292 (PKCS #12), RFC 7468 (PEM), RFC 5652 (PKCS #7).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    pkcs12,
)

from keys.certificate import (
    MAX_BUNDLE_BYTES,
    describe,
    is_authority,
    load_certificates,
    require_readable,
)
from keys.errors import BundleRefused, UnreadableCertificate
from keys.path import find_issuer

_PEM_KEY: Final = re.compile(
    rb"-----BEGIN ((?:ENCRYPTED |RSA |EC )?PRIVATE KEY)-----.+?-----END \1-----\s*", re.DOTALL
)
_ENCRYPTED: Final = (b"-----BEGIN ENCRYPTED PRIVATE KEY-----", b"Proc-Type: 4,ENCRYPTED")
"""What stands in an encrypted PEM key: of PKCS #8, and of the older form (RFC 1421)."""
_PKCS12: Final = re.compile(rb"\x30(?:[\x00-\x7f]|\x80|[\x81-\x84].{1,4}?)\x02\x01\x03", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Bundle:
    """What was found: certificates in the order of the input, and the private key where there was one to read."""

    certificates: tuple[x509.Certificate, ...]
    private_key: PrivateKeyTypes | None = field(default=None, repr=False)


def is_pkcs12(data: bytes) -> bool:
    """Tell whether this is PKCS #12, which wants a passphrase even for its certificates."""
    return _PKCS12.match(data) is not None


def needs_passphrase(data: bytes) -> bool:
    """Tell whether somebody has to be asked for a passphrase before this can be read with its key."""
    return is_pkcs12(data) or any(mark in data for mark in _ENCRYPTED)


def read_bundle(data: bytes, passphrase: bytes | None = None) -> Bundle:
    """Read every certificate, and the private key where there is one.

    Args:
        data: the file.
        passphrase: opens PKCS #12 and encrypted PEM keys; None for none.

    Raises:
        UnreadableCertificate: no certificate can be read.
        BundleRefused: the passphrase does not open it, or its key is damaged.
    """
    if len(data) > MAX_BUNDLE_BYTES:
        raise UnreadableCertificate(f"{len(data)} octets are more than any bundle needs")
    if is_pkcs12(data):
        return _read_pkcs12(data, passphrase)
    found = _PEM_KEY.search(data)
    key = None if found is None else _read_pem_key(found[0], passphrase)
    certificates = load_certificates(_PEM_KEY.sub(b"", data))
    return Bundle(tuple(certificates), key)


def read_certificates(data: bytes, passphrase: bytes | None = None) -> tuple[x509.Certificate, ...]:
    """Read every certificate of any of the forms, and never a key.

    Raises:
        UnreadableCertificate: no certificate can be read.
        BundleRefused: the passphrase does not open the PKCS #12 file.
    """
    if is_pkcs12(data):
        return _read_pkcs12(data, passphrase).certificates
    return tuple(load_certificates(_PEM_KEY.sub(b"", data)))


def order_chain(
    certificates: Sequence[x509.Certificate], private_key: PrivateKeyTypes, called: str = "the key"
) -> tuple[x509.Certificate, ...]:
    """Return the certificate of this key and the authorities above it, without a root, whatever the order given.

    Args:
        certificates: at least one.
        private_key: whose certificate is wanted.
        called: how the key is called where it is told that none is.

    Raises:
        BundleRefused: `import.key`, none of the certificates belongs to the key.
    """
    wanted = public_octets(private_key.public_key())
    for leaf in certificates:
        if public_octets(leaf.public_key()) == wanted:
            break
    else:
        told = next((one for one in certificates if not is_authority(one)), certificates[0])
        raise BundleRefused(
            f"no certificate of the file was issued for {called}; the file has that of {describe(told)}",
            reason="import.key",
        )
    found = [leaf]
    above = [one for one in certificates if one.subject != one.issuer]
    while issuer := find_issuer(found[-1], [one for one in above if one not in found]):
        found.append(issuer)
    return tuple(found)


def public_octets(key: object) -> bytes:
    """Return the SubjectPublicKeyInfo of a public key, by which two keys are compared."""
    octets: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]
    return octets


def _read_pkcs12(data: bytes, passphrase: bytes | None) -> Bundle:
    try:
        loaded = pkcs12.load_pkcs12(data, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if passphrase is None:
            raise BundleRefused(
                "the PKCS #12 file has a passphrase, and none was given", reason="bundle.passphrase"
            ) from None
        raise BundleRefused(
            "the passphrase does not open the PKCS #12 file, or the file is damaged",
            reason="bundle.passphrase",
        ) from error
    first = () if loaded.cert is None else (loaded.cert.certificate,)
    certificates = (*first, *(one.certificate for one in loaded.additional_certs))
    if not certificates:
        raise UnreadableCertificate("the PKCS #12 file holds no certificate")
    for certificate in certificates:
        require_readable(certificate)
    return Bundle(certificates, loaded.key)


def _read_pem_key(block: bytes, passphrase: bytes | None) -> PrivateKeyTypes:
    try:
        encrypted = b"ENCRYPTED" in block
        return load_pem_private_key(block, passphrase if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BundleRefused(
            "the passphrase does not open the private key, or the key is damaged",
            reason="bundle.passphrase",
        ) from error
