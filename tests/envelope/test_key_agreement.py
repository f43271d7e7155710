"""Messages of the second generation: signed with Ed25519 or ECDSA, content keys agreed on; each weakness has a twin.

The keys are real, the decrypter is the access point's own, and what it derives is compared with vectors that another
implementation made where the samples are at hand.
"""

import base64
import itertools
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from lxml import etree

from envelope import names
from envelope.errors import LocalProtocolError, RemoteProtocolError
from envelope.key_agreement import agree_content_key
from envelope.names import q
from envelope.parts import verify_parts
from envelope.pmode import (
    DOMIBUS_LIKE,
    EDELIVERY_1_15,
    EDELIVERY_2_0,
    EDELIVERY_2_0_P256,
    POLICIES,
    SUITES,
    Generation,
    KeyTransport,
    Quirk,
    TokenForm,
)
from envelope.wsse import authenticate, decrypt_key
from keys.certificate import der
from keys.devca import DevelopmentAuthority, IssuedCertificate

NEW = (Generation.V2_0, Generation.V2_0_P256)
CURVES = {curve.name: curve for curve in (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1())}


@dataclass
class Party:
    """One access point of the second generation: a key that signs and a key that agrees."""

    signing: IssuedCertificate
    agreement: IssuedCertificate


@pytest.fixture(scope="module")
def authority(now):
    return DevelopmentAuthority.create(at=now)


@pytest.fixture(scope="module")
def now():
    return datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def issue(authority, now):
    serials = itertools.count(7_000)

    def issue(name, key, **options):
        return authority.issue_system_certificate(
            name, name, "12345674", uuid="4e4ac0ff-ee00-4000-8000-000000000001", not_before=now,
            private_key=key, serial=next(serials), **options,
        )  # fmt: skip

    return issue


@pytest.fixture(scope="module")
def parties(issue):
    def party(name, generation):
        if generation is Generation.V2_0:
            signing, agreement = (
                ed25519.Ed25519PrivateKey.generate(),
                x25519.X25519PrivateKey.generate(),
            )
        else:
            signing, agreement = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        return Party(issue(name, signing), issue(name, agreement, agrees=True))

    return {g: {name: party(name, g) for name in ("alpha", "beta")} for g in NEW}


@dataclass
class Exchange:
    """Messages from alpha to beta in one generation."""

    workshop: object
    generation: Generation
    parties: dict

    def send(self, **changes):
        options = {
            "suite": SUITES[self.generation],
            "signer": self.parties["alpha"].signing.signer(),
            "recipient": self.parties["beta"].agreement.certificate,
        }
        return self.workshop.send(**(options | changes))

    def take(self, sent, data=None, *, policy=None, decrypter=None):
        policy = policy or POLICIES[self.generation]
        check = self.workshop.check(self.parties["alpha"].signing.certificate)
        authenticated = authenticate(
            self.workshop.parse(data or sent.data), policy=policy, check=check
        )
        decrypted = decrypt_key(
            authenticated, decrypter or self.parties["beta"].agreement.decrypter()
        )
        return verify_parts(
            decrypted,
            [self.workshop.open(decrypted, cid, wire)[1] for cid, wire in sent.parts.items()],
        )

    def refusal(self, sent, data, **changes):
        with pytest.raises(RemoteProtocolError) as refused:
            self.take(sent, data, **changes)
        return f"{refused.value.gate} {refused.value.reason}"


@pytest.fixture(params=NEW, ids=str)
def exchange(request, workshop, parties):
    return Exchange(workshop, request.param, parties[request.param])


@pytest.fixture
def ed(workshop, parties):
    return Exchange(workshop, Generation.V2_0, parties[Generation.V2_0])


@pytest.fixture
def p256(workshop, parties):
    return Exchange(workshop, Generation.V2_0_P256, parties[Generation.V2_0_P256])


def first(root, namespace, local):
    return next(root.iter(q(namespace, local)))


@pytest.mark.parametrize("form", TokenForm)
@pytest.mark.parametrize("encryption_form", TokenForm)
def test_a_message_comes_back_in_every_token_form(exchange, form, encryption_form):
    suite = replace(
        SUITES[exchange.generation], signing_token=form, encryption_token=encryption_form
    )
    sent = exchange.send(suite=suite)
    verified = exchange.take(sent)
    assert len(verified.parts) == 2
    [algorithm] = POLICIES[exchange.generation].signature_algorithms
    assert verified.signature.algorithm == algorithm


