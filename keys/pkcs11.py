"""RSA keys that never leave a hardware module: signing and opening through PKCS #11.

A key directory names such a key by `message.key.uri` instead of `message.key.pem`: one line, a URI of RFC 7512, such as

    pkcs11:token=accesspoint;object=message?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/ap/pin

The PIN stands in a file of its own, closed to others. What this module hands out is a private key as the library
`cryptography` knows it, so that everything which signs or decrypts with a key from a file does the same with one of
these; the octets of the key are the one thing it refuses to give.

Few modules open RSA-OAEP with SHA-256, and they tell it in different ways. So the module does the RSA operation
(CKM_RSA_X_509) and the padding is taken off here, all checks computed before any of them is looked at: what fails is
one failure with one text, and only partners that were authenticated get that far (gate G6). Calls of one process take turns, since a session of a
module is not made for several threads.

TLS keys stay in files: the `ssl` module reads nothing else. Needs the extra `pkcs11`.

Spec: RFC 7512; RFC 8017 7.1.2 and 9.2; hostile.md SEC-01, SEC-08.
"""

import hashlib
import hmac
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn
from urllib.parse import unquote

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding as paddings
from cryptography.hazmat.primitives.asymmetric import rsa

from keys.errors import KeyStoreError

_PREFIX: Final = "pkcs11:"
_PARTS: Final = frozenset({"token", "object", "module-path", "pin-source"})
_NEVER: Final = "the private key does not leave its hardware module"
_FAILED: Final = "the ciphertext cannot be opened"
# DigestInfo of RFC 8017 9.2, before the digest itself.
_DIGEST_INFO: Final[dict[str, bytes]] = {
    "sha256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "sha384": bytes.fromhex("3041300d060960864801650304020205000430"),
    "sha512": bytes.fromhex("3051300d060960864801650304020305000440"),
}
_ALONE: Final = threading.Lock()
_sessions: Final[dict[tuple[Path, str], Any]] = {}


@dataclass(frozen=True, slots=True)
class KeyUri:
    """Where a key is: the module's library, the token, the label of the key, and the file with the PIN."""

    module: Path
    token: str
    label: str
    pin_file: Path

    @classmethod
    def parse(cls, text: str) -> "KeyUri":
        """Read a `pkcs11:` URI that has exactly token, object, module-path and pin-source.

        Raises:
            KeyStoreError: another scheme, or other parts, such as a PIN in clear.
        """
        path, _, query = text.strip().partition("?")
        named = [
            one.partition("=")
            for one in (*path.removeprefix(_PREFIX).split(";"), *query.split("&"))
        ]
        found = {name: unquote(value) for name, _, value in named}
        if not path.startswith(_PREFIX) or set(found) != _PARTS or len(named) != len(_PARTS):
            raise KeyStoreError(
                f"the URI of a key begins with {_PREFIX} and has exactly {', '.join(sorted(_PARTS))}"
            )
        pin = found["pin-source"].removeprefix("file:")
        return cls(Path(found["module-path"]), found["token"], found["object"], Path(pin))


def load_module_key(uri: KeyUri, pin: str) -> "ModuleKey":
    """Return the RSA key of this label; nothing of it is read but its public half.

    Raises:
        KeyStoreError: the extra is not installed, or module, token, PIN or key are not what the URI says.
    """
    try:
        import pkcs11
    except ImportError as error:
        raise KeyStoreError("keys in hardware modules need the extra pkcs11") from error
    try:
        with _ALONE:
            where = uri.module, uri.token
            if where not in _sessions:
                token = pkcs11.lib(str(uri.module)).get_token(token_label=uri.token)
                _sessions[where] = token.open(user_pin=pin)
            handle = _sessions[where].get_key(
                object_class=pkcs11.ObjectClass.PRIVATE_KEY,
                key_type=pkcs11.KeyType.RSA,
                label=uri.label,
            )
            modulus, exponent = (
                int.from_bytes(handle[name], "big")
                for name in (pkcs11.Attribute.MODULUS, pkcs11.Attribute.PUBLIC_EXPONENT)
            )
    except (pkcs11.PKCS11Error, RuntimeError) as error:
        raise KeyStoreError(
            f"the token {uri.token} does not give the RSA key {uri.label}: {type(error).__name__}"
        ) from error
    return ModuleKey(handle, rsa.RSAPublicNumbers(exponent, modulus).public_key())


