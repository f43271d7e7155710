"""Encryption: the header as written and as refused, the cipher stream in any chunking, every bit flipped."""

import base64
import itertools

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from envelope import names
from envelope.errors import FailedDecryption, LocalProtocolError, PolicyNoncompliance
from envelope.names import q
from envelope.pmode import EDELIVERY_1_15, Quirk, TokenForm
from envelope.security_token import write_binary_security_token, write_token_reference
from envelope.xmlenc import (
    GcmDecryption,
    GcmEncryption,
    content_id_of,
    read_encryption,
    wrap_content_key,
    write_encrypted_data,
    write_encrypted_key,
)

KEY = b"0123456789abcdef"
IV = b"abcdefghijkl"
XENC, DS = names.XENC, names.DS


def pieces(data, cuts):
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


def decrypt(wire, cuts=()):
    decryption = GcmDecryption(KEY)
    plain = b"".join(decryption.update(piece) for piece in pieces(wire, cuts))
    decryption.finish()
    return plain


@given(st.binary(max_size=300), st.lists(st.integers(0, 400), max_size=8))
def test_any_chunking_gives_the_same_octets(plain, cuts):
    encryption = GcmEncryption(KEY, IV)
    wire = b"".join(encryption.update(piece) for piece in pieces(plain, cuts))
    wire += encryption.finish()

    assert wire == IV + AESGCM(KEY).encrypt(IV, plain, None)
    assert decrypt(wire, cuts) == plain


def test_nothing_and_one_octet_at_a_time():
    wire = IV + AESGCM(KEY).encrypt(IV, b"", None)

    assert decrypt(wire, range(len(wire))) == b""
    assert GcmEncryption(KEY, IV).finish() == wire


def test_a_view_of_a_buffer_is_enough():
    decryption = GcmDecryption(KEY)
    wire = IV + AESGCM(KEY).encrypt(IV, b"plain", None)

    assert decryption.update(memoryview(wire)) == b"plain"
    decryption.finish()


