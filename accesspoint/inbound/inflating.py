"""Gate G9: what is in the parts that were verified, piece by piece and never more than was agreed.

Spec: AS4 Profile 1.0 section 3.1; decisions (limits table).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from accesspoint.store.payloads import TemporaryPayload
from envelope.compression import Decompressor
from envelope.errors import DecompressionFailure
from envelope.limits import Limits
from envelope.verified import VerifiedPart, VerifiedUserMessage

CHUNK_BYTES: Final = 64 * 1024
_GROWTH: Final = 8


def octets_in(parts: Sequence[VerifiedPart]) -> int:
    """How many octets going through these parts is reckoned at: of compressed ones a multiple, as documents compress."""
    return sum(part.signed_octets * (_GROWTH if part.compressed else 1) for part in parts)


def inflate(part: VerifiedPart, file: TemporaryPayload, limits: Limits) -> Iterator[bytes]:
    """The octets of one part as its sender had them; raises `DecompressionFailure`."""
    file.rewind()
    decompressor = Decompressor(limits) if part.compressed else None
    while chunk := file.read(CHUNK_BYTES):
        if decompressor is None:
            yield chunk
        else:
            yield from decompressor.decompress(chunk)
    if decompressor is not None:
        decompressor.finish()


def inflate_all(
    verified: VerifiedUserMessage,
    files: Mapping[str, TemporaryPayload],
    limits: Limits,
    *,
    keep: bool,
) -> list[bytes]:
    """The payloads of all parts, empty ones unless they are to be kept.

    Raises `DecompressionFailure`, also where together they are larger than one document may be.
    """
    payloads, room = [], limits.sbd_bytes
    for part in verified.parts:
        pieces = []
        for piece in inflate(part, files[part.content_id], limits):
            room -= len(piece)
            if room < 0:
                raise DecompressionFailure("the parts are larger than agreed", reason="gzip.limit")
            if keep:
                pieces.append(piece)
        payloads.append(b"".join(pieces))
    return payloads
