"""The document register (EMR) in miniature: shows the copies that its access point has received, and whether each is whole.

Its access point is a real one; what it received stands in that one's store, and nothing is kept besides. A copy
is shown by what its XDS metadata says, held against the octets: size and digest of the attachment, and the
patient, must be those of the document itself. The patient number is masked wherever it is shown, and no
address holds anything personal.

Spec: decision D12; ehmi digest 1.1 (EMR) and 2.4 (XDS-METADATA).
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from html import escape
from typing import Any, Final

from aiohttp import web

from accesspoint.clock import from_microseconds
from accesspoint.store.database import Database, Row
from accesspoint.store.payloads import PayloadStore, PayloadUnreadable
from envelope.errors import SbdRefused
from envelope.fhir.document_reference import (
    DocumentFacts,
    attachment_hash_of,
    read_document_reference,
)
from envelope.limits import DEFAULT_LIMITS
from envelope.sbd_splitter import SbdSplitter
from envelope.sbdh import ScopeType, StandardBusinessDocumentHeader

SHOWN: Final = 200
CHUNK_BYTES: Final = 64 * 1024
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none';style-src 'unsafe-inline';base-uri 'none';form-action 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.3rem .8rem .3rem 0;"
    "border-bottom:1px solid #8884}.bad{color:#b3261e}"
)


@dataclass(frozen=True, slots=True)
class SharedDocument:
    """One copy as the register shows it; `fault` says in a word why it is not whole, None when it is."""

    received_at: str
    message_identifier: str
    envelope_identifier: str
    sender: str
    standard: str
    title: str | None
    author: str | None
    created: str | None
    octets: int
    sha256: str
    patient: str
    fault: str | None


class DocumentSharing:
    """Reads the copies out of the store of the register's access point."""

    def __init__(self, database: Database, payloads: PayloadStore) -> None:
        self._database = database
        self._payloads = payloads

    async def documents(self, message_identifier: str | None = None) -> list[SharedDocument]:
        """The copies received, newest first; of one message or the last of all. What retention let go of is left out."""
        condition = "" if message_identifier is None else " AND message_identifier = $2"
        rows = await self._database.fetch(
            "SELECT * FROM messages WHERE direction = 'in' AND payload <> '' AND standard <> 'ehmisbdh-acknowledgement'"  # noqa: S608
            f"{condition} ORDER BY created_at DESC, id LIMIT $1",
            SHOWN, *([] if message_identifier is None else [message_identifier]),
        )  # fmt: skip
        return [await self._payloads.aside(partial(self._describe, row)) for row in rows]

    def _describe(self, row: Row) -> SharedDocument:
        found = _Content()
        header: StandardBusinessDocumentHeader | None = None
        metadata: DocumentFacts | None = None
        try:
            with self._opened(row) as chunks:
                header = found.read(chunks)
            metadata = read_document_reference(header.scope(ScopeType.XDS_METADATA) or "")
            fault = find_fault(header, metadata, octets=found.octets, sha1=found.sha1.digest())
        except SbdRefused as refused:
            fault = refused.reason
        except PayloadUnreadable:
            fault = "payload"
        return SharedDocument(
            received_at=from_microseconds(int(row["created_at"])).isoformat(),
            message_identifier=row["message_identifier"],
            envelope_identifier=row["envelope_id"],
            sender=row["original_sender"],
            standard=row["standard"],
            title=None if metadata is None else metadata.title,
            author=None if metadata is None else metadata.author,
            created=None if metadata is None else metadata.created,
            octets=found.octets,
            sha256=found.sha256.hexdigest(),
            patient=mask(metadata.patient_id if metadata else None),
            fault=fault,
        )

    @contextmanager
    def _opened(self, row: Row) -> Iterator[Iterator[bytes]]:
        with self._payloads.open(row["payload"], sha256=row["payload_sha256"]) as reader:
            yield iter(partial(reader.read, CHUNK_BYTES), b"")

    def application(self) -> web.Application:
        """A page and the same as JSON: `/` and `/documents.json`."""
        application = web.Application()
        application.router.add_get("/", self._page)
        application.router.add_get("/documents.json", self._json)
        return application

    async def _json(self, _: web.Request) -> web.Response:
        documents: list[dict[str, Any]] = [asdict(one) for one in await self.documents()]
        return web.json_response({"documents": documents}, headers=_HEADERS)

    async def _page(self, _: web.Request) -> web.Response:
        rows = "".join(_row(one) for one in await self.documents())
        heads = "".join(
            f'<th scope="col">{head}</th>'
            for head in ("Received", "Title", "Author", "Patient", "Message", "Size", "Whole")
        )
        text = (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Document register (TEST)</title>'
            f"<style>{_STYLE}</style></head><body><h1>Document register (TEST)</h1>"
            f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></body></html>\n"
        )
        return web.Response(text=text, content_type="text/html", headers=_HEADERS)


def find_fault(
    header: StandardBusinessDocumentHeader, metadata: DocumentFacts, *, octets: int, sha1: bytes
) -> str | None:
    """What of the metadata is not of this document: `size`, `hash`, `patient` or `identifier`; None when all is."""
    if metadata.size != octets:
        return "size"
    if metadata.hash != attachment_hash_of(sha1):
        return "hash"
    if metadata.patient_id != header.scope(ScopeType.PATIENTID):
        return "patient"
    bundle = header.scope(ScopeType.MESSAGEENVELOPEIDENTIFIER)
    if metadata.master_identifier != f"urn:uuid:{bundle}":
        return "identifier"
    return None


def mask(patient_id: str | None) -> str:
    """A patient number with nothing left of it but that there is one."""
    return "" if patient_id is None else "••••••-••••"


class _Content:
    """The content of an envelope while it is read: its length and digests."""

    def __init__(self) -> None:
        self.octets = 0
        self.sha256 = hashlib.sha256()
        self.sha1 = hashlib.sha1(usedforsecurity=False)

    def read(self, chunks: Iterator[bytes]) -> StandardBusinessDocumentHeader:
        """Read the envelope through; raises SbdRefused when it is none."""
        splitter = SbdSplitter(DEFAULT_LIMITS)
        for chunk in chunks:
            piece = splitter.feed(chunk)
            self.octets += len(piece)
            self.sha256.update(piece)
            self.sha1.update(piece)
        return splitter.finish()


def _row(one: SharedDocument) -> str:
    whole = "yes" if one.fault is None else f"no: {one.fault}"
    cells = (
        one.received_at, one.title or "", one.author or "", one.patient, one.message_identifier,
        f"{one.octets} octets", whole,
    )  # fmt: skip
    inside = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
    return f"<tr>{inside}</tr>" if one.fault is None else f'<tr class="bad">{inside}</tr>'
