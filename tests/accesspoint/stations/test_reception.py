"""Hand-overs between two stations over mutual TLS: the seal, the one taking, and what a refusal leaves behind.

The carrier's own tests stand in `test_carrier.py`; here it is the honest neighbour.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from as4_stage import Pki
from station_parts import AT, BUNDLE, ENVELOPE, MESSAGE, Parts, document, envelope, header_for

from accesspoint.admission import EdgeLimits
from accesspoint.as4.client import As4Client
from accesspoint.config_values import Address
from accesspoint.delivery.events import DeliveryFacts
from accesspoint.doors import DEFAULT_EDGE, open_door
from accesspoint.network.listening import Listeners
from accesspoint.stations import Commit
from accesspoint.stations.carrier import PATH, StationClient, manifest_of, station_client
from accesspoint.stations.document import Document, Envelope
from accesspoint.stations.link import Handover
from accesspoint.stations.reception import SMALL_BYTES, StationServer
from accesspoint.stations.relay import NotTaken
from accesspoint.stations.reporting import Act, facts_to_json
from accesspoint.store.database import StorageFailure, Transaction
from envelope.errors import LocalProtocolError, SbdRefused
from envelope.limits import DEFAULT_LIMITS, KIB, MIB
from envelope.mime import MultipartWriter, OutboundPart
from envelope.seal import seal_manifest


@dataclass
class Below:
    """The station that is handed to: what it took, in whose commit; `failure` is raised while it prepares."""

    parts: Parts
    documents: list[Document] = field(default_factory=list)
    envelopes: list[Envelope] = field(default_factory=list)
    failure: Exception | None = None
    hold: asyncio.Barrier | None = None

    async def take_document(self, item: Document) -> Commit:
        return await self._take(self.documents, item)

    async def take_envelope(self, item: Envelope) -> Commit:
        return await self._take(self.envelopes, item)

    async def _take(self, taken: list[Any], item: Any) -> Commit:
        if self.hold is not None:
            await self.hold.wait()
        if self.failure is not None:
            raise self.failure

        async def work(tx: Transaction) -> None:
            await self.parts.reporter.note(
                tx, "taken", station="MSH", message_identifier="m", subject="m", standard="s"
            )
            taken.append(item)

        return Commit(work)


@dataclass
class Hop:
    """Two stations and the wire between them."""

    sending: Parts
    receiving: Parts
    below: Below
    url: str
    tls: ssl.SSLContext
    client: As4Client
    pki: Pki

    def carrier(self, issued: Any = None) -> StationClient:
        return StationClient(
            self.url,
            client=self.client,
            signer=(issued or self.pki.municipality).signer(),
            payloads=self.sending.payloads,
            clock=self.sending.clock,
        )

    def handover(self, **changes: Any) -> Handover:
        item = document(self.sending)
        values: dict[str, Any] = {
            "id": self.sending.ids.uuid(),
            "target": "down",
            "kind": "document",
            "message_identifier": MESSAGE,
            "item": item.to_json(),
            "act": Act.EUA_SENT,
            "facts": facts_to_json(item.delivery_facts()),
            "media_type": item.media_type,
            "stored": item.stored,
        }
        return Handover(**{**values, **changes})

    async def post(self, body: bytes | AsyncIterator[bytes], content_type: str) -> tuple[int, Any]:
        connector = aiohttp.TCPConnector(ssl=self.tls)
        async with (
            aiohttp.ClientSession(connector=connector, trust_env=False) as session,
            session.post(
                self.url + PATH, data=body, headers={"Content-Type": content_type}
            ) as answer,
        ):
            return answer.status, await answer.json()

    def parts_of(
        self,
        handover: Handover,
        *,
        item: bytes | None = None,
        octets: bytes | None = None,
        sealed: bytes | None = None,
        leave_out_document: bool = False,
    ) -> tuple[bytes, str]:
        """The request for a hand-over, with one thing changed."""
        issued = self.pki.municipality
        manifest = sealed or seal_manifest(
            manifest_of(handover, AT), issued.private_key, issued.certificate
        )
        item = handover.item.encode() if item is None else item
        octets = self.sending.read(handover.stored) if octets is None else octets
        writer = MultipartWriter(boundary="b", root_content_id="manifest@x", root=manifest)
        body = (
            writer.opening()
            + writer.head(OutboundPart("item@x", "application/json", len(item)))
            + item
        )
        if not leave_out_document:
            head = writer.head(OutboundPart("document@x", "application/json", len(octets)))
            body += head + octets
        return body + writer.tail(), writer.content_type()

    async def took_nothing(self) -> bool:
        below = self.below
        return (
            not below.documents
            and not below.envelopes
            and await self.receiving.rows("SELECT * FROM handovers_taken") == []
            and self.receiving.files() == 0
            and self.receiving.unpublished() == 0
        )


@pytest.fixture
async def hop(pki: Pki, tmp_path: Path) -> AsyncIterator[Hop]:
    """An end-user edge above, a message service handler below; the municipality's key seals what goes down."""
    as_client, _ = pki.tls_contexts("municipality")
    _, as_server = pki.tls_contexts("clinic")
    async with (
        Parts.open(tmp_path / "above", together=False) as sending,
        Parts.open(tmp_path / "below", together=False, seed=2) as receiving,
        station_client(as_client) as client,
    ):
        below = Below(receiving)
        server = StationServer(
            database=receiving.database,
            payloads=receiving.payloads,
            bells=receiving.bells,
            clock=receiving.clock,
            neighbours={"down": [pki.municipality.certificate], "up": [pki.clinic.certificate]},
            take_document={"down": below.take_document},
            take_envelope={"up": below.take_envelope},
        )
        listeners = Listeners()
        application = web.Application()
        application.router.add_post(PATH, server.handle)
        url = await listeners.start(application, tls=as_server)
        yield Hop(sending, receiving, below, url, as_client, client, pki)
        await listeners.stop()


