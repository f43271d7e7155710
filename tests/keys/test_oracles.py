"""Second opinions: pyhanko-certvalidator and the openssl command judge the same certificates as `keys.path`."""

import datetime as dt
import shutil
import subprocess
import sys

import pytest
from asn1crypto import x509 as asn1
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ObjectIdentifier
from pyhanko_certvalidator import CertificateValidator, ValidationContext
from pyhanko_certvalidator.errors import PathError, ValidationError

from keys.certificate import der, pem
from keys.crl import CrlStore
from keys.devca import DevelopmentAuthority, key_usage
from keys.errors import UntrustedCertificate
from keys.path import Usage, validate
from keys.revocation import RevocationMode, RevocationPolicy

DAY = dt.timedelta(days=1)
OPENSSL = shutil.which("openssl")


def critical(extensions):
    strange = x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4.5"), b"\x05\x00")
    return [*extensions, (strange, True)]


def no_signing(extensions):
    return [(key_usage(key_encipherment=True), True), *extensions[1:]]


def constrained(extensions):
    return [*extensions, (x509.NameConstraints([x509.DNSName("good.example")], None), True)]


def named(host):
    return lambda extensions: [
        *extensions,
        (x509.SubjectAlternativeName([x509.DNSName(host)]), False),
    ]


CASES = {
    "good": (True, lambda pki: pki.leaf()),
    "good-curve": (True, lambda pki: pki.leaf(key=pki.curve_key)),
    "good-name-inside": (
        True,
        lambda pki: pki.below(pki.intermediate(bend=constrained), bend=named("ap.good.example")),
    ),
    "expired": (False, lambda pki: pki.leaf(begins=-20, ends=-1)),
    "not-yet": (False, lambda pki: pki.leaf(begins=2)),
    "stranger": (False, lambda pki: pki.leaf(authority=pki.stranger)),
    "expired-intermediate": (False, lambda pki: pki.below(pki.intermediate(begins=-9, ends=-1))),
    "leaf-as-authority": (False, lambda pki: pki.below(pki.leaf(), key=pki.other_key)),
    "path-length": (
        False,
        lambda pki: pki.below(pki.intermediate(issuer=pki.authority.keys[1], path_length=None)),
    ),
    "critical-extension": (False, lambda pki: pki.bent_leaf(critical)),
    "key-usage": (False, lambda pki: pki.bent_leaf(no_signing)),
    "name-outside": (
        False,
        lambda pki: pki.below(pki.intermediate(bend=constrained), bend=named("ap.bad.example")),
    ),
}


async def pyhanko(pki, issued, *, crls=(), mode="soft-fail", at=None):
    context = ValidationContext(
        trust_roots=[asn1.Certificate.load(der(pki.authority.root))],
        other_certs=[
            asn1.Certificate.load(der(one)) for one in (*issued.chain, pki.authority.issuing)
        ],
        moment=at or pki.at,
        crls=list(crls),
        revocation_mode=mode,
        allow_fetching=False,
    )
    certificate = asn1.Certificate.load(der(issued.certificate))
    try:
        await CertificateValidator(certificate, validation_context=context).async_validate_usage(
            {"digital_signature"}
        )
    except (ValidationError, PathError):
        return False
    return True


def ours(pki, issued, *, crls=None, policy=None, at=None):
    try:
        validate(
            issued.certificate,
            issued.chain,
            trust=pki.trust,
            at=at or pki.at,
            usage=Usage.SIGNING,
            revocation=policy or RevocationPolicy(RevocationMode.OFF, "compared without"),
            crls=crls,
        )
    except UntrustedCertificate:
        return False
    return True


@pytest.mark.parametrize("case", CASES)
async def test_pyhanko_agrees_on_the_path(pki, case):
    expected, make = CASES[case]
    issued = make(pki)
    assert ours(pki, issued) is expected
    assert await pyhanko(pki, issued) is expected


