"""Parts in clear, or a content key that is not for us: refused, and all failures of decryption look alike."""

import re
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from as4_arena import Arena, Verdict
from as4_wire import Tree
from attack_rows import row
from lxml import etree

from envelope import names
from envelope.names import q

MISSING = Verdict("G5", "enc.missing", "EBMS:0103")
REFERENCE = Verdict("G5", "enc.reference", "EBMS:0103")
SCHEMA = Verdict("G5", "enc.schema", "EBMS:0103")
FAILED = Verdict("G7", "enc.failed", "EBMS:0102")


@pytest.mark.attack("ENC-01")
async def test_nothing_encrypted(arena: Arena) -> None:
    twin = arena.author.compose()
    attack = arena.author.compose(message_id=twin.message_id, encrypt=False)
    await arena.refuses(attack, MISSING, twin=twin)


@pytest.mark.attack("ENC-02")
@pytest.mark.parametrize("number", [0, 1, 2])
async def test_one_of_three_parts_in_clear(arena: Arena, number: int) -> None:
    def attack(tree: Tree) -> None:
        for local in ("EncryptedData", "DataReference"):
            found = list(tree.security.iter(q(names.XENC, local)))[number]
            found.getparent().remove(found)

    wire = arena.author.test_message([b"one", b"two", b"three"])
    await arena.refuses(wire.with_tree(attack), MISSING, twin=wire)


@pytest.mark.attack("ENC-03")
async def test_wrong_recipient_key(arena: Arena) -> None:
    twin = arena.author.compose()
    attack = arena.author.compose(
        message_id=twin.message_id, encrypted_for=arena.pki.third.certificate
    )
    await arena.refuses(attack, FAILED, twin=twin)


@pytest.mark.attack("ENC-04")
async def test_key_of_ours_under_the_name_of_another(arena: Arena) -> None:
    """Our key would open it, but the message says that it is for somebody else: keys are never tried."""
    twin = arena.author.compose()
    other = arena.author.compose(encrypted_for=arena.pki.third.certificate)

    def identifier(tree: Tree) -> Any:
        return tree.find(names.WSSE, "KeyIdentifier")

    theirs = identifier(Tree(etree.fromstring(other.soap))).text
    attack = twin.with_tree(lambda tree: identifier(tree).__setattr__("text", theirs))
    await arena.refuses(attack, FAILED, twin=twin)


@pytest.mark.attack("ENC-12")
async def test_wrapped_key_changed(arena: Arena) -> None:
    def attack(tree: Tree) -> None:
        value = tree.find(names.XENC, "CipherValue")
        value.text = ("B" if value.text[0] == "A" else "A") + value.text[1:]

    wire = arena.author.compose()
    await arena.refuses(wire.with_tree(attack), FAILED, twin=wire)


@pytest.mark.attack("ENC-12")
async def test_wrapped_key_of_another_message(arena: Arena) -> None:
    other = Tree(etree.fromstring(arena.author.compose().soap))

    def attack(tree: Tree) -> None:
        tree.find(names.XENC, "CipherValue").text = other.find(names.XENC, "CipherValue").text

    wire = arena.author.compose()
    await arena.refuses(wire.with_tree(attack), FAILED, twin=wire)


@pytest.mark.attack("ENC-12")
@pytest.mark.parametrize("text", ["AAAA", "QUFB" * 200])
async def test_wrapped_key_of_another_length(arena: Arena, text: str) -> None:
    wire = arena.author.compose()
    attack = wire.with_tree(
        lambda tree: tree.find(names.XENC, "CipherValue").__setattr__("text", text)
    )
    await arena.refuses(attack, FAILED, twin=wire)


def second_key(tree: Tree) -> None:
    key = deepcopy(tree.find(names.XENC, "EncryptedKey"))
    key.set("Id", "second")
    tree.security.insert(0, key)


def no_key(tree: Tree) -> None:
    key = tree.find(names.XENC, "EncryptedKey")
    key.getparent().remove(key)


def empty_list(tree: Tree) -> None:
    found = tree.find(names.XENC, "DataReference")
    found.getparent().remove(found)


def other_key(tree: Tree) -> None:
    data = tree.find(names.XENC, "EncryptedData")
    next(data.iter(q(names.WSSE, "Reference"))).set("URI", "#another")


def no_data(tree: Tree) -> None:
    found = tree.find(names.XENC, "EncryptedData")
    found.getparent().remove(found)


def other_part(tree: Tree) -> None:
    tree.find(names.XENC, "CipherReference").set("URI", "cid:absent@hostile.example")


def dangling_list(tree: Tree) -> None:
    tree.find(names.XENC, "DataReference").set("URI", "#absent")


def value_inside(tree: Tree) -> None:
    data = tree.find(names.XENC, "EncryptedData").find(q(names.XENC, "CipherData"))
    data.remove(data[0])
    etree.SubElement(data, q(names.XENC, "CipherValue")).text = "AAAA"


def reference_elsewhere(tree: Tree) -> None:
    tree.find(names.XENC, "CipherReference").set("URI", "http://127.0.0.1:9/cipher")


PLACEMENT = Verdict("G5", "enc.placement", "EBMS:0103")


@pytest.mark.parametrize(
    ("attack", "verdict"),
    [
        row("ENC-05", second_key, SCHEMA),
        (no_key, SCHEMA),
        row("ENC-06", empty_list, REFERENCE),
        row("ENC-06", other_key, REFERENCE),
        row("ENC-07", no_data, REFERENCE),
        row("ENC-07", dangling_list, REFERENCE),
        row("ENC-07", other_part, MISSING),
        (value_inside, PLACEMENT),
        (reference_elsewhere, PLACEMENT),
    ],
)
async def test_header(arena: Arena, attack: Callable[[Tree], None], verdict: Verdict) -> None:
    wire = arena.author.compose()
    await arena.refuses(wire.with_tree(attack), verdict, twin=wire)


@pytest.mark.attack("ENC-12")
async def test_failures_look_alike(arena: Arena) -> None:
    """Wrong key, damaged key and damaged part get answers that differ in ids, times and signature only."""
    wires = [arena.author.compose() for _ in range(3)]
    other = arena.author.compose(
        message_id=wires[0].message_id, encrypted_for=arena.pki.third.certificate
    )
    value = re.compile(rb"<xenc:CipherValue>....")
    attacks = [
        other,
        wires[1].with_soap(lambda soap: value.sub(b"<xenc:CipherValue>AAAA", soap)),
        wires[2].with_part(0, lambda octets: octets[:-1] + bytes([octets[-1] ^ 1])),
    ]
    bodies = [
        (await arena.refuses(attack, FAILED, twin=wire)).body
        for attack, wire in zip(attacks, wires, strict=True)
    ]
    assert len({len(body) for body in bodies}) == 1
    varying = re.compile(
        rb"[0-9a-f]{8}-[0-9a-f-]{27}|\d{4}-\d\d-\d\dT[\d:.]+Z|[A-Za-z0-9+/]{40,}=*"
    )
    assert len({varying.sub(b"", body) for body in bodies}) == 1
