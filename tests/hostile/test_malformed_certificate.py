"""Certificates that parse and break later: names, versions and extensions are read lazily, and a stranger chose them."""

import base64
from collections.abc import Callable

import pytest
from as4_arena import Arena, Verdict
from as4_peer import Answers, HttpAnswer
from as4_stage import Pki
from as4_wire import Tree
from lxml import etree

from envelope import names
from envelope.errors import SmpRefused
from envelope.seal import sign_service_metadata, verify_service_metadata
from keys.certificate import der

REFUSED = Verdict("G5", "cert.parse", "EBMS:0101")


def of_version_5(octets: bytes) -> bytes:
    return octets.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x04", 1)


def bit_string_as_name(octets: bytes) -> bytes:
    """The common name of the issuer, which stands first, becomes a bit string."""
    return octets.replace(b"\x06\x03\x55\x04\x03\x0c", b"\x06\x03\x55\x04\x03\x03", 1)


def broken_name(octets: bytes) -> bytes:
    return octets.replace(b"\x06\x03\x55\x04\x03\x0c", b"\x06\x03\x55\x04\x03\x30", 2)


def extension_twice(octets: bytes) -> bytes:
    """The key usage gets the identifier of the basic constraints."""
    return octets.replace(b"\x06\x03\x55\x1d\x0e", b"\x06\x03\x55\x1d\x0f")


DAMAGES = [of_version_5, bit_string_as_name, broken_name, extension_twice]


@pytest.mark.parametrize("damage", DAMAGES)
async def test_message_with_a_malformed_certificate(
    arena: Arena, damage: Callable[[bytes], bytes]
) -> None:
    octets = damage(der(arena.pki.municipality.certificate))
    assert octets != der(arena.pki.municipality.certificate)
    wire = arena.author.compose()

    def replace_token(tree: Tree) -> None:
        token = tree.find(names.WSSE, "BinarySecurityToken")
        token.text = base64.b64encode(octets).decode()

    await arena.refuses(wire.with_tree(replace_token), REFUSED, twin=wire)


@pytest.mark.parametrize("damage", DAMAGES)
async def test_receipt_with_a_malformed_certificate(
    arena: Arena, damage: Callable[[bytes], bytes]
) -> None:
    """Receipts come to the same door, and the name in the certificate chooses whose rules they are held to."""
    await arena.accepts(arena.author.compose())
    arrived = arena.municipality.arrived[-1]
    true = der(arena.pki.municipality.certificate)
    receipt = Answers(arena.pki.municipality.signer()).receipt(arrived)
    hostile = receipt.replace(base64.b64encode(true), base64.b64encode(damage(true)))
    assert hostile != receipt

    async def attack() -> HttpAnswer:
        return await arena.client.post_octets(
            hostile, {"Content-Type": "application/soap+xml; charset=UTF-8"}
        )

    await arena.refuses(attack, REFUSED, twin=arena.author.compose())


@pytest.mark.parametrize("damage", DAMAGES)
def test_publisher_names_a_malformed_certificate(
    pki: Pki, damage: Callable[[bytes], bytes]
) -> None:
    """What signs an answer of a publisher is not trusted yet when its certificate is read."""
    sealed = sign_service_metadata(
        etree.fromstring("<SignedServiceMetadata/>"),
        key=pki.spare_key,
        certificate=pki.certify("smp", private_key=pki.spare_key).certificate,
    )
    root = etree.fromstring(sealed)
    named = next(root.iter(names.q(names.DS, "X509Certificate")))
    named.text = base64.b64encode(damage(base64.b64decode(named.text))).decode()
    with pytest.raises(SmpRefused, match=r"smp\.signature"):
        verify_service_metadata(etree.tostring(root), check=lambda *_: None)
