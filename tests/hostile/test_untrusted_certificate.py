"""A good signature by somebody who may not make it: the certificate is not trusted, not valid, or not the sender's."""

import base64
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from as4_arena import Arena, Verdict
from as4_stage import CHANGING_PARTY, STRANGER, THIRD_PARTY, Pki
from as4_wire import Author, Tree
from attack_rows import row
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID
from lxml import etree

from accesspoint.demo.scenery import MUNICIPALITY
from accesspoint.network.listening import Listeners
from envelope import names
from envelope.names import q
from envelope.pmode import SecuritySuite, TokenForm
from envelope.security_token import load_path
from keys.certificate import der
from keys.devca import (
    DevelopmentAuthority,
    IssuedCertificate,
    authority_extensions,
    authority_name,
    build_certificate,
    key_usage,
    system_name,
)


def refused(reason: str, *, gate: str = "G6", code: str = "EBMS:0101") -> Verdict:
    return Verdict(gate, reason, code)


async def refuse_signer(
    arena: Arena, issued: IssuedCertificate, reason: str, *, party: str = THIRD_PARTY
) -> None:
    """Refuse a message signed with this certificate; the third party itself is welcome."""
    third = Author(arena.pki.third.signer(), arena.node.certificate, party=THIRD_PARTY)
    attacker = Author(issued.signer(), arena.node.certificate, party=party)
    twin = third.compose()
    await arena.refuses(attacker.compose(message_id=twin.message_id), refused(reason), twin=twin)


@pytest.mark.attack("KEY-01")
async def test_self_signed(arena: Arena) -> None:
    pki = arena.pki
    name = system_name(THIRD_PARTY, "Eksempel", "10000009", "0")
    certificate = build_certificate(
        subject=name,
        public_key=pki.spare_key.public_key(),
        issuer=name,
        issuer_key=pki.spare_key,
        not_before=pki.now - timedelta(hours=1),
        not_after=pki.now + timedelta(days=1),
        extensions=pki.authority.system_extensions(pki.spare_key),
    )
    await refuse_signer(arena, IssuedCertificate(certificate, pki.spare_key, ()), "cert.untrusted")


@pytest.mark.attack("KEY-02")
@pytest.mark.parametrize("party", [THIRD_PARTY, MUNICIPALITY.access_point])
async def test_authority_that_nobody_trusts(arena: Arena, party: str) -> None:
    issued = arena.pki.certify(party, authority=arena.pki.untrusted_authority)
    await refuse_signer(arena, issued, "cert.untrusted", party=party)


@pytest.mark.attack("KEY-02")
async def test_authority_that_is_trusted_for_tls_only(arena: Arena) -> None:
    """Who may open doors may not sign letters: each purpose has a store of its own."""
    issued = arena.pki.certify(THIRD_PARTY, authority=arena.pki.tls_authority)
    await refuse_signer(arena, issued, "cert.untrusted")


@pytest.mark.attack("KEY-18")
async def test_certificates_of_a_partner_that_changes(arena: Arena) -> None:
    """While both are agreed, both are accepted; a third one of the same name, on the same key even, is not."""
    old, new = arena.pki.changing
    authors = [Author(each.signer(), arena.node.certificate, CHANGING_PARTY) for each in (old, new)]
    for author in authors:
        await arena.accepts(author.compose())
    retired = arena.pki.certify(CHANGING_PARTY, serial=1800)
    attacker = Author(retired.signer(), arena.node.certificate, CHANGING_PARTY)
    twin = authors[1].compose()
    attack = attacker.compose(message_id=twin.message_id)
    await arena.refuses(attack, refused("cert.party"), twin=twin)


@pytest.mark.attack("KEY-13")
async def test_key_identifier_of_two_certificates(arena: Arena) -> None:
    """Two certificates on one key answer to one identifier: which of them signed is not found by trying."""
    _, new = arena.pki.changing
    author = Author(new.signer(), arena.node.certificate, CHANGING_PARTY)
    suite = SecuritySuite(signing_token=TokenForm.KEY_IDENTIFIER)
    twin = author.compose(suite=SecuritySuite(signing_token=TokenForm.ISSUER_SERIAL))
    attack = author.compose(message_id=twin.message_id, suite=suite)
    await arena.refuses(attack, refused("key.ambiguous"), twin=twin)


