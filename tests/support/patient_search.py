"""Looks for a patient number in octets, as a thief would: in any common writing, compressed, or as a digest without a key."""

import base64
import hashlib
import re
import zlib
from collections.abc import Iterator
from typing import Final

from base64_forms import base64_forms

from envelope.fhir.synthetic import TEST_CPR

_DIGESTS: Final = ("md5", "sha1", "sha256", "sha512")
_DEFLATED: Final = re.compile(rb"\x1f\x8b\x08|\x78[\x01\x5e\x9c\xda]")
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/]{40,}={0,2}")


def _forms() -> dict[bytes, str]:
    found: dict[bytes, str] = {}
    for text in (TEST_CPR, f"{TEST_CPR[:6]}-{TEST_CPR[6:]}"):
        octets = text.encode()
        found[octets] = "as it is"
        found |= {text.encode(name): name for name in ("utf-16-le", "utf-16-be")}
        found |= dict.fromkeys(base64_forms(octets), "base64")
        found |= {octets.hex().encode(): "hex", octets.hex().upper().encode(): "hex"}
        for name in _DIGESTS:
            digest = hashlib.new(name, octets)
            found[digest.digest()] = found[digest.hexdigest().encode()] = name
            found[base64.b64encode(digest.digest())] = name
    return found


_FORMS: Final = _forms()


def patients_in(octets: bytes, *, deep: int = 2) -> set[str]:
    """How the patient of the test messages is written there; what is deflated or base64 is looked into as well."""
    found = {name for form, name in _FORMS.items() if form in octets}
    if deep:
        for inner in _inside(octets):
            found |= {f"{name} inside" for name in patients_in(inner, deep=deep - 1)}
    return found


def _inside(octets: bytes) -> Iterator[bytes]:
    for match in _DEFLATED.finditer(octets):
        try:
            # 47: a header of gzip or of zlib; what follows the stream is no matter.
            inflated = zlib.decompressobj(47).decompress(octets[match.start() :])
        except zlib.error:
            continue
        yield inflated
    for match in _BASE64.finditer(octets):
        text = match[0].rstrip(b"=")
        yield base64.b64decode(text + b"=" * (-len(text) % 4)) if len(text) % 4 != 1 else b""