async def test_a_document_comes_across_with_its_facts_and_its_octets(hop: Hop) -> None:
    handover = hop.handover()
    await hop.carrier().carry(handover)
    (taken,) = hop.below.documents
    sent = Document.from_json(handover.item)
    assert taken == sent.standing_at(taken.stored)
    assert hop.receiving.read(taken.stored) == hop.sending.read(sent.stored)
    assert (await hop.receiving.one("SELECT * FROM handovers_taken"))["id"] == handover.id
    assert hop.receiving.files() == 1


async def test_an_envelope_comes_across_from_the_other_side(hop: Hop) -> None:
    item = envelope(hop.sending)
    handover = hop.handover(
        target="up",
        kind="envelope",
        item="{}",
        media_type="application/xml",
        stored=item.stored,
        act=Act.AP_PASSED_UP,
        facts=facts_to_json(DeliveryFacts.from_header(header_for(), with_envelope=True)),
    )
    await hop.carrier(hop.pki.clinic).carry(handover)
    (taken,) = hop.below.envelopes
    assert (taken.message_identifier, taken.envelope_identifier) == (MESSAGE, ENVELOPE)
    taken.check_sealed(header_for())
    for other in (header_for(message=BUNDLE), header_for(envelope=BUNDLE)):
        with pytest.raises(SbdRefused) as refused:
            taken.check_sealed(other)
        assert refused.value.reason == "manifest.identifier"
    assert hop.receiving.read(taken.stored) == hop.sending.read(item.stored)


async def test_the_same_hand_over_twice_is_taken_once_and_answered_alike(hop: Hop) -> None:
    handover = hop.handover()
    await hop.carrier().carry(handover)
    await hop.carrier().carry(handover)
    assert len(hop.below.documents) == 1
    assert hop.receiving.files() == 1


async def test_two_copies_that_race_are_taken_once(hop: Hop) -> None:
    hop.below.hold = asyncio.Barrier(2)
    handover = hop.handover()
    await asyncio.gather(hop.carrier().carry(handover), hop.carrier().carry(handover))
    assert len(hop.below.documents) == 1
    assert hop.receiving.files() == 1
    assert len(await hop.receiving.journal()) == 1


async def test_a_seal_by_a_certificate_that_is_no_neighbours_is_refused(hop: Hop) -> None:
    """Mutual TLS lets every trusted partner in; only the neighbour may hand over."""
    with pytest.raises(NotTaken) as refused:
        await hop.carrier(hop.pki.third).carry(hop.handover())
    assert (refused.value.slug, refused.value.detail) == (
        "station-refused",
        "HTTP 422 manifest.certificate",
    )
    assert await hop.took_nothing()


async def test_a_neighbour_cannot_hand_over_in_the_direction_of_the_other(hop: Hop) -> None:
    with pytest.raises(NotTaken):
        await hop.carrier(hop.pki.clinic).carry(hop.handover(target="down"))
    assert await hop.took_nothing()


