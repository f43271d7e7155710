"""A rule on attached data that all messages share: its first octets are those of the type that it declares.

Who opens an attachment is told its type by the sender alone; a file of another type is not shown, or is opened by a
program that the sender chose. The standards do not demand it, so that the rule warns and refuses nothing.

Spec: medcom-fhir.md 9.
"""

import binascii
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from envelope.fhir import canonicals
from envelope.fhir.finding import Kind
from envelope.fhir.rule import Place, Rule
from envelope.fhir.view import MessageView

_BEGINNINGS: Final[Mapping[str, re.Pattern[bytes]]] = MappingProxyType(
    {
        # Programs that show PDF look for its mark in the first kibibyte.
        "application/pdf": re.compile(rb".{0,1019}%PDF-", re.DOTALL),
        "image/gif": re.compile(rb"GIF8[79]a"),
        "image/jpeg": re.compile(rb"\xff\xd8\xff"),
        "image/png": re.compile(rb"\x89PNG\r\n\x1a\n"),
        "image/tiff": re.compile(rb"II[*+]\x00|MM\x00[*+]"),
        "image/bmp": re.compile(rb"BM"),
    }
)
_LOOKED_AT: Final = 2048
"""How many characters of base64 are decoded: a kibibyte, with room for line ends."""
_WHERE: Final = (("Media", ("content",)), ("Communication", ("payload", "contentAttachment")))


def attachment_octets(view: MessageView) -> Iterator[Place]:
    """Attached data begins as its declared type does."""
    for kind, steps in _WHERE:
        for node in view.of_type(kind):
            for item in node.each(*steps):
                known = _BEGINNINGS.get(item.string("contentType") or "")
                data = item.string("data")
                if known is not None and data and not _begins(data, known):
                    yield f"{item.path}.data", "the data is not of the declared type"


def _begins(data: str, known: re.Pattern[bytes]) -> bool:
    """Say whether base64 begins so; what is no base64 may, since `structure-datatype` tells of it."""
    text = "".join(data[:_LOOKED_AT].split())
    try:
        octets = binascii.a2b_base64(text[: len(text) // 4 * 4], strict_mode=True)
    except ValueError:
        return True
    return known.match(octets) is not None


RULES: Final = (
    Rule(
        "attachment-octets",
        attachment_octets,
        Kind.VALUE,
        severity="warning",
        events=frozenset({canonicals.HOMECAREOBSERVATION, canonicals.CARECOMMUNICATION}),
    ),
)