@pytest.mark.attack("ENC-11")
def test_every_flipped_bit_is_refused():
    wire = IV + AESGCM(KEY).encrypt(IV, b"a small part", None)

    assert decrypt(wire) == b"a small part"
    for at in range(len(wire) * 8):
        damaged = bytearray(wire)
        damaged[at // 8] ^= 1 << at % 8
        with pytest.raises(FailedDecryption) as refused:
            decrypt(bytes(damaged))
        assert (refused.value.gate, refused.value.reason) == ("G7", "enc.failed")


@pytest.mark.attack("ENC-08", "ENC-09")
@pytest.mark.parametrize("length", [0, 1, 11, 12, 13, 16, 20, 24, 27])
def test_a_part_without_a_whole_tag_is_refused(length):
    """ENC-08: a tag of 12, 8, 4, 1 or 0 octets is no tag."""
    wire = IV + AESGCM(KEY).encrypt(IV, b"", None)

    with pytest.raises(FailedDecryption):
        decrypt(wire[:length])


@pytest.mark.attack("ENC-08")
@pytest.mark.parametrize("cut", [1, 4, 8, 12, 16])
def test_a_truncated_tag_is_refused(cut):
    wire = IV + AESGCM(KEY).encrypt(IV, b"plain text", None)

    with pytest.raises(FailedDecryption):
        decrypt(wire[:-cut])


@pytest.mark.parametrize(
    ("key", "iv"), [(b"k" * 15, IV), (b"k" * 32, IV), (KEY, b""), (KEY, b"7" * 7)]
)
def test_other_key_and_vector_lengths_are_not_sent(key, iv):
    with pytest.raises(LocalProtocolError):
        GcmEncryption(key, iv)


# The header


def header(people, form=TokenForm.KEY_IDENTIFIER, cids=("cid:a@x", "cid:b@x")):
    """A Security element with our own encryption in it."""
    certificate = people.receiver.certificate
    data_ids = [f"ED-{number}" for number, _ in enumerate(cids)]
    xml = (
        f'<wsse:Security xmlns:wsse="{names.WSSE}" xmlns:wsu="{names.WSU}" xmlns:ds="{DS}" xmlns:xenc="{XENC}">'
        + write_binary_security_token(form, certificate, (), token_id="T")
        + write_encrypted_key(
            wrap_content_key(KEY, certificate),
            write_token_reference(form, certificate, token_id="T"),
            data_ids,
            key_id="EK",
        )
        + "".join(
            write_encrypted_data(cid, "application/gzip", data_id=data_id, key_id="EK")
            for cid, data_id in zip(cids, data_ids, strict=True)
        )
        + "</wsse:Security>"
    )
    return etree.fromstring(xml)


def read(security, policy=EDELIVERY_1_15):
    ids = {each.get("Id"): each for each in security.iter() if each.get("Id")}
    wsu_id = q(names.WSU, "Id")
    tokens = {each.get(wsu_id): each for each in security if each.get(wsu_id)}
    return read_encryption(
        security.findall(q(XENC, "EncryptedKey")),
        security.findall(q(XENC, "EncryptedData")),
        ids=ids,
        tokens=tokens,
        policy=policy,
    )


@pytest.mark.parametrize("form", list(TokenForm))
def test_what_is_written_is_read(people, form):
    encryption = read(header(people, form))

    wrapped = encryption.wrapped_key
    assert wrapped.token.kind is form
    assert wrapped.token.matches(people.receiver.certificate)
    assert (wrapped.algorithm, wrapped.digest_algorithm, wrapped.mgf_algorithm) == (
        names.RSA_OAEP,
        names.SHA256,
        names.MGF1_SHA256,
    )
    assert people.receiver.unwrap(wrapped) == KEY
    assert list(encryption.parts) == ["a@x", "b@x"]
    assert encryption.parts["a@x"].mime_type == "application/gzip"


def test_no_encryption_is_none():
    assert read_encryption([], [], ids={}, tokens={}, policy=EDELIVERY_1_15) is None


def test_data_references_may_come_in_another_order(people):
    security = header(people)
    listed = security[0][3]
    listed.append(listed[0])

    assert len(read(security).parts) == 2


def test_key_info_of_encrypted_data_may_be_absent(people):
    """Flame and Holodeck leave it out."""
    security = header(people)
    for data in security.findall(q(XENC, "EncryptedData")):
        data.remove(data[1])

    assert len(read(security).parts) == 2


def tag(path):
    return "/".join(
        q(XENC, step) if ":" not in step else q(DS, step[3:]) for step in path.split("/")
    )


def at(path, change):
    return lambda security: change(security.find(tag(path)))


def setting(path, name, value):
    return at(path, lambda element: element.set(name, value))


def drop(path):
    return at(path, lambda element: element.getparent().remove(element))


def twice(path):
    return at(path, lambda element: element.addnext(etree.fromstring(etree.tostring(element))))


def renamed(path, name):
    return at(path, lambda element: setattr(element, "tag", name))


def cipher_value(security):
    data = security.find(tag("EncryptedData/CipherData"))
    data[0].tag = q(XENC, "CipherValue")


def same_part(security):
    for reference in security.iter(q(XENC, "CipherReference")):
        reference.set("URI", "cid:a@x")


def text_of(path, text):
    return at(path, lambda element: setattr(element, "text", text))


def key_info_to(uri):
    def change(security):
        security.find(
            f"{tag('EncryptedData/ds:KeyInfo')}/{q(names.WSSE, 'SecurityTokenReference')}/{q(names.WSSE, 'Reference')}"
        ).set("URI", uri)

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (twice("EncryptedKey"), "enc.schema"),
        (
            renamed("EncryptedKey/ReferenceList/DataReference", q(XENC, "KeyReference")),
            "enc.schema",
        ),
        (renamed("EncryptedData/CipherData", q(XENC, "EncryptionProperties")), "enc.schema"),
        (
            at("EncryptedData/ds:KeyInfo", lambda info: setattr(info[0], "tag", q(DS, "KeyName"))),
            "enc.schema",
        ),
        (at("EncryptedData/ds:KeyInfo", lambda info: info[0].remove(info[0][0])), "enc.reference"),
        (drop("EncryptedKey"), "enc.schema"),
        (drop("EncryptedKey/ReferenceList"), "enc.schema"),
        (drop("EncryptedKey/ds:KeyInfo"), "enc.schema"),
        (drop("EncryptedKey/CipherData/CipherValue"), "enc.schema"),
        (text_of("EncryptedKey/CipherData/CipherValue", "no!"), "enc.schema"),
        (
            at(
                "EncryptedKey/ds:KeyInfo",
                lambda info: info.append(etree.fromstring(etree.tostring(info[0]))),
            ),
            "enc.schema",
        ),
        (at("EncryptedKey/ds:KeyInfo", lambda info: info.remove(info[0])), "key.reference"),
        (drop("EncryptedKey/ReferenceList/DataReference"), "enc.reference"),
        (twice("EncryptedKey/ReferenceList/DataReference"), "enc.reference"),
        (setting("EncryptedKey/ReferenceList/DataReference", "URI", "#EK"), "enc.reference"),
        (setting("EncryptedKey/ReferenceList/DataReference", "URI", "#absent"), "enc.reference"),
        (setting("EncryptedKey/ReferenceList/DataReference", "URI", "ED-0"), "enc.reference"),
        (drop("EncryptedData"), "enc.reference"),
        (key_info_to("#ED-1"), "enc.reference"),
        (key_info_to("urn:x"), "enc.reference"),
        (same_part, "enc.schema"),
        (setting("EncryptedData", "Type", XENC + "Content"), "enc.placement"),
        (setting("EncryptedData", "Type", XENC + "Element"), "enc.placement"),
        (
            setting(
                "EncryptedData",
                "Type",
                names.ATTACHMENT_CONTENT_ONLY.replace("Content-Only", "Complete"),
            ),
            "enc.placement",
        ),
        (cipher_value, "enc.placement"),
        (
            setting("EncryptedData/CipherData/CipherReference", "URI", "http://example.org/"),
            "enc.placement",
        ),
        (setting("EncryptedData/CipherData/CipherReference", "URI", "#body"), "enc.placement"),
        (drop("EncryptedData/CipherData/CipherReference/Transforms"), "enc.schema"),
        (twice("EncryptedData/CipherData/CipherReference/Transforms/ds:Transform"), "enc.schema"),
        (
            setting(
                "EncryptedData/CipherData/CipherReference/Transforms/ds:Transform",
                "Algorithm",
                "urn:x",
            ),
            "alg.transform",
        ),
        (
            setting("EncryptedData/EncryptionMethod", "Algorithm", XENC + "aes128-cbc"),
            "alg.encryption",
        ),
        (
            setting("EncryptedData/EncryptionMethod", "Algorithm", XENC + "tripledes-cbc"),
            "alg.encryption",
        ),
        (
            setting("EncryptedData/EncryptionMethod", "Algorithm", names.XENC11 + "aes256-gcm"),
            "alg.encryption",
        ),
        (
            at(
                "EncryptedData/EncryptionMethod",
                lambda method: etree.SubElement(method, q(XENC, "KeySize")),
            ),
            "alg.encryption",
        ),
        (setting("EncryptedKey/EncryptionMethod", "Algorithm", XENC + "rsa-1_5"), "alg.transport"),
        (setting("EncryptedKey/EncryptionMethod", "Algorithm", names.KW_AES128), "alg.transport"),
        (
            setting("EncryptedKey/EncryptionMethod", "Algorithm", names.RSA_OAEP_MGF1P),
            "alg.transport",
        ),
        (
            setting("EncryptedKey/EncryptionMethod/ds:DigestMethod", "Algorithm", names.SHA1),
            "alg.oaep",
        ),
        (
            setting("EncryptedKey/EncryptionMethod/ds:DigestMethod", "Algorithm", names.SHA512),
            "alg.oaep",
        ),
        (drop("EncryptedKey/EncryptionMethod/ds:DigestMethod"), "alg.oaep"),
        (twice("EncryptedKey/EncryptionMethod/ds:DigestMethod"), "alg.oaep"),
        (at("EncryptedKey/EncryptionMethod", lambda method: method.remove(method[1])), "alg.oaep"),
        (
            at(
                "EncryptedKey/EncryptionMethod",
                lambda method: method[1].set("Algorithm", names.MGF1_SHA1),
            ),
            "alg.oaep",
        ),
        (
            at(
                "EncryptedKey/EncryptionMethod",
                lambda method: etree.SubElement(method, q(XENC, "OAEPparams")),
            ),
            "alg.oaep",
        ),
    ],
)
def test_another_header_is_refused(people, change, reason):
    security = header(people)
    assert read(security) is not None
    change(security)

    with pytest.raises(PolicyNoncompliance) as refused:
        read(security)

    assert (refused.value.gate, refused.value.reason) == ("G5", reason)


