"""An algorithm outside the agreement is refused by name, before any key is touched."""

import base64
import hmac
from collections.abc import Callable
from typing import Any

import pytest
from as4_arena import Arena, Verdict
from as4_wire import Tree
from attack_rows import row
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from lxml import etree

from envelope import names
from envelope.names import q
from envelope.xml import canonicalize

DS = names.DS
MORE = "http://www.w3.org/2001/04/xmldsig-more#"
XPATH = "http://www.w3.org/TR/1999/REC-xpath-19991116"
XSLT = "http://www.w3.org/TR/1999/REC-xslt-19991116"
STR_TRANSFORM = (
    "http://docs.oasis-open.org/wss/2004/01/"
    "oasis-200401-wss-soap-message-security-1.0#STR-Transform"
)


def refused(reason: str) -> Verdict:
    return Verdict("G5", f"alg.{reason}", "EBMS:0103")


def method(local: str, algorithm: str, *, namespace: str = DS, number: int = 0) -> Any:
    def attack(tree: Tree) -> None:
        found = list(tree.security.iter(q(namespace, local)))[number]
        found.set("Algorithm", algorithm)

    return attack


@pytest.mark.parametrize(
    "algorithm",
    [
        row("ALG-01", DS + "rsa-sha1"),
        row("ALG-04", DS + "dsa-sha1"),
        row("ALG-04", "http://www.w3.org/2009/xmldsig11#dsa-sha256"),
        row("ALG-05", DS + "hmac-sha1"),
        row("ALG-05", names.HMAC_SHA256),
        row("ALG-03", MORE + "rsa-md5"),
        row("ALG-05", MORE + "hmac-sha512"),
        names.RSA_SHA384,
        names.RSA_SHA512,
        names.ECDSA_SHA256,
        names.EDDSA_ED25519,
        row("ALG-17", "http://www.w3.org/2007/05/xmldsig-more#rsa-pss"),
        row("ALG-17", "http://www.w3.org/2007/05/xmldsig-more#sha256-rsa-MGF1"),
        row("ALG-17", "http://www.w3.org/2007/05/xmldsig-more#sha1-rsa-MGF1"),
        row("ALG-07", names.RSA_SHA256 + " "),
        row("ALG-07", names.RSA_SHA256.upper()),
        row("ALG-07", "none"),
        row("ALG-07", ""),
    ],
)
async def test_signature_method(arena: Arena, algorithm: str) -> None:
    wire = arena.author.compose()
    attack = wire.with_tree(method("SignatureMethod", algorithm))
    await arena.refuses(attack, refused("signature"), twin=wire)


@pytest.mark.attack("ALG-05")
@pytest.mark.parametrize("secret", ["certificate", "public key"])
async def test_hmac_keyed_with_what_everybody_knows(arena: Arena, secret: str) -> None:
    """A value that verifies, if only somebody would take our certificate's octets for a shared secret."""
    certificate = arena.pki.municipality.certificate
    key = (
        certificate.public_bytes(Encoding.DER)
        if secret == "certificate"
        else certificate.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )

    def attack(tree: Tree) -> None:
        tree.find(DS, "SignatureMethod").set("Algorithm", names.HMAC_SHA256)
        value = hmac.digest(key, canonicalize(tree.find(DS, "SignedInfo")), "sha256")
        tree.find(DS, "SignatureValue").text = base64.b64encode(value).decode()

    wire = arena.author.compose()
    await arena.refuses(wire.with_tree(attack), refused("signature"), twin=wire)


@pytest.mark.attack("ALG-06")
async def test_truncated_hmac(arena: Arena) -> None:
    def attack(tree: Tree) -> None:
        found = tree.find(DS, "SignatureMethod")
        found.set("Algorithm", names.HMAC_SHA256)
        etree.SubElement(found, q(DS, "HMACOutputLength")).text = "0"

    wire = arena.author.compose()
    await arena.refuses(wire.with_tree(attack), refused("signature"), twin=wire)


@pytest.mark.parametrize("number", [1, 2, 3], ids=["Messaging", "Body", "part"])
@pytest.mark.parametrize(
    "algorithm",
    [
        row("ALG-02", names.SHA1),
        row("ALG-03", MORE + "md5"),
        names.SHA512,
        row("ALG-07", "urn:example:digest"),
        row("ALG-07", ""),
    ],
)
async def test_digest_method(arena: Arena, algorithm: str, number: int) -> None:
    wire = arena.author.compose()
    # The first DigestMethod of the header is that of the key transport.
    attack = wire.with_tree(method("DigestMethod", algorithm, number=number))
    await arena.refuses(attack, refused("digest"), twin=wire)


