"""Takes hand-overs from the neighbouring station: checks the seal, stores the document, takes it over in one commit.

The id of a hand-over is taken once. A repetition is answered as the first time, without taking it again,
because the neighbour repeats whatever it got no answer to. Nothing of a document is stored for somebody whose
seal does not hold.

Spec: EHMI authenticity between C1 and C2 (decision D10).
"""

import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final

import structlog
from aiohttp import web
from cryptography import x509

from accesspoint.clock import Clock, to_microseconds
from accesspoint.stations import Bell, Bells, Commit
from accesspoint.stations.carrier import CHUNK_BYTES
from accesspoint.stations.document import Document, Envelope, Stored
from accesspoint.stations.sbd_file import stored
from accesspoint.store.database import (
    Database,
    IntegrityKind,
    IntegrityViolation,
    StorageFailure,
    Transaction,
)
from accesspoint.store.outcomes import KIND as OUTCOME
from accesspoint.store.outcomes import insert_outcome
from accesspoint.store.payloads import PayloadStore, PayloadWriter
from envelope.errors import EnvelopeError, RemoteProtocolError
from envelope.events import Event, PartData, PartEnded, PartStarted
from envelope.limits import DEFAULT_LIMITS, KIB, MIB, Limits
from envelope.mime import MultipartParser, parse_content_type
from envelope.seal import Manifest, verify_manifest

SMALL_BYTES: Final = 256 * KIB
PARTS: Final = 3
DOCUMENT_PART: Final = 2
_log = structlog.get_logger("accesspoint.stations")