def oaep(security, algorithm, digest, mgf):
    method = security[0][0]
    method.set("Algorithm", algorithm)
    for child, value in zip(list(method), (digest, mgf), strict=True):
        if value is None:
            method.remove(child)
        else:
            child.set("Algorithm", value)
    return security


OAEP, MGF1P = names.RSA_OAEP, names.RSA_OAEP_MGF1P
SHA1, SHA256 = names.SHA1, names.SHA256
MGF_1, MGF_256 = names.MGF1_SHA1, names.MGF1_SHA256
Q1, QP = Quirk.OAEP_SHA1, Quirk.OAEP_MGF1P


@pytest.mark.parametrize(
    ("form", "needed", "read_as"),
    [
        ((OAEP, SHA256, MGF_256), set(), (SHA256, MGF_256)),
        ((OAEP, None, None), {Q1}, (SHA1, MGF_1)),
        ((OAEP, SHA256, None), {Q1}, (SHA256, MGF_1)),
        ((OAEP, SHA1, MGF_256), {Q1}, (SHA1, MGF_256)),
        ((MGF1P, SHA256, None), {QP}, (SHA256, MGF_1)),
        ((MGF1P, None, None), {Q1, QP}, (SHA1, MGF_1)),
    ],
)
@pytest.mark.parametrize("agreed", [set(), {Q1}, {QP}, {Q1, QP}])
def test_each_form_of_oaep_needs_its_quirk(people, workshop, form, needed, read_as, agreed):
    security = oaep(header(people), *form)
    policy = workshop.policy(quirks=frozenset(agreed))

    if needed <= agreed:
        wrapped = read(security, policy).wrapped_key
        assert (wrapped.digest_algorithm, wrapped.mgf_algorithm) == read_as
    else:
        with pytest.raises(PolicyNoncompliance):
            read(security, policy)