def below(
    pki: Pki, *, beside: bool = False, expired: bool = False, length: int | None = None
) -> IssuedCertificate:
    """The third party's certificate by an authority that stands below our issuing one, or beside it by the root."""
    root, issuing = pki.authority.keys
    above = root if beside else issuing
    start = pki.now - timedelta(days=2 if expired else 1)
    authority = build_certificate(
        subject=authority_name("Eksempel Udstedende 2"),
        public_key=pki.spare_key.public_key(),
        issuer=above.certificate.subject,
        issuer_key=above.private_key,
        not_before=start,
        not_after=start + timedelta(days=1 if expired else 9),
        extensions=authority_extensions(pki.spare_key, above.private_key, path_length=length),
    )
    leaf = build_certificate(
        subject=system_name(THIRD_PARTY, "Eksempel", "10000009", "2"),
        public_key=pki.spare_key.public_key(),
        issuer=authority.subject,
        issuer_key=pki.spare_key,
        not_before=pki.now - timedelta(hours=1),
        not_after=pki.now + timedelta(days=1),
        extensions=pki.authority.system_extensions(pki.spare_key),
    )
    return IssuedCertificate(leaf, pki.spare_key, (authority,))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        row("KEY-03", lambda pki: below(pki, beside=True, expired=True), "cert.time"),
        row("KEY-05", lambda pki: below(pki, beside=True, length=0), "cert.revocation-unknown"),
        row("KEY-09", below, "cert.path"),
        row("KEY-09", lambda pki: below(pki, length=3), "cert.path"),
    ],
    ids=["expired", "whose list nobody has", "too deep", "too deep, whatever it says"],
)
async def test_authority_below_a_trusted_one(
    arena: Arena, make: Callable[[Pki], IssuedCertificate], reason: str
) -> None:
    """A path that the sender brings along ends at our anchor and is no good all the same."""
    third = Author(arena.pki.third.signer(), arena.node.certificate, party=THIRD_PARTY)
    attacker = Author(make(arena.pki).signer(), arena.node.certificate, party=THIRD_PARTY)
    suite = SecuritySuite(signing_token=TokenForm.PKI_PATH)
    twin = third.compose(suite=suite)
    attack = attacker.compose(message_id=twin.message_id, suite=suite)
    await arena.refuses(attack, refused(reason), twin=twin)


@pytest.mark.attack("DSC-09")
async def test_addresses_inside_a_certificate(arena: Arena) -> None:
    """Lists and issuers are where the configuration says; what a certificate says of them leads nobody anywhere."""
    asked: list[str] = []

    async def note(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=404)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", note)
    listeners = Listeners()
    url = await listeners.start(application)
    try:
        inviting = [
            (x509.CRLDistributionPoints([x509.DistributionPoint([uri(f"{url}/crl")], None, None, None)]), False),
            (x509.AuthorityInformationAccess([
                x509.AccessDescription(AuthorityInformationAccessOID.OCSP, uri(f"{url}/ocsp")),
                x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, uri(f"{url}/ca")),
            ]), False),
        ]  # fmt: skip
        pki = arena.pki
        chosen = [*pki.authority.system_extensions(pki.spare_key), *inviting]
        untrusted = issued_with(pki, chosen, authority=pki.untrusted_authority)
        await refuse_signer(arena, untrusted, "cert.untrusted")
        trusted = Author(issued_with(pki, chosen).signer(), arena.node.certificate, THIRD_PARTY)
        await arena.accepts(trusted.compose())
        async with aiohttp.ClientSession() as session:
            await session.get(f"{url}/control")
    finally:
        await listeners.stop()
    assert asked == ["/control"]


@pytest.mark.attack("KEY-12")
async def test_path_in_another_order(arena: Arena) -> None:
    """The leaf stands last and nowhere else, whichever certificate of the path would verify."""
    third = Author(arena.pki.third.signer(), arena.node.certificate, party=THIRD_PARTY)
    suite = SecuritySuite(signing_token=TokenForm.PKI_PATH)
    wire = third.compose(suite=suite)

    def turned(tree: Tree) -> None:
        token = tree.find(names.WSSE, "BinarySecurityToken")
        path = b"".join(map(der, load_path(base64.b64decode(token.text))))
        token.text = base64.b64encode(b"\x30\x82" + len(path).to_bytes(2, "big") + path).decode()

    await arena.refuses(wire.with_tree(turned), refused("sig.value"), twin=wire)


@pytest.mark.attack("KEY-02")
async def test_untrusted_authority_in_the_path(arena: Arena) -> None:
    """The chain that a peer sends helps to build a path; it never ends one."""
    pki = arena.pki
    issued = pki.certify(THIRD_PARTY, authority=pki.untrusted_authority)
    chain = (pki.untrusted_authority.issuing, pki.untrusted_authority.root)
    third = Author(pki.third.signer(), arena.node.certificate, party=THIRD_PARTY)
    attacker = Author(
        replace(issued, chain=chain).signer(), arena.node.certificate, party=THIRD_PARTY
    )
    suite = SecuritySuite(signing_token=TokenForm.PKI_PATH)
    twin = third.compose(suite=suite)
    attack = attacker.compose(message_id=twin.message_id, suite=suite)
    await arena.refuses(attack, refused("cert.untrusted"), twin=twin)


