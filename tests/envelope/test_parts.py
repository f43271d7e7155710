"""Parts as they stream: any chunking, every tampering, the rule of what is hashed, and memory that stays small."""

import gzip
import hashlib
import itertools
import tracemalloc
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from envelope import names
from envelope.errors import (
    FailedAuthentication,
    FailedDecryption,
    LocalProtocolError,
    MimeInconsistency,
    ReferenceDigestMismatch,
)
from envelope.limits import DEFAULT_LIMITS
from envelope.names import q
from envelope.parts import PartOpener, PartSealer, verify_parts
from envelope.pmode import EDELIVERY_1_15

KEY, IV = b"K" * 16, b"V" * 12
CLEAR = replace(EDELIVERY_1_15, encryption_required=False)


def cut(data, sizes):
    at = 0
    for size in itertools.cycle(sizes):
        if at >= len(data):
            return
        yield data[at : at + size]
        at += size


def seal(octets, mime_type="application/octet-stream", *, compress=False, key=None, sizes=(1000,)):
    sealer = PartSealer("a@x", key, IV, mime_type=mime_type, compress=compress)
    wire = b"".join(sealer.update(chunk) for chunk in cut(octets, sizes))
    last, sealed = sealer.finish()
    return wire + last, sealed


def receive_one(workshop, octets, mime_type, *, compress=False, encrypt=True, step=4096):
    sent = workshop.send([workshop.payload("a@x", octets, mime_type, compress)], encrypt=encrypt)
    decrypted = workshop.decrypt(sent.data, policy=CLEAR)
    opened, evidence = workshop.open(decrypted, "a@x", sent.parts["a@x"], step)
    return opened, verify_parts(decrypted, [evidence])


@settings(max_examples=40)
@given(
    octets=st.binary(max_size=5000),
    mime_type=st.sampled_from(["application/fhir+json", "text/plain", "image/png"]),
    compress=st.booleans(),
    encrypt=st.booleans(),
    step=st.integers(1, 6000),
)
def test_round_trip(workshop_of, octets, mime_type, compress, encrypt, step):
    opened, verified = receive_one(
        workshop_of, octets, mime_type, compress=compress, encrypt=encrypt, step=step
    )

    assert (gzip.decompress(opened) if compress else opened) == octets
    (part,) = verified.parts
    assert (part.content_id, part.mime_type, part.compressed) == ("a@x", mime_type, compress)
    assert part.signed_octets == len(opened)


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("encrypt", [True, False])
def test_a_part_of_no_octets(workshop, compress, encrypt):
    """ATT-17."""
    opened, verified = receive_one(
        workshop, b"", "application/json", compress=compress, encrypt=encrypt
    )

    assert (gzip.decompress(opened) if compress else opened) == b""
    assert len(verified.parts) == 1


def test_what_the_sealer_tells():
    octets = b"payload " * 1000
    wire, sealed = seal(octets, compress=True, key=KEY)

    assert sealed.wire_bytes == len(wire)
    assert sealed.compressed
    plain, _ = seal(octets, compress=True)
    assert len(wire) == len(plain) + 28
    assert wire.startswith(IV)
    assert sealed.digest == hashlib.sha256(plain).digest()
    assert gzip.decompress(plain) == octets


def test_sealing_again_gives_the_same_digest():
    octets = b"payload " * 100_000

    assert seal(octets, compress=True, key=KEY)[1] == seal(octets, compress=True, key=KEY)[1]
    assert (
        seal(octets, compress=True, key=b"L" * 16)[1].digest
        == seal(octets, compress=True)[1].digest
    )


# What is hashed


@pytest.mark.attack("ATT-16")
@pytest.mark.parametrize("mime_type", ["text/plain", "text/html; charset=utf-8", "TEXT/PLAIN"])
@pytest.mark.parametrize("sizes", [(1,), (2,), (3,), (1000,)])
def test_text_is_hashed_with_crlf_line_ends(mime_type, sizes):
    octets = b"a\nb\r\nc\rd\r\r\n\n\r"
    normal = b"a\r\nb\r\nc\r\nd\r\n\r\n\r\n\r\n"

    wire, sealed = seal(octets, mime_type, sizes=sizes)

    assert wire == octets
    assert sealed.digest == hashlib.sha256(normal).digest()


