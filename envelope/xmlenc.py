"""XML Encryption as WS-Security uses it for attachments: one content key for the message, AES-GCM for each part.

The header says how the content key was wrapped for the receiver and which parts it opens; the cipher text itself
is the MIME part: 12 octets initialisation vector, cipher text, 16 octets tag. Both directions stream. What
`GcmDecryption` gives out is not authentic before `finish` returns: keep it where nobody reads it until then.

A content key is wrapped with RSA-OAEP, or under a key that both sides agree on (`key_agreement`); the algorithm of the
EncryptedKey says which, and policy which is allowed.

Private keys are not used here; unwrapping is the `Decrypter`'s work.

Spec: XML Encryption 1.1; WSS SwA Profile 1.1 section 5.5; eDelivery AS4 1.15 section 4.2.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from envelope import names
from envelope.canonical import attribute
from envelope.errors import (
    FailedAuthentication,
    FailedDecryption,
    LocalProtocolError,
    PolicyNoncompliance,
)
from envelope.key_agreement import KeyAgreement, read_key_agreement, write_key_agreement
from envelope.names import q
from envelope.pmode import Quirk, SecurityPolicy
from envelope.security_token import (
    SECURITY_TOKEN_REFERENCE,
    TOKEN_REFERENCE,
    TokenReference,
    read_key_info,
)
from envelope.signed_info import DIGEST_METHOD, TRANSFORM, decode_base64, leaf_text
from envelope.xmldsig import KEY_INFO, check_rsa_size, public_key

if TYPE_CHECKING:
    from cryptography import x509
    from lxml.etree import _Element

ENCRYPTED_KEY: Final = q(names.XENC, "EncryptedKey")
ENCRYPTED_DATA: Final = q(names.XENC, "EncryptedData")
_ENCRYPTION_METHOD: Final = q(names.XENC, "EncryptionMethod")
_CIPHER_DATA: Final = q(names.XENC, "CipherData")
_CIPHER_VALUE: Final = q(names.XENC, "CipherValue")
_CIPHER_REFERENCE: Final = q(names.XENC, "CipherReference")
_TRANSFORMS: Final = q(names.XENC, "Transforms")
_REFERENCE_LIST: Final = q(names.XENC, "ReferenceList")
_DATA_REFERENCE: Final = q(names.XENC, "DataReference")
_MGF: Final = q(names.XENC11, "MGF")

CONTENT_KEY_OCTETS: Final = 16
IV_OCTETS: Final = 12
TAG_OCTETS: Final = 16
_KEY_SIZES: Final = {names.AES128_GCM: CONTENT_KEY_OCTETS}
_OAEP_SHA256: Final = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), label=None)


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """The content key as the header carries it: for which certificate, by which algorithms, how long it must be.

    `digest_algorithm` and `mgf_algorithm` are those of RSA-OAEP, empty where `agreement` says how the key was agreed.
    """

    algorithm: str
    digest_algorithm: str
    mgf_algorithm: str
    cipher_value: bytes = field(repr=False)
    token: TokenReference
    key_octets: int = CONTENT_KEY_OCTETS
    agreement: KeyAgreement | None = None


@dataclass(frozen=True, slots=True)
class EncryptedPart:
    """One `xenc:EncryptedData`; `mime_type` is the part's type before encryption, if the sender tells."""

    content_id: str
    algorithm: str
    mime_type: str | None


@dataclass(frozen=True, slots=True)
class EncryptionHeader:
    """What the Security header says about encryption: one wrapped key, and the parts by content id."""

    wrapped_key: WrappedKey
    parts: Mapping[str, EncryptedPart]


def _schema(detail: str) -> PolicyNoncompliance:
    return PolicyNoncompliance(detail, reason="enc.schema")


def _dangling(detail: str) -> PolicyNoncompliance:
    return PolicyNoncompliance(detail, reason="enc.reference")


def content_id_of(uri: str) -> str:
    """The content id that a `cid:` URI names, percent-decoded.

    Spec: RFC 2392 section 2.
    """
    return unquote(uri.removeprefix("cid:"))