def test_the_header_has_the_one_shape(ed, p256):
    tree = etree.fromstring(ed.send().data)
    key = first(tree, names.XENC, "EncryptedKey")
    assert key[0].get("Algorithm") == names.KW_AES128
    [method] = key[1]
    assert method.get("Algorithm") == names.X25519
    assert [etree.QName(child).localname for child in method] == [
        "KeyDerivationMethod", "OriginatorKeyInfo", "RecipientKeyInfo"
    ]  # fmt: skip
    [parameters] = method[0]
    assert [etree.QName(child).localname for child in parameters] == ["PRF", "Salt", "KeyLength"]
    assert len(base64.b64decode(parameters[1].text)) == 32
    assert parameters[2].text == "16"
    der = base64.b64decode(method[1][0].text)
    assert len(der) == 44
    assert len(base64.b64decode(first(tree, names.XENC, "CipherValue").text)) == 24
    method = first(etree.fromstring(p256.send().data), names.XENC, "AgreementMethod")
    assert method.get("Algorithm") == names.ECDH_ES
    curve, point = method[1][0][0]
    assert curve.get("URI") == "urn:oid:1.2.840.10045.3.1.7"
    assert len(base64.b64decode(point.text)) == 65


def test_each_message_has_a_key_and_a_salt_of_its_own(exchange):
    def drawn(data):
        return [each.text for each in etree.fromstring(data).iter() if etree.QName(each).localname
                in ("Salt", "DEREncodedKeyValue", "PublicKey")]  # fmt: skip

    one, other = (drawn(exchange.send().data) for _ in range(2))
    assert len(one) == 2
    assert not set(one) & set(other)


def test_sending_again_to_another_key_signs_the_same_octets(ed, issue):
    another = issue("beta", x25519.X25519PrivateKey.generate()).certificate
    one, other = ed.send(), ed.send(recipient=another)
    values = [
        first(etree.fromstring(sent.data), names.DS, "SignatureValue").text for sent in (one, other)
    ]
    assert values[0] == values[1]
    assert one.envelope.references == other.envelope.references


@pytest.mark.parametrize("curve", CURVES)
def test_every_curve_of_the_profile_is_agreed_on_where_policy_lists_it(p256, issue, curve):
    ours = issue("beta", ec.generate_private_key(CURVES[curve]), agrees=True)
    sent = p256.send(recipient=ours.certificate)
    listed = replace(EDELIVERY_2_0_P256, curves=frozenset({"secp256r1", curve}))
    assert p256.take(sent, policy=listed, decrypter=ours.decrypter()).parts
    if curve != "secp256r1":
        assert p256.refusal(sent, sent.data, decrypter=ours.decrypter()) == "G5 alg.curve"


def test_no_generation_is_read_under_the_policy_of_another(workshop, parties):
    exchanges = {g: Exchange(workshop, g, parties[g]) for g in NEW}
    messages = {g: each.send() for g, each in exchanges.items()}
    messages[Generation.V1_15] = workshop.send()
    for spoken, sent in messages.items():
        for agreed in Generation:
            policy = POLICIES[agreed]
            if agreed is spoken:
                workshop.authenticate(sent.data, policy=policy, check=workshop.check(
                    *(p["alpha"].signing.certificate for p in parties.values()),
                    workshop.people.sender.certificate,
                ))  # fmt: skip
            else:
                with pytest.raises(RemoteProtocolError) as refused:
                    workshop.authenticate(sent.data, policy=policy)
                assert refused.value.reason == "alg.signature"


def test_a_signature_of_one_generation_with_the_encryption_of_another(workshop, parties, people):
    """Mixed generations: the policy of the signature rules over the encryption, too."""
    everything = DOMIBUS_LIKE.knowing(tuple(Generation))
    old = people.receiver.certificate
    combinations = itertools.product(Generation, Generation)
    for signs, encrypts in combinations:
        if signs is encrypts:
            continue
        suite = replace(SUITES[signs], key_transport=SUITES[encrypts].key_transport)
        signer = (
            people.sender if signs is Generation.V1_15 else parties[signs]["alpha"].signing.signer()
        )
        recipient = (
            old if encrypts is Generation.V1_15 else parties[encrypts]["beta"].agreement.certificate
        )
        sent = workshop.send(suite=suite, signer=signer, recipient=recipient)
        policy = everything.spoken_by(suite.signature_algorithm).policy
        with pytest.raises(RemoteProtocolError) as refused:
            workshop.authenticate(sent.data, policy=policy)
        assert (refused.value.gate, refused.value.reason) == ("G5", "alg.transport")