async def test_a_kind_that_nobody_takes_from_there_is_refused(hop: Hop) -> None:
    body, content_type = hop.parts_of(hop.handover(kind="envelope", item="{}"))
    assert await hop.post(body, content_type) == (422, {"reason": "manifest.purpose"})
    with pytest.raises(NotTaken):
        await hop.carrier(hop.pki.clinic).carry(hop.handover(target="up", kind="document"))
    assert await hop.took_nothing()


Attack = Callable[[Hop], tuple[bytes, str]]


def _other_document(hop: Hop) -> tuple[bytes, str]:
    handover = hop.handover()
    octets = hop.sending.read(handover.stored).replace(b"2512489996", b"0101010101")
    return hop.parts_of(handover, octets=octets)


def _longer_document(hop: Hop) -> tuple[bytes, str]:
    handover = hop.handover()
    return hop.parts_of(handover, octets=hop.sending.read(handover.stored) + b" ")


def _shorter_document(hop: Hop) -> tuple[bytes, str]:
    handover = hop.handover()
    return hop.parts_of(handover, octets=hop.sending.read(handover.stored)[:-1])


def _fourth_part(hop: Hop) -> tuple[bytes, str]:
    body, content_type = hop.parts_of(hop.handover())
    end = body.rindex(b"\r\n--b--")
    more = b"\r\n--b\r\nContent-ID: <more@x>\r\n\r\nmore"
    return body[:end] + more + body[end:], content_type


def _nothing_but_a_manifest(hop: Hop) -> tuple[bytes, str]:
    body, content_type = hop.parts_of(hop.handover(), leave_out_document=True)
    second = body.index(b"\r\n--b\r\n", body.index(b"SealedManifest>"))
    return body[:second] + b"\r\n--b--\r\n", content_type


def _other_facts(hop: Hop) -> tuple[bytes, str]:
    handover = hop.handover()
    return hop.parts_of(handover, item=handover.item.replace("2512489996", "0101010101").encode())


def _broken_seal(hop: Hop) -> tuple[bytes, str]:
    handover = hop.handover()
    issued = hop.pki.municipality
    sealed = seal_manifest(manifest_of(handover, AT), issued.private_key, issued.certificate)
    changed = sealed.replace(MESSAGE.encode(), MESSAGE[::-1].encode())
    assert changed != sealed
    return hop.parts_of(handover, sealed=changed)


def _sealed_at(hop: Hop, minutes: float) -> tuple[bytes, str]:
    handover, issued = hop.handover(), hop.pki.municipality
    manifest = manifest_of(handover, AT + timedelta(minutes=minutes))
    sealed = seal_manifest(manifest, issued.private_key, issued.certificate)
    return hop.parts_of(handover, sealed=sealed)


def _long_ago(hop: Hop) -> tuple[bytes, str]:
    return _sealed_at(hop, -10.1)


def _in_the_future(hop: Hop) -> tuple[bytes, str]:
    return _sealed_at(hop, 10.1)


def _wrong_signer(hop: Hop) -> tuple[bytes, str]:
    handover, issued = hop.handover(), hop.pki.third
    sealed = seal_manifest(manifest_of(handover, AT), issued.private_key, issued.certificate)
    return hop.parts_of(handover, sealed=sealed)


def _seal_of_another_document(hop: Hop) -> tuple[bytes, str]:
    issued, other = hop.pki.municipality, hop.handover(stored=hop.sending.store(b"{}"))
    sealed = seal_manifest(manifest_of(other, AT), issued.private_key, issued.certificate)
    return hop.parts_of(hop.handover(), sealed=sealed)


def _identifier_of_another_message(hop: Hop) -> tuple[bytes, str]:
    return hop.parts_of(hop.handover(message_identifier=BUNDLE))


def _no_manifest(hop: Hop) -> tuple[bytes, str]:
    return hop.parts_of(hop.handover(), sealed=b" ")


def _no_document(hop: Hop) -> tuple[bytes, str]:
    return hop.parts_of(hop.handover(), leave_out_document=True)


def _endless_facts(hop: Hop) -> tuple[bytes, str]:
    return hop.parts_of(hop.handover(), item=b" " * (SMALL_BYTES + 1))


def _no_multipart(hop: Hop) -> tuple[bytes, str]:
    return b"{}", "application/json"


def _cut_off(hop: Hop) -> tuple[bytes, str]:
    body, content_type = hop.parts_of(hop.handover())
    return body[:-10], content_type


def _facts_of_another_program(hop: Hop) -> tuple[bytes, str]:
    return hop.parts_of(hop.handover(item='{"unknown": 1}'))


