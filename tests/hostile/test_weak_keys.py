"""A certificate whose key is too weak, too costly, malformed, or of another type than the signature says."""

import base64
from typing import Any

import pytest
from as4_arena import Arena, Verdict
from as4_wire import Author, Tree, Wire
from asn1crypto import x509 as asn1
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from envelope import names

KEY = Verdict("G5", "alg.key", "EBMS:0103")


def rewritten(arena: Arena, **numbers: int) -> bytes:
    """The sender's certificate with other numbers in its key; its signature is never looked at."""
    octets = arena.pki.municipality.certificate.public_bytes(Encoding.DER)
    certificate = asn1.Certificate.load(octets)
    info = certificate["tbs_certificate"]["subject_public_key_info"]
    key = info["public_key"].parsed
    for name, number in numbers.items():
        key[name] = number
    info["public_key"] = asn1.PublicKeyInfo.wrap(key, "rsa")["public_key"]
    return bytes(certificate.dump(force=True))


def with_token(wire: Wire, certificate: bytes) -> Wire:
    def attack(tree: Tree) -> None:
        token = tree.find(names.WSSE, "BinarySecurityToken")
        token.text = base64.b64encode(certificate).decode()

    return wire.with_tree(attack)


@pytest.mark.attack("ALG-09")
@pytest.mark.parametrize(
    "numbers",
    [
        {"public_exponent": 1},
        {"public_exponent": 2},
        {"public_exponent": 65536},
        {"public_exponent": (1 << 64) + 1},
        {"modulus": (1 << 16383) + 1},
        {"modulus": (1 << 8192) + 1},
        {"modulus": (1 << 511) + 1},
        {"modulus": 0},
    ],
    ids=["e=1", "e=2", "e even", "e of 65 bits", "16384 bits", "8193 bits", "512 bits", "n=0"],
)
async def test_numbers_of_an_rsa_key(arena: Arena, numbers: dict[str, int]) -> None:
    """Refused by their look: nothing is computed with such a key."""
    wire = arena.author.compose()
    await arena.refuses(with_token(wire, rewritten(arena, **numbers)), KEY, twin=wire)


@pytest.mark.attack("ALG-09")
async def test_rsa_of_1024_bits_that_an_authority_certified(arena: Arena) -> None:
    """The signature is good and the path is trusted; the key is too small all the same."""
    weak: Any = rsa.generate_private_key(65537, 1024)
    issued = arena.pki.certify("weak", private_key=weak)
    wire = arena.author.compose()
    author = Author(issued.signer(), arena.node.certificate)
    await arena.refuses(author.compose(message_id=wire.message_id), KEY, twin=wire)
