"""The private-key operations of the access point, with keys from files.

`FileSigner` and `FileDecrypter` satisfy the `Signer` and `Decrypter` protocols of the AS4 security
header structurally; this package does not import them. A hardware module is another implementation of
the same two shapes. RSA 1.5 key transport is not offered: its implicit rejection hands out random
octets for a damaged ciphertext, and its oracle attacks are older than this profile.

Spec: as4.md 0.3, 2.4; ehmi.md 3.3; hostile.md 1.6 (ALG-10, ALG-12).
"""

from collections.abc import Sequence
from typing import Final, Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keys.errors import KeyStoreError, UnsupportedAlgorithm
from keys.reference import TokenReference, reference_names

RSA_SHA256: Final = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
RSA_SHA384: Final = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha384"
RSA_SHA512: Final = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha512"
ECDSA_SHA256: Final = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"
EDDSA_ED25519: Final = "http://www.w3.org/2021/04/xmldsig-more#eddsa-ed25519"
RSA_OAEP: Final = "http://www.w3.org/2009/xmlenc11#rsa-oaep"
RSA_OAEP_MGF1P: Final = "http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p"

_RSA_HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    RSA_SHA256: hashes.SHA256(),
    RSA_SHA384: hashes.SHA384(),
    RSA_SHA512: hashes.SHA512(),
}
_DIGESTS: Final[dict[str | None, hashes.HashAlgorithm]] = {
    # An absent DigestMethod means SHA-1 (XML Encryption 1.1, 5.5.2). Whether that is allowed was
    # decided by the caller's policy before the key is asked.
    None: hashes.SHA1(),  # noqa: S303
    "http://www.w3.org/2000/09/xmldsig#sha1": hashes.SHA1(),  # noqa: S303
    "http://www.w3.org/2001/04/xmlenc#sha256": hashes.SHA256(),
    "http://www.w3.org/2001/04/xmldsig-more#sha384": hashes.SHA384(),
    "http://www.w3.org/2001/04/xmlenc#sha512": hashes.SHA512(),
}
_MASKS: Final[dict[str | None, hashes.HashAlgorithm]] = {
    None: hashes.SHA1(),  # noqa: S303
    "http://www.w3.org/2009/xmlenc11#mgf1sha1": hashes.SHA1(),  # noqa: S303
    "http://www.w3.org/2009/xmlenc11#mgf1sha256": hashes.SHA256(),
    "http://www.w3.org/2009/xmlenc11#mgf1sha384": hashes.SHA384(),
    "http://www.w3.org/2009/xmlenc11#mgf1sha512": hashes.SHA512(),
}
_CONTENT_KEY_BYTES: Final = frozenset({16, 24, 32})
_UNWRAP_FAILED: Final = "the wrapped content key cannot be opened"

SigningKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class WrappedKey(Protocol):
    """What `FileDecrypter.unwrap` reads of an EncryptedKey: URIs as written (None when absent), octets."""

    @property
    def algorithm(self) -> str: ...
    @property
    def digest_algorithm(self) -> str | None: ...
    @property
    def mgf_algorithm(self) -> str | None: ...
    @property
    def cipher_value(self) -> bytes: ...


class AddressedKey(WrappedKey, Protocol):
    """A wrapped key that also says which certificate it was wrapped for."""

    @property
    def token(self) -> TokenReference: ...


class FileSigner:
    """Signs with one private key and shows the certificate (and chain) that goes with it."""

    def __init__(
        self,
        private_key: PrivateKeyTypes,
        certificate: x509.Certificate,
        chain: Sequence[x509.Certificate] = (),
    ) -> None:
        if not isinstance(
            private_key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
        ):
            raise KeyStoreError("the private key is of a kind that cannot sign")
        require_pair(private_key, certificate)
        self._private_key: SigningKey = private_key
        self.certificate = certificate
        self.chain: tuple[x509.Certificate, ...] = tuple(chain)

    @property
    def private_key(self) -> SigningKey:
        """The key itself, for the one signature that another library makes (sealed manifests)."""
        return self._private_key

    def sign(self, data: bytes, algorithm: str) -> bytes:
        """Sign `data` and return the octets of `ds:SignatureValue` before base64.

        RSA uses PKCS #1 v1.5 as the `rsa-sha*` identifiers mean; ECDSA returns r and s side by side, each
        as wide as the curve's order (XML Signature 1.1, 6.4.3), not the DER form.

        Raises:
            UnsupportedAlgorithm: an unknown algorithm, or one that does not fit this key.
        """
        key = self._private_key
        if algorithm in _RSA_HASHES and isinstance(key, rsa.RSAPrivateKey):
            return key.sign(data, padding.PKCS1v15(), _RSA_HASHES[algorithm])
        if algorithm == ECDSA_SHA256 and isinstance(key, ec.EllipticCurvePrivateKey):
            r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
            width = (key.curve.key_size + 7) // 8
            return r.to_bytes(width, "big") + s.to_bytes(width, "big")
        if algorithm == EDDSA_ED25519 and isinstance(key, ed25519.Ed25519PrivateKey):
            return key.sign(data)
        raise UnsupportedAlgorithm("the signature algorithm is unknown or does not fit the key")

    def __repr__(self) -> str:
        return f"FileSigner({self.certificate.subject.rfc4514_string()!r})"