@pytest.mark.attack("KEY-03")
async def test_expired(arena: Arena) -> None:
    now = arena.pki.now
    issued = arena.pki.certify(
        THIRD_PARTY, not_before=now - timedelta(hours=20), not_after=now - timedelta(minutes=5)
    )
    await refuse_signer(arena, issued, "cert.time")


@pytest.mark.attack("KEY-03")
async def test_not_yet_valid(arena: Arena) -> None:
    issued = arena.pki.certify(THIRD_PARTY, not_before=arena.pki.now + timedelta(hours=1))
    await refuse_signer(arena, issued, "cert.time")


@pytest.mark.attack("KEY-04")
async def test_revoked(arena: Arena) -> None:
    await refuse_signer(arena, arena.pki.revoked, "cert.revoked")


@pytest.mark.attack("KEY-08", "PTY-03")
async def test_certificate_of_another_party(arena: Arena) -> None:
    """The third party is trusted, but it is not the municipality that it says it is."""
    await refuse_signer(arena, arena.pki.third, "cert.party", party=MUNICIPALITY.access_point)


@pytest.mark.attack("KEY-17")
async def test_same_name_on_another_key(arena: Arena) -> None:
    """The authority certified the municipality's name again; agreed is the other certificate."""
    issued = arena.pki.certify(MUNICIPALITY.access_point)
    await refuse_signer(arena, issued, "cert.party", party=MUNICIPALITY.access_point)


async def test_party_that_the_certificate_does_not_name(arena: Arena) -> None:
    await refuse_signer(arena, arena.pki.third, "cert.party", party=STRANGER)


def extensions(pki: Pki, **usage: bool) -> list[Any]:
    kept = [
        pair
        for pair in pki.authority.system_extensions(pki.spare_key)
        if not isinstance(pair[0], x509.KeyUsage)
    ]
    return [(key_usage(**usage), True), *kept]


def policies(pki: Pki, *listed: str) -> list[Any]:
    """The extensions of a system certificate, with these policies and no others."""
    kept = [
        pair
        for pair in pki.authority.system_extensions(pki.spare_key)
        if not isinstance(pair[0], x509.CertificatePolicies)
    ]
    found = [x509.PolicyInformation(x509.ObjectIdentifier(one), None) for one in listed]
    return [*kept, (x509.CertificatePolicies(found), False)] if found else kept


def uri(url: str) -> x509.UniformResourceIdentifier:
    return x509.UniformResourceIdentifier(url)


def issued_with(
    pki: Pki, chosen: list[Any], *, authority: DevelopmentAuthority | None = None
) -> IssuedCertificate:
    return (authority or pki.authority).issue(
        system_name(THIRD_PARTY, "Eksempel", "10000009", "1"),
        pki.spare_key,
        not_before=pki.now - timedelta(hours=1),
        not_after=pki.now + timedelta(days=1),
        extensions=chosen,
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        row("KEY-06", lambda pki: extensions(pki, key_encipherment=True), "cert.usage"),
        row("KEY-06", lambda pki: extensions(pki)[1:], "cert.usage"),
        row(
            "KEY-07",
            lambda pki: [
                *extensions(pki, digital_signature=True),
                (x509.ExtendedKeyUsage([x509.OID_TIME_STAMPING]), False),
            ],
            "cert.policy",
        ),
        row("KEY-07", lambda pki: policies(pki), "cert.policy"),
        row("KEY-07", lambda pki: policies(pki, "1.2.208.999.1"), "cert.policy"),
        row(
            "KEY-09",
            lambda pki: [
                *extensions(pki, digital_signature=True, key_cert_sign=True),
                (x509.BasicConstraints(ca=True, path_length=0), True),
            ],
            "cert.path",
        ),
        row(
            "KEY-10",
            lambda pki: [
                *extensions(pki, digital_signature=True),
                (
                    x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.208.999.1"), b"\x05\x00"),
                    True,
                ),
            ],
            "cert.extension",
        ),
    ],
    ids=[
        "encipherment only",
        "no usage",
        "time stamping",
        "no policy",
        "another policy",
        "an authority",
        "unknown critical",
    ],
)
async def test_certificate_for_something_else(
    arena: Arena, change: Callable[[Pki], list[Any]], reason: str
) -> None:
    await refuse_signer(arena, issued_with(arena.pki, change(arena.pki)), reason)


async def test_tls_key_signs_a_message(arena: Arena) -> None:
    """An elliptic key under an RSA algorithm: declared and real key type must agree."""
    twin = arena.author.compose()

    def attack(tree: Tree) -> None:
        certificate = arena.pki.tls("municipality").certificate
        der = certificate.public_bytes(Encoding.DER)
        tree.find(names.WSSE, "BinarySecurityToken").text = base64.b64encode(der).decode()

    verdict = refused("alg.key", gate="G5", code="EBMS:0103")
    await arena.refuses(twin.with_tree(attack), verdict, twin=twin)


