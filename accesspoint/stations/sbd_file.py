"""Reading and writing StandardBusinessDocument files in the payload store, in constant memory.

Spec: ehmiSBDH; a document holds exactly one BinaryContent, base64 of the raw message bytes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from accesspoint.stations.document import Stored
from accesspoint.store.payloads import PayloadRef, PayloadStore, PayloadWriter
from envelope.limits import DEFAULT_LIMITS, Limits
from envelope.sbd_splitter import SbdSplitter
from envelope.sbdh import Base64Stream, ScopeType, StandardBusinessDocumentHeader, build_sbd

CHUNK_BYTES = 48 * 1024
SIGNAL_BYTES = 64 * 1024


def stored(reference: PayloadRef) -> Stored:
    """A published payload as stations speak of it."""
    return Stored(reference.id, reference.size, reference.sha256)


async def read_content(payloads: PayloadStore, content: Stored, limits: Limits) -> bytes:
    """The bytes of a stored message; of one above the limit one byte more than that."""

    def read() -> bytes:
        with payloads.open(content.payload, sha256=content.payload_sha256) as reader:
            return reader.read(limits.fhir_bytes + 1)

    return await payloads.aside(read, content.payload_bytes)


def write_sbd(
    payloads: PayloadStore,
    header: StandardBusinessDocumentHeader,
    content: Stored | bytes,
    *,
    peppol_binary_content: bool = False,
) -> Stored:
    """Wrap a stored message, or a small signal, in an envelope file and return where it stands."""
    prefix, suffix = build_sbd(header, peppol_binary_content=peppol_binary_content)
    encoder = Base64Stream()
    with payloads.create() as writer:
        writer.write(prefix)
        if isinstance(content, bytes):
            writer.write(encoder.update(content))
        else:
            with payloads.open(content.payload, sha256=content.payload_sha256) as reader:
                while chunk := reader.read(CHUNK_BYTES):
                    writer.write(encoder.update(chunk))
        writer.write(encoder.finish() + suffix)
        return stored(writer.finish())


@dataclass(frozen=True, slots=True)
class OpenedSbd:
    """An envelope that was read through: its checked header, and its content, which nobody keeps yet.

    `signal` is the whole content where that is at most `SIGNAL_BYTES` long, as every signal is, else its beginning.
    """

    header: StandardBusinessDocumentHeader
    signal: bytes
    writer: PayloadWriter

    @property
    def sha256(self) -> str:
        """The SHA-256 of the content, in hex."""
        return self.writer.sha256

    def publish(self) -> Stored:
        """Keep the content as a file of its own."""
        return stored(self.writer.finish())


@contextmanager
def open_sbd(
    payloads: PayloadStore, envelope: Stored, *, limits: Limits = DEFAULT_LIMITS
) -> Iterator[OpenedSbd]:
    """Open an envelope file for the length of the context; content that was not published by then is gone.

    Raises `SbdRefused` when the document is not one.
    """
    splitter = SbdSplitter(limits)
    signal = bytearray()
    with payloads.create() as writer:
        with payloads.open(envelope.payload, sha256=envelope.payload_sha256) as reader:
            while chunk := reader.read(CHUNK_BYTES):
                content = splitter.feed(chunk)
                writer.write(content)
                signal += content[: SIGNAL_BYTES - len(signal)]
        yield OpenedSbd(splitter.finish(), bytes(signal), writer)


def read_header(
    payloads: PayloadStore, envelope: Stored, *, limits: Limits = DEFAULT_LIMITS
) -> StandardBusinessDocumentHeader:
    """The checked header of an envelope file, its content read through but not kept."""
    splitter = SbdSplitter(limits, decode=False)
    with payloads.open(envelope.payload, sha256=envelope.payload_sha256) as reader:
        while chunk := reader.read(CHUNK_BYTES):
            splitter.feed(chunk)
    return splitter.finish()


def header_bytes(header: StandardBusinessDocumentHeader) -> bytes:
    """A header as a whole document with one octet of content, since none is not legal: how the envelope table keeps it.

    What a copy says of its document names the patient, and nothing later asks for it: it stays with the content.
    """
    kept = tuple(scope for scope in header.scopes if scope.type != ScopeType.XDS_METADATA)
    prefix, suffix = build_sbd(replace(header, scopes=kept))
    return prefix + b"AA==" + suffix


def header_from_bytes(data: bytes) -> StandardBusinessDocumentHeader:
    """The header that `header_bytes` wrote."""
    splitter = SbdSplitter(DEFAULT_LIMITS, decode=False)
    splitter.feed(data)
    return splitter.finish()