@given(st.text(st.sampled_from("ab\r\n"), max_size=40), st.lists(st.integers(1, 5), min_size=1))
def test_line_ends_in_any_chunking(text, sizes):
    octets = text.encode()
    lines = text.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n").encode()

    assert seal(octets, "text/plain", sizes=sizes)[1].digest == hashlib.sha256(lines).digest()


XML_TYPES = ["text/xml", "application/xml; charset=utf-8", "application/fhir+xml", "image/svg+xml"]
XML = b'<?xml version="1.0"?>\r\n<!-- c --><a b="2"  a = \'1\'><?p i?><![CDATA[<]]><c/></a>\n'


@pytest.mark.attack("ATT-16")
@pytest.mark.parametrize("mime_type", XML_TYPES)
def test_xml_is_hashed_in_canonical_form(mime_type):
    canonical = b'<a a="1" b="2"><?p i?>&lt;<c></c></a>'

    wire, sealed = seal(XML, mime_type)

    assert wire == XML
    assert sealed.digest == hashlib.sha256(canonical).digest()


@pytest.mark.attack("ATT-16")
@pytest.mark.parametrize(
    "mime_type", [*XML_TYPES, "application/json", "application/xmlish", "image/png"]
)
def test_a_compressed_part_is_hashed_as_it_is(mime_type):
    wire, sealed = seal(XML, mime_type, compress=True)

    assert sealed.digest == hashlib.sha256(wire).digest()


@pytest.mark.parametrize("mime_type", ["application/json", "application/octet-stream", "image/png"])
def test_anything_else_is_hashed_as_it_is(mime_type):
    assert seal(XML, mime_type)[1].digest == hashlib.sha256(XML).digest()


@pytest.mark.attack("ATT-16")
@pytest.mark.parametrize("encrypt", [True, False])
@pytest.mark.parametrize("mime_type", [*XML_TYPES, "text/plain"])
def test_uncompressed_text_and_xml_arrive_as_sent(workshop, mime_type, encrypt):
    """ATT-16: both sides follow one rule, and the consumer gets the octets, not the canonical form."""
    opened, _ = receive_one(workshop, XML, mime_type, encrypt=encrypt)

    assert opened == XML


@pytest.mark.attack("ATT-16")
def test_the_type_before_encryption_decides(workshop):
    """WSS4J hashes by EncryptedData/@MimeType; the header says so where it says anything."""
    sent = workshop.send([workshop.payload("a@x", XML, "application/json", False)])

    def typed(value):
        def change(root):
            next(root.iter(q(names.XENC, "EncryptedData"))).set("MimeType", value)

        return workshop.edit(sent.data, change)

    workshop.open(workshop.decrypt(typed("image/png")), "a@x", sent.parts["a@x"])
    with pytest.raises(ReferenceDigestMismatch):
        workshop.open(workshop.decrypt(typed("text/xml")), "a@x", sent.parts["a@x"])


def test_without_the_type_before_encryption_the_signed_property_decides(workshop):
    sent = workshop.send([workshop.payload("a@x", XML, "text/xml", False)])

    def untyped(root):
        del next(root.iter(q(names.XENC, "EncryptedData"))).attrib["MimeType"]

    workshop.open(workshop.decrypt(workshop.edit(sent.data, untyped)), "a@x", sent.parts["a@x"])


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"<a>",
        b"<a/><b/>",
        b"not xml",
        b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>',
        b"<a>" * 300 + b"</a>" * 300,
        b"<a " + b" ".join(b'a%d=""' % number for number in range(300)) + b"/>",
        '<?xml version="1.0" encoding="utf-16"?><a/>'.encode("utf-16"),
    ],
)
def test_an_xml_part_without_canonical_form_is_refused(workshop, octets):
    sent = workshop.send([workshop.payload("a@x", octets, "application/json", False)])

    def typed(root):
        next(root.iter(q(names.XENC, "EncryptedData"))).set("MimeType", "application/xml")

    decrypted = workshop.decrypt(workshop.edit(sent.data, typed))
    with pytest.raises(FailedAuthentication) as refused:
        workshop.open(decrypted, "a@x", sent.parts["a@x"])
    assert (refused.value.gate, refused.value.reason) == ("G8", "att.xml")
    with pytest.raises(LocalProtocolError):
        seal(octets, "application/xml")