@pytest.mark.parametrize(
    ("revoked", "days", "lists", "expected"),
    [
        (False, 0, 2, True),
        (True, 0, 2, False),
        (False, 8, 2, False),
        (False, 0, 1, False),
        (False, 0, 0, False),
    ],
    ids=["good", "revoked", "stale", "no-list-of-the-root", "no-list"],
)
async def test_pyhanko_agrees_on_required_revocation(pki, revoked, days, lists, expected):
    issued = pki.leaf()
    authority = DevelopmentAuthority(*pki.authority.keys)
    if revoked:
        authority.revoke(issued.certificate, at=pki.at - DAY)
    made = [authority.crl(pki.at), authority.root_crl(pki.at)][:lists]
    store = CrlStore(pki.trust.authorities)
    for crl in made:
        store.add(crl, at=pki.at)
    at = pki.at + days * DAY + dt.timedelta(minutes=1)
    assert ours(pki, issued, crls=store, policy=RevocationPolicy(), at=at) is expected
    assert await pyhanko(pki, issued, crls=made, mode="require", at=at) is expected


async def test_oscrypto_is_never_loaded(pki):
    assert await pyhanko(pki, pki.leaf())
    assert "oscrypto" not in sys.modules


def openssl_verify(pki, directory, issued, *, crls=()):
    anchors, chain = directory / "anchors.pem", directory / "chain.pem"
    leaf, lists = directory / "leaf.pem", directory / "lists.pem"
    anchors.write_bytes(pem(pki.authority.root))
    chain.write_bytes(pem(*issued.chain, pki.authority.issuing))
    leaf.write_bytes(pem(issued.certificate))
    command = [OPENSSL, "verify", "-x509_strict", "-no-CAfile", "-no-CApath", "-no-CAstore"]
    command += ["-trusted", str(anchors), "-untrusted", str(chain)]
    command += ["-attime", str(int(pki.at.timestamp()))]
    if crls:
        readable = [x509.load_der_x509_crl(crl) for crl in crls]
        lists.write_bytes(b"".join(crl.public_bytes(Encoding.PEM) for crl in readable))
        command += ["-crl_check_all", "-CRLfile", str(lists)]
    done = subprocess.run(
        [*command, str(leaf)], capture_output=True, check=False, timeout=20, text=True
    )
    return "OK" if done.returncode == 0 else done.stderr


OPENSSL_SAYS = {
    "good": "OK",
    "good-curve": "OK",
    "good-name-inside": "OK",
    "expired": "certificate has expired",
    "not-yet": "certificate is not yet valid",
    "stranger": "unable to get local issuer certificate",
    "expired-intermediate": "certificate has expired",
    "leaf-as-authority": "invalid CA certificate",
    "path-length": "path length constraint exceeded",
    "critical-extension": "unhandled critical extension",
    "name-outside": "permitted subtree violation",
}


@pytest.mark.skipif(OPENSSL is None, reason="the openssl command is not installed")
@pytest.mark.parametrize("case", OPENSSL_SAYS)
def test_openssl_agrees_on_the_path_and_the_reason(pki, tmp_path, case):
    """`openssl verify` is not asked what the key is used for, so the key usage case is left out."""
    expected, make = CASES[case]
    issued = make(pki)
    assert OPENSSL_SAYS[case] in openssl_verify(pki, tmp_path, issued)
    assert ours(pki, issued) is expected


@pytest.mark.skipif(OPENSSL is None, reason="the openssl command is not installed")
@pytest.mark.parametrize("revoked", [False, True])
def test_openssl_agrees_on_revocation(pki, tmp_path, revoked):
    issued = pki.leaf()
    authority = DevelopmentAuthority(*pki.authority.keys)
    if revoked:
        authority.revoke(issued.certificate, at=pki.at - DAY)
    crls = [authority.crl(pki.at - DAY), authority.root_crl(pki.at - DAY)]
    said = openssl_verify(pki, tmp_path, issued, crls=crls)
    assert ("certificate revoked" if revoked else "OK") in said
