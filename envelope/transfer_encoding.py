"""Content-Transfer-Encoding of body parts, undone while octets arrive.

The profile sends binary only; base64 and quoted-printable exist for partners with the quirk `base64-parts`.
Both decoders refuse what does not decode instead of skipping it, and hold back a bounded number of octets.

Spec: RFC 2045 sections 6.7 and 6.8; decision D9.
"""

import binascii
import re
from typing import Protocol

from envelope.errors import MimeInconsistency

_LINE = 1_000
_SOFT_SPACE = re.compile(rb"[ \t]+(?=\r?\n)")
_QUOTED_PRINTABLE = re.compile(rb"(?:[\t -<>-~\r\n]|=[0-9A-Fa-f]{2}|=\r?\n)*")


class TransferDecoder(Protocol):
    """Turns encoded octets into the octets of the part."""

    def update(self, data: bytes) -> bytes:
        """Decode what is complete; raises `MimeInconsistency` (`mime.cte`)."""

    def finish(self) -> bytes:
        """Decode the rest; raises `MimeInconsistency` (`mime.cte`) when it is not complete."""


def _refused(detail: str) -> MimeInconsistency:
    return MimeInconsistency(detail, reason="mime.cte")


class IdentityDecoder:
    """binary, 8bit and 7bit: the octets are the octets."""

    def update(self, data: bytes) -> bytes:
        """Return `data`."""
        return data

    def finish(self) -> bytes:
        """Nothing is held back."""
        return b""


class Base64Decoder:
    """base64 in groups of four after white space is removed; nothing may follow the padding."""

    def __init__(self) -> None:
        self._rest = b""
        self._padded = False

    def update(self, data: bytes) -> bytes:
        """Decode whole groups."""
        data = self._rest + data.translate(None, b" \t\r\n")
        whole = len(data) & ~3
        self._rest = data[whole:]
        if not whole:
            return b""
        if self._padded:
            raise _refused("base64 after its padding")
        self._padded = data[whole - 1] == ord("=")
        try:
            return binascii.a2b_base64(data[:whole], strict_mode=True)
        except binascii.Error:
            raise _refused("part is not base64") from None

    def finish(self) -> bytes:
        """Refuse an incomplete group."""
        if self._rest:
            raise _refused("base64 ends inside a group")
        return b""


class QuotedPrintableDecoder:
    """quoted-printable by whole lines of at most 1,000 octets."""

    def __init__(self) -> None:
        self._rest = b""

    def update(self, data: bytes) -> bytes:
        """Decode the lines that are complete."""
        data = self._rest + data
        # Before a pattern meets them: what it costs to look for white space at their ends grows with its square.
        if max(map(len, data.split(b"\n"))) > _LINE:
            raise _refused("quoted-printable line too long")
        end = data.rfind(b"\n") + 1
        self._rest = data[end:]
        return self._decode(data[:end])

    def finish(self) -> bytes:
        """Decode the last line."""
        return self._decode(self._rest)

    @staticmethod
    def _decode(data: bytes) -> bytes:
        data = _SOFT_SPACE.sub(b"", data)
        if _QUOTED_PRINTABLE.fullmatch(data) is None:
            raise _refused("part is not quoted-printable")
        return binascii.a2b_qp(data)


def decoder_for(name: str) -> TransferDecoder:
    """A fresh decoder for a lower-case encoding name; raises `MimeInconsistency` (`mime.cte`) for unknown ones."""
    match name:
        case "binary" | "8bit" | "7bit":
            return IdentityDecoder()
        case "base64":
            return Base64Decoder()
        case "quoted-printable":
            return QuotedPrintableDecoder()
        case _:
            raise _refused("unknown Content-Transfer-Encoding")
