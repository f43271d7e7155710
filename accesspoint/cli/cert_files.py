"""A certificate that a person names on the command line: a file, standard input, a partner, or a role of ours.

A passphrase comes from a file or from a terminal that asks without showing it; the command line itself, which
everybody on the machine can read, has no option for one.
"""

import getpass
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cryptography import x509

from accesspoint.certificates import Shown, named
from accesspoint.clock import SystemClock
from accesspoint.config import Configuration
from accesspoint.problems import ProblemRaised
from keys.bundle import Bundle, is_pkcs12, needs_passphrase, read_bundle, read_certificates
from keys.certificate import MAX_BUNDLE_BYTES
from keys.errors import BundleRefused, KeyStoreError, UnreadableCertificate, UntrustedCertificate
from keys.path import Usage
from keys.request import read_request
from keys.roles import Role
from keys.rotation import USES

_BEGINNING: Final = 64
_REQUEST: Final = b"CERTIFICATE REQUEST-----"
_UNREADABLE: Final = "certificate-unreadable"
_OTHERS: Final = (
    (
        b"PRIVATE KEY-----",
        "key",
        "it holds a private key; the certificate stands beside it, in .cert.pem",
    ),
    (_REQUEST, "request", "it is a request; what is wanted is the answer of the authority"),
)


@contextmanager
def telling_of_keys() -> Iterator[None]:
    """Tell of a file of our own that cannot be used as any other problem is told: nothing was to be started here."""
    try:
        yield
    except KeyStoreError as error:
        raise ProblemRaised("keys-unusable", what=error.detail) from error


def find(what: str, configuration: Configuration | None, passphrase_file: Path | None) -> Shown:
    """The certificate that is meant; a partner or role goes before a file of that name. Raises ProblemRaised, KeysError."""
    return _find_named(what, configuration) or _shown(what, _read(what), passphrase_file)


def find_or_request(
    what: str, configuration: Configuration | None, passphrase_file: Path | None
) -> Shown | x509.CertificateSigningRequest:
    """The same, or the request that the file holds, signed by the key that it is for; raises ProblemRaised, KeysError."""
    if (found := _find_named(what, configuration)) is not None:
        return found
    data = _read(what)
    if _REQUEST not in data[:_BEGINNING]:
        return _shown(what, data, passphrase_file)
    try:
        return read_request(data)
    except UnreadableCertificate as error:
        raise _refused(what, data, error) from error
    except UntrustedCertificate as error:
        raise ProblemRaised("request-unreadable", file=what, what=error.detail) from error


def _find_named(what: str, configuration: Configuration | None) -> Shown | None:
    return None if configuration is None else named(configuration, what, SystemClock().now())


def _shown(what: str, data: bytes, passphrase_file: Path | None) -> Shown:
    try:
        phrase = _passphrase(passphrase_file, what) if is_pkcs12(data) else None
        return Shown(what, read_certificates(data, phrase), _uses(what))
    except (UnreadableCertificate, BundleRefused) as error:
        raise _refused(what, data, error) from error


def read_answer(file: Path, passphrase_file: Path | None) -> Bundle:
    """What an authority sent back, with its key where there is one; raises ProblemRaised."""
    data = _read(str(file))
    try:
        phrase = _passphrase(passphrase_file, str(file)) if needs_passphrase(data) else None
        return read_bundle(data, phrase)
    except (UnreadableCertificate, BundleRefused) as error:
        raise _refused(str(file), data, error) from error


def _refused(what: str, data: bytes, error: UnreadableCertificate | BundleRefused) -> ProblemRaised:
    """What the file is instead, where its first line says it; else how reading it failed."""
    if isinstance(error, BundleRefused):
        return ProblemRaised(f"{_UNREADABLE}-passphrase", file=what, what=error.detail)
    for mark, kind, said in _OTHERS:
        if mark in data[:_BEGINNING]:
            return ProblemRaised(f"{_UNREADABLE}-{kind}", file=what, what=said)
    return ProblemRaised(_UNREADABLE, file=what, what=error.detail)


def _uses(what: str) -> tuple[Usage, ...]:
    """What a file is for by its name, where that is one of a key directory, such as `tls.next.cert.pem`."""
    name = Path(what).name
    role = name.partition(".")[0]
    return (
        USES[Role(role)] if name.endswith(".cert.pem") and role in set(Role) else USES[Role.MESSAGE]
    )


def _read(what: str) -> bytes:
    try:
        if what == "-":
            return sys.stdin.buffer.read(MAX_BUNDLE_BYTES + 1)
        with Path(what).open("rb") as file:
            return file.read(MAX_BUNDLE_BYTES + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        if isinstance(error, FileNotFoundError) and Path(what).name == what:
            reason += ", and neither a partner nor a pair in our key directory is called so; accesspoint cert list names them"
        raise ProblemRaised("file-unreadable", file=what, what=reason) from error


def _passphrase(file: Path | None, what: str) -> bytes | None:
    """The passphrase: the file without its last line end, else what is typed; None where nobody can be asked."""
    if file is not None:
        try:
            return file.read_bytes().rstrip(b"\r\n")
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise ProblemRaised("file-unreadable", file=str(file), what=reason) from error
    if not sys.stdin.isatty():
        return None
    return getpass.getpass(f"passphrase of {what}: ").encode()
