"""TLS contexts for server, client and token endpoint: 1.2 or newer, our own trust, nothing from the system.

A client checks the server's name, or, with pins, that the certificate is exactly the one expected. A
server asks for a client certificate or insists on one. The `ssl` module checks chain, time and extended
key usage; revocation and party are asked afterwards with the certificate from `peer_certificate`, through
`keys.path` and `keys.identity`.

Spec: ehmi.md 3.3 (TLS), 7.1 (mutual TLS, BCP 195); decisions D14.
"""

import ssl
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

from cryptography import x509

from keys.certificate import der, describe, fingerprint, load_certificate, parse_fingerprint
from keys.errors import KeyStoreError, UnknownIssuer, WrongSubject

CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2: forward secrecy and authenticated encryption only; TLS 1.3 knows nothing else."""
ALLOWED: Final = frozenset(
    {
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-RSA-CHACHA20-POLY1305",
    }
)
"""What `CIPHERS` stands for, by OpenSSL's names: a configuration may choose among these, and no others."""


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """The oldest version that is spoken, and the cipher suites of TLS 1.2, by OpenSSL's names; none means all allowed.

    Raises:
        KeyStoreError: an older version than 1.2, or a suite that is not allowed.
    """

    minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    ciphers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.minimum < ssl.TLSVersion.TLSv1_2:
            raise KeyStoreError("TLS before 1.2 is not spoken")
        strangers = sorted(set(self.ciphers) - ALLOWED)
        if strangers:
            raise KeyStoreError(f"not an allowed cipher suite: {', '.join(strangers)}")


_USUAL: Final = TlsSettings()


class ClientCertificate(StrEnum):
    """Whether a server asks its clients for a certificate."""

    NONE = "none"
    OPTIONAL = "optional"
    REQUIRED = "required"


class TlsConnection(Protocol):
    """An `ssl.SSLObject` or `ssl.SSLSocket` after the handshake."""

    def getpeercert(self, binary_form: bool = ..., /) -> object: ...


def server_context(
    certificate_file: Path | str,
    key_file: Path | str,
    client_anchors: Iterable[x509.Certificate] | None = None,
    *,
    client_certificate: ClientCertificate | None = None,
    settings: TlsSettings = _USUAL,
) -> ssl.SSLContext:
    """Return a context for a server.

    Args:
        certificate_file: PEM, leaf first, then its chain.
        key_file: PEM.
        client_anchors: authorities (and intermediates) whose client certificates are accepted; leaf
            certificates among them are accepted as they are.
        client_certificate: required when anchors are given and none otherwise, unless said.
        settings: versions and cipher suites.

    Raises:
        KeyStoreError: the files cannot be used, or client certificates are asked for without anchors.
    """
    anchors = tuple(client_anchors or ())
    ask = client_certificate
    if ask is None:
        ask = ClientCertificate.REQUIRED if anchors else ClientCertificate.NONE
    if ask is not ClientCertificate.NONE and not anchors:
        raise KeyStoreError("client certificates are asked for, but no anchor for them is given")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    harden(context, settings)
    _load_pair(context, certificate_file, key_file)
    if ask is ClientCertificate.NONE:
        context.verify_mode = ssl.CERT_NONE
        return context
    _trust(context, anchors)
    context.verify_mode = (
        ssl.CERT_REQUIRED if ask is ClientCertificate.REQUIRED else ssl.CERT_OPTIONAL
    )
    return context


def client_context(
    certificate_file: Path | str | None = None,
    key_file: Path | str | None = None,
    anchors: Iterable[x509.Certificate] = (),
    *,
    pinned: Iterable[x509.Certificate] = (),
    settings: TlsSettings = _USUAL,
) -> ssl.SSLContext:
    """Return a context for a client.

    Args:
        certificate_file: our own certificate for mutual TLS, PEM, leaf first; None for none.
        key_file: its key.
        anchors: authorities (and intermediates) for servers, whose names are checked.
        pinned: server certificates that are accepted as they are, whatever name they carry, instead of
            anchors. Call `check_pinned_peer` after the handshake.
        settings: versions and cipher suites.

    Raises:
        KeyStoreError: the files cannot be used; or neither or both of anchors and pins are given.
    """
    authorities, pins = tuple(anchors), tuple(pinned)
    if bool(authorities) == bool(pins):
        raise KeyStoreError("a TLS client needs either anchors or pinned certificates")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    harden(context, settings)
    if certificate_file is not None and key_file is not None:
        _load_pair(context, certificate_file, key_file)
    elif certificate_file is not None or key_file is not None:
        raise KeyStoreError("a TLS client certificate needs both certificate and key")
    _trust(context, authorities or pins)
    # A pin says more than a name: only these certificates pass, so whose name they bear is their affair.
    context.check_hostname = not pins
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def check_pair(certificate_file: Path | str, key_file: Path | str) -> None:
    """Refuse a pair that OpenSSL does not take, whatever else is right about it.

    Raises:
        KeyStoreError: the files cannot be used.
    """
    _load_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), certificate_file, key_file)


def renew_pair(context: ssl.SSLContext, certificate_file: Path | str, key_file: Path | str) -> None:
    """Show another certificate in handshakes from now on; connections that are open stay as they are.

    The key has to be of the kind that it was, since a context has a place for each kind, and the pair one that
    `check_pair` passed: of one that cannot be loaded a part may stay.

    Raises:
        KeyStoreError: the files cannot be used.
    """
    _load_pair(context, certificate_file, key_file)


def peer_certificate(connection: TlsConnection | None) -> x509.Certificate:
    """Return the certificate the other side proved to hold the key of.

    Raises:
        UnknownIssuer: there is no TLS or the other side showed no certificate.
        UnreadableCertificate: it cannot be parsed.
    """
    shown = connection.getpeercert(True) if connection is not None else None
    if not isinstance(shown, bytes):
        raise UnknownIssuer("the other side showed no TLS certificate")
    return load_certificate(shown)


def check_pinned_peer(
    connection: TlsConnection | None, expected: Collection[str]
) -> x509.Certificate:
    """Return the peer's certificate after comparing its SHA-256 fingerprint with those expected.

    Raises:
        UnknownIssuer: no certificate was shown.
        WrongSubject: it is another one.
    """
    certificate = peer_certificate(connection)
    if fingerprint(certificate) not in {parse_fingerprint(pin) for pin in expected}:
        raise WrongSubject(f"not the pinned TLS certificate: {describe(certificate)}")
    return certificate


def harden(context: ssl.SSLContext, settings: TlsSettings = _USUAL) -> None:
    """Set versions, suites and options that every context of ours has."""
    context.minimum_version = settings.minimum
    context.set_ciphers(":".join(settings.ciphers) or CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_SINGLE_ECDH_USE
    context.set_alpn_protocols(["http/1.1"])


def _load_pair(context: ssl.SSLContext, certificate_file: Path | str, key_file: Path | str) -> None:
    try:
        # A password callback keeps OpenSSL from asking the terminal when the key is encrypted.
        context.load_cert_chain(certificate_file, key_file, password=lambda: b"")
    except (ssl.SSLError, OSError) as error:
        raise KeyStoreError(f"{certificate_file} and {key_file} cannot be used for TLS") from error


def _trust(context: ssl.SSLContext, certificates: Iterable[x509.Certificate]) -> None:
    """Trust exactly these certificates, authorities or not, wherever in a chain they stand."""
    context.load_verify_locations(cadata=b"".join(der(certificate) for certificate in certificates))
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_TRUSTED_FIRST