class FileDecrypter:
    """Opens content keys that were wrapped for one certificate."""

    def __init__(
        self,
        private_key: PrivateKeyTypes,
        certificate: x509.Certificate,
    ) -> None:
        if not isinstance(private_key, rsa.RSAPrivateKey | x25519.X25519PrivateKey):
            raise KeyStoreError("the private key is of a kind that cannot open content keys")
        require_pair(private_key, certificate)
        self._private_key = private_key
        self.certificate = certificate

    def matches(self, reference: TokenReference) -> bool:
        """Tell whether the sender says the content key was wrapped for this certificate."""
        return reference_names(reference, self.certificate)

    def unwrap(self, wrapped: WrappedKey) -> bytes:
        """Open an RSA-OAEP wrapped AES content key of 16, 24 or 32 octets.

        `rsa-oaep-mgf1p` fixes the mask function to SHA-1 whatever `mgf_algorithm` says.

        Raises:
            ValueError: on any failure, with one text for all of them.
        """
        mask_name = None if wrapped.algorithm == RSA_OAEP_MGF1P else wrapped.mgf_algorithm
        digest = _DIGESTS.get(wrapped.digest_algorithm)
        mask = _MASKS.get(mask_name)
        key = self._private_key
        if (
            wrapped.algorithm not in (RSA_OAEP, RSA_OAEP_MGF1P)
            or digest is None
            or mask is None
            or not isinstance(key, rsa.RSAPrivateKey)
        ):
            raise ValueError(_UNWRAP_FAILED)
        try:
            content_key = key.decrypt(
                wrapped.cipher_value, padding.OAEP(padding.MGF1(mask), digest, label=None)
            )
        except ValueError:
            raise ValueError(_UNWRAP_FAILED) from None
        if len(content_key) not in _CONTENT_KEY_BYTES:
            raise ValueError(_UNWRAP_FAILED)
        return content_key

    def agree(self, ephemeral_public_key: bytes) -> bytes:
        """Return the X25519 shared secret with the sender's ephemeral key (32 raw octets).

        Raises:
            ValueError: another kind of key here, a malformed public key, or a low-order point, uniformly.

        Spec: as4.md 2.6 (eDelivery AS4 2.0).
        """
        if not isinstance(self._private_key, x25519.X25519PrivateKey):
            raise ValueError(_UNWRAP_FAILED)
        try:
            peer = x25519.X25519PublicKey.from_public_bytes(ephemeral_public_key)
            return self._private_key.exchange(peer)
        except ValueError:
            raise ValueError(_UNWRAP_FAILED) from None

    def __repr__(self) -> str:
        return f"FileDecrypter({self.certificate.subject.rfc4514_string()!r})"


class KeyRing:
    """Several decrypters as one: while keys change, peers still wrap for the previous certificate.

    The reference in the message chooses the key; keys are never tried in turn.
    """

    def __init__(self, decrypters: Sequence[FileDecrypter]) -> None:
        if not decrypters:
            raise KeyStoreError("a key ring without keys")
        self.decrypters: tuple[FileDecrypter, ...] = tuple(decrypters)

    @property
    def certificates(self) -> tuple[x509.Certificate, ...]:
        """The certificates that content keys may be wrapped for, the current one first."""
        return tuple(decrypter.certificate for decrypter in self.decrypters)

    def matches(self, reference: TokenReference) -> bool:
        """Tell whether the sender names one of our certificates."""
        return any(decrypter.matches(reference) for decrypter in self.decrypters)

    def unwrap(self, wrapped: AddressedKey) -> bytes:
        """Open a content key with the key its token reference names.

        Raises:
            ValueError: as `FileDecrypter.unwrap`, also when the reference names none of our certificates.
        """
        for decrypter in self.decrypters:
            if decrypter.matches(wrapped.token):
                return decrypter.unwrap(wrapped)
        raise ValueError(_UNWRAP_FAILED)


def require_pair(private_key: PrivateKeyTypes, certificate: x509.Certificate) -> None:
    """Refuse a certificate that was not issued for this private key.

    Raises:
        KeyStoreError: the public keys differ.
    """
    ours = private_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    theirs = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if ours != theirs:
        raise KeyStoreError(
            f"the private key does not belong to the certificate of {certificate.subject.rfc4514_string()}"
        )
