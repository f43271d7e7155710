"""The writings in which a text may stand in octets, and a search through all of them, as whoever steals the octets would do."""

import base64
import hashlib
import re
import zlib
from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias
from urllib.parse import quote

Forms: TypeAlias = Mapping[bytes, tuple[str, str]]
"""The text and the name of its writing, by the octets that are looked for."""
_DIGESTS: Final = ("md5", "sha1", "sha256", "sha512")
_DEFLATED: Final = re.compile(rb"\x1f\x8b\x08|\x78[\x01\x5e\x9c\xda]")
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/]{40,}={0,2}")


def forms_of(*texts: str, digests: bool = False) -> Forms:
    """All writings of some texts; with `digests` also what is no more than a digest without a key."""
    found: dict[bytes, tuple[str, str]] = {}
    for text in texts:
        octets = text.encode()
        named = {octets.hex().encode(): "hex", octets.hex().upper().encode(): "hex"}
        named |= {text.encode(name): name for name in ("utf-16-le", "utf-16-be")}
        named |= dict.fromkeys(_base64_forms(octets), "base64")
        for name in _DIGESTS if digests else ():
            digest = hashlib.new(name, octets)
            named |= {digest.digest(): name, digest.hexdigest().encode(): name}
            named[base64.b64encode(digest.digest())] = name
        named |= {quote(text).encode(): "escaped", octets: "as it is"}
        found |= {form: (text, name) for form, name in named.items()}
    return found


def found_in(octets: bytes, forms: Forms, *, deep: int = 2) -> set[tuple[str, str]]:
    """Which texts are there, and how; what is deflated or base64 is looked into as well, so many layers `deep`."""
    found = {meant for form, meant in forms.items() if form in octets}
    if deep:
        for inner in _inside(octets):
            found |= {(text, f"{name} inside") for text, name in found_in(inner, forms, deep=deep - 1)}  # fmt: skip
    return found


def _base64_forms(octets: bytes) -> Iterator[bytes]:
    """All characters that these octets alone decide, for each of the three places in which they may begin.

    A shorter piece would be found in any random text that is long enough.
    """
    for shift in range(3):
        begin, end = shift * 8, (shift + len(octets)) * 8
        coded = base64.b64encode(bytes(shift) + octets + bytes(3))
        yield coded[-(-begin // 6) : end // 6]


def _inside(octets: bytes) -> Iterator[bytes]:
    """All that is deflated there, and all that is base64: each in one piece, since there may be thousands."""
    yield b"\n".join(_inflated(octets[match.start() :]) for match in _DEFLATED.finditer(octets))
    yield b"\n".join(_decoded(match[0].rstrip(b"=")) for match in _BASE64.finditer(octets))


def _inflated(octets: bytes) -> bytes:
    """What is inflated of a header of gzip or of zlib (47); what follows the stream is no matter."""
    try:
        return zlib.decompressobj(47).decompress(octets)
    except zlib.error:
        return b""


def _decoded(text: bytes) -> bytes:
    return base64.b64decode(text + b"=" * (-len(text) % 4)) if len(text) % 4 != 1 else b""