def test_an_xml_part_is_never_held_beyond_the_limit(workshop):
    limits = replace(DEFAULT_LIMITS, xml_part_bytes=100)
    octets = b"<a>" + b"x" * 93 + b"</a>"
    assert len(octets) == 100
    for size, accepted in ((octets, True), (octets.replace(b"xx", b"xxx", 1), False)):
        sent = workshop.send([workshop.payload("a@x", size, "text/xml", False)])
        opener = PartOpener(workshop.decrypt(sent.data), "a@x", limits=limits)
        sealer = PartSealer("a@x", None, IV, mime_type="text/xml", compress=False, limits=limits)
        if accepted:
            opener.update(sent.parts["a@x"])
            opener.finish()
            sealer.update(size)
            sealer.finish()
        else:
            with pytest.raises(FailedAuthentication) as refused:
                opener.update(sent.parts["a@x"])
            assert refused.value.reason == "att.size"
            with pytest.raises(LocalProtocolError):
                sealer.update(size)


# Tampering


@pytest.mark.parametrize("where", [0, 12, 0.5, -17, -1])
def test_a_changed_octet_of_an_encrypted_part(workshop, where):
    """ATT-01 and ENC-11."""
    sent = workshop.send()
    decrypted = workshop.decrypt(sent.data)
    for content_id, wire in sent.parts.items():
        damaged = bytearray(wire)
        damaged[int(len(wire) * where) if where == 0.5 else where] ^= 0x10

        with pytest.raises(FailedDecryption) as refused:
            workshop.open(decrypted, content_id, bytes(damaged))
        assert (refused.value.gate, refused.value.reason) == ("G7", "enc.failed")


@pytest.mark.parametrize("where", [0, 0.5, -1])
def test_a_changed_octet_of_a_part_in_clear(workshop, where):
    sent = workshop.send(encrypt=False)
    decrypted = workshop.decrypt(sent.data, policy=CLEAR)
    for content_id, wire in sent.parts.items():
        damaged = bytearray(wire)
        damaged[int(len(wire) * where) if where == 0.5 else where] ^= 0x10

        with pytest.raises(ReferenceDigestMismatch) as refused:
            workshop.open(decrypted, content_id, bytes(damaged))
        assert (refused.value.gate, refused.value.reason) == ("G8", "att.digest")


@pytest.mark.parametrize("encrypt", [True, False])
def test_swapped_bodies(workshop, encrypt):
    """ATT-02 and ATT-03: each decrypts with the shared key, neither is the signed one."""
    sent = workshop.send(encrypt=encrypt)
    decrypted = workshop.decrypt(sent.data, policy=CLEAR)
    first, second = sent.parts

    with pytest.raises(ReferenceDigestMismatch):
        workshop.open(decrypted, first, sent.parts[second])
    with pytest.raises(ReferenceDigestMismatch):
        workshop.open(decrypted, second, sent.parts[first])


@pytest.mark.parametrize("length", [0, 5, 12, 27])
def test_a_part_cut_short(workshop, length):
    sent = workshop.send()
    content_id, wire = next(iter(sent.parts.items()))

    with pytest.raises(FailedDecryption):
        workshop.open(workshop.decrypt(sent.data), content_id, wire[:length])


def test_failures_of_decryption_look_alike(workshop):
    """ENC-12: no text tells a short part from a bad tag."""
    sent = workshop.send()
    content_id, wire = next(iter(sent.parts.items()))
    texts = set()
    for damaged in (b"", wire[:20], wire[:-1], wire[:-1] + bytes([wire[-1] ^ 1]), wire + b"\0"):
        with pytest.raises(FailedDecryption) as refused:
            workshop.open(workshop.decrypt(sent.data), content_id, damaged)
        texts.add(str(refused.value))

    assert texts == {"G7 enc.failed: a part does not decrypt"}