@pytest.mark.attack("KEY-16")
async def test_token_of_somebody_else(arena: Arena) -> None:
    twin = arena.author.compose()

    def attack(tree: Tree) -> None:
        der = arena.pki.third.certificate.public_bytes(Encoding.DER)
        tree.find(names.WSSE, "BinarySecurityToken").text = base64.b64encode(der).decode()

    await arena.refuses(twin.with_tree(attack), refused("sig.value"), twin=twin)


@pytest.mark.attack("KEY-15")
@pytest.mark.parametrize(
    "change",
    [
        lambda token: token.set("ValueType", "urn:example:token"),
        lambda token: token.set("EncodingType", "urn:example:hex"),
        lambda token: token.__setattr__("text", "not base64!"),
        lambda token: token.__setattr__("text", "AAAA"),
        lambda token: token.__setattr__(
            "text", base64.b64encode(base64.b64decode(token.text) + b"\0\0\0").decode()
        ),
        lambda token: token.__setattr__("text", "A" * 100_000),
        lambda token: token.__setattr__("text", ""),
    ],
    ids=["value type", "encoding type", "junk", "not DER", "trailing", "huge", "empty"],
)
async def test_token_that_cannot_be_read(arena: Arena, change: Callable[[Any], None]) -> None:
    wire = arena.author.compose()
    attack = wire.with_tree(lambda tree: change(tree.find(names.WSSE, "BinarySecurityToken")))
    await arena.refuses(attack, refused("cert.parse", gate="G5"), twin=wire)


def add_key_value(tree: Tree) -> None:
    info = tree.signature.find(q(names.DS, "KeyInfo"))
    etree.SubElement(info, q(names.DS, "KeyValue"))


def second_reference(tree: Tree) -> None:
    info = tree.signature.find(q(names.DS, "KeyInfo"))
    etree.SubElement(info, q(names.WSSE, "SecurityTokenReference"))


def two_in_one_reference(tree: Tree) -> None:
    (reference,) = tree.signature.iter(q(names.WSSE, "SecurityTokenReference"))
    etree.SubElement(reference, q(names.WSSE, "Reference"), URI="#other")


def retrieval_method(tree: Tree) -> None:
    info = tree.signature.find(q(names.DS, "KeyInfo"))
    info.remove(info[0])
    etree.SubElement(info, q(names.DS, "RetrievalMethod"), URI="http://127.0.0.1:9/key")


def dangling(tree: Tree) -> None:
    next(tree.signature.iter(q(names.WSSE, "Reference"))).set("URI", "#absent")


def token_elsewhere(tree: Tree) -> None:
    next(tree.signature.iter(q(names.WSSE, "Reference"))).set("URI", "http://127.0.0.1:9/x")


def empty_reference(tree: Tree) -> None:
    (reference,) = tree.signature.iter(q(names.WSSE, "SecurityTokenReference"))
    reference.remove(reference[0])


def user_name(tree: Tree) -> None:
    etree.SubElement(tree.security, q(names.WSSE, "UsernameToken"))


def assertion(tree: Tree) -> None:
    etree.SubElement(tree.security, "{urn:oasis:names:tc:SAML:2.0:assertion}Assertion")


AMBIGUOUS = refused("key.ambiguous", gate="G5")
REFERENCE = refused("key.reference", gate="G5", code="EBMS:0103")
TOKEN = refused("sec.token", gate="G5", code="EBMS:0103")


@pytest.mark.parametrize(
    ("attack", "verdict"),
    [
        row("KEY-11", add_key_value, AMBIGUOUS),
        row("KEY-12", second_reference, AMBIGUOUS),
        row("KEY-12", two_in_one_reference, AMBIGUOUS),
        row("KEY-14", retrieval_method, REFERENCE),
        row("KEY-14", dangling, REFERENCE),
        row("KEY-14", token_elsewhere, REFERENCE),
        row("KEY-14", empty_reference, REFERENCE),
        row("KEY-20", user_name, TOKEN),
        row("KEY-20", assertion, TOKEN),
    ],
)
async def test_key_info(arena: Arena, attack: Callable[[Tree], None], verdict: Verdict) -> None:
    wire = arena.author.compose()
    await arena.refuses(wire.with_tree(attack), verdict, twin=wire)


async def test_key_identifier_of_nobody_known(arena: Arena) -> None:
    """Only partners may leave their certificate out; the third party is none."""
    third = Author(arena.pki.third.signer(), arena.node.certificate, party=THIRD_PARTY)
    twin = third.compose()
    suite = SecuritySuite(signing_token=TokenForm.KEY_IDENTIFIER)
    attack = third.compose(message_id=twin.message_id, suite=suite)
    await arena.refuses(attack, refused("cert.untrusted"), twin=twin)
