"""eDelivery AS4 2.0 has weaknesses of its own: each is refused by name, and each of these cases can go red.

The clinic has agreed to every generation with the municipality, so what is refused here is refused for what it is.
"""

import base64
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from as4_arena import Arena, Verdict
from as4_generations import NEW, KeySet, key_set
from as4_peer import Client, Server
from as4_stage import LogLines, Partner, Pki, Stage
from as4_wire import Author, Tree, Wire
from asn1crypto import keys as asn1_keys
from asn1crypto import x509 as asn1
from attack_rows import row
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap, aes_key_wrap
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from lxml import etree

import envelope.key_agreement
import keys.path
from accesspoint.demo.scenery import CLINIC, MUNICIPALITY
from envelope import names
from envelope.names import q
from envelope.pmode import (
    POLICIES,
    SUITES,
    Generation,
    KeyTransport,
    PMode,
    Quirk,
    SecurityPolicy,
    TokenForm,
)
from envelope.xmldsig import _Ecdsa
from keys.certificate import der
from keys.private import FileDecrypter

MORE, D11 = names.DSIG_MORE_2021, names.DSIG11
FAILED = Verdict("G7", "enc.failed", "EBMS:0102")
WRONG_KEY = Verdict("G5", "alg.key", "EBMS:0103")
NONE: list[Quirk] = []
X25519_PREFIX = bytes.fromhex("302a300506032b656e032100")


@dataclass
class NewArena(Arena):
    """The same judge for messages of one newer generation."""

    generation: Generation = Generation.V2_0
    theirs: dict[Generation, KeySet] = field(default_factory=dict)
    ours: dict[Generation, KeySet] = field(default_factory=dict)

    @property
    def author(self) -> Author:
        return Author(
            self.theirs[self.generation].signing.signer(),
            self.ours[self.generation].agreement.certificate,
        )

    @property
    def certificate(self) -> x509.Certificate:
        return self.ours[self.generation].signing.certificate

    @property
    def policy(self) -> SecurityPolicy:
        return POLICIES[self.generation]

    def compose(self, **changes: Any) -> Wire:
        return self.author.compose(**({"suite": SUITES[self.generation]} | changes))

    @property
    def twin(self) -> Wire:
        """Sound in this generation, and nothing that the clinic would answer later."""
        return self.author.test_message(suite=SUITES[self.generation])

    async def refuses_change(self, change: Callable[[Tree], None], verdict: Verdict) -> None:
        """Refuse a message after a change on the way, and take it without."""
        wire = self.compose()
        await self.refuses(wire.with_tree(change), verdict, twin=wire)


Case = Callable[[NewArena], Any]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def new_arena(
    pki: Pki, tmp_path_factory: pytest.TempPathFactory, log_lines: LogLines
) -> AsyncIterator[NewArena]:
    """The clinic agreed to every generation, and answers the municipality in the oldest one."""
    directory = tmp_path_factory.mktemp("generations")
    async with build_arena(pki, directory, log_lines, *Generation) as arena:
        yield arena


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def moved_arena(
    pki: Pki, tmp_path_factory: pytest.TempPathFactory, log_lines: LogLines
) -> AsyncIterator[NewArena]:
    """A partner with the quirks of its old product has moved to the newer generation, and to nothing else."""
    directory = tmp_path_factory.mktemp("moved")
    quirks = [Quirk.RSA_SHA384, Quirk.OAEP_MGF1P, Quirk.OAEP_SHA1]
    async with build_arena(pki, directory, log_lines, Generation.V2_0, quirks=quirks) as arena:
        yield arena