def test_an_agreement_of_several_generations_holds_each_message_to_one():
    mode = DOMIBUS_LIKE.knowing((Generation.V2_0, Generation.V1_15))
    assert (mode.policy, mode.suite) == (EDELIVERY_2_0, SUITES[Generation.V2_0])
    assert mode.spoken_by(names.RSA_SHA256).policy == EDELIVERY_1_15
    assert mode.spoken_by(names.EDDSA_ED25519).policy == EDELIVERY_2_0
    for other in (names.ECDSA_SHA256, names.RSA_SHA384, None, ""):
        assert mode.spoken_by(other).generations == (Generation.V2_0,)
    quirky = replace(mode, policy=replace(mode.policy, quirks=frozenset({Quirk.OAEP_SHA1})))
    assert quirky.spoken_by(names.RSA_SHA256).policy.allows(Quirk.OAEP_SHA1)


def test_a_quirk_of_rsa_is_none_of_the_newer_generations():
    """It stays with the partner, and says something only where RSA is agreed."""
    quirks = frozenset({Quirk.RSA_SHA384, Quirk.OAEP_MGF1P, Quirk.OAEP_SHA1})
    base = replace(DOMIBUS_LIKE, policy=replace(DOMIBUS_LIKE.policy, quirks=quirks))
    for generation in (Generation.V2_0, Generation.V2_0_P256):
        policy = base.knowing((generation,)).policy
        assert policy.allowed_signatures == POLICIES[generation].signature_algorithms
        assert policy.allowed_key_transports == POLICIES[generation].key_transports
    both = base.knowing((Generation.V2_0, Generation.V1_15))
    spoken = both.spoken_by(names.RSA_SHA384)
    assert spoken.generations == (Generation.V1_15,)
    assert names.RSA_SHA384 in spoken.policy.allowed_signatures
    assert names.RSA_OAEP_MGF1P in spoken.policy.allowed_key_transports


def test_what_else_is_agreed_holds_in_every_generation():
    """Only what a generation defines changes with it, and its token form only where none is agreed."""
    plain = DOMIBUS_LIKE.knowing(tuple(Generation))
    for generation in Generation:
        mode = plain.under(generation)
        assert (mode.policy, mode.suite) == (POLICIES[generation], SUITES[generation])
        assert mode.generations == (generation,)
    suite = replace(plain.suite, signed_errors=False, signing_token=TokenForm.ISSUER_SERIAL)
    policy = replace(plain.policy, encryption_required=False)
    mode = replace(plain, suite=suite, policy=policy).under(Generation.V2_0)
    assert (mode.suite.signed_errors, mode.suite.signing_token) == (False, TokenForm.ISSUER_SERIAL)
    assert not mode.policy.encryption_required
    assert mode.suite.signature_algorithm == names.EDDSA_ED25519


# The structure of the agreement


def remove(namespace, local):
    def change(root):
        element = first(root, namespace, local)
        element.getparent().remove(element)

    return change


def twice(namespace, local):
    def change(root):
        element = first(root, namespace, local)
        element.addnext(etree.fromstring(etree.tostring(element)))

    return change


def put(namespace, local, *, text=None, **attributes):
    def change(root):
        element = first(root, namespace, local)
        if text is not None:
            element.text = text
        element.attrib.update(attributes)

    return change


def insert(namespace, local, xml):
    def change(root):
        first(root, namespace, local).append(etree.fromstring(xml))

    return change


def swap(namespace, local):
    def change(root):
        element = first(root, namespace, local)
        element.append(element[0])

    return change


def other_namespace(root):
    element = first(root, names.DSIG_MORE_2021, "HKDFParams")
    for each in element.iter():
        each.tag = q("http://www.w3.org/2001/04/xmldsig-more#", etree.QName(each).localname)