def _facts_that_are_no_json(hop: Hop) -> tuple[bytes, str]:
    return hop.parts_of(hop.handover(item="{"))


@pytest.mark.parametrize(
    ("attack", "reason"),
    [
        (_other_document, "manifest.digest"),
        (_longer_document, "station.size"),
        (_shorter_document, "station.size"),
        (_fourth_part, "station.parts"),
        (_nothing_but_a_manifest, "station.parts"),
        (_other_facts, "manifest.digest"),
        (_broken_seal, "manifest.signature"),
        (_long_ago, "manifest.time"),
        (_in_the_future, "manifest.time"),
        (_wrong_signer, "manifest.certificate"),
        (_seal_of_another_document, "manifest.digest"),
        (_identifier_of_another_message, "manifest.identifier"),
        (_no_manifest, "manifest.xml"),
        (_no_document, "station.parts"),
        (_endless_facts, "station.size"),
        (_no_multipart, None),
        (_cut_off, None),
        (_facts_of_another_program, "station.item"),
        (_facts_that_are_no_json, "station.item"),
    ],
)
async def test_what_does_not_hold_is_refused_and_leaves_nothing(
    hop: Hop, attack: Attack, reason: str | None
) -> None:
    status, answer = await hop.post(*attack(hop))
    assert status == 422
    assert reason is None or answer == {"reason": reason}
    assert "2512489996" not in str(answer)
    assert await hop.took_nothing()


async def test_a_seal_that_is_not_quite_fresh_holds(hop: Hop) -> None:
    for minutes in (-9.9, 9.9):
        status, _ = await hop.post(*_sealed_at(hop, minutes))
        assert status == 200


async def test_who_hands_over_is_told_the_reason_of_a_refusal(hop: Hop) -> None:
    hop.receiving.clock.advance(timedelta(minutes=11))
    with pytest.raises(NotTaken) as refused:
        await hop.carrier().carry(hop.handover())
    assert refused.value.detail == "HTTP 422 manifest.time"


@asynccontextmanager
async def served_otherwise(
    hop: Hop, edge: EdgeLimits = DEFAULT_EDGE, **options: Any
) -> AsyncIterator[Hop]:
    """The same two stations, the lower one served with other options, behind a door of these limits."""
    values: dict[str, Any] = {
        "database": hop.receiving.database,
        "payloads": hop.receiving.payloads,
        "bells": hop.receiving.bells,
        "clock": hop.receiving.clock,
        "neighbours": {"down": [hop.pki.municipality.certificate]},
        "take_document": {"down": hop.below.take_document},
        "take_envelope": {},
    }
    server = StationServer(**{**values, **options})
    application = web.Application()
    application.router.add_post(PATH, server.handle)
    _, as_server = hop.pki.tls_contexts("clinic")
    async with AsyncExitStack() as stack:
        where = await open_door(stack, application, Address("127.0.0.1", 0), as_server, limits=edge)
        yield replace(hop, url=f"https://{where}")


async def halting(body: bytes) -> AsyncIterator[bytes]:
    """The beginning of a body whose rest never comes."""
    yield body
    await asyncio.Event().wait()


def until_document(body: bytes) -> bytes:
    """The manifest, the routing facts, and the first octets of the document."""
    return body[: body.index(b'{"resourceType"') + 20]


async def test_a_seal_that_does_not_hold_is_refused_before_its_document_has_come(hop: Hop) -> None:
    """Whoever is no neighbour cannot have gigabytes stored first."""
    handover = hop.handover()
    issued = hop.pki.third
    sealed = seal_manifest(manifest_of(handover, AT), issued.private_key, issued.certificate)
    body, content_type = hop.parts_of(handover, sealed=sealed)
    async with asyncio.timeout(10):
        status, answer = await hop.post(halting(until_document(body)), content_type)
    assert (status, answer) == (422, {"reason": "manifest.certificate"})
    assert await hop.took_nothing()


async def test_other_routing_facts_are_refused_before_the_document_has_come(hop: Hop) -> None:
    body, content_type = _other_facts(hop)
    async with asyncio.timeout(10):
        status, answer = await hop.post(halting(until_document(body)), content_type)
    assert (status, answer) == (422, {"reason": "manifest.digest"})
    assert await hop.took_nothing()


async def test_a_body_that_stalls_is_given_up(hop: Hop) -> None:
    body, content_type = hop.parts_of(hop.handover())
    async with (
        served_otherwise(hop, EdgeLimits(body_seconds=0.05)) as impatient,
        asyncio.timeout(10),
    ):
        status, answer = await impatient.post(halting(until_document(body)), content_type)
    assert (status, answer) == (422, {"reason": "station.stalled"})
    assert await hop.took_nothing()