def read_encryption(
    encrypted_keys: Sequence["_Element"],
    encrypted_data: Sequence["_Element"],
    *,
    ids: Mapping[str, "_Element"],
    tokens: Mapping[str, "_Element"],
    policy: SecurityPolicy,
) -> EncryptionHeader | None:
    """Read the encryption of a Security header, or None where there is none.

    One EncryptedKey whose ReferenceList names exactly the EncryptedData elements, each for another attachment.
    Raises `PolicyNoncompliance` (`enc.schema`, `enc.reference`, `enc.placement`, `alg.*`, `key.reference`).

    Spec: eDelivery AS4 1.15 section 4.2; WSS SwA Profile 1.1 section 5.5.
    """
    if not encrypted_keys and not encrypted_data:
        return None
    if len(encrypted_keys) != 1:
        raise _schema(f"{len(encrypted_keys)} EncryptedKey elements")
    encrypted_key = encrypted_keys[0]
    wrapped_key, listed = _read_encrypted_key(encrypted_key, tokens, policy)
    _check_reference_list(listed, encrypted_data, ids)
    parts: dict[str, EncryptedPart] = {}
    for element in encrypted_data:
        part = _read_encrypted_data(element, encrypted_key, ids, policy)
        if part.content_id in parts:
            raise _schema("two EncryptedData for one part")
        parts[part.content_id] = part
    return EncryptionHeader(wrapped_key, parts)


def _check_reference_list(
    listed: Sequence[str], encrypted_data: Sequence["_Element"], ids: Mapping[str, "_Element"]
) -> None:
    """Demand that the list names every EncryptedData once and nothing else; the order is free."""
    named = [ids.get(uri[1:]) if uri.startswith("#") else None for uri in listed]
    if len(named) != len(encrypted_data) or not all(
        any(element is each for each in named) for element in encrypted_data
    ):
        raise _dangling("ReferenceList and EncryptedData do not agree")


def _read_encrypted_key(
    element: "_Element", tokens: Mapping[str, "_Element"], policy: SecurityPolicy
) -> tuple[WrappedKey, list[str]]:
    if [child.tag for child in element] != [
        _ENCRYPTION_METHOD,
        KEY_INFO,
        _CIPHER_DATA,
        _REFERENCE_LIST,
    ]:
        raise _schema("EncryptedKey has other children than it may")
    method, key_info, cipher_data, reference_list = element
    agreed = method.get("Algorithm") == names.KW_AES128
    algorithm, digest, mgf = _read_key_wrap(method) if agreed else _read_oaep(method, policy)
    if [child.tag for child in cipher_data] != [_CIPHER_VALUE]:
        raise _schema("EncryptedKey without CipherValue")
    if any(child.tag != _DATA_REFERENCE for child in reference_list):
        raise _schema("ReferenceList holds something else")
    try:
        agreement = None
        if agreed:
            agreement, token = read_key_agreement(key_info, tokens, policy)
        else:
            token = read_key_info(key_info, tokens)
        value = decode_base64(leaf_text(cipher_data[0]), what="xenc:CipherValue")
    except FailedAuthentication as error:
        # The same reader serves the signature; here nothing about authenticity has failed.
        raise PolicyNoncompliance(error.detail, reason="enc.schema") from None
    wrapped = WrappedKey(algorithm, digest, mgf, value, token, agreement=agreement)
    return wrapped, [child.get("URI", "") for child in reference_list]


def _read_key_wrap(method: "_Element") -> tuple[str, str, str]:
    if len(method):
        raise PolicyNoncompliance("parameters of the key wrap", reason="alg.transport")
    return names.KW_AES128, "", ""


def _read_oaep(method: "_Element", policy: SecurityPolicy) -> tuple[str, str, str]:
    """Algorithm, OAEP digest and MGF, with the standard's defaults where the sender is silent.

    The defaults are SHA-1 for both, and `rsa-oaep-mgf1p` is MGF1 with SHA-1 by name; each needs its quirk.
    """
    algorithm = method.get("Algorithm", "")
    known = algorithm in (names.RSA_OAEP, names.RSA_OAEP_MGF1P)
    if not known or algorithm not in policy.allowed_key_transports:
        raise PolicyNoncompliance("key transport not agreed", reason="alg.transport")
    parameters = {child.tag: child.get("Algorithm", "") for child in method}
    if len(parameters) != len(method) or parameters.keys() - {DIGEST_METHOD, _MGF}:
        raise PolicyNoncompliance("parameters of the key transport", reason="alg.oaep")
    digest = parameters.get(DIGEST_METHOD, names.SHA1)
    mgf = parameters.get(_MGF, names.MGF1_SHA1)
    if algorithm == names.RSA_OAEP_MGF1P:
        agreed = _MGF not in parameters
    else:
        agreed = mgf == names.MGF1_SHA256 or (
            mgf == names.MGF1_SHA1 and policy.allows(Quirk.OAEP_SHA1)
        )
    agreed &= digest == names.SHA256 or (digest == names.SHA1 and policy.allows(Quirk.OAEP_SHA1))
    if not agreed:
        raise PolicyNoncompliance("digest or MGF of the key transport", reason="alg.oaep")
    return algorithm, digest, mgf