MORE, X, X11, D11 = names.DSIG_MORE_2021, names.XENC, names.XENC11, names.DSIG11
NONCE = f'<x:KA-Nonce xmlns:x="{X}">AAAA</x:KA-Nonce>'
STRUCTURE = [
    ("no-parameters", remove(MORE, "HKDFParams"), "G5 alg.derivation"),
    ("parameters-twice", twice(MORE, "HKDFParams"), "G5 alg.derivation"),
    ("no-prf", remove(MORE, "PRF"), "G5 alg.derivation"),
    ("prf-sha1", put(MORE, "PRF", Algorithm="http://www.w3.org/2000/09/xmldsig#hmac-sha1"), "G5 alg.derivation"),
    ("prf-twice", twice(MORE, "PRF"), "G5 alg.derivation"),
    ("no-length", remove(MORE, "KeyLength"), "G5 alg.derivation"),
    ("length-128", put(MORE, "KeyLength", text="128"), "G5 alg.derivation"),
    ("length-0", put(MORE, "KeyLength", text="0"), "G5 alg.derivation"),
    ("length-32", put(MORE, "KeyLength", text="32"), "G5 alg.derivation"),
    ("salt-twice", twice(MORE, "Salt"), "G5 alg.derivation"),
    ("salt-junk", put(MORE, "Salt", text="not base64!"), "G5 enc.schema"),
    ("salt-endless", put(MORE, "Salt", text="A" * 400), "G5 alg.derivation"),
    ("salt-specified", insert(MORE, "Salt", f'<m:Specified xmlns:m="{MORE}">AAAA</m:Specified>'), "G5 enc.schema"),
    ("parameters-disordered", swap(MORE, "HKDFParams"), "G5 alg.derivation"),
    ("parameters-unknown", insert(MORE, "HKDFParams", f'<m:Other xmlns:m="{MORE}"/>'), "G5 alg.derivation"),
    ("parameters-of-another-namespace", other_namespace, "G5 alg.derivation"),
    ("concat-kdf", put(X11, "KeyDerivationMethod", Algorithm=names.CONCAT_KDF), "G5 alg.derivation"),
    ("no-derivation", remove(X11, "KeyDerivationMethod"), "G5 enc.schema"),
    ("no-originator", remove(X, "OriginatorKeyInfo"), "G5 enc.schema"),
    ("no-recipient", remove(X, "RecipientKeyInfo"), "G5 enc.schema"),
    ("recipient-twice", twice(X, "RecipientKeyInfo"), "G5 enc.schema"),
    ("nonce", insert(X, "AgreementMethod", NONCE), "G5 enc.schema"),
    ("no-agreement", remove(X, "AgreementMethod"), "G5 enc.schema"),
    ("agreement-twice", twice(X, "AgreementMethod"), "G5 enc.schema"),
    ("static-dh", put(X, "AgreementMethod", Algorithm="http://www.w3.org/2001/04/xmlenc#dh"), "G5 alg.transport"),
    ("x448", put(X, "AgreementMethod", Algorithm=MORE + "x448"), "G5 alg.transport"),
    ("kw-256", put(X, "EncryptionMethod", Algorithm=X + "kw-aes256"), "G5 alg.transport"),
    ("kw-as-oaep", put(X, "EncryptionMethod", Algorithm=names.RSA_OAEP), "G5 alg.transport"),
    ("kw-parameters", insert(X, "EncryptionMethod", f'<d:DigestMethod xmlns:d="{names.DS}"/>'), "G5 alg.transport"),
    ("salt-changed", put(MORE, "Salt", text="AAAA"), "G7 enc.failed"),
    ("salt-removed", remove(MORE, "Salt"), "G7 enc.failed"),
    ("info-added", lambda root: first(root, MORE, "Salt").addnext(
        etree.fromstring(f'<m:Info xmlns:m="{MORE}">AAAA</m:Info>')), "G7 enc.failed"),
    ("value-changed", put(X, "CipherValue", text=base64.b64encode(bytes(24)).decode()), "G7 enc.failed"),
    ("value-short", put(X, "CipherValue", text="AAAA"), "G7 enc.failed"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "outcome"), [row[1:] for row in STRUCTURE], ids=[row[0] for row in STRUCTURE]
)
def test_only_the_exact_structure_is_read(exchange, change, outcome):
    """Nothing of the encryption is signed, so a stranger on the way may change all of it."""
    sent = exchange.send()
    assert exchange.take(sent).parts
    assert exchange.refusal(sent, exchange.workshop.edit(sent.data, change)) == outcome


