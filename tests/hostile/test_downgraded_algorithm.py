"""An algorithm outside the agreement is refused by name, before any key is touched."""

from collections.abc import Callable
from typing import Any

import pytest
from as4_arena import Arena, Verdict
from as4_wire import Tree
from lxml import etree

from envelope import names
from envelope.names import q

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
        DS + "rsa-sha1",
        DS + "dsa-sha1",
        DS + "hmac-sha1",
        names.HMAC_SHA256,
        MORE + "rsa-md5",
        MORE + "hmac-sha512",
        names.RSA_SHA384,
        names.RSA_SHA512,
        names.ECDSA_SHA256,
        names.EDDSA_ED25519,
        "http://www.w3.org/2007/05/xmldsig-more#sha256-rsa-MGF1",
        names.RSA_SHA256 + " ",
        names.RSA_SHA256.upper(),
        "none",
        "",
    ],
)
async def test_signature_method(arena: Arena, algorithm: str) -> None:
    wire = arena.author.compose()
    attack = wire.with_tree(method("SignatureMethod", algorithm))
    await arena.refuses(attack, refused("signature"), twin=wire)


async def test_truncated_hmac(arena: Arena) -> None:
    def attack(tree: Tree) -> None:
        found = tree.find(DS, "SignatureMethod")
        found.set("Algorithm", names.HMAC_SHA256)
        etree.SubElement(found, q(DS, "HMACOutputLength")).text = "0"

    wire = arena.author.compose()
    await arena.refuses(wire.with_tree(attack), refused("signature"), twin=wire)


@pytest.mark.parametrize("number", [1, 2, 3], ids=["Messaging", "Body", "part"])
@pytest.mark.parametrize(
    "algorithm", [names.SHA1, MORE + "md5", names.SHA512, "urn:example:digest", ""]
)
async def test_digest_method(arena: Arena, algorithm: str, number: int) -> None:
    wire = arena.author.compose()
    # The first DigestMethod of the header is that of the key transport.
    attack = wire.with_tree(method("DigestMethod", algorithm, number=number))
    await arena.refuses(attack, refused("digest"), twin=wire)


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
@pytest.mark.parametrize("number", [1, 3], ids=["Messaging", "part"])
@pytest.mark.parametrize(
    "algorithm",
    [
        names.C14N_10,
        names.EXC_C14N + "WithComments",
        names.ENVELOPED_SIGNATURE,
        names.ATTACHMENT_COMPLETE_SIGNATURE,
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


@pytest.mark.parametrize("attack", [filtered, another_transform, many_transforms, no_transform])
async def test_transforms(arena: Arena, attack: Callable[[Tree], None]) -> None:
    wire = arena.author.compose()
    await arena.refuses(wire.with_tree(attack), refused("transform"), twin=wire)


@pytest.mark.parametrize("prefixes", [" ".join(f"p{n}" for n in range(17)), "#default"])
async def test_prefix_list(arena: Arena, prefixes: str) -> None:
    def attack(tree: Tree) -> None:
        found = next(iter(tree.signature.iter(q(DS, "Transform"))))
        etree.SubElement(found, q(names.EC, "InclusiveNamespaces"), PrefixList=prefixes)

    wire = arena.author.compose()
    await arena.refuses(wire.with_tree(attack), refused("c14n"), twin=wire)


@pytest.mark.parametrize(
    "algorithm",
    [
        names.XENC + "rsa-1_5",
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
