"""The signed image: retries repeat it, a new certificate changes the encryption and nothing that was signed."""

from base64 import b64decode
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from as4_peer import Arrived
from as4_stage import Pki
from cryptography import x509
from lxml import etree

from accesspoint.clock import SystemClock
from accesspoint.demo.scenery import CLINIC
from accesspoint.discovery.directory import Endpoint
from accesspoint.ids import SystemIds
from accesspoint.outbound.packing import build_request, build_wire, identity_domain
from accesspoint.store.database import Row
from accesspoint.store.evidence import Wire
from envelope import names
from envelope.names import q
from envelope.pmode import DOMIBUS_LIKE, PRESETS, PMode, TokenForm
from envelope.security_token import TokenReference
from envelope.xmlenc import IV_OCTETS, WrappedKey
from keys.certificate import der

if TYPE_CHECKING:
    from .conftest import Outbound

SIGNED_AT = "2026-11-21T09:30:00.000Z"


async def message(outbound: "Outbound") -> Row:
    return await outbound.row(await outbound.accept())


def build(
    outbound: "Outbound",
    row: Row,
    *,
    mode: PMode = DOMIBUS_LIKE,
    certificate: x509.Certificate | None = None,
) -> Wire:
    endpoint = Endpoint(
        participant=row["final_recipient"],
        document_id=row["document_id"],
        process_id=row["process_id"],
        url="https://127.0.0.1/as4",
        certificate=der(certificate or outbound.pki.clinic.certificate),
        transport_profile="as4",
        expires_at=None,
    )
    return build_wire(
        row,
        mode=mode,
        endpoint=endpoint,
        partner=CLINIC.access_point,
        signed_at=SIGNED_AT,
        identity=outbound.identity,
        payloads=outbound.parts.payloads,
        ids=outbound.parts.ids,
    )


async def octets(outbound: "Outbound", row: Row, wire: Wire) -> tuple[str, bytes]:
    request = build_request(row, wire, outbound.parts.payloads)
    body = b"".join([chunk async for chunk in request.body])
    assert len(body) == request.content_length
    return request.content_type, body


async def test_a_retry_is_the_same_request_octet_for_octet(outbound: "Outbound") -> None:
    row = await message(outbound)
    wire = build(outbound, row)
    first = await octets(outbound, row, wire)
    assert await octets(outbound, row, wire) == first
    arrived = Arrived.read(*first)
    assert arrived.message_id == row["message_id"]
    assert arrived.references == wire.references


async def test_a_new_certificate_keeps_message_id_and_signed_references(
    outbound: "Outbound", pki: Pki
) -> None:
    """Decision D11: what the receiver knows the message by never changes."""
    row = await message(outbound)
    old = build(outbound, row)
    renewed = pki.certify(CLINIC.access_point, serial=815)
    new = build(outbound, row, certificate=renewed.certificate)
    assert new.references == old.references
    assert (new.certificate, new.part_octets) != (old.certificate, old.part_octets)
    assert new.part_octets != old.part_octets
    assert new.soap != old.soap
    assert new.part_content_id == old.part_content_id
    assert Arrived.read(*await octets(outbound, row, new)).message_id == row["message_id"]


async def test_plain_text_stands_nowhere_in_the_request(outbound: "Outbound") -> None:
    row = await message(outbound)
    _, body = await octets(outbound, row, build(outbound, row))
    for plain in (b"2512489996", b"resourceType", b"StandardBusinessDocument"):
        assert plain not in body


@pytest.mark.parametrize(
    ("changes", "compressed", "encrypted"),
    [
        ({}, True, True),
        ({"compress": False}, False, True),
        ({"encrypt": False}, True, False),
        ({"encrypt": False, "compress": False}, False, False),
    ],
)
async def test_the_agreement_says_what_is_compressed_and_encrypted(
    outbound: "Outbound", changes: dict[str, Any], compressed: bool, encrypted: bool
) -> None:
    row = await message(outbound)
    wire = build(outbound, row, mode=replace(DOMIBUS_LIKE, **changes))
    part = wire.part_octets
    assert part is not None
    assert (b"CompressionType" in wire.soap) == compressed
    assert (b"EncryptedKey" in wire.soap) == encrypted
    assert part.startswith(b"\x1f\x8b") == (compressed and not encrypted)
    assert (part == outbound.parts.read(row["payload"])) == (not compressed and not encrypted)
    assert wire.part_bytes == len(part)


@pytest.mark.parametrize("preset", PRESETS)
async def test_the_header_follows_the_agreement(outbound: "Outbound", preset: str) -> None:
    row = await message(outbound)
    mode = PRESETS[preset]
    soap = build(outbound, row, mode=mode).soap.decode()
    assert (mode.agreement is not None) == ("AgreementRef" in soap)
    assert (mode.agreement or "AgreementRef") in soap + "AgreementRef"
    for value in (
        outbound.identity.party,
        CLINIC.access_point,
        row["document_id"],
        row["conversation_id"],
        row["original_sender"],
        row["final_recipient"],
        SIGNED_AT,
    ):
        assert value in soap


async def test_content_ids_are_in_the_domain_of_the_message(outbound: "Outbound") -> None:
    row = await message(outbound)
    assert identity_domain(row) == "sender.example"
    assert build(outbound, row).part_content_id == f"{row['id'].lower()}@sender.example"


@pytest.mark.attack("ENC-10")
async def test_each_packing_draws_its_own_content_key_and_vector(outbound: "Outbound") -> None:
    row = await message(outbound)
    decrypter = outbound.pki.clinic.decrypter()
    keys, vectors = set(), set()
    for _ in range(20):
        wire = build(outbound, row)
        value = next(etree.fromstring(wire.soap).iter(q(names.XENC, "CipherValue")))
        token = TokenReference(TokenForm.KEY_IDENTIFIER)
        oaep = names.RSA_OAEP, names.SHA256, names.MGF1_SHA256
        wrapped = WrappedKey(*oaep, b64decode(value.text), token)
        keys.add(decrypter.unwrap(wrapped))
        assert wire.part_octets is not None
        vectors.add(wire.part_octets[:IV_OCTETS])
    assert (len(keys), len(vectors)) == (20, 20)


@pytest.mark.attack("ENC-10")
@pytest.mark.slow
def test_a_million_keys_and_vectors_are_all_different() -> None:
    ids = SystemIds(SystemClock())
    for octets in (16, 12):
        assert len({ids.token_bytes(octets) for _ in range(1_000_000)}) == 1_000_000
