"""Takes hand-overs from the neighbouring station: checks the seal, stores the document, takes it over in one commit.

The id of a hand-over is taken once. A repetition is answered as the first time, without taking it again,
because the neighbour repeats whatever it got no answer to.
"""

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog
from aiohttp import web
from cryptography import x509

from accesspoint.clock import Clock, to_microseconds
from accesspoint.stations import Bells, Commit
from accesspoint.stations.carrier import CHUNK_BYTES
from accesspoint.stations.document import Document, Envelope, Stored
from accesspoint.stations.sbd_file import stored
from accesspoint.store.database import Database, IntegrityViolation, Transaction
from accesspoint.store.payloads import PayloadStore, PayloadWriter
from envelope.errors import EnvelopeError, RemoteProtocolError
from envelope.events import PartData, PartEnded, PartStarted
from envelope.limits import DEFAULT_LIMITS, KIB, Limits
from envelope.mime import MultipartParser, parse_content_type
from envelope.seal import Manifest, verify_manifest

SMALL_BYTES: Final = 256 * KIB
_log = structlog.get_logger("accesspoint.stations")


class StationServer:
    """The hand-over endpoint of one station; `neighbours` maps a direction to the certificate that seals for it."""

    def __init__(
        self,
        *,
        database: Database,
        payloads: PayloadStore,
        bells: Bells,
        clock: Clock,
        neighbours: Mapping[str, x509.Certificate],
        take_document: Mapping[str, Callable[[Document], Awaitable[Commit]]],
        take_envelope: Mapping[str, Callable[[Envelope], Awaitable[Commit]]],
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._database = database
        self._payloads = payloads
        self._bells = bells
        self._clock = clock
        self._neighbours = neighbours
        self._take_document = take_document
        self._take_envelope = take_envelope
        self._limits = limits

    async def handle(self, request: web.Request) -> web.Response:
        """Answer 200 once the hand-over is taken for good, 4xx when it does not hold."""
        try:
            with self._payloads.create() as writer:
                sealed, item = await self._read(request, writer)
                document = stored(writer.finish())
            try:
                manifest = self._check_seal(sealed, item, document)
                is_new = await self._take(manifest, item, document)
            except (EnvelopeError, IntegrityViolation):
                # Only where nothing was committed for certain: a row must never point at a file that is gone.
                self._payloads.delete(document.payload)
                raise
            if not is_new:
                self._payloads.delete(document.payload)
        except EnvelopeError as error:
            reason = error.reason if isinstance(error, RemoteProtocolError) else "station.refused"
            _log.warning("handover_refused", reason=reason, peer=request.remote)
            return web.json_response({"reason": reason}, status=422)
        return web.json_response({"taken": manifest.id})

    async def _read(self, request: web.Request, writer: PayloadWriter) -> tuple[bytes, bytes]:
        """Read manifest and routing facts, and let the document stream into the store."""
        parser = MultipartParser(
            parse_content_type(request.headers.get("Content-Type", "")), self._limits
        )
        small = (bytearray(), bytearray())
        part = -1
        ended = False
        while chunk := await request.content.read(CHUNK_BYTES):
            for event in parser.feed(chunk):
                match event:
                    case PartStarted(index=index):
                        part = index
                    case PartData(data=data) if part < len(small):
                        small[part].extend(data)
                        if len(small[part]) > SMALL_BYTES:
                            raise RemoteProtocolError(
                                "a part before the document is too large", reason="station.size"
                            )
                    case PartData(data=data):
                        writer.write(data)
                    case PartEnded(index=2):
                        ended = True
                    case _:
                        pass
        parser.close()
        if not ended:
            raise RemoteProtocolError("there is no document", reason="station.parts")
        return bytes(small[0]), bytes(small[1])

    def _check_seal(self, sealed: bytes, item: bytes, document: Stored) -> Manifest:
        """The manifest, sealed by a neighbour for this document, these facts and the direction it comes from."""
        refusal = RemoteProtocolError("no neighbour hands over here", reason="manifest.direction")
        for direction, certificate in self._neighbours.items():
            try:
                manifest = verify_manifest(
                    sealed,
                    expected_certificate=certificate,
                    document_sha256=bytes.fromhex(document.payload_sha256),
                    direction=direction,
                )
            except RemoteProtocolError as error:
                refusal = error
                continue
            if not hmac.compare_digest(
                manifest.facts["item-sha256"], hashlib.sha256(item).hexdigest()
            ):
                raise RemoteProtocolError(
                    "the routing facts are not the sealed ones", reason="manifest.digest"
                )
            return manifest
        raise refusal

    async def _take(self, manifest: Manifest, facts: bytes, document: Stored) -> bool:
        """Take a hand-over for good; answers whether this was the first time, so that the document is needed."""
        known = await self._database.fetch_one(
            "SELECT id FROM handovers_taken WHERE id = $1", manifest.id
        )
        if known is not None:
            return False
        taken = await self._prepare(manifest, facts, document)

        async def work(tx: Transaction) -> None:
            await tx.execute(
                "INSERT INTO handovers_taken (id, at) VALUES ($1, $2)",
                manifest.id, to_microseconds(self._clock.now()),
            )  # fmt: skip

        try:
            await self._bells.run(self._database, Commit(work).then(taken))
        except IntegrityViolation as violation:
            if "handovers_taken" not in violation.rule:
                raise
            return False
        return True

    async def _prepare(self, manifest: Manifest, facts: bytes, document: Stored) -> Commit:
        """Let the station that this hand-over is for prepare taking it over."""
        if manifest.kind == "envelope":
            take_envelope = self._take_envelope.get(manifest.direction)
            if take_envelope is not None:
                return await take_envelope(Envelope(manifest.facts["message"], document))
        else:
            take_document = self._take_document.get(manifest.direction)
            if take_document is not None:
                return await take_document(_document(facts).standing_at(document))
        raise RemoteProtocolError(
            "no station here takes this kind from this direction", reason="manifest.purpose"
        )


def _document(facts: bytes) -> Document:
    try:
        return Document.from_json(facts.decode())
    except (ValueError, TypeError, LookupError) as error:
        raise RemoteProtocolError(
            "the routing facts cannot be read", reason="station.item"
        ) from error