@asynccontextmanager
async def build_arena(
    pki: Pki, directory: Path, log_lines: LogLines, *agreed: Generation, quirks: list[Quirk] = NONE
) -> AsyncIterator[NewArena]:
    """The clinic's node with the keys of all generations, which agreed to some of them."""
    stage = Stage(pki, directory)
    as_client, as_server = pki.tls_contexts("municipality")
    theirs = {one: key_set(pki, MUNICIPALITY.access_point, one) for one in NEW}
    ours = {one: key_set(pki, CLINIC.access_point, one) for one in NEW}
    file = stage.directory / "municipality.pem"
    file.write_bytes(
        pki.municipality.certificate_pem + b"".join(one.certificates for one in theirs.values())
    )
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(Server.start(pki.municipality.signer(), as_server))
        settings = {
            "certificate": str(file),
            "generations": [str(one) for one in agreed],
            "quirks": [str(one) for one in quirks],
        }
        partner = Partner(MUNICIPALITY, pki.municipality, server.url, settings)
        path = stage.write_node(CLINIC, pki.clinic, partners={"municipality": partner})
        for one in ours.values():
            one.write(path.parent / "keys")
        node = await stack.enter_async_context(stage.run(path))
        client = await stack.enter_async_context(Client.connect(node.url, as_client))
        yield NewArena(pki, node, client, log_lines, server, theirs=theirs, ours=ours)


@pytest.fixture
def ed(new_arena: NewArena) -> NewArena:
    """Ed25519 with X25519."""
    return replace(new_arena, generation=Generation.V2_0)


@pytest.fixture
def p256(new_arena: NewArena) -> NewArena:
    """ECDSA with ECDH-ES on P-256."""
    return replace(new_arena, generation=Generation.V2_0_P256)


def set_text(local: str, octets: bytes, namespace: str = D11) -> Callable[[Tree], None]:
    def change(tree: Tree) -> None:
        tree.find(namespace, local).text = base64.b64encode(octets).decode()

    return change


def low_order(wire: Wire, own: x25519.X25519PrivateKey) -> Wire:
    """The same content key under the secret that the zero point leads every key to: all zeros."""

    def change(tree: Tree) -> None:
        element = tree.find(D11, "DEREncodedKeyValue")
        salt = base64.b64decode(tree.find(MORE, "Salt").text)
        value = tree.find(names.XENC, "CipherValue")
        peer = x25519.X25519PublicKey.from_public_bytes(base64.b64decode(element.text)[12:])

        def key(secret: bytes) -> bytes:
            return HKDF(hashes.SHA256(), 16, salt, b"").derive(secret)

        wrapped = base64.b64decode(value.text)
        content_key = aes_key_unwrap(key(own.exchange(peer)), wrapped)
        element.text = base64.b64encode(X25519_PREFIX + bytes(32)).decode()
        value.text = base64.b64encode(aes_key_wrap(key(bytes(32)), content_key)).decode()

    return wire.with_tree(change)


async def case_low_order_point(ed: NewArena) -> None:
    """Whoever sees the message could open it, and so could write one."""
    own = ed.ours[Generation.V2_0].agreement.private_key
    assert isinstance(own, x25519.X25519PrivateKey)
    wire = ed.compose()
    await ed.refuses(low_order(wire, own), FAILED, twin=wire)


async def case_other_hash_in_the_derivation(arena: NewArena) -> None:
    def change(tree: Tree) -> None:
        tree.find(MORE, "PRF").set("Algorithm", names.DS + "hmac-sha1")

    await arena.refuses_change(change, Verdict("G5", "alg.derivation", "EBMS:0103"))


async def case_derivation_without_parameters(arena: NewArena) -> None:
    def change(tree: Tree) -> None:
        element = tree.find(MORE, "HKDFParams")
        element.getparent().remove(element)

    await arena.refuses_change(change, Verdict("G5", "alg.derivation", "EBMS:0103"))


async def case_mixed_generations(arena: NewArena) -> None:
    """Signed in the newer generation, encrypted for our RSA key as in the older one."""
    suite = SUITES[arena.generation]
    mixed = replace(suite, key_transport=SUITES[Generation.V1_15].key_transport)
    recipient = arena.pki.clinic.certificate
    attack = replace(arena.author, recipient=recipient).compose(suite=mixed)
    verdict = Verdict("G5", "alg.transport", "EBMS:0103")
    await arena.refuses(attack, verdict, twin=arena.compose())


async def case_another_curve(p256: NewArena) -> None:
    point = ec.generate_private_key(ec.SECP384R1()).public_key()
    octets = point.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def change(tree: Tree) -> None:
        tree.find(D11, "NamedCurve").set("URI", "urn:oid:1.3.132.0.34")
        tree.find(D11, "PublicKey").text = base64.b64encode(octets).decode()

    await p256.refuses_change(change, Verdict("G5", "alg.curve", "EBMS:0103"))


