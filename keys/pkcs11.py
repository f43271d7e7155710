"""RSA keys that never leave a hardware module: signing and opening through PKCS #11.

A key directory names such a key by `message.key.uri` instead of `message.key.pem`: one line, a URI of RFC 7512, such as

    pkcs11:token=accesspoint;object=message?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/ap/pin

The PIN stands in a file of its own, closed to others. What this module hands out is a private key as the library
`cryptography` knows it, so that everything which signs or decrypts with a key from a file does the same with one of
these; the octets of the key are the one thing it refuses to give.

Few modules open RSA-OAEP with SHA-256, and they tell it in different ways. So the module does the RSA operation
(CKM_RSA_X_509) and the padding is taken off here, all checks computed before any of them is looked at: what fails is
one failure with one text, and only partners that were authenticated get that far (gate G6). Calls of one process take
turns, since a session of a module is not made for several threads.

A module that was taken out, reset or interrupted fails whatever it is asked, and what was asked is not at fault: the
session is opened anew, once for each call, and where that does not help either the failure is told as our own, and
for a second nothing else is tried. What the module does not open while it opens what was made for its key is at fault
itself: a partner that sends such things restarts no module. A PIN that a token refused is not tried on it again, since
tokens lock themselves after a few wrong ones.

TLS keys stay in files: the `ssl` module reads nothing else. Needs the extra `pkcs11`.

Spec: RFC 7512; RFC 8017 7.1.2 and 9.2; hostile.md SEC-01, SEC-08.
"""

import contextlib
import hashlib
import hmac
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn
from urllib.parse import unquote

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding as paddings
from cryptography.hazmat.primitives.asymmetric import rsa

from keys.errors import KeyStoreError, KeyUnavailable

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
_refused_pins: Final[dict[tuple[Path, str], str]] = {}
_PAUSE_SECONDS: Final = 1.0
_away: Final[dict[tuple[Path, str], tuple[float, str]]] = {}
"""Until when (monotonic) a token that did not do its work is not looked for again, and what it said."""


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
            found = _find_again(uri, pin)
    except (pkcs11.PKCS11Error, RuntimeError) as error:
        raise KeyStoreError(
            f"the token {uri.token} does not give the RSA key {uri.label}: {type(error).__name__}"
        ) from error
    return ModuleKey(uri, pin, found)


@dataclass(frozen=True, slots=True)
class _Found:
    """A key in a session of its token."""

    session: Any
    handle: Any
    public_key: rsa.RSAPublicKey


def _find(uri: KeyUri, pin: str) -> _Found:
    """Find a key in the session with its token, which is opened where there is none; whoever asks is alone.

    Raises PKCS11Error, and RuntimeError for a library that cannot be used.
    """
    import pkcs11

    where = uri.module, uri.token
    if where not in _sessions:
        if _refused_pins.get(where) == pin:
            raise pkcs11.PinIncorrect
        token = pkcs11.lib(str(uri.module)).get_token(token_label=uri.token)
        try:
            _sessions[where] = token.open(user_pin=pin)
        except (pkcs11.PinIncorrect, pkcs11.PinInvalid, pkcs11.PinLenRange, pkcs11.PinLocked):
            _refused_pins[where] = pin
            raise
    session = _sessions[where]
    handle = session.get_key(
        object_class=pkcs11.ObjectClass.PRIVATE_KEY, key_type=pkcs11.KeyType.RSA, label=uri.label
    )
    modulus, exponent = (
        int.from_bytes(handle[name], "big")
        for name in (pkcs11.Attribute.MODULUS, pkcs11.Attribute.PUBLIC_EXPONENT)
    )
    _away.pop(where, None)
    return _Found(session, handle, rsa.RSAPublicNumbers(exponent, modulus).public_key())


def _find_again(uri: KeyUri, pin: str) -> _Found:
    """Find a key; where the module does not give it, start that anew and ask once more; raises as `_find`."""
    import pkcs11

    try:
        return _find(uri, pin)
    except pkcs11.NoSuchKey:
        raise
    except pkcs11.PKCS11Error:
        _start_anew(uri.module)
        return _find(uri, pin)