class StationServer:
    """The hand-over endpoint of one station; `neighbours` maps a direction to the certificates that may seal for it."""

    def __init__(
        self,
        *,
        database: Database,
        payloads: PayloadStore,
        bells: Bells,
        clock: Clock,
        neighbours: Mapping[str, Sequence[x509.Certificate]],
        take_document: Mapping[str, Callable[[Document], Awaitable[Commit]]],
        take_envelope: Mapping[str, Callable[[Envelope], Awaitable[Commit]]],
        admit: Callable[[], None] = lambda: None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        """`admit` raises StorageFailure while nothing new may be taken in."""
        self._database = database
        self._payloads = payloads
        self._bells = bells
        self._clock = clock
        self._neighbours = neighbours
        self._take_document = take_document
        self._take_envelope = take_envelope
        self._admit = admit
        self._limits = limits

    async def handle(self, request: web.Request) -> web.Response:
        """Answer 200 once the hand-over is taken for good, 4xx when it does not hold, 503 when the store fails."""
        try:
            self._admit()
            with self._payloads.create() as writer:
                incoming = _Incoming(self._check_seal, writer, self._limits)
                await self._read(request, incoming)
                manifest = incoming.finish()
                document = stored(await self._payloads.aside(writer.finish))
            try:
                is_new = await self._take(manifest, bytes(incoming.item), document)
            except (EnvelopeError, IntegrityViolation):
                # Only where nothing was committed for certain: a row must never point at a file that is gone.
                await self._payloads.aside(partial(self._payloads.delete, document.payload))
                raise
            if not is_new or manifest.kind == OUTCOME:
                await self._payloads.aside(partial(self._payloads.delete, document.payload))
        except StorageFailure as failure:
            _log.error("handover_storage_failure", detail=str(failure))
            return _refuse(503, "station.store", request)
        except EnvelopeError as error:
            reason = error.reason if isinstance(error, RemoteProtocolError) else "station.refused"
            return _refuse(422, reason, request)
        except IntegrityViolation as violation:
            if violation.kind is not IntegrityKind.UNIQUE:
                raise
            # Another hand-over was first meanwhile: looked up again, this one will be its repetition.
            return _refuse(409, "station.conflict", request)
        return web.json_response({"taken": manifest.id})

    async def _read(self, request: web.Request, incoming: "_Incoming") -> None:
        """Read the body as it comes; one that stalls, or is longer than any hand-over, is refused."""
        parser = MultipartParser(
            parse_content_type(request.headers.get("Content-Type", "")), self._limits
        )
        left = self._limits.sbd_bytes + MIB
        if (request.content_length or 0) > left:
            raise RemoteProtocolError("the request is too large", reason="station.size")
        while chunk := await self._read_chunk(request):
            left -= len(chunk)
            if left < 0:
                raise RemoteProtocolError("the request is too large", reason="station.size")
            for event in parser.events(chunk):
                incoming.take(event)
        parser.close()

    async def _read_chunk(self, request: web.Request) -> bytes:
        try:
            return await request.content.read(CHUNK_BYTES)
        except web.HTTPRequestTimeout as error:
            # The door's own deadline, see `accesspoint.http_connection`.
            raise RemoteProtocolError("the body stalled", reason="station.stalled") from error
        except (ConnectionError, web.RequestPayloadError) as error:
            raise RemoteProtocolError("the body ended early", reason="station.lost") from error

    def _check_seal(self, sealed: bytes) -> Manifest:
        """The manifest, sealed by a neighbour for the direction it comes from; its document is still to come."""
        unknown = RemoteProtocolError("no neighbour hands over here", reason="manifest.direction")
        refusal: RemoteProtocolError = unknown
        known = [(each, one) for each, several in self._neighbours.items() for one in several]
        for direction, certificate in known:
            try:
                return verify_manifest(
                    sealed,
                    expected_certificate=certificate,
                    document_sha256=None,
                    direction=direction,
                    at=self._clock.now(),
                )
            except RemoteProtocolError as error:
                # What one neighbour's own seal lacks says more than that it is not the other's.
                if error.reason != "manifest.certificate" or refusal is unknown:
                    refusal = error
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
        if manifest.kind == OUTCOME and manifest.direction == "up":
            return _take_outcome(manifest.id, facts, self._clock.now())
        if manifest.kind == "envelope":
            take_envelope = self._take_envelope.get(manifest.direction)
            if take_envelope is not None:
                sealed = manifest.facts
                return await take_envelope(
                    Envelope(
                        sealed.get("message", ""), document, envelope_identifier=sealed.get("envelope", "")
                    )
                )  # fmt: skip
        else:
            take_document = self._take_document.get(manifest.direction)
            if take_document is not None:
                taken = _document(facts)
                if taken.message_identifier != manifest.facts.get("message"):
                    raise RemoteProtocolError(
                        "the sealed identifier is not the message's", reason="manifest.identifier"
                    )
                return await take_document(taken.standing_at(document))
        raise RemoteProtocolError(
            "no station here takes this kind from this direction", reason="manifest.purpose"
        )


class _Incoming:
    """One hand-over while it arrives: manifest, routing facts, document, each held against what was sealed.

    The seal is verified when the manifest is complete, before anything of a document is written.
    """

    def __init__(
        self, check_seal: Callable[[bytes], Manifest], writer: PayloadWriter, limits: Limits
    ) -> None:
        self._check_seal = check_seal
        self._writer = writer
        self._limits = limits
        self._part = -1
        self._sealed = bytearray()
        self._manifest: Manifest | None = None
        self._ended = False
        self.item = bytearray()

    def take(self, event: Event) -> None:
        """Take the next event of the multipart body."""
        match event:
            case PartStarted(index=index):
                if index >= PARTS:
                    raise RemoteProtocolError("a part too many", reason="station.parts")
                self._part = index
            case PartData(data=data) if self._part < DOCUMENT_PART:
                small = self.item if self._part else self._sealed
                small.extend(data)
                if len(small) > SMALL_BYTES:
                    raise RemoteProtocolError(
                        "a part before the document is too large", reason="station.size"
                    )
            case PartData(data=data):
                self._writer.write(data)
                if self._writer.size > self._sealed_manifest().size:
                    raise RemoteProtocolError(
                        "the document is longer than announced", reason="station.size"
                    )
            case PartEnded(index=0):
                self._manifest = self._check_seal(bytes(self._sealed))
                if self._manifest.size > self._limits.sbd_bytes:
                    raise RemoteProtocolError("the document is too large", reason="station.size")
            case PartEnded(index=1):
                self._check_item(self._sealed_manifest())
            case PartEnded():
                self._ended = True
            case _:
                pass

    def finish(self) -> Manifest:
        """The manifest, once the whole document is the sealed one."""
        manifest = self._sealed_manifest()
        if not self._ended:
            raise RemoteProtocolError("there is no document", reason="station.parts")
        if self._writer.size != manifest.size:
            raise RemoteProtocolError("the document has another size", reason="station.size")
        if not hmac.compare_digest(self._writer.sha256, manifest.sha256.hex()):
            raise RemoteProtocolError("the document is another one", reason="manifest.digest")
        return manifest

    def _check_item(self, manifest: Manifest) -> None:
        digest = hashlib.sha256(self.item).hexdigest()
        if not hmac.compare_digest(manifest.facts.get("item-sha256", ""), digest):
            raise RemoteProtocolError(
                "the routing facts are not the sealed ones", reason="manifest.digest"
            )

    def _sealed_manifest(self) -> Manifest:
        if self._manifest is None:
            raise RemoteProtocolError("there is no manifest", reason="station.parts")
        return self._manifest


def _take_outcome(id_: str, item: bytes, at: datetime) -> Commit:
    """Owe an outcome to whoever is above us, under the id that it has for ever."""
    try:
        if json.loads(item)["id"] != id_:
            raise ValueError("another outcome")
    except (ValueError, TypeError, LookupError) as error:
        raise RemoteProtocolError("the outcome cannot be read", reason="station.item") from error

    async def work(tx: Transaction) -> None:
        await insert_outcome(tx, item, at=at)

    return Commit(work, frozenset({Bell.BACKEND}))


def _refuse(status: int, reason: str, request: web.Request) -> web.Response:
    """Answer a refusal; what is left of the body is not read, so the connection ends with it."""
    _log.warning("handover_refused", reason=reason, peer=request.remote)
    response = web.json_response({"reason": reason}, status=status)
    response.force_close()
    return response


def _document(facts: bytes) -> Document:
    try:
        return Document.from_json(facts.decode())
    except (ValueError, TypeError, LookupError) as error:
        raise RemoteProtocolError(
            "the routing facts cannot be read", reason="station.item"
        ) from error