def test_mgf1p_with_an_mgf_is_refused(people, workshop):
    security = oaep(header(people), MGF1P, SHA256, MGF_256)

    with pytest.raises(PolicyNoncompliance):
        read(security, workshop.policy(quirks=frozenset({Q1, QP})))


def test_cipher_text_is_wrapped_with_the_declared_oaep(people):
    value = wrap_content_key(KEY, people.receiver.certificate)

    assert len(value) == 256
    assert value != wrap_content_key(KEY, people.receiver.certificate)


def test_a_key_is_only_wrapped_for_rsa_of_agreed_size(people, make_certificate):
    name = people.receiver.certificate.subject
    for key in (ed25519.Ed25519PrivateKey.generate(), rsa.generate_private_key(65537, 1024)):
        with pytest.raises(LocalProtocolError):
            wrap_content_key(KEY, make_certificate(name, key, serial=9))
    with pytest.raises(LocalProtocolError):
        wrap_content_key(KEY + KEY, people.receiver.certificate)


def test_a_cid_is_percent_decoded():
    assert content_id_of("cid:a%20b%40c") == "a b@c"
    assert content_id_of("cid:a@c") == "a@c"


def test_the_wrapped_key_is_not_shown(people):
    wrapped = read(header(people)).wrapped_key

    assert base64.b64encode(wrapped.cipher_value)[:12].decode() not in repr(wrapped)
    assert "cipher_value" not in repr(wrapped)