def _start_anew(module: Path) -> None:
    """Let a module forget its tokens, which it may take to be there or gone as they once were, and all sessions.

    The keys of these find themselves again when they are used.
    """
    import pkcs11

    for where in [one for one in _sessions if one[0] == module]:
        del _sessions[where]
    library = pkcs11.lib(str(module))
    with contextlib.suppress(pkcs11.PKCS11Error):
        library.finalize()
    library.initialize()


class ModuleKey(rsa.RSAPrivateKey):
    """An RSA private key in a hardware module, in the shape of one in memory."""

    def __init__(self, uri: KeyUri, pin: str, found: _Found) -> None:
        self._uri = uri
        self._pin = pin
        self._found = found
        self._public_key = found.public_key

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
            KeyUnavailable: the module does not do it.
        """
        name = algorithm.name if isinstance(algorithm, hashes.HashAlgorithm) else ""
        if not isinstance(padding, paddings.PKCS1v15) or name not in _DIGEST_INFO:
            raise UnsupportedAlgorithm("keys in hardware modules sign with PKCS #1 v1.5 and SHA-2")
        from pkcs11 import Mechanism

        digest = hashlib.new(name, data).digest()
        block = _DIGEST_INFO[name] + digest
        return self._ask(lambda handle: handle.sign(block, mechanism=Mechanism.RSA_PKCS))

    def decrypt(self, ciphertext: Any, padding: paddings.AsymmetricPadding) -> bytes:
        """Open RSA-OAEP.

        Raises:
            ValueError: it cannot be opened, whatever is wrong with it.
            KeyUnavailable: the module does not do it.
        """
        octets = bytes(ciphertext)
        if (
            not isinstance(padding, paddings.OAEP)
            or len(octets) != (self.key_size + 7) // 8
            # RFC 8017 5.1.2, and 0 and 1, which encrypt to themselves; modules differ in how they say this.
            or not 1 < int.from_bytes(octets, "big") < self._public_key.public_numbers().n
        ):
            raise ValueError(_FAILED)
        block = self._ask(lambda handle: self._open(handle, octets))
        # The mask's digest has no public name in the library.
        mask = padding.mgf._algorithm  # noqa: SLF001
        return _without_oaep(
            block.rjust((self.key_size + 7) // 8, b"\x00"), padding.algorithm.name, mask.name
        )

    def _open(self, handle: Any, octets: bytes) -> bytes:
        """Do the RSA operation; ValueError where only these octets fail, PKCS11Error where others do as well."""
        from pkcs11 import Mechanism, PKCS11Error

        def decrypt(one: bytes) -> bytes:
            return bytes(handle.decrypt(one, mechanism=Mechanism.RSA_X_509))

        try:
            return decrypt(octets)
        except PKCS11Error:
            numbers = self._public_key.public_numbers()
            decrypt(pow(numbers.n // 2, numbers.e, numbers.n).to_bytes(len(octets), "big"))
        try:
            # The module may have stumbled just once, and nobody gets a second chance after a ValueError.
            return decrypt(octets)
        except PKCS11Error:
            raise ValueError(_FAILED) from None

    def _ask(self, work: Callable[[Any], bytes]) -> bytes:
        """Do this with the key, where need be in a new session; raises KeyUnavailable, and what is not the module's."""
        import pkcs11

        with _ALONE:
            where = self._uri.module, self._uri.token
            # In another session than its own the number of a key may be that of another key.
            if _sessions.get(where) is self._found.session:
                try:
                    return work(self._found.handle)
                except pkcs11.PKCS11Error:
                    del _sessions[where]
            until, said = _away.get(where, (0.0, ""))
            if time.monotonic() < until:
                raise KeyUnavailable(said)
            try:
                found = _find_again(self._uri, self._pin)
                if found.public_key != self._public_key:
                    raise KeyUnavailable(f"the token {self._uri.token} holds another key now")
                self._found = found
                return work(found.handle)
            except (pkcs11.PKCS11Error, RuntimeError) as error:
                said = f"the token {self._uri.token} does not answer: {type(error).__name__}"
                # A key that is not in its token costs one question, and says nothing about the other keys there.
                if not isinstance(error, pkcs11.NoSuchKey):
                    _away[where] = time.monotonic() + _PAUSE_SECONDS, said
                raise KeyUnavailable(said) from error

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
