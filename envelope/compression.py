"""gzip of payload parts, both ways and in pieces: one member, nothing behind it, bounded growth.

A stream that is not exactly one complete gzip member is refused, because products disagree about the rest:
zlib objects stop after the first member, others join them, and none reports a truncated end by itself.

isal does the work three times faster than zlib and is used where it is installed; the octets that the two
write differ, but each writes the same octets for the same input (no time, no name in the header).

Spec: AS4 Profile 1.0 section 3.1; RFC 1952; decisions (limits table), gate G9.
"""

import zlib
from collections.abc import Iterator
from types import ModuleType
from typing import cast

from envelope.errors import DecompressionFailure
from envelope.limits import DEFAULT_LIMITS, Limits

try:
    from isal import isal_zlib
except ImportError:
    CODEC: ModuleType = zlib
    _CODEC_ERRORS: tuple[type[Exception], ...] = (zlib.error,)
else:
    CODEC = isal_zlib
    _CODEC_ERRORS = (zlib.error, cast("type[Exception]", isal_zlib.IsalError))

PIECE = 64 * 1024
"""The most octets that one decompressed piece holds."""

_LEVEL = 1
_GZIP_WINDOW = 31
# A header may carry names and comments of any length; nobody needs more than this before the first octet.
_SILENT_INPUT = 8 * 1024
_MEMBER_START = 0x1F
# RFC 1952 section 2.3.1.2: who knows no meaning of these flags must refuse; isal reads over them.
_FLAGS_AT = 3
_RESERVED_FLAGS = 0xE0


class Compressor:
    """Compresses one part; the same input in the same pieces always gives the same octets."""

    def __init__(self, codec: ModuleType = CODEC) -> None:
        self._stream = codec.compressobj(_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)

    def compress(self, data: bytes) -> bytes:
        """Take octets of the payload, return octets for the wire (often none yet)."""
        return bytes(self._stream.compress(data))

    def finish(self) -> bytes:
        """Return the rest, with checksum and length."""
        return bytes(self._stream.flush())


class Decompressor:
    """Decompresses one part in pieces of at most 64 KiB.

    `max_bytes` bounds the octets that come out (`limits.sbd_bytes` unless told); beyond
    `limits.ratio_grace_bytes` they may also be at most `limits.ratio` times what came in.

    Raises `DecompressionFailure` (G9) with reason `gzip.damaged`, `gzip.limit`, `gzip.trailing`,
    `gzip.members` or, from `finish`, `gzip.truncated`.
    """

    def __init__(
        self,
        limits: Limits = DEFAULT_LIMITS,
        *,
        max_bytes: int | None = None,
        codec: ModuleType = CODEC,
    ) -> None:
        self._limits = limits
        self._max_bytes = limits.sbd_bytes if max_bytes is None else max_bytes
        self._stream = codec.decompressobj(wbits=_GZIP_WINDOW)
        self._taken = 0
        self._given = 0

    def decompress(self, data: bytes) -> Iterator[bytes]:
        """Take octets from the wire, yield octets of the payload; must be iterated to its end."""
        self._check_flags(data)
        self._taken += len(data)
        while data:
            if self._stream.eof:
                raise self._after_end(data)
            if self._given == 0:
                now, data = data[:_SILENT_INPUT], data[_SILENT_INPUT:]
            else:
                now, data = data, b""
            yield from self._pieces(now)
            if self._given == 0 and self._taken - len(data) > _SILENT_INPUT:
                raise DecompressionFailure("gzip header too long", reason="gzip.limit")

    def finish(self) -> None:
        """End the input; raises `DecompressionFailure` (`gzip.truncated`) when the stream is not complete."""
        if not self._stream.eof:
            raise DecompressionFailure("gzip stream is not complete", reason="gzip.truncated")

    def _check_flags(self, data: bytes) -> None:
        at = _FLAGS_AT - self._taken
        if 0 <= at < len(data) and data[at] & _RESERVED_FLAGS:
            raise DecompressionFailure("reserved flags in the gzip header")

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        while True:
            try:
                piece = bytes(self._stream.decompress(data, PIECE))
            except _CODEC_ERRORS:
                raise DecompressionFailure("not an intact gzip stream") from None
            data = self._stream.unconsumed_tail
            if piece:
                self._count(len(piece))
                yield piece
            if self._stream.eof:
                if self._stream.unused_data:
                    raise self._after_end(self._stream.unused_data)
                return
            if not data and len(piece) < PIECE:
                return

    def _count(self, size: int) -> None:
        self._given += size
        if self._given > self._max_bytes:
            raise DecompressionFailure("decompressed part too large", reason="gzip.limit")
        if (
            self._given > self._limits.ratio_grace_bytes
            and self._given > self._limits.ratio * self._taken
        ):
            raise DecompressionFailure("part grows too much", reason="gzip.limit")

    @staticmethod
    def _after_end(data: bytes) -> DecompressionFailure:
        if data[0] == _MEMBER_START:
            return DecompressionFailure("a second gzip member", reason="gzip.members")
        return DecompressionFailure("octets after the gzip stream", reason="gzip.trailing")
