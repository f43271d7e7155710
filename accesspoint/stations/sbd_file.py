"""Reading and writing StandardBusinessDocument files in the payload store, in constant memory.

Spec: ehmiSBDH; a document holds exactly one BinaryContent, base64 of the raw message bytes.
"""

from accesspoint.stations.document import Stored
from accesspoint.store.payloads import PayloadRef, PayloadStore
from envelope.limits import DEFAULT_LIMITS, Limits
from envelope.sbdh import Base64Stream, SbdSplitter, StandardBusinessDocumentHeader, build_sbd

CHUNK_BYTES = 48 * 1024


def stored(reference: PayloadRef) -> Stored:
    """A published payload as stations speak of it."""
    return Stored(reference.id, reference.size, reference.sha256)


def write_sbd(
    payloads: PayloadStore, header: StandardBusinessDocumentHeader, content: Stored | bytes
) -> Stored:
    """Wrap a stored message, or a small signal, in an envelope file and return where it stands."""
    prefix, suffix = build_sbd(header)
    encoder = Base64Stream()
    with payloads.create() as writer:
        writer.write(prefix)
        if isinstance(content, bytes):
            writer.write(encoder.update(content))
        else:
            with payloads.open(content.payload) as reader:
                while chunk := reader.read(CHUNK_BYTES):
                    writer.write(encoder.update(chunk))
        writer.write(encoder.finish() + suffix)
        return stored(writer.finish())


def split_sbd(
    payloads: PayloadStore, envelope: Stored, *, limits: Limits = DEFAULT_LIMITS
) -> tuple[StandardBusinessDocumentHeader, Stored]:
    """Open an envelope file: its checked header, and the message it carried as a file of its own.

    Raises `SbdRefused` when the document is not one; the partly written message file is gone then.
    """
    splitter = SbdSplitter(limits)
    with payloads.open(envelope.payload) as reader, payloads.create() as writer:
        while chunk := reader.read(CHUNK_BYTES):
            writer.write(splitter.feed(chunk))
        header = splitter.finish()
        return header, stored(writer.finish())


def read_header(
    payloads: PayloadStore, envelope: Stored, *, limits: Limits = DEFAULT_LIMITS
) -> StandardBusinessDocumentHeader:
    """The checked header of an envelope file, its content read through but not kept."""
    splitter = SbdSplitter(limits)
    with payloads.open(envelope.payload) as reader:
        while chunk := reader.read(CHUNK_BYTES):
            splitter.feed(chunk)
    return splitter.finish()


def header_bytes(header: StandardBusinessDocumentHeader) -> bytes:
    """A header as a whole document with one octet of content, since none is not legal: how the envelope table keeps it."""
    prefix, suffix = build_sbd(header)
    return prefix + b"AA==" + suffix


def header_from_bytes(data: bytes) -> StandardBusinessDocumentHeader:
    """The header that `header_bytes` wrote."""
    splitter = SbdSplitter(DEFAULT_LIMITS)
    splitter.feed(data)
    return splitter.finish()
