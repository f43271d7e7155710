"""Carrying a hand-over: what goes on the wire, what the manifest says of it, and what a failure is called."""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web
from as4_stage import Pki
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID
from station_parts import AT, MESSAGE, Parts, document

from accesspoint.network.listening import Listeners
from accesspoint.stations.carrier import PATH, StationClient, manifest_of, station_client
from accesspoint.stations.link import Handover
from accesspoint.stations.relay import NotTaken
from accesspoint.stations.reporting import Act, facts_to_json
from envelope.events import PartData, PartEnded, PartStarted
from envelope.mime import MultipartParser, parse_content_type
from envelope.seal import verify_manifest
from keys.errors import KeyStoreError
from keys.private import FileSigner


@dataclass
class Listener:
    """The other end: keeps the last request and answers with `status`."""

    url: str = ""
    status: int = 200
    content_type: str = ""
    body: bytes = b""

    async def handle(self, request: web.Request) -> web.Response:
        self.content_type, self.body = request.headers["Content-Type"], await request.read()
        assert request.content_length == len(self.body)
        return web.Response(status=self.status)

    def parts(self) -> list[bytes]:
        parts: list[bytearray] = []
        for event in MultipartParser(parse_content_type(self.content_type)).feed(self.body):
            match event:
                case PartStarted():
                    parts.append(bytearray())
                case PartData(data=data):
                    parts[-1].extend(data)
                case PartEnded():
                    pass
        return [bytes(part) for part in parts]


@pytest.fixture
async def listener(pki: Pki) -> AsyncIterator[Listener]:
    listening = Listener()
    application = web.Application()
    application.router.add_post(PATH, listening.handle)
    listeners = Listeners()
    listening.url = await listeners.start(application, tls=pki.tls_contexts("clinic")[1])
    yield listening
    await listeners.stop()


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    async with Parts.open(tmp_path / "node", together=False) as opened:
        yield opened


def handover_of(parts: Parts) -> Handover:
    item = document(parts)
    return Handover(
        id=parts.ids.uuid(),
        target="down",
        kind="document",
        message_identifier=MESSAGE,
        item=item.to_json(),
        act=Act.EUA_SENT,
        facts=facts_to_json(item.delivery_facts()),
        media_type=item.media_type,
        stored=item.stored,
    )


async def carry(pki: Pki, parts: Parts, url: str, handover: Handover) -> None:
    async with station_client(pki.tls_contexts("municipality")[0]) as client:
        await StationClient(
            url,
            client=client,
            signer=pki.municipality.signer(),
            payloads=parts.payloads,
            clock=parts.clock,
        ).carry(handover)


async def test_manifest_facts_and_document_go_side_by_side(
    pki: Pki, parts: Parts, listener: Listener
) -> None:
    handover = handover_of(parts)
    await carry(pki, parts, listener.url + "/", handover)
    sealed, item, octets = listener.parts()
    assert item.decode() == handover.item
    assert octets == parts.read(handover.stored)
    manifest = verify_manifest(
        sealed,
        expected_certificate=pki.municipality.certificate,
        document_sha256=hashlib.sha256(octets).digest(),
        kind="document",
        direction="down",
    )
    assert manifest == manifest_of(handover, AT)


async def test_the_manifest_names_no_patient(pki: Pki, parts: Parts, listener: Listener) -> None:
    handover = handover_of(parts)
    await carry(pki, parts, listener.url, handover)
    sealed, item, _ = listener.parts()
    assert b"2512489996" in item
    assert b"2512489996" not in sealed
    facts = manifest_of(handover, AT).facts
    assert facts == {
        "item-sha256": hashlib.sha256(handover.item.encode()).hexdigest(),
        "message": MESSAGE,
    }


@pytest.mark.parametrize("status", [201, 204, 302, 404, 422, 500, 503])
async def test_everything_but_200_is_not_taken(
    pki: Pki, parts: Parts, listener: Listener, status: int
) -> None:
    listener.status = status
    with pytest.raises(NotTaken) as refused:
        await carry(pki, parts, listener.url, handover_of(parts))
    assert (refused.value.slug, refused.value.detail) == ("station-refused", f"HTTP {status}")


async def test_a_neighbour_that_is_away_is_named_as_unreachable(
    pki: Pki, parts: Parts, listener: Listener, unused_tcp_port: int
) -> None:
    with pytest.raises(NotTaken) as refused:
        await carry(pki, parts, f"https://127.0.0.1:{unused_tcp_port}", handover_of(parts))
    assert refused.value.slug == "peer-unreachable"


async def test_only_an_rsa_key_seals(pki: Pki, parts: Parts) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "elliptic")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, AT, AT + timedelta(days=1))
    ).sign(key, SHA256())
    signer = FileSigner(key, certificate)
    async with station_client(pki.tls_contexts("municipality")[0]) as client:
        with pytest.raises(KeyStoreError):
            StationClient(
                "https://127.0.0.1",
                client=client,
                signer=signer,
                payloads=parts.payloads,
                clock=parts.clock,
            )