def test_the_dialect_of_the_derivation_is_a_quirk(exchange):
    def dialect(root):
        other_namespace(root)
        old = "http://www.w3.org/2001/04/xmldsig-more#"
        first(root, old, "KeyLength").text = "128"
        salt = first(root, old, "Salt")
        specified = etree.SubElement(salt, q(old, "Specified"))
        specified.text, salt.text = salt.text, None

    sent = exchange.send()
    data = exchange.workshop.edit(sent.data, dialect)
    policy = replace(POLICIES[exchange.generation], quirks=frozenset({Quirk.HKDF_DIALECT}))
    assert exchange.take(sent, data, policy=policy).parts
    assert exchange.take(sent, policy=policy).parts
    assert exchange.refusal(sent, data) == "G5 alg.derivation"


def test_an_empty_info_is_no_info_and_a_wrapped_recipient_is_the_recipient(exchange):
    def change(root):
        first(root, MORE, "Salt").addnext(etree.Element(q(MORE, "Info")))
        recipient = first(root, X, "RecipientKeyInfo")
        value = etree.SubElement(recipient, q(names.DS, "KeyValue"))
        value.append(recipient[0])

    sent = exchange.send()
    assert exchange.take(sent, exchange.workshop.edit(sent.data, change)).parts


# The originator's key


def originator(octets):
    def change(root):
        first(root, D11, "DEREncodedKeyValue").text = base64.b64encode(octets).decode()

    return change


PREFIX = bytes.fromhex("302a300506032b656e032100")


@pytest.mark.parametrize(
    ("octets", "outcome"),
    [
        (PREFIX + bytes(32), "G7 enc.failed"),
        (PREFIX + b"\x01" + bytes(31), "G7 enc.failed"),
        (PREFIX + bytes.fromhex("ec" + "ff" * 30 + "7f"), "G7 enc.failed"),
        (PREFIX + bytes(31), "G5 alg.curve"),
        (PREFIX + bytes(33), "G5 alg.curve"),
        (bytes.fromhex("302a300506032b6570032100") + b"\x02" * 32, "G5 alg.curve"),
        (bytes.fromhex("3042300506032b656f033900") + b"\x02" * 56, "G5 alg.curve"),
        (b"\x02" * 32, "G5 alg.curve"),
    ],
    ids=["zero", "one", "p-1", "short", "long", "ed25519", "x448", "raw"],
)
def test_another_point_than_one_of_curve25519(ed, octets, outcome):
    sent = ed.send()
    assert ed.refusal(sent, ed.workshop.edit(sent.data, originator(octets))) == outcome


def point(key):
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def test_another_point_than_one_of_our_curve(p256):
    def change(octets, uri=None):
        def edit(root):
            first(root, D11, "PublicKey").text = base64.b64encode(octets).decode()
            if uri is not None:
                first(root, D11, "NamedCurve").set("URI", uri)

        return edit

    sent = p256.send()
    good = point(ec.generate_private_key(ec.SECP256R1()))
    p384 = point(ec.generate_private_key(ec.SECP384R1()))
    brainpool = point(ec.generate_private_key(ec.BrainpoolP256R1()))
    off = good[:-1] + bytes([good[-1] ^ 1])
    compressed = bytes([2 + (good[-1] & 1)]) + good[1:33]
    for edit, outcome in (
        (change(off), "G7 enc.failed"),
        (change(brainpool), "G7 enc.failed"),
        (change(b"\x04" + bytes(64)), "G7 enc.failed"),
        (change(good), "G7 enc.failed"),
        (change(compressed), "G5 alg.curve"),
        (change(b"\x00"), "G5 alg.curve"),
        (change(good + b"\x00"), "G5 alg.curve"),
        (change(b"\x06" + good[1:]), "G5 alg.curve"),
        (change(p384), "G5 alg.curve"),
        (change(p384, "urn:oid:1.3.132.0.34"), "G5 alg.curve"),
        (change(brainpool, "urn:oid:1.3.36.3.3.2.8.1.1.7"), "G5 alg.curve"),
        (change(good, "urn:oid:1.3.132.0.10"), "G5 alg.curve"),
        (change(good, ""), "G5 alg.curve"),
    ):
        assert p256.refusal(sent, p256.workshop.edit(sent.data, edit)) == outcome


def test_a_key_for_somebody_else_and_a_key_of_another_kind(exchange, issue, parties):
    other = parties[NEW[1 - NEW.index(exchange.generation)]]["beta"].agreement
    sent = exchange.send()
    for decrypter in (other.decrypter(), exchange.parties["alpha"].agreement.decrypter()):
        assert exchange.refusal(sent, sent.data, decrypter=decrypter) == "G7 enc.failed"