async def case_point_beside_the_curve(p256: NewArena) -> None:
    point = ec.generate_private_key(ec.BrainpoolP256R1()).public_key()
    octets = point.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    await p256.refuses_change(set_text("PublicKey", octets), FAILED)


async def case_signature_in_der(p256: NewArena) -> None:
    def change(tree: Tree) -> None:
        value = tree.find(names.DS, "SignatureValue")
        octets = base64.b64decode(value.text)
        r, s = (int.from_bytes(half, "big") for half in (octets[:32], octets[32:]))
        value.text = base64.b64encode(encode_dss_signature(r, s)).decode()

    await p256.refuses_change(change, Verdict("G6", "sig.value", "EBMS:0101"))


async def case_certificate_for_another_use(ed: NewArena) -> None:
    """An Ed25519 key that the authority certified for key agreement signs in the municipality's name."""
    pki, key = ed.pki, ed25519.Ed25519PrivateKey.generate()
    issued = pki.authority.issue(
        ed.theirs[Generation.V2_0].signing.certificate.subject,
        key,
        not_before=pki.now - timedelta(hours=1),
        not_after=pki.now + timedelta(days=9),
        extensions=pki.authority.system_extensions(key, agrees=True),
    )
    attack = replace(ed.author, signer=issued.signer()).compose(suite=SUITES[Generation.V2_0])
    verdict = Verdict("G6", "cert.usage", "EBMS:0101")
    await ed.refuses(attack, verdict, twin=ed.compose())


ED25519_ORDER = (1 << 252) + 27742317777372353535851937790883648493


async def case_second_form_of_ed25519(ed: NewArena) -> None:
    """S and S plus the order of the group prove the same, so only one of them may be taken."""

    def change(tree: Tree) -> None:
        value = tree.find(names.DS, "SignatureValue")
        octets = base64.b64decode(value.text)
        other = int.from_bytes(octets[32:], "little") + ED25519_ORDER
        value.text = base64.b64encode(octets[:32] + other.to_bytes(32, "little")).decode()

    await ed.refuses_change(change, Verdict("G6", "sig.value", "EBMS:0101"))


def key_length(text: str) -> Case:
    async def case_key_length(arena: NewArena) -> None:
        def change(tree: Tree) -> None:
            tree.find(MORE, "KeyLength").text = text

        await arena.refuses_change(change, Verdict("G5", "alg.derivation", "EBMS:0103"))

    return case_key_length


async def case_long_salt(arena: NewArena) -> None:
    """Half of all that a SOAP part may hold, to be hashed before anybody knows who asks for it."""
    verdict = Verdict("G5", "alg.derivation", "EBMS:0103")
    await arena.refuses_change(set_text("Salt", b"s" * (384 << 10), MORE), verdict)


async def case_long_info(arena: NewArena) -> None:
    def change(tree: Tree) -> None:
        info = etree.Element(q(MORE, "Info"))
        info.text = base64.b64encode(b"i" * (384 << 10)).decode()
        tree.find(MORE, "Salt").addnext(info)

    await arena.refuses_change(change, Verdict("G5", "alg.derivation", "EBMS:0103"))


CURVES = [ec.SECP192R1, ec.SECP224R1, ec.SECP256K1, ec.SECP384R1, ec.BrainpoolP256R1]


def on_curve(curve: type[ec.EllipticCurve]) -> Case:
    async def case_signer_on_another_curve(p256: NewArena) -> None:
        """Certified by the authority that is trusted, and the signature verifies."""
        pki, key = p256.pki, ec.generate_private_key(curve())
        issued = pki.authority.issue(
            p256.theirs[Generation.V2_0_P256].signing.certificate.subject,
            key,
            not_before=pki.now - timedelta(hours=1),
            not_after=pki.now + timedelta(days=9),
            extensions=pki.authority.system_extensions(key),
        )
        attack = replace(p256.author, signer=issued.signer())
        suite = SUITES[Generation.V2_0_P256]
        await p256.refuses(attack.compose(suite=suite), WRONG_KEY, twin=p256.compose())

    return case_signer_on_another_curve