@pytest.mark.attack("ALG-13")
@pytest.mark.parametrize(
    "algorithm",
    [
        names.C14N_10,
        names.C14N_10 + "#WithComments",
        names.C14N_11,
        names.EXC_C14N + "WithComments",
        "urn:example:c14n",
        "",
    ],
)
async def test_canonicalization_method(arena: Arena, algorithm: str) -> None:
    wire = arena.author.compose()
    attack = wire.with_tree(method("CanonicalizationMethod", algorithm))
    await arena.refuses(attack, refused("c14n"), twin=wire)


# The first Transform of the header is that of the cipher text.
@pytest.mark.attack("ALG-14")
@pytest.mark.parametrize("number", [1, 3], ids=["Messaging", "part"])
@pytest.mark.parametrize(
    "algorithm",
    [
        names.C14N_10,
        names.EXC_C14N + "WithComments",
        names.ENVELOPED_SIGNATURE,
        row("ATT-12", names.ATTACHMENT_COMPLETE_SIGNATURE),
        names.ATTACHMENT_CIPHERTEXT,
        DS + "base64",
        XPATH,
        XSLT,
        STR_TRANSFORM,
        "urn:example:transform",
        "",
    ],
)
async def test_transform(arena: Arena, algorithm: str, number: int) -> None:
    wire = arena.author.compose()
    attack = wire.with_tree(method("Transform", algorithm, number=number))
    await arena.refuses(attack, refused("transform"), twin=wire)


def filtered(tree: Tree) -> None:
    found = next(iter(tree.signature.iter(q(DS, "Transform"))))
    found.set("Algorithm", XPATH)
    etree.SubElement(found, q(DS, "XPath")).text = "not(ancestor-or-self::*)"


def another_transform(tree: Tree) -> None:
    found = tree.find(DS, "Reference").find(q(DS, "Transforms"))
    etree.SubElement(found, q(DS, "Transform"), Algorithm=names.EXC_C14N)


def many_transforms(tree: Tree) -> None:
    for _ in range(5):
        another_transform(tree)


def no_transform(tree: Tree) -> None:
    found = tree.find(DS, "Reference")
    found.remove(found.find(q(DS, "Transforms")))


@pytest.mark.parametrize(
    "attack",
    [
        row("ALG-14", filtered),
        row("ALG-15", another_transform),
        row("ALG-15", many_transforms),
        row("ALG-14", no_transform),
    ],
)
async def test_transforms(arena: Arena, attack: Callable[[Tree], None]) -> None:
    wire = arena.author.compose()
    await arena.refuses(wire.with_tree(attack), refused("transform"), twin=wire)


@pytest.mark.parametrize(
    "prefixes", [row("ALG-16", " ".join(f"p{n}" for n in range(17))), "#default"]
)
async def test_prefix_list(arena: Arena, prefixes: str) -> None:
    def attack(tree: Tree) -> None:
        found = next(iter(tree.signature.iter(q(DS, "Transform"))))
        etree.SubElement(found, q(names.EC, "InclusiveNamespaces"), PrefixList=prefixes)

    wire = arena.author.compose()
    await arena.refuses(wire.with_tree(attack), refused("c14n"), twin=wire)


@pytest.mark.parametrize(
    "algorithm",
    [
        row("ALG-10", names.XENC + "rsa-1_5"),
        names.RSA_OAEP_MGF1P,
        names.KW_AES128,
        "urn:example:transport",
        "",
    ],
)
async def test_key_transport(arena: Arena, algorithm: str) -> None:
    wire = arena.author.compose()
    attack = wire.with_tree(method("EncryptionMethod", algorithm, namespace=names.XENC))
    await arena.refuses(attack, refused("transport"), twin=wire)


@pytest.mark.attack("ALG-12")
@pytest.mark.parametrize(
    ("local", "namespace", "algorithm"),
    [
        ("DigestMethod", DS, names.SHA1),
        ("DigestMethod", DS, "urn:example:digest"),
        ("MGF", names.XENC11, names.MGF1_SHA1),
        ("MGF", names.XENC11, "urn:example:mgf"),
    ],
)
async def test_oaep_parameters(arena: Arena, local: str, namespace: str, algorithm: str) -> None:
    wire = arena.author.compose()
    attack = wire.with_tree(method(local, algorithm, namespace=namespace))
    await arena.refuses(attack, refused("oaep"), twin=wire)


@pytest.mark.attack("ALG-11")
@pytest.mark.parametrize(
    "algorithm",
    [
        names.XENC + "aes128-cbc",
        names.XENC + "aes256-cbc",
        names.XENC + "tripledes-cbc",
        names.XENC11 + "aes256-gcm",
        "urn:example:cipher",
        "",
    ],
)
async def test_content_encryption(arena: Arena, algorithm: str) -> None:
    wire = arena.author.compose()
    attack = wire.with_tree(method("EncryptionMethod", algorithm, namespace=names.XENC, number=1))
    await arena.refuses(attack, refused("encryption"), twin=wire)