# The signature


def signature_of(sent):
    return base64.b64decode(first(etree.fromstring(sent.data), names.DS, "SignatureValue").text)


def with_signature(exchange, sent, value):
    text = base64.b64encode(value).decode()
    return exchange.workshop.edit(sent.data, put(names.DS, "SignatureValue", text=text))


ORDER_P256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
ORDER_ED25519 = 2**252 + 27742317777372353535851937790883648493


def test_an_ecdsa_value_of_another_form_is_refused(p256):
    sent = p256.send()
    value = signature_of(sent)
    assert len(value) == 64
    r, s = (int.from_bytes(half, "big") for half in (value[:32], value[32:]))
    for bad in (
        encode_dss_signature(r, s),
        value[:-1],
        value + b"\x00",
        bytes(1) + value[:32] + bytes(1) + value[32:],
        bytes(64),
        value[:32] + bytes(32),
        bytes(32) + value[32:],
        value[:32] + ORDER_P256.to_bytes(32, "big"),
        value[32:] + value[:32],
    ):
        assert p256.refusal(sent, with_signature(p256, sent, bad)) == "G6 sig.value"


def test_the_second_ecdsa_value_says_the_same_about_the_same_octets(p256):
    """ECDSA has two values for one signature and the standard takes both; what is signed stays what it was.

    Repetitions are known by the digests that are signed, never by the signature value, so it is no new message.
    """
    sent = p256.send()
    value = signature_of(sent)
    s = ORDER_P256 - int.from_bytes(value[32:], "big")
    other = with_signature(p256, sent, value[:32] + s.to_bytes(32, "big"))
    assert p256.take(sent, other).references == p256.take(sent).references


def test_an_ed25519_value_has_one_form(ed):
    sent = ed.send()
    value = signature_of(sent)
    s = int.from_bytes(value[32:], "little") + ORDER_ED25519
    for bad in (value[:32] + s.to_bytes(32, "little"), value[:-1], value + b"\x00", bytes(64)):
        assert ed.refusal(sent, with_signature(ed, sent, bad)) == "G6 sig.value"


def test_a_signature_by_a_key_on_another_curve_is_refused(p256, issue):
    for curve in (ec.SECP384R1(), ec.BrainpoolP256R1()):
        signer = issue("alpha", ec.generate_private_key(curve)).signer()
        sent = p256.send(signer=signer)
        assert p256.refusal(sent, sent.data) == "G5 alg.key"


def test_a_key_that_agrees_cannot_be_the_one_that_signed(ed):
    """The token names the key-agreement certificate of the same party: it is of a kind that signs nothing."""
    sent = ed.send()
    token = base64.b64encode(der(ed.parties["alpha"].agreement.certificate)).decode()

    def change(root):
        element = first(root, names.WSSE, "BinarySecurityToken")
        element.text = token
        element.set("ValueType", names.X509_V3)

    assert ed.refusal(sent, ed.workshop.edit(sent.data, change)) == "G5 alg.key"


def test_a_certificate_that_cannot_agree_so_is_not_sent_to(parties, people):
    x, p = (parties[g]["beta"].agreement.certificate for g in NEW)
    rsa = people.receiver.certificate
    for certificate, transport in (
        (rsa, KeyTransport.X25519),
        (rsa, KeyTransport.ECDH_ES),
        (p, KeyTransport.X25519),
        (x, KeyTransport.ECDH_ES),
        (parties[Generation.V2_0]["beta"].signing.certificate, KeyTransport.X25519),
        (x, KeyTransport.RSA_OAEP),
    ):
        with pytest.raises(LocalProtocolError):
            agree_content_key(bytes(16), certificate, transport)
    with pytest.raises(LocalProtocolError):
        agree_content_key(bytes(15), x, KeyTransport.X25519)


def test_a_certificate_with_a_point_of_low_order_is_not_sent_to(make_certificate, people, now):
    key = x25519.X25519PublicKey.from_public_bytes(b"\x01" + bytes(31))
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "beta")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key)
    builder = builder.serial_number(9).not_valid_before(now).not_valid_after(now)
    certificate = builder.sign(people.stranger.key, SHA256())
    with pytest.raises(LocalProtocolError, match="low order"):
        agree_content_key(bytes(16), certificate, KeyTransport.X25519)