def binary_curve(p256: NewArena) -> bytes:
    """The sender's certificate with its point said to be on sect283k1."""
    certificate = asn1.Certificate.load(der(p256.author.signer.certificate))
    info = certificate["tbs_certificate"]["subject_public_key_info"]
    info["algorithm"]["parameters"] = asn1_keys.ECDomainParameters("named", "1.3.132.0.16")
    return bytes(certificate.dump(force=True))


ED = [
    row("ALG-18", case_low_order_point),
    row("ALG-18", case_second_form_of_ed25519),
    *(row("ALG-18", key_length(text)) for text in ("0", "32", "-16", "999999999", "")),
    row("ALG-18", case_long_salt),
    row("ALG-18", case_long_info),
    row("ALG-18", case_other_hash_in_the_derivation),
    row("ALG-18", case_derivation_without_parameters),
    case_mixed_generations,
    case_certificate_for_another_use,
]
P256 = [
    case_other_hash_in_the_derivation,
    case_derivation_without_parameters,
    case_mixed_generations,
    case_another_curve,
    case_point_beside_the_curve,
    case_signature_in_der,
    *(row("ALG-08", on_curve(curve), id=curve.name) for curve in CURVES),
]


@pytest.mark.parametrize("case", ED, ids=lambda case: case.__name__)
async def test_weakness_of_the_common_profile(ed: NewArena, case: Case) -> None:
    await case(ed)


@pytest.mark.parametrize("case", P256, ids=lambda case: case.__name__)
async def test_weakness_of_the_alternative(p256: NewArena, case: Case) -> None:
    await case(p256)


SIGNATURES = {
    Generation.V1_15: names.RSA_SHA256,
    Generation.V2_0: names.EDDSA_ED25519,
    Generation.V2_0_P256: names.ECDSA_SHA256,
}


@pytest.mark.attack("ALG-08")
@pytest.mark.parametrize(("key", "declared"), list(permutations(Generation, 2)))
async def test_algorithm_of_another_type_of_key(
    new_arena: NewArena, key: Generation, declared: Generation
) -> None:
    """The declared algorithm chooses the policy; everything else of the message is of that generation."""
    old = Arena(*(getattr(new_arena, one.name) for one in fields(Arena)))
    arenas = {one: replace(new_arena, generation=one) for one in NEW}
    arena = arenas.get(declared, old)
    signer = arenas.get(key, old).author.signer
    suite = replace(SUITES[declared], signature_algorithm=SIGNATURES[key])
    wire = replace(arena.author, signer=signer).compose(suite=suite)
    attack = wire.with_text(SIGNATURES[key], SIGNATURES[declared])
    twin = arena.author.test_message(suite=SUITES[declared])
    await arena.refuses(attack, WRONG_KEY, twin=twin)


@pytest.mark.attack("ALG-08")
async def test_key_on_a_binary_curve(p256: NewArena) -> None:
    suite = replace(SUITES[Generation.V2_0_P256], signing_token=TokenForm.BINARY_SECURITY_TOKEN)
    wire = p256.author.compose(suite=suite)
    text = base64.b64encode(binary_curve(p256)).decode()

    def attack(tree: Tree) -> None:
        tree.find(names.WSSE, "BinarySecurityToken").text = text

    await p256.refuses(wire.with_tree(attack), WRONG_KEY, twin=wire)


async def test_rsa_sha384_after_the_move(moved_arena: NewArena) -> None:
    """The quirk of the old product lets no RSA signature into an agreement without RSA."""
    suite = replace(SUITES[Generation.V2_0], signature_algorithm=names.RSA_SHA384)
    attack = replace(moved_arena.author, signer=moved_arena.pki.municipality.signer())
    verdict = Verdict("G5", "alg.signature", "EBMS:0103")
    await moved_arena.refuses(attack.compose(suite=suite), verdict, twin=moved_arena.twin)