def _read_encrypted_data(
    element: "_Element",
    encrypted_key: "_Element",
    ids: Mapping[str, "_Element"],
    policy: SecurityPolicy,
) -> EncryptedPart:
    if element.get("Type") != names.ATTACHMENT_CONTENT_ONLY:
        raise PolicyNoncompliance("EncryptedData of another Type", reason="enc.placement")
    inner = list(element)
    if len(inner) == 3 and inner[1].tag == KEY_INFO:
        _check_content_key(inner.pop(1), encrypted_key, ids)
    if [child.tag for child in inner] != [_ENCRYPTION_METHOD, _CIPHER_DATA]:
        raise _schema("EncryptedData has other children than it may")
    method, cipher_data = inner
    algorithm = method.get("Algorithm", "")
    if algorithm not in policy.content_encryption or algorithm not in _KEY_SIZES or len(method):
        raise PolicyNoncompliance("content encryption not agreed", reason="alg.encryption")
    if [child.tag for child in cipher_data] != [_CIPHER_REFERENCE]:
        raise PolicyNoncompliance("EncryptedData that holds its value", reason="enc.placement")
    reference = cipher_data[0]
    uri = reference.get("URI", "")
    if not uri.startswith("cid:"):
        raise PolicyNoncompliance("CipherReference to no part", reason="enc.placement")
    if [child.tag for child in reference] != [_TRANSFORMS] or [
        child.tag for child in reference[0]
    ] != [TRANSFORM]:
        raise _schema("CipherReference without its transform")
    if reference[0][0].get("Algorithm") != names.ATTACHMENT_CIPHERTEXT:
        raise PolicyNoncompliance("transform of the cipher text", reason="alg.transform")
    return EncryptedPart(content_id_of(uri), algorithm, element.get("MimeType"))


def _check_content_key(
    key_info: "_Element", encrypted_key: "_Element", ids: Mapping[str, "_Element"]
) -> None:
    """Demand that the key named is the EncryptedKey of this header."""
    if [child.tag for child in key_info] != [SECURITY_TOKEN_REFERENCE]:
        raise _schema("KeyInfo of EncryptedData")
    reference = key_info[0]
    uri = ""
    if [child.tag for child in reference] == [TOKEN_REFERENCE]:
        uri = reference[0].get("URI", "")
    if not uri.startswith("#") or ids.get(uri[1:]) is not encrypted_key:
        raise _dangling("EncryptedData names another key")


def wrap_content_key(content_key: bytes, recipient: "x509.Certificate") -> bytes:
    """Wrap the content key for `recipient` with RSA-OAEP, SHA-256 and MGF1 with SHA-256.

    Raises `LocalProtocolError` when the certificate holds no RSA key of an agreed size.

    Spec: eDelivery AS4 1.15 section 4.2.
    """
    if len(content_key) != CONTENT_KEY_OCTETS:
        raise LocalProtocolError("the content key must have 16 octets")
    return _wrapping_key(recipient).encrypt(content_key, _OAEP_SHA256)


@lru_cache(maxsize=256)
def _wrapping_key(recipient: "x509.Certificate") -> rsa.RSAPublicKey:
    key = public_key(recipient)
    if not isinstance(key, rsa.RSAPublicKey):
        raise LocalProtocolError("the recipient's certificate holds no RSA key")
    try:
        check_rsa_size(key, SecurityPolicy())
    except PolicyNoncompliance as error:
        raise LocalProtocolError(f"the recipient's certificate: {error.detail}") from None
    return key


