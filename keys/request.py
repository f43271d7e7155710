"""A request for a certificate (PKCS #10): the key of a role, and what its certificate is asked to say.

Spec: RFC 2986; ehmi.md 3.6.
"""

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Final, cast

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import (
    CertificateIssuerPrivateKeyTypes,
    PrivateKeyTypes,
)

from keys.errors import KeyStoreError, UnreadableCertificate, UntrustedCertificate
from keys.path import Usage
from keys.roles import Role

RSA_BITS: Final = 3072
_MALFORMED: Final = (
    ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.InvalidVersion,
)  # fmt: skip


def new_key(role: Role) -> PrivateKeyTypes:
    """Generate a private key of the kind that a role has.

    Raises:
        KeyStoreError: the kind cannot sign a request.
    """
    if role is Role.SIGNING_ED25519:
        return ed25519.Ed25519PrivateKey.generate()
    if role is Role.DECRYPTION_X25519:
        # An X25519 key cannot sign a request; authorities certify it by another way than PKCS #10.
        raise KeyStoreError(
            "a key for X25519 cannot sign a request; import key and certificate together"
        )
    if role in (Role.SIGNING_P256, Role.DECRYPTION_P256):
        return ec.generate_private_key(ec.SECP256R1())
    return rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)


def read_request(data: bytes) -> x509.CertificateSigningRequest:
    """Read a request (PKCS #10, PEM) that is signed by the key that it is for.

    Raises:
        UnreadableCertificate: there is none, or it is malformed.
        UntrustedCertificate: another key signed it, or it was changed after that.
    """
    try:
        request = x509.load_pem_x509_csr(data)
        # They are read lazily: what is malformed in them would break later.
        _ = request.subject, request.extensions
        is_signed = request.is_signature_valid
    except _MALFORMED as error:
        raise UnreadableCertificate("it is no request (PKCS #10, PEM)") from error
    if not is_signed:
        raise UntrustedCertificate("it is not signed by the key that it is for")
    return request


def build_request(
    key: PrivateKeyTypes,
    uses: tuple[Usage, ...],
    subject: x509.Name,
    names: Sequence[str] | None,
    present: x509.Certificate | None,
) -> x509.CertificateSigningRequest:
    """Return a request for the certificate of a key, signed with it.

    Args:
        uses: what keyUsage asks for.
        subject: whose certificate is asked for.
        names: DNS names and IP addresses; those of `present` unless given.
        present: the certificate that the new one follows.
    """
    encrypts = Usage.ENCRYPTION in uses
    is_rsa = isinstance(key, rsa.RSAPrivateKey)
    usage = key_usage(
        digital_signature=uses != (Usage.ENCRYPTION,),
        key_encipherment=encrypts and is_rsa,
        key_agreement=encrypts and not is_rsa,
    )
    builder = x509.CertificateSigningRequestBuilder(subject).add_extension(usage, critical=True)
    wanted = _wanted_names(names, present)
    if wanted is not None:
        builder = builder.add_extension(wanted, critical=False)
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(cast(CertificateIssuerPrivateKeyTypes, key), digest)


def _wanted_names(
    names: Sequence[str] | None, present: x509.Certificate | None
) -> x509.SubjectAlternativeName | None:
    if names is not None:
        return (
            x509.SubjectAlternativeName([general_name(name) for name in names]) if names else None
        )
    if present is None:
        return None
    try:
        return present.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None


def general_name(text: str) -> x509.GeneralName:
    """Return an IP address or a DNS name as one of a subject alternative name."""
    try:
        return x509.IPAddress(ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def key_usage(
    *,
    digital_signature: bool = False,
    key_encipherment: bool = False,
    key_agreement: bool = False,
    key_cert_sign: bool = False,
    crl_sign: bool = False,
) -> x509.KeyUsage:
    """Return a keyUsage extension with the bits named."""
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=key_encipherment,
        data_encipherment=False,
        key_agreement=key_agreement,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )
