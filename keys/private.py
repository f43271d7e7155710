"""The private-key operations of the access point, with keys from files.

`FileSigner` and `FileDecrypter` satisfy the `Signer` and `Decrypter` protocols of the AS4 security
header structurally; this package does not import them. A hardware module is another implementation of
the same two shapes.

A content key comes wrapped with RSA-OAEP (eDelivery AS4 1.15) or under a key agreed with X25519 or ECDH
(2.0). Whatever fails in opening it, an invalid point included, is one failure with one text. RSA 1.5 key transport is
not offered: its implicit rejection hands out random octets for a damaged ciphertext, and its oracle attacks are older
than this profile.

Spec: as4.md 0.3, 2.4; ehmi.md 3.3; hostile.md 1.6 (ALG-10, ALG-12).
"""

from collections.abc import Sequence
from typing import Final, Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes, keywrap
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
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
KW_AES128: Final = "http://www.w3.org/2001/04/xmlenc#kw-aes128"
X25519: Final = "http://www.w3.org/2021/04/xmldsig-more#x25519"
ECDH_ES: Final = "http://www.w3.org/2009/xmlenc11#ECDH-ES"

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

_WRAPPING_KEY_BYTES: Final = 16

SigningKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
DecryptionKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | x25519.X25519PrivateKey


def signs_with(certificate: x509.Certificate, algorithm: str) -> bool:
    """Tell whether signatures of this algorithm are made with the kind of key that the certificate holds."""
    key = certificate.public_key()
    if algorithm in _RSA_HASHES:
        return isinstance(key, rsa.RSAPublicKey)
    if algorithm == ECDSA_SHA256:
        return isinstance(key, ec.EllipticCurvePublicKey)
    return algorithm == EDDSA_ED25519 and isinstance(key, ed25519.Ed25519PublicKey)


class KeyAgreement(Protocol):
    """What `FileDecrypter.unwrap` reads of an AgreementMethod: see the security header's code for the shapes."""

    @property
    def algorithm(self) -> str: ...
    @property
    def curve(self) -> str: ...
    @property
    def originator(self) -> bytes: ...
    @property
    def salt(self) -> bytes: ...
    @property
    def info(self) -> bytes: ...


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
    @property
    def agreement(self) -> KeyAgreement | None: ...


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
        if not isinstance(
            private_key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | x25519.X25519PrivateKey
        ):
            raise KeyStoreError("the private key is of a kind that cannot open content keys")
        require_pair(private_key, certificate)
        self._private_key: DecryptionKey = private_key
        self.certificate = certificate

    def matches(self, reference: TokenReference) -> bool:
        """Tell whether the sender says the content key was wrapped for this certificate."""
        return reference_names(reference, self.certificate)

    def unwrap(self, wrapped: WrappedKey) -> bytes:
        """Open an AES content key of 16, 24 or 32 octets: RSA-OAEP wrapped, or wrapped under an agreed key.

        `rsa-oaep-mgf1p` fixes the mask function to SHA-1 whatever `mgf_algorithm` says.

        Raises:
            ValueError: on any failure, with one text for all of them.
        """
        try:
            content_key = (
                self._decrypt(wrapped)
                if wrapped.agreement is None
                else self._unwrap_agreed(wrapped.algorithm, wrapped.agreement, wrapped.cipher_value)
            )
        except (ValueError, keywrap.InvalidUnwrap):
            raise ValueError(_UNWRAP_FAILED) from None
        if len(content_key) not in _CONTENT_KEY_BYTES:
            raise ValueError(_UNWRAP_FAILED)
        return content_key

    def _decrypt(self, wrapped: WrappedKey) -> bytes:
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
        return key.decrypt(
            wrapped.cipher_value, padding.OAEP(padding.MGF1(mask), digest, label=None)
        )

    def _unwrap_agreed(self, algorithm: str, agreement: KeyAgreement, cipher_value: bytes) -> bytes:
        """Agree with the sender's key, derive with HKDF-SHA-256, unwrap (RFC 3394); ValueError on a bad point.

        The curve must be the one of our own key. A point that is not on it, and a Curve25519 point of low order,
        with which every key agrees on nothing, are refused by the library.

        Spec: eDelivery AS4 2.0; XML Encryption 1.1 section 5.6.
        """
        key = self._private_key
        if algorithm != KW_AES128:
            raise ValueError(_UNWRAP_FAILED)
        if agreement.algorithm == X25519 and isinstance(key, x25519.X25519PrivateKey):
            peer = x25519.X25519PublicKey.from_public_bytes(agreement.originator)
            secret = key.exchange(peer)
        elif (
            agreement.algorithm == ECDH_ES
            and isinstance(key, ec.EllipticCurvePrivateKey)
            and agreement.curve == key.curve.name
        ):
            point = ec.EllipticCurvePublicKey.from_encoded_point(key.curve, agreement.originator)
            secret = key.exchange(ec.ECDH(), point)
        else:
            raise ValueError(_UNWRAP_FAILED)
        derivation = HKDF(hashes.SHA256(), _WRAPPING_KEY_BYTES, agreement.salt, agreement.info)
        return keywrap.aes_key_unwrap(derivation.derive(secret), cipher_value)

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
