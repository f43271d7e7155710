"""What captured bytes are that nothing here can judge: an image, an archive, text, a head that lost its body.

Such bytes break no rule, but saying so would sound like praise. They get a name instead, by their first octets only.
"""

import re
from typing import Final

KINDS: Final = (
    (b"\x1f\x8b", "gzip"),
    (b"%PDF", "PDF"),
    (b"PK\x03\x04", "ZIP"),
    (b"\x89PNG", "PNG image"),
    (b"\xff\xd8\xff", "JPEG image"),
)
_HEAD: Final = re.compile(
    rb"(?P<start>[A-Z]{3,7} \S+ HTTP/1\.[01]\r?\n|HTTP/1\.[01] \d{3}[^\r\n]*(?:\r?\n|\Z))?"
    rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n]*(?:\r?\n[ \t][^\r\n]*)*(?:\r?\n|\Z))*\s*"
)
_HEAD_BYTES: Final = 64 * 1024


def kind_of(octets: bytes) -> str:
    """What content of no known format looks like, for a payload of any kind."""
    return next((kind for magic, kind in KINDS if octets.startswith(magic)), "content")


def name_foreign(data: bytes, root: str) -> str:
    """What a capture is that is neither a message nor a document known here; `root` is its XML element, if any."""
    if not data.strip():
        return "empty"
    head = _HEAD.fullmatch(data) if len(data) <= _HEAD_BYTES else None
    if head is not None:
        return f"{'HTTP' if head['start'] else 'MIME'} head without a body"
    if root:
        return f"XML <{root}>"
    if (kind := kind_of(data)) != "content":
        return kind
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return "octets of no known format"
    return (
        "plain text"
        if all(c.isprintable() or c.isspace() for c in text)
        else "octets of no known format"
    )