def write_encrypted_key(
    cipher_value: bytes,
    token_reference: str,
    data_ids: Sequence[str],
    *,
    key_id: str,
    agreement: KeyAgreement | None = None,
) -> str:
    """`xenc:EncryptedKey`, by RSA-OAEP with explicit digest and MGF or by agreement.

    The prefixes are the Security header's.
    """
    listed = "".join(
        f"<xenc:DataReference URI={attribute('#' + data_id)}></xenc:DataReference>"
        for data_id in data_ids
    )
    if agreement is None:
        algorithm, key_info = names.RSA_OAEP, token_reference
        parameters = (
            f'<ds:DigestMethod Algorithm="{names.SHA256}"></ds:DigestMethod>'
            f'<xenc11:MGF xmlns:xenc11="{names.XENC11}" Algorithm="{names.MGF1_SHA256}"></xenc11:MGF>'
        )
    else:
        algorithm, parameters = names.KW_AES128, ""
        key_info = write_key_agreement(agreement, token_reference)
    return (
        f"<xenc:EncryptedKey Id={attribute(key_id)}>"
        f'<xenc:EncryptionMethod Algorithm="{algorithm}">{parameters}</xenc:EncryptionMethod>'
        f"<ds:KeyInfo>{key_info}</ds:KeyInfo>"
        "<xenc:CipherData><xenc:CipherValue>"
        f"{base64.b64encode(cipher_value).decode('ascii')}"
        "</xenc:CipherValue></xenc:CipherData>"
        f"<xenc:ReferenceList>{listed}</xenc:ReferenceList></xenc:EncryptedKey>"
    )


def write_encrypted_data(cid_uri: str, mime_type: str, *, data_id: str, key_id: str) -> str:
    """`xenc:EncryptedData` for one attachment; `mime_type` is its type before encryption."""
    return (
        f"<xenc:EncryptedData Id={attribute(data_id)} MimeType={attribute(mime_type)}"
        f' Type="{names.ATTACHMENT_CONTENT_ONLY}">'
        f'<xenc:EncryptionMethod Algorithm="{names.AES128_GCM}"></xenc:EncryptionMethod>'
        f'<ds:KeyInfo><wsse:SecurityTokenReference xmlns:wsse11="{names.WSSE11}"'
        f' wsse11:TokenType="{names.ENCRYPTED_KEY_TOKEN}">'
        f"<wsse:Reference URI={attribute('#' + key_id)}></wsse:Reference>"
        "</wsse:SecurityTokenReference></ds:KeyInfo>"
        f"<xenc:CipherData><xenc:CipherReference URI={attribute(cid_uri)}><xenc:Transforms>"
        f'<ds:Transform Algorithm="{names.ATTACHMENT_CIPHERTEXT}"></ds:Transform>'
        "</xenc:Transforms></xenc:CipherReference></xenc:CipherData></xenc:EncryptedData>"
    )


class GcmEncryption:
    """Encrypts one part as it streams by: vector first, then cipher text, the tag last.

    The pair of key and vector must never have been used before; the caller draws both.
    """

    def __init__(self, content_key: bytes, iv: bytes) -> None:
        if len(content_key) != CONTENT_KEY_OCTETS or len(iv) != IV_OCTETS:
            raise LocalProtocolError("AES-128-GCM wants a key of 16 and a vector of 12 octets")
        self._encryptor = Cipher(algorithms.AES(content_key), modes.GCM(iv)).encryptor()
        self._head = iv

    def update(self, chunk: bytes) -> bytes:
        """The octets for the wire so far."""
        head, self._head = self._head, b""
        encrypted = self._encryptor.update(chunk)
        return head + encrypted if head else encrypted

    def finish(self) -> bytes:
        """The last octets: the tag, after the vector when there was no plain text."""
        return self._head + self._encryptor.finalize() + self._encryptor.tag


class GcmDecryption:
    """Decrypts one part as it streams by and holds back the last 16 octets, which are the tag.

    `update` gives out octets that nobody has authenticated yet: only `finish` says that they are good.
    """

    def __init__(self, content_key: bytes) -> None:
        self._key = algorithms.AES(content_key)
        self._iv = b""
        self._tail = b""

    def update(self, chunk: bytes | memoryview) -> bytes:
        """Plain text so far, always 16 octets behind."""
        data = self._tail + bytes(chunk)
        if not self._iv:
            if len(data) < IV_OCTETS:
                self._tail = data
                return b""
            self._iv, data = data[:IV_OCTETS], data[IV_OCTETS:]
            self._decryptor = Cipher(self._key, modes.GCM(self._iv)).decryptor()
        self._tail = data[-TAG_OCTETS:]
        return self._decryptor.update(memoryview(data)[:-TAG_OCTETS])

    def finish(self) -> None:
        """Check the tag; raises `FailedDecryption` (`enc.failed`), for a part too short to have one too."""
        try:
            if not self._iv or len(self._tail) != TAG_OCTETS:
                raise InvalidTag
            self._decryptor.finalize_with_tag(self._tail)
        except InvalidTag:
            raise FailedDecryption("a part does not decrypt") from None
