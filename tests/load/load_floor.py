"""The floor: the cryptography that one AS4 push with receipt cannot do without, timed piece by piece.

Per push two private RSA signatures, one private RSA-OAEP decryption, two verifications, one public
encryption; of the payload octets gzip and inflate, SHA-256 at either end, AES-128-GCM at either end. The
fastest library the project uses does each (`cryptography`, `hashlib`, isal), with nothing around it.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from envelope.compression import CODEC

GZIP_WINDOW: Final = 31
_SHA256: Final = hashes.SHA256()
_PKCS1: Final = padding.PKCS1v15()
_OAEP: Final = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), label=None)


@dataclass(frozen=True, slots=True)
class Floor:
    """CPU milliseconds of each unavoidable operation, once."""

    sign: float
    verify: float
    unwrap: float
    wrap: float
    gzip: float
    inflate: float
    digest: float
    encrypt: float
    decrypt: float

    @property
    def push(self) -> float:
        """CPU milliseconds that one push with receipt costs at least, both sides."""
        return (
            2 * self.sign
            + 2 * self.verify
            + self.unwrap
            + self.wrap
            + self.gzip
            + self.inflate
            + 2 * self.digest
            + self.encrypt
            + self.decrypt
        )


def measure(key: rsa.RSAPrivateKey, payload: bytes, *, repeat: int) -> Floor:
    """Time every operation `repeat` times on this thread's CPU clock."""
    public = key.public_key()
    signed_info = payload[:1500]
    signature = key.sign(signed_info, _PKCS1, _SHA256)
    content_key = bytes(range(16))
    wrapped = public.encrypt(content_key, _OAEP)
    cipher, iv = AESGCM(content_key), bytes(12)
    compressed = _compress(payload)
    sealed = cipher.encrypt(iv, compressed, None)

    def mean(operation: Callable[[], object], *, factor: int = 1) -> float:
        return cpu_milliseconds(operation, repeat * factor)

    return Floor(
        sign=mean(lambda: key.sign(signed_info, _PKCS1, _SHA256)),
        verify=mean(lambda: public.verify(signature, signed_info, _PKCS1, _SHA256), factor=4),
        unwrap=mean(lambda: key.decrypt(wrapped, _OAEP)),
        wrap=mean(lambda: public.encrypt(content_key, _OAEP), factor=4),
        gzip=mean(lambda: _compress(payload), factor=4),
        inflate=mean(lambda: CODEC.decompress(compressed, GZIP_WINDOW), factor=4),
        digest=mean(lambda: hashlib.sha256(compressed).digest(), factor=4),
        encrypt=mean(lambda: cipher.encrypt(iv, compressed, None), factor=4),
        decrypt=mean(lambda: cipher.decrypt(iv, sealed, None), factor=4),
    )


def cpu_milliseconds(operation: Callable[[], object], times: int) -> float:
    """The mean CPU time of one call, user and system, of this process."""
    begin = time.process_time()
    for _ in range(times):
        operation()
    return (time.process_time() - begin) / times * 1000


def _compress(data: bytes) -> bytes:
    stream = CODEC.compressobj(1, CODEC.DEFLATED, GZIP_WINDOW)
    return bytes(stream.compress(data) + stream.flush())
