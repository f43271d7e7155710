"""A certificate and a token reference as nodes: whose it is, by whom, from when to when, and whether that fits a time."""

from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.hashes import SHA256

from envelope.errors import CertificateRefused
from envelope.explain.gates import Trust, Unseen
from envelope.explain.node import Mark, Node, broken
from envelope.security_token import TokenReference


def show_certificate(label: str, certificate: x509.Certificate, at: datetime | None) -> Node:
    """Subject, issuer, key and validity; the mark says whether it was valid `at` that time."""
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    validity = f"{start:%Y-%m-%d} to {end:%Y-%m-%d}"
    if at is None:
        valid = Node(
            "valid", f"{validity}; the message names no time to hold it against", Mark.UNSEEN
        )
    else:
        holds = start <= at <= end
        said = "valid" if holds else "not valid"
        valid = Node(
            "valid",
            f"{validity}: {said} at {at:%Y-%m-%d %H:%M} UTC, the time of the message",
            Mark.HOLDS if holds else Mark.BROKEN,
            refusal=None
            if holds
            else CertificateRefused("not valid at the time of the message", reason="cert.time"),
        )
    return Node(
        label,
        certificate.subject.rfc4514_string() or "(no subject)",
        children=(
            Node("issuer", certificate.issuer.rfc4514_string()),
            Node("serial", f"{certificate.serial_number:x}"),
            Node("key", _key(certificate)),
            valid,
            Node("SHA-256", certificate.fingerprint(SHA256()).hex()),
        ),
    )


def show_trust(
    trust: Trust,
    certificate: x509.Certificate,
    chain: tuple[x509.Certificate, ...],
    at: datetime | None,
) -> Node:
    """Whether a path leads from the certificate to an anchor that the person gave."""
    label = "chain"
    try:
        return Node(label, trust.check(certificate, chain, at), Mark.HOLDS)
    except CertificateRefused as refusal:
        return broken(label, refusal)
    except Unseen as end:
        return Node(label, f"not looked at: {end}", Mark.UNSEEN)


def show_token(token: TokenReference) -> str:
    """How a token names its certificate, in words."""
    if token.key_identifier is not None:
        return f"by subject key identifier {token.key_identifier.hex()}"
    if token.issuer is not None:
        return f"by issuer and serial: {token.issuer}, serial {token.serial:x}"
    if token.chain:
        return f"by a PKI path of {1 + len(token.chain)} certificates in the header"
    return "by the certificate itself, in the header"


def _key(certificate: x509.Certificate) -> str:
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return "of a kind that cannot be read"
    kind = type(key).__name__.lstrip("_").removesuffix("PublicKey")
    size = getattr(key, "key_size", "")
    curve = getattr(getattr(key, "curve", None), "name", "")
    return f"{kind} {curve or size}".strip()
