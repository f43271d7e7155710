"""Key agreement: how the content key reaches a receiver whose certificate holds a key that agrees, not one that opens.

The sender makes a key for this one message and agrees with the certificate's key on a secret; HKDF makes a
wrapping key of the secret, AES key wrap puts the content key under it. Two forms and no other: X25519, and ECDH-ES on
a named curve. Everything that is written decides what the receiver derives, so every element has its one place:
what is missing, doubled or in another order is refused before any key is asked.

Agreeing with our private key is the `Decrypter`'s work, and so is the question whether a point is on the curve.

Spec: XML Encryption 1.1 section 5.6; RFC 9231 sections 2.6 and 2.8; eDelivery AS4 2.0 common profile and
alternative elliptic curve option (secondary text, decision D15).
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from envelope import names
from envelope.errors import LocalProtocolError, PolicyNoncompliance
from envelope.names import q
from envelope.pmode import KeyTransport, Quirk, SecurityPolicy
from envelope.security_token import SECURITY_TOKEN_REFERENCE, TokenReference, read_key_info
from envelope.signed_info import decode_base64, leaf_text
from envelope.xmldsig import public_key

if TYPE_CHECKING:
    from cryptography import x509
    from lxml.etree import _Element

AGREEMENT_METHOD: Final = q(names.XENC, "AgreementMethod")
_KEY_DERIVATION_METHOD: Final = q(names.XENC11, "KeyDerivationMethod")
_ORIGINATOR_KEY_INFO: Final = q(names.XENC, "OriginatorKeyInfo")
_RECIPIENT_KEY_INFO: Final = q(names.XENC, "RecipientKeyInfo")
_KEY_VALUE: Final = q(names.DS, "KeyValue")
_DER_ENCODED_KEY_VALUE: Final = q(names.DSIG11, "DEREncodedKeyValue")
_EC_KEY_VALUE: Final = q(names.DSIG11, "ECKeyValue")
_NAMED_CURVE: Final = q(names.DSIG11, "NamedCurve")
_PUBLIC_KEY: Final = q(names.DSIG11, "PublicKey")
_DIALECT: Final = "http://www.w3.org/2001/04/xmldsig-more#"

AES_128_OCTETS: Final = 16
"""Of the content key and of the key that wraps it."""
_LONGEST_PARAMETER: Final = 256
_X25519_PREFIX: Final = bytes.fromhex("302a300506032b656e032100")
"""The SubjectPublicKeyInfo of an X25519 key is this and 32 octets; DER has no second way to write it."""
_X25519_OCTETS: Final = 32
_UNCOMPRESSED: Final = 0x04
X25519_CURVE: Final = "x25519"
_CURVES: Final = {
    "urn:oid:1.2.840.10045.3.1.7": "secp256r1",
    "urn:oid:1.3.132.0.34": "secp384r1",
    "urn:oid:1.3.132.0.35": "secp521r1",
    "urn:oid:1.3.36.3.3.2.8.1.1.7": "brainpoolP256r1",
}
_COORDINATE_OCTETS: Final = {
    "secp256r1": 32,
    "secp384r1": 48,
    "secp521r1": 66,
    "brainpoolP256r1": 32,
}


@dataclass(frozen=True, slots=True)
class KeyAgreement:
    """What a receiver needs beside its private key to derive the wrapping key of 16 octets.

    `originator` is the sender's public key on `curve`: 32 octets for `x25519`, else an uncompressed point. Whether it
    is a point of the curve is not checked yet. `salt` and `info` are those of HKDF with HMAC-SHA-256, often empty.
    """

    algorithm: str
    curve: str
    originator: bytes
    salt: bytes = field(default=b"", repr=False)
    info: bytes = b""


def _schema(detail: str) -> PolicyNoncompliance:
    return PolicyNoncompliance(detail, reason="enc.schema")


def _derivation(detail: str) -> PolicyNoncompliance:
    return PolicyNoncompliance(detail, reason="alg.derivation")


def read_key_agreement(
    key_info: "_Element", tokens: Mapping[str, "_Element"], policy: SecurityPolicy
) -> tuple[KeyAgreement, TokenReference]:
    """Read the `ds:KeyInfo` of an EncryptedKey whose key is agreed, and which certificate it was agreed with.

    Raises `PolicyNoncompliance` (`alg.transport`, `alg.derivation`, `alg.curve`, `enc.schema`, `key.reference`),
    `FailedAuthentication` (`sig.schema`, `key.ambiguous`, `sec.schema`) and `CertificateRefused` (`cert.parse`)
    as the readers of the signature do; the caller says that it is not the signature.

    Spec: eDelivery AS4 2.0; RFC 9231 section 2.8.
    """
    if [child.tag for child in key_info] != [AGREEMENT_METHOD]:
        raise _schema("a wrapped key without its AgreementMethod")
    method = key_info[0]
    algorithm = method.get("Algorithm", "")
    if algorithm not in policy.key_transports or algorithm not in (names.X25519, names.ECDH_ES):
        raise PolicyNoncompliance("key agreement not agreed", reason="alg.transport")
    if [child.tag for child in method] != [
        _KEY_DERIVATION_METHOD,
        _ORIGINATOR_KEY_INFO,
        _RECIPIENT_KEY_INFO,
    ]:
        raise _schema("AgreementMethod has other children than it may")
    derivation, originator_info, recipient_info = method
    salt, info = _read_derivation(derivation, policy)
    read = _read_x25519 if algorithm == names.X25519 else _read_point
    curve, originator = read(originator_info, policy)
    # The profile's own sample wraps the reference in a KeyValue, its text and its readers do not.
    if [child.tag for child in recipient_info] == [_KEY_VALUE] and [
        child.tag for child in recipient_info[0]
    ] == [SECURITY_TOKEN_REFERENCE]:
        recipient_info = recipient_info[0]
    token = read_key_info(recipient_info, tokens)
    return KeyAgreement(algorithm, curve, originator, salt, info), token


def _read_derivation(element: "_Element", policy: SecurityPolicy) -> tuple[bytes, bytes]:
    """Salt and info of HKDF; the hash and the length have one value each."""
    dialect = policy.allows(Quirk.HKDF_DIALECT)
    namespaces = [names.DSIG_MORE_2021, *([_DIALECT] if dialect else ())]
    if element.get("Algorithm") != names.HKDF or len(element) != 1:
        raise _derivation("key derivation not agreed")
    parameters = element[0]
    namespace = str(parameters.tag)[1:].partition("}")[0]
    if namespace not in namespaces or parameters.tag != q(namespace, "HKDFParams"):
        raise _derivation("key derivation without its parameters")
    given = {str(child.tag): child for child in parameters}
    known = [q(namespace, local) for local in ("PRF", "Salt", "Info", "KeyLength")]
    if [str(child.tag) for child in parameters] != [tag for tag in known if tag in given]:
        raise _derivation("parameters of the key derivation")
    prf, salt, info, length = (given.get(tag) for tag in known)
    if prf is None or len(prf) or prf.get("Algorithm") != names.HMAC_SHA256:
        raise _derivation("hash of the key derivation not agreed")
    octets = "" if length is None else (leaf_text(length) or "").strip()
    if octets != "16" and not (dialect and octets == "128"):
        raise _derivation("length of the derived key not agreed")
    if (
        salt is not None
        and dialect
        and [child.tag for child in salt] == [q(namespace, "Specified")]
    ):
        salt = salt[0]
    return _parameter(salt, "Salt"), _parameter(info, "Info")


def _parameter(element: "_Element | None", what: str) -> bytes:
    """An optional octet string, which may also be there and empty."""
    text = "" if element is None else (leaf_text(element) or "")
    value = decode_base64(text, what=what) if text.strip() else b""
    if len(value) > _LONGEST_PARAMETER:
        raise _derivation(f"{what} of the key derivation too long")
    return value


def _read_x25519(element: "_Element", policy: SecurityPolicy) -> tuple[str, bytes]:
    del policy  # There is one curve.
    if [child.tag for child in element] != [_DER_ENCODED_KEY_VALUE]:
        raise _schema("OriginatorKeyInfo without DEREncodedKeyValue")
    der = decode_base64(leaf_text(element[0]), what="dsig11:DEREncodedKeyValue")
    key = der.removeprefix(_X25519_PREFIX)
    if key == der or len(key) != _X25519_OCTETS:
        raise PolicyNoncompliance("the originator's key is not X25519", reason="alg.curve")
    return X25519_CURVE, key


def _read_point(element: "_Element", policy: SecurityPolicy) -> tuple[str, bytes]:
    path = element
    for tag in (_KEY_VALUE, _EC_KEY_VALUE):
        if [child.tag for child in path] != [tag]:
            raise _schema("OriginatorKeyInfo without ECKeyValue")
        path = path[0]
    if [child.tag for child in path] != [_NAMED_CURVE, _PUBLIC_KEY] or len(path[0]):
        raise _schema("ECKeyValue is not NamedCurve and PublicKey")
    curve = _CURVES.get(path[0].get("URI", ""))
    if curve is None or curve not in policy.curves:
        raise PolicyNoncompliance("curve of the key agreement not agreed", reason="alg.curve")
    point = decode_base64(leaf_text(path[1]), what="dsig11:PublicKey")
    if len(point) != 1 + 2 * _COORDINATE_OCTETS[curve] or point[0] != _UNCOMPRESSED:
        raise PolicyNoncompliance("the originator's key is no point", reason="alg.curve")
    return curve, point


def agree_content_key(
    content_key: bytes, recipient: "x509.Certificate", transport: KeyTransport
) -> tuple[bytes, KeyAgreement]:
    """Wrap the content key for `recipient` by agreement with a key made for this one message and a random salt.

    Raises `LocalProtocolError` when the certificate holds no key that agrees so, or one of low order.

    Spec: eDelivery AS4 2.0; RFC 5869; RFC 3394.
    """
    if len(content_key) != AES_128_OCTETS:
        raise LocalProtocolError("the content key must have 16 octets")
    key = public_key(recipient)
    if transport is KeyTransport.X25519 and isinstance(key, x25519.X25519PublicKey):
        ephemeral = x25519.X25519PrivateKey.generate()
        try:
            secret = ephemeral.exchange(key)
        except ValueError:
            raise LocalProtocolError("the recipient's key is of low order") from None
        algorithm, curve = names.X25519, X25519_CURVE
        originator = ephemeral.public_key().public_bytes_raw()
    elif (
        transport is KeyTransport.ECDH_ES
        and isinstance(key, ec.EllipticCurvePublicKey)
        and key.curve.name in _COORDINATE_OCTETS
    ):
        own = ec.generate_private_key(key.curve)
        secret = own.exchange(ec.ECDH(), key)
        algorithm, curve = names.ECDH_ES, key.curve.name
        originator = own.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    else:
        raise LocalProtocolError(f"the recipient's certificate holds no key for {transport}")
    # Drawn inside the library like the key above and what OAEP adds: this package draws nothing itself.
    salt = AESGCM.generate_key(256)
    wrapping_key = HKDF(hashes.SHA256(), AES_128_OCTETS, salt, b"").derive(secret)
    agreement = KeyAgreement(algorithm, curve, originator, salt)
    return aes_key_wrap(wrapping_key, content_key), agreement


def write_key_agreement(agreement: KeyAgreement, token_reference: str) -> str:
    """`xenc:AgreementMethod` in canonical form; the prefixes ds and xenc are the Security header's."""
    if agreement.curve == X25519_CURVE:
        key = (
            f'<dsig11:DEREncodedKeyValue xmlns:dsig11="{names.DSIG11}">'
            f"{_base64(_X25519_PREFIX + agreement.originator)}</dsig11:DEREncodedKeyValue>"
        )
    else:
        uri = next(uri for uri, name in _CURVES.items() if name == agreement.curve)
        key = (
            f'<ds:KeyValue><dsig11:ECKeyValue xmlns:dsig11="{names.DSIG11}">'
            f'<dsig11:NamedCurve URI="{uri}"></dsig11:NamedCurve>'
            f"<dsig11:PublicKey>{_base64(agreement.originator)}</dsig11:PublicKey>"
            "</dsig11:ECKeyValue></ds:KeyValue>"
        )
    return (
        f'<xenc:AgreementMethod Algorithm="{agreement.algorithm}">'
        f'<xenc11:KeyDerivationMethod xmlns:xenc11="{names.XENC11}" Algorithm="{names.HKDF}">'
        f'<dsig-more:HKDFParams xmlns:dsig-more="{names.DSIG_MORE_2021}">'
        f'<dsig-more:PRF Algorithm="{names.HMAC_SHA256}"></dsig-more:PRF>'
        f"<dsig-more:Salt>{_base64(agreement.salt)}</dsig-more:Salt>"
        f"<dsig-more:KeyLength>{AES_128_OCTETS}</dsig-more:KeyLength>"
        "</dsig-more:HKDFParams></xenc11:KeyDerivationMethod>"
        f"<xenc:OriginatorKeyInfo>{key}</xenc:OriginatorKeyInfo>"
        f"<xenc:RecipientKeyInfo>{token_reference}</xenc:RecipientKeyInfo></xenc:AgreementMethod>"
    )


def _base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode("ascii")