async def test_rsa_oaep_after_the_move(moved_arena: NewArena) -> None:
    """Nor a content key wrapped for our RSA key as the old product wrapped it."""

    def as_the_old_product(tree: Tree) -> None:
        method = tree.find(names.XENC, "EncryptionMethod")
        method.set("Algorithm", names.RSA_OAEP_MGF1P)
        for child in method:
            method.remove(child)

    suite = replace(SUITES[Generation.V2_0], key_transport=KeyTransport.RSA_OAEP)
    author = replace(moved_arena.author, recipient=moved_arena.pki.clinic.certificate)
    attack = author.compose(suite=suite).with_tree(as_the_old_product)
    verdict = Verdict("G5", "alg.transport", "EBMS:0103")
    await moved_arena.refuses(attack, verdict, twin=moved_arena.twin)


# Planted faults


def zero_secret_taken(patch: pytest.MonkeyPatch) -> None:
    """Agree on whatever comes out, as a library without the check would."""
    original = FileDecrypter._unwrap_agreed

    def unwrap(own: FileDecrypter, algorithm: str, agreement: Any, value: bytes) -> bytes:
        try:
            return original(own, algorithm, agreement, value)
        except ValueError:
            key = HKDF(hashes.SHA256(), 16, agreement.salt, agreement.info).derive(bytes(32))
            return aes_key_unwrap(key, value)

    patch.setattr(FileDecrypter, "_unwrap_agreed", unwrap)


def any_derivation(patch: pytest.MonkeyPatch) -> None:
    """Take HKDF for granted and read only the salt."""

    def read(element: Any, _policy: Any) -> tuple[bytes, bytes]:
        salt = next(element.iter(q(MORE, "Salt")), None)
        return (b"" if salt is None else base64.b64decode(salt.text)), b""

    patch.setattr(envelope.key_agreement, "_read_derivation", read)


def one_list_of_algorithms(patch: pytest.MonkeyPatch) -> None:
    """Everything agreed is allowed together."""

    def spoken(mode: PMode, _algorithm: str | None) -> PMode:
        policies = [POLICIES[one] for one in mode.generations]
        policy = replace(
            mode.policy,
            signature_algorithms=frozenset().union(*(p.signature_algorithms for p in policies)),
            key_transports=frozenset().union(*(p.key_transports for p in policies)),
            curves=frozenset().union(*(p.curves for p in policies)),
        )
        return replace(mode, policy=policy)

    patch.setattr(PMode, "spoken_by", spoken)


def any_form_of_ecdsa(patch: pytest.MonkeyPatch) -> None:
    original = _Ecdsa.verify

    def verify(scheme: _Ecdsa, key: Any, value: bytes, octets: bytes, policy: Any) -> None:
        try:
            original(scheme, key, value, octets, policy)
        except InvalidSignature:
            key.verify(value, octets, ec.ECDSA(scheme.digest))

    patch.setattr(_Ecdsa, "verify", verify)


def any_use(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(keys.path, "_check_usage", lambda *_arguments, **_named: None)
    patch.setattr("accesspoint.trust.check_party", lambda *_arguments, **_named: None)


@pytest.mark.parametrize(
    ("generation", "fault", "case"),
    [
        (Generation.V2_0, zero_secret_taken, case_low_order_point),
        (Generation.V2_0, any_derivation, case_other_hash_in_the_derivation),
        (Generation.V2_0_P256, any_derivation, case_derivation_without_parameters),
        (Generation.V2_0, one_list_of_algorithms, case_mixed_generations),
        (Generation.V2_0_P256, one_list_of_algorithms, case_another_curve),
        (Generation.V2_0_P256, any_form_of_ecdsa, case_signature_in_der),
        (Generation.V2_0, any_use, case_certificate_for_another_use),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
async def test_case_goes_red(
    new_arena: NewArena,
    monkeypatch: pytest.MonkeyPatch,
    generation: Generation,
    fault: Callable[[pytest.MonkeyPatch], None],
    case: Case,
) -> None:
    stage = replace(new_arena, generation=generation)
    await stage.node.idle()
    with monkeypatch.context() as patch:
        fault(patch)
        with pytest.raises(AssertionError):
            await case(stage)
        await stage.node.idle()