# The set of parts


@pytest.mark.parametrize(
    "content_id",
    [
        "other@x",
        "",
        "MESSAGE-1@alpha.example",
        "message-1@alpha.example ",
        "message-1%40alpha.example",
    ],
)
def test_a_part_that_is_not_listed(workshop, content_id):
    """ATT-05 and ATT-08."""
    decrypted = workshop.decrypt(workshop.send().data)

    with pytest.raises(MimeInconsistency) as refused:
        PartOpener(decrypted, content_id)
    assert (refused.value.gate, refused.value.reason) == ("G8", "att.unlisted")


def test_parts_in_any_order(workshop):
    """ATT-04: the order on the wire is free, the evidence has the header's."""
    sent = workshop.send()
    decrypted = workshop.decrypt(sent.data)
    evidences = [workshop.open(decrypted, *part)[1] for part in reversed(sent.parts.items())]

    verified = verify_parts(decrypted, evidences)

    assert [part.content_id for part in verified.parts] == list(sent.parts)


def test_a_missing_part(workshop):
    """ATT-06."""
    sent = workshop.send()
    decrypted = workshop.decrypt(sent.data)
    evidences = [workshop.open(decrypted, *part)[1] for part in sent.parts.items()]

    for some in ([], evidences[:1], evidences[1:]):
        with pytest.raises(MimeInconsistency) as refused:
            verify_parts(decrypted, some)
        assert refused.value.reason == "att.missing"


def test_a_part_twice(workshop):
    """ATT-07."""
    sent = workshop.send()
    decrypted = workshop.decrypt(sent.data)
    evidences = [workshop.open(decrypted, *part)[1] for part in sent.parts.items()]

    with pytest.raises(MimeInconsistency) as refused:
        verify_parts(decrypted, [*evidences, evidences[0]])
    assert refused.value.reason == "att.duplicate"


def test_evidence_of_another_message(workshop):
    sent = workshop.send()
    other = workshop.decrypt(sent.data)
    evidences = [workshop.open(other, *part)[1] for part in sent.parts.items()]

    with pytest.raises(LocalProtocolError):
        verify_parts(workshop.decrypt(sent.data), evidences)


def test_finished_is_finished(workshop):
    sent = workshop.send()
    content_id, wire = next(iter(sent.parts.items()))
    opener = PartOpener(workshop.decrypt(sent.data), content_id)
    opener.update(wire)
    opener.finish()
    sealer = PartSealer("a@x", KEY, IV, mime_type="text/plain", compress=True)
    sealer.finish()

    for again in (
        opener.finish,
        sealer.finish,
        lambda: opener.update(b""),
        lambda: sealer.update(b""),
    ):
        with pytest.raises(LocalProtocolError):
            again()


def test_no_evidence_after_a_failure(workshop):
    sent = workshop.send()
    content_id, wire = next(iter(sent.parts.items()))
    opener = PartOpener(workshop.decrypt(sent.data), content_id)
    opener.update(wire[:-1])

    for error in (FailedDecryption, LocalProtocolError):
        with pytest.raises(error):
            opener.finish()


def test_the_part_is_never_held_whole(workshop):
    """8 MiB through sealer and opener; the heap grows by some chunks of 64 KiB only."""
    chunk = bytes(range(256)) * 256
    sealer = PartSealer("a@x", KEY, IV, mime_type="application/pdf", compress=False)
    sent = workshop.send([workshop.payload("a@x", b"", "application/pdf", False)])
    opener = PartOpener(workshop.decrypt(sent.data), "a@x")

    tracemalloc.start()
    try:
        for _ in range(128):
            opener.update(sealer.update(chunk))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 1024 * 1024
    with pytest.raises(FailedDecryption):
        opener.finish()


def test_the_rule_agrees_with_lxml():
    root = etree.fromstring(XML)

    assert (
        seal(XML, "text/xml")[1].digest
        == hashlib.sha256(
            etree.tostring(root, method="c14n", exclusive=True, with_comments=False)
        ).digest()
    )