async def test_a_document_that_is_announced_too_large_is_refused_before_it_comes(hop: Hop) -> None:
    body, content_type = hop.parts_of(hop.handover())
    limits = replace(DEFAULT_LIMITS, sbd_bytes=1000)
    async with served_otherwise(hop, limits=limits) as small, asyncio.timeout(10):
        status, answer = await small.post(halting(until_document(body)), content_type)
    assert (status, answer) == (422, {"reason": "station.size"})
    assert await hop.took_nothing()


async def chunks(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_longer_than_any_hand_over_is_refused(hop: Hop, chunked: bool) -> None:
    """Octets behind the last part are counted as well, whether or not their number is told."""
    handover = hop.handover()
    body, content_type = hop.parts_of(handover)
    # The parser bounds what stands around the parts too; here it is the whole that is counted.
    limits = replace(
        DEFAULT_LIMITS, sbd_bytes=handover.stored.payload_bytes, preamble_bytes=4 * MIB
    )
    flood = [b" " * (64 * KIB)] * 20
    sent = chunks(body, *flood) if chunked else body + b"".join(flood)
    async with served_otherwise(hop, limits=limits) as small:
        assert await small.post(sent, content_type) == (422, {"reason": "station.size"})
        assert await hop.took_nothing()
        # It is the length that was wrong.
        assert (await small.post(body, content_type))[0] == 200


async def test_a_message_that_another_hand_over_brought_meanwhile_is_a_conflict_and_no_fault_of_ours(
    hop: Hop,
) -> None:
    """The neighbour repeats it, and then it is looked up as the repetition that it is."""
    conflicts = 1

    async def take(item: Document) -> Commit:
        async def work(tx: Transaction) -> None:
            for _ in range(1 + conflicts):
                await tx.execute(
                    "INSERT INTO documents (direction, message_identifier, id, event_code, sender, receiver, media_type,"
                    " payload_bytes, payload_sha256, acknowledgement, created_at)"
                    " VALUES ('in', 'm', 'x', 'e', 's', 'r', 't', 0, '', 'none', 0)"
                )
            hop.below.documents.append(item)

        return Commit(work)

    handover = hop.handover()
    async with served_otherwise(hop, take_document={"down": take}) as other:
        body, content_type = hop.parts_of(handover)
        assert await other.post(body, content_type) == (409, {"reason": "station.conflict"})
        assert await hop.took_nothing()
        conflicts = 0
        assert (await other.post(body, content_type))[0] == 200


async def test_what_the_station_cannot_take_is_refused_and_leaves_nothing(hop: Hop) -> None:
    hop.below.failure = LocalProtocolError("no document type")
    assert await hop.post(*hop.parts_of(hop.handover())) == (422, {"reason": "station.refused"})
    assert await hop.took_nothing()


async def test_after_a_failure_of_the_store_the_file_stays_and_the_neighbour_repeats(
    hop: Hop,
) -> None:
    """Nobody knows whether the commit became durable, so what it may point at is not deleted."""
    handover = hop.handover()
    hop.below.failure = StorageFailure("the disk is gone")
    with pytest.raises(NotTaken) as refused:
        await hop.carrier().carry(handover)
    assert refused.value.detail == "HTTP 503 station.store"
    assert hop.receiving.files() == 1
    hop.below.failure = None
    await hop.carrier().carry(handover)
    assert len(hop.below.documents) == 1


async def test_a_station_without_neighbours_takes_nothing(hop: Hop) -> None:
    async with served_otherwise(hop, neighbours={}, take_document={}) as lonely:
        assert await lonely.post(*hop.parts_of(hop.handover())) == (
            422,
            {"reason": "manifest.direction"},
        )
    assert await hop.took_nothing()


async def test_a_violation_of_another_rule_is_not_a_repetition(hop: Hop) -> None:
    """Only the hand-over's own id says that it was taken before."""

    async def violate(tx: Transaction) -> None:
        await tx.execute("INSERT INTO documents (direction) VALUES ('in')")

    async def take(_: Document) -> Commit:
        return Commit(violate)

    async with served_otherwise(hop, take_document={"down": take}) as other:
        with pytest.raises(NotTaken) as refused:
            await other.carrier().carry(hop.handover())
    assert refused.value.detail == "HTTP 500"
    assert await hop.took_nothing()