class ModuleKey(rsa.RSAPrivateKey):
    """An RSA private key in a hardware module, in the shape of one in memory."""

    def __init__(self, handle: Any, public_key: rsa.RSAPublicKey) -> None:
        self._handle = handle
        self._public_key = public_key

    @property
    def key_size(self) -> int:
        """The bits of the modulus."""
        return self._public_key.key_size

    def public_key(self) -> rsa.RSAPublicKey:
        """The public half."""
        return self._public_key

    def sign(
        self,
        data: Any,
        padding: paddings.AsymmetricPadding,
        algorithm: Any,
    ) -> bytes:
        """Sign with PKCS #1 v1.5; the digest is made here, so the data does not travel.

        Raises:
            UnsupportedAlgorithm: another padding, or another digest than SHA-256, SHA-384 and SHA-512.
        """
        name = algorithm.name if isinstance(algorithm, hashes.HashAlgorithm) else ""
        if not isinstance(padding, paddings.PKCS1v15) or name not in _DIGEST_INFO:
            raise UnsupportedAlgorithm("keys in hardware modules sign with PKCS #1 v1.5 and SHA-2")
        from pkcs11 import Mechanism

        digest = hashlib.new(name, data).digest()
        with _ALONE:
            signed: bytes = self._handle.sign(
                _DIGEST_INFO[name] + digest, mechanism=Mechanism.RSA_PKCS
            )
        return signed

    def decrypt(self, ciphertext: Any, padding: paddings.AsymmetricPadding) -> bytes:
        """Open RSA-OAEP.

        Raises:
            ValueError: it cannot be opened, for whatever reason.
        """
        if not isinstance(padding, paddings.OAEP) or len(ciphertext) != (self.key_size + 7) // 8:
            raise ValueError(_FAILED)
        from pkcs11 import Mechanism, PKCS11Error

        try:
            with _ALONE:
                block: bytes = self._handle.decrypt(
                    bytes(ciphertext), mechanism=Mechanism.RSA_X_509
                )
        except PKCS11Error:
            raise ValueError(_FAILED) from None
        # The mask's digest has no public name in the library.
        mask = padding.mgf._algorithm  # noqa: SLF001
        return _without_oaep(
            block.rjust((self.key_size + 7) // 8, b"\x00"), padding.algorithm.name, mask.name
        )

    def private_numbers(self) -> NoReturn:
        """Refused; raises UnsupportedAlgorithm."""
        raise UnsupportedAlgorithm(_NEVER)

    def private_bytes(self, *_: object, **__: object) -> NoReturn:
        """Refused; raises UnsupportedAlgorithm."""
        raise UnsupportedAlgorithm(_NEVER)

    def __copy__(self) -> "ModuleKey":
        return self

    def __deepcopy__(self, _memo: dict[int, Any]) -> "ModuleKey":
        return self

    def __repr__(self) -> str:
        return f"ModuleKey({self.key_size})"


def _without_oaep(block: bytes, digest: str, mask: str) -> bytes:
    """Take OAEP off (RFC 8017 7.1.2, empty label); ValueError with one text whatever is wrong.

    Every octet is looked at and every check computed before the one decision.
    """
    size = hashlib.new(digest).digest_size
    if len(block) < 2 * size + 2:
        raise ValueError(_FAILED)
    seed = _xor(block[1 : size + 1], _mask(block[size + 1 :], size, mask))
    data = _xor(block[size + 1 :], _mask(seed, len(block) - size - 1, mask))
    labelled = hmac.compare_digest(data[:size], hashlib.new(digest).digest())
    begin, wrong, searching = 0, block[0], 1
    for at, octet in enumerate(data[size:]):
        is_one, is_zero = int(octet == 1), int(octet == 0)
        begin |= searching * is_one * (at + 1)
        wrong |= searching * (1 - is_one) * (1 - is_zero)
        searching &= 1 - is_one
    if wrong | searching | (not labelled):
        raise ValueError(_FAILED)
    return data[size + begin :]


def _mask(seed: bytes, length: int, digest: str) -> bytes:
    """MGF1 of RFC 8017 B.2.1."""
    count = -(-length // hashlib.new(digest).digest_size)
    blocks = (hashlib.new(digest, seed + n.to_bytes(4, "big")).digest() for n in range(count))
    return b"".join(blocks)[:length]


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))
